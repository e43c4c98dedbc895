"""What the colours on the tissue mean: swatches with counts, or a colour bar with its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from qtpy.QtCore import QAbstractListModel, QModelIndex, QSize, Qt
from qtpy.QtGui import QColor, QLinearGradient, QPainter
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QListView, QVBoxLayout, QWidget

from napari_cellama.ui import format as fmt
from napari_cellama.ui.widgets.plot_menu import PlotMenu
from napari_cellama.ui.widgets.rows import REMARK_ROLE, RowDelegate

if TYPE_CHECKING:
    from napari_cellama.ui.painting import Legend

#: How many swatches are seen without scrolling.
_ROWS = 8
#: What is drawn for cells without a label or value.
_UNKNOWN = "#808080"


class LegendModel(QAbstractListModel):
    """A categorical legend's rows, in its own order, then the cells that are in none."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._rows: list[tuple[str, str, int]] = []

    def show_legend(self, legend: Legend) -> None:
        """Show another legend."""
        self.beginResetModel()
        self._rows = list(zip(legend.names, legend.colors, legend.counts, strict=True))
        if legend.n_unknown:
            self._rows.append(("without a label", _UNKNOWN, legend.n_unknown))
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of rows."""
        return 0 if parent is not None and parent.isValid() else len(self._rows)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return a row's name, colour or count."""
        name, color, count = self._rows[index.row()]
        return {
            Qt.ItemDataRole.DisplayRole: name,
            Qt.ItemDataRole.DecorationRole: QColor(color),
            Qt.ItemDataRole.ToolTipRole: f"{name}: {fmt.count(count, 'cell')}",
            REMARK_ROLE: f"{count:,}",
        }.get(role)


class ColorBar(QWidget):
    """A strip of a colour map's colours."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._gradient = QLinearGradient(0, 0, 1, 0)
        self.setFixedHeight(14)

    def show_colormap(self, name: str) -> None:
        """Show another colour map."""
        from napari.utils.colormaps import ensure_colormap

        places = np.linspace(0, 1, 33)
        gradient = QLinearGradient(0, 0, 1, 0)
        gradient.setCoordinateMode(QLinearGradient.CoordinateMode.ObjectMode)
        for place, rgba in zip(places, ensure_colormap(name).map(places), strict=True):
            gradient.setColorAt(place, QColor.fromRgbF(*map(float, rgba)))
        self._gradient = gradient
        self.update()

    def paintEvent(self, event: Any) -> None:
        """Draw the strip."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self._gradient)
        painter.drawRoundedRect(self.rect(), 3, 3)
        painter.end()


class _Swatches(QListView):
    """A list as high as its rows, up to a few."""

    def sizeHint(self) -> QSize:
        rows = self.model().rowCount()
        height = self.sizeHintForRow(0) * min(rows, _ROWS) if rows else 0
        return QSize(200, height + 2 * self.frameWidth() + 2)


class LegendView(QWidget):
    """Shows a legend; empty where nothing is told apart."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._model = LegendModel(self)
        self.legend: Legend | None = None
        self.swatches = self._make_swatches()
        self.bar = ColorBar(self)
        self.low, self.high = QLabel(self), QLabel(self)
        self.unknown = QLabel(self)
        self.unknown.setObjectName("muted")
        self._continuous = QWidget(self)
        limits = QHBoxLayout()
        limits.addWidget(self.low)
        limits.addStretch(1)
        limits.addWidget(self.high)
        column = QVBoxLayout(self._continuous)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.bar)
        column.addLayout(limits)
        column.addWidget(self.unknown)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.swatches)
        layout.addWidget(self._continuous)
        # The tissue's figure has the legend on it; its numbers are here.
        PlotMenu(self.swatches, "legend", self.table)

    def _make_swatches(self) -> QListView:
        view = _Swatches(self)
        view.setModel(self._model)
        view.setItemDelegate(RowDelegate(view))
        view.setUniformItemSizes(True)
        view.setFrameShape(QFrame.Shape.NoFrame)
        view.setStyleSheet("QListView { background: transparent; }")
        view.setSelectionMode(QListView.SelectionMode.NoSelection)
        view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        view.setAccessibleName("Legend")
        view.setToolTip(
            "What the colours mean, and how many cells have each. Right click or Ctrl+C: copy it."
        )
        return view

    def show_legend(self, legend: Legend | None) -> None:
        """Show what the colours mean; ``None`` shows nothing."""
        self.legend = legend
        kind = "plain" if legend is None else legend.kind
        self.setVisible(kind != "plain")
        self.swatches.setVisible(kind == "categorical")
        self._continuous.setVisible(kind == "continuous")
        if kind == "categorical":
            self._model.show_legend(legend)
            self.swatches.setFixedHeight(self.swatches.sizeHint().height())
        elif kind == "continuous":
            self._show_bar(legend)

    def table(self) -> pd.DataFrame:
        """Return a categorical legend's rows: ``name``, ``color``, ``cells``."""
        legend = self.legend
        columns = {"name": legend.names, "color": legend.colors, "cells": legend.counts}
        return pd.DataFrame(columns)

    def _show_bar(self, legend: Legend) -> None:
        self.bar.show_colormap(legend.colormap)
        low, high = limits_text(*legend.limits)
        self.low.setText(low)
        self.high.setText(high)
        tip = (
            f"{legend.title}, from {low} to {high}; the few values beyond have the colour of the "
            "nearer end."
        )
        for widget in (self.bar, self.low, self.high):
            widget.setToolTip(tip)
        self.unknown.setText(f"{fmt.count(legend.n_unknown, 'cell')} without a value, in grey")
        self.unknown.setVisible(legend.n_unknown > 0)


def limits_text(low: float, high: float) -> tuple[str, str]:
    """Return the ends of a colour bar, with as many decimals as each other, and a true minus."""
    texts = number(low), number(high)
    decimals = max(len(text.partition(".")[2]) for text in texts)
    if 0 < decimals <= 4 and not any("e" in text or "," in text for text in texts):
        # A zero needs no decimals beside a number that has some.
        texts = tuple(f"{end:.{decimals}f}" if end else "0" for end in (low, high))
    return texts[0].replace("-", "−"), texts[1].replace("-", "−")


def number(value: float) -> str:
    """Return a value of unknown size for people: three digits, thousands set apart."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
