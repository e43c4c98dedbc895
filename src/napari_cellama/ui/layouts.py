"""Maps of the cells (UMAP) of a session's tissues, and the job that makes them."""

from __future__ import annotations

import time
import weakref
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from psygnal import Signal

from napari_cellama.core.context import niche_representation
from napari_cellama.core.events import CancelToken
from napari_cellama.core.search_space import SearchSpace
from napari_cellama.core.umap import Begun, Placed
from napari_cellama.core.umap_process import laying_out_apart
from napari_cellama.errors import UserError
from napari_cellama.recipe import Recipe
from napari_cellama.ui.workers import Job

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_cellama.core.result import NicheResult
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue

#: The job's slot in the session.
SLOT = "layout"
Of = Literal["niches", "cells"]
#: A growing map is shown again when so many times as many cells are on it: showing costs as much
#: as there are cells, and this way all that showing costs a few times what the last one does.
_GROWTH = 1.2
NOTHING_TO_SHOW = "Press Run in the Niches dock first; its embedding can then be shown as a map."


@dataclass(frozen=True)
class Layout:
    """A map of a tissue's cells.

    Attributes
    ----------
    run
        The ``key_added`` of the run whose embedding it is of.
    name
        The slot in obsm.
    places
        (n, 2) float32; NaN for cells that are not on it.
    seed
        The run's.
    seconds
        How long it took; 0 where it was read from a file.
    placed, total
        Cells that have a place, and that would have one if it were whole.
    learnt
        What the other cells are placed by (see :class:`~..core.umap.Placed`), until it is whole.
    """

    run: str
    name: str
    places: np.ndarray
    seed: int
    seconds: float = 0.0
    placed: int = 0
    total: int = 0
    learnt: bytes = field(default=b"", repr=False)

    @property
    def is_whole(self) -> bool:
        """Whether every cell that can have a place has one."""
        return self.placed == self.total

    @property
    def can_go_on(self) -> bool:
        """Whether it was stopped so that making it goes on where it was."""
        return bool(self.learnt) and not self.is_whole


@dataclass(frozen=True)
class Step:
    """How far a map is.

    Attributes
    ----------
    placed, total
        As of a :class:`Layout`; 0 while the map is learnt.
    left
        Seconds that it will still take; ``None`` where nothing can be said yet.
    """

    placed: int
    total: int
    left: float | None = None


class Layouts:
    """Makes maps of the session's active tissue, and says when there is one.

    Events (psygnal signals; all on the main thread)

    ``changed(tissue)``
        A map was begun, has grown or is there.
    ``told(job, event)``
        The job said how far it is (:class:`Step`), or at last Failed, Stopped or Ended.
    """

    changed = Signal(object)
    told = Signal(object, object)

    def __init__(self, session: Session) -> None:
        self._session = weakref.proxy(session)
        # The map that is being made and its tissue: a job that stops leaves an older map that
        # has more cells as it was.
        self._growing: tuple[weakref.ref[Tissue], Layout] | None = None

    def run_of(self, tissue: Tissue | None) -> str | None:
        """Return the run whose embedding is to be seen: the shown clusters', else the last."""
        if tissue is None:
            return None
        saved = tissue.snapshot.uns.get("cellama", {}).get("runs", {})
        runs = [*saved, *tissue.results]
        return tissue.clusters if tissue.clusters in runs else next(reversed(runs), None)

    def get(self, tissue: Tissue | None, of: Of) -> Layout | None:
        """Return a tissue's map, if it was made here or saved with the data."""
        run = self.run_of(tissue)
        if run is None:
            return None
        name = slot_of(run, of)
        if (growing := self._growing_of(tissue)) is not None and growing.name == name:
            return growing
        if name in tissue.layouts:
            return tissue.layouts[name]
        if run not in tissue.results and name in tissue.snapshot.obsm:
            return Layout(run, name, np.asarray(tissue.snapshot.obsm[name], np.float32), 0)
        return None

    def why_not(self) -> str:
        """Say why the active tissue can have no map; "" if it can."""
        tissue = self._session.active
        if tissue is None:
            return "Open a tissue first."
        if not tissue.has_matrix:
            return "The genes are still being read; try again in a moment."
        return NOTHING_TO_SHOW if self.run_of(tissue) is None else ""

    def make(self, of: Of) -> Job:
        """Make a map of the niches' or the cells' embedding, as a job.

        One that was stopped while cells were placed goes on there.

        Raises
        ------
        UserError
            When the tissue has no embedding.
        """
        if why := self.why_not():
            raise UserError(why)
        tissue = self._session.active
        run = self.run_of(tissue)
        snapshot, result = tissue.snapshot, tissue.results.get(run)
        known = self.get(tissue, of)
        stopped = known if known is not None and known.can_go_on else None

        def events(token: CancelToken) -> Iterator[Any]:
            start = time.perf_counter()
            features, seed = embedding_of(snapshot, run, result, of, token)
            if stopped is None:
                empty = np.full((len(features), 2), np.nan, np.float32)
                layout, begun = Layout(run, slot_of(run, of), empty, seed), None
            else:
                layout, begun = stopped, Begun(stopped.learnt, stopped.places)
            placing = laying_out_apart(features, seed=seed, begun=begun, cancel=token)
            yield from growing(layout, placing, start)

        def on_event(job: Job, event: Any) -> None:
            holds = tissue in self._session.tissues and tissue.results.get(run) is result
            if isinstance(event, Layout):
                self._growing = (weakref.ref(tissue), event) if holds else None
                if event.is_whole:
                    self._keep(tissue)
                self.changed.emit(tissue)
                return
            if not isinstance(event, Step):
                if holds:
                    self._keep(tissue)
                self._growing = None
                self.changed.emit(tissue)
            self.told.emit(job, event)

        self._growing = None
        title = f"Mapping the {of} of {tissue.name}"
        job = self._session.jobs.start(SLOT, title, events, on_event)
        self.changed.emit(tissue)
        return job

    def cancel(self) -> None:
        """Stop the map that is being made, if any; the cells that are on it stay."""
        self._session.jobs.cancel(SLOT)

    def _growing_of(self, tissue: Tissue) -> Layout | None:
        """Return the map that is being made, if it is of this tissue."""
        if self._growing is None or self._growing[0]() is not tissue:
            return None
        return self._growing[1]

    def _keep(self, tissue: Tissue) -> None:
        """Keep the map that was being made, unless one with more cells is there."""
        layout, self._growing = self._growing_of(tissue), None
        if layout is None:
            return
        known = tissue.layouts.get(layout.name)
        if known is None or layout.is_whole or known.placed < layout.placed:
            tissue.layouts[layout.name] = layout
            tissue.saved = False


