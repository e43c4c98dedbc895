import subprocess
import sys
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import napari_cellama as nc
from napari_cellama import api
from small_sections import WordEncoder, small_section

HEAVY = ["pandas", "anndata", "torch", "napari", "squidpy", "matplotlib", "pydantic", "scipy"]


@pytest.fixture
def words(monkeypatch):
    """Embed with a model that costs nothing."""
    monkeypatch.setattr(api, "NamedEncoder", WordEncoder)


def python(code, *arguments):
    """Run code in a fresh interpreter and return what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments, code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_imports_nothing_heavy():
    code = f"import sys, napari_cellama; print([m for m in {HEAVY} if m in sys.modules])"
    assert python(code, "-c") == "[]\n"


def test_everything_public_is_there():
    for name in nc.__all__:
        assert getattr(nc, name) is not None
    assert dir(nc) == sorted(nc.__all__)
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        nc.runn  # noqa: B018


@pytest.mark.parametrize("given", ["section.h5ad", None, pd.DataFrame({"a": [1]})])
@pytest.mark.parametrize("call", ["run", "qc", "search", "subcluster", "view"])
def test_what_is_no_anndata_is_refused_in_a_sentence(call, given):
    more = {"search": ["B cell"], "subcluster": ["1"]}.get(call, [])
    with pytest.raises(nc.UserError, match=rf"{call}\(\) takes an AnnData, not a ") as refusal:
        getattr(nc, call)(given, *more)
    assert f"{call}(read('section.h5ad'))" in str(refusal.value)


@pytest.mark.parametrize("call", ["run", "qc", "view"])
def test_a_record_of_somebody_else_is_refused_before_the_work(call):
    adata = small_section()
    adata.uns["cellama"] = "mine"
    with pytest.raises(nc.UserError, match=r"uns\['cellama'\] holds a str"):
        getattr(nc, call)(adata)
    assert adata.uns["cellama"] == "mine"
    assert list(adata.obs) == ["celltype"]


@pytest.mark.usefixtures("words")
def test_one_obs_feature_may_be_named_alone():
    adata = small_section(30)
    adata.obs["layer"] = "deep"
    assert nc.cell_sentences(adata, obs_features="layer")[0].endswith("layer of this cell is deep.")
    assert nc.Recipe(obs_features="layer") == nc.Recipe(obs_features=["layer"])


@pytest.mark.usefixtures("words")
def test_run_fills_the_slots_and_leaves_the_rest():
    adata = small_section(60)
    adata.uns["mine"] = {"a": 1}
    before = adata.copy()
    result = nc.run(adata, nc.Recipe(n_neighbors=5), n_clusters=2, progress=False)
    assert list(result.labels.categories) == ["1", "2"]
    assert {"niche", "niche_confidence", "cell_sentence"} <= set(adata.obs)
    assert {"X_niche", "X_cellama", "spatial"} <= set(adata.obsm)
    assert {"spatial_connectivities", "spatial_distances"} <= set(adata.obsp)
    assert {"niche_colors", "cellama", "mine"} <= set(adata.uns)
    pd.testing.assert_frame_equal(adata.obs[before.obs.columns], before.obs)
    assert (adata.X != before.X).nnz == 0
    assert adata.obs["cell_sentence"].iloc[0].startswith("Top genes are ")
    assert "celltype of this cell is " in adata.obs["cell_sentence"].iloc[0]


@pytest.mark.usefixtures("words")
def test_parameters_can_be_named_without_a_recipe(recwarn):
    adata = small_section(60)
    nc.run(adata, n_clusters=3, key_added="domain", progress=False)
    assert adata.obs["domain"].nunique() == 3
    assert not [w for w in recwarn if w.filename == __file__]


@pytest.mark.parametrize(
    ("arguments", "changes", "sentence"),
    [
        ((), {"n_cluster": 7}, "no recipe parameter named 'n_cluster'; did you mean 'n_clusters'"),
        (({"n_clusters": 7},), {}, "The recipe is a dict; give a Recipe"),
        ((), {"n_clusters": "many"}, "n_clusters cannot be 'many'"),
    ],
)
def test_recipes_that_are_none(arguments, changes, sentence):
    with pytest.raises(nc.UserError, match=sentence):
        nc.run(small_section(), *arguments, **changes)


@pytest.mark.usefixtures("words")
def test_notices_are_warnings_that_point_at_the_callers_line():
    adata = small_section(60)
    adata.obsm["spatial"][:3] = np.nan
    with pytest.warns(UserWarning, match="3 cells .*position") as caught:
        nc.run(adata, n_clusters=2, progress=False)
    assert {w.filename for w in caught if "position" in str(w.message)} == {__file__}
    assert adata.obs["niche"].isna().sum() == 3


@pytest.mark.usefixtures("words")
def test_a_view_becomes_a_copy_and_says_so():
    parent = small_section(80)
    view = parent[10:70]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        nc.run(view, n_clusters=2, progress=False)
    said = [str(w.message) for w in caught]
    assert sum("is a view" in text for text in said) == 1
    assert not any("modify attribute" in text for text in said)
    assert "niche" in view.obs
    assert "niche" not in parent.obs
    assert not view.is_view


@pytest.mark.usefixtures("words")
def test_backed_data_give_the_same_labels(tmp_path):
    adata = small_section(60)
    path = nc.write(adata, tmp_path / "a.h5ad")
    content = path.read_bytes()
    nc.run(adata, n_clusters=2, progress=False)
    backed = ad.io.read_h5ad(path, backed="r")
    with pytest.warns(UserWarning, match="is backed by a file"):
        nc.run(backed, n_clusters=2, progress=False)
    assert list(backed.obs["niche"]) == list(adata.obs["niche"])
    assert path.read_bytes() == content
    nc.write(backed, path, overwrite=True)
    backed.file.close()
    assert list(nc.read(path).obs["niche"]) == list(adata.obs["niche"])


@pytest.mark.usefixtures("words")
def test_progress_can_be_switched_off(capsys):
    nc.run(small_section(60), n_clusters=2, progress=False)
    assert capsys.readouterr() == ("", "")
    nc.run(small_section(60), n_clusters=2)
    streams = capsys.readouterr()
    assert streams.out == ""
    assert "Embedding: " in streams.err


def test_embedding_sentences():
    texts = ["Top gene is CD3E.", "Top gene is KRT8.", "Top gene is CD3E.", "T cells in a follicle"]
    vectors = nc.embed_sentences(texts)
    assert vectors.shape == (4, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[3]
    assert nc.embed_sentences([]).shape == (0, 384)
    for not_texts in ("one text", ["a", 1]):
        with pytest.raises(nc.UserError, match="Give a list of texts"):
            nc.embed_sentences(not_texts)
    with pytest.raises(nc.UserError, match="no model '/nowhere'"):
        nc.embed_sentences(["a"], model="/nowhere")


def test_cell_sentences_are_usable_alone():
    sentences = nc.cell_sentences(small_section(), n_top_genes=2, obs_features=["celltype"])
    assert len(sentences) == 24
    assert sentences[0].startswith("Top genes are ")
    assert " celltype of this cell is " in sentences[0]


def test_a_script_without_a_main_guard(tmp_path):
    """The model's process must not run the user's script again."""
    path = nc.write(small_section(12), tmp_path / "a.h5ad")
    script = tmp_path / "script.py"
    script.write_text(
        "import napari_cellama as nc\n"
        f"adata = nc.read({str(path)!r})\n"
        "nc.run(adata, n_clusters=2, n_neighbors=4, progress=False)\n"
        "print(adata.obs['niche'].notna().sum(), 'cells')\n"
    )
    assert python(str(script), "-W", "ignore") == "12 cells\n"


# ---- subclusters


@pytest.fixture
def embedded():
    """Return cells of two types whose embeddings go with where they lie, as a run stores them."""
    rng = np.random.default_rng(0)
    coords = rng.uniform(0, 1000, (600, 2))
    east = coords[:, 0] > 500
    vectors = rng.normal(0, 0.4, (600, 8)).astype(np.float32)
    vectors[:, 0] += np.where(east, 1, -1)
    adata = ad.AnnData(np.ones((600, 2), np.float32), obsm={"spatial": coords})
    adata.obs["celltype"] = pd.Categorical(rng.choice(["T cell", "B cell"], 600))
    adata.obsm["X_cellama"] = vectors
    adata.uns["cellama"] = {"views": np.array(["genes"], object)}
    return adata, east


def test_a_cell_type_is_subclustered(embedded, tmp_path):
    adata, east = embedded
    before = adata.obs["celltype"].copy()
    assert nc.subcluster(adata, "T cell", key="celltype", n_clusters=2) == ["T cell.1", "T cell.2"]
    pd.testing.assert_series_equal(adata.obs["celltype"], before)
    found = adata.obs["celltype_edited"].astype(str)
    assert set(found) == {"B cell", "T cell.1", "T cell.2"}
    assert len(adata.uns["celltype_edited_colors"]) == 3
    chosen = (before == "T cell").to_numpy()
    assert (
        pd.crosstab(found[chosen], east[chosen]).to_numpy().max(axis=1).sum() > 0.9 * chosen.sum()
    )
    nc.write(adata, tmp_path / "x.h5ad")
    again = nc.read(tmp_path / "x.h5ad")
    record = again.uns["cellama"]["label_sets"]["celltype_edited"]["splits"]["0001"]
    assert record["parent"] == "T cell"
    assert nc.Recipe.from_json(str(record["recipe"])).n_clusters == 2
    parts = nc.subcluster(again, "T cell.1", key="celltype_edited", n_clusters=2)
    assert parts == ["T cell.1.1", "T cell.1.2"]
    assert set(again.uns["cellama"]["label_sets"]["celltype_edited"]["splits"]) == {"0001", "0002"}


def test_what_cannot_be_subclustered_is_said(embedded):
    adata, _ = embedded
    with pytest.raises(nc.UserError, match="celltype"):
        nc.subcluster(adata, "T cell", key="cell_type")
    with pytest.raises(nc.UserError, match="T cell"):
        nc.subcluster(adata, "T cells", key="celltype")
    with pytest.raises(nc.UserError, match="not made here"):
        nc.subcluster(adata, "T cell", key="celltype", key_added="celltype")
    with pytest.raises(nc.UserError, match=r"no cluster in .* named .77."):
        nc.subcluster(adata, 77, key="celltype")
    with pytest.raises(nc.UserError, match=r"no cluster in .* named .78."):
        nc.subcluster(adata, [78], key="celltype")
    del adata.obsm["X_cellama"]
    with pytest.raises(nc.UserError, match="find niches first"):
        nc.subcluster(adata, "T cell", key="celltype")


# ---- search


def test_what_is_no_text_cannot_be_searched_for():
    with pytest.raises(nc.UserError, match="3 is no text"):
        nc.search(small_section(), 3)


@pytest.mark.usefixtures("words")
def test_search_ranks_the_named_cells_first():
    adata = small_section(60)
    nc.run(adata, n_clusters=2, progress=False)
    scores = nc.search(adata, "Fibroblast", of="cells")
    named = (adata.obs["celltype"] == "Fibroblast").to_numpy()
    assert scores.dtype == np.float32
    assert scores[named].min() > scores[~named].max()
    around = nc.search(adata, "Fibroblast")
    right = adata.obsm["spatial"][:, 0] > 50  # where fibroblasts live
    assert around[right].mean() > around[~right].mean()


@pytest.mark.usefixtures("words")
def test_search_says_what_is_missing():
    adata = small_section(60)
    with pytest.raises(nc.UserError, match="Find niches first"):
        nc.search(adata, "Fibroblast")
    with pytest.raises(nc.UserError, match="not for 'genes'"):
        nc.search(adata, "Fibroblast", of="genes")
