"""The outlines of cells: one polygon a cell, beside the rows of an AnnData."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

#: Corners of what stands for a circle.
_CORNERS = 24


@dataclass(frozen=True, eq=False)
class Boundaries:
    """One polygon a cell, kept as flat arrays so that millions fit.

    Attributes
    ----------
    vertices
        (v, 2) float32: x and y of all polygons' corners one after the other, in the coordinates
        of ``obsm['spatial']``; the last corner of a polygon is not the first again.
    offsets
        (n + 1,) int64: cell i has the corners ``offsets[i]`` to ``offsets[i + 1]``, none where it
        has no outline.
    """

    vertices: np.ndarray
    offsets: np.ndarray

    def __post_init__(self) -> None:
        if self.vertices.ndim != 2 or self.vertices.shape[1] != 2:
            raise ValueError("vertices must be (v, 2).")
        if len(self.offsets) < 1 or self.offsets[0] != 0 or self.offsets[-1] != len(self.vertices):
            raise ValueError("offsets must begin with 0 and end with the number of vertices.")
        self.vertices.flags.writeable = False
        self.offsets.flags.writeable = False

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def n_obs(self) -> int:
        """The number of cells, those without an outline included."""
        return len(self)

    @cached_property
    def has_outline(self) -> np.ndarray:
        """(n,) bool: which cells have an outline."""
        return np.diff(self.offsets) > 0

    @cached_property
    def boxes(self) -> np.ndarray:
        """(n, 4) float32: left, top, right and bottom of each outline; NaN where there is none."""
        boxes = np.full((len(self), 4), np.nan, np.float32)
        some = self.has_outline
        if some.any():
            starts = self.offsets[:-1][some]
            boxes[some, :2] = np.minimum.reduceat(self.vertices, starts, axis=0)
            boxes[some, 2:] = np.maximum.reduceat(self.vertices, starts, axis=0)
        return boxes

    @cached_property
    def areas(self) -> np.ndarray:
        """(n,) float64: the area inside each outline; NaN where there is none."""
        areas = np.full(len(self), np.nan)
        some = self.has_outline
        areas[some] = ring_areas(self.vertices, self.offsets[np.append(some, True)])
        return areas

    def polygons(self, cells: np.ndarray) -> list[np.ndarray]:
        """Return for each of these cells the (k, 2) x and y of its outline; (0, 2) without one."""
        starts, stops = self.offsets[:-1][cells], self.offsets[1:][cells]
        return [self.vertices[a:b] for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]

    def shifted(self, by: np.ndarray) -> Boundaries:
        """Return the outlines moved by (n, 2) of x and y, one a cell."""
        moved = np.repeat(np.asarray(by, np.float32), np.diff(self.offsets), axis=0)
        return Boundaries(self.vertices + moved, self.offsets)

    def take(self, cells: np.ndarray) -> Boundaries:
        """Return the outlines of some cells, in that order."""
        starts, lengths = self.offsets[:-1][cells], np.diff(self.offsets)[cells]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        index = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return Boundaries(self.vertices[index], offsets)

    # ---- making them

    @classmethod
    def from_rings(
        cls, vertices: np.ndarray, offsets: np.ndarray, rows: np.ndarray, n_obs: int
    ) -> Boundaries:
        """Make outlines of rings in any order; of a cell with several the largest counts.

        Parameters
        ----------
        vertices
            (v, 2) x and y. A ring may repeat its first corner at the end.
        offsets
            (r + 1,) where rings begin and end.
        rows
            (r,) whose outline each ring is; -1 for nobody's.
        n_obs
            The number of cells.
        """
        vertices = np.asarray(vertices, np.float32).reshape(-1, 2)
        vertices, offsets = _opened(vertices, np.asarray(offsets, np.int64))
        lengths = np.diff(offsets)
        finite = np.concatenate([[0], np.cumsum(~np.isfinite(vertices).all(axis=1))])
        usable = (lengths >= 3) & (finite[offsets[1:]] == finite[offsets[:-1]])
        usable &= (rows >= 0) & (rows < n_obs)
        kept = np.flatnonzero(usable)
        rows = np.asarray(rows, np.int64)[kept]
        if np.bincount(rows, minlength=1).max() > 1:
            size = np.zeros(len(lengths))
            size[lengths > 0] = ring_areas(vertices, offsets[np.append(lengths > 0, True)])
            order = np.lexsort((size[kept], rows))
            last = np.append(rows[order][1:] != rows[order][:-1], True)
            kept, rows = kept[order[last]], rows[order[last]]
        ring = np.full(n_obs, len(lengths), np.int64)
        ring[rows] = kept
        # One empty ring at the end is what cells without an outline have.
        return cls(vertices, np.append(offsets, offsets[-1])).take(ring)

    @classmethod
    def from_shapes(cls, shapes: Sequence, rows: np.ndarray, n_obs: int) -> Boundaries:
        """Make outlines of shapely's polygons; the largest part counts and holes are filled.

        Parameters
        ----------
        shapes
            (m,) polygons or multipolygons; what is neither is no outline.
        rows
            (m,) whose outline each is; -1 for nobody's.
        n_obs
            The number of cells.
        """
        import shapely

        parts, of = shapely.get_parts(np.asarray(shapes, object), return_index=True)
        flat = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
        parts, of = parts[flat], of[flat]
        vertices, ring = shapely.get_coordinates(
            shapely.get_exterior_ring(parts), return_index=True
        )
        counts = np.bincount(ring, minlength=len(parts)) if len(parts) else np.zeros(0, int)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return cls.from_rings(vertices, offsets, np.asarray(rows, np.int64)[of], n_obs)

    @classmethod
    def from_circles(
        cls, centers: np.ndarray, radii: np.ndarray, rows: np.ndarray, n_obs: int
    ) -> Boundaries:
        """Make outlines of circles, e.g. spots: (m, 2) x and y, and (m,) radii."""
        turn = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
        circle = np.column_stack([np.cos(turn), np.sin(turn)])
        vertices = np.asarray(centers)[:, None] + np.asarray(radii)[:, None, None] * circle
        offsets = np.arange(len(vertices) + 1) * _CORNERS
        return cls.from_rings(vertices.reshape(-1, 2), offsets, rows, n_obs)

    @classmethod
    def from_table(
        cls, rows: np.ndarray, x: np.ndarray, y: np.ndarray, n_obs: int, parts: np.ndarray = ()
    ) -> Boundaries:
        """Make outlines of a long table with one row a corner, in the order of drawing.

        Parameters
        ----------
        rows
            (v,) whose corner each is; -1 for nobody's.
        x, y
            (v,) where it is.
        n_obs
            The number of cells.
        parts
            (v,) numbers that tell the parts of one cell's outline apart, where it has several.
        """
        rows, xy = np.asarray(rows, np.int64), np.column_stack([x, y])
        keys = rows if len(parts) == 0 else np.column_stack([rows, parts])
        order = np.argsort(rows, kind="stable") if keys.ndim == 1 else np.lexsort(keys.T[::-1])
        keys = keys[order].reshape(len(rows), -1)
        first = np.ones(len(rows), bool)
        first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
        starts = np.flatnonzero(first)
        offsets = np.append(starts, len(rows))
        return cls.from_rings(xy[order], offsets, rows[order][starts], n_obs)


def ring_areas(vertices: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return (r,) float64: the area inside each ring, none of which may be empty."""
    if len(offsets) < 2:
        return np.zeros(0)
    starts = offsets[:-1]
    lengths = np.diff(offsets)
    # About each ring's first corner, so that large coordinates cost no digits.
    local = vertices - np.repeat(vertices[starts], lengths, axis=0)
    after = np.arange(1, len(local) + 1)
    after[offsets[1:] - 1] = starts
    x, y = local.astype(float).T
    return np.abs(np.add.reduceat(x * y[after] - x[after] * y, starts)) / 2


def _opened(vertices: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out the corners that close a ring by being its first again."""
    lengths = np.diff(offsets)
    starts, last = offsets[:-1][lengths > 1], offsets[1:][lengths > 1] - 1
    closing = last[(vertices[starts] == vertices[last]).all(axis=1)]
    if not len(closing):
        return vertices, offsets
    kept = np.ones(len(vertices), bool)
    kept[closing] = False
    return vertices[kept], np.concatenate([[0], np.cumsum(kept)])[offsets]
