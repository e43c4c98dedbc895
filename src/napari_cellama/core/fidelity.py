"""How far predicted embeddings, and the niches found on them, can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from napari_cellama.core.clustering import cluster
from napari_cellama.core.consensus import rand_index
from napari_cellama.core.context import niche_representation
from napari_cellama.core.graph import NeighborIndex, graph_of_neighbors
from napari_cellama.core.result import View
from napari_cellama.core.threads import one_thread
from napari_cellama.recipe import Recipe

#: Runs that vote where niches are compared.
_RUNS = 5
#: From which on a prediction is good, and below which it is poor: R², and the agreement of
#: niches relative to what exact embeddings reach among themselves.
_GOOD, _POOR = (0.6, 0.75), (0.4, 0.5)


@dataclass(frozen=True)
class Fidelity:
    """What was measured on sentences that the prediction had not seen.

    Attributes
    ----------
    r2
        Share of the exact embeddings' variance that the predicted ones have, 1 at best.
    cosine
        Median cosine of exact and predicted embeddings, both centred.
    agreement
        Adjusted Rand index of the niches found on exact and on predicted embeddings of the
        cells that were held out, with these cells for the whole tissue.
    own_agreement
        The same of exact embeddings with themselves, under another seed: the most there is.
    n_held_out
        Cells that this was measured on.
    n_exact, n_predicted
        Sentences that were embedded, and that were predicted.
    """

    r2: float
    cosine: float
    agreement: float
    own_agreement: float
    n_held_out: int
    n_exact: int
    n_predicted: int

    @property
    def verdict(self) -> Literal["good", "fair", "poor"]:
        """What that means."""
        relative = self.agreement / max(self.own_agreement, 1e-9)
        if self.r2 < _POOR[0] or relative < _POOR[1]:
            return "poor"
        return "good" if self.r2 >= _GOOD[0] and relative >= _GOOD[1] else "fair"

    @property
    def sentence(self) -> str:
        """The same in words and numbers."""
        return (
            f"Approximate ({self.verdict}): {self.n_exact:,} sentences embedded, "
            f"{self.n_predicted:,} predicted with R² {self.r2:.2f} (cosine {self.cosine:.2f}); "
            f"on {self.n_held_out:,} cells held out the niches agree with exact ones by "
            f"{self.agreement:.2f} (exact ones among themselves {self.own_agreement:.2f})."
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the fields and the verdict, ready for ``uns``."""
        return {**asdict(self), "verdict": self.verdict}


@dataclass(frozen=True)
class HeldOut:
    """What is known exactly and was foretold as if it were not: how true a prediction is.

    Attributes
    ----------
    cells
        (m,) int64: landmarks that chance drew.
    exact, predicted
        The same views of these cells alone.
    r2, cosine, n_exact, n_predicted
        As :class:`Fidelity` has them.
    """

    cells: np.ndarray
    exact: tuple[View, ...]
    predicted: tuple[View, ...]
    r2: float
    cosine: float
    n_exact: int
    n_predicted: int

    def fidelity(self, neighbors: NeighborIndex, recipe: Recipe, n_clusters: int) -> Fidelity:
        """Return how far niches that are found so can be trusted; see :func:`niche_agreement`."""
        number = min(n_clusters, len(self.cells) // 2)
        agreement = niche_agreement(
            self.exact, self.predicted, neighbors, self.cells, recipe, number
        )
        return Fidelity(
            self.r2, self.cosine, *agreement, len(self.cells), self.n_exact, self.n_predicted
        )


def explained(exact: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
    """Return R² and the median centred cosine of (m, d) predicted to exact embeddings."""
    centre = exact.mean(axis=0)
    one, other = exact - centre, predicted - centre
    spread = float(np.square(one).sum())
    lost = float(np.square(exact - predicted).sum())
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosines = (one * other).sum(axis=1) / np.maximum(lengths, 1e-12)
    return (1 - lost / spread if spread > 0 else 1.0), float(np.median(cosines))


def niche_agreement(
    exact: Sequence[View],
    predicted: Sequence[View],
    neighbors: NeighborIndex,
    cells: np.ndarray,
    recipe: Recipe,
    n_clusters: int,
) -> tuple[float, float]:
    """Find niches among some cells, as if there were no others, on exact and predicted embeddings.

    Parameters
    ----------
    exact, predicted
        The same views of these cells alone.
    neighbors
        Where all cells are.
    cells
        (m,) which cells these are.
    recipe
        How niches are found.
    n_clusters
        How many.

    Returns
    -------
    agreement, own_agreement
        Adjusted Rand indices; see :class:`Fidelity`.
    """
    coords, section = neighbors.coords[cells], neighbors.section[cells]
    nearest = NeighborIndex(coords, section).nearest(recipe.n_neighbors)
    graph, _ = graph_of_neighbors(*nearest)
    hops = 0 if recipe.neighbors_in == "sentence" else recipe.n_hops

    def niches(views: Sequence[View], seed: int) -> np.ndarray:
        space = niche_representation(views, graph, recipe.n_components, hops, recipe.n_directions)
        method = "kmeans" if recipe.clustering == "leiden" else recipe.clustering
        return cluster(space, method, n_clusters, seed, min(_RUNS, recipe.n_runs)).codes

    with one_thread():  # of so few cells, where more would only wait for each other
        true, again = niches(exact, recipe.seed), niches(exact, recipe.seed + 1)
        foretold = niches(predicted, recipe.seed)
    return rand_index(true, foretold, n_clusters), rand_index(true, again, n_clusters)
