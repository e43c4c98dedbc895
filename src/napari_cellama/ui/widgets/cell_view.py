"""One cell as the image shows it, what is known of it, and how pictures are to look."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_cellama.ui.widgets.cell_text import about
from napari_cellama.ui.widgets.channel_button import ChannelButton
from napari_cellama.ui.widgets.choosers import FitTexts
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
        self._album, self._imaging = album, session.imaging
        self._tissue: Tissue | None = None
        self._offered: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self._shown: tuple[Tissue, int] | None = None
        self._portrait = Inquiry(session.jobs, "crop", self._on_portrait, self)
        # The first one may need the types of all cells.
        self._sentence = Inquiry(session.jobs, "sentence", self._on_sentence, self, GALLERY)
        self._choices = Inquiry(session.jobs, "channels", self._on_choices, self)
        self.picture, self.text, self.sentence = (QLabel(self) for _ in range(3))
        self.width_box, self.image_box = QComboBox(self), QComboBox(self)
        self.marked = QCheckBox("Outlines", self)
        self.hover = QCheckBox("On hover", self)
        self.channels = ChannelButton(self)
        self._lay_out()
        self.width_box.currentIndexChanged.connect(lambda *_: self._on_look())
        self.marked.toggled.connect(lambda *_: self._on_look())
        self.image_box.activated.connect(
            lambda *_: self._imaging.cut_from(self.image_box.currentData())
        )
        self.channels.menu().triggered.connect(
            lambda *_: self._imaging.cut_channels(self.channels.chosen())
        )

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
        FitTexts(self.image_box)
        self.image_box.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.image_box.setMinimumContentsLength(6)
        self.image_box.setToolTip("Which image the pictures are cut from.")
        self.image_box.setAccessibleName("Image of the pictures")
        self.image_box.hide()
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
        layout.addWidget(self.image_box)
        layout.addWidget(self.channels)

    # ---- what is shown

    def show_tissue(self, tissue: Tissue | None) -> None:
        """Offer a tissue's images and their channels; of no cell yet."""
        self.show_cell(tissue, None)
        self._tissue, self._offered = tissue, ((), ())
        self.show_choices()

    def show_choices(self) -> None:
        """Show what was chosen, and ask what there is to choose from, which opens the images."""
        self._show_offered()
        if (tissue := self._tissue) is not None:
            ask = self._album.choices(tissue)
            self._choices.ask(lambda token: (tissue, ask()))

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

    def _on_choices(self, answer: Any) -> None:
        # The picture says why an image cannot be read.
        if not isinstance(answer, Failed) and answer[0] is self._tissue:
            self._offered = answer[1]
            self._show_offered()

    def _show_offered(self) -> None:
        """Offer the images and channels that there are, as they were chosen."""
        images, channels = self._offered
        chosen = None if self._tissue is None else self._tissue.choices
        self.channels.offer(channels, () if chosen is None else chosen.cut_channels)
        with QSignalBlocker(self.image_box):
            self.image_box.clear()
            self.image_box.addItem("Pictures from the image that was measured", "")
            for name in images:
                self.image_box.addItem(f"Pictures from {name}", name)
            found = self.image_box.findData("" if chosen is None else chosen.cut_from)
            self.image_box.setCurrentIndex(max(0, found))
        self.image_box.setVisible(len(images) > 1)

    # ---- how it looks

    def _on_look(self) -> None:
        self._album.look = replace(
            self._album.look,
            n_windows=WIDTHS[self.width_box.currentText()],
            marked=self.marked.isChecked(),
        )

    def again(self) -> None:
        """Show the same cell as pictures look now."""
        if self._shown is not None:
            self.show_cell(*self._shown)
