"""A small frameless picture of a cell beside the mouse."""

from __future__ import annotations

from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QWidget

#: The picture's side, the text's width, and how far from the mouse it is.
SIDE, _TEXT_WIDTH, _AWAY = 120, 190, 14


class CellTip(QFrame):
    """Lies on the canvas, lets the mouse through, and stays inside.

    Parameters
    ----------
    canvas
        What it lies on.
    """

    def __init__(self, canvas: QWidget) -> None:
        super().__init__(canvas)
        self.setObjectName("cellTip")
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.picture, self.text = QLabel(self), QLabel(self)
        self.picture.setFixedSize(SIDE, SIDE)
        self.text.setFixedWidth(_TEXT_WIDTH)
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.PlainText)
        self.text.setAlignment(Qt.AlignmentFlag.AlignTop)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(6, 6, 8, 6)
        layout.setSpacing(8)
        layout.addWidget(self.picture, 0, Qt.AlignmentFlag.AlignTop)
        layout.addWidget(self.text, 1, Qt.AlignmentFlag.AlignTop)
        self.hide()

    def show_at(self, place: QPoint, picture: QImage, text: str) -> None:
        """Show a cell beside a place on the canvas, where there is room."""
        self.picture.setPixmap(QPixmap.fromImage(picture))
        self.text.setText(text)
        self.adjustSize()
        canvas = self.parentWidget()
        x, y = place.x() + _AWAY, place.y() + _AWAY
        if x + self.width() > canvas.width():
            x = place.x() - _AWAY - self.width()
        if y + self.height() > canvas.height():
            y = place.y() - _AWAY - self.height()
        self.move(max(0, x), max(0, y))
        self.show()
        self.raise_()
