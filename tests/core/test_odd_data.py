"""Data that a run refuses with one sentence, and odd ones that it takes as they are."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from core_tissues import finish, make_tissue, said
from sklearn.metrics import adjusted_rand_score

from napari_cellama.errors import UserError
from napari_cellama.recipe import Recipe

# --- what it refuses ---------------------------------------------------------------------------


def _without_positions(adata):
    del adata.obsm["spatial"]


def _one_coordinate(adata):
    adata.obsm["spatial"] = adata.obsm["spatial"][:, :1]


def _all_nan(adata):
    adata.obsm["spatial"][:] = np.nan


def _nan_in_x(adata):
    counts = adata.X.toarray()
    counts[4, 2] = np.nan
    adata.X = counts


def _texts_in_x(adata):
    adata.layers["words"] = np.full(adata.shape, "many", object)


REFUSED = [
    (_without_positions, {}, "obsm\\['spatial'\\] is missing"),
    (_one_coordinate, {}, "has 1 coordinate a cell"),
    (_all_nan, {}, "No cell has a position"),
    (_nan_in_x, {}, "NaN or infinite \\(first in cell number 5\\)"),
    (_texts_in_x, {"layer": "words"}, "layer 'words' are not numbers"),
    (None, {"cell_type_key": "cell_tpye"}, "'cell_tpye'; did you mean 'celltype'"),
    (None, {"library_key": "slide"}, "no obs column named 'slide'"),
    (None, {"obs_features": ("regoin",)}, "did you mean 'region'"),
    (None, {"layer": "counts"}, "no layer named 'counts'; there are none"),
    (None, {"n_clusters": 61}, "61 niches cannot be found among 60 cells"),
    (None, {"use_existing_graph": True}, "no graph in obsp"),
]


@pytest.mark.parametrize(("change", "recipe", "message"), REFUSED)
def test_refused_with_one_sentence(encoder, change, recipe, message) -> None:
    adata = make_tissue(60)
    if change is not None:
        change(adata)
    with pytest.raises(UserError, match=message) as caught:
        finish(adata, Recipe(**recipe), encoder)
    assert "\n" not in str(caught.value)
    assert not encoder.embedded


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [(0, 24, "no cells"), (1, 24, "one cell only"), (60, 0, "no genes in X")],
)
def test_too_little_is_refused(encoder, rows, columns, message) -> None:
    with pytest.raises(UserError, match=message):
        finish(make_tissue(60)[:rows, :columns].copy(), Recipe(), encoder)


def test_nothing_expressed_is_refused(encoder) -> None:
    adata = make_tissue(30)
    adata.X = sp.csr_matrix(adata.shape)
    with pytest.raises(UserError, match=r"Only 0 of 30 cells can be described.*no expressed gene"):
        finish(adata, Recipe(), encoder)


def test_measurements_are_no_cell_types(encoder) -> None:
    adata = make_tissue(30)
    adata.obs["area"] = np.linspace(0, 1, 30)
    with pytest.raises(UserError, match="'area' holds measurements"):
        finish(adata, Recipe(cell_type_key="area"), encoder)


# --- what it survives --------------------------------------------------------------------------


def _some_nan_positions(adata):
    adata.obsm["spatial"][[3, 7]] = np.nan
    return {3: "no position", 7: "no position"}, "2 cells of 60 get no niche: 2 with no position"


def _some_empty_cells(adata):
    counts = adata.X.toarray()
    counts[[5, 6]] = 0
    adata.X = sp.csr_matrix(counts)
    return {5: "no expressed gene", 6: "no expressed gene"}, "2 with no expressed gene"


def _failed_qc(adata):
    adata.obs["qc_pass"] = np.arange(60) != 9
    return {9: "quality control"}, "1 cell of 60 gets no niche: 1 failed quality control"


def _missing_types(adata):
    adata.obs.loc[adata.obs_names[:20], "celltype"] = None
    return {}, "20 cells have no cell type"


def _all_types_missing(adata):
    adata.obs["celltype"] = pd.Categorical([None] * 60, categories=["a"])
    return {}, ""


def _one_type(adata):
    adata.obs["celltype"] = "the one"
    return {}, ""


def _repeated_names(adata):
    adata.obs_names = [f"cell{i // 2}" for i in range(60)]
    return {}, "60 cells have a name that another has, too"


def _negative_values(adata):
    adata.X = adata.X.toarray() - 1
    return {}, "negative values"


def _integers(adata):
    adata.X = adata.X.astype(np.int64)
    return {}, ""


def _three_dimensions(adata):
    adata.obsm["spatial"] = np.column_stack([adata.obsm["spatial"], np.arange(60)])
    return {}, ""


def _one_place(adata):
    adata.obsm["spatial"][:] = 1.0
    return {}, ""


def _other_alphabets(adata):
    adata.var_names = [f"基因{j}" for j in range(24)]
    adata.obs["celltype"] = adata.obs["celltype"].cat.rename_categories(lambda x: f"Zelle {x} ß")
    adata.obs_names = [f"細胞{i}" for i in range(60)]
    return {}, ""


def _six_cells(adata):
    adata._inplace_subset_obs(np.arange(6))
    return {}, "only 6 cells with a position, so that a cell has at most 5 neighbours"


def _tiny_section(adata):
    adata.obs["sample"] = ["small"] * 4 + ["large"] * 56
    return {}, "Section 'small' has only 4 cells"


def _lonely_section(adata):
    adata.obs["sample"] = ["lonely"] + ["large"] * 59
    return {}, "Section 'lonely' has only 1 cell "


def _a_data_frame_of_positions(adata):
    spatial = pd.DataFrame(adata.obsm["spatial"], adata.obs_names, ["x", "y"])
    adata.obsm["spatial"] = spatial
    return {}, ""


SURVIVED = [
    _some_nan_positions,
    _some_empty_cells,
    _failed_qc,
    _missing_types,
    _all_types_missing,
    _one_type,
    _repeated_names,
    _negative_values,
    _integers,
    _three_dimensions,
    _one_place,
    _other_alphabets,
    _six_cells,
    _tiny_section,
    _lonely_section,
    _a_data_frame_of_positions,
]


@pytest.mark.parametrize("neighbors_in", ["both", "sentence", "graph"])
@pytest.mark.parametrize("change", SURVIVED)
@pytest.mark.filterwarnings("ignore:Observation names are not unique:UserWarning")
def test_runs_with_every_row_kept(encoder, change, neighbors_in, tmp_path) -> None:
    adata = make_tissue(60)
    left_out, message = change(adata)
    names, n_obs = list(adata.obs_names), adata.n_obs
    result, events = finish(adata, Recipe(n_clusters=3, neighbors_in=neighbors_in), encoder)
    if not (neighbors_in == "sentence" and change is _six_cells):
        assert message in said(events)
    assert tuple(said(events).splitlines()) == result.notices
    assert {i: r for i, r in enumerate(result.left_out) if r} == left_out
    assert np.flatnonzero(result.labels.codes < 0).tolist() == sorted(left_out)
    kept = result.left_out == ""
    assert np.isfinite(result.representation[kept]).all()
    assert np.isnan(result.representation[~kept]).all()
    assert np.isnan(result.confidence[~kept]).all()
    result.apply(adata)
    assert list(adata.obs_names) == names
    assert adata.n_obs == n_obs
    assert (adata.obs["cell_sentence"][~kept] == "").all()
    adata.write_h5ad(tmp_path / "out.h5ad")
    back = ad.read_h5ad(tmp_path / "out.h5ad")
    assert back.obs["niche"].isna().sum() == len(left_out)


@pytest.mark.parametrize("neighbors_in", ["both", "sentence", "graph"])
def test_runs_without_cell_types(encoder, neighbors_in) -> None:
    adata = make_tissue(150)
    del adata.obs["celltype"]
    recipe = Recipe(n_clusters=3, cell_type_key=None, neighbors_in=neighbors_in)
    result, events = finish(adata, recipe, encoder)
    assert len(result.labels.categories) == 3
    assert "30 found in the expression and named by their marker genes" in said(events)
    assert all(name.startswith("Gene") for name in result.composition.columns)
    if neighbors_in != "sentence":
        assert adjusted_rand_score(adata.obs["region"], result.labels.codes) > 0.6


def test_a_second_run_is_not_fooled_by_the_firsts_flags(encoder) -> None:
    adata = make_tissue(60)
    _some_empty_cells(adata)
    adata.layers["filled"] = np.ones(adata.shape)
    finish(adata, Recipe(n_clusters=3), encoder)[0].apply(adata)
    assert adata.obs["qc_reason"].iloc[5] == "no expressed gene"
    again, _ = finish(adata, Recipe(n_clusters=3, layer="filled"), encoder)
    assert (again.left_out == "").all()


def test_fewer_different_cells_than_niches_is_told(encoder) -> None:
    adata = make_tissue(40)
    adata.X = sp.csr_matrix(np.tile(np.arange(24.0), (40, 1)))
    adata.obs["celltype"] = "the one"
    result, events = finish(adata, Recipe(n_clusters=4), encoder)
    assert result.labels.categories.tolist() == ["1"]
    assert "1 niche was found instead of the 4" in said(events)
