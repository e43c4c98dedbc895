"""The clicked cell's sentence, written anew whenever the cell or the recipe changes."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QLabel, QVBoxLayout, QWidget

from napari_cellama.errors import UserError
from napari_cellama.ui import format as fmt
from napari_cellama.ui.widgets.inquiry import Inquiry
from napari_cellama.ui.widgets.listen import listen
from napari_cellama.ui.widgets.lookups import CellText, CellWriter
from napari_cellama.ui.workers import Failed

if TYPE_CHECKING:
    from napari_cellama.recipe import Recipe
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue


class SentencePreview(QFrame):
    """Shows what the language model will read of one cell.

    Parameters
    ----------
    session
        Says which tissue is shown and which cell was clicked.
    recipe
        Returns the recipe as it stands in the form.
    parent
        The Qt parent.
    """

    def __init__(
        self, session: Session, recipe: Callable[[], Recipe], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setObjectName("preview")
        self.setToolTip(
            "What the language model reads of a cell. Click another cell on the tissue to see its "
            "sentence; before that, it is that of the first cell that takes part."
        )
        self._session, self._recipe = session, recipe
        self._writer = CellWriter()
        self._inquiry = Inquiry(session.jobs, "preview", self._show, self)
        self.sentence = QLabel(self)
        self.sentence.setWordWrap(True)
        self.sentence.setTextFormat(Qt.TextFormat.RichText)
        self.sentence.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.remark = QLabel(self)
        self.remark.setObjectName("remark")
        self.remark.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 6, 8, 6)
        layout.setSpacing(4)
        layout.addWidget(self.sentence)
        layout.addWidget(self.remark)
        listen(self, session.active_changed, self._on_other_tissue)
        listen(self, session.matrix_ready, self.refresh)
        listen(self, session.cell_picked, self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Write the sentence anew, after a pause."""
        tissue = self._session.active
        if tissue is None:
            self._say("Here you will see what the language model reads of a cell.")
        elif not tissue.has_matrix:
            self._say("Reading the genes…")
        else:
            try:
                recipe = self._recipe()
            except UserError as error:
                self._say(str(error))
                return
            adata, cell, writer = tissue.snapshot, tissue.picked, self._writer
            self._inquiry.ask(lambda token: writer.write(adata, recipe, cell, token))

    def _on_other_tissue(self, tissue: Tissue | None) -> None:
        self._writer.forget()
        self.refresh()

    def _say(self, text: str) -> None:
        """Show a text in the sentence's place."""
        self._inquiry.drop()
        self.sentence.setText(escape(text))
        self.remark.setText("")
        self.remark.hide()

    def _show(self, answer: Any) -> None:
        if isinstance(answer, Failed):
            self.sentence.setText(escape(answer.sentence))
            self.remark.hide()
            return
        text: CellText = answer
        sentences = [sentence for _, sentence in text.sentences]
        sentences = sentences or [f"This cell is left out: {text.left_out}."]
        self.sentence.setText("".join(map(_paragraph, sentences)))
        self.remark.setText(fmt.joined(f"cell {text.cell:,}", length_line(text)))
        self.remark.setToolTip(f"Row {text.cell:,} of the data, named {text.name!r}.")
        self.remark.show()


def length_line(text: CellText) -> str:
    """Return e.g. ``"74 of 256 tokens"``, and what comes of a sentence that is too long."""
    if not text.tokens:
        return "length known once the model is here" if text.sentences else ""
    numbers = " + ".join(f"{number:,}" for number in text.tokens)
    each = " each" if len(text.tokens) > 1 else ""
    over = max(text.tokens) - text.limit
    cut = f"the last {fmt.count(over, 'token')} cut" if over > 0 else ""
    return fmt.joined(f"{numbers} of {text.limit:,} tokens{each}", cut)


def _paragraph(sentence: str) -> str:
    """Return a sentence as HTML that may break after the commas between types."""
    text = escape(sentence).replace(",", ",\u200b").replace("_", "_\u200b")
    return f'<p style="margin: 0 0 5px 0">{text}</p>'
