"""The cells' map: learnt on some, the others placed on it, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from core_tissues import HashEncoder, finish, finished, make_tissue

from napari_cellama.core import umap
from napari_cellama.core.events import CancelToken
from napari_cellama.core.slots import is_ours
from napari_cellama.core.umap import Begun, Placed, laying_out, put_layout, starts
from napari_cellama.errors import Cancelled, UserError
from napari_cellama.recipe import Recipe


def test_groups_stay_together_whether_learnt_or_placed():
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], 60)
    features = (rng.normal(size=(120, 5)) + 20 * group[:, None]).astype(np.float32)
    features[7] = np.nan
    told, places = finished(laying_out(features, seed=3, n_learnt=80))
    assert [(step.done, step.total) for step in told] == [(0, 119), (80, 119), (119, 119)]
    assert [len(step.cells) for step in told] == [0, 80, 39]
    for step in told:
        np.testing.assert_array_equal(step.places, places[step.cells])
    assert np.flatnonzero(np.isnan(places).any(axis=1)).tolist() == [7]
    group, places = np.delete(group, 7), np.delete(places, 7, axis=0)
    middles = np.stack([np.median(places[group == g], axis=0) for g in (0, 1)])
    nearest = np.linalg.norm(places[:, None] - middles, axis=2).argmin(axis=1)
    assert (nearest == group).mean() > 0.98
    _, again = finished(laying_out(features, seed=3, n_learnt=80))
    np.testing.assert_array_equal(np.delete(again, 7, axis=0), places)


def test_a_cell_is_placed_alike_whoever_is_placed_with_it(monkeypatch):
    features = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    rounds = []

    def optimize(embedding, *args, **kwargs):
        rounds.append(args[3])
        return embedding

    monkeypatch.setattr(umap, "_CHUNK", 50)
    steps = laying_out(features, n_learnt=100)
    next(steps), next(steps)
    monkeypatch.setattr("umap.umap_.optimize_layout_euclidean", optimize)
    told, _ = finished(steps)
    assert [step.done for step in told] == [150, 200]
    assert rounds == [30, 30]


@pytest.mark.filterwarnings("ignore")  # umap-learn misses a tensorflow that nobody asked for
def test_cells_start_where_umap_learn_starts_them():
    from umap.umap_ import init_graph_transform

    rng = np.random.default_rng(0)
    graph = sp.random(500, 90, 0.1, format="csr", dtype=np.float32, random_state=1)
    graph.data = rng.uniform(0.01, 1, len(graph.data)).astype(np.float32)
    graph.data[::40] = 1  # the very cell
    graph.data[graph.indptr[3] : graph.indptr[4]] = 0  # like none
    graph.eliminate_zeros()
    places = rng.normal(size=(90, 2)).astype(np.float32)
    found = starts(graph, places)
    np.testing.assert_array_equal(found, init_graph_transform(graph, places))
    assert np.isnan(found[3]).all()
    assert np.isfinite(np.delete(found, 3, axis=0)).all()


def test_a_map_that_was_stopped_goes_on_as_if_it_had_not_been(monkeypatch):
    monkeypatch.setattr(umap, "_CHUNK", 50)
    features = np.random.default_rng(0).normal(size=(5_300, 4)).astype(np.float32)
    features[7] = np.nan
    n_learnt = 5_000  # more than umap-learn compares one by one
    told, whole = finished(laying_out(features, seed=3, n_learnt=n_learnt))
    assert [bool(step.learnt) for step in told[:3]] == [False, True, False]
    half = np.full_like(whole, np.nan)
    for step in told[:4]:
        half[step.cells] = step.places
    with monkeypatch.context() as patch:
        patch.setattr(umap, "_model", None)  # nothing is learnt again
        begun = Begun(told[1].learnt, half)
        rest, again = finished(laying_out(features, seed=3, n_learnt=n_learnt, begun=begun))
    np.testing.assert_array_equal(again, whole)
    assert [(step.done, len(step.cells)) for step in rest] == [
        (5_100, 0), (5_150, 50), (5_200, 50), (5_250, 50), (5_299, 49),
    ]  # fmt: skip
    assert np.isfinite(half).all(axis=1).sum() == 5_100


def test_too_few_cells_are_refused():
    with pytest.raises(UserError, match="at least 4 cells"):
        next(laying_out(np.zeros((3, 2), np.float32)))


def test_placing_stops_when_it_is_cancelled():
    token = CancelToken()
    features = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    steps = laying_out(features, n_learnt=40, cancel=token)
    assert next(steps).done == 0
    learnt: Placed = next(steps)
    assert (learnt.done, learnt.total, len(learnt.cells)) == (40, 60, 40)
    token.cancel()
    with pytest.raises(Cancelled):
        next(steps)


def test_a_layout_is_written_as_ours_with_how_it_was_made():
    adata = make_tissue()
    result, _ = finish(adata, Recipe(cell_type_key="celltype", n_clusters=3), HashEncoder())
    result.apply(adata)
    places = np.zeros((300, 2), np.float32)
    assert put_layout(adata, "niche", "X_niche_umap", places, 5) == "obsm/X_niche_umap"
    assert is_ours(adata, "obsm/X_niche_umap")
    assert is_ours(adata, "obs/niche")
    record = adata.uns["cellama"]["runs"]["niche"]
    assert record["layouts"]["X_niche_umap"]["seed"] == 5
    assert record["layouts"]["X_niche_umap"]["placed"] == 300
    put_layout(adata, "niche", "X_niche_umap", places + 1, 5)  # ours: again
    assert adata.obsm["X_niche_umap"][0, 0] == 1
    adata.obsm["X_mine"] = places
    with pytest.raises(UserError, match="already has 'X_mine'"):
        put_layout(adata, "niche", "X_mine", places, 5)
