"""One grouping out of many: k-means on cells drawn anew, matched and put to the vote.

A single k-means stops in one of many near-equal optima, and which one is chance. Here each of
many runs learns its centres from another half of the cells and names all cells by them; the
cell's group is the one that most runs name (bagged clustering, Dudoit & Fridlyand 2003,
Bioinformatics 19:1090-1099), and the share of runs that do so says how sure that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from napari_cellama.core.events import CancelToken
from napari_cellama.core.matching import names_of_before
from napari_cellama.core.threads import one_thread

#: Cells that a run learns from: half of them, but all of a few and not all of very many.
_FEW_CELLS, _MOST_CELLS = 300, 5_000
#: Cells by which runs are compared with each other, and groups are matched, at most.
_COMPARED, _MATCHED = 5_000, 20_000
#: Starts of a run's k-means, of which the best is kept.
STARTS = 3
#: Runs that give a first look.
FIRST_LOOK = 7
_ROUNDS = 10
#: Cells that are named at a time.
_CHUNK = 100_000


class Grouping(NamedTuple):
    """Groups of n cells.

    Attributes
    ----------
    codes
        (n,) int64 codes 0, 1, …
    agreement
        (n,) float32: the share of runs that put the cell into this group.
    """

    codes: np.ndarray
    agreement: np.ndarray


def consensus(
    features: np.ndarray,
    n_clusters: int,
    seed: int = 0,
    n_runs: int = 100,
    cancel: CancelToken | None = None,
    like_first: bool = False,
) -> Grouping:
    """Group cells as most of many runs of k-means do.

    Parameters
    ----------
    features
        (n, p) finite numbers with more than ``n_clusters`` different rows.
    n_clusters
        How many groups.
    seed
        The same seed gives the same groups.
    n_runs
        How many runs vote.
    cancel
        Checked between runs.
    like_first
        Call groups as the vote of the first few runs does, which may be on screen already.

    Returns
    -------
    Grouping
        With all ``n_clusters`` groups, codes by falling size (of the first vote's groups, if
        called like them).
    """
    runs = groupings(features, n_clusters, seed, n_runs, cancel)
    codes, agreement = vote(runs, n_clusters)
    codes = order_by_size(codes)
    if like_first:
        first = order_by_size(vote(runs[:FIRST_LOOK], n_clusters).codes)
        codes = names_of_before(codes, first)[codes]
    return Grouping(codes, agreement)


def groupings(
    features: np.ndarray,
    n_clusters: int,
    seed: int,
    n_runs: int,
    cancel: CancelToken | None = None,
    n_starts: int = STARTS,
) -> list[np.ndarray]:
    """Return ``n_runs`` groupings of all cells, each learnt from other cells; see above."""
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(seed)
    n_learnt = min(max(len(features) // 2, min(_FEW_CELLS, len(features))), _MOST_CELLS)
    found = []
    with one_thread():
        for _ in range(n_runs):
            if cancel is not None:
                cancel.check()
            learnt = features[np.sort(rng.choice(len(features), n_learnt, replace=False))]
            if len(np.unique(learnt[: 50 * n_clusters], axis=0)) <= n_clusters:
                learnt = features
            model = KMeans(
                n_clusters, n_init=n_starts, random_state=int(rng.integers(2**31 - 1))
            ).fit(learnt)
            starts = range(0, len(features), _CHUNK)
            codes = [model.predict(features[start : start + _CHUNK]) for start in starts]
            found.append(np.concatenate(codes).astype(np.int16))
    return found


def vote(runs: Sequence[np.ndarray], n_clusters: int) -> Grouping:
    """Give every cell the group that most runs give it.

    Groups have other numbers in every run, so each run's are first matched, one to one and with
    the most cells in common, to those of a reference: of the run that agrees best with the
    others, and then of the vote itself until it no longer changes.

    Parameters
    ----------
    runs
        (n,) codes below ``n_clusters`` of each run.
    n_clusters
        How many groups there are.

    Returns
    -------
    Grouping
        The reference run's groups where the vote would leave a group with one cell or none.
    """
    agreement = np.zeros((len(runs), len(runs)))
    step = -(-len(runs[0]) // _COMPARED)
    for (i, one), (j, other) in combinations(enumerate(run[::step] for run in runs), 2):
        agreement[i, j] = agreement[j, i] = rand_index(one, other, n_clusters)
    first = runs[int(agreement.sum(axis=0).argmax())]
    # Some of very many cells tell as well which groups belong together, and all vote once.
    step = -(-len(first) // _MATCHED)
    some, reference = [run[::step] for run in runs], first[::step]
    for _ in range(_ROUNDS):
        names = [_matched(run, reference, n_clusters) for run in some]
        winner = _count(some, names, n_clusters).argmax(axis=1)
        if _smallest(winner, n_clusters) < 2:
            winner = reference
        if (winner == reference).all():
            break
        reference = winner
    votes = _count(runs, names, n_clusters)
    winner = votes.argmax(axis=1)
    if _smallest(winner, n_clusters) < 2:
        winner = reference if step == 1 else _matched(first[::step], reference, n_clusters)[first]
    share = votes[np.arange(len(winner)), winner] / np.float32(len(runs))
    return Grouping(winner.astype(np.int64), share.astype(np.float32))


def _smallest(codes: np.ndarray, n_clusters: int) -> int:
    """Return how many cells the smallest group has."""
    return int(np.bincount(codes, minlength=n_clusters).min())


def _matched(run: np.ndarray, reference: np.ndarray, n_clusters: int) -> np.ndarray:
    """Return (n_clusters,) int64: which group of the reference each group of a run is."""
    from scipy.optimize import linear_sum_assignment

    matched, groups = linear_sum_assignment(-_common(reference, run, n_clusters))
    names = np.empty(n_clusters, np.int64)
    names[groups] = matched
    return names


def _count(runs: Sequence[np.ndarray], names: Sequence[np.ndarray], n_clusters: int) -> np.ndarray:
    """Return (n, n_clusters) int16: how many runs put each cell into each group."""
    votes = np.zeros((len(runs[0]), n_clusters), np.int16)
    starts = np.arange(len(votes)) * n_clusters
    for run, named in zip(runs, names, strict=True):
        votes.ravel()[starts + named[run]] += 1
    return votes


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


def rand_index(one: np.ndarray, other: np.ndarray, n_clusters: int) -> float:
    """Return the adjusted Rand index of two groupings into at most ``n_clusters`` groups."""
    common = _common(one, other, n_clusters).astype(np.float64)

    def pairs(counts: np.ndarray) -> float:
        return float((counts * (counts - 1)).sum() / 2)

    both, first, second = pairs(common), pairs(common.sum(axis=0)), pairs(common.sum(axis=1))
    chance = first * second / max(pairs(common.sum()), 1)
    most = (first + second) / 2
    return 1.0 if most == chance else (both - chance) / (most - chance)


def _common(one: np.ndarray, other: np.ndarray, n_clusters: int) -> np.ndarray:
    """Return (n_clusters, n_clusters): how many cells have each pair of groups."""
    pair = one.astype(np.int64) * n_clusters + other
    return np.bincount(pair, minlength=n_clusters**2).reshape(n_clusters, n_clusters)
