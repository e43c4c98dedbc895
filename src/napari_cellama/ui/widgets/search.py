"""The Search dock: type in plain words, or point at an example, and the tissue lights up."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QSignalBlocker, QSize, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_cellama.core.events import Progress
from napari_cellama.errors import UserError
from napari_cellama.ui import format as fmt
from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.searching import NOTHING_TO_SEARCH, SLOT
from napari_cellama.ui.view import fly_to
from napari_cellama.ui.widgets.form import Rows, WheelGuard, tab_through
from napari_cellama.ui.widgets.found import FoundView, tab_stops
from napari_cellama.ui.widgets.key_help import follow_help_key
from napari_cellama.ui.widgets.lines import NO_TISSUE, button, enable, title
from napari_cellama.ui.widgets.listen import listen
from napari_cellama.ui.widgets.progress import MessageLine, ProgressLine
from napari_cellama.ui.widgets.style import follow_theme
from napari_cellama.ui.workers import Failed, Job

if TYPE_CHECKING:
    import napari

_WIDTH, _NARROWEST = 364, 340
#: How many cells' diameters one sees after flying to a place.
_VIEW = 60
_OF = {"Neighbourhoods": "niches", "Single cells": "cells"}
_LOOK = (
    "Describe what to look for: a cell type, a tissue, a gene, or one next to another, as in "
    "“oligodendrocytes next to endothelium”."
)


class SearchDock(QWidget):
    """Search the tissue by words or by example.

    Parameters
    ----------
    napari_viewer
        The viewer whose session this is a view of.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self.setMinimumWidth(_NARROWEST)
        self._viewer = weakref.ref(getattr(napari_viewer, "__wrapped__", napari_viewer))
        session = self._session = session_of(napari_viewer)
        self._searching, self._layers = session.searching, layers_of(napari_viewer)
        self.query = QComboBox(self)
        self.of = QComboBox(self)
        self.raw = QCheckBox("Compare the text as typed", self)
        self.by_cell = button("Like the clicked cell", self._like_cell)
        self.by_selection = button("Like the selection", self._like_selection)
        self.found = FoundView(self)
        self.empty = QLabel(self)
        self.message, self.progress = MessageLine(self), ProgressLine(self)
        self.search_button = button("Search", self._search, "primary")
        self.cancel_button = button("Cancel", self._searching.cancel)
        self._fill()
        self._lay_out()
        follow_help_key(self)
        follow_theme(self, napari_viewer)
        self.found.threshold.chosen.connect(self._select)
        self.found.places.visited.connect(self._visit)
        signals = session.tissues_changed, session.active_changed, session.matrix_ready
        for signal in (*signals, session.coloring_changed, session.selection_changed):
            listen(self, signal, self.refresh)
        for signal in (session.labels_changed, session.cell_picked):
            listen(self, signal, self._on_example)
        listen(self, self._searching.changed, self.refresh)
        listen(self, self._searching.told, self._on_told)
        self.refresh()

    def sizeHint(self) -> QSize:
        """Return the width that leaves the tissue its room."""
        return QSize(_WIDTH, 720)

    def _fill(self) -> None:
        self.query.setEditable(True)
        self.query.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.query.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.query.setAccessibleName("Description")
        self.query.setToolTip(f"{_LOOK} The arrow shows what was looked for before.")
        self.query.lineEdit().setPlaceholderText("Type what to look for")
        self.query.lineEdit().returnPressed.connect(self._search)
        self.query.lineEdit().editingFinished.connect(self._show_start)
        self.query.activated.connect(self._search)
        self.of.addItems(list(_OF))
        self.raw.setToolTip(
            "Otherwise the text is put into the words of the cells' sentences, which finds more: "
            "“celltype of this cell is …”."
        )
        self.empty.setObjectName("muted")
        self.empty.setWordWrap(True)

    def _lay_out(self) -> None:
        rows = Rows(self)
        tip = "Whether cells are compared by their neighbourhood, averaged, or one by one."
        rows.add("of", "Compare", self.of, tip)
        self.of.setToolTip(tip)
        rows.add("raw", "", self.raw, "")
        example = QHBoxLayout()
        example.setSpacing(6)
        example.addWidget(self.by_cell, 1)
        example.addWidget(self.by_selection, 1)
        content = QWidget(self)
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 6, 0)
        column.setSpacing(6)
        column.addWidget(title("In plain words"))
        column.addWidget(self.query)
        column.addWidget(rows)
        column.addWidget(title("By example"))
        column.addLayout(example)
        column.addWidget(self.empty)
        column.addWidget(self.found)
        column.addStretch(1)
        scroll = QScrollArea(self)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setWidget(content)
        buttons = QHBoxLayout()
        buttons.setSpacing(6)
        buttons.addWidget(self.search_button, 3)
        buttons.addWidget(self.cancel_button, 1)
        foot = QVBoxLayout()
        foot.setContentsMargins(0, 0, 6, 0)  # ends where what is above it ends
        for widget in (self.message, self.progress):
            foot.addWidget(widget)
        foot.addLayout(buttons)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 6, 4, 8)
        layout.setSpacing(8)
        layout.addWidget(scroll, 1)
        layout.addLayout(foot)
        self._guard = WheelGuard(self)
        for watched in (self.query, self.of, self.found.threshold.slider):
            self._guard.watch(watched)
        stops = [self.query, self.of, self.raw, self.by_cell, self.by_selection]
        tab_through([*stops, *tab_stops(self.found), self.search_button, self.cancel_button])

    # ---- what the user does

    def _search(self, *_: Any) -> None:
        text = self.query.currentText()
        self._try(lambda: self._searching.search(text, self._of, raw=self.raw.isChecked()))

    def _show_start(self) -> None:
        """Show how a long description begins, once it is no longer being typed."""
        if not self.query.lineEdit().hasFocus():
            self.query.lineEdit().setCursorPosition(0)

    def _like_cell(self) -> None:
        tissue = self._session.active
        cells = np.zeros(tissue.n_obs, bool)
        cells[tissue.picked] = True
        self._like(cells, f"cell {tissue.snapshot.obs_names[tissue.picked]}")

    def _like_selection(self) -> None:
        cells = self._session.active.selection
        self._like(cells, fmt.count(int(cells.sum()), "selected cell"))

    def _like(self, cells: np.ndarray, what: str) -> None:
        tissue = f" of {self._session.active.name}" if len(self._session.tissues) > 1 else ""
        told = f"Like {what}{tissue}"
        self._try(lambda: self._searching.find_similar(cells, self._of, told))

    def _select(self, threshold: float) -> None:
        tissue = self._session.active
        reached = self._searching.last(tissue).at_least(threshold)
        self._session.select(reached & ~tissue.hidden)
        self.message.clear()
        if n_hidden := int((reached & tissue.hidden).sum()):
            hidden = fmt.count(n_hidden, "hidden cell")
            self.message.add("info", f"{hidden} that reach the threshold were not selected.")

    def _visit(self, number: int) -> None:
        spot = self._searching.last(self._session.active).spots[number]
        tissue = self._session.tissue_by_id(spot.tissue)
        self.message.clear()
        if tissue is None:
            self.message.add("info", "The tissue that this place is in was closed.")
            return
        self._session.activate(tissue)
        layer, placement = self._layers.layer_of(tissue), self._layers.placement_of(tissue)
        layer.visible = True
        point = placement.points[np.searchsorted(placement.cells, spot.cell)]
        fly_to(self._viewer(), layer, point, _VIEW * placement.diameter)

    def _try(self, act: Callable[[], Any]) -> None:
        self.message.clear()
        try:
            act()
        except UserError as error:
            self.message.add("error", str(error))

    @property
    def _of(self) -> str:
        return _OF[self.of.currentText()]

    # ---- what is shown

    def refresh(self, *_: Any) -> None:
        """Show what was found last, what can be searched, and what was looked for before."""
        tissue, search = self._session.active, self._searching.last(self._session.active)
        coloring = None if tissue is None else tissue.coloring
        painted = search is not None and coloring is not None and coloring.name == search.title
        legend = self._layers.legend_of(tissue) if painted and coloring.kind == "score" else None
        in_part = tissue is not None and bool(tissue.selection.any())
        hidden = np.zeros(0, bool) if tissue is None else tissue.hidden
        self.found.show_search(search, legend, in_part, hidden)
        why = self._searching.why_not()
        self.empty.setText(
            NO_TISSUE if tissue is None else why if why == NOTHING_TO_SEARCH else _LOOK
        )
        self.empty.setVisible(search is None)
        if [self.query.itemText(i) for i in range(self.query.count())] != self._searching.recent:
            text = self.query.currentText()
            with QSignalBlocker(self.query):
                self.query.clear()
                self.query.addItems(self._searching.recent)
                self.query.setEditText(text)
        enable(self.search_button, why, "Paint the tissue by how much it is like the text.")
        busy = self._session.jobs.current(SLOT)
        stops = busy is not None and busy.token.cancelled
        no_cancel = "No search is on." if busy is None else "It stops." if stops else ""
        enable(self.cancel_button, no_cancel, "Stop the search.")
        if busy is None:
            self.progress.end("")
        elif self.progress.isHidden():
            self.progress.begin("Preparing…")
        self._on_example()

    def _on_example(self, *_: Any) -> None:
        why, tissue = self._searching.why_not(), self._session.active
        no_cell = why or ("" if tissue.picked is not None else "Click a cell on the tissue first.")
        no_selection = why or ("" if tissue.selection.any() else "Select some cells first.")
        tip = "Find the cells or neighbourhoods that are most like it, in all sections"
        tip += " and in all open tissues that have embeddings." if self._searching.others() else "."
        enable(self.by_cell, no_cell, tip)
        enable(self.by_selection, no_selection, tip)
        enable(self.search_button, why, "Paint the tissue by how much it is like the text.")

    def _on_told(self, job: Job, event: Any) -> None:
        if isinstance(event, Progress):
            starting = event.stage == "Model"
            tissue = f"Searching tissue {event.done + 1} of {event.total}…"
            text = tissue if event.unit == "tissues" else "Searching…"
            self.progress.begin("Starting the language model…" if starting else text)
            self.refresh()
        elif self._session.jobs.current(SLOT) is None:
            if isinstance(event, Failed):
                self.message.add("error", event.sentence, event.details)
            self.refresh()
