"""Niches of one picture called as those of the picture before, so that nothing jumps."""

from __future__ import annotations

import numpy as np


def names_of_before(codes: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return which new code each code becomes, so that most cells keep theirs.

    Groups are matched one to one by the most cells in common (Kuhn 1955, Naval Research
    Logistics Quarterly 2:83-97); where there are more groups than before, those that are left
    over come last, in their own order.

    Parameters
    ----------
    codes, before
        (n,) codes 0, 1, … of now and before; -1 where a cell has none.

    Returns
    -------
    numpy.ndarray
        (number of groups now,) int64, each of 0, 1, … once where there are no fewer groups than
        before; else some of the codes of before are missing.
    """
    from scipy.optimize import linear_sum_assignment

    n_now, n_before = int(codes.max(initial=-1)) + 1, int(before.max(initial=-1)) + 1
    both = (codes >= 0) & (before >= 0)
    pairs = codes[both].astype(np.int64) * n_before + before[both]
    common = np.bincount(pairs, minlength=n_now * n_before).reshape(n_now, n_before)
    names = np.full(n_now, -1, np.int64)
    now, then = linear_sum_assignment(-common)
    names[now] = then
    rest = np.flatnonzero(names < 0)
    names[rest] = n_before + np.arange(len(rest))
    return names


def without_gaps(names: np.ndarray) -> np.ndarray:
    """Return names with the same order and no number missing."""
    return np.unique(names, return_inverse=True)[1].ravel()
