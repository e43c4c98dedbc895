"""Niches from features whose groups are known."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from napari_cellama.core import clustering
from napari_cellama.core.clustering import (
    choose_n_clusters,
    cluster,
    margin_confidence,
    order_by_size,
)

SIZES = (120, 90, 60, 30)


@pytest.fixture
def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Return four groups, largest first, and which each row belongs to, in random order."""
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0, 0], [8, 0, 0], [0, 8, 0], [0, 0, 8.0]])
    truth = rng.permutation(np.repeat(np.arange(4), SIZES))
    return (centres[truth] + rng.normal(size=(300, 3))).astype(np.float32), truth


@pytest.mark.parametrize("method", ["kmeans", "gmm", "leiden"])
def test_every_method_finds_the_groups_in_order_of_size(blobs, method) -> None:
    features, truth = blobs
    codes = cluster(features, method, 4, seed=1)
    assert adjusted_rand_score(truth, codes) > 0.95
    np.testing.assert_array_equal(np.sort(np.bincount(codes))[::-1], np.bincount(codes))
    np.testing.assert_array_equal(codes, cluster(features, method, 4, seed=1))


def test_mini_batches_find_them_too(blobs, monkeypatch) -> None:
    monkeypatch.setattr(clustering, "MINI_BATCH_ABOVE", 100)
    features, truth = blobs
    assert adjusted_rand_score(truth, cluster(features, "kmeans", 4)) > 0.95


def test_leiden_without_a_number(blobs) -> None:
    assert len(np.unique(cluster(blobs[0], "leiden", None))) >= 4


@pytest.mark.parametrize("method", ["kmeans", "gmm", "leiden"])
@pytest.mark.parametrize(("n_cells", "n_clusters"), [(2, 2), (6, 3), (6, 6), (6, 1)])
def test_few_cells(method, n_cells, n_clusters) -> None:
    features = np.random.default_rng(0).normal(size=(n_cells, 4)).astype(np.float32)
    codes = cluster(features, method, n_clusters)
    assert len(codes) == n_cells
    assert set(codes) == set(range(codes.max() + 1))
    if method != "leiden":  # which may find fewer communities among a handful of cells
        assert codes.max() + 1 == n_clusters


@pytest.mark.parametrize("method", ["kmeans", "gmm", "leiden"])
def test_fewer_different_cells_than_groups(method) -> None:
    features = np.repeat(np.eye(3, dtype=np.float32), [5, 4, 3], axis=0)
    assert np.bincount(cluster(features, method, 7)).tolist() == [5, 4, 3]


def test_the_number_that_is_there_is_chosen(blobs) -> None:
    best, table = choose_n_clusters(blobs[0], seed=0)
    assert best == 4
    assert isinstance(table, pd.DataFrame)
    assert table["n_clusters"].tolist() == list(range(2, 21))
    assert table.set_index("n_clusters")["stability"][4] > 0.98
    pd.testing.assert_frame_equal(table, choose_n_clusters(blobs[0], seed=0)[1])


@pytest.mark.parametrize("features", [np.zeros((9, 2)), np.eye(2), np.eye(3)])
def test_a_number_is_chosen_for_hardly_any_cells(features) -> None:
    assert 1 <= choose_n_clusters(features)[0] <= 2


def test_order_by_size_breaks_ties_by_first_appearance() -> None:
    assert order_by_size(np.array([7, 3, 3, 9, 7, 5])).tolist() == [0, 1, 1, 2, 0, 3]


def test_confidence_is_the_margin() -> None:
    features = np.array([[0.0], [2.0], [10.0], [12.0], [5.9], [np.nextafter(6.5, 0)]])
    codes = np.array([0, 0, 1, 1, 0, 1])
    confidence = margin_confidence(features, codes)
    assert confidence.dtype == np.float32
    assert ((confidence >= 0) & (confidence <= 1)).all()
    assert confidence[1] > confidence[0] > confidence[4]
    assert margin_confidence(features, np.zeros(6, int)).tolist() == [1] * 6
    assert margin_confidence(np.zeros((4, 2)), np.array([0, 0, 1, 1])).tolist() == [0] * 4


def test_one_thread_holds_for_what_is_imported_later():
    script = """
from napari_cellama.core.clustering import one_thread
with one_thread():
    import sklearn.cluster
    from threadpoolctl import threadpool_info
    print([pool["num_threads"] for pool in threadpool_info()])
"""
    threads = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | threads,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(json.loads(done.stdout)) == {1}
