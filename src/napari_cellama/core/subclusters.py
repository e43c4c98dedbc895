"""Clusters within some of the cells: their surroundings looked at again, on their own.

Only the chosen cells are divided, but their neighbours are those of the whole tissue: a cell type
that lies scattered among others is divided by what it lies among.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from napari_cellama.core.clustering import choose_n_clusters, cluster, confidence
from napari_cellama.core.context import averaged, placing, principal_components
from napari_cellama.core.events import CancelToken, Progress
from napari_cellama.core.graph import row_normalized, spatial_graph
from napari_cellama.core.kinship import Kin, kin, settled
from napari_cellama.core.result import View
from napari_cellama.core.slots import UNS, taken_apart
from napari_cellama.errors import UserError
from napari_cellama.recipe import AUTO, Recipe

if TYPE_CHECKING:
    from anndata import AnnData

#: Fewer cells than this are not divided.
_FEWEST = 10


@dataclass(frozen=True)
class Divided:
    """The last event of a subclustering: its result.

    Attributes
    ----------
    cells
        (n,) bool: which cells were to be divided.
    parts
        (cells.sum(),) int64 codes 0, 1, … by falling size; -1 for cells without a sentence.
    confidence
        (cells.sum(),) float32 in [0, 1]; NaN where the code is -1.
    record
        What was done, of plain values that h5ad and zarr can hold.
    """

    cells: np.ndarray
    parts: np.ndarray
    confidence: np.ndarray
    record: Mapping[str, Any]

    @property
    def n_parts(self) -> int:
        """How many parts there are."""
        return int(self.parts.max(initial=-1)) + 1


def subclusters(
    views: Sequence[View],
    connectivities: sp.spmatrix,
    cells: np.ndarray,
    recipe: Recipe,
    cancel: CancelToken | None = None,
) -> Iterator[Progress | Divided]:
    """Divide some cells by their context, telling of every step.

    Parameters
    ----------
    views
        Embedded views of all n cells.
    connectivities
        (n, n) the whole tissue's spatial graph.
    cells
        (n,) bool: the cells to divide.
    recipe
        ``n_clusters`` ("auto" or a number), ``clustering``, ``seed``, ``n_runs``,
        ``n_components``, ``n_hops`` and ``n_directions`` are used.
    cancel
        Checked between steps.

    Yields
    ------
    Progress or Divided
        :class:`Divided` is the last.

    Raises
    ------
    UserError
        When there are too few cells.
    Cancelled
        When the token says so.
    """
    cancel, started = cancel or CancelToken(), time.perf_counter()
    kept = cells & np.all([view.index >= 0 for view in views], axis=0)
    _refuse_too_few(int(kept.sum()), int(cells.sum()), recipe)
    yield Progress("Context")
    own, near, far = yield from _context(views, connectivities, kept, recipe, cancel)
    yield Progress("Clustering")
    codes, certain = _groups(kin(own, near, far, recipe.seed, cancel), far, recipe, cancel)
    parts = np.full(int(cells.sum()), -1, np.int64)
    sure = np.full(len(parts), np.nan, np.float32)
    inside = kept[cells]
    parts[inside], sure[inside] = codes, certain
    seconds = round(time.perf_counter() - started, 3)
    yield Divided(cells, parts, sure, _record(recipe, cells, int(codes.max()) + 1, seconds))


def _context(
    views: Sequence[View],
    connectivities: sp.spmatrix,
    cells: np.ndarray,
    recipe: Recipe,
    cancel: CancelToken,
) -> Generator[Progress, None, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield how far it is, and return what the chosen cells are, and what is around them.

    These are (cells.sum(), f) float32 principal components of the cells' own sentences, and
    niche space averaged once and ``n_hops`` times.
    """
    around, graph = _surroundings(connectivities, cells, recipe.n_hops)
    near = [View(view.name, (), view.index[around], view.vectors) for view in views]
    chosen, total = cells[around], len(views) + 2 + recipe.n_hops
    steps = placing(near, graph, recipe.n_components, 1, recipe.n_directions, cancel)
    while True:
        try:
            done, _ = next(steps)
        except StopIteration as end:
            once = end.value
            break
        yield Progress("Context", done, total, "steps")
    known = np.isfinite(once[:, 0])
    often, joined = once[known], row_normalized(graph[known][:, known])
    for hop in range(1, recipe.n_hops):
        often = averaged(joined, often, cancel)
        yield Progress("Context", len(views) + 2 + hop, total, "steps")
    own = []
    for view in near:
        components, _ = principal_components(view, chosen, recipe.n_components, cancel)
        own.append(components[view.index[chosen]])
    return np.concatenate(own, axis=1), once[chosen], often[chosen[known]]


