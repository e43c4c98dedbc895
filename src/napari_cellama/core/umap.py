"""A map of the cells on two axes: those that are alike lie near each other."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellama.core.events import CancelToken
from napari_cellama.core.slots import UNS, is_ours
from napari_cellama.errors import UserError

if TYPE_CHECKING:
    import scipy.sparse as sp
    from anndata import AnnData

#: So many cells make the map; the others are placed on it.
LEARNT_ON = 20_000
#: umap-learn's own defaults, which scanpy's come near to.
N_NEIGHBORS, MIN_DIST = 15, 0.1
#: Cells that are placed at a time.
_CHUNK = 20_000
#: Rounds in which a placed cell settles: umap-learn's own for more than 10,000 cells at a time; it
#: takes 100 for fewer, so that the same cell would settle less or more by who is placed with it.
_ROUNDS = 30
_FEWEST = 4


@dataclass(frozen=True)
class Placed:
    """How far a map is, and which cells have just got a place on it.

    Attributes
    ----------
    done, total
        Cells that have a place, and that will have one.
    cells
        (k,) int64: the rows that were placed since the last one of these.
    places
        (k, 2) float32: where.
    learnt
        With the sample, where others are to follow: what they are placed by, pickled.
    """

    done: int
    total: int
    cells: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    places: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    learnt: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Begun:
    """A map that was stopped while cells were placed on it.

    Attributes
    ----------
    learnt
        As its :class:`Placed` said; of the same program, so that it may be unpickled.
    places
        (n, 2) float32; NaN for cells that are not on it yet.
    """

    learnt: bytes = field(repr=False)
    places: np.ndarray


def laying_out(
    features: np.ndarray,
    *,
    seed: int = 0,
    n_learnt: int = LEARNT_ON,
    begun: Begun | None = None,
    cancel: CancelToken | None = None,
) -> Generator[Placed, None, np.ndarray]:
    """Lay cells out by UMAP (McInnes et al. 2018, arXiv:1802.03426), telling how far it is.

    The map is learnt on a random sample; the other cells are placed on it by umap-learn's own
    transform, chunk by chunk, near the sample's cells that they are most like.

    Placing 40,000 made-up cells of 60 groups on 20,000 (50 dimensions, one thread) takes 0.85 s of
    CPU time a 10,000 cells: transform in 30 rounds instead of its 100 (by the map alone, 88.1 % of
    the cells are put into their group either way), with :func:`starts`. As umap-learn does it, it
    was 3.5 s. Chunks larger than 20,000 gained 2 %.

    Parameters
    ----------
    features
        (n, p); rows with a NaN are left out.
    seed
        Decides the sample and the layout.
    n_learnt
        On how many cells the map is learnt.
    begun
        A map of the same features and seed to go on with; it ends as if it had not been stopped.
    cancel
        Checked between chunks; learning itself cannot be stopped.

    Yields
    ------
    Placed
        At first with no cells; then with the sample, unless the map was begun; then with each
        chunk of the others.

    Returns
    -------
    numpy.ndarray
        (n, 2) float32; NaN where a cell was left out.

    Raises
    ------
    UserError
        When fewer than four cells are left.
    """
    cancel = cancel or CancelToken()
    cells = np.flatnonzero(np.isfinite(features).all(axis=1))
    if len(cells) < _FEWEST:
        raise UserError(f"A map needs at least {_FEWEST} cells with an embedding.")
    places = np.full((len(features), 2), np.nan, np.float32)
    cells = np.random.default_rng(seed).permutation(cells)
    learnt, others = np.sort(cells[:n_learnt]), np.sort(cells[n_learnt:])
    if begun is None:
        yield Placed(0, len(cells))
        model = _model(min(N_NEIGHBORS, len(learnt) - 1), seed, len(learnt))
        cancel.check()
        with _umap_quiet():
            places[learnt] = model.fit_transform(features[learnt])
        kept = pickle.dumps(model, pickle.HIGHEST_PROTOCOL) if len(others) else b""
        yield Placed(len(learnt), len(cells), learnt, places[learnt], kept)
    else:
        model, places = pickle.loads(begun.learnt), begun.places.astype(np.float32)
        others = others[~np.isfinite(places[others]).all(axis=1)]
        yield Placed(len(cells) - len(others), len(cells))
    model.set_params(n_epochs=3 * _ROUNDS)  # transform takes a third of it
    for start in range(0, len(others), _CHUNK):
        cancel.check()
        some = others[start : start + _CHUNK]
        with _umap_quiet(), _quick_starts():
            places[some] = model.transform(features[some])
        yield Placed(len(cells) - len(others) + start + len(some), len(cells), some, places[some])
    return places


@contextmanager
def _umap_quiet() -> Iterator[None]:
    """Keep to itself what umap-learn, numba and tensorflow say of each other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _quick_starts() -> Iterator[None]:
    """Let umap-learn's transform find where cells start by :func:`starts`, to the same numbers.

    Its own way takes one cell at a time in Python, which is most of the time that placing takes.
    """
    from umap import umap_

    own = umap_.init_graph_transform
    umap_.init_graph_transform = starts
    try:
        yield
    finally:
        umap_.init_graph_transform = own


