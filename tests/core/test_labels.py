"""Label sets: the tree of clusters, and what a hand does to it."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from napari_cellama.core.annotations import is_annotation, read_labels, write_labels
from napari_cellama.core.label_edits import assigned, in_order, merged, moved, split, with_cluster
from napari_cellama.core.labels import LabelSet, compared, made_up_of
from napari_cellama.core.palette import oklab, shades
from napari_cellama.errors import UserError
from same_labels import same_labels

COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c")


@pytest.fixture
def labels() -> LabelSet:
    """Return twelve cells in clusters of 5, 4 and 2, one without a label."""
    codes = np.array([0] * 5 + [1] * 4 + [2] * 2 + [-1], np.int32)
    return LabelSet("niche", codes, ("1", "2", "3"), COLORS)


def name_of_cells(labels: LabelSet) -> list[str]:
    return [labels.names[code] if code >= 0 else "-" for code in labels.codes]


def test_a_split_cluster_is_the_parent_of_its_parts(labels):
    found = split(labels, labels.mask(0), np.array([0, 0, 1, 1, 1]))
    assert found.names == ("1", "1.1", "1.2", "2", "3")
    assert found.parents == (-1, 0, 0, -1, -1)
    assert name_of_cells(found)[:6] == ["1.1", "1.1", "1.2", "1.2", "1.2", "2"]
    assert found.sizes.tolist() == [0, 2, 3, 4, 2]
    assert found.totals.tolist() == [5, 2, 3, 4, 2]
    assert found.mask(0).sum() == 5
    assert found.mask(1).sum() == 2
    assert found.is_group == (True, False, False, False, False)
    assert found.flat().names == ("1.1", "1.2", "2", "3")
    assert list(found.categorical()[:3]) == ["1.1", "1.1", "1.2"]
    assert found.categorical().isna().sum() == 1


def test_a_part_is_split_again_and_the_order_stays_that_of_a_tree(labels):
    once = split(labels, labels.mask(0), np.array([0, 0, 1, 1, 1]))
    twice = split(once, once.mask(2), np.array([1, 0, 0]))
    assert twice.names == ("1", "1.1", "1.2", "1.2.1", "1.2.2", "2", "3")
    assert twice.parents == (-1, 0, 0, 2, 2, -1, -1)
    assert twice.family(0) == [0, 1, 2, 3, 4]
    assert twice.parts(0) == [1, 2]
    assert twice.ancestors(4) == [2, 0]
    assert twice.totals[0] == 5


def test_splitting_anew_replaces_the_parts_and_takes_their_names(labels):
    once = split(labels, labels.mask(0), np.array([0, 0, 1, 1, 1]))
    anew = split(once, once.mask(0), np.array([0, 1, 2, 2, 2]))
    assert anew.names == ("1", "1.1", "1.2", "1.3", "2", "3")
    assert anew.sizes.tolist() == [0, 1, 1, 3, 4, 2]


def test_a_part_of_a_cluster_leaves_the_rest_with_the_parent(labels):
    cells = labels.mask(0)
    cells[0] = False
    found = split(labels, cells, np.array([0, 0, 1, -1]))
    assert found.names[:3] == ("1", "1.1", "1.2")
    assert found.sizes[:3].tolist() == [2, 2, 1]
    assert found.flat() is found


def test_cells_of_several_clusters_become_a_cluster_of_their_own(labels):
    whole = split(labels, labels.mask(0, 2), np.arange(7) % 2)
    assert whole.names == ("2", "1 + 3", "1 + 3.1", "1 + 3.2")
    some = np.zeros(12, bool)
    some[[0, 5, 11]] = True
    lasso = split(labels, some, np.array([0, 1, 1]))
    assert lasso.names == ("1", "2", "3", "Selection", "Selection.1", "Selection.2")
    assert lasso.sizes.tolist() == [4, 3, 2, 0, 1, 2]


def test_merging_keeps_the_largest(labels):
    found = merged(labels, [1, 2])
    assert found.names == ("1", "2")
    assert found.colors == COLORS[:2]
    assert found.sizes.tolist() == [5, 6]
    assert name_of_cells(found)[-1] == "-"
    with pytest.raises(UserError, match="two or more"):
        merged(labels, [1])


def test_merging_all_parts_undoes_the_split(labels):
    once = split(labels, labels.mask(0), np.array([0, 0, 1, 1, 1]))
    assert same_labels(merged(once, [1, 2]), labels)
    assert same_labels(merged(once, [0]), labels)


def test_assigning_drops_what_it_empties_but_not_what_was_empty(labels):
    empty = LabelSet("x", labels.codes, (*labels.names, "nobody"), (*COLORS, "#000000"))
    found = assigned(empty, empty.mask(2), 0)
    assert found.names == ("1", "2", "nobody")
    assert found.sizes.tolist() == [7, 4, 0]
    cleared = assigned(labels, labels.mask(0), -1)
    assert cleared.names == ("2", "3")
    assert (cleared.codes == -1).sum() == 6


def test_a_new_cluster_has_a_name_and_colour_that_nobody_has(labels):
    cells = np.arange(12) < 3
    found = with_cluster(with_cluster(labels, cells), ~cells & (np.arange(12) < 5))
    assert found.names == ("2", "3", "New cluster", "New cluster 2")
    assert len(set(found.colors)) == 4


def test_order(labels):
    once = split(labels, labels.mask(1), np.array([0, 0, 1, 1]))
    down = moved(once, 0, 1)
    assert down.names == ("2", "2.1", "2.2", "1", "3")
    assert down.parents == (-1, 0, 0, -1, -1)
    assert down.mask(3).tolist() == labels.mask(0).tolist()
    assert moved(once, 0, -1) is once
    assert moved(once, 3, -1).names == ("1", "2", "2.2", "2.1", "3")
    assert in_order(labels, [2, 0, 1]).names == ("3", "1", "2")


def test_what_cells_are_made_up_of(labels):
    once = split(labels, labels.mask(0), np.array([0, 0, 1, 1, 1]))
    assert made_up_of(once, once.mask(1, 2, 4)) == [0, 4]
    assert made_up_of(once, once.mask(1)) == [1]
    some = once.mask(1, 4)
    some[0] = False
    assert made_up_of(once, some) == []
    assert made_up_of(once, np.ones(12, bool)) == []
    assert made_up_of(once, np.zeros(12, bool)) == []


def test_comparison_counts_pairs(labels):
    other = LabelSet("b", np.roll(labels.codes, 1), ("x", "y", "z"), COLORS)
    table, agreement = compared(labels, other)
    assert table.loc["1", "x"] == 4
    assert table.loc["2", "x"] == 1
    assert table.to_numpy().sum() == 10
    assert 0 < agreement < 1
    assert compared(labels, labels)[1] == 1
    nobody = LabelSet("n", np.full(12, -1, np.int32), ("x",), COLORS[:1])
    assert np.isnan(compared(labels, nobody)[1])


def test_the_tree_survives_a_file(labels, tmp_path):
    once = split(labels, labels.mask(0), np.array([0, 0, 1, 1, 1])).renamed(0, "White matter")
    adata = ad.AnnData(np.ones((12, 1), np.float32))
    assert "uns/cellama" in write_labels(adata, once)
    adata.write_h5ad(tmp_path / "x.h5ad")
    read = ad.read_h5ad(tmp_path / "x.h5ad")
    assert list(read.obs["niche"].cat.categories) == ["1.1", "1.2", "2", "3"]
    assert len(read.uns["niche_colors"]) == 4
    assert is_annotation(read, "niche")
    assert same_labels(read_labels(read, "niche"), once)
    read.obs["niche"] = pd.Categorical(["other"] * 12)
    assert read_labels(read, "niche").names == ("other",)


def test_what_a_run_found_leaves_no_record_of_an_older_tree(labels):
    adata = ad.AnnData(np.ones((12, 1), np.float32))
    write_labels(adata, split(labels, labels.mask(0), np.array([0, 0, 1, 1, 1])))
    write_labels(adata, labels)
    assert not is_annotation(adata, "niche")


def test_shades_are_of_the_colour_and_different():
    for color in ("#1f77b4", "#ffff00", "#000000", "#d62728"):
        found = shades(color, 6)
        assert len(set(found)) == 6
        rgb = np.array([list(bytes.fromhex(shade[1:])) for shade in found]) / 255
        light = oklab(rgb)[:, 0]
        assert (np.diff(light) > 0.03).all()
