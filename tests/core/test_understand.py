"""What a cluster is: against counts by hand, squidpy's permutations and planted genes."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from napari_cellama.core.borders import Contacts, borders
from napari_cellama.core.events import CancelToken
from napari_cellama.core.graph import spatial_graph
from napari_cellama.core.labels import LabelSet
from napari_cellama.core.understand import MIN_CELLS, portraying, surroundings
from napari_cellama.errors import Cancelled

N = 240


@pytest.fixture
def section():
    """Return a strip of three clusters side by side, each with a gene of its own."""
    rng = np.random.default_rng(0)
    coords = np.column_stack([np.arange(N) % 12, np.arange(N) // 12]) * 10.0
    cluster = np.arange(N) // 80
    counts = rng.poisson(1.0, (N, 6))
    counts[np.arange(N), cluster] += rng.poisson(6, N)
    counts[:, 5] = 0
    counts[:3, 5] = 4
    types = pd.Categorical.from_codes(np.where(rng.random(N) < 0.9, cluster, 0), list("ABC"))
    obs = pd.DataFrame({"celltype": types}, index=[f"c{i}" for i in range(N)])
    adata = ad.AnnData(sp.csr_matrix(counts.astype(np.float32)), obs, obsm={"spatial": coords})
    adata.var_names = [f"g{i}" for i in range(6)]
    return adata


@pytest.fixture
def labels():
    codes = (np.arange(N) // 80).astype(np.int32)
    return LabelSet("mine", codes, ("top", "middle", "bottom"), ("#111111", "#222222", "#333333"))


def graph_of(adata):
    return spatial_graph(adata.obsm["spatial"], n_neighbors=6)[0]


def portrait(adata, labels, chosen, **given):
    steps = portraying(adata, labels, chosen, graph=graph_of(adata), **given)
    around = next(steps)
    with pytest.raises(StopIteration) as end:
        next(steps)
    return around, end.value.value


def test_the_counts_and_z_scores_are_squidpys(section, labels):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import squidpy as sq

        section.obs["mine"] = labels.categorical()
        section.obsp["spatial_connectivities"] = graph_of(section)
        sq.gr.nhood_enrichment(
            section, "mine", n_perms=4_000, seed=0, n_jobs=1, show_progress_bar=False
        )
    theirs = section.uns["mine_nhood_enrichment"]
    contacts = Contacts.of(labels.categorical(), graph_of(section))
    np.testing.assert_array_equal(contacts.counts, theirs["count"])
    np.testing.assert_allclose(contacts.z_scores(), theirs["zscore"], rtol=0.06, atol=0.06)


def test_the_moments_are_those_of_all_permutations():
    from itertools import permutations

    graph = sp.csr_matrix(np.random.default_rng(1).random((6, 6)) < 0.4)
    codes = np.array([0, 0, 0, 1, 1, 2])
    names = list("abc")
    drawn = np.array(
        [
            Contacts.of(pd.Categorical.from_codes(list(order), names), graph).counts
            for order in set(permutations(codes))
        ]
    )
    contacts = Contacts.of(pd.Categorical.from_codes(codes, names), graph)
    np.testing.assert_allclose(contacts.expected(), drawn.mean(axis=0), atol=1e-12)
    spread = drawn.std(axis=0)
    expected = np.divide(
        contacts.counts - drawn.mean(axis=0), spread, where=spread > 0, out=np.zeros((3, 3))
    )
    np.testing.assert_allclose(contacts.z_scores(), expected, atol=1e-9)


def test_neighbours_in_space_are_borders(section, labels):
    contacts = Contacts.of(labels.categorical(), graph_of(section))
    table = borders(contacts, list(labels.names), [0])
    assert table["cluster"].tolist() == ["middle", "bottom"]
    assert table["contacts"].tolist() == contacts.counts[0, 1:].tolist()
    assert table["contacts"][0] > 0 == table["contacts"][1]
    assert table["share"].tolist() == [1, 0]
    n = contacts.counts[0, 1]
    expected = np.log2([(n + 1) / (n / 2 + 1), 1 / (n / 2 + 1)])
    np.testing.assert_allclose(table["log2_ratio"], expected)
    together = borders(contacts, list(labels.names), [0, 1])
    assert together["contacts"].tolist() == [contacts.counts[1, 2]]


def test_surroundings_count_the_neighbours_types(section, labels):
    around = surroundings(section, labels, graph_of(section))
    assert around.of == "celltype"
    assert around.counts.to_numpy().sum() == 6 * N
    assert around.enrichment.loc["middle"].idxmax() == "B"
    table = around.table()
    assert list(table) == ["cluster", "neighbor", "log2_enrichment", "count"]
    row = table[(table["cluster"] == "middle") & (table["neighbor"] == "B")].iloc[0]
    assert row["count"] == around.counts.loc["middle", "B"]
    assert row["log2_enrichment"] == around.enrichment.loc["middle", "B"]


def test_without_cell_types_the_clusters_surround_each_other(section, labels):
    del section.obs["celltype"]
    around = surroundings(section, labels, graph_of(section))
    assert around.of == ""
    assert around.enrichment.columns.tolist() == list(labels.names)


def test_a_planted_gene_is_the_first_marker(section, labels):
    _, found = portrait(section, labels, (1,))
    first = found.markers.iloc[0]
    assert first["gene"] == "g1"
    assert first["log2_fold_change"] > 1
    counts = section.X[:, 1].toarray().ravel() > 0
    assert first["share"] == counts[80:160].mean()
    assert first["share_rest"] == np.delete(counts, np.arange(80, 160)).mean()
    assert "g5" not in found.markers["gene"].tolist()  # in three cells only
    dense = section.copy()
    dense.X = section.X.toarray()
    again = portrait(dense, labels, (1,))[1].markers
    np.testing.assert_allclose(again["score"], found.markers["score"], rtol=1e-4)


def test_few_cells_have_no_markers_but_all_else(section):
    codes = np.zeros(N, np.int32)
    codes[: MIN_CELLS - 1] = 1
    few = LabelSet("few", codes, ("most", "some"), ("#111111", "#222222"))
    _, found = portrait(section, few, (1,))
    assert len(found.markers) == 0
    assert found.why_no_markers == f"The cluster has 9 cells; markers need at least {MIN_CELLS}."
    assert found.n_cells == 9
    assert portrait(section, few, (0,))[1].why_no_markers.startswith("The rest has 9 cells")


def test_where_and_how_certain(section, labels):
    section.obs["sample"] = pd.Categorical(np.where(np.arange(N) < 100, "left", "right"))
    section.obsm["spatial"][80] = np.nan
    certainty = np.linspace(0, 1, N)
    certainty[:5] = np.nan
    _, found = portrait(section, labels, (1,), certainty=certainty)
    assert found.places["section"].tolist() == ["right", "left"]
    assert found.places["cells"].tolist() == [60, 20]
    assert found.n_sections == 2
    assert found.places["width"].tolist() == [110, 110]
    assert found.mean_certainty == pytest.approx(certainty[80:160].mean())
    assert found.certainty["cells"].sum() == 80
    assert found.certainty["rest"].sum() == 155
    assert found.share == pytest.approx(1 / 3)
    _, unknown = portrait(section, labels, (1,))
    assert len(unknown.certainty) == 0
    assert np.isnan(unknown.mean_certainty)


def test_a_parent_stands_for_its_parts(section):
    codes = (np.arange(N) // 80).astype(np.int32) + 1
    names, colors = ("all", "one", "two", "other"), ("#111111",) * 4
    tree = LabelSet("tree", codes, names, colors, (-1, 0, 0, -1))
    around, found = portrait(section, tree, (0,))
    assert found.n_cells == 160
    assert found.chosen == (1, 2)
    assert found.borders["cluster"].tolist() == ["other"]
    assert around.enrichment.index.tolist() == ["one", "two", "other"]


def test_it_can_be_cancelled(section, labels):
    token = CancelToken()
    steps = portraying(section, labels, (0,), graph=graph_of(section), cancel=token)
    next(steps)
    token.cancel()
    with pytest.raises(Cancelled):
        next(steps)
