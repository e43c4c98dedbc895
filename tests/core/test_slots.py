"""Where a result is written, and what is left alone."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from core_tissues import finish, make_tissue

from napari_cellama.core.slots import side_by_side
from napari_cellama.errors import UserError
from napari_cellama.recipe import Recipe

RECIPE = Recipe(n_clusters=3)


@pytest.fixture
def result(tissue, encoder):
    return finish(tissue, RECIPE, encoder)[0]


def test_every_slot_is_filled(tissue, result) -> None:
    before = tissue.copy()
    written = result.apply(tissue)
    assert list(tissue.obs["niche"].cat.categories) == ["1", "2", "3"]
    assert len(tissue.uns["niche_colors"]) == 3
    assert tissue.obs["niche_confidence"].between(0, 1).all()
    assert tissue.obsm["X_niche"].dtype == np.float32
    assert tissue.obsm["X_cellama"].shape == (300, 2 * 64)
    np.testing.assert_allclose(np.linalg.norm(tissue.obsm["X_cellama"], axis=1), 1, rtol=1e-5)
    assert (tissue.obs["cell_sentence"].str.startswith("Top gene")).all()
    assert tissue.obs["cell_sentence"].str.contains(" celltype of this cell is type").all()
    assert tissue.obs["qc_pass"].all()
    assert tissue.obsp["spatial_connectivities"].sum() == 300 * 20
    assert tissue.uns["spatial_neighbors"]["params"]["n_neighbors"] == 20
    run = tissue.uns["cellama"]["runs"]["niche"]
    assert list(run["slots"]) == written[:-1]
    for slot in written:
        place, name = slot.split("/")
        assert name in getattr(tissue, place)
    # What was there is there still, bit by bit.
    pd.testing.assert_frame_equal(tissue.obs[before.obs.columns], before.obs)
    assert (tissue.X != before.X).nnz == 0
    np.testing.assert_array_equal(tissue.obsm["spatial"], before.obsm["spatial"])


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning")
def test_all_of_it_can_be_saved(tissue, result, tmp_path, suffix) -> None:
    result.apply(tissue)
    path = tmp_path / f"result.{suffix}"
    getattr(tissue, f"write_{suffix}")(path)
    back = (ad.read_h5ad if suffix == "h5ad" else ad.read_zarr)(path)
    run = back.uns["cellama"]["runs"]["niche"]
    assert Recipe.from_json(run["recipe"]) == RECIPE.replace(
        cell_type_key="celltype", library_key=None, mode="exact"
    )
    assert list(run["views"]) == ["genes", "features"]
    assert run["encoder"]["model"] == "hash"
    assert json.loads(run["recipe_asked"])["cell_type_key"] == "auto"
    pd.testing.assert_series_equal(back.obs["niche"], tissue.obs["niche"])
    result.apply(back)  # a saved run is recognised and overwritten


def test_cosine_is_the_mean_of_the_views_cosines(result) -> None:
    joined = side_by_side(result.views)
    expected = np.mean([v.dense() @ v.dense().T for v in result.views], axis=0)
    np.testing.assert_allclose(joined @ joined.T, expected, atol=1e-5)


def test_two_runs_side_by_side(tissue, encoder, result) -> None:
    tissue.uns["cellama"] = {"units": "µm"}
    result.apply(tissue)
    first = tissue.obs["niche"].copy()
    other, _ = finish(tissue, Recipe(n_clusters=5, key_added="domain"), encoder)
    other.apply(tissue)
    pd.testing.assert_series_equal(tissue.obs["niche"], first)
    assert tissue.obs["domain"].nunique() == 5
    assert set(tissue.uns["cellama"]["runs"]) == {"niche", "domain"}
    assert tissue.uns["cellama"]["units"] == "µm"
    assert tissue.uns["cellama"]["last_run"] == "domain"


def test_a_graph_of_the_users_stays(tissue, encoder) -> None:
    own = sp.identity(300, format="csr")
    tissue.obsp["spatial_connectivities"] = own
    tissue.uns["spatial_neighbors"] = {"params": {"n_neighbors": 6}}
    result, events = finish(tissue, RECIPE, encoder)
    assert any("spatial graph of their own" in getattr(event, "text", "") for event in events)
    result.apply(tissue)
    assert (tissue.obsp["spatial_connectivities"] != own).nnz == 0
    assert tissue.obsp["niche_connectivities"].nnz == 300 * 20
    assert tissue.uns["niche_neighbors"]["connectivities_key"] == "niche_connectivities"
    assert tissue.uns["spatial_neighbors"] == {"params": {"n_neighbors": 6}}


def test_columns_of_the_users_stay(tissue, encoder) -> None:
    tissue.obs["qc_pass"] = True
    tissue.obs["cell_sentence"] = "mine"
    tissue.obsm["X_cellama"] = np.zeros((300, 2))
    result, _ = finish(tissue, RECIPE, encoder)
    result.apply(tissue)
    assert (tissue.obs["cell_sentence"] == "mine").all()
    assert tissue.obsm["X_cellama"].shape == (300, 2)
    assert tissue.obs["niche_sentence"].str.startswith("Top gene").all()
    assert tissue.obsm["X_niche_cellama"].shape == (300, 128)
    assert "qc_reason" not in tissue.obs


def test_a_taken_key_is_refused(tissue, encoder, result) -> None:
    tissue.obs["niche"] = "mine"
    with pytest.raises(UserError, match="obs already has 'niche', which no run here wrote"):
        finish(tissue, RECIPE, encoder)
    with pytest.raises(UserError, match="obs already has 'niche', which no run here wrote"):
        result.apply(tissue)
    assert (tissue.obs["niche"] == "mine").all()
    tissue.obsm["X_domain"] = np.zeros((300, 2))
    with pytest.raises(UserError, match="obsm already has 'X_domain'"):
        finish(tissue, RECIPE.replace(key_added="domain"), encoder)
    with pytest.raises(UserError, match="cannot be stored as 'spatial'"):
        finish(tissue, RECIPE.replace(key_added="spatial"), encoder)


def test_other_cells_are_refused(tissue, result) -> None:
    with pytest.raises(UserError, match="300 cells, but the data have 299"):
        result.apply(tissue[:299].copy())
    with pytest.raises(UserError, match="another order"):
        result.apply(tissue[::-1].copy())
    assert "niche" not in tissue.obs


def test_what_is_not_wanted_is_not_stored(encoder) -> None:
    tissue = make_tissue(60)
    recipe = RECIPE.replace(store_sentences=False, store_embedding="no")
    finish(tissue, recipe, encoder)[0].apply(tissue)
    assert "cell_sentence" not in tissue.obs
    assert "X_cellama" not in tissue.obsm
