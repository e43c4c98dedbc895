"""Who is near whom, against squidpy and against brute force."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from napari_cellama.core import graph
from napari_cellama.core.graph import (
    median_neighbor_count,
    median_neighbor_distance,
    nearest_neighbors,
    row_normalized,
    spatial_graph,
)


def _points(n: int = 120, d: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates and interleaved sections of unequal size."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 100, (n, d)), rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])


def test_many_queries_are_answered_as_few_are(monkeypatch) -> None:
    coords, library = _points(6_000)
    coords[::50] = np.nan
    monkeypatch.setattr(graph, "_CHUNK", 1_000)
    many = nearest_neighbors(coords, 6, library)
    monkeypatch.setattr(graph, "_MANY", 10_000)
    few = nearest_neighbors(coords, 6, library)
    np.testing.assert_array_equal(many[0], few[0])
    np.testing.assert_array_equal(many[1], few[1])


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("by_library", [False, True])
@pytest.mark.parametrize("radius", [None, 25.0])
@pytest.mark.filterwarnings("ignore::FutureWarning")  # squidpy's own, about its next version
def test_equals_squidpy(d: int, by_library: bool, radius: float | None) -> None:
    import anndata as ad

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # from docrep, when squidpy is imported
        import squidpy as sq

    coords, library = _points(d=d)
    adata = ad.AnnData(np.zeros((len(coords), 1), np.float32))
    adata.obsm["spatial"] = coords
    adata.obs["library"] = library
    adata.obs["library"] = adata.obs["library"].astype("category")
    options = {"n_neighs": 7} if radius is None else {"radius": radius}
    expected = sq.gr.spatial_neighbors(
        adata,
        coord_type="generic",
        library_key="library" if by_library else None,
        copy=True,
        **options,
    )
    ours = spatial_graph(
        coords, n_neighbors=7, radius=radius, library=library if by_library else None
    )
    assert (ours[0] != expected[0]).nnz == 0
    assert ours[0].dtype == np.float32
    assert abs(ours[1] - expected[1]).max() < 1e-9
    assert ours[0].nnz == expected[0].nnz > 0


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 40),
    k=st.integers(1, 12),
    grid=st.integers(1, 6),
    sections=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_nearest_is_brute_forces_nearest(n, k, grid, sections, seed) -> None:
    """Also where many cells are equally near or in one place (coordinates on a small grid)."""
    rng = np.random.default_rng(seed)
    coords = rng.integers(0, grid, (n, 2)).astype(float)
    coords[rng.random(n) < 0.1] = np.nan
    library = rng.integers(0, sections, n)
    index, distance = nearest_neighbors(coords, k, library)
    again, _ = nearest_neighbors(coords, k, library)
    np.testing.assert_array_equal(index, again)
    everyone = cdist(coords, coords)
    for cell in range(n):
        others = (library == library[cell]) & ~np.isnan(everyone[cell]) & (np.arange(n) != cell)
        expected = np.sort(everyone[cell][others])[:k]
        found = index[cell][index[cell] >= 0]
        np.testing.assert_allclose(distance[cell][: len(found)], expected)
        np.testing.assert_allclose(everyone[cell][found], expected)
        assert len(set(found)) == len(found)
        assert others[found].all()
        assert np.isinf(distance[cell][len(found) :]).all()
        ties = np.diff(expected) == 0
        assert (np.diff(found)[ties] > 0).all()  # equally near: in the data's order


def test_cells_in_one_place_have_other_cells_as_neighbors() -> None:
    index, distance = nearest_neighbors(np.ones((30, 2)), 5)
    assert (index != np.arange(30)[:, None]).all()
    assert (distance == 0).all()
    connectivities, distances = spatial_graph(np.ones((30, 2)), n_neighbors=5)
    assert connectivities.nnz == distances.nnz == 150


def test_row_normalized_counts_a_cell_as_its_own_neighbor() -> None:
    connectivities, _ = spatial_graph(np.array([[0.0, 0], [1, 0], [5, 0], [np.nan, 0]]), radius=2)
    expected = [[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_array_equal(row_normalized(connectivities).toarray(), expected)


def test_median_distance_and_count() -> None:
    line = np.stack([np.arange(50.0) * 3, np.zeros(50)], axis=1)
    assert median_neighbor_distance(line) == 3
    assert median_neighbor_distance(line, 4) == 6
    assert median_neighbor_count(line, 6.5) == 4
    assert np.isnan(median_neighbor_distance(line[:1]))
    assert np.isnan(median_neighbor_distance(np.full((5, 2), np.nan)))
    assert np.isnan(median_neighbor_count(np.full((5, 2), np.nan), 1.0))


def test_medians_of_windows_are_those_of_all_cells() -> None:
    rng = np.random.default_rng(3)
    coords = rng.uniform(0, 1000, (30_000, 2))
    coords[:100] = np.nan
    library = rng.integers(0, 2, 30_000)
    whole = {"library": library, "max_cells": 10**9}
    windows = {"library": library, "max_cells": 10_000}
    assert median_neighbor_distance(coords, 20, **windows) == pytest.approx(
        median_neighbor_distance(coords, 20, **whole), rel=0.03
    )
    assert median_neighbor_count(coords, 25.0, **windows) == pytest.approx(
        median_neighbor_count(coords, 25.0, **whole), rel=0.1
    )
