"""Which channels of an image pictures show, ticked in a menu that stays open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QMenu, QPushButton, QWidget


class _StayingMenu(QMenu):
    """A menu that stays open while its entries are ticked."""

    def mouseReleaseEvent(self, event: Any) -> None:
        """Tick the entry under the mouse."""
        action = self.activeAction()
        if action is not None and action.isEnabled():
            action.trigger()
        else:
            super().mouseReleaseEvent(event)


class ChannelButton(QPushButton):
    """Which of an image's channels are seen, ticked in a menu; hidden where there is no choice."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("columns")
        self.setToolTip("Which channels of the image the pictures show, in the file's colours.")
        self.setMenu(_StayingMenu(self))
        self.menu().triggered.connect(lambda *_: self._say())
        self._first = 3
        self.hide()

    def offer(self, names: Sequence[str], ticked: Sequence[str]) -> None:
        """Offer channels, some of them ticked; where none of those is there, the first three."""
        kept = [name for name in names if name in ticked] or list(names[: self._first])
        offered = [action.data() for action in self.menu().actions()]
        if offered == list(names) and list(self.chosen()) == kept:
            return
        with QSignalBlocker(self.menu()):
            self.menu().clear()
            for name in names:
                action: QAction = self.menu().addAction(name.replace("&", "&&"))
                action.setData(name)
                action.setCheckable(True)
                action.setChecked(name in kept)
        self.setVisible(len(names) > 1)
        self._say()

    def chosen(self) -> tuple[str, ...]:
        """Return the ticked channels; none shows the first ones."""
        return tuple(action.data() for action in self.menu().actions() if action.isChecked())

    def _say(self) -> None:
        names = self.chosen() or ("the first three",)
        room = max(80, self.width() - 40)
        text = self.fontMetrics().elidedText(
            "Channels: " + ", ".join(names), Qt.TextElideMode.ElideRight, room
        )
        self.setText(text.replace("&", "&&"))

    def resizeEvent(self, event: Any) -> None:
        """Elide the names as the width demands."""
        super().resizeEvent(event)
        self._say()
