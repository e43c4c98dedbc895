"""Niches from niche space: by vote, Leiden or a Gaussian mixture, how many, and how sure."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_cellama.core.consensus import (
    FIRST_LOOK,
    STARTS,
    Grouping,
    consensus,
    groupings,
    order_by_size,
    rand_index,
)
from napari_cellama.core.events import CancelToken
from napari_cellama.core.threads import one_thread

if TYPE_CHECKING:
    import pandas as pd

Method = Literal["kmeans", "leiden", "gmm"]

#: The agreement between draws from which on groups count as found again, and over how many
#: neighbouring numbers it is averaged.
RELIABLE, _BESIDE = 0.85, 5
#: From so many cells on the vote of all runs takes seconds, and that of the first few is shown.
MANY_CELLS = 20_000


def cluster(
    features: np.ndarray,
    method: Method,
    n_clusters: int | None,
    seed: int = 0,
    n_runs: int = 100,
    cancel: CancelToken | None = None,
) -> Grouping:
    """Group cells in niche space.

    Parameters
    ----------
    features
        (n, p) finite numbers.
    method
        ``"kmeans"`` (the vote of many runs, see :mod:`~.consensus`), ``"leiden"`` (on the 15
        nearest neighbours, resolution searched for the number asked for) or ``"gmm"`` (a
        Gaussian mixture with diagonal covariances).
    n_clusters
        How many; ``None`` only for Leiden, at resolution 1.
    seed
        The same seed gives the same groups.
    n_runs
        How many runs of k-means vote.
    cancel
        Checked between runs.

    Returns
    -------
    Grouping
        Codes by falling size, without gaps; where there is a first look
        (:func:`has_first_look`), groups are called as there. There are fewer groups than asked
        for where fewer cells differ, and Leiden may miss the number. The agreement is 1 where
        nothing is voted.
    """
    n_different = _count_distinct(features, n_clusters)
    agreement = np.ones(len(features), np.float32)
    if n_different is not None and n_different <= n_clusters:
        codes = np.unique(features, axis=0, return_inverse=True)[1].ravel()
    elif n_clusters == 1:
        codes = np.zeros(len(features), np.int64)
    elif method == "kmeans":
        like_first = has_first_look(method, len(features), n_runs)
        return consensus(features, n_clusters, seed, n_runs, cancel, like_first)
    elif method == "gmm":
        codes = _gaussian_mixture(features, n_clusters, seed)
    else:
        codes = _leiden(features, n_clusters, seed, cancel)
    return Grouping(order_by_size(codes), agreement)


def has_first_look(method: Method, n_cells: int, n_runs: int) -> bool:
    """Whether the first of the runs that vote are worth showing before all have voted.

    :func:`cluster` with :data:`~.consensus.FIRST_LOOK` runs then gives what to show, and calls
    the groups of all runs as these.
    """
    return method == "kmeans" and n_cells > MANY_CELLS and n_runs > FIRST_LOOK


def choose_n_clusters(
    features: np.ndarray,
    seed: int = 0,
    n_most: int = 20,
    n_draws: int = 10,
    n_cells: int = 3_000,
    n_starts: int = STARTS,
    cancel: CancelToken | None = None,
) -> tuple[int, pd.DataFrame]:
    """Find the largest number of groups that are found again when cells are drawn anew.

    Runs as those that vote (:func:`~.consensus.groupings`) group the cells, and a number is as
    stable as the adjusted Rand index between runs is on average. Wanted is the largest number
    around which stability is at least 0.85, averaged over it and the two numbers on either
    side; of it and the two beside it the most stable is taken. If there is none, the most
    stable of all.

    Parameters
    ----------
    features
        (n, p) niche space.
    seed
        Decides which cells are drawn.
    n_most
        The largest number tried.
    n_draws
        How many groupings are compared.
    n_cells
        How many cells are looked at, at most.
    n_starts
        Starts of each grouping's k-means, of which the best is kept.
    cancel
        Checked between fits.

    Returns
    -------
    best
        The chosen number.
    table
        One row a number tried: ``n_clusters``, ``stability`` (mean adjusted Rand index between
        groupings of independent draws) and ``error`` (its standard error).
    """
    import pandas as pd

    chosen = features
    if len(features) > n_cells:
        rng = np.random.default_rng(seed)
        chosen = features[np.sort(rng.choice(len(features), n_cells, replace=False))]
    n_different = len(np.unique(chosen, axis=0))
    numbers = range(2, min(n_most, n_different - 1, len(chosen) // 2) + 1)
    if not numbers:
        return 1, pd.DataFrame({"n_clusters": [1], "stability": [1.0], "error": [0.0]})
    rows = [(k, *_stability(chosen, k, seed, n_draws, n_starts, cancel)) for k in numbers]
    table = pd.DataFrame(rows, columns=["n_clusters", "stability", "error"])
    return largest_reliable(table), table


def candidates(table: pd.DataFrame) -> list[int]:
    """Return the numbers that the data support, most stable first.

    They are those of at least 0.85 that are more stable than the next smaller and larger number,
    and the one that is chosen.
    """
    stability = table["stability"].to_numpy()
    beside = np.pad(stability, 1, constant_values=-np.inf)
    peak = (stability >= beside[:-2]) & (stability >= beside[2:]) & (stability >= RELIABLE)
    found = table[peak | (table["n_clusters"] == largest_reliable(table))]
    return found.sort_values("stability", ascending=False, kind="stable")["n_clusters"].tolist()


def _stability(
    features: np.ndarray,
    n_clusters: int,
    seed: int,
    n_draws: int,
    n_starts: int,
    cancel: CancelToken | None,
) -> tuple[float, float]:
    """Return how well groupings learnt from different cells agree, and its error."""
    runs = groupings(features, n_clusters, seed, n_draws, cancel, n_starts)
    scores = [rand_index(one, other, n_clusters) for one, other in combinations(runs, 2)]
    return float(np.mean(scores)), float(np.std(scores) / np.sqrt(len(runs)))


def largest_reliable(table: pd.DataFrame) -> int:
    """Return the largest number whose groups are found again, else the one found again best.

    The fewer groups, the easier they are found again, so the most stable number is nearly
    always the uninformative 2; the largest that is still stable tells most.
    """
    stability = table["stability"].to_numpy()
    # A single number can pass by luck; with the numbers beside it that is rarer.
    beside = np.pad(stability, _BESIDE // 2, mode="edge")
    smooth = np.convolve(beside, np.full(_BESIDE, 1 / _BESIDE), mode="valid")
    reliable = np.flatnonzero(smooth >= RELIABLE)
    if not len(reliable):
        return int(table["n_clusters"].iloc[stability.argmax()])
    first = max(reliable.max() - 1, 0)
    best = first + stability[first : reliable.max() + 2].argmax()
    return int(table["n_clusters"].iloc[best])


def confidence(features: np.ndarray, grouping: Grouping) -> np.ndarray:
    """Say how likely it is that each cell belongs to its group.

    The share ``a`` of runs that agree, times ``1 - (1 - m)**3 / 2``, where the margin ``m`` is
    the difference between the distances to the nearest other group's centre and to its own,
    relative to the larger. So a cell half-way between two groups counts one half, one at its
    group's centre counts one, and on annotated tissue the number is about the share of cells
    that lie in their niche's main region (docs/methods.md).

    Parameters
    ----------
    features
        (n, p) niche space.
    grouping
        From :func:`cluster`.

    Returns
    -------
    numpy.ndarray
        (n,) float32 in [0, 1]; all 1 where there is one group.
    """
    codes = grouping.codes
    n_groups = int(codes.max(initial=0)) + 1
    if n_groups == 1:
        return np.ones(len(codes), np.float32)
    sizes = np.bincount(codes, minlength=n_groups)
    sums = np.stack([np.bincount(codes, column, n_groups) for column in features.T], axis=1)
    centres = sums / sizes[:, None]
    margins = np.empty(len(codes), np.float32)
    for start in range(0, len(codes), 100_000):
        rows = slice(start, start + 100_000)
        margins[rows] = _margins(features[rows], codes[rows], centres)
    return grouping.agreement * (1 - (1 - margins) ** 3 / 2)


def _margins(features: np.ndarray, codes: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return some cells' margins, as :func:`confidence` has them."""
    from scipy.spatial.distance import cdist

    distance = cdist(features, centres)
    here = np.arange(len(codes)), codes
    own = distance[here]
    distance[here] = np.inf
    other = distance.min(axis=1)
    larger = np.maximum(own, other)
    margin = np.divide(other - own, larger, out=np.zeros(len(own)), where=larger > 0)
    return np.clip(margin, 0, 1)


