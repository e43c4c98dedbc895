"""Colours from arrays: what every cell gets, and what the legend says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from napari_cellama.core.labels import LabelSet
from napari_cellama.errors import UserError
from napari_cellama.ui.painting import (
    FADED,
    UNKNOWN,
    check_coloring,
    gene_values,
    legend_of,
    paint,
    values_of,
)
from napari_cellama.ui.tissue import Coloring, Tissue

TYPES = Coloring("obs", "celltype")


def rgb_of(color):
    return np.array(list(bytes.fromhex(color[1:]))) / 255


def test_categories_have_the_colours_that_the_data_bring(tissue):
    painted = paint(tissue, TYPES)
    assert painted.rgba.shape == (tissue.n_obs, 4)
    assert painted.rgba.dtype == np.float32
    labels = tissue.label_set("celltype")
    expected = [rgb_of(labels.colors[code]) for code in labels.codes]
    np.testing.assert_allclose(painted.rgba[:, :3], expected, atol=1e-6)
    assert (painted.rgba[:, 3] == 1).all()


def test_the_legend_names_counts_and_colours_the_categories(tissue):
    legend = legend_of(tissue, TYPES)
    assert legend.kind == "categorical"
    assert legend.title == "celltype"
    assert legend.names == tuple(tissue.snapshot.obs["celltype"].cat.categories)
    assert legend.colors == tuple(tissue.snapshot.uns["celltype_colors"])
    counts = tissue.snapshot.obs["celltype"].value_counts()
    assert legend.counts == tuple(counts[name] for name in legend.names)
    assert legend.n_unknown == 0


@pytest.mark.parametrize("n_names", [4, 40, 254, 255, 256, 700])
def test_any_number_of_categories_has_its_own_colours(make_adata, n_names):
    adata = make_adata(800)
    codes = np.arange(800) % n_names
    adata.obs["group"] = pd.Categorical.from_codes(codes, [f"g{i}" for i in range(n_names)])
    adata.obs.loc[adata.obs_names[:3], "group"] = np.nan
    tissue = Tissue.from_adata(adata)
    selection = np.zeros(800, bool)
    selection[5] = True
    painted = paint(tissue, Coloring("obs", "group"))
    assert painted.legend.n_unknown == 3
    np.testing.assert_allclose(painted.rgba[:3], [UNKNOWN] * 3)
    colors = np.array([rgb_of(color) for color in tissue.label_set("group").colors])
    np.testing.assert_allclose(painted.rgba[3:, :3], colors[codes[3:]], atol=1e-6)
    faded = paint(tissue, Coloring("obs", "group"), selection).rgba
    np.testing.assert_allclose(faded[5], painted.rgba[5])
    np.testing.assert_allclose(faded[~selection], [FADED] * 799)


def test_an_edited_label_set_is_painted_as_edited(tissue):
    labels = LabelSet(
        "mine", np.arange(tissue.n_obs, dtype=np.int32) % 2, ("a", "b"), ("#010203",) * 2
    )
    tissue.labels["mine"] = labels.recolored(1, "#ff8000")
    painted = paint(tissue, Coloring("labels", "mine"))
    np.testing.assert_allclose(painted.rgba[1, :3], rgb_of("#ff8000"), atol=1e-6)
    assert painted.legend.colors == ("#010203", "#ff8000")


def test_no_cell_selected_shows_all_alike(tissue):
    none = np.zeros(tissue.n_obs, bool)
    np.testing.assert_array_equal(paint(tissue, TYPES, none).rgba, paint(tissue, TYPES).rgba)


def test_nothing_chosen_gives_one_plain_colour(tissue):
    painted = paint(tissue, None)
    assert len(np.unique(painted.rgba, axis=0)) == 1
    assert painted.legend.kind == "plain"


def test_numbers_run_through_the_colour_map_and_outliers_do_not_stretch_it(tissue):
    values = np.linspace(0, 1, tissue.n_obs)
    values[-1] = 1e6
    values[0] = np.nan
    tissue.snapshot.obs["score"] = values
    painted = paint(tissue, Coloring("obs", "score"))
    low, high = painted.legend.limits
    assert painted.legend.kind == "continuous"
    assert high < 2
    assert low >= 0
    brightness = painted.rgba[1:, :3].sum(axis=1)
    assert (np.diff(brightness) >= -0.02).all(), "viridis gets brighter all the way"
    assert brightness[-1] > brightness[0] + 1
    np.testing.assert_allclose(painted.rgba[0], UNKNOWN)
    assert painted.legend.n_unknown == 1


@pytest.mark.parametrize("values", [np.zeros(120), np.full(120, np.nan), np.full(120, np.inf)])
def test_numbers_that_do_not_differ_are_painted_too(tissue, values):
    tissue.snapshot.obs["score"] = values
    painted = paint(tissue, Coloring("obs", "score"))
    assert np.isfinite(painted.rgba).all()
    assert painted.legend.limits[0] < painted.legend.limits[1]


def test_a_rare_gene_is_not_cut_away_with_the_outliers(tissue):
    X = np.zeros((tissue.n_obs, 6), np.float32)
    X[7, 2] = 4
    tissue.snapshot.X = X
    painted = paint(tissue, Coloring("gene", "COL1A1"))
    assert painted.rgba[7, :3].sum() > painted.rgba[8, :3].sum() + 1


@pytest.mark.parametrize("column", ["bool", "string", "integer category", "nullable integer"])
def test_columns_are_categories_or_numbers_by_their_type(tissue, column):
    n = tissue.n_obs
    values, kind = {
        "bool": (np.arange(n) % 2 == 0, "categorical"),
        "string": (np.array(["x", "y"])[np.arange(n) % 2], "categorical"),
        "integer category": (pd.Categorical(np.arange(n) % 3), "categorical"),
        "nullable integer": (pd.array([None, *range(1, n)], dtype="Int64"), "continuous"),
    }[column]
    tissue.snapshot.obs["column"] = values
    assert legend_of(tissue, Coloring("obs", "column")).kind == kind


@pytest.mark.parametrize("make", [sp.csr_matrix, sp.csc_matrix, sp.csr_array, np.asarray])
def test_genes_are_read_from_any_matrix(tissue, make):
    dense = np.random.default_rng(0).poisson(0.5, (tissue.n_obs, 6)).astype(np.float32)
    tissue.snapshot.X = make(dense)
    for i, gene in enumerate(tissue.snapshot.var_names):
        np.testing.assert_array_equal(gene_values(tissue, gene), dense[:, i])


def test_repeated_entries_of_a_matrix_are_added(tissue):
    n = tissue.n_obs
    twice = sp.csr_matrix((np.ones(2), np.array([1, 1]), np.array([0, 2] + [2] * (n - 1))), (n, 6))
    tissue.snapshot.X = twice
    assert gene_values(tissue, "MS4A1")[0] == 2


def test_genes_are_read_from_layers_raw_and_by_symbol(tissue):
    n = tissue.n_obs
    tissue.snapshot.layers["norm"] = sp.csr_matrix(np.full((n, 6), 3, np.float32))
    assert (gene_values(tissue, "ACTB", layer="norm") == 3).all()
    tissue.snapshot.var["gene_symbols"] = [f"symbol{i}" for i in range(6)]
    np.testing.assert_array_equal(gene_values(tissue, "symbol4"), gene_values(tissue, "ACTB"))
    np.testing.assert_array_equal(
        values_of(tissue, Coloring("gene", "symbol4")), gene_values(tissue, "ACTB")
    )


@pytest.mark.parametrize(
    ("coloring", "said"),
    [
        (Coloring("obs", "cell_type"), "did you mean 'celltype'"),
        (Coloring("labels", "nich"), "no label set or obs column named 'nich'"),
        (Coloring("gene", "cd3e"), "did you mean 'CD3E'"),
    ],
)
def test_unknown_names_are_refused_with_the_close_matches(tissue, coloring, said):
    with pytest.raises(UserError, match=said):
        check_coloring(tissue, coloring)


def test_genes_that_are_not_there_yet_are_refused(tissue):
    tissue.has_matrix = False
    with pytest.raises(UserError, match="still being read"):
        check_coloring(tissue, Coloring("gene", "CD3E"))
