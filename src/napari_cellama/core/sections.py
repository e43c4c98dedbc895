"""Sections laid out so that none covers another."""

from __future__ import annotations

from math import ceil, sqrt

import numpy as np

#: Between sections, as a share of the largest one's width.
_GAP = 0.05


def side_by_side(points: np.ndarray, codes: np.ndarray, n_sections: int) -> np.ndarray:
    """Return how far to move each section so that none covers another.

    Parameters
    ----------
    points
        (m, 2) of (y, x).
    codes
        (m,) the section of each; -1 for none.
    n_sections
        How many sections there are.

    Returns
    -------
    numpy.ndarray
        (n_sections, 2) of (y, x); zero where the sections' boxes do not overlap as they are.
    """
    shifts = np.zeros((n_sections, 2))
    members = [points[codes == code] for code in range(n_sections)]
    present = [code for code, found in enumerate(members) if len(found)]
    low = np.array([members[code].min(axis=0) for code in present])
    high = np.array([members[code].max(axis=0) for code in present])
    if not _overlap(low, high):
        return shifts
    size = (high - low).max(axis=0)
    pitch = size + _GAP * size.max()
    columns = len(present) if len(present) <= 4 else ceil(sqrt(len(present)))
    for number, code in enumerate(present):
        row, column = divmod(number, columns)
        shifts[code] = low[0] + pitch * (row, column) - low[number]
    return shifts


def _overlap(low: np.ndarray, high: np.ndarray) -> bool:
    """Whether any two boxes have an area (or, of single points, a place) in common."""
    apart = (low[:, None] > high[None]).any(axis=2)
    apart |= apart.T
    np.fill_diagonal(apart, True)
    return not apart.all()
