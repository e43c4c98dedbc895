"""Pictures of niches while embeddings come in: quick, marked as such, and steady."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from napari_cellama.core.clustering import choose_n_clusters
from napari_cellama.core.describe import neighbor_enrichment
from napari_cellama.core.fidelity import Fidelity
from napari_cellama.core.finding import Finder, number_asked
from napari_cellama.core.matching import names_of_before, without_gaps
from napari_cellama.core.palette import distinct_palette
from napari_cellama.core.result import NicheResult, View

#: Runs that vote for a picture's niches, and runs and cells that their number is chosen by.
_RUNS, _DRAWS, _CELLS = 7, 6, 2_000


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
        steps = self._finder.place(views)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value

    def number(self, space: np.ndarray) -> int:
        """Return how many niches pictures have: chosen once, quickly, if it is not given."""
        if self._number is None:
            features, recipe = space[self._finder.kept], self._finder.recipe
            quick = {"n_draws": _DRAWS, "n_cells": _CELLS, "cancel": self._finder.cancel}
            self._number, _ = choose_n_clusters(features, recipe.seed, **quick)
        return self._number

    def paint(self, views: tuple[View, ...], space: np.ndarray, fidelity: Fidelity) -> NicheResult:
        """Return a preliminary result."""
        finder, number = self._finder, self.number(space)
        n_runs = min(_RUNS, finder.recipe.n_runs)
        found = finder.cluster(space[finder.kept], number, n_runs)
        recipe = finder.recipe.replace(n_clusters=number, mode="fast")
        told = f"This is a picture on the way: the run was not finished. {fidelity.sentence}"
        record = {
            **self._record,
            "recipe": recipe.to_json(),
            "preliminary": True,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "fidelity": fidelity.as_dict(),
            "notices": np.array([told], object),
        }
        painted = replace(
            finder.result(views, space, found),
            fidelity=fidelity,
            provenance=record,
            notices=(told,),
        )
        return self.match(painted)

    def match(self, result: NicheResult) -> NicheResult:
        """Return a result with its niches called and coloured as in the last picture."""
        if self._last is not None:
            result = _matched(result, self._last, self._finder)
        self._last = replace(result, views=())
        return result


def _matched(result: NicheResult, before: NicheResult, finder: Finder) -> NicheResult:
    """Return a result with the names and colours of an earlier one where niches are the same."""
    codes = np.asarray(result.labels.codes, np.int64)
    names = names_of_before(codes, np.asarray(before.labels.codes, np.int64))
    more = distinct_palette(len(before.colors) + len(names))
    unused = iter([color for color in more if color not in before.colors])
    known = dict(enumerate(before.colors))
    colors = tuple(known[name] if name in known else next(unused) for name in np.sort(names))
    renamed = np.append(without_gaps(names), -1)[codes]
    labels = pd.Categorical.from_codes(renamed, list(result.labels.categories))
    composition = neighbor_enrichment(labels, finder.tissue.types, finder.connectivities)
    return replace(result, labels=labels, colors=colors, composition=composition)
