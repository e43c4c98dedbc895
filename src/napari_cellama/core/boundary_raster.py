"""Cells' outlines as pixels that say which cell they are: levels of tiles, drawn as they are seen.

Colours come later, from a table with a row a cell, so that painting anew draws no outline again.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from napari_cellama.core.boundaries import Boundaries

#: Pixels along a tile's side.
TILE = 512
#: How many pixels wide the usual cell is on the finest level, and from where its edge is drawn.
_FINEST, _EDGED = 256, 16
#: Pixels of the overview from which all coarser levels are taken.
_OVERVIEW = 48_000_000
#: A level no larger than this along either side is the coarsest.
_COARSEST = 512
#: Rows of the overview that are drawn at a time; of more, numpy keeps the interpreter for too long.
_STRIP = 128
#: Outlines so many times as wide as usual are looked at for every tile.
_WIDE = 8


class BoundaryRaster:
    """Draws outlines at any level; a pixel is 0 beside cells, 2 + 2 * cell in one, + 1 on its edge.

    Parameters
    ----------
    boundaries
        The outlines, of which at least one is there.
    """

    def __init__(self, boundaries: Boundaries) -> None:
        boxes = boundaries.boxes
        some = np.flatnonzero(boundaries.has_outline)
        width = np.maximum(boxes[some, 2] - boxes[some, 0], boxes[some, 3] - boxes[some, 1])
        usual = float(np.median(width)) or 1.0
        self._boundaries = boundaries
        low = boxes[some, :2].min(axis=0).astype(float)
        extent = boxes[some, 2:].max(axis=0) - low
        #: (x, y) of the corner, and the size of the finest level's pixels.
        self.origin, self.pixel = low - usual / 4, usual / _FINEST
        extent = extent + usual / 2
        finest = np.maximum(np.ceil(extent[::-1] / self.pixel), 1).astype(int)
        shapes = [tuple(int(side) for side in finest)]
        while max(shapes[-1]) > _COARSEST or _FINEST >> (len(shapes) - 1) >= _EDGED:
            shapes.append(tuple(-(-side // 2) for side in shapes[-1]))
        #: (height, width) of the levels, the finest first.
        self.shapes: tuple[tuple[int, int], ...] = tuple(shapes)
        sizes = [height * width for height, width in shapes]
        #: The finest level that is a part of the overview.
        self.overview_level = next(
            level
            for level, size in enumerate(sizes)
            if size <= _OVERVIEW and _FINEST >> level < _EDGED
        )
        self.overview = np.zeros((0, 0), np.int32)
        wide = width > _WIDE * usual
        self._wide, normal = some[wide], some[~wide]
        # By their left edges, so that a tile looks at a strip of cells and no others.
        order = np.argsort(boxes[normal, 0], kind="stable")
        self._sorted = normal[order]
        # Beside each other, as to gather them for every tile would hold the window up.
        self._boxes = boxes[self._sorted]
        self._left = np.ascontiguousarray(self._boxes[:, 0])
        self._reach = _WIDE * usual

    def draw_overview(self) -> Iterator[float]:
        """Draw the level that coarser ones are taken from; yields the share that is done."""
        height, width = self.shapes[self.overview_level]
        overview = np.zeros((height, width), np.int32)
        for top in range(0, height, _STRIP):
            part = self._labels(self.overview_level, top, 0, min(_STRIP, height - top), width)
            overview[top : top + _STRIP] = part
            yield min(1.0, (top + _STRIP) / height)
        self.overview = overview

    def coarse(self, level: int, rows: slice, columns: slice) -> np.ndarray:
        """Return a part of any level from the overview: at once, but without edges."""
        shift = level - self.overview_level
        if shift >= 0:
            return self.overview[:: 1 << shift, :: 1 << shift][rows, columns]
        height, width = self.overview.shape
        row = np.minimum(np.arange(rows.start, rows.stop) >> -shift, height - 1)
        column = np.minimum(np.arange(columns.start, columns.stop) >> -shift, width - 1)
        return self.overview[row[:, None], column]

    def tile(self, level: int, row: int, column: int) -> np.ndarray:
        """Draw a tile of a level, edges and all; (TILE, TILE) int32 or less at the rim."""
        height, width = self.shapes[level]
        top, left = row * TILE, column * TILE
        rows, columns = min(TILE, height - top), min(TILE, width - left)
        size = _FINEST >> level
        if size < _EDGED:
            return self._labels(level, top, left, rows, columns)
        thick = 1 if size < 2 * _EDGED else 2 if size < 8 * _EDGED else 3
        around = self._labels(
            level, top - thick, left - thick, rows + 2 * thick, columns + 2 * thick
        )
        inner = around[thick:-thick, thick:-thick]
        edge = np.zeros(inner.shape, bool)
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            y, x = thick + dy * thick, thick + dx * thick
            edge |= around[y : y + rows, x : x + columns] != inner
        return inner + (edge & (inner > 0))

    def _labels(self, level: int, top: int, left: int, rows: int, columns: int) -> np.ndarray:
        """Draw the cells that reach into a part of a level, without edges."""
        pixel = self.pixel * (1 << level)
        low = self.origin + np.array([left, top]) * pixel
        cells = self._cells_in(low, low + np.array([columns, rows]) * pixel)
        part = self._boundaries.take(cells)
        corners = (part.vertices - low) / pixel
        return fill(corners, part.offsets, 2 + 2 * cells, (rows, columns))

    def _cells_in(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Return the cells whose boxes reach into a rectangle, in the order of the table."""
        start = np.searchsorted(self._left, low[0] - self._reach)
        stop = np.searchsorted(self._left, high[0], side="right")
        found = self._sorted[start:stop][_reach_into(self._boxes[start:stop], low, high)]
        wide = self._wide[_reach_into(self._boundaries.boxes[self._wide], low, high)]
        return np.sort(np.concatenate([found, wide]))


