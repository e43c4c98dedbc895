"""What a run knows of its niches: how many the data support, each number a click away, how sure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
from napari.utils.theme import get_theme
from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import (
    QColor,
    QFont,
    QHelpEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
)
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QToolTip, QVBoxLayout, QWidget

from napari_cellama.errors import UserError
from napari_cellama.ui.tissue import Coloring
from napari_cellama.ui.widgets.listen import heed, listen
from napari_cellama.ui.widgets.plot_menu import HINT, PlotMenu

if TYPE_CHECKING:
    import napari
    from matplotlib.figure import Figure

    from napari_cellama.core.result import NicheResult
    from napari_cellama.ui.session import Session

_HEIGHT = 104
_LEFT, _RIGHT, _TOP, _BOTTOM = 30, 8, 8, 18  #: room for the axes' numbers
_DOT, _SUPPORTED_DOT, _SHOWN_DOT = 1.5, 3.5, 5.0
_PALE = 110


class Stability(NamedTuple):
    """What a run with "auto" found of the numbers of niches.

    Attributes
    ----------
    key
        The result's key in its tissue.
    curve
        Each number's stability.
    supported
        The numbers that the data support, most stable first.
    shown
        The number of niches that are shown now.
    """

    key: str
    curve: Mapping[int, float]
    supported: tuple[int, ...]
    shown: int

    @classmethod
    def of(cls, result: NicheResult) -> Stability | None:
        """Return what a result knows, if its number of niches was once "auto"."""
        curve = result.provenance.get("stability", {})
        if len(curve) < 2:
            return None
        return cls(
            result.key,
            {int(number): float(value) for number, value in curve.items()},
            tuple(int(number) for number in result.provenance["candidates"]),
            len(result.labels.categories),
        )


class StabilityPanel(QWidget):
    """The curve of the shown niches, the supported numbers, and a way to see how sure they are.

    Hidden where the clusters are not a run's; without the curve where "auto" did not choose.

    Parameters
    ----------
    session
        Has the results, and finds another number of niches.
    viewer
        Whose theme gives the colours.
    parent
        The Qt parent.

    ``appeared()`` says that there is something to see now.
    """

    appeared = Signal()

    def __init__(self, session: Session, viewer: napari.Viewer, parent: QWidget) -> None:
        super().__init__(parent)
        self._session = session
        self.curve = StabilityCurve(self)
        self.curve.menu.told.connect(lambda level, text: session.message.emit(level, text, ""))
        self._follow_theme(viewer)
        self.curve.chosen.connect(self._take)
        self.remark = QLabel("Also supported:", self)
        self.remark.setObjectName("remark")
        self.remark.setToolTip(
            "Numbers of niches that are found again when cells are drawn anew, more so than the "
            "numbers beside them. A click shows them; nothing is embedded again."
        )
        self.others: list[QPushButton] = []
        self.sure = QPushButton("Colour by confidence", self)
        self.sure.setObjectName("link")
        self.sure.setToolTip(
            "Colour the tissue by how likely each cell belongs to its niche: about the share of "
            "cells with this value that an expert would put there, too."
        )
        self.sure.clicked.connect(self._color)
        self._line = QHBoxLayout()
        self._line.setSpacing(2)
        self._line.addWidget(self.remark)
        self._line.addStretch(1)
        self._line.addWidget(self.sure)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.curve)
        layout.addLayout(self._line)
        listen(self, session.active_changed, self.refresh)
        listen(self, session.clusters_changed, self.refresh)
        self.refresh()

    def _follow_theme(self, viewer: napari.Viewer) -> None:
        """Colour the curve by the viewer's theme, now and whenever the theme changes."""
        curve = self.curve

        def apply() -> None:
            theme = get_theme(viewer.theme)
            curve.set_colors(QColor(theme.text.as_hex()), QColor(theme.current.as_hex()))

        apply()
        heed(self, viewer.events.theme, apply)

    def refresh(self, *_: Any) -> None:
        """Show the niches that the Clusters dock shows, if they are a run's with "auto"."""
        tissue = self._session.active
        result = None if tissue is None else tissue.results.get(tissue.clusters)
        found = None if result is None else Stability.of(result)
        self.curve.show_stability(found)
        self._offer(() if found is None else found.supported, found and found.shown)
        appears = result is not None and self.isHidden()
        self.curve.setVisible(found is not None)
        self.setVisible(result is not None)
        if appears:
            self.appeared.emit()

    def _color(self) -> None:
        tissue = self._session.active
        name = next(name for name, key in tissue.confidences.items() if key == tissue.clusters)
        self._session.color_by(Coloring("obs", name))

    def _offer(self, numbers: tuple[int, ...], shown: int | None) -> None:
        """Make a button of every supported number that is not shown."""
        for button in self.others:
            button.hide()  # at once; Qt deletes it later
            button.deleteLater()
        self.others = [self._button(number) for number in numbers if number != shown]
        for place, button in enumerate(self.others, 1):
            self._line.insertWidget(place, button)
        self.remark.setVisible(bool(self.others))

    def _button(self, number: int) -> QPushButton:
        button = QPushButton(str(number), self)
        button.setObjectName("link")
        button.setToolTip(f"Find {number} niches instead; nothing is embedded again.")
        button.clicked.connect(lambda: self._take(number))
        return button

    def _take(self, number: int) -> None:
        if self.curve.stability is None or self._session.running is not None:
            return
        try:
            self._session.regroup(self.curve.stability.key, number)
        except UserError as error:
            self._session.message.emit("error", str(error), "")


