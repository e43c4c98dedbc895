"""What is searched for in a session's tissues, what was found, and the job that finds it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_cellama.core.events import CancelToken, Progress
from napari_cellama.core.query import read_query
from napari_cellama.core.search import Found, searching
from napari_cellama.core.search_space import Of, SearchSpace
from napari_cellama.core.similar import Example
from napari_cellama.errors import UserError
from napari_cellama.ui.searchable import (
    Ready,
    Search,
    Searchable,
    Subject,
    conclude,
    in_other,
)
from napari_cellama.ui.tissue import Coloring
from napari_cellama.ui.workers import Job

if TYPE_CHECKING:
    from napari_cellama.core.result import NicheResult
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue

#: The job's slot in the session.
SLOT = "search"
#: How many queries are offered again, and how many tissues' scores are kept to paint by.
N_RECENT = 8

NOTHING_TO_SEARCH = (
    "There is nothing to search yet: the cells have no embeddings. Press Run in the Niches dock "
    "first; a search then compares what you type with the cells' sentences."
)

_NOT_EMBEDDED = "its cells have no embeddings; press Run for it in the Niches dock"

#: Looks in the active tissue; with an example, others can be searched for the like of it.
_Find = Callable[[SearchSpace, CancelToken], Generator[Any, None, tuple[Found, Example | None]]]


class Searching:
    """Searches in the session's tissues; what is found is painted.

    Words are looked for in the active tissue, the like of an example in all that are open.

    Events (psygnal signals; all on the main thread)

    ``changed(tissue)``
        A search was begun, or has found something, or ended.
    ``told(job, event)``
        The job said how far it is, or at last Failed, Stopped or Ended.
    """

    changed = Signal(object)
    told = Signal(object, object)

    def __init__(self, session: Session) -> None:
        self._session = weakref.proxy(session)
        self._searchable: weakref.WeakKeyDictionary[Tissue, tuple[Any, Searchable]] = (
            weakref.WeakKeyDictionary()
        )
        self._last: weakref.WeakKeyDictionary[Tissue, Search] = weakref.WeakKeyDictionary()
        self.recent: list[str] = []

    def last(self, tissue: Tissue | None) -> Search | None:
        """Return what was found last in a tissue."""
        return None if tissue is None else self._last.get(tissue)

    def why_not(self) -> str:
        """Say why the active tissue cannot be searched; "" if it can."""
        tissue = self._session.active
        return "Open a tissue first." if tissue is None else _why_not(tissue)

    def others(self) -> list[Tissue]:
        """Return the other open tissues that can be searched, too."""
        active = self._session.active
        return [one for one in self._session.tissues if one is not active and not _why_not(one)]

    # ---- what the user does

    def search(self, text: str, of: Of, *, raw: bool = False) -> Job:
        """Look for a description in the active tissue, as a job; a search at work is replaced.

        Raises
        ------
        UserError
            When there is nothing to search in, or nothing to look for.
        """
        tissue = self._ready()
        query = read_query(text, tissue.snapshot.var_names)
        if not query.text:
            raise UserError("Type what to look for, e.g. a cell type, or one next to another.")
        self.recent = [query.text, *(old for old in self.recent if old != query.text)][:N_RECENT]

        def find(space: SearchSpace, token: CancelToken) -> Generator[Any, None, Any]:
            from napari_cellama.api import NamedEncoder
            from napari_cellama.io.embedding_cache import shared_cache

            asked = space.ask(query, of, raw=raw)
            encoder = NamedEncoder(space.model)
            found = yield from searching(space, asked, encoder, shared_cache(), token)
            return found, None

        return self._start(tissue, query.text, find)

    def find_similar(self, cells: np.ndarray, of: Of, title: str) -> Job:
        """Look for what is like some cells, or like their niches, in all tissues, as a job.

        Parameters
        ----------
        cells
            (n,) bool: the example, in the active tissue.
        of
            "cells" or "niches".
        title
            What the example is, for people.

        Raises
        ------
        UserError
            When there is nothing to search in, or no example.
        """
        tissue = self._ready()
        if not cells.any():
            raise UserError("Click a cell on the tissue or select some first.")
        cells = cells.copy()

        def find(space: SearchSpace, token: CancelToken) -> Generator[Any, None, Any]:
            yield from ()
            example = Example(space, cells, of)
            return example.at_home(), example

        return self._start(tissue, title, find)

    def cancel(self) -> None:
        """Stop the search that is at work, if any."""
        self._session.jobs.cancel(SLOT)

    # ---- the job

    def searchable(self, tissue: Tissue) -> tuple[NicheResult | None, Searchable | None]:
        """Return the run that is searched (``None``: the saved one), and what is ready of it."""
        result = _result_of(tissue)
        source, ready = self._searchable.get(tissue, (None, None))
        known = source is (tissue.snapshot if result is None else result)
        return result, ready if known else None

    def keep(self, tissue: Tissue, result: NicheResult | None, ready: Searchable) -> None:
        """Keep what was made ready in a job, for the next search."""
        self._searchable[tissue] = (tissue.snapshot if result is None else result, ready)

    def _ready(self) -> Tissue:
        if why := self.why_not():
            raise UserError(why)
        return self._session.active

    def _start(self, tissue: Tissue, title: str, find: _Find) -> Job:
        home = self._subject(tissue)
        others = [self._subject(one) for one in self._session.tissues if one is not tissue]

        def events(token: CancelToken) -> Iterator[Any]:
            ready = home.ready()
            yield Ready(home, ready)
            scores, example = yield from find(ready.space, token)
            found, left_out = [(home, ready, scores)], []
            for done, other in enumerate(others if example else (), 1):
                token.check()
                yield Progress("Searching", done, len(others) + 1, "tissues")
                answer = in_other(example, other, token)
                if isinstance(answer, str):
                    left_out.append(answer)
                else:
                    found.append((other, *answer))
                    yield Ready(other, answer[0])
            token.check()
            yield conclude(title, found, left_out)

        def on_event(job: Job, event: Any) -> None:
            if isinstance(event, Ready):
                self._keep_ready(event)
            elif isinstance(event, dict):
                self._take(event)
            else:
                self.told.emit(job, event)

        job = self._session.jobs.start(SLOT, f"Searching for {title}", events, on_event)
        self.changed.emit(tissue)
        return job

    def _subject(self, tissue: Tissue) -> Subject:
        result, known = self.searchable(tissue)
        why = _why_not(tissue)
        why = _NOT_EMBEDDED if why == NOTHING_TO_SEARCH else why
        return Subject(tissue.id, tissue.name, tissue.snapshot, result, known, why)

    def _keep_ready(self, ready: Ready) -> None:
        tissue = self._session.tissue_by_id(ready.subject.id)
        if tissue is not None and tissue.snapshot is ready.subject.snapshot:
            self.keep(tissue, ready.subject.result, ready.searchable)

    def _take(self, searches: dict[int, Search]) -> None:
        """Paint what was found, where the tissues are still open."""
        for number, search in searches.items():
            tissue = self._session.tissue_by_id(number)
            if tissue is None:
                continue
            self._last[tissue] = search
            tissue.scores.pop(search.title, None)
            tissue.scores[search.title] = search.found.scores
            while len(tissue.scores) > N_RECENT:
                del tissue.scores[next(iter(tissue.scores))]
            if tissue is self._session.active or search.n_tissues > 1:
                self._show_all(tissue)
                tissue.coloring = Coloring("score", search.title)
                tissue.scale = replace(tissue.scale, limits=search.limits)
                self._session.coloring_changed.emit(tissue)
            self.changed.emit(tissue)

    def _show_all(self, tissue: Tissue) -> None:
        """Select nothing, as a step that can be undone: what is not selected has no colour."""
        if tissue.selection.any():
            nothing = np.zeros(tissue.n_obs, bool)
            self._session.change(tissue, "Show all cells", replace(tissue.state, selection=nothing))


def _why_not(tissue: Tissue) -> str:
    """Say why a tissue cannot be searched; "" if it can."""
    if not tissue.has_matrix:
        return "The genes are still being read; try again in a moment."
    has_run = tissue.snapshot.uns.get("cellama", {}).get("runs")
    return "" if tissue.results or has_run else NOTHING_TO_SEARCH


def _result_of(tissue: Tissue) -> NicheResult | None:
    """Return the run whose niches are shown, else the last one of this session."""
    return tissue.results.get(tissue.clusters) or next(reversed(tissue.results.values()), None)
