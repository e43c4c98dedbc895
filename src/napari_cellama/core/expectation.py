"""What a cell's surroundings would look like, judged from the cells around it.

A muscle stains darker than stroma, and a packed follicle holds more nuclei; neither is a fault.
So each cell's pixels are compared with what its neighbours' number and types let expect, learned
from the same section by a regression that faults cannot sway.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.spatial import cKDTree

#: Neighbours that are looked at, and how far in windows they count (standard deviation).
_NEIGHBORS = 20
_REACH = 1.9
#: Cells for each number that is learned.
_CELLS_EACH = 20
#: At most so many cells give a median.
_SMOOTHED = 21


def log2_excess(
    values: np.ndarray,
    xy: np.ndarray,
    radius: float,
    types: np.ndarray | None = None,
    reach: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far values are from what the cells around let expect.

    Parameters
    ----------
    values
        (n,) positive numbers; NaN where there are none.
    xy
        (n, 2) positions of the cells.
    radius
        Half the width of the windows that the values are from.
    types
        (n,) int codes of the cells' types, -1 for none; ``None`` where they are not known.
    reach
        Over what distance the median is taken; by default four times ``radius``.

    Returns
    -------
    own
        (n,) float32: logarithm to base 2 of value over expectation. NaN where there is no value.
    around
        (n,) float32: its median over the cells around, since what spoils an image spoils more
        than one cell's window.
    """
    own, around = (np.full(len(values), np.nan, np.float32) for _ in range(2))
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return own, around
    shown = np.maximum(np.asarray(values[known], np.float64), 0)
    logs = np.log2(shown + 0.02 * max(float(np.median(shown)), 1e-12))
    places = xy[known]
    features = _surroundings(places, radius, None if types is None else types[known])
    own[known] = ratio = logs - _robust_fit(features, logs)
    around[known] = median_nearby(ratio, places, reach or 4 * radius)
    return own, around


def _surroundings(xy: np.ndarray, radius: float, types: np.ndarray | None) -> np.ndarray:
    """Return (n, p) float64: how many cells of which types lie around each cell."""
    n = len(xy)
    constant = np.ones((n, 1))
    if n < 3 * _CELLS_EACH:
        return constant
    k = min(_NEIGHBORS, n)
    distance, index = cKDTree(xy).query(xy, k=k)
    weight = np.exp(-((distance / (_REACH * radius)) ** 2) / 2)
    rows = np.repeat(np.arange(n), k)
    near = sp.csr_matrix((weight.ravel(), (rows, index.ravel())), shape=(n, n))
    crowd = weight.sum(axis=1)
    parts = [constant, crowd[:, None], np.log(crowd)[:, None]]
    if types is not None:
        kinds, codes = np.unique(types, return_inverse=True)
        usual = np.flatnonzero(np.bincount(codes) >= _CELLS_EACH)
        if len(usual) > 1 and len(kinds) * 2 * _CELLS_EACH <= n:
            around = near @ (codes[:, None] == usual[1:]).astype(np.float64)
            parts += [around, around / crowd[:, None]]
    return np.hstack(parts)


def _robust_fit(features: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return what a ridge regression expects that leaves out, again and again, what is far off."""
    center = features.mean(axis=0)
    spread = features.std(axis=0)
    scaled = (features - center) / np.where(spread > 1e-9, spread, 1)
    scaled[:, 0] = 1.0
    kept = np.ones(len(values), bool)
    expected = np.full(len(values), np.median(values))
    for _ in range(6):
        part = scaled[kept]
        penalty = 1e-4 * len(part) * np.eye(part.shape[1])
        penalty[0, 0] = 0.0
        weights = np.linalg.solve(part.T @ part + penalty, part.T @ values[kept])
        expected = scaled @ weights
        residual = values - expected
        middle = np.median(residual[kept])
        width = 1.4826 * np.median(np.abs(residual[kept] - middle))
        far = np.abs(residual - middle) > 2.5 * width
        if width <= 1e-9 or far.mean() > 0.5:
            break
        kept = ~far
    return expected + np.median(values[kept] - expected[kept])


def median_nearby(
    values: np.ndarray, xy: np.ndarray, reach: float, most: int = _SMOOTHED
) -> np.ndarray:
    """Return the median over each cell and at most so many others around it.

    Parameters
    ----------
    values
        (n,) numbers, none of them NaN.
    xy
        (n, 2) positions.
    reach
        How far away cells count.
    most
        How many cells count, the cell itself among them.
    """
    k = min(most, len(xy))
    if k < 2:
        return values
    distance, index = cKDTree(xy).query(xy, k=k)
    near = np.where(distance <= reach, values[index], np.nan)
    return np.nanmedian(near, axis=1)
