"""Which of very many points an outline surrounds."""

from __future__ import annotations

import numpy as np

#: The outline's box is cut into so many tiles each way; only points of tiles that the outline
#: crosses are looked at one by one.
_TILES = 64
#: Fewer points than this are looked at one by one anyway.
_FEW = 20_000


def points_inside(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return (n,) bool: which points an outline surrounds.

    Parameters
    ----------
    points
        (n, 2).
    corners
        (k, 2), closed from the last to the first; where the outline crosses itself, what it
        surrounds twice is outside.
    """
    import shapely

    found = np.zeros(len(points), bool)
    if len(corners) < 3:
        return found
    corners = np.asarray(corners, float)
    low, high = corners.min(axis=0), corners.max(axis=0)
    x, y = points[:, 0], points[:, 1]
    near = np.flatnonzero((x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1]))
    polygon = shapely.make_valid(shapely.Polygon(corners))
    if not polygon.area:
        return found
    shapely.prepare(polygon)
    if len(near) > _FEW and (high > low).all():
        size = (high - low) / _TILES
        column, row = (
            np.clip(((value[near] - start) / step).astype(np.int64), 0, _TILES - 1)
            for value, start, step in zip((x, y), low, size, strict=True)
        )
        inside, crossed = _tiles(polygon, low, size)
        tile = row * _TILES + column
        found[near[inside[tile]]] = True
        near = near[crossed[tile]]
    found[near] = shapely.contains_xy(polygon, x[near], y[near])
    return found


def _tiles(polygon: object, low: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (tiles,) bool: which tiles are wholly inside, and which are neither in nor out."""
    import shapely

    row, column = np.divmod(np.arange(_TILES**2), _TILES)
    # A little larger than they are, for points that rounding put into the tile beside theirs.
    left, bottom = low[0] + (column - 0.01) * size[0], low[1] + (row - 0.01) * size[1]
    boxes = shapely.box(left, bottom, left + 1.02 * size[0], bottom + 1.02 * size[1])
    inside = shapely.contains_properly(polygon, boxes)
    return inside, ~inside & shapely.intersects(polygon, boxes)
