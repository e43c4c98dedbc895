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
from napari_cellama.core import consensus as consensus_module
from napari_cellama.core.clustering import (
    candidates,
    choose_n_clusters,
    cluster,
    confidence,
    has_first_look,
    largest_reliable,
    order_by_size,
)
from napari_cellama.core.consensus import FIRST_LOOK, Grouping, consensus, rand_index, vote

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
    codes = cluster(features, method, 4, seed=1).codes
    assert adjusted_rand_score(truth, codes) > 0.95
    np.testing.assert_array_equal(np.sort(np.bincount(codes))[::-1], np.bincount(codes))
    np.testing.assert_array_equal(codes, cluster(features, method, 4, seed=1).codes)


def test_leiden_without_a_number(blobs) -> None:
    assert len(np.unique(cluster(blobs[0], "leiden", None).codes)) >= 4


@pytest.mark.parametrize("method", ["kmeans", "gmm", "leiden"])
@pytest.mark.parametrize(("n_cells", "n_clusters"), [(2, 2), (6, 3), (6, 6), (6, 1)])
def test_few_cells(method, n_cells, n_clusters) -> None:
    features = np.random.default_rng(0).normal(size=(n_cells, 4)).astype(np.float32)
    codes = cluster(features, method, n_clusters).codes
    assert len(codes) == n_cells
    assert set(codes) == set(range(codes.max() + 1))
    if method != "leiden":  # which may find fewer communities among a handful of cells
        assert codes.max() + 1 == n_clusters


@pytest.mark.parametrize("method", ["kmeans", "gmm", "leiden"])
def test_fewer_different_cells_than_groups(method) -> None:
    features = np.repeat(np.eye(3, dtype=np.float32), [5, 4, 3], axis=0)
    assert np.bincount(cluster(features, method, 7).codes).tolist() == [5, 4, 3]


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


def test_confidence_grows_with_the_margin_and_with_agreement() -> None:
    features = np.array([[0.0], [2.0], [10.0], [12.0], [5.9], [np.nextafter(6.5, 0)]])
    codes, everyone = np.array([0, 0, 1, 1, 0, 1]), np.ones(6, np.float32)
    sure = confidence(features, Grouping(codes, everyone))
    assert sure.dtype == np.float32
    assert ((sure >= 0) & (sure <= 1)).all()
    assert sure[1] > sure[0] > sure[4] > 0.5
    np.testing.assert_allclose(confidence(features, Grouping(codes, everyone / 4)), sure / 4)
    assert confidence(features, Grouping(np.zeros(6, int), everyone)).tolist() == [1] * 6
    alike = Grouping(np.array([0, 0, 1, 1]), everyone[:4])
    assert confidence(np.zeros((4, 2)), alike).tolist() == [0.5] * 4


def test_the_vote_matches_groups_by_their_cells() -> None:
    runs = [
        np.array([0, 0, 1, 1, 2, 2]),
        np.array([2, 2, 0, 0, 1, 1]),
        np.array([1, 1, 2, 0, 0, 0]),
    ]
    codes, agreement = vote(runs, 3)
    assert rand_index(codes, runs[0], 3) == 1
    np.testing.assert_allclose(agreement, [1, 1, 1, 2 / 3, 1, 1])


def test_the_vote_leaves_no_group_empty() -> None:
    # Each run finds another odd cell out, which the other two outvote.
    runs = [np.where(np.arange(9) == odd, 2, np.arange(9) // 5) for odd in (0, 1, 2)]
    codes, _ = vote(runs, 3)
    assert np.bincount(codes, minlength=3).min() > 0


def test_cells_between_groups_are_agreed_on_least() -> None:
    rng = np.random.default_rng(0)
    groups = np.concatenate([rng.normal(0, 1, 100), rng.normal(10, 1, 100)])
    between = rng.uniform(4.5, 5.5, 20)
    codes, agreement = consensus(np.concatenate([groups, between])[:, None], 2, seed=0)
    assert adjusted_rand_score(np.arange(200) // 100, codes[:200]) == 1
    assert agreement[:200].mean() == 1 > agreement[200:].mean()


def test_rand_index_is_scikit_learns() -> None:
    one, other = np.random.default_rng(0).integers(0, 5, (2, 200))
    other[:120] = one[:120]
    assert rand_index(one, other, 5) == pytest.approx(adjusted_rand_score(one, other))
    assert rand_index(one * 0, one * 0, 5) == 1


def test_candidates_are_reliable_peaks_and_the_choice() -> None:
    stability = [0.99, 0.90, 0.95, 0.88, 0.86, 0.80, 0.83, 0.70]
    table = pd.DataFrame({"n_clusters": range(2, 10), "stability": stability})
    assert candidates(table) == [2, 4, 5]  # 4 to 8 average 0.86; 5 is the best beside 6
    table["stability"] -= 0.5
    assert candidates(table) == [2]


def test_one_lucky_number_is_not_chosen() -> None:
    stability = [0.99, 0.97, 0.98, 0.95, 0.90, 0.70, 0.65, 0.99, 0.60, 0.55]
    table = pd.DataFrame({"n_clusters": range(2, 12), "stability": stability})
    assert largest_reliable(table) == 4
    assert candidates(table) == [2, 9, 4]


def test_one_thread_holds_for_what_is_imported_later():
    script = """
from napari_cellama.core.threads import one_thread
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


def test_many_cells_keep_the_names_of_their_first_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "MANY_CELLS", 500)
    rng = np.random.default_rng(0)
    # Groups as large as each other, so that size alone would name them by chance.
    centres = rng.normal(0, 2, (6, 4))
    features = centres[np.arange(1200) % 6] + rng.normal(size=(1200, 4))
    features = features.astype(np.float32)
    look = cluster(features, "kmeans", 6, n_runs=FIRST_LOOK)
    end = cluster(features, "kmeans", 6, n_runs=40)
    assert (look.codes == end.codes).mean() > 0.9
    assert has_first_look("kmeans", 1200, 40)
    assert not has_first_look("kmeans", 400, 40)
    assert not has_first_look("leiden", 1200, 40)
    assert not has_first_look("kmeans", 1200, FIRST_LOOK)


def test_the_vote_of_many_cells_is_that_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(4, size=900)
    runs = [np.where(rng.random(900) < 0.2, rng.integers(4, size=900), true) for _ in range(9)]
    runs = [rng.permutation(4)[run] for run in runs]
    whole = vote(runs, 4)
    monkeypatch.setattr(consensus_module, "_MATCHED", 200)
    assert rand_index(vote(runs, 4).codes, whole.codes, 4) == 1
