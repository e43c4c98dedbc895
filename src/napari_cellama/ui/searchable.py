"""What a search needs of the open tissues and what it finds there; all of this runs in a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_cellama.core.events import CancelToken
from napari_cellama.core.search import Found, Place, best_places
from napari_cellama.core.search_space import SearchSpace
from napari_cellama.core.similar import Example
from napari_cellama.errors import UserError
from napari_cellama.ui.placement import place

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_cellama.core.result import NicheResult

#: Two places are at least so many cells' diameters apart.
_APART = 20
#: How many places are named, over all tissues.
_N_PLACES = 8
#: The percentages of all scores that are beyond the ends of the colours, where tissues share them.
_CLIP = (1.0, 99.0)


@dataclass(frozen=True)
class Searchable:
    """What a search needs of a tissue; made once a result.

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
class Subject:
    """A tissue as a job sees it.

    Attributes
    ----------
    id, name
        The tissue's.
    snapshot
        Its data.
    result
        The run that is searched; ``None`` for the one that was saved with the data.
    known
        What is ready of it, if anything.
    why_not
        Why it cannot be searched; "" if it can.
    """

    id: int
    name: str
    snapshot: AnnData
    result: NicheResult | None = None
    known: Searchable | None = None
    why_not: str = ""

    def ready(self) -> Searchable:
        """Return what a search needs.

        Raises
        ------
        UserError
            When there are no embeddings.
        """
        if self.why_not:
            raise UserError(self.why_not)
        return self.known or make_searchable(self.snapshot, self.result)


@dataclass(frozen=True)
class Spot:
    """One of the best places.

    Attributes
    ----------
    tissue
        The id of the tissue that it is in.
    cell
        In its middle.
    score
        The mean score of the cell and its neighbours.
    name
        What is found there, for people.
    """

    tissue: int
    cell: int
    score: float
    name: str


@dataclass(frozen=True)
class Search:
    """What a search found in a tissue.

    Attributes
    ----------
    title
        What was looked for, in the user's words.
    found
        The scores.
    spots
        Where they are best, best first, in all tissues that were searched.
    limits
        The scores at the ends of the colours, where several tissues share them.
    n_tissues
        How many tissues were searched.
    left_out
        The open tissues that were not, and why: "liver: the cells have no embeddings".
    """

    title: str
    found: Found
    spots: tuple[Spot, ...]
    limits: tuple[float, float] | None = None
    n_tissues: int = 1
    left_out: tuple[str, ...] = ()

    def at_least(self, threshold: float) -> np.ndarray:
        """Return (n,) bool: the cells whose score reaches the threshold."""
        return self.found.scores >= np.float32(threshold)


@dataclass(frozen=True)
class Ready:
    """A tissue was made ready."""

    subject: Subject
    searchable: Searchable


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


def in_other(
    example: Example, subject: Subject, cancel: CancelToken
) -> tuple[Searchable, Found] | str:
    """Look for the like of an example in another tissue; returns why not where that cannot be."""
    try:
        ready = subject.ready()
        if why := example.why_not_in(ready.space):
            return f"{subject.name}: {why}"
        return ready, example.elsewhere(ready.space, cancel)
    except UserError as error:
        return f"{subject.name}: {str(error)[:1].lower()}{str(error)[1:]}"


def conclude(
    title: str,
    found: Sequence[tuple[Subject, Searchable, Found]],
    left_out: Sequence[str] = (),
) -> dict[int, Search]:
    """Return each tissue's search, by the tissue's id; all have the same best places."""
    several = len(found) > 1
    spots = [_spots(*one, named=several) for one in found]
    firsts = [some[0] for some in spots if some] if several else []
    rest = sorted((spot for some in spots for spot in some), key=lambda spot: -spot.score)
    # Every tissue's best place is named, so that none is passed over for another one's details.
    kept = [*firsts, *(spot for spot in rest if spot not in firsts)][:_N_PLACES]
    best = tuple(sorted(kept, key=lambda spot: -spot.score))
    limits = None
    if several:
        scores = np.concatenate([one[2].scores for one in found])
        low, high = np.nanpercentile(scores, _CLIP)
        limits = (float(low), float(high)) if low < high else None
    shared = best, limits, len(found), tuple(left_out)
    return {subject.id: Search(title, scores, *shared) for subject, _, scores in found}


def _spots(subject: Subject, ready: Searchable, found: Found, *, named: bool) -> list[Spot]:
    """Return a tissue's best places."""
    places = best_places(ready.space, found.scores, ready.coords, ready.apart, _N_PLACES)
    spots = []
    for one in places:
        name = name_of(subject.snapshot, ready.space, one)
        name = f"{subject.name} · {name}" if named else name
        spots.append(Spot(subject.id, one.cell, one.score, name))
    return spots


def name_of(snapshot: AnnData, space: SearchSpace, place: Place) -> str:
    """Say what lives at a place: its section, and the commonest cell types around its middle."""
    from napari_cellama.core.resolve import guess_cell_type_key, guess_library_key

    start, end = space.graph.indptr[place.cell : place.cell + 2]
    around = snapshot.obs.iloc[space.graph.indices[start:end]]
    section = guess_library_key(snapshot.obs, snapshot.uns)
    types = guess_cell_type_key(snapshot.obs, snapshot.uns)
    named = None if section is None else snapshot.obs[section].iloc[place.cell]
    parts = [] if pd.isna(named) else [str(named)]
    if types is not None:  # of which those around may have none
        # A categorical column counts the types that are elsewhere, too: at zero.
        counts = around[types].value_counts()
        parts.append(", ".join(map(str, counts.index[counts > 0][:2])))
    return " · ".join(filter(None, parts)) or f"cell {place.cell:,}"
