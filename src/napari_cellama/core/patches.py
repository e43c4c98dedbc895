"""Where faults end: cells beside a fault are told from cells in it by the levels of both sides.

A median over the cells around finds a fault, but it rounds its corners, thins narrow ones, and
lets their border lie wherever a limit happens to cross the slope between both sides.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from napari_cellama.core.expectation import median_nearby

#: From so many scaled median absolute deviations on, cells may be part of a patch: no more than the
#: default limit of the signal, or that would not flag all of what lies within.
_STRICT = 3.5
#: So many of the nearest cells are looked at, and so many of them make a patch.
_AROUND, _LEAST = 21, 9
#: So many of the nearest cells say on which side of a border a cell lies, where one is not enough.
_CLOSE = 5
#: A veil's border runs between a cell and these nearest to it.
_BESIDE = 6
#: What share of a veil's losses a window beside it has that belongs to it. Not a half: the dark
#: and sharp rim of a bubble, which crosses the window, makes up for part of the losses.
_SHARE = 0.25


def level_sides(
    excess: np.ndarray,
    xy: np.ndarray,
    reach: float,
    own: np.ndarray | None = None,
    below: float | None = None,
) -> np.ndarray:
    """Return values (log2) that change at the border of patches at once, not by and by.

    A patch is where many cells beside each other are far above, or far below, the others. A cell
    near one gets the patch's level or that of the cells around the patch, whichever its value is
    nearer to; not by logarithms, since a window half of which is spoiled measures the mean of both.

    Parameters
    ----------
    excess
        (n,) smoothed values, NaN where there is none.
    xy
        (n, 2) positions.
    reach
        How far away cells share a fault; what lies within twice of it is near.
    own
        (n,) the values before they were smoothed, where their noise is so small that a few of them
        tell a cell's side: the fewer, the less a small patch is rounded. By default ``excess``.
    below
        Below this lie patches; by default those far below or above the others.
    """
    known = np.flatnonzero(np.isfinite(excess))
    values, places = excess[known], xy[known]
    if len(known) <= _AROUND:
        return excess
    close = values if own is None else median_nearby(own[known], places, reach, _CLOSE)
    leveled = values.copy()
    for sign in (1, -1) if below is None else (-1,):
        worst = sign * np.maximum(sign * values, sign * close)
        seeds = _crowded(_far(worst, values, sign, below), places, 2 * reach)
        if seeds.sum() < _LEAST or seeds.all():
            continue
        near = cKDTree(places[seeds]).query(places, distance_upper_bound=2 * reach)[0]
        band = np.flatnonzero(np.isfinite(near))
        within = _level(worst, seeds, places, places[band])
        beyond = _level(values, ~seeds, places, places[band])
        border = sign * np.log2((2.0**within + 2.0**beyond) / 2)
        smooth, far = sign * values[band], sign * within
        # Within, no value becomes milder; outside, none becomes more extreme.
        outside = np.where(seeds[band] | (smooth > border), sign * beyond, np.inf)
        inside = sign * close[band] > border
        leveled[band] = sign * np.where(
            inside, np.maximum(smooth, far), np.minimum(smooth, outside)
        )
    result = excess.copy()
    result[known] = leveled
    return result


def _far(worst: np.ndarray, values: np.ndarray, sign: int, below: float | None) -> np.ndarray:
    """Return (n,) bool: which values are below a limit, or far to one side of the others."""
    if below is not None:
        return worst < below
    middle = float(np.median(values))
    width = 1.4826 * float(np.median(np.abs(values - middle)))
    return sign * (worst - middle) > _STRICT * width


def _crowded(some: np.ndarray, xy: np.ndarray, reach: float) -> np.ndarray:
    """Return those cells of some that have enough of their kind among the nearest cells."""
    cells = np.flatnonzero(some)
    if not len(cells):
        return some
    distance, near = cKDTree(xy).query(xy[cells], k=_AROUND)
    crowd = (some[near] & (distance <= reach)).sum(axis=1)
    kept = np.zeros(len(some), bool)
    kept[cells[crowd >= _LEAST]] = True
    return kept


def _level(values: np.ndarray, some: np.ndarray, xy: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the median of some cells' values nearest to places."""
    own = np.flatnonzero(some)
    near = cKDTree(xy[own]).query(places, k=min(_AROUND, len(own)))[1]
    return np.median(values[own][near].reshape(len(places), -1), axis=1)


def widen_veils(
    around: tuple[np.ndarray, np.ndarray],
    own: tuple[np.ndarray, np.ndarray],
    veiled: np.ndarray,
    xy: np.ndarray,
    reach: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Give cells under the rim of a bubble the signal and sharpness of the bubble.

    A bubble ends in a dark, sharp line, in which a cell is neither pale nor soft. So a cell beside
    a veil belongs to it already where its own window has lost a quarter of what the veil takes.

    Parameters
    ----------
    around
        (n,) excess of signal and of sharpness (log2), medians over the cells around.
    own
        The same of each cell's own window.
    veiled
        (n,) bool: cells that have lost both, for certain.
    xy
        (n, 2) positions.
    reach
        How far away cells share a fault.
    """
    cells = np.flatnonzero(veiled)
    if len(cells) < _LEAST:
        return around
    # By the map of all cells, so that beside means that no other cell lies between.
    known = np.flatnonzero(np.isfinite(around[0]))
    tree = cKDTree(xy[cells])
    distance = np.full(len(veiled), np.inf)
    distance[known] = tree.query(xy[known], distance_upper_bound=reach)[0]
    beside = np.flatnonzero(np.isfinite(distance) & ~veiled)
    far, near = cKDTree(xy[known]).query(xy[beside], k=min(_BESIDE + 1, len(known)))
    touching = (veiled[known[near]] & (far <= reach)).any(axis=1)
    beside = beside[touching]
    if not len(beside):
        return around
    nearest = cells[tree.query(xy[beside], k=_LEAST)[1]]
    levels = [np.median(values[nearest], axis=1) for values in around]
    losses = [
        (1 - 2.0 ** values[beside]) / (1 - 2.0**level)
        for values, level in zip(own, levels, strict=True)
    ]
    joined = sum(losses) / 2 > _SHARE
    widened = []
    for values, level in zip(around, levels, strict=True):
        values = values.copy()
        values[beside[joined]] = np.minimum(values[beside], level)[joined]
        widened.append(values)
    return widened[0], widened[1]
