"""Which cells to look at: a few of many, drawn or in an order that says something."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from napari_cellama.core.qc_thresholds import BY_NAME, Thresholds

How = Literal["random", "typical", "uncertain", "worst"]


def cells_to_look_at(
    cells: np.ndarray,
    n: int,
    worth: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Return at most n of the cells.

    Parameters
    ----------
    cells
        (m,) bool: the cells to choose from.
    n
        How many at most.
    worth
        (m,) numbers: those with the largest come first, and those without one (NaN) not at all;
        ``None`` draws at random.
    seed
        Of the draw.

    Returns
    -------
    numpy.ndarray
        Positions, int64.
    """
    there = np.flatnonzero(cells)
    if worth is None:
        rng = np.random.default_rng(seed)
        return rng.permutation(there)[:n]
    there = there[~np.isnan(worth[there])]
    return there[np.argsort(-worth[there], kind="stable")[:n]]


def typicality(features: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Return (m,) how near each cell is to the middle of some cells in a space of features.

    Parameters
    ----------
    features
        (m, p) numbers; a row with a NaN has no place, and no value.
    cells
        (m,) bool: whose mean is the middle.
    """
    known = cells & np.isfinite(features).all(axis=1)
    if not known.any():
        return np.full(len(features), np.nan)
    return -np.linalg.norm(features - features[known].mean(axis=0), axis=1)


def badness(table: pd.DataFrame, thresholds: Thresholds) -> np.ndarray:
    """Return (m,) how far each cell lies on the wrong side by its worst metric.

    Counted in scaled median absolute deviations from the metric's median, towards the limit that
    it has; metrics without a limit do not count. NaN where there is no value.
    """
    worst = np.full(len(table), np.nan)
    for limit in thresholds.limits:
        if limit.metric not in table:
            continue
        values = table[limit.metric].to_numpy(float)
        values = np.log1p(np.maximum(values, 0)) if BY_NAME[limit.metric].log else values
        known = values[np.isfinite(values)]
        middle = np.median(known) if len(known) else np.nan
        width = 1.4826 * np.median(np.abs(known - middle)) if len(known) else np.nan
        if not width > 0:
            continue
        away = (values - middle) / width
        if limit.low is not None:
            worst = np.fmax(worst, -away)
        if limit.high is not None:
            worst = np.fmax(worst, away)
    return worst