def growing(
    layout: Layout, placing: Generator[Placed, None, np.ndarray], start: float
) -> Iterator[Step | Layout]:
    """Yield how far a map is, and the map whenever it has grown by enough to be shown again.

    Where it is stopped or fails, what is placed by then is yielded first.

    Parameters
    ----------
    layout
        What is on it already.
    placing
        Tells of cells as they are placed.
    start
        When it began, by ``time.perf_counter``.
    """
    places, learnt, first = layout.places.copy(), layout.learnt, (0.0, 0)
    done, total, shown = layout.placed, layout.total, layout.placed

    def grown() -> Layout:
        took = layout.seconds + time.perf_counter() - start
        rest = learnt if done < total else b""
        so_far = {"placed": done, "total": total, "learnt": rest}
        return replace(layout, places=places.copy(), seconds=took, **so_far)

    try:
        for placed in placing:
            done, total, learnt = placed.done, placed.total, placed.learnt or learnt
            places[placed.cells] = placed.places
            now = time.perf_counter()
            if done and not first[1]:
                first = now, done
            rate = (done - first[1]) / max(now - first[0], 1e-9)
            yield Step(done, total, (total - done) / rate if rate else None)
            if done > shown and (done >= shown * _GROWTH or done == total):
                shown = done
                yield grown()
    except Exception:
        if done > shown:
            yield grown()
        raise


def slot_of(run: str, of: Of) -> str:
    """Return where a run's map is kept in obsm: "X_niche_umap", or "X_niche_cells_umap"."""
    return f"X_{run}_umap" if of == "niches" else f"X_{run}_cells_umap"


def embedding_of(
    snapshot: AnnData, run: str, result: NicheResult | None, of: Of, cancel: CancelToken
) -> tuple[np.ndarray, int]:
    """Return (n, p) what a map is made of, and the run's seed.

    The niches' is what was clustered; the cells' is their views' principal components.

    Raises
    ------
    UserError
        When the run's embedding was not kept.
    """
    if of == "cells":
        space = SearchSpace.of_adata(snapshot) if result is None else SearchSpace.of_result(result)
        features = niche_representation(space.views, space.graph, n_hops=0, cancel=cancel)
    elif result is not None:
        features = result.representation
    elif f"X_{run}" in snapshot.obsm:
        features = np.asarray(snapshot.obsm[f"X_{run}"], np.float32)
    else:
        raise UserError(f"obsm['X_{run}'] was not kept in these data; run again to see a map.")
    if result is not None:
        return features, Recipe.from_json(result.provenance["recipe"]).seed
    return features, Recipe.from_json(str(snapshot.uns["cellama"]["runs"][run]["recipe"])).seed
