"""Draws cells' outlines over their pictures, thin and yet seen on light and on dark ones."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QPointF, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPainterPath, QPen

from napari_cellama.cell_pictures import Marks

#: Colours of the cell and of its neighbours, and the dark that both have around them.
OWN, OTHERS = QColor(255, 225, 25), QColor(255, 255, 255, 190)
_DARK, _DARKER = QColor(0, 0, 0, 90), QColor(0, 0, 0, 170)


def drawn(picture: np.ndarray, marks: Marks | None, ratio: float = 1.0) -> QImage:
    """Return a picture, (h, w, 3) uint8, with marks over it.

    Parameters
    ----------
    picture
        The pixels.
    marks
        What is drawn; ``None`` for nothing.
    ratio
        Pixels of the screen per unit of length.
    """
    picture = np.ascontiguousarray(picture)
    height, width = picture.shape[:2]
    image = QImage(picture.data, width, height, 3 * width, QImage.Format.Format_RGB888).copy()
    if marks is not None:
        painter = QPainter(image)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        _draw(painter, marks, width, ratio)
        painter.end()
    image.setDevicePixelRatio(ratio)
    return image


def _draw(painter: QPainter, marks: Marks, side: int, ratio: float) -> None:
    around = QPainterPath()
    for outline in marks.others:
        around.addPath(_path(outline * side))
    own = QPainterPath()
    if len(marks.own):
        own.addPath(_path(marks.own * side))
    else:
        radius = marks.radius * side
        own.addEllipse(QPointF(*(marks.center * side).tolist()), radius, radius)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    for path, color, width in (
        (around, _DARK, 2.4), (around, OTHERS, 1.2), (own, _DARKER, 3.4), (own, OWN, 1.6)
    ):  # fmt: skip
        painter.setPen(QPen(color, width * ratio))
        painter.drawPath(path)
    painter.setPen(QPen(_DARKER, 0.8 * ratio))
    painter.setBrush(OTHERS)
    for x, y in (marks.dots * side).tolist():
        painter.drawEllipse(QPointF(x, y), 1.8 * ratio, 1.8 * ratio)


def _path(points: np.ndarray) -> QPainterPath:
    """Return the closed line through (k, 2) points."""
    path = QPainterPath(QPointF(*points[0].tolist()))
    for x, y in points[1:].tolist():
        path.lineTo(x, y)
    path.closeSubpath()
    return path
