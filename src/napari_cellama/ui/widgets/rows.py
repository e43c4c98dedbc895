"""How rows of lists are drawn: a swatch, a name elided in the middle, a paler remark."""

from __future__ import annotations

from qtpy.QtCore import QModelIndex, QRect, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QFontMetrics, QIcon, QPainter
from qtpy.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem

#: The remark at a row's right.
REMARK_ROLE = int(Qt.ItemDataRole.UserRole)
#: How opaque paler text is, of 255.
PALE = 165
SWATCH = 14

_MIDDLE = Qt.AlignmentFlag.AlignVCenter


class RowDelegate(QStyledItemDelegate):
    """Draws a row of a list: swatch (DecorationRole) and name left, remark right."""

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:
        """Return the same height for every row, so that long lists stay quick."""
        return QSize(80, option.fontMetrics.height() + 8)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Draw one row."""
        draw_background(self, painter, option, index)
        rect = option.rect.adjusted(6, 0, -6, 0)
        painter.save()
        if color := index.data(Qt.ItemDataRole.DecorationRole):
            draw_swatch(painter, QRect(rect.left(), rect.top(), SWATCH, rect.height()), color)
            rect.adjust(SWATCH + 8, 0, 0, 0)
        painter.setFont(option.font)
        metrics = QFontMetrics(option.font)
        remark = index.data(REMARK_ROLE) or ""
        room = rect.adjusted(0, 0, -metrics.horizontalAdvance(remark) - 12, 0)
        name = metrics.elidedText(index.data(), Qt.TextElideMode.ElideMiddle, room.width())
        painter.setPen(text_color(option))
        painter.drawText(room, Qt.AlignmentFlag.AlignLeft | _MIDDLE, name)
        painter.setPen(text_color(option, PALE))
        painter.drawText(rect, Qt.AlignmentFlag.AlignRight | _MIDDLE, remark)
        painter.restore()


def draw_background(
    delegate: QStyledItemDelegate,
    painter: QPainter,
    option: QStyleOptionViewItem,
    index: QModelIndex,
) -> None:
    """Draw what the style puts behind a row: hover, selection, focus."""
    bare = QStyleOptionViewItem(option)
    delegate.initStyleOption(bare, index)
    bare.text = ""
    bare.features &= ~QStyleOptionViewItem.ViewItemFeature.HasDecoration
    bare.icon = QIcon()  # the style paints it, decoration or not, and warns when it has no room
    style = bare.widget.style()
    style.drawControl(QStyle.ControlElement.CE_ItemViewItem, bare, painter, bare.widget)


def draw_swatch(painter: QPainter, rect: QRect, color: QColor) -> None:
    """Draw a colour as a rounded square in the middle of a rectangle."""
    square = QRectF(0, 0, SWATCH, SWATCH)
    square.moveCenter(QRectF(rect).center())
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(color)
    painter.drawRoundedRect(square, 3, 3)
    painter.restore()


def text_color(option: QStyleOptionViewItem, opacity: int = 255) -> QColor:
    """Return the colour of text in the theme."""
    color = QColor(option.widget.palette().text().color())
    color.setAlpha(opacity)
    return color