def _gaussian_mixture(features: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
    """Return each cell's likeliest component."""
    from sklearn.mixture import GaussianMixture

    spread = max(float(features.var(axis=0).sum()), 1e-12)
    with one_thread():
        model = GaussianMixture(
            n_clusters,
            covariance_type="diag",
            n_init=10,
            reg_covar=1e-4 * spread / features.shape[1],
            max_iter=300,
            random_state=seed,
        )
        return model.fit_predict(features.astype(np.float64))


def _leiden(
    features: np.ndarray, n_clusters: int | None, seed: int, cancel: CancelToken | None
) -> np.ndarray:
    """Return Leiden's communities among the nearest neighbours in niche space."""
    import anndata
    import scanpy as sc

    holder = anndata.AnnData(np.asarray(features, np.float32))
    n_neighbors = max(2, min(15, len(features) - 1))
    # The "gauss" weights need none of the half minute that "umap" first spends compiling itself.
    sc.pp.neighbors(holder, n_neighbors=n_neighbors, use_rep="X", method="gauss", random_state=seed)

    def communities(resolution: float) -> np.ndarray:
        if cancel is not None:
            cancel.check()
        sc.tl.leiden(
            holder,
            resolution=resolution,
            flavor="igraph",
            directed=False,
            n_iterations=4,
            random_state=seed,
        )
        return holder.obs["leiden"].cat.codes.to_numpy()

    if n_clusters is None:
        return communities(1.0)
    low, high, best = 1e-3, 8.0, None
    for _ in range(20):
        middle = float(np.sqrt(low * high))
        codes = communities(middle)
        found = int(codes.max()) + 1
        if best is None or abs(found - n_clusters) < abs(int(best.max()) + 1 - n_clusters):
            best = codes
        if found == n_clusters:
            break
        low, high = (middle, high) if found < n_clusters else (low, middle)
    return best


def _count_distinct(features: np.ndarray, n_clusters: int | None) -> int | None:
    """Return how many cells differ, if that could be too few; ``None`` if it surely is not."""
    if n_clusters is None:
        return None
    some = np.unique(features[: 50 * n_clusters], axis=0)
    if len(some) > n_clusters:
        return None
    return len(np.unique(features, axis=0))
