"""The one place that holds state. Docks and layers read it, call its methods, hear its events.

A session belongs to one viewer (see :mod:`napari_cellama.ui.attach`). It knows no widget and no
layer: the docks and the painter watch it. Everything here happens on the main thread; what takes
long runs as a job, whose result is applied here only if the job is still the current one.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from psygnal import Signal

from napari_cellama.errors import UserError
from napari_cellama.recipe import Recipe
from napari_cellama.ui import tasks
from napari_cellama.ui.layouts import Layouts
from napari_cellama.ui.searching import Searching
from napari_cellama.ui.tissue import Coloring, LabelSet, Tissue
from napari_cellama.ui.workers import Job, Jobs

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_cellama.core.result import NicheResult

Level = Literal["info", "warning", "error"]


class Session:
    """The tissues that are open, what is chosen in them, and the jobs at work.

    Events (psygnal signals; all on the main thread)

    ``tissues_changed()``
        A tissue was opened or closed.
    ``active_changed(tissue | None)``
        Another tissue is the one that the docks show.
    ``matrix_ready(tissue)``
        The expression matrix, read after the positions, has arrived.
    ``coloring_changed(tissue)``, ``selection_changed(tissue)``
        The tissue is to be painted anew; selection alone, or colours and selection.
    ``labels_changed(tissue, key)``
        A label set appeared or its names, colours or codes changed.
    ``clusters_changed(tissue)``
        The Clusters dock is to show another label set.
    ``cell_picked(tissue, cell)``
        A cell was clicked.
    ``job_started(job)``, ``job_event(job, event)``
        A job began; it said something, at last Failed, Stopped or Ended.
    ``message(level, sentence, details)``
        Something for the user to read inline.
    """

    tissues_changed = Signal()
    active_changed = Signal(object)
    matrix_ready = Signal(object)
    coloring_changed = Signal(object)
    selection_changed = Signal(object)
    labels_changed = Signal(object, str)
    clusters_changed = Signal(object)
    cell_picked = Signal(object, int)
    job_started = Signal(object)
    job_event = Signal(object, object)
    message = Signal(str, str, str)

    def __init__(self) -> None:
        self.tissues: list[Tissue] = []
        self.active: Tissue | None = None
        self.jobs = Jobs()
        self.searching = Searching(self)
        self.layouts = Layouts(self)

    # ---- tissues

    def add_tissue(self, tissue: Tissue) -> None:
        """Take in an opened tissue and make it the active one."""
        if tissue in self.tissues:
            return
        self.tissues.append(tissue)
        self.tissues_changed.emit()
        self.activate(tissue)
        if not tissue.has_matrix:
            tasks.read_matrix(self, tissue)

    def remove_tissue(self, tissue: Tissue) -> None:
        """Let go of a tissue whose layer was removed; a run on it is cancelled."""
        self.tissues.remove(tissue)
        if self.active is tissue:
            self.jobs.cancel("run")
            self.searching.cancel()
            self.layouts.cancel()
        self.jobs.cancel(f"matrix {tissue.id}")
        self.tissues_changed.emit()
        if self.active is tissue:
            self.activate(self.tissues[-1] if self.tissues else None)

    def activate(self, tissue: Tissue | None) -> None:
        """Make a tissue the one that the docks show."""
        if tissue is not self.active:
            self.active = tissue
            self.active_changed.emit(tissue)

    def take_matrix(self, tissue: Tissue, adata: AnnData) -> None:
        """Take the whole of a tissue whose positions and obs were read before."""
        if tissue not in self.tissues:
            return
        if adata.n_obs != tissue.n_obs or not adata.obs_names.equals(tissue.snapshot.obs_names):
            sentence = f"{tissue.source} was changed while it was being opened; open it again."
            self.message.emit("error", sentence, "")
            return
        tissue.snapshot = adata
        tissue.has_matrix = True
        self.matrix_ready.emit(tissue)

    # ---- looking

    def color_by(self, coloring: Coloring | None) -> None:
        """Colour the active tissue by a label set, an obs column or a gene.

        Raises
        ------
        UserError
            When there is no such column or gene, or the genes have not been read yet.
        """
        tissue = self._need_tissue()
        if coloring is not None:
            from napari_cellama.ui.painting import check_coloring

            check_coloring(tissue, coloring)
        tissue.coloring = coloring
        self.coloring_changed.emit(tissue)

    def select(self, mask: np.ndarray) -> None:
        """Make these cells the selection; none selected shows all alike."""
        tissue = self._need_tissue()
        if not np.array_equal(tissue.selection, mask):
            tissue.selection = np.asarray(mask, bool).copy()
            self.selection_changed.emit(tissue)

    def pick_cell(self, cell: int) -> None:
        """Note the clicked cell and select the cluster it lies in, if clusters are shown."""
        tissue = self._need_tissue()
        tissue.picked = int(cell)
        self.cell_picked.emit(tissue, tissue.picked)
        labels = self.clusters
        if labels is not None and labels.codes[cell] >= 0:
            self.select(labels.mask(labels.codes[cell]))

    # ---- label sets

    @property
    def clusters(self) -> LabelSet | None:
        """The label set that the Clusters dock shows."""
        tissue = self.active
        if tissue is None or tissue.clusters is None:
            return None
        return tissue.label_set(tissue.clusters)

    def show_clusters(self, key: str) -> None:
        """Show an obs column or a run's niches as clusters, and colour the tissue by them."""
        self._show(self._need_tissue(), key)

    def _show(self, tissue: Tissue, key: str) -> None:
        tissue.label_set(key)
        had_selection = tissue.selection.any()
        tissue.clusters = key
        tissue.selection = np.zeros(tissue.n_obs, bool)
        tissue.coloring = Coloring("labels", key)
        self.clusters_changed.emit(tissue)
        self.coloring_changed.emit(tissue)
        if had_selection:
            self.selection_changed.emit(tissue)

    def rename_cluster(self, cluster: int, name: str) -> None:
        """Give a cluster of the shown label set another name."""
        self._edit(self.clusters.renamed(cluster, name))

    def recolor_cluster(self, cluster: int, color: str) -> None:
        """Give a cluster of the shown label set another colour (``#rrggbb``)."""
        self._edit(self.clusters.recolored(cluster, color))

    def _edit(self, labels: LabelSet) -> None:
        """Take an edited label set; edits of a user's own column go to a column beside it."""
        tissue = self._need_tissue()
        if not tissue.is_ours(labels.key):
            key = _free_key(f"{labels.key}_edited", tissue)
            text = f"Your column {labels.key!r} stays as it is; the changes go to {key!r}."
            self.message.emit("info", text, "")
            labels = replace(labels, key=key)
            tissue.clusters = key
        tissue.labels[labels.key] = labels
        tissue.saved = False
        self.labels_changed.emit(tissue, labels.key)
        self.clusters_changed.emit(tissue)
        self.color_by(Coloring("labels", labels.key))

    # ---- running

    @property
    def running(self) -> Job | None:
        """The run at work, if any."""
        return self.jobs.current("run")

    def run(self, recipe: Recipe) -> Job:
        """Start a run on the active tissue; a run at work is cancelled and becomes stale."""
        tissue = self._need_tissue()
        self.need_matrix(tissue)
        return tasks.run(self, tissue, recipe)

    def cancel(self) -> None:
        """Cancel the run; what was painted before stays."""
        self.jobs.cancel("run")

    def take_result(self, tissue: Tissue, result: NicheResult) -> None:
        """Take a run's result and paint it, whether or not its tissue is still the active one."""
        if tissue not in self.tissues:
            return
        labels = LabelSet(
            result.key,
            np.asarray(result.labels.codes, np.int32),
            tuple(result.labels.categories),
            tuple(result.colors),
        )
        tissue.results[result.key] = result
        for name in [name for name, made in tissue.layouts.items() if made.run == result.key]:
            del tissue.layouts[name]  # it is of the embedding before
        tissue.labels[result.key] = labels
        tissue.saved = False
        self.labels_changed.emit(tissue, result.key)
        self._show(tissue, result.key)

    # ---- keeping

    def apply_to_owner(self) -> list[str]:
        """Write everything into the AnnData that the notebook handed in; returns the slots."""
        tissue = self._need_tissue()
        if tissue.owner is None:
            raise UserError("This tissue was opened from a file; use Save instead.")
        written = tissue.write_into(tissue.owner)
        tissue.saved = True
        return written

    def save(self, path: str | Path, *, overwrite: bool = False) -> Job:
        """Save the active tissue with everything in its slots to .h5ad or .zarr, as a job."""
        tissue = self._need_tissue()
        self.need_matrix(tissue)
        return tasks.save(self, tissue, path, overwrite)

    def close(self) -> None:
        """Cancel all jobs and forget every listener, as the window closes."""
        self.jobs.close()
        for heard in (self, self.searching, self.layouts):
            for name in dir(type(heard)):
                if isinstance(getattr(type(heard), name), Signal):
                    getattr(heard, name).disconnect()

    # ---- guards

    def _need_tissue(self) -> Tissue:
        if self.active is None:
            raise UserError("No tissue is open; open one with File > Open or Open tissue….")
        return self.active

    @staticmethod
    def need_matrix(tissue: Tissue) -> None:
        """Raise one sentence if the expression matrix has not arrived yet."""
        if not tissue.has_matrix:
            raise UserError("The genes are still being read; try again in a moment.")


def _free_key(key: str, tissue: Tissue) -> str:
    """Return ``key``, or the first of ``key_2``, ``key_3``, … that is not taken."""
    taken = set(tissue.snapshot.obs.columns) | set(tissue.labels)
    names = [key, *(f"{key}_{i}" for i in range(2, 1000))]
    return next(name for name in names if name not in taken)
