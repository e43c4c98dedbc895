"""The one place that holds state. Docks and layers read it, call its methods, hear its events.

A session belongs to one viewer (see :mod:`napari_cellama.ui.attach`). It knows no widget and no
layer: the docks and the painter watch it. Everything here happens on the main thread; what takes
long runs as a job, whose result is applied here only if the job is still the current one.

What a user can undo goes through :meth:`Viewing.change`: a name, and the tissue's state after it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from psygnal import Signal

from napari_cellama.core.labels import LabelSet
from napari_cellama.errors import UserError
from napari_cellama.recipe import Recipe
from napari_cellama.ui import outlines, tasks
from napari_cellama.ui.dividing import Dividing
from napari_cellama.ui.editing import Editing, free_key
from napari_cellama.ui.imaging import Imaging
from napari_cellama.ui.keeping import write_made
from napari_cellama.ui.layouts import Layouts
from napari_cellama.ui.quality import Quality
from napari_cellama.ui.searching import Searching
from napari_cellama.ui.tissue import Coloring, Tissue
from napari_cellama.ui.viewing import Viewing
from napari_cellama.ui.workers import Job, Jobs

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_cellama.core.result import NicheResult
    from napari_cellama.ui.recovery import Recovery

Level = Literal["info", "warning", "error"]


class Session(Viewing):
    """The tissues that are open, what is chosen in them, and the jobs at work.

    Events (psygnal signals; all on the main thread), beside those of :class:`~.viewing.Viewing`

    ``tissues_changed()``
        A tissue was opened or closed.
    ``active_changed(tissue | None)``
        Another tissue is the one that the docks show.
    ``matrix_ready(tissue)``
        The expression matrix, read after the positions, has arrived.
    ``tissue_saved(tissue)``
        Everything that was made of a tissue is in a file, or in its owner's AnnData.
    ``job_started(job)``, ``job_event(job, event)``
        A job began; it said something, at last Failed, Stopped or Ended.
    ``message(level, sentence, details)``
        Something for the user to read inline.
    """

    tissues_changed = Signal()
    active_changed = Signal(object)
    matrix_ready = Signal(object)
    tissue_saved = Signal(object)
    job_started = Signal(object)
    job_event = Signal(object, object)
    message = Signal(str, str, str)

    def __init__(self) -> None:
        self.tissues: list[Tissue] = []
        self.active: Tissue | None = None
        self.jobs = Jobs()
        self.editing = Editing(self)
        #: Keeps unsaved work on disk, where the session belongs to a window.
        self.recovery: Recovery | None = None
        self.dividing = Dividing(self)
        self.searching = Searching(self)
        self.layouts = Layouts(self)
        self.quality = Quality(self)
        self.imaging = Imaging(self)

    # ---- tissues

    def add_tissue(self, tissue: Tissue) -> None:
        """Take in an opened tissue and make it the active one."""
        if tissue in self.tissues:
            return
        self.tissues.append(tissue)
        self.tissues_changed.emit()
        self.activate(tissue)
        self.imaging.opening.open_missing(tissue)
        if not tissue.has_matrix:
            tasks.read_matrix(self, tissue)
        outlines.read_if_there(self, tissue)
        self._compare_units(tissue)

    def _compare_units(self, tissue: Tissue) -> None:
        """Say so where tissues that are drawn on one canvas count in different units."""
        other = next((one for one in self.tissues if one.units != tissue.units), None)
        if other is not None:
            self.message.emit(
                "warning",
                f"{tissue.name} is measured in {_units(tissue)}, {other.name} in "
                f"{_units(other)}: each is drawn by its own numbers, so their sizes cannot be "
                "compared.",
                "",
            )

    def remove_tissue(self, tissue: Tissue) -> None:
        """Let go of a tissue whose layer was removed; a run on it is cancelled."""
        if self.recovery is not None:
            self.recovery.let_go(tissue)
        self.tissues.remove(tissue)
        if self.active is tissue:
            self.jobs.cancel("run")
            self.searching.cancel()
            self.layouts.cancel()
            self.quality.cancel()
        for slot in ("matrix", "outlines", "draw"):
            self.jobs.cancel(f"{slot} {tissue.id}")
        self.imaging.forget(tissue)
        self.tissues_changed.emit()
        if self.active is tissue:
            self.activate(self.tissues[-1] if self.tissues else None)

    def tissue_by_id(self, number: int) -> Tissue | None:
        """Return the open tissue of that id; ``None`` if it is closed by now."""
        return next((tissue for tissue in self.tissues if tissue.id == number), None)

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
        tissue.take_matrix(adata)
        self.matrix_ready.emit(tissue)

    # ---- running

    @property
    def running(self) -> Job | None:
        """The run at work, if any."""
        return self.jobs.current("run")

    def run(self, recipe: Recipe) -> Job:
        """Start a run on the active tissue; a run at work is cancelled and becomes stale."""
        tissue = self.need_tissue()
        self.need_matrix(tissue)
        return tasks.run(self, tissue, recipe)

    def regroup(self, key: str, n_clusters: int) -> Job:
        """Find another number of niches in the niche space of one of the tissue's results."""
        tissue = self.need_tissue()
        return tasks.regroup(self, tissue, tissue.results[key], n_clusters)

    def cancel(self) -> None:
        """Cancel the run; what was painted before stays."""
        self.jobs.cancel("run")

    def take_result(self, tissue: Tissue, result: NicheResult, *, again: bool = False) -> None:
        """Take a run's result and paint it, whether or not its tissue is still the active one.

        ``again``: the run painted before, so that what the user looks at and has selected since
        stays as it is.
        """
        if tissue not in self.tissues:
            return
        labels = LabelSet(
            result.key,
            np.asarray(result.labels.codes, np.int32),
            tuple(result.labels.categories),
            tuple(result.colors),
        )
        self._put_aside(tissue, result.key)
        tissue.results[result.key] = result
        for name in [name for name, made in tissue.layouts.items() if made.run == result.key]:
            del tissue.layouts[name]  # it is of the embedding before
        tissue.labels[result.key] = labels
        tissue.saved = False
        self.labels_changed.emit(tissue, result.key)
        if again:
            if tissue.clusters == result.key:
                self.clusters_changed.emit(tissue)
            if tissue.coloring == Coloring("labels", result.key):
                self.coloring_changed.emit(tissue)
            return
        self._show(tissue, result.key)
        if tissue.selection.any() or tissue.hidden.any():
            nothing = np.zeros(tissue.n_obs, bool)
            after = replace(tissue.state, selection=nothing, hidden=nothing)
            self.change(tissue, "Show all cells", after)

    def _put_aside(self, tissue: Tissue, key: str) -> None:
        """Keep what a hand has made of an earlier run's niches before a new run replaces them."""
        tissue.history.forget(key)
        self.history_changed.emit(tissue)
        if not tissue.is_edited(key):
            return
        aside = free_key(f"{key}_edited", tissue)
        tissue.labels[aside] = replace(tissue.label_set(key), key=aside)
        text = f"What you made of the niches before is kept, as {aside!r} under Labels."
        self.message.emit("info", text, "")
        self.labels_changed.emit(tissue, aside)

    # ---- keeping

    def apply_to_owner(self) -> list[str]:
        """Write everything into the AnnData that the notebook handed in; returns the slots."""
        tissue = self.need_tissue()
        if tissue.owner is None:
            raise UserError("This tissue was opened from a file; use Save instead.")
        written = write_made(tissue, tissue.owner)
        tissue.saved = True
        self.tissue_saved.emit(tissue)
        return written

    def save(self, path: str | Path, *, overwrite: bool = False) -> Job:
        """Save the active tissue with everything in its slots to .h5ad or .zarr, as a job."""
        tissue = self.need_tissue()
        self.need_matrix(tissue)
        return tasks.save(self, tissue, path, overwrite)

    def close(self) -> None:
        """Cancel all jobs and forget every listener, as the window closes."""
        if self.recovery is not None:
            self.recovery.close()
        self.jobs.close()
        for heard in (self, self.searching, self.layouts, self.quality, self.imaging):
            for name in dir(type(heard)):
                if isinstance(getattr(type(heard), name), Signal):
                    getattr(heard, name).disconnect()

    # ---- guards

    @staticmethod
    def need_matrix(tissue: Tissue) -> None:
        """Raise one sentence if the expression matrix has not arrived yet."""
        if not tissue.has_matrix:
            raise UserError("The genes are still being read; try again in a moment.")


def _units(tissue: Tissue) -> str:
    """Return what a tissue is measured in, as one says it."""
    return "pixels" if tissue.units == "pixel" else tissue.units
