"""The run, end to end: what it finds, what it says, what it refuses, what it survives."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from core_tissues import HashEncoder, finish, make_tissue
from sklearn.metrics import adjusted_rand_score

from napari_cellama.core import clustering
from napari_cellama.core.events import STAGES, CancelToken, Notice, Partial, Progress
from napari_cellama.core.niches import regroup
from napari_cellama.core.pipeline import run
from napari_cellama.core.resolve import (
    cell_type_columns,
    guess_cell_type_key,
    guess_library_key,
    resolve,
)
from napari_cellama.core.tissue import obs_types
from napari_cellama.errors import Cancelled, UserError
from napari_cellama.recipe import Recipe


def said(events) -> str:
    return "\n".join(event.text for event in events if isinstance(event, Notice))


# --- what it finds -----------------------------------------------------------------------------


def test_finds_the_stripes_and_tells_every_stage(tissue, encoder) -> None:
    before = tissue.copy()
    result, events = finish(tissue, Recipe(n_clusters=3), encoder)
    assert adjusted_rand_score(tissue.obs["region"], result.labels.codes) > 0.8
    stages = [event.stage for event in events if isinstance(event, Progress)]
    assert list(dict.fromkeys(stages)) == list(STAGES)
    embedding = [e for e in events if isinstance(e, Progress) and e.stage == "Embedding"]
    assert embedding[-1].done == embedding[-1].total == len(encoder.embedded)
    assert len(set(encoder.embedded)) == len(encoder.embedded)  # equal sentences only once
    assert said(events) == ""
    # Nothing of it was written.
    pd.testing.assert_frame_equal(tissue.obs, before.obs)
    assert not tissue.obsp
    assert not tissue.uns
    assert list(tissue.obsm) == ["spatial"]


def test_composition_says_what_niches_are_made_of(tissue, encoder) -> None:
    result, _ = finish(tissue, Recipe(n_clusters=3), encoder)
    for niche, row in result.composition.iterrows():
        region = int(tissue.obs["region"][result.labels == niche].mode()[0])
        assert set(row.nlargest(2).index) == {f"type {2 * region}", f"type {2 * region + 1}"}


def test_same_recipe_same_niches_another_seed_need_not(tissue) -> None:
    first, _ = finish(tissue, Recipe(n_clusters=6), HashEncoder())
    again, _ = finish(tissue.copy(), Recipe(n_clusters=6), HashEncoder(batch=7))
    assert (first.labels == again.labels).all()
    np.testing.assert_array_equal(first.representation, again.representation)
    assert first.colors == again.colors
    assert first.provenance["data_sha256"] == again.provenance["data_sha256"]
    sizes = pd.Series(first.labels).value_counts(sort=False)
    assert (sizes.diff().dropna() <= 0).all()


@pytest.mark.parametrize("matrix", [sp.csc_matrix, lambda x: x.toarray(), lambda x: x.astype(int)])
def test_the_matrixs_kind_does_not_matter(tissue, encoder, matrix) -> None:
    expected, _ = finish(tissue, Recipe(n_clusters=3), encoder)
    tissue.X = matrix(tissue.X)
    result, _ = finish(tissue, Recipe(n_clusters=3), encoder)
    assert (result.labels == expected.labels).all()


@pytest.mark.parametrize("clustering", ["kmeans", "gmm", "leiden"])
@pytest.mark.parametrize("neighbors_in", ["both", "sentence", "graph"])
def test_every_way_runs(encoder, clustering, neighbors_in) -> None:
    recipe = Recipe(n_clusters=3, clustering=clustering, neighbors_in=neighbors_in)
    result, _ = finish(make_tissue(90), recipe, encoder)
    assert len(result.labels.categories) == 3
    names = {"both": ["genes", "niche"], "sentence": ["cell"], "graph": ["genes", "features"]}
    assert [view.name for view in result.views] == names[neighbors_in]


def test_auto_number_is_found_and_recorded(tissue, encoder) -> None:
    result, _ = finish(tissue, Recipe(), encoder)
    resolved = json.loads(result.provenance["recipe"])
    assert resolved["n_clusters"] == len(result.labels.categories) >= 2
    assert set(result.provenance["stability"]) == {str(k) for k in range(2, 21)}
    # The resolved recipe repeats the run without anything left to decide.
    again, _ = finish(tissue, Recipe.from_json(result.provenance["recipe"]), encoder)
    assert (again.labels == result.labels).all()


@pytest.mark.parametrize("n_clusters", [3, "auto"])
def test_many_cells_are_painted_before_all_runs_have_voted(
    tissue, encoder, monkeypatch, n_clusters
) -> None:
    monkeypatch.setattr(clustering, "MANY_CELLS", 100)
    recipe = Recipe(n_clusters=n_clusters, n_runs=20, mode="exact")
    events = list(run(tissue, recipe, encoder=encoder))
    looks = [event.result for event in events if isinstance(event, Partial)]
    end = events[-1].result
    assert len(looks) == 1
    assert looks[0].provenance["preliminary"]
    assert "7 of 20 runs" in looks[0].notices[0]
    assert "preliminary" not in end.provenance
    assert np.array_equal(looks[0].representation, end.representation)
    if n_clusters == 3:
        assert (looks[0].labels.codes == end.labels.codes).mean() > 0.95
        assert looks[0].colors == end.colors
    # Whatever number is found in the end, what was seen first keeps its colours.
    seen, kept = (np.array(one.colors)[one.labels.codes] for one in (looks[0], end))
    assert (seen == kept).mean() > 0.6
    *_, again = regroup(end, len(end.labels.categories))
    assert np.array_equal(again.result.labels.codes, end.labels.codes)


def test_radius_and_existing_graph(tissue, encoder) -> None:
    by_radius, _ = finish(tissue, Recipe(n_clusters=3, radius=40.0), encoder)
    apart = np.linalg.norm(tissue.obsm["spatial"][:, None] - tissue.obsm["spatial"][None], axis=2)
    assert by_radius.connectivities.nnz == (apart <= 40).sum() - 300
    tissue.obsp["spatial_connectivities"] = by_radius.connectivities
    recipe = Recipe(n_clusters=3, use_existing_graph=True)
    existing, _ = finish(tissue, recipe, encoder)
    np.testing.assert_allclose(existing.representation, by_radius.representation, atol=1e-6)
    existing.apply(tissue)
    assert "spatial_distances" not in tissue.obsp


def test_sections_do_not_see_each_other(encoder) -> None:
    one, two = make_tissue(120, seed=1), make_tissue(120, seed=2)
    both = ad.concat([one, two], label="section", index_unique="-")
    result, _ = finish(both, Recipe(n_clusters=3), encoder)
    assert json.loads(result.provenance["recipe"])["library_key"] == "section"
    assert result.connectivities[:120, 120:].nnz == result.connectivities[120:, :120].nnz == 0
    alone, _ = finish(one, Recipe(n_clusters=3), encoder)
    assert (result.connectivities[:120, :120] != alone.connectivities).nnz == 0


def test_cancel_between_batches(tissue) -> None:
    encoder, token = HashEncoder(batch=10), CancelToken()
    events = run(tissue, Recipe(), encoder=encoder, cancel=token)
    next(event for event in events if getattr(event, "stage", "") == "Embedding" and event.done)
    token.cancel()
    with pytest.raises(Cancelled):
        next(events)
    assert len(encoder.embedded) == 20


def test_long_sentences_are_told_of_before_embedding(tissue) -> None:
    encoder = HashEncoder(max_seq_length=10)
    result, events = finish(tissue, Recipe(n_clusters=3), encoder)
    assert "exceed the model's limit of 10 tokens" in said(events)
    assert "cut at their end, which loses genes of lower rank; name fewer" in said(events)
    assert 0 < result.provenance["share_cut"] <= 1
    told = next(i for i, event in enumerate(events) if isinstance(event, Notice))
    assert events[told + 1].stage == "Embedding"


@pytest.mark.parametrize(
    ("limit", "niche_first", "lost"),
    [
        (30, False, "farther neighbours"),
        (12, False, "farther neighbours and what obs columns say and genes of lower rank"),
        (30, True, "what obs columns say and genes of lower rank"),
    ],
)
def test_the_part_that_is_lost_is_named(tissue, limit, niche_first, lost) -> None:
    recipe = Recipe(
        n_clusters=3,
        neighbors_in="sentence",
        niche_first=niche_first,
        obs_features=["region"],
        n_top_genes=16,
    )
    _, events = finish(tissue, recipe, HashEncoder(max_seq_length=limit))
    told = said(events).replace(" (in some)", "")
    assert told.partition("which loses ")[2].startswith(f"{lost}; name fewer")


def test_what_the_encoder_has_to_say_is_passed_on(tissue, encoder) -> None:
    encoder.notices.append("An earlier run's.")
    load = encoder.load
    encoder.load = lambda cancel: (encoder.notices.append("The GPU failed."), load(cancel))[1]
    result, _ = finish(tissue, Recipe(n_clusters=3), encoder)
    assert "The GPU failed." in result.notices
    assert "An earlier run's." not in result.notices


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


# --- what "auto" means -------------------------------------------------------------------------


def test_cell_type_column_is_guessed() -> None:
    obs = pd.DataFrame(
        {
            "barcode": [f"b{i}" for i in range(300)],
            "area": np.linspace(0, 1, 300),
            "sample": pd.Categorical(["s"] * 300),
            "leiden": pd.Categorical(["0", "1", "2"] * 100),
            "Cell_Type": pd.Categorical(["a", "b", "c"] * 100),
        }
    )
    assert guess_cell_type_key(obs) == "Cell_Type"
    assert guess_cell_type_key(obs.drop(columns="Cell_Type")) == "leiden"
    assert guess_cell_type_key(obs[["barcode", "area", "sample"]]) is None
    obs["kind of cell"] = pd.Categorical(["x", "y", "z"] * 100)
    assert guess_cell_type_key(obs[["sample", "kind of cell"]]) == "kind of cell"
    assert cell_type_columns(obs) == ["sample", "leiden", "Cell_Type", "kind of cell"]


def test_few_whole_numbers_are_cell_types() -> None:
    obs = pd.DataFrame({"n_genes": range(300), "leiden": np.arange(300) % 7})
    assert cell_type_columns(obs) == ["leiden"]
    assert guess_cell_type_key(obs) == "leiden"
    obs["mine"] = np.arange(300) % 4  # could be anything, but the last run took it
    assert guess_cell_type_key(obs) == "leiden"
    run = {"recipe": Recipe(cell_type_key="mine").to_json()}
    record = {"last_run": "niche", "runs": {"niche": run}}
    assert guess_cell_type_key(obs, {"cellama": record}) == "mine"
    run["recipe"] = '{"schema_version": 99}'
    assert guess_cell_type_key(obs, {"cellama": record}) == "leiden"


def test_numbers_with_gaps_are_named_as_whole_numbers() -> None:
    obs = pd.DataFrame({"leiden": [2.0, np.nan, 1.0, 2.0]})
    types = obs_types(obs, "leiden")
    assert types.tolist()[0] == "2"
    assert set(types.categories) == {"1", "2"}
    assert types.codes[1] == -1


def test_section_column_is_guessed() -> None:
    obs = pd.DataFrame({"Slice_ID": [0, 1] * 50, "who": ["p", "q"] * 50, "batch": "all"})
    assert guess_library_key(obs) == "Slice_ID"
    assert guess_library_key(obs, {"spatial": {"p": {}, "q": {}}}) == "who"
    assert guess_library_key(obs[["who", "batch"]]) is None


def test_none_is_none(tissue) -> None:
    assert resolve(tissue, Recipe(cell_type_key="none")).cell_type_key is None
    assert resolve(tissue, Recipe()).cell_type_key == "celltype"
    assert resolve(tissue, Recipe()).library_key is None


def test_failed_cells_take_part_where_the_recipe_says_so(tissue, encoder):
    tissue.obs["qc_pass"] = np.arange(tissue.n_obs) != 9
    recipe = Recipe(n_clusters=2, cell_type_key="celltype", leave_out_failed=False)
    *_, last = run(tissue, recipe, encoder=encoder)
    assert last.result.labels[9] in last.result.labels.categories
    assert '"leave_out_failed": false' in last.result.provenance["recipe"]
