"""Figures of the docks' small plots: the curve of the number of niches, a metric's histogram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .cluster import Look, _axes, _figure
from .page import GREY, INK, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIZE = 7
_BAR, _FAILS = "#8aa4c8", "#c0392b"


def stability_figure(
    curve: Mapping[int, float], shown: int, supported: Sequence[int], reliable: float
) -> Figure:
    """Draw how stable each number of niches is.

    Parameters
    ----------
    curve
        Each number's stability.
    shown, supported
        The number that is shown, and those that the data support: larger dots.
    reliable
        From where on numbers are found again; a dashed line.
    """
    numbers, values = list(curve), list(curve.values())
    with style():
        look = Look()
        figure = _figure(look, 1.9)
        axes = _axes(figure, look, (0.5, 0.15, look.width - 0.65, 1.3))
        axes.axhline(reliable, color=GREY, linewidth=0.8, linestyle="--")
        axes.plot(numbers, values, color=INK, linewidth=0.9, marker="o", markersize=2)
        for number in supported:
            color = _FAILS if number == shown else INK
            axes.plot(number, curve[number], "o", color=color, markersize=5)
        if shown in curve:
            axes.plot(shown, curve[shown], "o", color=_FAILS, markersize=6)
        axes.set_xlabel("number of niches", size=_SIZE, labelpad=1)
        axes.set_ylabel("stability", size=_SIZE, labelpad=1)
    return figure


def histogram_figure(
    edges: np.ndarray,
    counts: np.ndarray,
    failing: np.ndarray,
    limits: Sequence[float],
    label: str,
    *,
    log: bool = False,
) -> Figure:
    """Draw a metric's histogram, the failing cells' part in red, and its limits.

    Parameters
    ----------
    edges
        (k + 1,) the bins' ends.
    counts, failing
        (k,) cells in each bin, and those of them that fail.
    limits
        Dashed lines.
    label
        The metric's name.
    log
        Whether equal steps of the axis are equal steps of log(1 + x).
    """
    with style():
        look = Look()
        figure = _figure(look, 1.75)
        axes = _axes(figure, look, (0.55, 0.12, look.width - 0.7, 1.2))
        axes.stairs(counts, edges, fill=True, color=_BAR)
        axes.stairs(failing, edges, fill=True, color=_FAILS)
        for limit in limits:
            axes.axvline(limit, color=INK, linewidth=0.8, linestyle="--")
        if log:
            axes.set_xscale("function", functions=(np.log1p, np.expm1))
        axes.set_xlim(edges[0], edges[-1])
        axes.set_xlabel(label, size=_SIZE, labelpad=1)
        axes.set_ylabel("cells", size=_SIZE, labelpad=1)
    return figure
