"""A map of the cells on two axes: those that are alike lie near each other."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellama.core.events import CancelToken
from napari_cellama.core.slots import UNS, is_ours
from napari_cellama.errors import UserError

if TYPE_CHECKING:
    from anndata import AnnData

#: So many cells make the map; the others are placed on it.
LEARNT_ON = 20_000
#: umap-learn's own defaults, which scanpy's come near to.
N_NEIGHBORS, MIN_DIST = 15, 0.1
#: Cells that are placed at a time.
_CHUNK = 10_000
_FEWEST = 4


def laying_out(
    features: np.ndarray,
    *,
    seed: int = 0,
    n_learnt: int = LEARNT_ON,
    cancel: CancelToken | None = None,
) -> Generator[tuple[int, int], None, np.ndarray]:
    """Lay cells out by UMAP (McInnes et al. 2018, arXiv:1802.03426), telling how far it is.

    The map is learnt on a random sample; the other cells are placed on it, chunk by chunk, near
    the sample's cells that they are most like.

    Parameters
    ----------
    features
        (n, p); rows with a NaN are left out.
    seed
        Decides the sample and the layout.
    n_learnt
        On how many cells the map is learnt.
    cancel
        Checked between chunks; learning itself cannot be stopped.

    Yields
    ------
    done, total
        Cells that have a place.

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
    yield 0, len(cells)
    model = _model(min(N_NEIGHBORS, len(learnt) - 1), seed, len(learnt))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what umap-learn and numba say of each other
        places[learnt] = model.fit_transform(features[learnt])
    done = len(learnt)
    yield done, len(cells)
    for start in range(0, len(others), _CHUNK):
        cancel.check()
        some = others[start : start + _CHUNK]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            places[some] = model.transform(features[some])
        done += len(some)
        yield done, len(cells)
    return places


def _model(n_neighbors: int, seed: int, n_cells: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap-learn misses a tensorflow that nobody asked for
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
    }
    run["layouts"] = layouts
    runs[key] = run
    record["runs"] = runs
    adata.uns[UNS] = record
    return slot
