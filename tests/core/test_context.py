"""Niche space: principal components, equal weights, averages over the tissue."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.decomposition import PCA

from napari_cellama.core.context import (
    niche_representation,
    placing,
    principal_components,
    shared_directions,
)
from napari_cellama.core.events import CancelToken
from napari_cellama.core.graph import row_normalized
from napari_cellama.core.result import View
from napari_cellama.errors import Cancelled


def make_view(n_cells: int = 80, n_different: int = 30, dim: int = 12, seed: int = 0) -> View:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n_different, dim)) * np.linspace(1, 0.1, dim)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    index = rng.integers(0, n_different, n_cells)
    return View("genes", tuple(map(str, range(n_different))), index, vectors)


EMPTY = sp.csr_matrix((80, 80))


def test_components_are_those_of_the_cells() -> None:
    view = make_view()
    ours = niche_representation([view], EMPTY, n_components=5, n_hops=0)
    expected = PCA(5).fit_transform(view.dense().astype(np.float64))
    expected /= np.sqrt(np.square(expected).sum(axis=1).mean())
    for column, other in zip(ours.T, expected.T, strict=True):
        np.testing.assert_allclose(np.abs(column), np.abs(other), atol=1e-4)


def test_every_view_weighs_the_same() -> None:
    few = make_view(n_different=3, seed=1)
    features = niche_representation([make_view(), few], EMPTY, n_components=6, n_hops=0)
    assert features.shape == (80, 6 + 2)  # three sentences differ in two directions
    np.testing.assert_allclose(np.square(features[:, :6]).sum(axis=1).mean(), 1, rtol=1e-4)
    np.testing.assert_allclose(np.square(features[:, 6:]).sum(axis=1).mean(), 1, rtol=1e-4)


def test_hops_are_averages_over_the_graph() -> None:
    view = make_view()
    graph = sp.random(80, 80, density=0.1, random_state=0, format="csr")
    graph.setdiag(0)
    weights = row_normalized(graph)
    flat = shared_directions(weights, niche_representation([view], graph, n_hops=0), 20)
    twice = niche_representation([view], graph, n_hops=2)
    np.testing.assert_allclose(twice, weights @ (weights @ flat), atol=1e-5)


def ring(n: int, reach: int) -> sp.csr_matrix:
    """Join every cell of a ring to the ``reach`` cells on either side."""
    apart = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    apart = np.minimum(apart, n - apart)
    return sp.csr_matrix((apart > 0) & (apart <= reach), dtype=np.float32)


def test_what_neighbours_share_comes_first_however_faint() -> None:
    rng = np.random.default_rng(0)
    angle = np.arange(600) * 2 * np.pi / 600
    features = rng.normal(size=(600, 5)) * [10, 10, 3, 1, 1]
    features[:, 3] += np.cos(angle)  # as large as the noise beside it, far fainter than the rest
    features = (features @ np.linalg.qr(rng.normal(size=(5, 5)))[0]).astype(np.float32)
    found = shared_directions(row_normalized(ring(600, 5)), features, 2)
    assert abs(np.corrcoef(found[:, 0], np.cos(angle))[0, 1]) > 0.5  # sqrt(1/3) is all of it


def test_scales_of_features_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    graph = row_normalized(ring(300, 4))
    features = (graph @ rng.normal(size=(300, 4)) + rng.normal(size=(300, 4))).astype(np.float32)
    one = shared_directions(graph, features, 4)
    other = shared_directions(graph, features * np.float32([1, 5, 0.3, 2]), 4)
    np.testing.assert_allclose(np.abs(one), np.abs(other), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("features", [np.zeros((80, 3)), np.ones((80, 1))])
def test_cells_that_do_not_differ_stay_as_they_are(features) -> None:
    features = features.astype(np.float32)
    np.testing.assert_array_equal(
        shared_directions(row_normalized(ring(80, 3)), features, 2), features
    )


def test_cells_without_neighbours_share_nothing() -> None:
    features = make_view().dense()
    alone = shared_directions(row_normalized(EMPTY), features, 2)
    np.testing.assert_array_equal(alone, features)
    graph = ring(80, 3).tolil()
    graph[7] = graph[:, 7] = 0
    some = shared_directions(row_normalized(graph.tocsr()), features, 3)
    features[7] += 100
    changed = shared_directions(row_normalized(graph.tocsr()), features, 3)
    others = np.arange(80) != 7
    np.testing.assert_allclose(some[others], changed[others], atol=1e-3)


def test_cells_left_out_give_and_get_nothing() -> None:
    view = make_view()
    view.index[[4, 9]] = -1
    graph = sp.csr_matrix(np.ones((80, 80)) - np.eye(80))
    features = niche_representation([view], graph, n_hops=1)
    kept = view.index >= 0
    assert np.isnan(features[~kept]).all()
    # Everyone sees everyone kept, so that all averages are the mean, which is zero.
    np.testing.assert_allclose(features[kept], 0, atol=1e-5)


def test_a_view_that_says_the_same_of_all_has_no_say() -> None:
    same = View("niche", ("x",), np.zeros(80, int), np.ones((1, 12), np.float32) / np.sqrt(12))
    alone = niche_representation([same], EMPTY)
    assert alone.shape == (80, 1)
    assert (alone == 0).all()
    both = niche_representation([make_view(), same], EMPTY, n_hops=0)
    np.testing.assert_array_equal(both, niche_representation([make_view()], EMPTY, n_hops=0))


def test_chunks_do_not_matter(monkeypatch) -> None:
    view, kept = make_view(), np.ones(80, bool)
    whole, _ = principal_components(view, kept, 5)
    monkeypatch.setattr("napari_cellama.core.context._CHUNK", 7)
    np.testing.assert_allclose(principal_components(view, kept, 5)[0], whole, atol=1e-4)


def test_steps_are_told_and_a_cancel_is_heard() -> None:
    assert list(placing([make_view()], EMPTY, n_hops=2)) == [(1, 4), (2, 4), (3, 4), (4, 4)]
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        niche_representation([make_view()], EMPTY, cancel=token)
