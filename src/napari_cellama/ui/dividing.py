"""Subclustering of a session's selected cells: how it is done, and the job that does it."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from napari_cellama.core.events import CancelToken
from napari_cellama.errors import UserError
from napari_cellama.recipe import Recipe
from napari_cellama.ui.workers import Failed, Job

if TYPE_CHECKING:
    from napari_cellama.core.subclusters import Divided
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue

#: The job's slot in the session.
SLOT = "subcluster"


class Dividing:
    """Divides the active tissue's selected cells by their context.

    Attributes
    ----------
    recipe
        How: number, method and seed.
    """

    def __init__(self, session: Session) -> None:
        self._session = weakref.proxy(session)
        self.recipe = Recipe()

    def why_not(self) -> str:
        """Return why the selection cannot be subclustered now; "" where it can."""
        tissue = self._session.active
        if tissue is None:
            return "Open a tissue first."
        if tissue.clusters is None:
            return "No clusters are shown; choose some under Labels."
        if not tissue.selection.any():
            return "No cell is selected; click a cluster or draw a lasso first."
        if not tissue.has_matrix:
            return "The genes are still being read; try again in a moment."
        if not tissue.results and "X_cellama" not in tissue.snapshot.obsm:
            return "The cells have no embeddings yet; press Run in the Niches dock first."
        return ""

    def start(self) -> Job:
        """Start to divide the selected cells; an older such job becomes stale.

        What is selected and shown now is divided, whatever is clicked meanwhile.

        Raises
        ------
        UserError
            When it cannot be done now.
        """
        session, recipe = self._session, self.recipe
        tissue = session.need_tissue()
        if why := self.why_not():
            raise UserError(why)
        cells, key, snapshot = tissue.selection, tissue.clusters, tissue.snapshot
        result = next(reversed(tissue.results.values()), None)

        def events(token: CancelToken) -> Iterator[Any]:
            from napari_cellama.core.subclusters import embedded_views, stored_graph, subclusters

            views = embedded_views(snapshot) if result is None else result.views
            graph = stored_graph(snapshot, recipe) if result is None else result.connectivities
            return subclusters(views, graph, cells, recipe, token)

        def on_event(job: Job, event: Any) -> None:
            from napari_cellama.core.subclusters import Divided

            if isinstance(event, Divided):
                self.take(tissue, key, event)
            elif isinstance(event, Failed):
                session.message.emit("error", event.sentence, event.details)
            session.job_event.emit(job, event)

        job = session.jobs.start(SLOT, "Subclustering", events, on_event)
        session.job_started.emit(job)
        return job

    def cancel(self) -> None:
        """Stop dividing; the clusters stay as they are."""
        self._session.jobs.cancel(SLOT)

    def take(self, tissue: Tissue, key: str, divided: Divided) -> None:
        """Take the parts that were found, unless their tissue or label set is gone by now."""
        session = self._session
        if tissue not in session.tissues:
            return
        if key not in tissue.labels:
            text = f"The clusters {key!r} that were to be divided were undone or deleted meanwhile."
            session.message.emit("info", text, "")
            return
        session.activate(tissue)
        if tissue.clusters != key:
            session.show_clusters(key)
        session.editing.divide(divided)
