"""Searching by words and by example: what is compared, and what comes first."""

from __future__ import annotations

import numpy as np
import pytest
from core_tissues import HashEncoder, finish, make_tissue

from napari_cellama.core.query import read_query
from napari_cellama.core.search import best_places, searching
from napari_cellama.core.search_space import Asked, SearchSpace
from napari_cellama.core.similar import Example, similar_cells, similar_niches
from napari_cellama.errors import UserError
from napari_cellama.recipe import Recipe

GENES = ("CD3E", "HLA-DRA", "Rest", "Ttr", "CD3")


@pytest.fixture(scope="module")
def found():
    adata = make_tissue()
    result, _ = finish(adata, Recipe(cell_type_key="celltype", n_clusters=3), HashEncoder())
    return adata, result


@pytest.fixture
def space(found):
    return SearchSpace.of_result(found[1])


def last_of(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def scores(space, text, of, **options):
    asked = space.ask(read_query(text), of, **options)
    return last_of(searching(space, asked, HashEncoder())).scores


# ---- reading a query


@pytest.mark.parametrize(
    ("text", "genes", "own", "near"),
    [
        ("T cells", (), "T cells", ""),
        ("oligodendrocytes next to endothelium", (), "oligodendrocytes", "endothelium"),
        ("tumour surrounded by T cells near vessels", (), "tumour", "T cells near vessels"),
        ("cd3e high cells", ("CD3E",), "", ""),
        ("CD3E+ T cells", ("CD3E",), "T cells", ""),
        ("CD3E and HLA-DRA", ("CD3E", "HLA-DRA"), "", ""),
        ("  the rest of  the cells. ", (), "the rest of the cells", ""),
        ("Rest", ("Rest",), "", ""),
        ("near B cells", (), "", "B cells"),
    ],
)
def test_a_query_is_taken_apart(text, genes, own, near):
    query = read_query(text, GENES)
    assert (query.genes, query.own, query.near) == (genes, own, near)


def test_a_query_is_put_into_the_words_of_the_views(space):
    query = read_query("Gene1 Gene2 type 3 next to type 4", ["Gene1", "Gene2"])
    asked = {(one.sentence, one.around) for one in space.ask(query, "cells")}
    assert asked == {
        ("Top genes are Gene1, and Gene2.", False),
        ("celltype of this cell is type 3.", False),
        ("celltype of this cell is type 4.", True),
    }
    assert all(one.around for one in space.ask(query, "niches"))
    as_typed = space.ask(query, "cells", raw=True)
    assert {one.sentence for one in as_typed} == {query.text}
    assert [one.view for one in as_typed] == [0, 1]


@pytest.mark.parametrize(
    ("neighbors_in", "sentences"),
    [
        ("both", {"nearest_cells of this cell is type 4."}),
        ("sentence", {"Top gene is Gene1. nearest_cells of this cell is type 4."}),
    ],
)
def test_neighbours_are_looked_for_where_the_sentences_name_them(neighbors_in, sentences):
    recipe = Recipe(cell_type_key="celltype", n_clusters=3, neighbors_in=neighbors_in)
    result, _ = finish(make_tissue(), recipe, HashEncoder())
    space = SearchSpace.of_result(result)
    text = "type 4" if neighbors_in == "both" else "Gene1 near type 4"
    assert {one.sentence for one in space.ask(read_query(text, ["Gene1"]))} == sentences


def test_what_cannot_be_compared_is_refused_in_a_sentence(space):
    with pytest.raises(UserError, match="Type what to look for"):
        space.ask(read_query("  "))
    recipe = Recipe(cell_type_key="celltype", n_clusters=3, neighbors_in="both")
    result, _ = finish(make_tissue(), recipe, HashEncoder())
    genes_only = SearchSpace.make(
        result.views[:1], result.connectivities, space.representation, recipe
    )
    with pytest.raises(UserError, match="speak of genes only"):
        genes_only.ask(read_query("T cells"))


# ---- what comes first


def test_cells_of_the_named_type_come_first(found, space):
    ranked = scores(space, "type 3", "cells")
    named = (found[0].obs["celltype"] == "type 3").to_numpy()
    assert ranked[named].min() > ranked[~named].max()


def test_niches_are_cosines_of_the_averaged_embeddings(found, space):
    view = next(view for view in found[1].views if view.name == "features")
    dense = space.graph @ (space.graph @ view.dense())
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    vector = HashEncoder()._vector("celltype of this cell is type 3.")
    np.testing.assert_allclose(scores(space, "type 3", "niches"), dense @ vector, atol=1e-5)
    region = found[0].obs["region"].to_numpy()
    means = [scores(space, "type 3", "niches")[region == name].mean() for name in "012"]
    assert np.argmax(means) == 1  # where types 2 and 3 live


def test_next_to_asks_for_both(found, space):
    ranked = scores(space, "type 3 next to type 4", "cells")
    own = (found[0].obs["celltype"] == "type 3").to_numpy()
    x = found[0].obsm["spatial"][:, 0]
    assert own[np.argsort(ranked)[-10:]].all()
    # Type 4 lives right of x = 200, type 3 between 100 and 200.
    assert x[own][np.argsort(ranked[own])[-10:]].mean() > x[own].mean() + 20


def test_a_cell_is_most_like_itself_and_a_niche_like_its_own(found, space):
    cells = np.zeros(300, bool)
    cells[7] = True
    alike = similar_cells(space, cells).scores
    assert alike[7] == pytest.approx(1, abs=1e-5)
    assert alike[7] == alike.max()
    near = similar_niches(space, cells).scores
    assert near[7] == pytest.approx(1)
    region = found[0].obs["region"].to_numpy()
    assert np.median(near[region == region[7]]) > np.median(near[region != region[7]])
    assert np.median(near) == pytest.approx(0, abs=1e-5)


def test_places_are_apart_and_the_best_comes_first(found, space):
    ranked = scores(space, "type 3", "niches")
    coords = found[0].obsm["spatial"]
    places = best_places(space, ranked, coords, apart=50, n_places=5)
    assert [place.score for place in places] == sorted((p.score for p in places), reverse=True)
    around = space.graph @ ranked
    assert places[0].cell == around.argmax()
    spots = coords[[place.cell for place in places]]
    distances = np.linalg.norm(spots[:, None] - spots[None], axis=2)
    assert distances[~np.eye(len(spots), dtype=bool)].min() > 50


# ---- what is missing, and what was saved


def test_cells_that_were_left_out_have_no_score_and_are_nobodys_place():
    adata = make_tissue()
    adata.obsm["spatial"][[3, 4]] = np.nan
    result, _ = finish(adata, Recipe(cell_type_key="celltype", n_clusters=3), HashEncoder())
    space = SearchSpace.of_result(result)
    for of in ("cells", "niches"):
        ranked = scores(space, "type 3 near type 4", of)
        assert np.flatnonzero(np.isnan(ranked)).tolist() == [3, 4]
    cells = np.zeros(300, bool)
    cells[3] = True
    with pytest.raises(UserError, match="left out"):
        similar_niches(space, cells)
    places = best_places(space, ranked, adata.obsm["spatial"], apart=1, n_places=400)
    assert {3, 4}.isdisjoint(place.cell for place in places)


def test_saved_embeddings_are_searched_with_the_same_scores(found):
    adata, result = found
    adata = adata.copy()
    result.apply(adata)
    saved, made = SearchSpace.of_adata(adata), SearchSpace.of_result(result)
    assert saved.feature == made.feature == "celltype"
    for of in ("cells", "niches"):
        expected = scores(made, "type 3 next to type 1", of)
        np.testing.assert_allclose(scores(saved, "type 3 next to type 1", of), expected, atol=1e-4)
    cells = np.arange(300) == 5
    np.testing.assert_allclose(
        similar_cells(saved, cells).scores, similar_cells(made, cells).scores, atol=1e-5
    )


def test_without_saved_embeddings_it_says_what_to_do(found):
    with pytest.raises(UserError, match="Find niches first"):
        SearchSpace.of_adata(make_tissue())
    adata = found[0].copy()
    found[1].apply(adata)
    del adata.obsm["X_cellama"]
    with pytest.raises(UserError, match=r"obsm\['X_cellama'\] was not kept"):
        SearchSpace.of_adata(adata)


def test_another_models_vectors_are_refused(space):
    encoder = HashEncoder()
    encoder.dim = 32
    with pytest.raises(UserError, match="another model"):
        last_of(searching(space, (Asked(0, "x", False),), encoder))


# ---- the like in other tissues


def run_on(seed, **changes):
    adata = make_tissue(seed=seed)
    recipe = Recipe(cell_type_key="celltype", n_clusters=3, **changes)
    result, _ = finish(adata, recipe, HashEncoder())
    return adata, SearchSpace.of_result(result)


@pytest.mark.parametrize("of", ["cells", "niches"])
def test_elsewhere_is_measured_as_at_home(space, of):
    example = Example(space, np.arange(300) == 7, of)
    np.testing.assert_allclose(example.elsewhere(space).scores, example.at_home().scores, atol=0.02)


@pytest.mark.parametrize("neighbors_in", ["graph", "both"])
def test_the_same_region_is_found_in_another_tissue(neighbors_in):
    here, home = run_on(0, neighbors_in=neighbors_in)
    there, other = run_on(5, neighbors_in=neighbors_in)
    cells = (here.obs["region"] == "1").to_numpy()
    alike = Example(home, cells, "niches").elsewhere(other).scores
    same = (there.obs["region"] == "1").to_numpy()
    assert np.median(alike[same]) > np.quantile(alike[~same], 0.9)
    types = (here.obs["celltype"] == "type 3").to_numpy()
    alike = Example(home, types, "cells").elsewhere(other).scores
    named = (there.obs["celltype"] == "type 3").to_numpy()
    assert alike[named].mean() > alike[~named].mean()


def test_cells_without_a_sentence_have_no_score_elsewhere(space):
    adata = make_tissue(seed=5)
    adata.obsm["spatial"][[3, 4]] = np.nan
    result, _ = finish(adata, Recipe(cell_type_key="celltype", n_clusters=3), HashEncoder())
    for of in ("cells", "niches"):
        scores = (
            Example(space, np.arange(300) == 7, of).elsewhere(SearchSpace.of_result(result)).scores
        )
        assert np.flatnonzero(np.isnan(scores)).tolist() == [3, 4]


def test_tissues_that_cannot_be_compared_say_why(space):
    example = Example(space, np.arange(300) == 7, "niches")
    _, other = run_on(5, neighbors_in="sentence")
    assert "another kind" in example.why_not_in(other)
    with pytest.raises(UserError, match="cannot be searched"):
        example.elsewhere(other)
    _, other = run_on(5)
    other.model = "another"
    assert "another model, 'another'" in example.why_not_in(other)
