"""The sentence inspector: why the clicked cell is where it is."""

from __future__ import annotations

import math
import weakref
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import (
    QFrame,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_cellama.core.explain import Part, spans
from napari_cellama.ui import format as fmt
from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.explaining import Answer, Explainer
from napari_cellama.ui.view import fly_to
from napari_cellama.ui.widgets.cell_text import kind_of
from napari_cellama.ui.widgets.inquiry import Inquiry
from napari_cellama.ui.widgets.legend import number
from napari_cellama.ui.widgets.lines import NO_TISSUE
from napari_cellama.ui.widgets.listen import listen
from napari_cellama.ui.widgets.rows import REMARK_ROLE, RowDelegate
from napari_cellama.ui.widgets.small_table import SmallTable
from napari_cellama.ui.workers import Failed

if TYPE_CHECKING:
    import napari

    from napari_cellama.ui.widgets.progress import MessageLine

_VIEW = 60
#: The mark behind the part that moves the embedding most; seen on dark and on light.
_MARK = (230, 150, 40)
_NO_RUN = "Press Run in the Niches dock first; then click a cell to see why it is where it is."
_NO_CELL = "Click a cell on the tissue to see its sentence and which part of it matters."
_HELP = (
    "The stronger a part is marked, the further the embedding moves when it is left out. What the "
    "model's token limit cuts off is struck through."
)
_HEADERS = (
    ("Part", "A gene, a value of obs, or a neighbour's type."),
    ("Value", "The gene's value in the cell."),
    ("Moves", "1 − cosine between the sentence's embedding with and without the part."),
)


class SentenceInspector(QWidget):
    """Shows the clicked cell's sentence in parts, and the cells that are most like it.

    Parameters
    ----------
    viewer
        The viewer whose session this is a view of.
    message
        Where the user is told what became of what.
    parent
        The Qt parent.
    """

    def __init__(
        self, viewer: napari.Viewer, message: MessageLine, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        session = self._session = session_of(viewer)
        self._layers = layers_of(viewer)
        self._viewer = weakref.ref(getattr(viewer, "__wrapped__", viewer))
        self.message = message
        self._explainer = Explainer()
        self._inquiry = Inquiry(session.jobs, "explanation", self._show, self)
        self._answer: Answer | None = None
        self.title, self.empty = QLabel(self), QLabel(self)
        self.sentence, self.remark = QLabel(self), QLabel(self)
        self.table = SmallTable(_HEADERS, "Parts of the sentence", self)
        self.table.setToolTip("How far the embedding moves without each part.")
        self.nearest = QListWidget(self)
        self.copy_button = QPushButton("Copy as CSV", self)
        self._lay_out()
        self.copy_button.clicked.connect(self._copy)
        self.nearest.itemClicked.connect(self._visit)
        self.nearest.itemActivated.connect(self._visit)
        for signal in (session.active_changed, session.matrix_ready, session.cell_picked):
            listen(self, signal, self.refresh)
        listen(self, session.labels_changed, self.refresh)
        self.refresh()

    def showEvent(self, event: Any) -> None:
        """Explain the cell that was clicked while the dock was hidden."""
        super().showEvent(event)
        self.refresh()

    def _lay_out(self) -> None:
        for label, name in ((self.title, "groupTitle"), (self.empty, "muted")):
            label.setObjectName(name)
            label.setWordWrap(True)
        self.remark.setObjectName("remark")
        self.remark.setWordWrap(True)
        self.sentence.setWordWrap(True)
        self.sentence.setTextFormat(Qt.TextFormat.RichText)
        self.sentence.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.sentence.setToolTip(_HELP)
        self.copy_button.setObjectName("secondary")
        self.copy_button.setToolTip("Copy the parts as CSV, to paste into a spreadsheet.")
        self.nearest.setItemDelegate(RowDelegate(self.nearest))
        self.nearest.setFrameShape(QFrame.Shape.NoFrame)
        self.nearest.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.nearest.setAccessibleName("Nearest cells")
        self.nearest.setToolTip("Click a cell to fly there and see its sentence.")
        box = QFrame(self)
        box.setObjectName("preview")
        inside = QVBoxLayout(box)
        inside.setContentsMargins(8, 6, 8, 6)
        inside.setSpacing(4)
        inside.addWidget(self.sentence)
        inside.addWidget(self.remark)
        self.shown = QWidget(self)
        column = QVBoxLayout(self.shown)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        nearest_title = QLabel("Most similar cells, by their sentences", self)
        nearest_title.setObjectName("groupTitle")
        for widget in (box, self.table, self.copy_button, nearest_title, self.nearest):
            column.addWidget(widget)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 6, 6, 0)
        outer.setSpacing(6)
        for widget in (self.title, self.empty, self.shown):
            outer.addWidget(widget)
        outer.addStretch(1)

    # ---- what the user does

    def _copy(self) -> None:
        table = self._answer.explained.table()
        QGuiApplication.clipboard().setText(table.to_csv(index=False))
        self.message.add("info", f"Copied {fmt.count(len(table), 'part')} as CSV.")

    def _visit(self, item: QListWidgetItem) -> None:
        cell = item.data(Qt.ItemDataRole.UserRole + 1)
        tissue = self._session.active
        layer, placement = self._layers.layer_of(tissue), self._layers.placement_of(tissue)
        point = placement.points[np.searchsorted(placement.cells, cell)]
        fly_to(self._viewer(), layer, point, _VIEW * placement.diameter)
        self._session.pick_cell(cell)

    # ---- what is shown

    def refresh(self, *_: Any) -> None:
        """Explain the clicked cell, or say what to do first."""
        tissue = self._session.active
        why = _NO_RUN if self._session.searching.why_not() else ""
        if tissue is None:
            why = NO_TISSUE
        elif not why and tissue.picked is None:
            why = _NO_CELL
        if why:
            self._inquiry.drop()
            self._say("", why)
            return
        if not self.isVisible():
            return
        cell = tissue.picked
        self.title.setText(self._name(cell))
        self.title.show()
        if self._answer is None or self._answer.explained.cell != cell:
            self._say(self._name(cell), "Taking its sentence apart…")
        adata, explain = tissue.snapshot, self._explainer.explain
        result, ready = self._session.searching.searchable(tissue)
        self._inquiry.ask(lambda token: (tissue, explain(adata, cell, result, ready, token)))

    def _say(self, title: str, text: str) -> None:
        self._answer = None
        self.title.setText(title)
        self.title.setVisible(bool(title))
        self.empty.setText(text)
        self.empty.show()
        self.shown.hide()

    def _show(self, told: Any) -> None:
        if isinstance(told, Failed):
            self._say("", "")
            self.message.add("error", told.sentence, told.details)
            return
        tissue, answer = told
        if answer.searchable is not None:
            self._session.searching.keep(tissue, answer.result, answer.searchable)
        if tissue is not self._session.active or answer.explained.cell != tissue.picked:
            return
        if answer.why:
            self._say(self._name(tissue.picked), f"This cell is left out: {answer.why}.")
            return
        self._answer = answer
        explained = answer.explained
        self.sentence.setText(marked(answer))
        lengths = " + ".join(f"{n:,}" for n in explained.tokens)
        self.remark.setText(f"{lengths} of {explained.limit:,} tokens. {_HELP}")
        self.table.show_rows(*part_rows(explained.parts))
        self.nearest.clear()
        for cell, score in answer.nearest:
            item = QListWidgetItem(self._name(cell))
            item.setData(REMARK_ROLE, f"{score:.3f}")
            item.setData(Qt.ItemDataRole.UserRole + 1, cell)
            self.nearest.addItem(item)
        rows = max(1, self.nearest.count()) * self.nearest.sizeHintForRow(0)
        self.nearest.setFixedHeight(rows + 2 * self.nearest.frameWidth() + 2)
        self.empty.hide()
        self.shown.show()

    def _name(self, cell: int) -> str:
        """Return e.g. ``"cell 42 · Pyramidal L6 · niche 3"``: name, type, cluster.

        A number alone would not say what it is of.
        """
        tissue = self._session.active
        labels = self._session.clusters
        code = -1 if labels is None else labels.codes[cell]
        cluster = labels.names[code] if code >= 0 else ""
        cluster = f"{labels.key} {cluster}" if _is_number(cluster) else cluster
        name = str(tissue.snapshot.obs_names[cell])
        name = f"cell {name}" if _is_number(name) else name
        return fmt.joined(*dict.fromkeys([name, kind_of(tissue, cell), cluster]))


def _is_number(name: str) -> bool:
    """Whether a name has digits and dots only, as niches' and their parts' have."""
    return name.replace(".", "").isdigit()


def part_rows(parts: tuple[Part, ...]) -> tuple[list[list[tuple[str, float]]], list[str]]:
    """Return the table's rows and tooltips, the part that moves the embedding most first."""
    order = sorted(parts, key=lambda part: -math.inf if math.isnan(part.moved) else part.moved)
    rows, tips = [], []
    for part in reversed(order):
        name = f"{part.name}: {part.text}" if part.name else part.text
        name = f"next to {part.text}" if part.kind == "neighbour" else name
        value = "" if math.isnan(part.value) else number(part.value)
        moved = "alone" if math.isnan(part.moved) else f"{part.moved:.4f}"
        rows.append([(name, math.nan), (value, part.value), (moved, part.moved)])
        tips.append(f"{name}, cut off" if part.is_cut else name)
    return rows, tips


def marked(answer: Answer) -> str:
    """Return a cell's sentences as HTML, each part marked by how far it moves the embedding."""
    explained = answer.explained
    texts = dict(explained.sentences)
    found = spans(explained.parts, texts)
    pieces = []
    for view, text in texts.items():
        mine = [(p, s) for p, s in zip(explained.parts, found, strict=True) if p.view == view]
        most = max((p.moved for p, _ in mine if not math.isnan(p.moved)), default=0) or 1
        html, at = "", 0
        for part, (start, end) in mine:
            html += escape(text[at:start]) + _span(part, most)
            at = end
        html += escape(text[at:])
        pieces.append(f'<p style="margin: 0 0 5px 0">{html}</p>')
    return "".join(pieces)


def _span(part: Part, most: float) -> str:
    share = 0.0 if math.isnan(part.moved) else part.moved / most
    red, green, blue = _MARK
    style = f"background-color: rgba({red}, {green}, {blue}, {round(170 * share)});"
    if part.is_cut:
        style += " text-decoration: line-through;"
    value = "" if math.isnan(part.value) else f" <small>{number(part.value)}</small>"
    return f'<span style="{style}">{escape(part.text)}</span>{value}\u200b'
