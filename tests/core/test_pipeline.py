"""The run, end to end: what it finds, what it says, what it refuses, what it survives."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from core_tissues import HashEncoder, finish, make_tissue, said
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
from napari_cellama.errors import Cancelled
from napari_cellama.recipe import Recipe

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
