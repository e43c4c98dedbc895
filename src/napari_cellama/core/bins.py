"""A histogram's bins, of equal width, and of equally many values where values come in steps."""

from __future__ import annotations

import numpy as np

#: Values that are looked at for steps between them, and distinct ones that are too many for it.
_SAMPLE, _DISTINCT = 20_000, 2_000
#: A difference may be so far from a whole number of steps, as a share of one.
_ROUNDED = 0.01
#: Of fewer distinct values nobody can say what lies between them.
_FEWEST = 4


def bin_edges(
    values: np.ndarray, low: float, high: float, most: int, *, log: bool = False
) -> np.ndarray:
    """Return the ends of bins that cover an axis.

    Counts and shares of a few things come in steps. Bins of any width hold now two and now three
    of them, or none, so that their bars look like a comb: these end half-way between steps.

    Parameters
    ----------
    values
        (n,) what is to be counted; those that are not finite do not matter.
    low, high
        The axis' ends, in the values' unit, low below high; bins in steps may reach beyond them.
    most
        How many bins there are; fewer where there are fewer steps.
    log
        Whether bins are equally wide in log(1 + x), of values from 0.

    Returns
    -------
    numpy.ndarray
        (k + 1,) float64, rising.
    """
    ends = np.log1p([low, high]) if log else (low, high)
    even = np.linspace(*ends, most + 1)
    even = np.expm1(even) if log else even
    found = _steps(np.asarray(values, float))
    if found is None:
        return even
    first, step = found
    # The number of steps from the first value to the bins' ends: half-way between two.
    if log:
        at = np.unique(np.rint((even - first) / step)) - 0.5
        # One bin of a step's width at the end would stand out by what is counted in it.
        if len(at) > 1 and first + step * at[-1] < high:
            at[-1] += 1
        elif len(at) == 1:
            at = np.append(at, at[-1] + 1)
        return np.unique(np.maximum(first + step * at, 0.0))
    wide = max(1.0, np.ceil((high - low) / step / most))
    start = np.ceil((low - first) / step - 0.5) - 0.5
    n = max(1, int(np.ceil(((high - first) / step - start) / wide)))
    return first + step * (start + wide * np.arange(n + 1))


def _steps(values: np.ndarray) -> tuple[float, float] | None:
    """Return a value and the step by which all others differ from it; ``None`` without steps."""
    known = values[np.isfinite(values)]
    distinct = np.unique(known[:: max(1, len(known) // _SAMPLE)])
    if not _FEWEST <= len(distinct) <= _DISTINCT:
        return None
    between = np.diff(distinct)
    step = float(between.min())
    number = between / step
    if np.abs(number - np.rint(number)).max() > _ROUNDED:
        return None
    # More exactly, by all of them together.
    return float(distinct[0]), float((distinct[-1] - distinct[0]) / np.rint(number).sum())
