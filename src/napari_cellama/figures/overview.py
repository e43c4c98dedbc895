"""The figure for the talk: the tissue by cell type and by niche, and what niches are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_cellama.errors import unknown_name

from .page import (
    LEGEND,
    LEGEND_ROW,
    TITLE_SIZE,
    Page,
    elided,
    legend_handles,
    legend_width,
    readable_on,
    style,
    text_width,
)
from .tissue import draw_tissue, fit, paint

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARGIN = 0.25
_GAP = 0.35
_TITLE = 0.4
_FOOT = 0.4
_BARS_WIDTH = 3.8
_ROW = 0.34


@dataclass(frozen=True)
class _Labels:
    """A column's categories with their colours."""

    categories: pd.Categorical
    colors: Sequence[str]

    @property
    def names(self) -> list[str]:
        return [str(name) for name in self.categories.categories]

    @property
    def sizes(self) -> np.ndarray:
        codes = np.asarray(self.categories.codes)
        return np.bincount(codes[codes >= 0], minlength=len(self.names))


def overview_figure(
    adata: AnnData, key: str = "niche", cell_type_key: str | None = "auto"
) -> Figure:
    """Draw the tissue by cell type and by niche, and what each niche is made of.

    Parameters
    ----------
    adata
        With positions and ``obs[key]``.
    key
        The obs column of the niches.
    cell_type_key
        The obs column of the cell types; "auto" guesses it as a run does, ``None`` leaves the
        cell types out.

    Returns
    -------
    matplotlib.figure.Figure
        Not known to pyplot; save it with :func:`save_figure`.

    Raises
    ------
    UserError
        When there are no positions, or there is no such column.
    """
    from napari_cellama.core.tissue import positions
    from napari_cellama.core.units import units_of

    niches = _labels(adata, key)
    cell_type_key = _cell_type_key(adata, cell_type_key)
    types = None if cell_type_key is None else _labels(adata, cell_type_key)
    coords, units = positions(adata), units_of(adata)
    layout = _Layout.of(coords, niches, types)
    panels = [("Cell types", types)] if types else []
    panels.append(("Niches", niches))
    with style():
        figure = layout.page.figure()
        for i, (title, labels) in enumerate(panels):
            axes = layout.page.axes(figure, *layout.tissue(i))
            draw_tissue(axes, coords, *paint(labels.categories, labels.colors), units)
            axes.set_title(title, fontsize=TITLE_SIZE, loc="left", pad=8)
        _draw_composition(layout.page.axes(figure, *layout.bars), niches, types)
        if types:
            layout.draw_legend(figure, types)
    return figure


def _labels(adata: AnnData, key: str) -> _Labels:
    from napari_cellama.core.palette import colors_of

    if key not in adata.obs:
        raise unknown_name("obs column", key, adata.obs.columns)
    return _Labels(pd.Categorical(adata.obs[key]), colors_of(adata.obs[key], adata.uns))


@dataclass(frozen=True)
class _Layout:
    """Where things lie, in inches.

    Tissues side by side, or above each other if they are wide; the bars at the right of them;
    the cell types' legend under the bars where there is room, else under everything.
    """

    page: Page
    panel: tuple[float, float]
    stacked: bool
    bars: tuple[float, float, float, float]
    legend_corner: tuple[float, float]
    legend_columns: int

    @classmethod
    def of(cls, coords: np.ndarray, niches: _Labels, types: _Labels | None) -> _Layout:
        """Lay out a page for a tissue of this aspect and so many names of these lengths."""
        panel = fit(coords, 5.6, 4.8)
        stacked = types is not None and panel[0] > 1.7 * panel[1]
        rows, columns = (2, 1) if stacked else (1, 1 if types is None else 2)
        left = columns * (panel[0] + _GAP)
        names = 0.75 + text_width([elided(name) for name in niches.names], 10)
        right = names + _BARS_WIDTH
        tissues = rows * (_TITLE + panel[1] + _FOOT)
        n_bars = len(niches.names)
        room = tissues - _TITLE - _FOOT - n_bars * _ROW
        legend_columns, legend = _legend_size(types, right)
        beside = legend <= room
        if not beside:
            legend_columns, legend = _legend_size(types, left + right)
        room -= legend if beside else 0
        row = min(_ROW + max(room, 0) / n_bars, 0.5)
        body = max(tissues, _TITLE + n_bars * row + _FOOT)
        page = Page(2 * _MARGIN + left + right, 2 * _MARGIN + body + (0 if beside else legend))
        top = page.height - _MARGIN - _TITLE
        bars = (_MARGIN + left + names, top - n_bars * row, _BARS_WIDTH, n_bars * row)
        corner = (_MARGIN + left + names / 3 if beside else _MARGIN, _MARGIN)
        return cls(page, panel, stacked, bars, corner, legend_columns)

    def tissue(self, i: int) -> tuple[float, float, float, float]:
        """Return the place of the i-th tissue."""
        width, height = self.panel
        row, column = (i, 0) if self.stacked else (0, i)
        top = self.page.height - _MARGIN - row * (_TITLE + height + _FOOT) - _TITLE
        return (_MARGIN + column * (width + _GAP), top - height, width, height)

    def draw_legend(self, figure: Figure, types: _Labels) -> None:
        """Draw the cell types' legend in its place."""
        x, y = self.legend_corner
        figure.legend(
            handles=legend_handles(types.categories, types.colors),
            title="Cell types",
            alignment="left",
            loc="lower left",
            bbox_to_anchor=(x / self.page.width, y / self.page.height),
            ncols=self.legend_columns,
            **LEGEND,
        )