def _reach_into(boxes: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return (n,) bool: which boxes (n, 4) reach into a rectangle."""
    inside = (boxes[:, 2] >= low[0]) & (boxes[:, 0] <= high[0])
    return inside & (boxes[:, 3] >= low[1]) & (boxes[:, 1] <= high[1])


def fill(
    corners: np.ndarray, offsets: np.ndarray, codes: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Fill polygons, all at once: numpy lets go of the interpreter, which the window waits for.

    Parameters
    ----------
    corners
        (v, 2) x and y in pixels; pixel 0 reaches from 0 to 1.
    offsets
        (n + 1,) where the polygons begin and end, each with a corner at least.
    codes
        (n,) what the polygons' pixels become; of several over each other the last counts.
    shape
        (height, width) of the picture.

    Returns
    -------
    numpy.ndarray
        (height, width) int32; a polygon has the pixels whose middles it holds, else the one in
        the middle of its box.
    """
    height, width = shape
    picture = np.zeros(height * width, np.int32)
    if not len(codes):
        return picture.reshape(shape)
    polygon, starts, lengths = _spans(corners, offsets, shape)
    bare = np.flatnonzero(np.bincount(polygon, weights=lengths, minlength=len(codes)) == 0)
    boxes = [f.reduceat(corners, offsets[:-1], axis=0) for f in (np.minimum, np.maximum)]
    column, row = np.floor((boxes[0] + boxes[1]) / 2)[bare].astype(np.int64).T
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    picture[row[inside] * width + column[inside]] = codes[bare[inside]]
    stops = np.cumsum(lengths)
    pixels = np.repeat(starts - stops + lengths, lengths) + np.arange(lengths.sum())
    picture[pixels] = np.repeat(codes.astype(np.int32)[polygon], lengths)
    return picture.reshape(shape)


def _spans(
    corners: np.ndarray, offsets: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the runs of pixels in polygons: (s,) which polygon, the first pixel, how many.

    In each row a polygon's sides are crossed an even number of times, and every other gap between
    crossings lies inside. A crossing is one number, so that all are sorted at once.
    """
    height, width = shape
    after = np.arange(1, len(corners) + 1)
    after[offsets[1:] - 1] = offsets[:-1]
    x, y = np.ascontiguousarray(corners.T, np.float64)
    low, high = np.minimum(y, y[after]), np.maximum(y, y[after])
    # The rows whose middles a side reaches past, its lower end included and its upper one not.
    first, stop = (np.clip(np.ceil(end - 0.5), 0, height).astype(np.int64) for end in (low, high))
    counts = stop - first
    side = np.repeat(np.arange(len(corners)), counts)
    row = np.arange(len(side)) - np.repeat(np.cumsum(counts) - counts - first, counts)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (x[after] - x) / (y[after] - y)
    at = x[side] + (row + 0.5 - y[side]) * slope[side]
    column = np.clip(np.ceil(at - 0.5), 0, width).astype(np.int64)
    polygon = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[side]
    crossings = np.sort((polygon * height + row) * (width + 1) + column)
    line, column = np.divmod(crossings[::2], width + 1)
    polygon, row = np.divmod(line, height)
    return polygon, row * width + column, crossings[1::2] - crossings[::2]
