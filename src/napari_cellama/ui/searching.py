"""What is searched for in a session's tissues, what was found, and the job that finds it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_cellama.core.events import CancelToken
from napari_cellama.core.query import read_query
from napari_cellama.core.search import (
    Found,
    Of,
    Place,
    SearchSpace,
    best_places,
    searching,
    similar_cells,
    similar_niches,
)
from napari_cellama.errors import UserError
from napari_cellama.ui.placement import place
from napari_cellama.ui.tissue import Coloring
from napari_cellama.ui.workers import Job

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_cellama.core.result import NicheResult
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue

#: The job's slot in the session.
SLOT = "search"
#: How many queries are offered again, and how many tissues' scores are kept to paint by.
N_RECENT = 8
#: Two places are at least so many cells' diameters apart.
_APART = 20

NOTHING_TO_SEARCH = (
    "There is nothing to search yet: the cells have no embeddings. Press Run in the Niches dock "
    "first; a search then compares what you type with the cells' sentences."
)


@dataclass(frozen=True)
class Searchable:
    """What a search needs of a tissue; made once a result, in a job.

    Attributes
    ----------
    space
        The embedded sentences and the graph.
    coords
        (n, d) where the cells are drawn, NaN where they are not.
    apart
        How far places are apart, in the coordinates' unit.
    """

    space: SearchSpace
    coords: np.ndarray
    apart: float


@dataclass(frozen=True)
class Search:
    """A search that was done.

    Attributes
    ----------
    title
        What was looked for, in the user's words.
    found
        The scores.
    places
        Where they are best, best first.
    names
        What is found at each place, for people.
    """

    title: str
    found: Found
    places: tuple[Place, ...]
    names: tuple[str, ...]

    def at_least(self, threshold: float) -> np.ndarray:
        """Return (n,) bool: the cells whose score reaches the threshold."""
        return self.found.scores >= np.float32(threshold)


class Searching:
    """Searches in the session's active tissue; its results are painted as they come.

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
        if tissue is None:
            return "Open a tissue first."
        if not tissue.has_matrix:
            return "The genes are still being read; try again in a moment."
        has_run = tissue.snapshot.uns.get("cellama", {}).get("runs")
        return "" if tissue.results or has_run else NOTHING_TO_SEARCH

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

        def find(space: SearchSpace, token: CancelToken) -> Generator[Any, None, Found]:
            from napari_cellama.api import NamedEncoder
            from napari_cellama.io.embedding_cache import shared_cache

            asked = space.ask(query, of, raw=raw)
            return searching(space, asked, NamedEncoder(space.model), shared_cache(), token)

        return self._start(tissue, query.text, find)

    def find_similar(self, cells: np.ndarray, of: Of, title: str) -> Job:
        """Look for what is like some cells, or like their niches, in all sections, as a job.

        Parameters
        ----------
        cells
            (n,) bool: the example.
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

        def find(space: SearchSpace, token: CancelToken) -> Generator[Any, None, Found]:
            yield from ()
            return (similar_cells if of == "cells" else similar_niches)(space, cells)

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

    def _start(
        self,
        tissue: Tissue,
        title: str,
        find: Callable[[SearchSpace, CancelToken], Generator[Any, None, Found]],
    ) -> Job:
        snapshot = tissue.snapshot
        result, searchable = self.searchable(tissue)

        def events(token: CancelToken) -> Iterator[Any]:
            ready = searchable or make_searchable(snapshot, result)
            yield ready
            found = yield from find(ready.space, token)
            token.check()
            places = best_places(ready.space, found.scores, ready.coords, ready.apart)
            names = tuple(name_of(snapshot, ready.space, place) for place in places)
            yield Search(title, found, tuple(places), names)

        def on_event(job: Job, event: Any) -> None:
            if isinstance(event, Searchable):
                self.keep(tissue, result, event)
            elif isinstance(event, Search):
                self._take(tissue, event)
            else:
                self.told.emit(job, event)

        job = self._session.jobs.start(SLOT, f"Searching for {title}", events, on_event)
        self.changed.emit(tissue)
        return job

    def _take(self, tissue: Tissue, search: Search) -> None:
        """Paint what was found, if its tissue is still open."""
        if tissue not in self._session.tissues:
            return
        self._last[tissue] = search
        tissue.scores.pop(search.title, None)
        tissue.scores[search.title] = search.found.scores
        while len(tissue.scores) > N_RECENT:
            del tissue.scores[next(iter(tissue.scores))]
        if tissue is self._session.active:
            self._session.color_by(Coloring("score", search.title))
        self.changed.emit(tissue)


def make_searchable(snapshot: AnnData, result: NicheResult | None) -> Searchable:
    """Prepare a tissue for searching: in a run's result, or in what was saved with the data.

    Raises
    ------
    UserError
        When neither has embeddings.
    """
    space = SearchSpace.of_adata(snapshot) if result is None else SearchSpace.of_result(result)
    placement = place(snapshot)
    coords = np.full((placement.n_obs, placement.points.shape[1]), np.nan)
    coords[placement.cells] = placement.points
    return Searchable(space, coords, _APART * placement.diameter)


def name_of(snapshot: AnnData, space: SearchSpace, place: Place) -> str:
    """Say what lives at a place: its section, and the commonest cell types around its middle."""
    from napari_cellama.core.resolve import guess_cell_type_key, guess_library_key

    start, end = space.graph.indptr[place.cell : place.cell + 2]
    around = snapshot.obs.iloc[space.graph.indices[start:end]]
    section = guess_library_key(snapshot.obs, snapshot.uns)
    types = guess_cell_type_key(snapshot.obs)
    parts = [] if section is None else [str(snapshot.obs[section].iloc[place.cell])]
    if types is not None:
        parts.append(", ".join(map(str, around[types].value_counts().index[:2])))
    return " · ".join(parts) or f"cell {place.cell:,}"


def _result_of(tissue: Tissue) -> NicheResult | None:
    """Return the run whose niches are shown, else the last one of this session."""
    return tissue.results.get(tissue.clusters) or next(reversed(tissue.results.values()), None)
