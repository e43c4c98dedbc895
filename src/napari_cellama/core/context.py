"""From sentences' embeddings to niche space: what neighbours share, averaged over the tissue."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
import scipy.sparse as sp
from scipy.linalg import block_diag

from napari_cellama.core.events import CancelToken, last_of
from napari_cellama.core.graph import row_normalized
from napari_cellama.core.result import View
from napari_cellama.core.threads import chunked, each_chunk

#: Vectors, or rows of the graph, that are worked on at a time.
_CHUNK = 16_384
#: Components of less than this share of the largest's variance are rounding.
_NOISE = 1e-6
#: Noise of less than this share of a direction's usual noise is not trusted.
_LEAST_NOISE = 1e-3


def niche_representation(
    views: Sequence[View],
    connectivities: sp.spmatrix,
    n_components: int = 30,
    n_hops: int = 2,
    n_directions: int = 20,
    cancel: CancelToken | None = None,
) -> np.ndarray:
    """Place every cell in niche space; see :func:`placing`, which tells how far it is."""
    return last_of(placing(views, connectivities, n_components, n_hops, n_directions, cancel))


def placing(
    views: Sequence[View],
    connectivities: sp.spmatrix,
    n_components: int = 30,
    n_hops: int = 2,
    n_directions: int = 20,
    cancel: CancelToken | None = None,
) -> Generator[tuple[int, int], None, np.ndarray]:
    """Place every cell in niche space, step by step.

    Each view's embeddings are reduced to their principal components over the cells and scaled
    to unit mean square, so that the views weigh the same. Side by side they are turned into the
    directions that neighbours share (:func:`shared_directions`) and averaged ``n_hops`` times
    over each cell and its neighbours. Where embeddings are predicted, the scatter that they lack
    counts as the cells' own wherever variances are taken, or what is hard to predict would pass
    for little noise.

    Parameters
    ----------
    views
        Embedded views of n cells.
    connectivities
        (n, n) spatial graph.
    n_components
        Principal components a view at most.
    n_hops
        How often to average; 0 leaves the cells' principal components as they are.
    n_directions
        Directions that are kept at most.
    cancel
        Checked between chunks.

    Yields
    ------
    done, total
        Steps.

    Returns
    -------
    numpy.ndarray
        (n, p) float32; NaN rows for cells that lack a sentence. p is at least 1.
    """
    total = len(views) + (1 + n_hops if n_hops else 0)
    kept = np.all([view.index >= 0 for view in views], axis=0)
    parts, scatters = [], []
    for done, view in enumerate(views, 1):
        components, scatter = principal_components(view, kept, n_components, cancel)
        parts.append(components[view.index[kept]])
        scatters.append(scatter)
        yield done, total
    features = np.concatenate(parts, axis=1)
    if not features.shape[1]:  # every cell reads the same
        features = np.zeros((int(kept.sum()), 1), np.float32)
    if n_hops:
        # Only cells with sentences have something to give to an average.
        graph = connectivities.tocsr()
        graph = row_normalized(graph if kept.all() else graph[kept][:, kept])
        scatter = block_diag(*scatters) if features.shape[1] > 1 else None
        features = shared_directions(graph, features, n_directions, scatter, cancel)
        yield len(views) + 1, total
    for hop in range(n_hops):
        features = averaged(graph, features, cancel)
        yield len(views) + hop + 2, total
    placed = np.full((len(kept), features.shape[1]), np.nan, np.float32)
    placed[kept] = features
    return placed


def shared_directions(
    graph: sp.csr_matrix,
    features: np.ndarray,
    n_directions: int,
    scatter: np.ndarray | None = None,
    cancel: CancelToken | None = None,
) -> np.ndarray:
    """Turn features into the directions in which neighbours agree, at equal noise.

    What a cell has in common with its neighbours is taken for the tissue's, the rest for the
    cell's own: the covariance between cells and the mean of their neighbours is the signal, and
    what that leaves of the cells' covariance is the noise. The directions of the highest signal
    to noise are kept and scaled to unit noise, so that distances count what neighbourhoods
    differ in and not what single cells do. This is the minimum noise fraction transform of
    Green et al. 1988 (IEEE Transactions on Geoscience and Remote Sensing 26:65-74), with a
    graph of cells for the image's grid.

    Parameters
    ----------
    graph
        (n, n) from :func:`~.graph.row_normalized`: each cell and its neighbours.
    features
        (n, p) float32.
    n_directions
        How many at most. Directions in which neighbours do not agree are dropped, but for one.
    scatter
        (p, p) covariance of the cells' own that the features lack, if any.
    cancel
        Checked between chunks.

    Returns
    -------
    numpy.ndarray
        (n, at most ``n_directions``) float32, the most shared direction first; ``features``
        as they are where no cell has a neighbour, or none differs from its neighbours.
    """
    centred, own, shared = _shared_covariance(graph, features, cancel)
    if scatter is not None and own.any():
        own = own + scatter
    noise, axes = np.linalg.eigh(own - shared)
    if noise.max() <= _NOISE * max(np.trace(own), 1e-12):
        return features
    axes = axes / np.sqrt(np.maximum(noise, _LEAST_NOISE * noise[noise > 0].mean()))
    ratio, turn = np.linalg.eigh(axes.T @ shared @ axes)
    order = np.argsort(ratio)[::-1][:n_directions]
    order = order[(ratio[order] > 0) | (np.arange(len(order)) == 0)]
    return averaged(centred, _signed(axes @ turn[:, order]), cancel)


def _shared_covariance(
    graph: sp.csr_matrix, features: np.ndarray, cancel: CancelToken | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the centred features, and (p, p) covariances of cells with themselves and neighbours.

    Cells without a neighbour do not count.
    """
    weights = graph.diagonal()[:, None]
    counted = (weights < 1).ravel()
    width = features.shape[1]
    if not counted.any():
        return features, np.zeros((width, width)), np.zeros((width, width))
    centred = features - features[counted].mean(axis=0, dtype=np.float64).astype(np.float32)
    own, shared = np.zeros((width, width)), np.zeros((width, width))

    def part(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        rows = np.arange(rows.start, rows.stop)
        rows = rows[counted[rows]]
        here = centred[rows]
        around = (graph[rows] @ centred - weights[rows] * here) / (1 - weights[rows])
        return here.T @ here, here.T @ around

    for with_itself, with_others in chunked(part, len(features), _CHUNK, cancel):
        own += with_itself
        shared += with_others
    return centred, own / counted.sum(), (shared + shared.T) / (2 * counted.sum())


def principal_components(
    view: View, kept: np.ndarray, n_components: int, cancel: CancelToken | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return each different sentence's principal components over the kept cells.

    Computed on the sentences, weighted by how many cells have them, which equals the components
    of the cells. They are scaled so that the cells' mean squared length is 1.

    Parameters
    ----------
    view
        An embedded view with u different sentences.
    kept
        (n,) bool: the cells that count.
    n_components
        How many at most; those without variance are dropped.
    cancel
        Checked between chunks.

    Returns
    -------
    components
        (u, c) float32, c from 0 to ``n_components``.
    scatter
        (c, c): the view's scatter in them; 0 where all vectors are exact.
    """
    mean, axes, scatter = principal_axes(view, kept, n_components, cancel)
    return along(axes, view.vectors, mean, cancel), scatter


def principal_axes(
    view: View, kept: np.ndarray, n_components: int, cancel: CancelToken | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean, (d,), the scaled axes, (d, c), and the scatter of the components.

    See :func:`principal_components`, whose components are the vectors along these axes.
    """
    vectors = view.vectors
    weights = np.bincount(view.index[kept], minlength=len(vectors)) / max(1, kept.sum())
    mean, covariance = _moments(vectors, weights, cancel)
    scatter = np.zeros_like(covariance) if view.scatter is None else view.scatter
    covariance = covariance + scatter
    variances, axes = np.linalg.eigh(covariance)
    order = np.argsort(variances)[::-1][:n_components]
    order = order[variances[order] > max(_NOISE * variances.max(), 1e-9)]
    mean = mean.astype(np.float32)
    if not len(order):
        return mean, np.zeros((len(mean), 0), np.float32), np.zeros((0, 0))
    axes = _signed(axes[:, order] / np.sqrt(variances[order].sum()))
    return mean, axes, axes.T @ scatter @ axes


def along(
    axes: np.ndarray, vectors: np.ndarray, mean: np.ndarray, cancel: CancelToken | None = None
) -> np.ndarray:
    """Return ``(vectors - mean) @ axes``, chunk by chunk, as float32."""
    reduced = np.empty((len(vectors), axes.shape[1]), np.float32)

    def part(rows: slice) -> None:
        reduced[rows] = (vectors[rows] - mean) @ axes

    each_chunk(part, len(vectors), _CHUNK, cancel)
    return reduced


def _signed(axes: np.ndarray) -> np.ndarray:
    """Fix the axes' arbitrary signs, as float32, so that runs are alike on every machine."""
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return axes.astype(np.float32)


def _moments(
    vectors: np.ndarray, weights: np.ndarray, cancel: CancelToken | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted mean (d,) and covariance (d, d) of the vectors.

    Multiplied in float32, chunk by chunk, and added up in float64.
    """
    chunks = range(0, len(vectors), _CHUNK)
    mean = np.zeros(vectors.shape[1])
    for start in chunks:
        rows = slice(start, start + _CHUNK)
        mean += weights[rows].astype(np.float32) @ vectors[rows]
    covariance = np.zeros((vectors.shape[1],) * 2)
    for start in chunks:
        if cancel is not None:
            cancel.check()
        centred = vectors[start : start + _CHUNK] - mean.astype(np.float32)
        centred *= np.sqrt(weights[start : start + _CHUNK, None]).astype(np.float32)
        covariance += centred.T @ centred
    return mean, covariance


def averaged(
    graph: sp.csr_matrix | np.ndarray, features: np.ndarray, cancel: CancelToken | None = None
) -> np.ndarray:
    """Return ``graph @ features``, chunk by chunk, as float32."""
    result = np.empty((graph.shape[0], features.shape[1]), np.float32)

    def part(rows: slice) -> None:
        result[rows] = graph[rows] @ features

    each_chunk(part, len(result), _CHUNK, cancel)
    return result
