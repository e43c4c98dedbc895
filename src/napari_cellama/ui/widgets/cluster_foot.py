"""The foot of the Clusters dock: what is selected, what can be taken along, and messages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_cellama.errors import UserError
from napari_cellama.ui import format as fmt
from napari_cellama.ui.actions import BY_ID
from napari_cellama.ui.exports import cluster_table, figure_events, write_table
from napari_cellama.ui.widgets.buttons import ActionButton
from napari_cellama.ui.widgets.lines import button, enable
from napari_cellama.ui.widgets.listen import listen
from napari_cellama.ui.widgets.progress import MessageLine
from napari_cellama.ui.workers import Failed, Job

if TYPE_CHECKING:
    import pandas as pd

    from napari_cellama.ui.layers import TissueLayers
    from napari_cellama.ui.painting import Legend
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.widgets.cluster_table import ClusterTable
    from napari_cellama.ui.widgets.enrichment import Enrichment

#: The figure's job in the session.
SLOT = "figure"

_FIGURE = (
    "Save what is painted now, with legend and scale bar, as a picture for slides (.png) or one "
    "whose text can be edited (.svg, .pdf)."
)
_COPY = "Copy the clusters as CSV, in the order of the table, to paste into a spreadsheet."
_SAVE = "Save the clusters as a CSV file, in the order of the table."


class ClustersFoot(QWidget):
    """Counts the selection, and takes the figure and the table out of the window.

    Parameters
    ----------
    session
        Says what is open and selected.
    table
        Says in which order the clusters are shown.
    enrichment
        Says which cell types are near them.
    layers
        Say where the cells are drawn.
    parent
        The Qt parent.
    """

    def __init__(
        self,
        session: Session,
        table: ClusterTable,
        enrichment: Enrichment,
        layers: TissueLayers,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self._session, self._table, self._layers = session, table, layers
        self._enrichment = enrichment
        self._legend: Legend | None = None
        self.message = MessageLine(self)
        self.offer = RecoveryOffer(session, self)
        self.count = QLabel(self)
        self.count.setWordWrap(True)
        self.clear_button = button("Show all", self._select_nothing, "link")
        self.hidden_button = ActionButton(session, BY_ID["show"], self)
        self.hidden_button.setObjectName("link")
        self.figure_button = button("Save figure…", self.choose_figure)
        self.copy_button = button("Copy table", self.copy_table)
        self.save_button = button("Save table…", self.choose_table)
        self._lay_out()
        listen(self, session.active_changed, self.refresh)
        listen(self, session.clusters_changed, self.refresh)
        listen(self, session.selection_changed, self.refresh)
        listen(self, session.message, self.message.add)
        self.refresh()

    def _lay_out(self) -> None:
        kept = QSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        kept.setRetainSizeWhenHidden(True)
        self.clear_button.setSizePolicy(kept)
        self.clear_button.setToolTip("Select nothing and show all cells alike (Esc in the table).")
        counting, buttons = QHBoxLayout(), QHBoxLayout()
        counting.addWidget(self.count, 1)
        counting.addWidget(self.hidden_button)
        counting.addWidget(self.clear_button)
        buttons.setSpacing(6)
        for one in (self.figure_button, self.copy_button, self.save_button):
            buttons.addWidget(one, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 6, 0)
        layout.setSpacing(6)
        layout.addWidget(self.offer)
        layout.addWidget(self.message)
        layout.addLayout(counting)
        layout.addLayout(buttons)

    # ---- what the user does

    def choose_figure(self) -> None:
        """Let the user choose where to save the figure, and save it in a job."""
        name = f"{self._session.active.name}.png"
        path, chosen = QFileDialog.getSaveFileName(
            self, "Save figure", name, "PNG (*.png);;SVG (*.svg);;PDF (*.pdf)"
        )
        if path:
            suffix = "" if Path(path).suffix else f".{chosen[:3].lower()}"
            self.save_figure(path + suffix)

    def save_figure(self, path: str) -> None:
        """Save what is painted now to ``path`` in a job, and say when it is there."""
        tissue = self._session.active
        placement = self._layers.placement_of(tissue)
        events = figure_events(tissue, self._legend, placement, path)

        def on_event(job: Job, event: Any) -> None:
            if isinstance(event, Path):
                self.message.add("info", f"Figure saved to {event}.")
            elif isinstance(event, Failed):
                self.message.add("error", event.sentence, event.details)
            self.refresh()

        self._session.jobs.start(SLOT, f"Drawing {Path(path).name}", events, on_event)
        self.refresh()

    def copy_table(self) -> None:
        """Put the table on the clipboard as CSV."""
        table = self.table()
        QGuiApplication.clipboard().setText(table.to_csv(index=False))
        self.message.add("info", f"Copied the table: {fmt.count(len(table), 'cluster')}, as CSV.")

    def choose_table(self) -> None:
        """Let the user choose where to save the table, and save it."""
        name = f"{self._session.active.name}_{self._session.clusters.key}.csv"
        path, _ = QFileDialog.getSaveFileName(self, "Save table", name, "CSV (*.csv)")
        if path:
            self.save_table(path)

    def save_table(self, path: str) -> None:
        """Save the table as CSV."""
        try:
            self.message.add("info", f"Table saved to {write_table(self.table(), path)}.")
        except UserError as error:
            self.message.add("error", str(error))

    def table(self) -> pd.DataFrame:
        """Return the clusters as a table, in the order that is shown."""
        return cluster_table(
            self._session.clusters, self._table.clusters_in_order(), self._enrichment.top
        )

    def _select_nothing(self) -> None:
        self._session.select(self._session.active.selection & False)

    # ---- what is shown

    def show_legend(self, legend: Legend | None) -> None:
        """Note what the colours mean, for the figure."""
        self._legend = legend
        self.refresh()

    def refresh(self, *_: Any) -> None:
        """Count anew, and enable the buttons that can work; the others say why they cannot."""
        tissue, labels = self._session.active, self._session.clusters
        n_selected = 0 if tissue is None else tissue.n_selected
        n_hidden = 0 if tissue is None else int(np.count_nonzero(tissue.hidden))
        unseen = int(np.count_nonzero(tissue.selection & tissue.hidden)) if n_hidden else 0
        counted = _counted(0 if tissue is None else tissue.n_obs, n_selected, unseen)
        self.count.setText(fmt.joined(counted, f"{n_hidden:,} hidden" if n_hidden else ""))
        self.hidden_button.setVisible(n_hidden > 0)
        self.clear_button.setVisible(n_selected > 0)
        no_figure = (
            "Open a tissue first."
            if tissue is None or self._legend is None
            else "The figure is being drawn."
            if self._session.jobs.current(SLOT)
            else ""
        )
        enable(self.figure_button, no_figure, _FIGURE)
        no_table = (
            "Open a tissue first."
            if tissue is None
            else "No clusters are shown; choose some under Labels."
            if labels is None
            else ""
        )
        enable(self.copy_button, no_table, _COPY)
        enable(self.save_button, no_table, _SAVE)


class RecoveryOffer(QWidget):
    """Asks whether work that was not saved is to be brought back; hidden where there is none."""

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self._recovery = session.recovery
        self.question = QLabel(self)
        self.question.setWordWrap(True)
        self.restore_button = button("Restore", self._recovery.restore, "primary")
        self.restore_button.setToolTip("Bring it back, as a step that can be undone.")
        self.discard_button = button("Discard", self._recovery.discard)
        self.discard_button.setToolTip("Throw it away for good.")
        buttons, layout = QHBoxLayout(), QVBoxLayout(self)
        for one in (self.restore_button, self.discard_button):
            buttons.addWidget(one, 1)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.question)
        layout.addLayout(buttons)
        listen(self, self._recovery.offered, self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Ask what there is to ask of the active tissue."""
        offer = self._recovery.offer
        self.question.setText(offer)
        self.setVisible(bool(offer))


def _counted(n_cells: int, n_selected: int, n_unseen: int) -> str:
    if not n_cells:
        return ""
    if not n_selected:
        return f"{fmt.count(n_cells, 'cell')}, none selected"
    # A row takes a cluster's hidden cells along, which no outline on the tissue takes away.
    unseen = f" ({n_unseen:,} of them hidden)" if n_unseen else ""
    return f"{n_selected:,} of {fmt.count(n_cells, 'cell')} selected{unseen}"
