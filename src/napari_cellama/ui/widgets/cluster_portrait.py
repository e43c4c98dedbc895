"""What the picked cluster is: what surrounds it, its markers, its borders, how certain it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_cellama.errors import UserError
from napari_cellama.ui import format as fmt
from napari_cellama.ui.actions import selected_clusters
from napari_cellama.ui.attach import session_of
from napari_cellama.ui.tissue import Coloring
from napari_cellama.ui.understanding import Portraits, Told
from napari_cellama.ui.widgets.exhibit import Exhibit, Say
from napari_cellama.ui.widgets.form import tab_through
from napari_cellama.ui.widgets.inquiry import Inquiry
from napari_cellama.ui.widgets.lines import NO_TISSUE
from napari_cellama.ui.widgets.listen import listen
from napari_cellama.ui.widgets.picture import Picture
from napari_cellama.ui.widgets.portrait_groups import (
    show_around,
    show_borders,
    show_certainty,
    show_markers,
)
from napari_cellama.ui.widgets.small_table import SmallTable
from napari_cellama.ui.workers import Failed

if TYPE_CHECKING:
    import napari

_NO_GENES = "The genes are still being read; try again in a moment."
_NO_CLUSTERS = (
    "No clusters are shown. Press Run in the Niches dock, or choose an obs column under Labels in "
    "the Clusters dock."
)
_NO_CLUSTER = "Click a cluster, on the tissue or in the Clusters dock, to see what it is."
#: How many sections are named.
_N_SECTIONS = 4
_HEADERS = (
    ("Gene", "Click a gene to colour the tissue by it."),
    ("log2 FC", "log2 of the mean's ratio to that in the other clusters."),
    ("In", "Share of the cluster's cells that express the gene."),
    ("Rest", "Share of the other clusters' cells that express the gene."),
)


class ClusterPortrait(QWidget):
    """Shows what is known of the picked clusters, in groups that fold.

    Parameters
    ----------
    viewer
        The viewer whose session this is a view of.
    say
        Called with what became of saving and copying.
    parent
        The Qt parent.
    """

    def __init__(self, viewer: napari.Viewer, say: Say, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        session = self._session = session_of(viewer)
        self._say = say
        self._portraits = Portraits()
        self._inquiry = Inquiry(session.jobs, "portrait", self._on_answer, self)
        self.told: Told | None = None
        self.title, self.empty, self.where = (QLabel(self) for _ in range(3))
        self.shown = QWidget(self)
        self.markers = SmallTable(_HEADERS, "Marker genes", self)
        self.markers.setToolTip(
            "The genes that these cells have more of than the others; click one, or press Enter on "
            "it, to paint it."
        )
        self.markers.cellClicked.connect(lambda row, column: self._paint_gene(row))
        self.markers.cellActivated.connect(lambda row, column: self._paint_gene(row))
        pictures = (Picture(viewer, self) for _ in range(3))
        self.around_group = Exhibit("What surrounds it", next(pictures), say, self)
        self.markers_group = Exhibit("Marker genes", self.markers, say, self)
        self.borders_group = Exhibit("What it borders on", next(pictures), say, self)
        self.certainty_group = Exhibit("How certain it is", next(pictures), say, self)
        self.groups = (
            *(self.around_group, self.markers_group),
            *(self.borders_group, self.certainty_group),
        )
        self._lay_out()
        for signal in (session.active_changed, session.matrix_ready, session.clusters_changed):
            listen(self, signal, self.refresh)
        for signal in (session.selection_changed, session.labels_changed):
            listen(self, signal, self.refresh)
        self.refresh()

    def _lay_out(self) -> None:
        self.title.setObjectName("groupTitle")
        self.empty.setObjectName("muted")
        for label in (self.title, self.empty, self.where):
            label.setWordWrap(True)
        column = QVBoxLayout(self.shown)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.where)
        for group in self.groups:
            column.addWidget(group)
        for group in self.groups[:2]:
            group.fold.expand(animate=False)
        tab_through([stop for group in self.groups for stop in group.stops])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 6, 0)
        layout.setSpacing(6)
        for widget in (self.title, self.empty, self.shown):
            layout.addWidget(widget)
        layout.addStretch(1)

    def showEvent(self, event: Any) -> None:
        """Look at the cluster that was picked while this was hidden."""
        super().showEvent(event)
        self.refresh()

    # ---- what the user does

    def _paint_gene(self, row: int) -> None:
        try:
            self._session.color_by(Coloring("gene", self.markers.item(row, 0).text()))
        except UserError as error:
            self._say("error", str(error))

    # ---- what is shown

    def refresh(self, *_: Any) -> None:
        """Show what is known of the picked clusters, ask for it, or say what to do first."""
        chosen = tuple(selected_clusters(self._session))
        if why := self._why_not(chosen):
            self._inquiry.drop()
            self._wait("", why)
            return
        if not self.isVisible():
            return
        tissue, labels = self._session.active, self._session.clusters
        told = self._portraits.get(tissue, labels, chosen)
        if told is not None:
            self._inquiry.drop()
            self._show(told)
            return
        self._wait(fmt.joined(labels.key, _names(labels.names, chosen)), "Looking at its cells…")
        self._inquiry.ask(self._portraits.question(tissue, labels, chosen))

    def _why_not(self, chosen: tuple[int, ...]) -> str:
        if self._session.active is None:
            return NO_TISSUE
        if self._session.clusters is None:
            return _NO_CLUSTERS
        if not chosen:
            return _NO_CLUSTER
        return "" if self._session.active.has_matrix else _NO_GENES

    def _wait(self, title: str, text: str) -> None:
        self.told = None
        self.title.setText(title)
        self.title.setVisible(bool(title))
        self.empty.setText(text)
        self.empty.show()
        self.shown.hide()

    def _on_answer(self, told: Any) -> None:
        if isinstance(told, Failed):
            self._wait("", told.sentence)
            return
        self.refresh()  # it is known now, if it is still what is picked

    def _show(self, told: Told) -> None:
        if told is self.told:
            return
        self.told = told
        portrait = told.portrait
        tissue = self._session.active
        chosen = selected_clusters(self._session)
        self.title.setText(fmt.joined(told.key, _names(told.names, chosen)))
        self.title.show()
        share = f"{portrait.share:.1%} of the cells with a label"
        place = where_text(portrait.places, portrait.n_sections, tissue.units)
        self.where.setText(fmt.joined(fmt.count(portrait.n_cells, "cell"), share) + "\n" + place)
        self.empty.hide()
        self.shown.show()
        show_around(self.around_group, told)
        show_markers(self.markers_group, told)
        show_borders(self.borders_group, told)
        show_certainty(self.certainty_group, told)
        for group in self.groups:
            group.settle()
        for layout in (self.shown.layout(), self.layout()):
            layout.invalidate()
            layout.activate()
        # The viewport makes room now, not after the groups were drawn squeezed into its height.
        QCoreApplication.sendEvent(self.parentWidget(), QEvent(QEvent.Type.LayoutRequest))


def where_text(places: pd.DataFrame, n_sections: int, units: str) -> str:
    """Say where cells lie, e.g. "In 2 of 3 sections: a (120 cells, 400 × 300 µm), b (3 cells…)"."""
    told = []
    for section, cells, width, height in places.head(_N_SECTIONS).itertuples(index=False):
        extent = f"{fmt.distance(width, units)} × {fmt.distance(height, units)}"
        if n_sections == 1:
            return f"Reaches over {extent}"
        told.append(f"{section} ({fmt.count(cells, 'cell')}, {extent})")
    more = "" if len(places) <= _N_SECTIONS else f" and {len(places) - _N_SECTIONS} more"
    return f"In {len(places)} of {n_sections} sections: {', '.join(told)}{more}"


def _names(names: Sequence[str], chosen: Sequence[int]) -> str:
    """Return what the picked clusters are called together."""
    return " + ".join(names[i] for i in chosen)