def _legend_size(types: _Labels | None, width: float) -> tuple[int, float]:
    """Return how many columns a legend has in a given width, and its height in inches."""
    if types is None:
        return 1, 0.0
    handles = legend_handles(types.categories, types.colors)
    columns = min(max(int(width / legend_width(handles)), 1), len(handles))
    return columns, -(-len(handles) // columns) * LEGEND_ROW + 0.45


def _draw_composition(axes: Axes, niches: _Labels, types: _Labels | None) -> None:
    """Draw one bar a niche: its cell types as shares; its number of cells without types."""
    rows = np.arange(len(niches.names))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if types is None:
        axes.barh(rows, niches.sizes, color=list(niches.colors), height=0.8)
        axes.set_title("Cells in each niche", fontsize=TITLE_SIZE, loc="left", pad=8)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.xaxis.get_major_locator().set_params(nbins=4, integer=True)
    else:
        _draw_shares(axes, niches, types)
        axes.set_title("What each niche is made of", fontsize=TITLE_SIZE, loc="left", pad=8)
        axes.set(xlim=(0, 1), xticks=(0, 0.5, 1), xticklabels=("0%", "50%", "100%"))
    share = niches.sizes / max(niches.sizes.sum(), 1)
    names = [f"{elided(name)}  {part:.0%}" for name, part in zip(niches.names, share, strict=True)]
    axes.set(ylim=(len(rows) - 0.5, -0.5), yticks=rows, yticklabels=names)
    axes.tick_params(axis="y", pad=18)
    inches = axes.get_position().width * axes.figure.get_figwidth()
    axes.scatter(
        np.full(len(rows), -0.13 / inches),
        rows,
        c=list(niches.colors),
        s=70,
        clip_on=False,
        transform=axes.get_yaxis_transform(),
    )


def _draw_shares(axes: Axes, niches: _Labels, types: _Labels) -> None:
    """Stack each niche's shares of cell types, and name the parts that are wide enough."""
    known = (niches.categories.codes >= 0) & (types.categories.codes >= 0)
    counts = np.zeros((len(niches.names), len(types.names)))
    np.add.at(counts, (niches.categories.codes[known], types.categories.codes[known]), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    starts = np.cumsum(shares, axis=1) - shares
    rows = np.arange(len(shares))
    inches = axes.get_position().width * axes.figure.get_figwidth()
    for j, (name, color) in enumerate(zip(types.names, types.colors, strict=True)):
        part, start = shares[:, j], starts[:, j]
        axes.barh(rows, part, left=start, color=color, height=0.8, edgecolor="white", linewidth=0.4)
        text = elided(name, 20)
        for row in rows[part * inches > text_width([text], 8) + 0.05]:
            middle = start[row] + part[row] / 2
            axes.text(
                middle,
                row,
                text,
                ha="center",
                va="center",
                fontsize=8,
                color=readable_on(color),
            )


def _cell_type_key(adata: AnnData, key: str | None) -> str | None:
    """Return the column that "auto" means for these data."""
    if key != "auto":
        return key
    from napari_cellama.core.resolve import guess_cell_type_key

    return guess_cell_type_key(adata.obs, adata.uns)
