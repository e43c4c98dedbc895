"""The help on keys: a list that *?* opens in every dock."""

from __future__ import annotations

from html import escape

from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QLabel, QPushButton, QWidget

from napari_cellama.ui.actions import ACTIONS, MAP_KEYS, TABLE_KEYS

_KEY = "?"


class HelpButton(QPushButton):
    """Shows the keys that work on the tissue, in the table of clusters and on the map."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(_KEY, parent)
        self.setObjectName("link")
        self.setToolTip("Show the keys that work on the tissue, the table and the map (?).")
        self.clicked.connect(lambda: self.show_keys())

    def show_keys(self) -> QLabel:
        """Open the list below the button; a click elsewhere closes it."""
        return show_keys(self, QPoint(self.width(), self.height()))


def follow_help_key(dock: QWidget) -> None:
    """Open the help on keys when ? is pressed anywhere in a dock, but in a field of text."""
    action = QAction("Keys", dock)
    action.setShortcut(_KEY)
    action.setShortcutContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
    action.triggered.connect(lambda: show_keys(dock, QPoint(dock.width(), 0)))
    dock.addAction(action)
    # The keys go to a dock that has nothing else to give them to.
    dock.setFocusPolicy(Qt.FocusPolicy.ClickFocus)


def show_keys(owner: QWidget, corner: QPoint) -> QLabel:
    """Open the list of keys, its upper right corner at a point of ``owner``."""
    rows = [(one.key_text, one.text) for one in ACTIONS if one.key]
    rows.append(("Shift, Ctrl", "held at a click or lasso: add, take away"))
    for title, keys in (("In the table", TABLE_KEYS), ("On the map", MAP_KEYS)):
        rows += [("", title), *keys]
    lines = "".join(
        f"<tr><td><b>{escape(key)}</b>&nbsp;&nbsp;</td><td>{escape(text)}</td></tr>"
        if key
        else f"<tr><td colspan=2><i>{text}</i></td></tr>"
        for key, text in rows
    )
    label = QLabel(f"<table>{lines}</table>", owner, Qt.WindowType.Popup)
    label.setObjectName("keys")
    label.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    label.setMargin(10)
    label.adjustSize()
    size, screen = label.sizeHint(), owner.screen().availableGeometry()
    place = owner.mapToGlobal(corner) - QPoint(size.width(), 0)
    label.move(
        max(screen.left(), min(place.x(), screen.right() - size.width())),
        max(screen.top(), min(place.y(), screen.bottom() - size.height())),
    )
    label.show()
    return label
