"""From embedded views to niches: what a run's pictures on the way and its result share."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from napari_cellama.core.clustering import (
    candidates,
    choose_n_clusters,
    cluster,
    has_first_look,
)
from napari_cellama.core.consensus import Grouping
from napari_cellama.core.context import placing
from napari_cellama.core.events import CancelToken, Progress
from napari_cellama.core.niches import as_niches
from napari_cellama.core.result import NicheResult, View
from napari_cellama.core.tissue import Tissue
from napari_cellama.recipe import AUTO, Recipe


@dataclass(frozen=True)
class Finder:
    """Everything that niches are found with but the embeddings.

    Attributes
    ----------
    recipe
        The resolved recipe; the number of niches may still be "auto".
    tissue
        Who takes part.
    connectivities, distances
        (n, n) the graph that is averaged over.
    left_out
        (n,) object: "" or why a cell gets no niche.
    fingerprint
        Of the cells' names.
    cancel
        Checked between steps.
    """

    recipe: Recipe
    tissue: Tissue
    connectivities: sp.csr_matrix
    distances: sp.csr_matrix
    left_out: np.ndarray
    fingerprint: str
    cancel: CancelToken

    @property
    def kept(self) -> np.ndarray:
        """(n,) bool: cells that get a niche."""
        return self.left_out == ""

    def place(self, views: tuple[View, ...]) -> Generator[Progress, None, np.ndarray]:
        """Yield how far it is, and return the cells' places in niche space."""
        recipe = self.recipe
        # CELLama's own form has the neighbours in the sentence and nothing is averaged.
        hops = 0 if recipe.neighbors_in == "sentence" else recipe.n_hops
        numbers = recipe.n_components, hops, recipe.n_directions
        steps = placing(views, self.connectivities, *numbers, self.cancel)
        while True:
            try:
                done, total = next(steps)
            except StopIteration as end:
                return end.value
            yield Progress("Context", done, total, "steps")

    def group(self, space: np.ndarray) -> tuple[Grouping, Recipe, dict[str, Any]]:
        """Return the kept cells' niches, the recipe with their number, and how it was chosen."""
        features, recipe = space[self.kept], self.recipe
        number, choice = number_asked(recipe), {}
        if number is None and recipe.clustering != "leiden":
            number, table = choose_n_clusters(features, recipe.seed, cancel=self.cancel)
            stability = dict(zip(table["n_clusters"].astype(str), table["stability"], strict=True))
            choice = {"stability": stability, "candidates": np.array(candidates(table))}
        found = self.cluster(features, number, recipe.n_runs)
        if number is not None:
            recipe = recipe.replace(n_clusters=number)
        return found, recipe, choice

    @property
    def has_first_look(self) -> bool:
        """Whether :meth:`group` takes so long that something is to be shown before."""
        recipe = self.recipe
        return has_first_look(recipe.clustering, int(self.kept.sum()), recipe.n_runs)

    def cluster(self, features: np.ndarray, number: int | None, n_runs: int) -> Grouping:
        """Group cells by the recipe's method, with so many runs."""
        recipe = self.recipe
        return cluster(features, recipe.clustering, number, recipe.seed, n_runs, self.cancel)

    def result(self, views: tuple[View, ...], space: np.ndarray, found: Grouping) -> NicheResult:
        """Put what was found together; ``found`` is for the cells that are kept."""
        return NicheResult(
            key=self.recipe.key_added,
            **as_niches(found, space, self.left_out, self.tissue.types, self.connectivities),
            representation=space,
            views=views,
            connectivities=self.connectivities,
            distances=self.distances,
            left_out=self.left_out,
            types=self.tissue.types,
            fingerprint=self.fingerprint,
        )


def number_asked(recipe: Recipe) -> int | None:
    """Return the number of niches asked for, if any."""
    return None if recipe.n_clusters == AUTO else recipe.n_clusters
