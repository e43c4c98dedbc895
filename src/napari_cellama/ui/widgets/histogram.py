"""A metric's histogram with limits that are dragged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QWidget

from napari_cellama.ui.widgets.bars import Bars
from napari_cellama.ui.widgets.legend import number
from napari_cellama.ui.widgets.plot_menu import HINT, PlotMenu

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Side = Literal["low", "high"]
_HEIGHT = 74
_LEFT, _RIGHT, _TOP, _BOTTOM = 8, 8, 9, 16
#: Pixels that the mouse may miss a limit by, and from the end at which a limit is none.
_REACH, _END = 8, 2
_GRIP = 5.0
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
        self._bars = Bars(np.zeros(0), (), log=log)
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
        """Draw other values, (n,) numbers, on an axis that limits near them are on."""
        self._bars = Bars(values, [line.value for line in lines], log=self._log)
        self.lines = lines
        self.update()

    def show_failing(self, failing: np.ndarray, lines: tuple[Line, ...]) -> None:
        """Draw which of the values, (n,) bool, fail, and where the limits are now."""
        self._bars.fail(failing)
        self.lines = lines
        self.update()

    def table(self) -> pd.DataFrame:
        """Return the bars: ``low``, ``high``, ``cells``, and ``fail``, those of them that do."""
        return self._bars.table()

    def figure(self) -> Figure:
        """Return the histogram as it is saved: on white, for slides and papers."""
        from napari_cellama.figures import histogram_figure

        limits = [line.value for line in self.lines if np.isfinite(line.value)]
        bars = self._bars
        drawn = bars.edges, bars.counts, bars.failing, limits, self._label
        return histogram_figure(*drawn, log=self._log)

    # ---- places

    def x_of(self, value: float, side: Side = "low") -> float:
        """Return where a value lies on the widget; no limit lies at its side's end."""
        left, right = self._ends
        if not np.isfinite(value):
            return left if side == "low" else right
        return left + self._bars.share_of(value) * (right - left)

    def value_at(self, x: float, side: Side) -> float | None:
        """Return the value at a place; ``None`` beyond the side's end of the axis."""
        left, right = self._ends
        if (side == "low" and x <= left + _END) or (side == "high" and x >= right - _END):
            return None
        return self._bars.value_at((min(max(x, left), right) - left) / (right - left))

    @property
    def _ends(self) -> tuple[float, float]:
        return float(_LEFT), float(self.width() - _RIGHT)

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
        self._draw_bars(painter, self._bars.counts, self._faint(90), bottom)
        self._draw_bars(painter, self._bars.failing, self._bad, bottom)
        painter.setPen(QPen(self._faint(_PALE), 1))
        painter.drawLine(QPointF(left, bottom), QPointF(right, bottom))
        font = painter.font()
        font.setPointSizeF(max(7.0, font.pointSizeF() - 2))
        painter.setFont(font)
        painter.setPen(self._faint(165))
        row = QRectF(left, bottom + 1, right - left, _BOTTOM - 1)
        low, high = self._bars.ends
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
        width = np.diff(self._bars.shares)
        most = np.sqrt(max(1e-12, (self._bars.counts / width).max(initial=0)))
        left, right = self._ends
        at = left + self._bars.shares * (right - left)
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
