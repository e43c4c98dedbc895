"""The numbers of a histogram: an axis, its bins, and how many values are in each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from napari_cellama.core.bins import bin_edges

_MOST = 60
#: This share of the values at either end is counted in the last bar.
_EXTREMES = 0.002
#: How far beyond the values a limit may widen the axis, as a share of it.
_WIDEN = 0.25


class Bars:
    """Counts values in bins along an axis that is chosen so that limits near them are on it.

    Parameters
    ----------
    values
        (n,) numbers; those that are not finite are not counted.
    limits
        Where limits lie; infinite where there is none.
    log
        Whether the axis is logarithmic, of values from 0.

    Attributes
    ----------
    counts, failing
        (k,) int64: how many values are in each bin, and how many of them fail.
    shares
        (k + 1,) float64, 0 to 1: where along the axis the bins end.
    """

    def __init__(self, values: np.ndarray, limits: Sequence[float], *, log: bool) -> None:
        self._log = log
        scaled = self._scaled(np.asarray(values, float))
        known = scaled[np.isfinite(scaled)]
        # Counts and shares are never less than 0, nor does a logarithmic axis begin before it.
        self._least = 0.0 if log or (len(known) and known.min() >= 0) else -np.inf
        self._is_whole = bool(len(known)) and not np.any(np.mod(self._value(known).round(6), 1))
        first, last = _span(known, self._scaled(np.array(limits, float)))
        ends = self._value(np.array([max(first, self._least), last]))
        edges = bin_edges(values, float(ends[0]), float(ends[1]), _MOST, log=log)
        at = self._scaled(edges)
        self._low, self._high = float(at[0]), float(at[-1])
        self.shares = (at - self._low) / (self._high - self._low)
        n = len(edges) - 1
        bins = np.clip(np.searchsorted(at, scaled, "right") - 1, 0, n - 1)
        self._bins = np.where(np.isfinite(scaled), bins, n)  # the last is not shown
        self.counts = np.bincount(self._bins, minlength=n + 1)[:n]
        self.failing = np.zeros(n, np.int64)

    def fail(self, failing: np.ndarray) -> None:
        """Count which of the values, (n,) bool, fail."""
        n = len(self.counts)
        self.failing = np.bincount(self._bins[failing], minlength=n + 1)[:n]

    def share_of(self, value: float) -> float:
        """Return where along the axis a value lies, 0 to 1."""
        share = (float(self._scaled(np.array(value))) - self._low) / (self._high - self._low)
        return min(max(share, 0.0), 1.0)

    def value_at(self, share: float) -> float:
        """Return the value at a place along the axis."""
        value = self._value(np.array(self._low + share * (self._high - self._low)))
        return float(max(value, self._least))

    @property
    def edges(self) -> np.ndarray:
        """(k + 1,) float64: the values at which the bins end."""
        at = self._low + self.shares * (self._high - self._low)
        return np.maximum(self._value(at), self._least)

    @property
    def ends(self) -> tuple[float, float]:
        """What is written at the axis' ends; of whole numbers, the first and last there."""
        low, high = self.edges[[0, -1]].tolist()
        return (float(np.ceil(low)), float(np.floor(high))) if self._is_whole else (low, high)

    def table(self) -> pd.DataFrame:
        """Return the bars: ``low``, ``high``, ``cells``, and ``fail``, those of them that do."""
        edges = self.edges
        columns = {"low": edges[:-1], "high": edges[1:], "cells": self.counts, "fail": self.failing}
        return pd.DataFrame(columns)

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        """Return the places on the axis of values."""
        return np.log1p(np.maximum(values, 0)) if self._log else values

    def _value(self, scaled: np.ndarray) -> np.ndarray:
        """Return the values at places on the axis."""
        return np.expm1(scaled) if self._log else scaled


def _span(known: np.ndarray, limits: np.ndarray) -> tuple[float, float]:
    """Return the axis' ends: those of most values, or limits that are not far beyond."""
    low, high = np.quantile(known, (_EXTREMES, 1 - _EXTREMES)) if len(known) else (0.0, 1.0)
    if not high > low:
        low, high = low - 0.5, high + 0.5
    room, pad = _WIDEN * (high - low), 0.03 * (high - low)
    near = limits[(limits > low - room) & (limits < high + room)]
    return float(min([low, *near])) - pad, float(max([high, *near])) + pad
