"""A cell's sentence in parts: the same text as a run's, what is cut, and what moves it."""

from __future__ import annotations

import numpy as np
import pytest
from core_tissues import HashEncoder, make_tissue

from napari_cellama.core.events import CancelToken
from napari_cellama.core.explain import explaining, spans, take_apart
from napari_cellama.core.resolve import resolve
from napari_cellama.core.sentences import sentence_of
from napari_cellama.core.tissue import read_tissue
from napari_cellama.core.vectors import NoCache
from napari_cellama.recipe import Recipe

RECIPES = [
    {},
    {"neighbors_in": "both", "obs_features": ("region", "celltype")},
    {"neighbors_in": "sentence", "obs_features": ("celltype",)},
    {"neighbors_in": "sentence", "niche_first": True},
    {"n_top_genes": 1},
]


def apart(cell=5, adata=None, **changes):
    adata = make_tissue() if adata is None else adata
    recipe = resolve(adata, Recipe(cell_type_key="celltype", **changes))
    tissue = read_tissue(adata, recipe)
    return adata, recipe, tissue, take_apart(adata, recipe, tissue, cell)


def explained(parts, encoder=None):
    steps = explaining(parts, encoder or HashEncoder(), NoCache(), CancelToken())
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize("changes", RECIPES)
def test_the_text_is_the_runs_and_every_part_is_found_in_it(changes):
    adata, recipe, tissue, parts = apart(**changes)
    assert parts.sentences == sentence_of(adata, recipe, 5, tissue)
    texts = dict(parts.sentences)
    found = spans(parts.parts, texts)
    for part, (start, end) in zip(parts.parts, found, strict=True):
        assert texts[part.view][start:end] == part.text
    for view in texts:
        starts = [s for part, (s, _) in zip(parts.parts, found, strict=True) if part.view == view]
        assert starts == sorted(starts)


def test_genes_come_in_rank_order_with_their_values():
    adata, _, _, parts = apart()
    genes = [part for part in parts.parts if part.kind == "gene"]
    values = [part.value for part in genes]
    assert values == sorted(values, reverse=True)
    row = adata.X[5].toarray().ravel()
    assert values == [row[adata.var_names.get_loc(part.text)] for part in genes]


def test_a_part_moves_the_embedding_by_what_the_sentence_loses():
    _, _, _, parts = apart(neighbors_in="both")
    result = explained(parts)
    texts, encoder = dict(result.sentences), HashEncoder()
    gene = result.parts[2]
    shorter = texts["genes"].replace(f"{gene.text}, ", "")
    cosine = encoder._vector(texts["genes"]) @ encoder._vector(shorter)
    assert gene.moved == pytest.approx(1 - cosine, abs=1e-5)
    assert all(np.isfinite(part.moved) for part in result.parts)


def test_what_a_sentence_says_alone_cannot_be_left_out():
    result = explained(apart()[3])
    (alone,) = [part for part in result.parts if part.kind == "feature"]
    assert np.isnan(alone.moved)


def test_what_the_limit_cuts_is_marked():
    _, _, _, parts = apart(neighbors_in="sentence")
    result = explained(parts, HashEncoder(max_seq_length=10))
    assert result.limit == 10
    assert result.tokens[0] > 10
    cut = [part.is_cut for part in result.parts]
    assert not cut[0]
    assert cut[-1]
    assert cut == sorted(cut)


def test_a_cell_that_is_left_out_has_no_parts():
    adata = make_tissue()
    adata.obsm["spatial"][5] = np.nan
    parts = apart(adata=adata)[3]
    assert (parts.sentences, parts.parts) == ((), ())
    assert explained(parts) is parts


def test_the_table_has_a_row_for_each_part():
    result = explained(apart()[3])
    table = result.table()
    assert len(table) == len(result.parts)
    assert list(table["part"]) == [part.text for part in result.parts]
