"""Niches from niche space: k-means, Leiden or a Gaussian mixture, and how many there are."""

from __future__ import annotations

from contextlib import AbstractContextManager
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_cellama.core.events import CancelToken

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.cluster import KMeans

Method = Literal["kmeans", "leiden", "gmm"]

#: Above this many cells k-means goes through them in batches.
MINI_BATCH_ABOVE = 200_000
#: Starts of k-means, of which the best is kept: so many that the seed hardly matters, fewer
#: where there are many cells, since those differ less.
_STARTS = range(5, 31)
_STARTED_CELLS = 600_000
#: Iterations between two looks at the cancel token, and how many such legs a start may take.
_LEG, _MOST_LEGS = 20, 15
#: Cells that the choice of a number looks at, at most.
_CHOICE_CELLS = 5_000
_CHOICE_DRAWS = 6
#: The agreement between draws from which on groups count as found again.
RELIABLE = 0.85


def cluster(
    features: np.ndarray,
    method: Method,
    n_clusters: int | None,
    seed: int = 0,
    cancel: CancelToken | None = None,
) -> np.ndarray:
    """Group cells in niche space.

    Parameters
    ----------
    features
        (n, p) finite numbers.
    method
        ``"kmeans"`` (mini-batch above 200,000 cells), ``"leiden"`` (on the 15 nearest
        neighbours, resolution searched for the number asked for) or ``"gmm"`` (a Gaussian
        mixture with diagonal covariances).
    n_clusters
        How many; ``None`` only for Leiden, at resolution 1.
    seed
        The same seed gives the same groups.
    cancel
        Checked between starts.

    Returns
    -------
    numpy.ndarray
        (n,) int64 codes 0, 1, … by falling size, without gaps. There are fewer groups than
        asked for where fewer cells differ, and Leiden may miss the number.
    """
    n_different = _count_distinct(features, n_clusters)
    if n_different is not None and n_different <= n_clusters:
        return order_by_size(np.unique(features, axis=0, return_inverse=True)[1].ravel())
    if n_clusters == 1:
        return np.zeros(len(features), np.int64)
    if method == "kmeans":
        codes = _kmeans(features, n_clusters, seed, cancel)
    elif method == "gmm":
        codes = _gaussian_mixture(features, n_clusters, seed)
    else:
        codes = _leiden(features, n_clusters, seed, cancel)
    return order_by_size(codes)


def choose_n_clusters(
    features: np.ndarray,
    seed: int = 0,
    n_most: int = 20,
    cancel: CancelToken | None = None,
) -> tuple[int, pd.DataFrame]:
    """Find the largest number of groups that are found again when cells are drawn anew.

    Halves of the cells are drawn and grouped, and all cells given to the groups so learnt; where
    the adjusted Rand index between such groupings is 0.85 or more on average, the number counts
    as found again. If none does, the number of highest agreement is taken.

    Parameters
    ----------
    features
        (n, p) niche space.
    seed
        Decides which cells are drawn.
    n_most
        The largest number tried.
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

    rng = np.random.default_rng(seed)
    chosen = features
    if len(features) > _CHOICE_CELLS:
        chosen = features[np.sort(rng.choice(len(features), _CHOICE_CELLS, replace=False))]
    n_different = len(np.unique(chosen, axis=0))
    numbers = range(2, min(n_most, n_different - 1, len(chosen) // 2) + 1)
    if not numbers:
        return 1, pd.DataFrame({"n_clusters": [1], "stability": [1.0], "error": [0.0]})
    draws = [
        np.sort(rng.choice(len(chosen), max(2, len(chosen) // 2), replace=False))
        for _ in range(_CHOICE_DRAWS)
    ]
    with one_thread():
        rows = [(k, *_stability(chosen, draws, k, seed, cancel)) for k in numbers]
    table = pd.DataFrame(rows, columns=["n_clusters", "stability", "error"])
    return _largest_reliable(table), table


def _stability(
    features: np.ndarray,
    draws: list[np.ndarray],
    n_clusters: int,
    seed: int,
    cancel: CancelToken | None,
) -> tuple[float, float]:
    """Return how well groupings learnt from different draws agree on all cells, and its error."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    groupings = []
    for number, draw in enumerate(draws):
        if cancel is not None:
            cancel.check()
        k = min(n_clusters, len(draw))
        model = KMeans(k, n_init=2, random_state=seed + number).fit(features[draw])
        groupings.append(model.predict(features))
    scores = [adjusted_rand_score(a, b) for a, b in combinations(groupings, 2)]
    return float(np.mean(scores)), float(np.std(scores) / np.sqrt(len(groupings)))


