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
from napari_cellama.core.result import View
from napari_cellama.core.slots import UNS
from napari_cellama.errors import UserError
from napari_cellama.recipe import AUTO, Recipe

if TYPE_CHECKING:
    from anndata import AnnData

#: Fewer cells than this are not divided.
_FEWEST = 10
#: The weight of where a cell lies in niche space, against what it has in common with its
#: surroundings; measured on the sample tissue's subtypes (benchmarks/subclusters.py).
_SHARE_PLACED = 0.5
#: Variance that is taken for noise, as a share of the mean direction's.
_RIDGE = 1e-3


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
    space = yield from _space(views, connectivities, kept, recipe, cancel)
    yield Progress("Clustering")
    cancel.check()
    number = None if recipe.n_clusters == AUTO else recipe.n_clusters
    if number is None and recipe.clustering != "leiden":
        number, _ = choose_n_clusters(space, recipe.seed, cancel=cancel)
    found = cluster(space, recipe.clustering, number, recipe.seed, recipe.n_runs, cancel)
    parts = np.full(int(cells.sum()), -1, np.int64)
    sure = np.full(len(parts), np.nan, np.float32)
    inside = kept[cells]
    parts[inside], sure[inside] = found.codes, confidence(space, found)
    seconds = round(time.perf_counter() - started, 3)
    yield Divided(cells, parts, sure, _record(recipe, cells, int(found.codes.max()) + 1, seconds))


def _space(
    views: Sequence[View],
    connectivities: sp.spmatrix,
    cells: np.ndarray,
    recipe: Recipe,
    cancel: CancelToken,
) -> Generator[Progress, None, np.ndarray]:
    """Yield how far it is, and return (cells.sum(), p) float32: what is clustered."""
    around, graph = _surroundings(connectivities, cells, recipe.n_hops)
    near = [View(view.name, (), view.index[around], view.vectors) for view in views]
    steps = placing(near, graph, recipe.n_components, recipe.n_hops, recipe.n_directions, cancel)
    while True:
        try:
            done, total = next(steps)
        except StopIteration as end:
            placed = end.value[cells[around]]
            break
        yield Progress("Context", done, total + 1, "steps")
    together = in_common(near, graph, cells[around], recipe.n_components, recipe.n_hops, cancel)
    return np.concatenate([_SHARE_PLACED * _of_unit_size(placed), _of_unit_size(together)], axis=1)


def in_common(
    views: Sequence[View],
    graph: sp.spmatrix,
    cells: np.ndarray,
    n_components: int = 30,
    n_hops: int = 2,
    cancel: CancelToken | None = None,
) -> np.ndarray:
    """Return what some cells' own sentences and their surroundings' have in common.

    These are the canonical variates (Hotelling 1936, Biometrika 28:321-377) between the cells'
    principal components and those averaged over their neighbourhoods, of both sides, weighted by
    their correlations. So a cell's expression counts where its surroundings go with it, and the
    surroundings where the cell's expression goes with them.

    Parameters
    ----------
    views
        Embedded views of n cells.
    graph
        (n, n) the spatial graph.
    cells
        (n,) bool: the cells that are asked about, all with sentences.
    n_components
        Principal components a view, over the cells that are asked about.
    n_hops
        How often the surroundings are averaged.
    cancel
        Checked between chunks.

    Returns
    -------
    numpy.ndarray
        (cells.sum(), 2 x number of directions) float32: those directions whose correlation is
        higher than any where the cells are shuffled, at least one.
    """
    known = np.all([view.index >= 0 for view in views], axis=0)
    parts = []
    for view in views:
        components, _ = principal_components(view, cells, n_components, cancel)
        parts.append(np.where(known[:, None], components[view.index], 0))
    features = np.concatenate(parts, axis=1)
    if not features.shape[1]:
        return np.zeros((int(cells.sum()), 2), np.float32)
    graph = row_normalized(graph)
    context = features
    for _ in range(n_hops):
        context = averaged(graph, context, cancel)
    own = features[cells] - features[cells].mean(axis=0)
    context = context[cells] - context[cells].mean(axis=0)
    own, context = _whitened(own), _whitened(context)
    left, correlation, right = np.linalg.svd(own.T @ context / len(own))
    shuffled = own[np.random.default_rng(0).permutation(len(own))]
    chance = np.linalg.svd(shuffled.T @ context / len(own), compute_uv=False)[0]
    n = max(1, int((correlation > chance).sum()))
    both = np.concatenate(
        [context @ (right[:n].T * correlation[:n]), own @ (left[:, :n] * correlation[:n])], axis=1
    )
    return both.astype(np.float32)


def _whitened(values: np.ndarray) -> np.ndarray:
    """Return centred values turned to unit variance in all directions but the smallest."""
    covariance = values.T.astype(np.float64) @ values / len(values)
    variance, axes = np.linalg.eigh(covariance)
    ridge = max(_RIDGE * variance.sum() / len(variance), 1e-12)
    return values @ (axes / np.sqrt(np.maximum(variance, 0) + ridge))


def _of_unit_size(values: np.ndarray) -> np.ndarray:
    """Return values centred and scaled to a mean square of 1; all 0 where they do not differ."""
    centred = values - values.mean(axis=0)
    size = np.sqrt(np.square(centred).sum(axis=1).mean())
    return (centred / (size if size > 0 else 1)).astype(np.float32)


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
    joined = np.asarray(adata.obsm["X_cellama"])
    names = [str(name) for name in adata.uns.get(UNS, {}).get("views", ("cell",))]
    width = joined.shape[1] // len(names)
    index = np.where(np.isfinite(joined[:, 0]), np.arange(len(joined)), -1)
    return tuple(
        View(name, (), index, joined[:, number * width : (number + 1) * width])
        for number, name in enumerate(names)
    )


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
