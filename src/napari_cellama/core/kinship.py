"""What cells have in common with others in alike surroundings, and groups that go by it.

Where subtypes go with the surroundings, cells of a type in alike surroundings are of one subtype,
however far apart they lie. So each cell is joined to those chosen cells that are nearest to it in
niche space. What neighbours on this graph agree in goes with the surroundings, and what they
differ in is noise; surroundings that nothing in the cells goes with make no difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.spatial.distance import cdist

from napari_cellama.core.consensus import order_by_size
from napari_cellama.core.context import averaged, shared_directions
from napari_cellama.core.events import CancelToken
from napari_cellama.core.graph import graph_of_neighbors, row_normalized
from napari_cellama.core.threads import chunked

#: How many cells in alike surroundings a cell is compared with; directions that are looked at.
#: Chosen on the sample tissue's subtypes, seeds 0 to 4 (benchmarks/subclusters.py).
_N_ALIKE, _N_DIRECTIONS = 15, 6
#: Cells that are learnt from at most; the others are compared with these.
_MOST_LEARNT = 10_000
#: How much the surroundings count against the cell itself, and the share of cells that lie where
#: others of their subtype do not.
_TRUST, _STRAY = 1.5, 0.02
#: Rounds of settling at most, and the change from which on it goes on.
_ROUNDS, _SETTLED = 40, 1e-3
#: Variance that is added in all directions, as a share of the mean one's.
_RIDGE = 1e-3
#: How often cells are shuffled to see what chance agrees in, and how much more cells must agree in,
#: in units of the noise: a little they always do, for niche space has their own sentences in it.
_SHUFFLES, _MORE = 10, 0.125
_CHUNK = 50_000


@dataclass(frozen=True)
class Kin:
    """Cells as they and their surroundings place them.

    Attributes
    ----------
    learnt
        (m,) int64 rows of the cells that are learnt from, rising.
    space
        (m, p) float32: what is clustered, their directions averaged over alike surroundings.
    own
        (n, q) float32: all cells' directions that go with their surroundings, at unit noise.
    nearest
        (n, k) int64: the learnt cells, as positions in ``learnt``, whose surroundings are most
        like each cell's.
    """

    learnt: np.ndarray
    space: np.ndarray
    own: np.ndarray
    nearest: np.ndarray


def kin(
    features: np.ndarray,
    near: np.ndarray,
    far: np.ndarray,
    seed: int = 0,
    cancel: CancelToken | None = None,
) -> Kin | None:
    """Find what cells have in common with those in alike surroundings.

    Parameters
    ----------
    features
        (n, f) the cells' own.
    near, far
        (n, p) niche space, averaged once and as often as the recipe says: the wider view tells
        kinds of surroundings apart with less noise, the narrower one where they end.
    seed
        Decides which of many cells are learnt from.
    cancel
        Checked between steps.

    Returns
    -------
    Kin or None
        ``None`` where nothing in the cells goes with their surroundings more than chance does.
    """
    cancel, rng = cancel or CancelToken(), np.random.default_rng(seed)
    learnt = np.arange(len(features))
    if len(features) > _MOST_LEARNT:
        learnt = np.sort(rng.choice(len(features), _MOST_LEARNT, replace=False))
    if not features.shape[1] or len(learnt) < 3:
        return None
    sample = features[learnt]
    wide = _graph(_nearest(far[learnt], None, cancel))
    cancel.check()
    space = averaged(wide, shared_directions(wide, sample, _N_DIRECTIONS))
    agreed = np.square(space[:, 0]).mean()
    for _ in range(_SHUFFLES):
        cancel.check()
        shuffled = sample[rng.permutation(len(sample))]
        chance = averaged(wide, shared_directions(wide, shuffled, 1))
        if agreed < np.square(chance[:, 0]).mean() + _MORE:
            return None
    nearest = _nearest(near, learnt, cancel)
    turned = shared_directions(_graph(nearest[learnt]), sample, _N_DIRECTIONS)
    with_one = np.column_stack([sample, np.ones(len(sample), np.float32)])
    axes = np.linalg.lstsq(with_one, turned, rcond=None)[0].astype(np.float32)
    return Kin(learnt, space, features @ axes[:-1] + axes[-1], nearest)


def settled(
    found: Kin, codes: np.ndarray, cancel: CancelToken | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Let every cell go to the group that it and those in alike surroundings go to.

    A group is a normal distribution of the cells' own directions, all of one covariance, and its
    share among the cells in alike surroundings is what is expected of a cell: a hidden Markov
    random field, by mean-field rounds of expectation and maximisation (Celeux, Forbes &
    Peyrard 2003, Pattern Recognition 36:131-144). So a group may lie in several kinds of
    surroundings, and groups may differ in size, which k-means does not allow for.

    Parameters
    ----------
    found
        From :func:`kin`.
    codes
        (m,) the groups of the learnt cells.
    cancel
        Checked between rounds.

    Returns
    -------
    codes
        (n,) int64 by falling size, without gaps.
    belonging
        (n,) float32: how likely each cell belongs to its group.
    """
    cancel = cancel or CancelToken()
    first = np.eye(int(codes.max()) + 1, dtype=np.float32)[codes]
    own, nearest = found.own[found.learnt], found.nearest[found.learnt]
    shares = first
    for _ in range(_ROUNDS):
        cancel.check()
        before, shares = shares, _belonging(own, _Groups.of(own, shares), shares[nearest])
        if np.abs(before - shares).max() < _SETTLED:
            break
    if len(np.unique(shares.argmax(axis=1))) < shares.shape[1]:
        shares = first  # a group got lost among the others
    groups = _Groups.of(own, shares)

    def part(rows: slice) -> np.ndarray:
        return _belonging(found.own[rows], groups, shares[found.nearest[rows]])

    whole = np.concatenate(list(chunked(part, len(found.own), _CHUNK, cancel)))
    whole[found.learnt] = shares
    return order_by_size(whole.argmax(axis=1)), whole.max(axis=1)