def _groups(
    found: Kin | None, far: np.ndarray, recipe: Recipe, cancel: CancelToken
) -> tuple[np.ndarray, np.ndarray]:
    """Return the chosen cells' groups, and how sure they are.

    By their surroundings alone, niche space ``far``, where nothing in them goes with these.
    """
    space = far if found is None else found.space
    number = None if recipe.n_clusters == AUTO else recipe.n_clusters
    if number is None and recipe.clustering != "leiden":
        number, _ = choose_n_clusters(space, recipe.seed, cancel=cancel)
    groups = cluster(space, recipe.clustering, number, recipe.seed, recipe.n_runs, cancel)
    if found is None:
        return groups.codes, confidence(space, groups)
    return settled(found, groups.codes, cancel)


def embedded_views(adata: AnnData) -> tuple[View, ...]:
    """Return the views of the last run, as it stored them.

    Raises
    ------
    UserError
        When there are no embeddings in the data.
    """
    if "X_cellama" not in adata.obsm:
        raise UserError(
            "There are no embeddings in obsm['X_cellama'] to divide by; find niches first (Run)."
        )
    names = list(adata.uns.get(UNS, {}).get("views", ("cell",)))
    return taken_apart(np.asarray(adata.obsm["X_cellama"], np.float32), names)


def stored_graph(adata: AnnData, recipe: Recipe) -> sp.csr_matrix:
    """Return the spatial graph in the data, or one of ``n_neighbors`` where there is none."""
    if "spatial_connectivities" in adata.obsp:
        return sp.csr_matrix(adata.obsp["spatial_connectivities"])
    from napari_cellama.core.resolve import guess_library_key
    from napari_cellama.core.tissue import obs_feature, positions

    key = guess_library_key(adata.obs, adata.uns)
    library = None if key is None else obs_feature(adata.obs, key).codes
    graph, _ = spatial_graph(positions(adata), n_neighbors=recipe.n_neighbors, library=library)
    return graph


def _surroundings(
    connectivities: sp.spmatrix, cells: np.ndarray, n_hops: int
) -> tuple[np.ndarray, sp.csr_matrix]:
    """Return the cells, (m,) int64, that chosen ones see within some hops, and their graph."""
    graph = sp.csr_matrix(connectivities)
    seen = cells.copy()
    for _ in range(n_hops):
        seen[graph[np.flatnonzero(seen)].indices] = True
    around = np.flatnonzero(seen)
    return around, graph if len(around) == len(cells) else graph[around][:, around]


def _refuse_too_few(n_kept: int, n_cells: int, recipe: Recipe) -> None:
    least = _FEWEST if recipe.n_clusters == AUTO else max(_FEWEST, 2 * recipe.n_clusters)
    if n_kept < least:
        left_out = n_cells - n_kept
        without = f" ({left_out:,} more have no sentence)" if left_out else ""
        raise UserError(
            f"{n_kept:,} cells{without} are too few to divide; select at least {least:,}."
        )


def _record(recipe: Recipe, cells: np.ndarray, n_parts: int, seconds: float) -> dict[str, Any]:
    """Return what was done, so that it can be judged and repeated."""
    return {
        "recipe": recipe.to_json(),
        "n_cells": int(cells.sum()),
        "n_parts": n_parts,
        "cells_sha256": hashlib.sha256(np.packbits(cells).tobytes()).hexdigest(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds,
    }