class StabilityCurve(QWidget):
    """Stability against the number of niches; ``chosen(int)`` says which number was clicked."""

    chosen = Signal(int)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.stability: Stability | None = None
        self._text, self._strong = QColor("gray"), QColor("gray")
        self._hovered: int | None = None
        self.setMouseTracking(True)
        self.setFixedHeight(_HEIGHT)
        self.setAccessibleName("Stability of each number of niches")
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setToolTip(f"Arrow keys go along the curve, Enter finds that number. {HINT}")
        self.menu = PlotMenu(self, "stability.png", self.table, self.figure)

    def table(self) -> pd.DataFrame:
        """Return the curve: ``n_niches``, ``stability``, ``supported``."""
        stability = self.stability
        numbers = list(stability.curve)
        values = {"n_niches": numbers, "stability": list(stability.curve.values())}
        return pd.DataFrame({**values, "supported": [n in stability.supported for n in numbers]})

    def figure(self) -> Figure:
        """Return the curve as it is saved: on white, for slides and papers."""
        from napari_cellama.core.clustering import RELIABLE
        from napari_cellama.figures import stability_figure

        found = self.stability
        return stability_figure(found.curve, found.shown, found.supported, RELIABLE)

    def sizeHint(self) -> QSize:
        """Return the height of a few rows; the width is the dock's."""
        return QSize(120, _HEIGHT)

    def show_stability(self, stability: Stability | None) -> None:
        """Draw another result's curve."""
        self.stability, self._hovered = stability, None
        self.update()

    def set_colors(self, text: QColor, strong: QColor) -> None:
        """Draw in these colours; the number that is shown gets the strong one."""
        self._text, self._strong = text, strong
        self.update()

    def point(self, number: int) -> QPointF:
        """Return where a number's dot is."""
        numbers = self.stability.curve
        first, last = min(numbers), max(numbers)
        area = self._area
        x = area.left() + area.width() * (number - first) / (last - first)
        return QPointF(x, self._y(numbers[number]))

    @property
    def _area(self) -> QRectF:
        return QRectF(self.rect()).adjusted(_LEFT, _TOP, -_RIGHT, -_BOTTOM)

    @property
    def _lowest(self) -> float:
        """The stability at the bottom, a tenth below the curve or less."""
        return max(0.0, int(10 * min(self.stability.curve.values())) / 10)

    def _y(self, value: float) -> float:
        share = (value - self._lowest) / max(1 - self._lowest, 1e-6)
        return self._area.bottom() - self._area.height() * min(max(share, 0), 1)

    def _number_at(self, place: QPointF) -> int | None:
        """Return the number whose column a place lies in."""
        if self.stability is None:
            return None
        return min(self.stability.curve, key=lambda number: abs(self.point(number).x() - place.x()))

    # ---- the mouse

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Point out the number under the mouse."""
        self._hovered = self._number_at(event.position())
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.update()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Go along the curve by the arrow keys, and choose a number by Enter or Space."""
        numbers = [] if self.stability is None else list(self.stability.curve)
        steps = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}
        takes = Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space
        if numbers and event.key() in steps:
            here = self.stability.shown if self._hovered is None else self._hovered
            at = numbers.index(here) if here in numbers else 0
            self._hovered = numbers[min(max(at + steps[event.key()], 0), len(numbers) - 1)]
            place = self.point(self._hovered).toPoint()
            QToolTip.showText(self.mapToGlobal(place), self.tip(self._hovered), self)
            self.update()
        elif self._hovered is not None and event.key() in takes:
            if self._hovered != self.stability.shown:
                self.chosen.emit(self._hovered)
        else:
            super().keyPressEvent(event)

    def leaveEvent(self, event: QEvent) -> None:
        """Point out nothing."""
        self._hovered = None
        self.update()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Choose the number under the mouse, unless it is shown already."""
        number = self._number_at(event.position())
        if event.button() != Qt.MouseButton.LeftButton or number is None:
            return
        if self.rect().contains(event.position().toPoint()) and number != self.stability.shown:
            self.chosen.emit(number)

    def event(self, event: QEvent) -> bool:
        """Say in a tooltip what the number under the mouse is worth."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            if (number := self._number_at(QPointF(event.pos()))) is not None:
                QToolTip.showText(event.globalPos(), self.tip(number), self)
            return True
        return super().event(event)

    def tip(self, number: int) -> str:
        """Return e.g. ``"7 niches: stability 0.91, supported. Click to find them."``."""
        stability = self.stability
        supported = ", supported" if number in stability.supported else ""
        end = "Shown now." if number == stability.shown else "Click to find them."
        return f"{number} niches: stability {stability.curve[number]:.2f}{supported}. {end}"

    # ---- painting

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the axes, the line from which on numbers are reliable, the curve, its dots."""
        if self.stability is None:
            return
        pale = QColor(self._text)
        pale.setAlpha(_PALE)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._draw_axes(painter, pale)
        painter.setPen(QPen(pale, 1.2))
        painter.drawPolyline(QPolygonF([self.point(n) for n in self.stability.curve]))
        painter.setPen(Qt.PenStyle.NoPen)
        for number in self.stability.curve:
            self._draw_dot(painter, number)
        painter.end()

    def _draw_axes(self, painter: QPainter, color: QColor) -> None:
        from napari_cellama.core.clustering import RELIABLE

        area, numbers = self._area, list(self.stability.curve)
        font = QFont(self.font())
        font.setPointSizeF(max(6.0, font.pointSizeF() * 0.85))
        painter.setFont(font)
        painter.setPen(QPen(color, 1, Qt.PenStyle.DashLine))
        painter.drawLine(
            QPointF(area.left(), self._y(RELIABLE)), QPointF(area.right(), self._y(RELIABLE))
        )
        painter.setPen(color)
        middle = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight
        for value in (RELIABLE, 1.0, self._lowest):
            place = QRectF(0, self._y(value) - 8, _LEFT - 7, 16)
            painter.drawText(place, middle, f"{value:.2g}")
        last = numbers[-1]
        for number in numbers:
            if number in (numbers[0], last) or (number % 5 == 0 and number < last - 1):
                place = QRectF(self.point(number).x() - 12, area.bottom() + 4, 24, 14)
                painter.drawText(place, Qt.AlignmentFlag.AlignCenter, str(number))

    def _draw_dot(self, painter: QPainter, number: int) -> None:
        shown, supported = self.stability.shown == number, number in self.stability.supported
        radius = _SHOWN_DOT if shown else _SUPPORTED_DOT if supported else _DOT
        if number == self._hovered and not shown:
            radius += 1.5
        painter.setBrush(self._strong if shown else self._text)
        painter.drawEllipse(self.point(number), radius, radius)
