"""One cell as the image shows it, what is known of it, and how pictures are to look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtGui import QAction, QPixmap
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_cellama.ui.widgets.cell_text import about
from napari_cellama.ui.widgets.gallery import SLOT as GALLERY
from napari_cellama.ui.widgets.inquiry import Inquiry
from napari_cellama.ui.workers import Failed

if TYPE_CHECKING:
    from napari_cellama.ui.album import Album
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue

#: The picture's side.
SIDE = 148
#: How many half windows wide a picture is.
WIDTHS = {"Near": 4.0, "Wider": 8.0, "Far": 16.0}
_HELP = "Click a cell on the tissue, or press Show for pictures of many."
_NO_IMAGE = "There is no image with these cells on it, so there are no pictures."


class CellView(QWidget):
    """Shows one cell of a tissue: picture, verdict, metrics and sentence.

    Parameters
    ----------
    session
        Whose jobs make the picture.
    album
        Makes it; the controls here say how it looks.
    parent
        The Qt parent.
    """

    def __init__(self, session: Session, album: Album, parent: QWidget) -> None:
        super().__init__(parent)
        self._album = album
        self._shown: tuple[Tissue, int] | None = None
        self._portrait = Inquiry(session.jobs, "crop", self._on_portrait, self)
        # The first one may need the types of all cells.
        self._sentence = Inquiry(session.jobs, "sentence", self._on_sentence, self, GALLERY)
        self._channels = Inquiry(session.jobs, "channels", self._on_channels, self)
        self.picture, self.text, self.sentence = (QLabel(self) for _ in range(3))
        self.width_box = QComboBox(self)
        self.marked = QCheckBox("Outlines", self)
        self.hover = QCheckBox("On hover", self)
        self.channels = ChannelButton(self)
        self._lay_out()
        self.width_box.currentIndexChanged.connect(lambda *_: self._on_look())
        self.marked.toggled.connect(lambda *_: self._on_look())
        self.channels.menu().triggered.connect(lambda *_: self._on_look())

    def _lay_out(self) -> None:
        for label in (self.text, self.sentence):
            label.setWordWrap(True)
            label.setObjectName("muted")
            label.setAlignment(Qt.AlignmentFlag.AlignTop)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.picture.setFixedSize(SIDE, SIDE)
        self.picture.setAccessibleName("Picture of the cell")
        self.sentence.setAccessibleName("Sentence of the cell")
        self.width_box.addItems(list(WIDTHS))
        self.width_box.setCurrentText("Wider")
        self.width_box.setToolTip("How much of the image is seen around a cell.")
        self.width_box.setAccessibleName("Width of the pictures")
        self.marked.setChecked(self._album.look.marked)
        self.marked.setToolTip(
            "Draw the cell's boundary (yellow) and its neighbours' (white) over the pictures; "
            "where there are none, a ring around the cell and a dot on every neighbour."
        )
        self.hover.setChecked(True)
        self.hover.setToolTip("Show the cell on which the mouse rests on the tissue.")
        head, options = QHBoxLayout(), QHBoxLayout()
        head.setSpacing(8)
        head.addWidget(self.picture, 0, Qt.AlignmentFlag.AlignTop)
        head.addWidget(self.text, 1)
        options.setSpacing(8)
        for widget, stretch in ((self.width_box, 1), (self.marked, 0), (self.hover, 0)):
            options.addWidget(widget, stretch)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addLayout(head)
        layout.addWidget(self.sentence)
        layout.addLayout(options)
        layout.addWidget(self.channels)

    # ---- what is shown

    def show_tissue(self, tissue: Tissue | None) -> None:
        """Offer the channels of a tissue's image; of no cell yet."""
        self.show_cell(tissue, None)
        if tissue is None:
            self.channels.offer(())
        else:
            ask = self._album.channels(tissue)
            self._channels.ask(lambda token: (tissue, ask()))

    def show_cell(self, tissue: Tissue | None, cell: int | None) -> None:
        """Show a cell, or say how one gets to see one."""
        if tissue is None or cell is None:
            self._shown = None
            self._portrait.drop()
            self._sentence.drop()
            self.picture.clear()
            self.picture.hide()
            self.say(_HELP)
            return
        if self._shown != (tissue, cell):
            self.picture.clear()
            self.sentence.clear()
            self.sentence.hide()
        self._shown = (tissue, cell)
        self.text.setText(about(tissue, cell))
        self._portrait.ask(self._album.portrait(tissue, cell, SIDE, self.devicePixelRatioF()))
        write = self._album.sentence(tissue, cell)
        self._sentence.ask(lambda token: (cell, write(token)))

    def say(self, text: str) -> None:
        """Show a text instead of a cell."""
        self.text.setText(text)
        self.sentence.clear()
        self.sentence.hide()

    def _on_portrait(self, answer: Any) -> None:
        if isinstance(answer, Failed):
            self.text.setText(answer.sentence)
            return
        if self._shown is None or answer.cell != self._shown[1]:
            return
        if answer.picture is not None:
            self.picture.setPixmap(QPixmap.fromImage(answer.picture))
        self.picture.setVisible(answer.picture is not None)
        if answer.picture is None:
            why = answer.why_not or _NO_IMAGE
            self.text.setText(f"{about(*self._shown)}\n{why}")

    def _on_sentence(self, answer: Any) -> None:
        if isinstance(answer, Failed) or self._shown is None or answer[0] != self._shown[1]:
            return
        text = answer[1]
        self.sentence.setText(text.replace(",", ",\u200b").replace("_", "_\u200b"))
        self.sentence.setVisible(bool(text))

    def _on_channels(self, answer: Any) -> None:
        if not isinstance(answer, Failed):  # the picture says why an image cannot be read
            self.channels.offer(answer[1])
            self._on_look()

    # ---- how it looks

    def _on_look(self) -> None:
        self._album.look = replace(
            self._album.look,
            n_windows=WIDTHS[self.width_box.currentText()],
            marked=self.marked.isChecked(),
            channels=self.channels.chosen(),
        )

    def again(self) -> None:
        """Show the same cell as pictures look now."""
        if self._shown is not None:
            self.show_cell(*self._shown)


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

    def offer(self, names: Sequence[str]) -> None:
        """Offer other channels; those that stay keep their ticks, else the first three have one."""
        before = [action.data() for action in self.menu().actions()]
        if before == list(names):
            return
        ticked = self.chosen() or ()
        kept = [name for name in names if name in ticked] or list(names[: self._first])
        with QSignalBlocker(self.menu()):
            self.menu().clear()
            for name in names:
                action: QAction = self.menu().addAction(name.replace("&", "&&"))
                action.setData(name)
                action.setCheckable(True)
                action.setChecked(name in kept)
        self.setVisible(len(names) > 1)
        self._say()

    def chosen(self) -> tuple[str, ...] | None:
        """Return the ticked channels; ``None`` where none is, which shows the first ones."""
        ticked = tuple(action.data() for action in self.menu().actions() if action.isChecked())
        return ticked or None

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
