"""Figures of one cluster: what surrounds it, what it borders on, how certain it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_cellama.figures.page import GREY, INK, elided, style, text_width

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = 8
#: Inches: a row of text, a margin, the colour bar.
_ROW, _EDGE, _BAR = 0.165, 0.06, 0.1
_LONGEST = 18
#: Axes are no narrower, whatever room the names leave.
_LEAST = 0.3
#: Log2 ratios beyond these have the strongest colour, or their bar ends there.
_STRONGEST, _LONGEST_BAR = 3.0, 4.0
#: More kinds of neighbours, or bordering clusters, than this are not drawn.
_MOST_ROWS = 40


@dataclass(frozen=True)
class Look:
    """A figure's width in inches, and the colours of its text and what is behind it.

    On the screen they are those of napari's theme.
    """

    width: float = 3.4
    ink: str = INK
    paper: str = "white"


def enrichment_figure(
    enrichment: pd.DataFrame, counts: pd.DataFrame, marked: Sequence[str], look: Look | None = None
) -> Figure:
    """Draw what surrounds the clusters: a column a cluster, a row a kind of neighbour.

    Parameters
    ----------
    enrichment, counts
        (clusters, kinds): log2 of a share over the share in all, and how many neighbours.
    marked
        The clusters whose columns are framed. Their kinds of neighbours are in order, the most
        enriched first, each with its count at the right.
    look
        Width and colours.
    """
    look = look or Look()
    order = ordered_kinds(enrichment.loc[list(marked)].mean(axis=0))
    values, number = enrichment[order].T, counts.loc[list(marked), order].sum(axis=0)
    largest = float(np.abs(values.to_numpy()).max(initial=0))
    most = min(max(1.0, largest), _STRONGEST)
    clusters = _short(values.columns)
    remarks = [f"{count:,}" for count in number]
    left, right = (text_width(texts, _SIZE) + 0.1 for texts in (_short(order), remarks))
    height = _ROW * len(order)
    inside = max(look.width - left - right - 2 * _EDGE, _LEAST)
    step, upright = _spread(clusters, inside / max(len(clusters), 1))
    below = (_ROW if upright else text_width(clusters, _SIZE)) + 0.1
    with style():
        figure = _figure(look, height + below + 3 * _EDGE + 4 * _BAR)
        top = _EDGE
        axes = _axes(figure, look, (left + _EDGE, top, inside, height))
        image = axes.imshow(values, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
        axes.set_yticks(range(len(order)), _short(order))
        framed = np.array([name in marked for name in values.columns])
        shown = _named(framed, step)
        names = [clusters[i] for i in shown]
        axes.set_xticks(shown, names, rotation=0 if upright else 90)
        for column in np.flatnonzero(framed):
            _frame(axes, column, len(order), look.ink)
        _at_right(axes, remarks, look)
        place = left + _EDGE, top + height + below + _EDGE, inside, _BAR
        bar = figure.colorbar(
            image,
            _axes(figure, look, place),
            orientation="horizontal",
            extend="both" if largest > most else "neither",
        )
        bar.outline.set_visible(False)
        bar.set_label("log2 enrichment", size=_SIZE, labelpad=1, color=look.ink)
        bar.ax.tick_params(labelsize=_SIZE, length=2, pad=1, colors=look.ink)
    return figure


def _spread(names: Sequence[str], column: float) -> tuple[int, bool]:
    """Return which columns have room for their name, every first, second, …, and whether upright.

    ``column`` is one column's width in inches. Names are turned where more of them fit so.
    """
    wide = int(np.ceil((text_width(names, _SIZE) + 0.06) / column))
    turned = int(np.ceil(_ROW / column))
    return (wide, True) if wide <= turned else (turned, False)


def _named(framed: np.ndarray, step: int) -> list[int]:
    """Return the columns that are named: the framed ones, and of the rest those with room."""
    marked = np.flatnonzero(framed)
    others = np.arange(0, len(framed), step)
    far = np.abs(others[:, None] - marked[None]).min(axis=1, initial=len(framed)) >= step
    return sorted({*marked.tolist(), *others[far].tolist()})


def contingency_figure(table: pd.DataFrame, agreement: float, look: Look | None = None) -> Figure:
    """Draw how two label sets share the cells: a row a label of one, a column one of the other.

    Parameters
    ----------
    table
        From :func:`~napari_cellama.core.labels.compared`; every cell is coloured by its share of
        its row, and has its count written in where there is room.
    agreement
        The adjusted Rand index.
    look
        Width and colours.
    """
    look = look or Look()
    counts = table.to_numpy()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows, columns = _short(table.index), _short(table.columns)
    left, below = (text_width(texts, _SIZE) + 0.1 for texts in (rows, columns))
    left, height = left + 0.2, 1.4 * _ROW * len(rows)
    heading = 1.3 * _ROW
    with style():
        figure = _figure(look, heading + height + below + 5 * _EDGE + 5 * _BAR)
        inside = max(look.width - left - 3 * _EDGE, _LEAST)
        axes = _axes(figure, look, (left + _EDGE, heading, inside, height))
        image = axes.imshow(share, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        axes.set_title(
            f"adjusted Rand index {agreement:.3f}", size=_SIZE, color=look.ink, loc="left", pad=3
        )
        axes.set_yticks(range(len(rows)), rows)
        axes.set_ylabel(elided(str(table.index.name), _LONGEST), size=_SIZE)
        step = int(np.ceil(len(columns) * _ROW / inside))
        axes.set_xticks(range(0, len(columns), step), columns[::step], rotation=90)
        widest = text_width([f"{counts.max(initial=0):,}"], _SIZE - 1)
        if inside / max(len(columns), 1) > widest:
            for (row, column), count in np.ndenumerate(counts):
                if count:
                    ink = "black" if share[row, column] > 0.5 else "white"
                    place = {"ha": "center", "va": "center", "size": _SIZE - 1}
                    axes.text(column, row, f"{count:,}", color=ink, **place)
        place = left + _EDGE, heading + height + below + 2 * _EDGE, inside, _BAR
        bar = figure.colorbar(image, _axes(figure, look, place), orientation="horizontal")
        bar.outline.set_visible(False)
        name = elided(str(table.columns.name), _LONGEST)
        bar.set_label(f"share of a row's cells; columns: {name}", size=_SIZE, color=look.ink)
        bar.ax.tick_params(labelsize=_SIZE, length=2, pad=1, colors=look.ink)
    return figure


def ordered_kinds(values: pd.Series) -> list[str]:
    """Return the names that tell most, at most as many as are drawn, the highest value first."""
    telling = values.abs().sort_values(ascending=False, kind="stable").index[:_MOST_ROWS]
    return list(values[telling].sort_values(ascending=False, kind="stable").index)


def borders_figure(
    borders: pd.DataFrame, colors: Mapping[str, str], look: Look | None = None
) -> Figure:
    """Draw which clusters are bordered on more than their sizes let expect, with the contacts.

    Parameters
    ----------
    borders
        See :func:`napari_cellama.core.borders.borders`.
    colors
        ``#rrggbb`` by cluster.
    look
        Width and colours.
    """
    look = look or Look()
    table = borders.head(_MOST_ROWS)
    names = _short(table["cluster"])
    remarks = [f"{count:,}" for count in table["contacts"]]
    left, right = (text_width(texts, _SIZE) + 0.1 for texts in (names, remarks))
    height = _ROW * max(1, len(names))
    with style():
        figure = _figure(look, height + 0.45)
        place = left + _EDGE, _EDGE, look.width - left - right - 2 * _EDGE, height
        axes = _axes(figure, look, place)
        rows = np.arange(len(names))
        bars = [colors[name] for name in table["cluster"]]
        ratios = table["log2_ratio"].clip(-_LONGEST_BAR, _LONGEST_BAR)
        axes.barh(rows, ratios, height=0.7, color=bars)
        axes.axvline(0, color=look.ink, linewidth=0.6)
        axes.set_yticks(rows, names)
        axes.set_ylim(max(1, len(names)) - 0.5, -0.5)
        axes.set_xlabel("log2 (contacts / expected)", size=_SIZE, labelpad=1)
        _at_right(axes, remarks, look)
    return figure


def certainty_figure(certainty: pd.DataFrame, color: str, look: Look | None = None) -> Figure:
    """Draw how certain a cluster's cells are, as bars, and the rest, as a line.

    Parameters
    ----------
    certainty
        ``low``, ``high``, ``cells``, ``rest``: bins and how many cells are in each.
    color
        The cluster's.
    look
        Width and colours.
    """
    look = look or Look()
    edges = [*certainty["low"], certainty["high"].iloc[-1]]
    shares = [100 * certainty[of] / max(1, certainty[of].sum()) for of in ("cells", "rest")]
    with style():
        figure = _figure(look, 1.55)
        axes = _axes(figure, look, (0.45, 0.12, look.width - 0.6, 1.0))
        axes.stairs(shares[0], edges, fill=True, color=color, label="this cluster")
        axes.stairs(shares[1], edges, color=look.ink, linewidth=1, label="the rest")
        axes.set_xlim(0, 1)
        axes.set_xlabel("confidence", size=_SIZE, labelpad=1)
        axes.set_ylabel("% of cells", size=_SIZE, labelpad=1)
        axes.legend(frameon=False, fontsize=_SIZE, loc="upper left", labelcolor=look.ink)
    return figure


def _figure(look: Look, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((look.width, height), facecolor=look.paper)
    FigureCanvasAgg(figure)
    return figure


def _axes(figure: Figure, look: Look, place: tuple[float, float, float, float]) -> Axes:
    """Add axes, at inches from the upper left: left, top, width, height."""
    left, top, width, height = place
    width = max(width, _LEAST)
    wide, high = figure.get_size_inches()
    axes = figure.add_axes((left / wide, 1 - (top + height) / high, width / wide, height / high))
    axes.set_facecolor("none")
    axes.tick_params(length=2, pad=2, labelsize=_SIZE, colors=look.ink)
    axes.xaxis.label.set_color(look.ink)
    axes.yaxis.label.set_color(look.ink)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GREY)
        spine.set_linewidth(0.6)
    return axes


def _at_right(axes: Axes, remarks: Sequence[str], look: Look) -> None:
    """Write a remark at the right of each row."""
    for row, text in enumerate(remarks):
        axes.annotate(
            text,
            (1, row),
            (3, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            size=_SIZE,
            color=look.ink,
        )


def _frame(axes: Axes, column: int, rows: int, ink: str) -> None:
    from matplotlib.patches import Rectangle

    place = (column - 0.5, -0.5), 1, rows
    axes.add_patch(Rectangle(*place, fill=False, edgecolor=ink, linewidth=1.4, clip_on=False))


def _short(names: Sequence[str]) -> list[str]:
    return [elided(str(name), _LONGEST) for name in names]