def _largest_reliable(table: pd.DataFrame) -> int:
    """Return the largest number whose groups are found again, else the one found again best.

    The fewer groups, the easier they are found again, so the most stable number is nearly
    always the uninformative 2; the largest that is still stable tells most.
    """
    reliable = table["n_clusters"][table["stability"] >= RELIABLE]
    if len(reliable):
        return int(reliable.max())
    return int(table["n_clusters"][table["stability"].idxmax()])


def order_by_size(codes: np.ndarray) -> np.ndarray:
    """Renumber groups by falling size, equal sizes by first appearance, without gaps.

    Parameters
    ----------
    codes
        (n,) group numbers.

    Returns
    -------
    numpy.ndarray
        (n,) int64 codes 0, 1, ….
    """
    _, first, found, sizes = np.unique(
        codes, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.empty(len(sizes), np.int64)
    rank[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    return rank[found.ravel()]


def margin_confidence(features: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Say how clearly each cell belongs to its group.

    The margin between the distances to the nearest other group's centre and to its own,
    relative to the larger: 1 at the own centre, 0 half-way or beyond.

    Parameters
    ----------
    features
        (n, p) niche space.
    codes
        (n,) codes 0, 1, … without gaps.

    Returns
    -------
    numpy.ndarray
        (n,) float32 in [0, 1]; all 1 where there is one group.
    """
    n_groups = int(codes.max(initial=0)) + 1
    if n_groups == 1:
        return np.ones(len(codes), np.float32)
    sizes = np.bincount(codes, minlength=n_groups)
    sums = np.stack([np.bincount(codes, column, n_groups) for column in features.T], axis=1)
    centres = sums / sizes[:, None]
    confidence = np.empty(len(codes), np.float32)
    for start in range(0, len(codes), 100_000):
        rows = slice(start, start + 100_000)
        confidence[rows] = _margins(features[rows], codes[rows], centres)
    return confidence


def _margins(features: np.ndarray, codes: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return :func:`margin_confidence` of some cells."""
    from scipy.spatial.distance import cdist

    distance = cdist(features, centres)
    here = np.arange(len(codes)), codes
    own = distance[here]
    distance[here] = np.inf
    other = distance.min(axis=1)
    larger = np.maximum(own, other)
    margin = np.divide(other - own, larger, out=np.zeros(len(own)), where=larger > 0)
    return np.clip(margin, 0, 1)


def _kmeans(
    features: np.ndarray, n_clusters: int, seed: int, cancel: CancelToken | None
) -> np.ndarray:
    """Return the best of several k-means fits."""
    from sklearn.cluster import MiniBatchKMeans

    large = len(features) > MINI_BATCH_ABOVE
    starts = 3 if large else min(max(_STARTED_CELLS // len(features), _STARTS[0]), _STARTS[-1])
    seeds = np.random.default_rng(seed).integers(0, 2**31 - 1, starts)
    best = None
    with one_thread():
        for state in seeds.tolist():
            if cancel is not None:
                cancel.check()
            if large:
                model = MiniBatchKMeans(
                    n_clusters, batch_size=16_384, n_init=3, random_state=state
                ).fit(features)
            else:
                model = _converged(features, n_clusters, state, cancel)
            if best is None or model.inertia_ < best.inertia_:
                best = model
    return best.labels_


def _converged(
    features: np.ndarray, n_clusters: int, seed: int, cancel: CancelToken | None
) -> KMeans:
    """Return one start of k-means, run in legs so that a cancel is heard on the way."""
    from sklearn.cluster import KMeans

    centres = "k-means++"
    for _ in range(_MOST_LEGS):
        model = KMeans(
            n_clusters, init=centres, n_init=1, max_iter=_LEG, tol=1e-6, random_state=seed
        ).fit(features)
        if model.n_iter_ < _LEG:
            break
        if cancel is not None:
            cancel.check()
        centres = model.cluster_centers_
    return model


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


def one_thread() -> AbstractContextManager:
    """Keep to one thread: with several, the order of sums, so their last digit, is chance."""
    # Only libraries that are loaded already can be kept to one thread.
    import sklearn.cluster  # noqa: F401
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1)
