"""A figure in a dock: as wide as the dock, in the theme's colours, sharp on any screen."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.theme import get_theme
from qtpy.QtCore import QEvent, QPoint
from qtpy.QtGui import QImage, QPainter, QPaintEvent, QResizeEvent, QShowEvent
from qtpy.QtWidgets import QToolTip, QWidget

from napari_cellama.figures import Look
from napari_cellama.ui.widgets.listen import heed

if TYPE_CHECKING:
    import napari
    from matplotlib.figure import Figure

#: Dots per inch at which the figures' letters are as large as the dock's.
_DPI = 96

Draw = Callable[[Look], "Figure"]


class Picture(QWidget):
    """Shows what a function draws; drawn anew for another width or theme.

    Parameters
    ----------
    viewer
        Whose theme is followed.
    parent
        The Qt parent.
    """

    def __init__(self, viewer: napari.Viewer, parent: QWidget) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(getattr(viewer, "__wrapped__", viewer))
        self._draw: Draw | None = None
        self._figure: Figure | None = None
        self._tip: Callable[[int, int], str] | None = None
        self.image: QImage | None = None
        heed(self, viewer.events.theme, self._redraw)

    def show_figure(self, draw: Draw, tip: Callable[[int, int], str] | None = None) -> None:
        """Show another figure.

        Parameters
        ----------
        draw
            Draws it in a :class:`~napari_cellama.figures.Look`.
        tip
            Says what is at a column and row of the figure's first axes; "" where nothing is.
        """
        self._draw, self._tip = draw, tip
        self._redraw()

    def figure(self) -> Figure:
        """Return the figure as it is saved: on white, for slides and papers."""
        return self._draw(Look())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Draw anew for another width."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self._redraw()

    def showEvent(self, event: QShowEvent) -> None:
        """Draw what was to be shown while this was hidden."""
        super().showEvent(event)
        if self.image is None:
            self._redraw()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the figure."""
        if self.image is not None:
            QPainter(self).drawImage(0, 0, self.image)

    def event(self, event: QEvent) -> bool:
        """Say what is under the mouse."""
        if event.type() == QEvent.Type.ToolTip and self._figure is not None:
            QToolTip.showText(event.globalPos(), self.tip_at(event.pos()), self)
            return True
        return super().event(event)

    def tip_at(self, place: QPoint) -> str:
        """Return what is at a place of the picture."""
        if self._tip is None:
            return ""
        axes, ratio = self._figure.axes[0], self.devicePixelRatioF()
        high = self._figure.bbox.height
        x, y = place.x() * ratio, high - place.y() * ratio
        if not axes.bbox.contains(x, y):
            return ""
        column, row = axes.transData.inverted().transform((x, y))
        return self._tip(round(column), round(row))

    def _redraw(self, *_: Any) -> None:
        self.image = self._figure = None
        if self._draw is None or not self.isVisible():
            return
        theme, ratio = get_theme(self._viewer().theme), self.devicePixelRatioF()
        look = Look(self.width() / _DPI, theme.text.as_hex(), theme.background.as_hex())
        self._figure = self._draw(look)
        self._figure.set_dpi(_DPI * ratio)
        self._figure.canvas.draw()
        pixels = np.ascontiguousarray(self._figure.canvas.buffer_rgba())
        height, width = pixels.shape[:2]
        form = QImage.Format.Format_RGBA8888
        self.image = QImage(pixels.data, width, height, 4 * width, form).copy()
        self.image.setDevicePixelRatio(ratio)
        self.setFixedHeight(int(np.ceil(height / ratio)))
        self.update()
