"""Where a tissue's cells lie on the canvas: the one place where (x, y[, z]) becomes (z, y, x).

Also the one place that knows which cell a point is (cells without a position have none), and how
far each section is moved so that sections lie side by side. ``obsm`` is never touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellama.core.lasso import points_inside
from napari_cellama.core.sections import side_by_side

if TYPE_CHECKING:
    from anndata import AnnData

#: Whose distance is a point's size: where cells lie at random, their nearest is half the mean
#: spacing away, and points that small leave most of the canvas empty.
_NEIGHBOR = 2


@dataclass(frozen=True)
class Placement:
    """How a tissue's cells are laid out.

    Attributes
    ----------
    points
        (m, 2 or 3) float64: the points' (z, y, x), in the cells' order.
    cells
        (m,) int64: which cell a point is.
    n_obs
        The number of cells, those without a position included.
    diameter
        A point's size: the median distance of the second nearest cells, or a Visium spot's
        diameter.
    offsets
        By section: the (y, x) that it is moved by; empty where there is one section.
    """

    points: np.ndarray
    cells: np.ndarray
    n_obs: int
    diameter: float
    offsets: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether every cell has a point, so that cells and points share their numbers."""
        return len(self.cells) == self.n_obs

    def of_points(self, values: np.ndarray) -> np.ndarray:
        """Return what belongs to the points of one value (or row) a cell."""
        return values if self.is_whole else values[self.cells]

    def offset_of(self, section: str) -> tuple[float, float]:
        """Return the (y, x) that a section, and its image, is moved by."""
        return self.offsets.get(section, (0.0, 0.0))

    def point_of(self, cell: int) -> int | None:
        """Return a cell's point, if it has one."""
        point = int(np.searchsorted(self.cells, cell))
        return point if point < len(self.cells) and self.cells[point] == cell else None

    def inside(self, outline: np.ndarray) -> np.ndarray:
        """Return (n,) bool: the cells inside an outline, whatever their depth.

        Parameters
        ----------
        outline
            (k, 2) of (y, x), closed from the last to the first; where it crosses itself, what
            it surrounds twice is outside.
        """
        found = np.zeros(self.n_obs, bool)
        found[self.cells[points_inside(self.points[:, -2:], outline)]] = True
        return found

    def nearest(
        self, position: np.ndarray, radius: float, skipped: np.ndarray | None = None
    ) -> int | None:
        """Return the cell nearest to a (z, y, x) position, if one lies within ``radius``.

        Looks at every point: 10 ms at a million, which spares building and keeping a tree.
        Points of ``skipped``, (m,) bool, do not count.
        """
        square = np.zeros(len(self.points))
        for column, value in zip(self.points.T, position, strict=True):
            square += (column - value) ** 2
        if skipped is not None and skipped.any():
            square[skipped] = np.inf
        return self._closest(square, radius)

    def nearest_to_ray(
        self,
        start: np.ndarray,
        direction: np.ndarray,
        radius: float,
        skipped: np.ndarray | None = None,
    ) -> int | None:
        """Return the foremost cell within ``radius`` of a line of sight, if there is one.

        Parameters
        ----------
        start
            A (z, y, x) on the line.
        direction
            Where the line leads to, away from the eye.
        radius
            In the coordinates' unit.
        skipped
            (m,) bool: points that do not count.
        """
        direction = direction / np.linalg.norm(direction)
        relative = self.points - start
        along = relative @ direction
        square = np.einsum("ij,ij->i", relative, relative) - along**2
        near = square <= radius**2
        hit = np.flatnonzero(near if skipped is None else near & ~skipped)
        return int(self.cells[hit[along[hit].argmin()]]) if len(hit) else None

    def _closest(self, square: np.ndarray, radius: float) -> int | None:
        closest = int(square.argmin())
        return int(self.cells[closest]) if square[closest] <= radius**2 else None


def place(adata: AnnData) -> Placement:
    """Lay out the cells of an AnnData by ``obsm['spatial']``.

    Raises
    ------
    UserError
        When there are no usable positions.
    """
    from napari_cellama.core.tissue import positions

    coords = positions(adata)
    cells = np.flatnonzero(np.isfinite(coords).all(axis=1))
    coords = coords[cells]
    # On the canvas y grows downwards, as it does in images and in squidpy's convention.
    points = np.ascontiguousarray(coords[:, ::-1])
    codes, names = _sections(adata)
    if codes is not None:
        codes = codes[cells]
    offsets: dict[str, tuple[float, float]] = {}
    if codes is not None:
        shifts = side_by_side(points[:, -2:], codes, len(names))
        offsets = {name: (float(y), float(x)) for name, (y, x) in zip(names, shifts, strict=True)}
        points[:, -2:] += np.vstack([shifts, [[0.0, 0.0]]])[codes]  # -1: of no section
    diameter = _diameter(adata, coords, codes)
    return Placement(points, cells, adata.n_obs, diameter, offsets)


def _sections(adata: AnnData) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Return (n,) section codes and the sections' names; ``None`` where there is one section."""
    from napari_cellama.core.resolve import guess_library_key
    from napari_cellama.core.tissue import obs_feature

    key = guess_library_key(adata.obs, adata.uns)
    if key is None:
        return None, ()
    feature = obs_feature(adata.obs, key)
    return feature.codes, feature.values


def _diameter(adata: AnnData, coords: np.ndarray, codes: np.ndarray | None) -> float:
    """Return the size of a point, in the coordinates' unit."""
    from napari_cellama.core.graph import median_neighbor_distance

    distance = median_neighbor_distance(coords, _NEIGHBOR, codes)
    if not np.isfinite(distance) or distance <= 0:
        extent = float(np.ptp(coords, axis=0).max()) if len(coords) else 0.0
        distance = extent / 100 or 1.0
    spots = [spot for spot in map(_spot_diameter, _libraries(adata).values()) if spot]
    return min(distance, *spots) if spots else distance


def _libraries(adata: AnnData) -> Mapping[str, Any]:
    """Return ``uns['spatial']``, squidpy's images and scale factors by library."""
    spatial = adata.uns.get("spatial")
    return spatial if isinstance(spatial, Mapping) else {}


def _spot_diameter(library: Any) -> float | None:
    """Return a library's spot diameter, if it states one."""
    factors = library.get("scalefactors", {}) if isinstance(library, Mapping) else {}
    try:
        diameter = float(factors["spot_diameter_fullres"])
    except (KeyError, TypeError, ValueError):
        return None
    return diameter if diameter > 0 else None
