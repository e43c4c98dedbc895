"""Pictures of niches while embeddings come in: quick, marked as such, and steady."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from napari_cellama.core.clustering import choose_n_clusters
from napari_cellama.core.consensus import FIRST_LOOK
from napari_cellama.core.describe import neighbor_enrichment
from napari_cellama.core.events import Partial, last_of
from napari_cellama.core.fidelity import HeldOut
from napari_cellama.core.finding import Finder, number_asked
from napari_cellama.core.matching import names_of_before, without_gaps
from napari_cellama.core.palette import distinct_palette
from napari_cellama.core.result import NicheResult, View

#: Runs and cells that the number of a picture's niches is chosen by.
_DRAWS, _CELLS = 5, 2_000
_TOLD = "This is a picture on the way: the run was not finished."


class Pictures:
    """Paints one picture after the other, niches called as in the one before.

    Parameters
    ----------
    finder
        How niches are found.
    record
        What a picture's provenance says besides the recipe.
    """

    def __init__(self, finder: Finder, record: dict[str, Any]) -> None:
        self._finder, self._record = finder, record
        self._last: NicheResult | None = None
        self._number = number_asked(finder.recipe)

    def place(self, views: tuple[View, ...]) -> np.ndarray:
        """Return the cells' places in niche space."""
        return last_of(self._finder.place(views))

    def number(self, space: np.ndarray) -> int:
        """Return how many niches pictures have: chosen once, quickly, if it is not given."""
        if self._number is None:
            features, recipe = space[self._finder.kept], self._finder.recipe
            quick = {"n_draws": _DRAWS, "n_cells": _CELLS, "n_starts": 1}
            quick["cancel"] = self._finder.cancel
            self._number, _ = choose_n_clusters(features, recipe.seed, **quick)
        return self._number

    def paint(self, views: tuple[View, ...], space: np.ndarray, held_out: HeldOut) -> NicheResult:
        """Return a preliminary result on predicted embeddings, with how true they are."""
        number = self.number(space)
        fidelity = held_out.fidelity(self._finder.tissue.neighbors, self._finder.recipe, number)
        n_runs = min(FIRST_LOOK, self._finder.recipe.n_runs)
        found = self._finder.cluster(space[self._finder.kept], number, n_runs)
        told = f"{_TOLD} {fidelity.sentence}"
        painted = self._preliminary(self._finder.result(views, space, found), number, told, "fast")
        painted.provenance["fidelity"] = fidelity.as_dict()
        return self.match(replace(painted, fidelity=fidelity, held_out=held_out))

    def first_look(self, views: tuple[View, ...], space: np.ndarray) -> Iterator[Partial]:
        """Yield what the first runs say of the niches, where the vote of all takes long."""
        finder = self._finder
        if not finder.has_first_look:
            return
        number = self.number(space)
        found = finder.cluster(space[finder.kept], number, FIRST_LOOK)
        n_runs = finder.recipe.n_runs
        told = f"{_TOLD} {FIRST_LOOK} of {n_runs} runs have voted; confidence counts these alone."
        result = self.color(finder.result(views, space, found))
        self._last = replace(result, views=())
        yield Partial(self._preliminary(result, number, told, "exact"))

    def _preliminary(self, result: NicheResult, number: int, told: str, mode: str) -> NicheResult:
        """Return a result that says what it is."""
        recipe = self._finder.recipe.replace(n_clusters=number, mode=mode)
        record = {
            **self._record,
            "recipe": recipe.to_json(),
            "preliminary": True,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "notices": np.array([told], object),
        }
        return replace(result, provenance=record, notices=(told,))

    def match(self, result: NicheResult) -> NicheResult:
        """Return a result with its niches called and coloured as in the last picture."""
        if self._last is not None:
            result = _matched(result, self._last, self._finder)
        self._last = replace(result, views=())
        return result

    def color(self, result: NicheResult) -> NicheResult:
        """Return a result with its niches coloured as in the last picture, where there is one.

        Their names stay: those of a result must not depend on what was painted before.
        """
        if self._last is None:
            return result
        names = names_of_before(_codes(result), _codes(self._last))
        return replace(result, colors=_colors_of(names, self._last.colors))


def _matched(result: NicheResult, before: NicheResult, finder: Finder) -> NicheResult:
    """Return a result with the names and colours of an earlier one where niches are the same."""
    codes = _codes(result)
    names = names_of_before(codes, _codes(before))
    colors = _colors_of(np.sort(names), before.colors)
    renamed = np.append(without_gaps(names), -1)[codes]
    labels = pd.Categorical.from_codes(renamed, list(result.labels.categories))
    composition = neighbor_enrichment(labels, finder.tissue.types, finder.connectivities)
    return replace(result, labels=labels, colors=colors, composition=composition)


def _codes(result: NicheResult) -> np.ndarray:
    return np.asarray(result.labels.codes, np.int64)


def _colors_of(names: np.ndarray, before: tuple[str, ...]) -> tuple[str, ...]:
    """Return each niche's colour, by its number in the picture before; new ones get new colours."""
    more = distinct_palette(len(before) + len(names))
    unused = iter([color for color in more if color not in before])
    known = dict(enumerate(before))
    return tuple(known[name] if name in known else next(unused) for name in names.tolist())
