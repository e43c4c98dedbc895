"""Outlines as levels of coloured pixels that napari looks at through a window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_cellama.core.boundary_raster import TILE
from napari_cellama.ui.background_tiles import BackgroundTiles

if TYPE_CHECKING:
    from napari_cellama.core.boundary_raster import BoundaryRaster


class BoundaryTiles(BackgroundTiles):
    """Keeps tiles of outlines that say which cell a pixel is, and colours what is looked at.

    Parameters
    ----------
    raster
        What draws; its overview is there already.
    """

    def __init__(self, raster: BoundaryRaster) -> None:
        super().__init__(raster.shapes, TILE, 4, np.uint8)
        self.raster = raster
        n_colors = 2 + 2 * int(raster.overview.max(initial=0) // 2 + 1)
        self._fine = self._coarse = np.zeros(n_colors, np.uint32)

    def paint(self, fine: np.ndarray, coarse: np.ndarray) -> None:
        """Take other colours.

        Parameters
        ----------
        fine
            (2 + 2 n, 4) uint8 RGBA: nothing twice, then each cell's inside and edge.
        coarse
            The same, where cells are too small to have an edge.
        """
        self._fine = np.ascontiguousarray(fine).view(np.uint32).ravel()
        self._coarse = np.ascontiguousarray(coarse).view(np.uint32).ravel()
        self.renew()

    def _draw(self, key: tuple[int, int, int]) -> np.ndarray:
        return self.raster.tile(*key)

    def _stand_in(self, level: int, rows: slice, columns: slice) -> np.ndarray:
        return self.raster.coarse(level, rows, columns)

    def _shown(self, kept: np.ndarray, out: np.ndarray, *, whole: bool) -> None:
        table = self._coarse if whole else self._fine
        out.view(np.uint32)[..., 0] = np.take(table, kept, mode="clip")

    def _has_tiles(self, level: int) -> bool:
        return level < self.raster.overview_level