def starts(graph: sp.csr_matrix, places: np.ndarray) -> np.ndarray:
    """Return where new cells start on a map: amid the cells that they are alike.

    Parameters
    ----------
    graph
        (n, m) how much each new cell is like the cells of the map; 1 means that it is that cell.
    places
        (m, 2) float32: those cells' places.

    Returns
    -------
    numpy.ndarray
        (n, 2) float32: the weighted mean; NaN where a cell is like none.
    """
    first, degree = graph.indptr[:-1], np.diff(graph.indptr)
    found = np.zeros((len(degree), places.shape[1]), np.float32)
    found[degree == 0] = np.nan
    # Cells of as many neighbours together, and summed in umap-learn's order: another last digit
    # would make other random numbers.
    for number in range(1, degree.max(initial=0) + 1):
        cells = np.flatnonzero(degree == number)
        entries = first[cells, None] + np.arange(number)
        weights, neighbors = graph.data[entries], graph.indices[entries]
        shares = weights / weights.sum(axis=1, keepdims=True)
        middle = np.zeros((len(cells), places.shape[1]), np.float32)
        for share, neighbor in zip(shares.T, neighbors.T, strict=True):
            middle += share[:, None] * places[neighbor]
        same = weights == 1
        one = neighbors[np.arange(len(cells)), same.argmax(axis=1)]
        found[cells] = np.where(same.any(axis=1)[:, None], places[one], middle)
    return found


def _model(n_neighbors: int, seed: int, n_cells: int) -> Any:
    with _umap_quiet():  # it misses a tensorflow that nobody asked for
        from umap import UMAP
    # A spectral start fails on the few cells that have no more than its components.
    start = "spectral" if n_cells > 2 * N_NEIGHBORS else "random"
    return UMAP(n_neighbors=n_neighbors, min_dist=MIN_DIST, random_state=seed, n_jobs=1, init=start)


def put_layout(adata: AnnData, key: str, name: str, places: np.ndarray, seed: int) -> str:
    """Write a layout into ``obsm`` and how it was made into the run's record.

    Parameters
    ----------
    adata
        With the results of the run ``key``.
    key
        The run's ``key_added``.
    name
        The slot in obsm, e.g. "X_niche_umap".
    places
        (n, 2) from :func:`laying_out`.
    seed
        What it was made with.

    Returns
    -------
    str
        ``"obsm/X_niche_umap"``.

    Raises
    ------
    UserError
        When obsm has something of that name that is not ours.
    """
    slot = f"obsm/{name}"
    if name in adata.obsm and not is_ours(adata, slot):
        raise UserError(
            f"obsm already has {name!r}, which was not made here; rename it there to keep both."
        )
    adata.obsm[name] = places
    record = dict(adata.uns.get(UNS, {}))
    runs = dict(record.get("runs", {}))
    run = dict(runs.get(key, {}))
    slots = [str(known) for known in run.get("slots", ())]
    run["slots"] = np.array(list(dict.fromkeys([*slots, slot])), object)
    layouts = dict(run.get("layouts", {}))
    layouts[name] = {
        "method": "umap",
        "seed": seed,
        "n_neighbors": N_NEIGHBORS,
        "min_dist": MIN_DIST,
        "learnt_on": LEARNT_ON,
        "placed": int(np.isfinite(places).all(axis=1).sum()),
    }
    run["layouts"] = layouts
    runs[key] = run
    record["runs"] = runs
    adata.uns[UNS] = record
    return slot
