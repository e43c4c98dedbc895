"""Sentences, to the byte."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from core_tissues import make_tissue
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_cellama.core.matrix import row_chunks
from napari_cellama.core.ranking import gene_ranking, top_genes
from napari_cellama.core.resolve import resolve
from napari_cellama.core.sentences import (
    build_views,
    cell_sentences,
    joined_texts,
    sentence_of,
)
from napari_cellama.core.tissue import read_tissue
from napari_cellama.errors import UserError
from napari_cellama.recipe import Recipe


@pytest.fixture
def small() -> ad.AnnData:
    """Four cells in a row at unequal distances, without ties."""
    adata = ad.AnnData(
        np.array([[5, 0, 3, 1], [0, 0, 7, 0], [2, 9, 0, 0], [1, 2, 3, 4]], np.float32),
        obs=pd.DataFrame(
            {"celltype": ["T cell", "B cell", "Stroma", "T cell"], "age": [1, 2, 3, 4]},
            index=list("wxyz"),
        ),
        var=pd.DataFrame(index=["CD3E", "MS4A1", "COL1A1", "β-actin"]),
    )
    adata.obsm["spatial"] = np.array([[0.0, 0], [1, 0], [3, 0], [7, 0]])
    return adata


def views_of(adata: ad.AnnData, **recipe) -> dict[str, list[str]]:
    resolved = resolve(adata, Recipe(**recipe))
    views = build_views(adata, resolved, read_tissue(adata, resolved))
    return {view.name: [view.sentences[i] if i >= 0 else "" for i in view.index] for view in views}


def test_cellamas_own_form(small) -> None:
    texts = views_of(
        small, neighbors_in="sentence", n_sentence_neighbors=2, obs_features=("celltype",)
    )
    assert texts == {
        "cell": [
            "Top genes are CD3E, COL1A1, and β-actin. celltype of this cell is T cell. "
            "nearest_cells of this cell is B cell,Stroma.",
            "Top gene is COL1A1. celltype of this cell is B cell. "
            "nearest_cells of this cell is T cell,Stroma.",
            "Top genes are MS4A1, and CD3E. celltype of this cell is Stroma. "
            "nearest_cells of this cell is B cell,T cell.",
            "Top genes are β-actin, COL1A1, MS4A1, and CD3E. celltype of this cell is T cell. "
            "nearest_cells of this cell is Stroma,B cell.",
        ]
    }


def test_default_views(small) -> None:
    assert list(views_of(small)) == ["genes", "features"]


def test_its_parts_as_views(small) -> None:
    texts = views_of(small, neighbors_in="both", n_sentence_neighbors=2, n_top_genes=2)
    assert list(texts) == ["genes", "niche"]
    assert texts["genes"][0] == "Top genes are CD3E, and COL1A1."
    assert texts["niche"][0] == "nearest_cells of this cell is B cell,Stroma."


def test_graph_view_says_the_cell_type(small) -> None:
    texts = views_of(small, neighbors_in="graph", obs_features=("age",))
    assert list(texts) == ["genes", "features"]
    assert texts["features"][1] == "celltype of this cell is B cell. age of this cell is 2."


def test_niche_first_and_zero_genes(small) -> None:
    texts = views_of(
        small,
        neighbors_in="sentence",
        niche_first=True,
        n_sentence_neighbors=1,
        n_top_genes=3,
        name_zero_genes=True,
    )
    assert texts["cell"][1] == (
        "nearest_cells of this cell is T cell. Top genes are COL1A1, CD3E, and MS4A1."
    )


def test_public_function(small) -> None:
    texts = cell_sentences(small, n_top_genes=1, obs_features=["celltype"])
    assert texts[0] == "Top gene is CD3E. celltype of this cell is T cell."
    assert texts.dtype == object
    assert type(texts[0]) is str
    small.X[1] = 0
    assert cell_sentences(small)[1] == ""
    with pytest.raises(UserError, match="'celtype'; did you mean 'celltype'"):
        cell_sentences(small, obs_features=["celtype"])


def test_missing_values(small) -> None:
    small.obs["celltype"] = pd.Categorical(["T cell", None, "Stroma", None])
    texts = views_of(small, neighbors_in="both", n_sentence_neighbors=2, obs_features=("celltype",))
    assert texts["niche"] == [
        "nearest_cells of this cell is Stroma.",
        "nearest_cells of this cell is T cell,Stroma.",
        "nearest_cells of this cell is T cell.",
        "nearest_cells of this cell is Stroma.",
    ]
    nearest = views_of(small, neighbors_in="both", n_sentence_neighbors=1)["niche"]
    assert nearest[0] == "nearest_cells of this cell is unknown."
    assert texts["features"][1] == "celltype of this cell is unknown."


def test_neighbors_stay_in_their_section(small) -> None:
    small.obs["section"] = ["a", "b", "a", "b"]
    within = views_of(small, neighbors_in="both", n_sentence_neighbors=3)
    assert within["niche"][0] == "nearest_cells of this cell is Stroma."
    across = views_of(
        small, neighbors_in="both", n_sentence_neighbors=3, neighbors_across_sections=True
    )
    assert across["niche"][0] == "nearest_cells of this cell is B cell,Stroma,T cell."


def test_equal_sentences_are_kept_once() -> None:
    adata = make_tissue(200)
    adata.X = sp.csr_matrix(np.tile([[1.0, 2.0] + [0] * 22], (200, 1)))
    resolved = resolve(adata, Recipe())
    genes, niche = build_views(adata, resolved, read_tissue(adata, resolved))
    assert genes.sentences == ("Top genes are Gene1, and Gene0.",)
    assert (genes.index == 0).all()
    assert len(set(niche.sentences)) == len(niche.sentences)


@pytest.mark.parametrize("neighbors_in", ["both", "sentence", "graph"])
def test_one_cells_sentences_are_those_of_the_run(neighbors_in) -> None:
    adata = make_tissue(150)
    counts = adata.X.toarray()
    counts[7] = 0
    adata.X = sp.csc_matrix(counts)
    adata.obsm["spatial"] = np.round(adata.obsm["spatial"], -1)  # many equal distances
    adata.obsm["spatial"][5] = np.nan
    recipe = resolve(adata, Recipe(neighbors_in=neighbors_in, obs_features=("region",)))
    tissue = read_tissue(adata, recipe)
    views = build_views(adata, recipe, tissue)
    for cell in range(adata.n_obs):
        expected = [(v.name, v.sentences[v.index[cell]]) for v in views if v.index[cell] >= 0]
        assert list(sentence_of(adata, recipe, cell, tissue)) == expected
    assert sentence_of(adata, recipe, 5, tissue) == sentence_of(adata, recipe, 7, tissue) == ()


def _by_hand(row: np.ndarray, k: int, zeros: bool) -> list[int]:
    ranked = sorted(range(len(row)), key=lambda gene: (-row[gene].item(), gene))
    return [gene for gene in ranked if zeros or row[gene] > 0][:k]


@settings(deadline=None, max_examples=80)
@given(
    dtype=st.sampled_from(["float32", "float64", "int32", "int64", "uint16", "bool"]),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 15)),
    levels=st.integers(1, 6),
    k=st.integers(1, 20),
    zeros=st.booleans(),
    kind=st.sampled_from(["dense", "csr", "csc", "csr_array"]),
    seed=st.integers(0, 10_000),
)
def test_ranking_is_by_value_then_gene_order(dtype, shape, levels, k, zeros, kind, seed) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(-levels if dtype.startswith(("f", "int")) else 0, levels + 1, shape)
    values = values.astype(dtype)
    if dtype == "float64":
        values = values + rng.integers(0, 2, shape) * 1e-12  # equal in single precision only
    matrix = {
        "dense": np.asarray,
        "csr": sp.csr_matrix,
        "csc": sp.csc_matrix,
        "csr_array": sp.csr_array,
    }[kind](values)
    ranking, negative = gene_ranking(matrix, k, zeros)
    assert negative == bool((values < 0).any())
    for row, genes in zip(values, ranking, strict=True):
        assert [gene for gene in genes if gene >= 0] == _by_hand(row, k, zeros)


def test_stored_zeros_and_repeats_are_understood() -> None:
    rows = sp.csr_matrix(
        (np.array([0.0, 2, 1, 1, 1], np.float32), [0, 1, 2, 2, 2], [0, 5]), shape=(1, 4)
    )
    (_, _, canonical), *_ = row_chunks(rows)
    assert top_genes(canonical, 4).tolist() == [[2, 1, -1, -1]]


def test_chunks_cover_every_row_once() -> None:
    values = np.arange(60.0).reshape(20, 3)
    for matrix in (values, sp.csr_matrix(values), sp.csc_matrix(values)):
        chunks = list(row_chunks(matrix, chunk_values=12))
        assert len(chunks) > 3
        dense = [c.toarray() if sp.issparse(c) else c for _, _, c in chunks]
        np.testing.assert_array_equal(np.concatenate(dense), values)
        assert [start for start, _, _ in chunks[1:]] == [stop for _, stop, _ in chunks[:-1]]


@pytest.mark.parametrize("kind", ["csr", "csc", "dense"])
def test_backed_data_give_the_same_sentences(tmp_path, kind) -> None:
    adata = make_tissue(80)
    convert = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "dense": lambda x: x.toarray()}
    adata.X = convert[kind](adata.X)
    expected = cell_sentences(adata)
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    try:
        assert cell_sentences(backed).tolist() == expected.tolist()
        recipe = resolve(backed, Recipe())
        assert sentence_of(backed, recipe, 3) == sentence_of(adata, recipe, 3)
    finally:
        backed.file.close()


def test_layer_and_raw(small) -> None:
    small.layers["reversed"] = small.X[:, ::-1].copy()
    small.raw = small.copy()
    small = small[:, :2].copy()
    assert cell_sentences(small, 1)[0] == "Top gene is CD3E."
    assert cell_sentences(small, 9, layer="raw")[1] == "Top gene is COL1A1."
    assert cell_sentences(small, 1, layer="reversed")[3] == "Top gene is CD3E."
    with pytest.raises(UserError, match="no layer named 'revesed'; did you mean 'reversed'"):
        cell_sentences(small, layer="revesed")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csc_matrix, np.asarray])
def test_values_that_cannot_be_ranked_are_refused(small, value, kind) -> None:
    small.X[2, 1] = value
    small.X = kind(small.X)
    with pytest.raises(UserError, match="NaN or infinite \\(first in cell number 3\\)"):
        cell_sentences(small)


def test_texts_join_in_views_order(small) -> None:
    recipe = resolve(small, Recipe(neighbors_in="both", n_sentence_neighbors=1, n_top_genes=1))
    views = build_views(small, recipe, read_tissue(small, recipe))
    assert joined_texts(views)[0] == "Top gene is CD3E. nearest_cells of this cell is B cell."
