"""A metric's histogram with limits that are dragged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QWidget

from napari_cellama.core.bins import bin_edges
from napari_cellama.ui.widgets.legend import number
from napari_cellama.ui.widgets.plot_menu import HINT, PlotMenu

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Side = Literal["low", "high"]
_HEIGHT, _BINS = 74, 60
_LEFT, _RIGHT, _TOP, _BOTTOM = 8, 8, 9, 16
#: Pixels that the mouse may miss a limit by, and from the end at which a limit is none.
_REACH, _END = 8, 2
_GRIP = 5.0
#: This share of the values at either end is drawn in the last bar.
_EXTREMES = 0.002
#: How far beyond the values a limit may widen the axis, as a share of it.
_WIDEN = 0.25
_PALE = 110


class Line(NamedTuple):
    """A limit in the histogram.

    Attributes
    ----------
    side
        Which end it limits.
    value
        Where it lies, in the metric's unit; infinite where there is no limit.
    part
        Whose it is, where each section has its own.
    """

    side: Side
    value: float
    part: int = 0


class Histogram(QWidget):
    """Bars of a metric's values, those of failing cells in red, between two limits.

    ``moved(str, int, object)`` tells side, part and value (``None``: no limit) of a limit that
    the mouse or an arrow key moves; ``released()`` that it has come to rest.
    """

    moved = Signal(str, int, object)
    released = Signal()

    def __init__(self, label: str, log: bool, parent: QWidget) -> None:
        super().__init__(parent)
        self._log, self._label = log, label
        self._text, self._strong, self._bad = (QColor(name) for name in ("gray", "gray", "red"))
        self._bins = self._all = self._failing = np.zeros(0, np.int64)
        self._ends_at = np.linspace(0.0, 1.0, _BINS + 1)  # of the bins, on the axis
        self._low, self._high, self._least = 0.0, 1.0, -np.inf
        self._whole = False  # whether values are whole numbers
        self.lines: tuple[Line, ...] = ()
        self._held: tuple[Side, int] | None = None
        self._chosen: Side = "low"
        self.setMouseTracking(True)
        self.setFixedHeight(_HEIGHT)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setAccessibleName(f"{label}, histogram with limits")
        self.setToolTip(
            "Drag a limit; drag it off the end for none. By keys: Space chooses the low or the "
            f"high limit, the arrows move it. {HINT}"
        )
        self.menu = PlotMenu(self, f"{label}.png", self.table, self.figure)

    def sizeHint(self) -> QSize:
        """Return the height of a few rows; the width is the dock's."""
        return QSize(120, _HEIGHT)

    def set_colors(self, text: QColor, strong: QColor, bad: QColor) -> None:
        """Take the colours of the theme."""
        self._text, self._strong, self._bad = text, strong, bad
        self.update()

    # ---- what is shown

    def show_values(self, values: np.ndarray, lines: tuple[Line, ...]) -> None:
        """Draw other values, (n,) numbers, and choose the axis so that limits near are on it."""
        scaled = self._scaled(np.asarray(values, float))
        known = scaled[np.isfinite(scaled)]
        low, high = np.quantile(known, (_EXTREMES, 1 - _EXTREMES)) if len(known) else (0.0, 1.0)
        if not high > low:
            low, high = low - 0.5, high + 0.5
        room = _WIDEN * (high - low)
        limits = self._scaled(np.array([line.value for line in lines], float))
        near = limits[(limits > low - room) & (limits < high + room)]
        pad = 0.03 * (high - low)
        first, last = float(min([low, *near])) - pad, float(max([high, *near])) + pad
        # Counts and shares are never less than 0.
        self._least = 0.0 if len(known) and known.min() >= 0 else -np.inf
        ends = self._value(np.array([max(first, self._least), last]))
        self._whole = bool(len(known)) and not np.any(np.mod(self._value(known).round(6), 1))
        edges = bin_edges(values, float(ends[0]), float(ends[1]), _BINS, log=self._log)
        self._ends_at = self._scaled(edges)
        self._low, self._high = float(self._ends_at[0]), float(self._ends_at[-1])
        n = len(edges) - 1
        bins = np.clip(np.searchsorted(self._ends_at, scaled, "right") - 1, 0, n - 1)
        self._bins = np.where(np.isfinite(scaled), bins, n)  # the last is not drawn
        self._all = np.bincount(self._bins, minlength=n + 1)[:n]
        self._failing = np.zeros(n, np.int64)
        self.lines = lines
        self.update()

    def show_failing(self, failing: np.ndarray, lines: tuple[Line, ...]) -> None:
        """Draw which of the values, (n,) bool, fail, and where the limits are now."""
        n = len(self._all)
        self._failing = np.bincount(self._bins[failing], minlength=n + 1)[:n]
        self.lines = lines
        self.update()

    def table(self) -> pd.DataFrame:
        """Return the bars: ``low``, ``high``, ``cells``, and ``fail``, those of them that do."""
        edges = self._edges
        bars = {"low": edges[:-1], "high": edges[1:], "cells": self._all, "fail": self._failing}
        return pd.DataFrame(bars)

    def figure(self) -> Figure:
        """Return the histogram as it is saved: on white, for slides and papers."""
        from napari_cellama.figures import histogram_figure

        limits = [line.value for line in self.lines if np.isfinite(line.value)]
        drawn = self._edges, self._all, self._failing, limits, self._label
        return histogram_figure(*drawn, log=self._log)

    @property
    def _edges(self) -> np.ndarray:
        return np.maximum(self._value(self._ends_at), self._least)

    @property
    def _told_ends(self) -> tuple[float, float]:
        """Return what is written at the axis' ends; of whole numbers, the first and last there."""
        low, high = self._edges[[0, -1]].tolist()
        return (float(np.ceil(low)), float(np.floor(high))) if self._whole else (low, high)

    # ---- places

    def x_of(self, value: float, side: Side = "low") -> float:
        """Return where a value lies on the widget; no limit lies at its side's end."""
        left, right = self._ends
        if not np.isfinite(value):
            return left if side == "low" else right
        share = (float(self._scaled(np.array(value))) - self._low) / (self._high - self._low)
        return left + min(max(share, 0.0), 1.0) * (right - left)

    def value_at(self, x: float, side: Side) -> float | None:
        """Return the value at a place; ``None`` beyond the side's end of the axis."""
        left, right = self._ends
        if (side == "low" and x <= left + _END) or (side == "high" and x >= right - _END):
            return None
        share = (min(max(x, left), right) - left) / (right - left)
        value = self._value(np.array(self._low + share * (self._high - self._low)))
        return float(max(value, self._least))

    @property
    def _ends(self) -> tuple[float, float]:
        return float(_LEFT), float(self.width() - _RIGHT)

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        return np.log1p(np.maximum(values, 0)) if self._log else values

    def _value(self, scaled: np.ndarray) -> np.ndarray:
        """Return the values at places on the axis."""
        return np.expm1(scaled) if self._log else scaled

    def _near(self, x: float) -> Line | None:
        """Return the limit at a place, the side's own half first where two lie together."""
        middle = sum(self._ends) / 2
        order = sorted(
            self.lines,
            key=lambda line: (
                abs(self.x_of(line.value, line.side) - x),
                (line.side == "low") != (x < middle),
            ),
        )
        found = order[0] if order else None
        close = found is not None and abs(self.x_of(found.value, found.side) - x) <= _REACH
        return found if close else None

    # ---- mouse and keys

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Take hold of the limit under the mouse."""
        line = self._near(event.position().x())
        if event.button() == Qt.MouseButton.LeftButton and line is not None:
            self._held, self._chosen = (line.side, line.part), line.side
            self.update()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Move the limit that is held."""
        x = event.position().x()
        if self._held is not None:
            side, part = self._held
            self.moved.emit(side, part, self.value_at(x, side))
            return
        over = self._near(x) is not None
        self.setCursor(Qt.CursorShape.SizeHorCursor if over else Qt.CursorShape.ArrowCursor)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Let go of the limit."""
        if self._held is not None and event.button() == Qt.MouseButton.LeftButton:
            self._held = None
            self.released.emit()
            self.update()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Choose a limit with Space and move it with the arrows, ten times as far with Shift."""
        steps = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(Qt.Key(event.key()))
        if event.key() == Qt.Key.Key_Space:
            self._chosen = "high" if self._chosen == "low" else "low"
            self.update()
        elif steps is not None and self.lines:
            far = 10 if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else 2
            line = next(line for line in self.lines if line.side == self._chosen)
            x = self.x_of(line.value, line.side) + steps * far
            self.moved.emit(line.side, line.part, self.value_at(x, line.side))
        else:
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        """Let the moved limit be once the arrow is up."""
        arrow = event.key() in (Qt.Key.Key_Left, Qt.Key.Key_Right)
        if arrow and not event.isAutoRepeat():
            self.released.emit()
        else:
            super().keyReleaseEvent(event)

    # ---- drawing

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the bars, the limits and the axis' ends."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        left, right = self._ends
        bottom = self.height() - _BOTTOM
        self._draw_bars(painter, self._all, self._faint(90), bottom)
        self._draw_bars(painter, self._failing, self._bad, bottom)
        painter.setPen(QPen(self._faint(_PALE), 1))
        painter.drawLine(QPointF(left, bottom), QPointF(right, bottom))
        font = painter.font()
        font.setPointSizeF(max(7.0, font.pointSizeF() - 2))
        painter.setFont(font)
        painter.setPen(self._faint(165))
        row = QRectF(left, bottom + 1, right - left, _BOTTOM - 1)
        low, high = self._told_ends
        painter.drawText(row, Qt.AlignmentFlag.AlignLeft, number(low))
        painter.drawText(row, Qt.AlignmentFlag.AlignRight, number(high))
        for line in self.lines:
            self._draw_line(painter, line, bottom)
        painter.end()

    def _draw_bars(
        self, painter: QPainter, counts: np.ndarray, color: QColor, bottom: float
    ) -> None:
        """Draw bars whose height is the root of the number, so that few cells are seen too."""
        # By their area, as bins of values in steps are not of one width on a logarithmic axis.
        width = np.diff(self._ends_at)
        most = np.sqrt(max(1e-12, (self._all / width).max(initial=0)))
        left, right = self._ends
        at = left + (self._ends_at - self._low) / (self._high - self._low) * (right - left)
        for i in np.flatnonzero(counts):
            height = np.sqrt(counts[i] / width[i]) / most * (bottom - _TOP)
            height = max(1.0, float(height))
            room = QRectF(at[i], bottom - height, max(1.0, at[i + 1] - at[i] - 0.6), height)
            painter.fillRect(room, color)

    def _draw_line(self, painter: QPainter, line: Line, bottom: float) -> None:
        x, there = self.x_of(line.value, line.side), np.isfinite(line.value)
        focus = self.hasFocus() and line.side == self._chosen
        pen = QPen(self._strong if not focus else self._text, 2 if focus else 1.5)
        painter.setPen(pen)
        if there:
            painter.drawLine(QPointF(x, _TOP), QPointF(x, bottom))
        inwards = 1 if line.side == "low" else -1
        grip = [
            QPointF(x, 1),
            QPointF(x + inwards * 2 * _GRIP, 1 + _GRIP),
            QPointF(x, 1 + 2 * _GRIP),
        ]
        painter.setBrush(pen.color() if there else Qt.BrushStyle.NoBrush)
        painter.drawPolygon(QPolygonF(grip))

    def _faint(self, alpha: int) -> QColor:
        color = QColor(self._text)
        color.setAlpha(alpha)
        return color