class _Groups(NamedTuple):
    """Normal distributions of one covariance.

    Attributes
    ----------
    whitening
        (q, q): turns the directions so that a group's cells scatter alike in all of them.
    means
        (k, q) after that.
    """

    whitening: np.ndarray
    means: np.ndarray

    @classmethod
    def of(cls, own: np.ndarray, shares: np.ndarray) -> _Groups:
        """Return the groups that cells belong to by these shares."""
        sizes = shares.sum(axis=0)[:, None] + 1e-6
        means = shares.T @ own / sizes
        covariance = (own.T @ own - means.T @ (means * sizes)) / len(own)
        covariance += _RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        whitening = np.linalg.inv(np.linalg.cholesky(covariance)).T
        return cls(whitening.astype(np.float32), (means @ whitening).astype(np.float32))


def _belonging(own: np.ndarray, groups: _Groups, around: np.ndarray) -> np.ndarray:
    """Return (m, k) float32: the shares by which cells belong to groups.

    ``around`` is (m, near, k), the shares of the cells in alike surroundings.
    """
    expected = _STRAY / len(groups.means) + (1 - _STRAY) * around.mean(axis=1)
    distance = cdist(own @ groups.whitening, groups.means, "sqeuclidean")
    log = _TRUST * np.log(expected) - distance / 2
    share = np.exp(log - log.max(axis=1, keepdims=True))
    return (share / share.sum(axis=1, keepdims=True)).astype(np.float32)


def _nearest(
    space: np.ndarray, learnt: np.ndarray | None, cancel: CancelToken | None = None
) -> np.ndarray:
    """Return (n, k) int64: the learnt cells, all by default, that are nearest to each cell.

    Positions in ``learnt``; a learnt cell itself is left out.
    """
    from sklearn.neighbors import NearestNeighbors

    space = np.ascontiguousarray(space, np.float32)
    those = np.arange(len(space)) if learnt is None else learnt
    count = min(_N_ALIKE, len(those) - 1)
    place = np.full(len(space), -1)
    place[those] = np.arange(len(those))
    tree = NearestNeighbors(n_neighbors=count + 1, algorithm="brute").fit(space[those])
    parts = []
    for start in range(0, len(space), _CHUNK):
        if cancel is not None:
            cancel.check()
        found = tree.kneighbors(space[start : start + _CHUNK], return_distance=False)
        itself = found == place[start : start + _CHUNK, None]
        itself[~itself.any(axis=1), -1] = True  # the farthest, where it is not among them
        parts.append(found[~itself].reshape(-1, count))
    return np.concatenate(parts)


def _graph(nearest: np.ndarray) -> sp.csr_matrix:
    """Return the row-normalised graph of cells and those nearest to them."""
    graph, _ = graph_of_neighbors(nearest, np.zeros(nearest.shape, np.float32))
    return row_normalized(graph)
