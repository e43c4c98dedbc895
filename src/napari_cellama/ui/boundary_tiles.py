"""Outlines as levels of coloured pixels that napari looks at through a window."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QThreadPool, QTimer, Signal

from napari_cellama.core.boundary_raster import TILE

if TYPE_CHECKING:
    from napari_cellama.core.boundary_raster import BoundaryRaster

#: Tiles that are kept: 128 MiB.
_KEPT = 128
#: Tiles that are drawn before what is there is shown, and milliseconds until it is.
_BATCH, _SOON_MS = 4, 80

_Key = tuple[int, int, int]


class BoundaryTiles(QObject):
    """Draws tiles in a thread when they are looked at; coarser ones stand in meanwhile.

    ``drawn()`` says, on the main thread, that there is more to see.

    Parameters
    ----------
    raster
        What draws; its overview is there already.
    """

    drawn = Signal()
    _came = Signal()

    def __init__(self, raster: BoundaryRaster) -> None:
        super().__init__()
        self.raster = raster
        n_colors = 2 + 2 * int(raster.overview.max(initial=0) // 2 + 1)
        self._fine = self._coarse = np.zeros(n_colors, np.uint32)
        self._kept: OrderedDict[_Key, np.ndarray] = OrderedDict()
        self._wanted: list[_Key] = []
        self._working = self._closed = False
        self._lock = Lock()
        # Showing more takes longer than drawing it: what came meanwhile is shown at once.
        self._soon = QTimer(self, singleShot=True, interval=_SOON_MS)
        self._soon.timeout.connect(self.drawn)
        self._came.connect(self._on_came)

    @property
    def is_settled(self) -> bool:
        """Whether everything that was looked at is drawn."""
        return not self._wanted and not self._working and not self._soon.isActive()

    @property
    def levels(self) -> list[LevelView]:
        """What napari takes for an image of several levels."""
        return [LevelView(self, level) for level in range(len(self.raster.shapes))]

    def _on_came(self) -> None:
        if not self._closed and not self._soon.isActive():
            self._soon.start()

    def close(self) -> None:
        """Draw no more."""
        self._soon.stop()
        self._closed = True
        self._wanted = []

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

    def window(self, level: int, rows: slice, columns: slice) -> np.ndarray:
        """Return (height, width, 4) uint8 RGBA: a part of a level, as far as it is drawn."""
        if level >= self.raster.overview_level:
            codes = self.raster.coarse(level, rows, columns)
            return _colored(self._coarse, codes)
        rgba = np.zeros((rows.stop - rows.start, columns.stop - columns.start, 4), np.uint8)
        wanted = []
        for row in range(rows.start // TILE, -(-rows.stop // TILE)):
            for column in range(columns.start // TILE, -(-columns.stop // TILE)):
                inner = _common(rows, row), _common(columns, column)
                place = tuple(
                    slice(part.start - whole.start, part.stop - whole.start)
                    for part, whole in zip(inner, (rows, columns), strict=True)
                )
                key = (level, row, column)
                tile = self._tile(key)
                if tile is None:
                    wanted.append(key)
                    codes = self.raster.coarse(level, *inner)
                    rgba[place] = _colored(self._fine, codes)
                else:
                    top, left = row * TILE, column * TILE
                    codes = tile[
                        inner[0].start - top : inner[0].stop - top,
                        inner[1].start - left : inner[1].stop - left,
                    ]
                    rgba[place] = _colored(self._fine, codes)
        self._request(wanted)
        return rgba

    def _tile(self, key: _Key) -> np.ndarray | None:
        """Return a tile that is drawn already, and remember that it was of use."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _request(self, keys: list[_Key]) -> None:
        """Draw these and forget what was wanted before: the view has moved on."""
        with self._lock:
            self._wanted = [] if self._closed else keys
            start = bool(self._wanted) and not self._working
            self._working |= start
        if start:
            QThreadPool.globalInstance().start(self._work)

    def _work(self) -> None:
        """Draw what is wanted, in a thread of the pool."""
        done = 0
        while True:
            with self._lock:
                missing = [key for key in self._wanted if key not in self._kept]
                if not missing:
                    self._wanted, self._working = [], False
                    break
            tile = self.raster.tile(*missing[0])
            with self._lock:
                self._kept[missing[0]] = tile
                while len(self._kept) > max(_KEPT, len(self._wanted)):
                    self._kept.popitem(last=False)
            done += 1
            if done % _BATCH == 0 and len(missing) > 1 and not self._closed:
                self._came.emit()
        if not self._closed:
            self._came.emit()


class LevelView:
    """One level as napari wants it: a shape, a type and slices.

    Parameters
    ----------
    tiles
        Where it is from.
    level
        Which one it is.
    """

    ndim = 3
    dtype = np.dtype(np.uint8)

    def __init__(self, tiles: BoundaryTiles, level: int) -> None:
        self._tiles, self._level = tiles, level
        self.shape = (*tiles.raster.shapes[level], 4)
        self.size = int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        parts = key if isinstance(key, tuple) else (key,)
        slices = [part for part in parts if isinstance(part, slice)]
        if len(slices) != len(parts):
            return np.asarray(self[:, :])[key]
        slices += [slice(None)] * (3 - len(slices))
        rows, columns = (
            slice(*part.indices(side)[:2])
            for part, side in zip(slices[:2], self.shape, strict=False)
        )
        rows, columns = (slice(part.start, max(part.start, part.stop)) for part in (rows, columns))
        return self._tiles.window(self._level, rows, columns)[..., slices[2]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:, :], dtype)


def _common(part: slice, tile: int) -> slice:
    return slice(max(part.start, tile * TILE), min(part.stop, (tile + 1) * TILE))


def _colored(table: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return (h, w, 4) uint8: each pixel's row of the table."""
    return np.take(table, codes, mode="clip").view(np.uint8).reshape(*codes.shape, 4)
