"""The Understand dock: why the clicked cell is where it is."""

from __future__ import annotations

import math
import weakref
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QHeaderView,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QScrollArea,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_cellama.core.explain import Part, spans
from napari_cellama.ui import format as fmt
from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.explaining import Answer, Explainer
from napari_cellama.ui.view import fly_to
from napari_cellama.ui.widgets.inquiry import Inquiry
from napari_cellama.ui.widgets.legend import number
from napari_cellama.ui.widgets.listen import listen
from napari_cellama.ui.widgets.progress import MessageLine
from napari_cellama.ui.widgets.rows import REMARK_ROLE, RowDelegate
from napari_cellama.ui.widgets.style import follow_theme
from napari_cellama.ui.workers import Failed

if TYPE_CHECKING:
    import napari

_WIDTH, _NARROWEST = 364, 340
_VIEW = 60
#: The mark behind the part that moves the embedding most; seen on dark and on light.
_MARK = (230, 150, 40)
_NO_TISSUE = "No tissue is open. Open one with File > Open, or drop a .h5ad file onto the window."
_NO_RUN = "Press Run in the Niches dock first; then click a cell to see why it is where it is."
_NO_CELL = "Click a cell on the tissue to see its sentence and which part of it matters."
_HELP = (
    "The stronger a part is marked, the further the embedding moves when it is left out. What the "
    "model's token limit cuts off is struck through."
)
#: How many rows are seen without scrolling.
_ROWS = 8
_HEADERS = ("Part", "Value", "Moves")


class UnderstandDock(QWidget):
    """Shows the clicked cell's sentence in parts, and the cells that are most like it.

    Parameters
    ----------
    napari_viewer
        The viewer whose session this is a view of.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self.setMinimumWidth(_NARROWEST)
        session = self._session = session_of(napari_viewer)
        self._layers = layers_of(napari_viewer)
        self._viewer = weakref.ref(getattr(napari_viewer, "__wrapped__", napari_viewer))
        self._explainer = Explainer()
        self._inquiry = Inquiry(session.jobs, "explanation", self._show, self)
        self._answer: Answer | None = None
        self.title, self.empty = QLabel(self), QLabel(self)
        self.sentence, self.remark = QLabel(self), QLabel(self)
        self.table = PartsTable(self)
        self.nearest = QListWidget(self)
        self.copy_button = QPushButton("Copy as CSV", self)
        self.message = MessageLine(self)
        self._lay_out()
        follow_theme(self, napari_viewer)
        self.copy_button.clicked.connect(self._copy)
        self.nearest.itemClicked.connect(self._visit)
        self.nearest.itemActivated.connect(self._visit)
        for signal in (session.active_changed, session.matrix_ready, session.cell_picked):
            listen(self, signal, self.refresh)
        listen(self, session.labels_changed, self.refresh)
        self.refresh()

    def sizeHint(self) -> QSize:
        """Return the width that leaves the tissue its room."""
        return QSize(_WIDTH, 720)

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
        content = QWidget(self)
        outer = QVBoxLayout(content)
        outer.setContentsMargins(0, 0, 6, 0)
        outer.setSpacing(6)
        for widget in (self.title, self.empty, self.shown):
            outer.addWidget(widget)
        outer.addStretch(1)
        scroll = QScrollArea(self)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setWidget(content)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 6, 4, 8)
        layout.setSpacing(8)
        layout.addWidget(scroll, 1)
        layout.addWidget(self.message)

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
            why = _NO_TISSUE
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
        if self._answer is None or self._answer.explained.cell != cell:
            self._say(self._name(cell), "Taking its sentence apart…")
        adata, explain = tissue.snapshot, self._explainer.explain
        result, ready = self._session.searching.searchable(tissue)
        self._inquiry.ask(lambda token: (tissue, explain(adata, cell, result, ready, token)))

    def _say(self, title: str, text: str) -> None:
        self._answer = None
        self.title.setText(title)
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
        self.table.show_parts(explained.parts)
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
        """Return e.g. ``"cell42 · Pyramidal L6 · 3"``: name, type, cluster."""
        from napari_cellama.core.resolve import guess_cell_type_key

        tissue = self._session.active
        obs, labels = tissue.snapshot.obs, self._session.clusters
        key = guess_cell_type_key(obs)
        code = -1 if labels is None else labels.codes[cell]
        cluster = labels.names[code] if code >= 0 else ""
        kind = "" if key is None else str(obs[key].iloc[cell])
        return fmt.joined(*dict.fromkeys([str(obs.index[cell]), kind, cluster]))


class PartsTable(QTableWidget):
    """The parts of a sentence, the one that moves the embedding most first."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(0, len(_HEADERS), parent)
        self.setHorizontalHeaderLabels(_HEADERS)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 8)
        self.setShowGrid(False)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setTabKeyNavigation(False)
        self.setAccessibleName("Parts of the sentence")
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        tips = (
            "A gene, a value of obs, or a neighbour's type.",
            "The gene's value in the cell.",
            "1 − cosine between the sentence's embedding with and without the part.",
        )
        for column, tip in enumerate(tips):
            self.horizontalHeaderItem(column).setToolTip(tip)

    def show_parts(self, parts: tuple[Part, ...]) -> None:
        """Show other parts."""
        order = sorted(parts, key=lambda part: -math.inf if math.isnan(part.moved) else part.moved)
        self.setRowCount(len(parts))
        for row, part in enumerate(reversed(order)):
            name = f"{part.name}: {part.text}" if part.name else part.text
            name = f"next to {part.text}" if part.kind == "neighbour" else name
            value = "" if math.isnan(part.value) else number(part.value)
            moved = "alone" if math.isnan(part.moved) else f"{part.moved:.4f}"
            for column, text in enumerate((name, value, moved)):
                item = QTableWidgetItem(text)
                if column:
                    side = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    item.setTextAlignment(side)
                item.setToolTip(f"{name}, cut off" if part.is_cut else name)
                self.setItem(row, column, item)
        head = self.horizontalHeader().sizeHint().height()
        self.setFixedHeight(head + min(_ROWS, len(parts)) * self.rowHeight(0) + 4)


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
