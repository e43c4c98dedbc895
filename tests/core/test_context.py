"""Niche space: principal components, equal weights, averages over the tissue."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.decomposition import PCA

from napari_cellama.core.context import niche_representation, placing, principal_components
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
    flat = niche_representation([view], graph, n_hops=0)
    weights = row_normalized(graph).toarray()
    twice = niche_representation([view], graph, n_hops=2)
    np.testing.assert_allclose(twice, weights @ weights @ flat, atol=1e-5)


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
    whole = principal_components(view, kept, 5)
    monkeypatch.setattr("napari_cellama.core.context._CHUNK", 7)
    np.testing.assert_allclose(principal_components(view, kept, 5), whole, atol=1e-4)


def test_steps_are_told_and_a_cancel_is_heard() -> None:
    assert list(placing([make_view()], EMPTY, n_hops=2)) == [(1, 3), (2, 3), (3, 3)]
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        niche_representation([make_view()], EMPTY, cancel=token)
