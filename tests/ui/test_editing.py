"""The session's selection, edits and history, without a window."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_cellama import read, write
from napari_cellama.core.subclusters import Divided
from napari_cellama.errors import UserError
from napari_cellama.ui import commands
from napari_cellama.ui.session import Session
from napari_cellama.ui.tissue import Coloring, Tissue
from same_labels import same_labels


@pytest.fixture
def session(tissue):
    """Return a session with a tissue whose cell types are shown as clusters."""
    session = Session()
    session.add_tissue(tissue)
    session.show_clusters("celltype")
    yield session
    session.close()


def first(n_cells, n=120):
    return np.arange(n) < n_cells


def same_state(one: commands.State, other: commands.State) -> bool:
    keys = set(one.labels) | set(other.labels)
    return (
        one.clusters == other.clusters
        and np.array_equal(one.selection, other.selection)
        and np.array_equal(one.hidden, other.hidden)
        and all(same_labels(one.labels.get(key), other.labels.get(key)) for key in keys)
    )


def test_chosen_cells_replace_add_subtract_and_intersect(session, tissue):
    session.select(first(40))
    session.select(first(60) & ~first(20), "add")
    assert tissue.n_selected == 60
    session.select(first(10), "subtract")
    assert np.array_equal(tissue.selection, first(60) & ~first(10))
    session.select(first(30), "intersect")
    assert tissue.n_selected == 20
    session.select(first(5), "replace")
    assert tissue.n_selected == 5
    names = ["Select 40 cells", "Select 60 cells", "Select 50 cells", "Select 20 cells"]
    assert tissue.history.names == [*names, "Select 5 cells"]
    session.undo()
    session.undo()
    assert tissue.n_selected == 50
    session.redo()
    assert tissue.n_selected == 20


def test_the_callers_mask_is_not_kept(session, tissue):
    mask = first(5)
    session.select(mask)
    mask[:] = True
    assert tissue.n_selected == 5


def test_selecting_the_same_is_no_step(session, tissue):
    heard = []
    session.selection_changed.connect(heard.append)
    session.select(first(5))
    session.select(first(5))
    assert len(heard) == 1
    assert len(tissue.history.names) == 1


def test_a_pick_names_its_cluster(session, tissue):
    session.pick_cell(0)
    name = tissue.snapshot.obs["celltype"].iloc[0]
    assert tissue.history.undo_name == f"Select {name}"
    other = int(np.flatnonzero(tissue.snapshot.obs["celltype"] != name)[0])
    session.pick_cell(other, "add")
    assert tissue.history.undo_name.startswith("Add ")
    assert tissue.selection[[0, other]].all()


def test_every_edit_has_a_name_and_is_undone_and_redone(session, tissue):
    edit, states = session.editing, [tissue.state]

    def do(act, name):
        act()
        assert tissue.history.undo_name == name
        states.append(tissue.state)

    do(lambda: edit.rename(0, "White matter"), "Rename T cell to White matter")
    do(lambda: edit.recolor(1, "#123456"), "Recolour Fibroblast")
    do(lambda: edit.merge([0, 1]), "Merge White matter, Fibroblast")
    do(lambda: session.select(first(7)), "Select 7 cells")
    do(lambda: edit.new_cluster(), "Make New cluster of 7 cells")
    do(lambda: edit.assign(0), f"Assign 7 cells to {tissue.labels['celltype_edited'].names[0]}")
    do(lambda: edit.move(0, 1), f"Move {session.clusters.names[0]} down")
    do(lambda: edit.keep_order([1, 0, 2]), "Reorder the clusters")
    do(lambda: edit.hide(), "Hide 7 cells")
    do(lambda: session.select(first(20)), "Select 20 cells")
    do(lambda: edit.isolate(), "Isolate 20 cells")
    do(lambda: edit.isolate(), "Show hidden cells")
    do(lambda: edit.assign(-1), "Assign 20 cells to no cluster")
    do(lambda: edit.duplicate_set("try"), "Duplicate celltype_edited as try")
    do(lambda: edit.rename_set("trial"), "Rename try to trial")
    do(lambda: edit.delete_set(), "Delete trial")
    for state in states[-2::-1]:
        session.undo()
        assert same_state(tissue.state, state)
    assert tissue.history.undo_name is None
    session.undo()
    for state in states[1:]:
        session.redo()
        assert same_state(tissue.state, state)
    session.redo()
    assert tissue.history.redo_name is None


@pytest.fixture
def tissue(adata):
    """Return the tissue with its types in an order that is known."""
    order = ["T cell", "Fibroblast", "B cell", "Endothelium"]
    adata.obs["celltype"] = adata.obs["celltype"].cat.reorder_categories(order)
    return Tissue.from_adata(adata, "section")


def test_a_new_edit_after_undo_takes_the_redo_away(session, tissue):
    session.editing.rename(0, "a")
    session.undo()
    session.editing.rename(0, "b")
    assert tissue.history.redo_name is None


def test_undoing_shows_the_label_set_that_it_changes(session, tissue):
    session.editing.rename(0, "a")
    tissue.snapshot.obs["half"] = pd.Categorical(["x", "y"] * 60)
    session.show_clusters("half")
    session.undo()
    assert tissue.clusters == "celltype"
    assert tissue.coloring == Coloring("labels", "celltype")


def test_what_is_saved_is_what_is_shown_after_undo(session, tissue):
    session.editing.duplicate_set("mine")
    session.select(first(30))
    session.editing.new_cluster()
    assert "New cluster" in tissue.assemble().obs["mine"].cat.categories
    assert not tissue.saved
    session.undo()
    assert "New cluster" not in tissue.assemble().obs["mine"].cat.categories
    session.undo()
    session.undo()
    assert "mine" not in tissue.assemble().obs


def test_sets_of_a_run_or_of_the_user_are_not_renamed_or_deleted(session, tissue):
    for act in (session.editing.delete_set, lambda: session.editing.rename_set("other")):
        with pytest.raises(UserError, match="column of the opened data; duplicate it"):
            act()
    with pytest.raises(UserError, match="already a column"):
        session.editing.duplicate_set("area")
    with pytest.raises(UserError, match="without '/'"):
        session.editing.duplicate_set("a/b")


def test_without_a_selection_edits_say_what_is_missing(session):
    for act in (session.editing.new_cluster, session.editing.hide, session.editing.isolate):
        with pytest.raises(UserError, match="No cell is selected"):
            act()


def test_a_million_cells_are_undone_from_a_megabyte_a_step():
    codes = np.zeros(1_000_000, np.int32)
    from napari_cellama.core.label_edits import assigned
    from napari_cellama.core.labels import LabelSet

    labels = LabelSet("niche", codes, ("1", "2"), ("#000000", "#ffffff"))
    mask = np.zeros(1_000_000, bool)
    before = commands.State({"niche": labels}, "niche", mask, mask)
    history = commands.History()
    after = commands.State({"niche": labels.renamed(0, "a")}, "niche", mask, mask)
    history.record("Rename 1 to a", before, after)
    assert history.nbytes == 0
    cells = mask.copy()
    cells[:1000] = True
    edited = assigned(after.labels["niche"], cells, 1)
    history.record("Assign", after, commands.State({"niche": edited}, "niche", cells, mask))
    assert history.nbytes <= 1_200_000


def test_the_oldest_steps_go_when_memory_is_short(session, tissue, monkeypatch):
    monkeypatch.setattr(commands, "MOST_BYTES", 10 * (120 // 8))
    for n_cells in range(1, 31):
        session.select(first(n_cells))
    assert len(tissue.history.names) == 10
    assert tissue.history.undo_name == "Select 30 cells"


# ---- edits while a subclustering is on


def halves(cells):
    """Return what a subclustering into two finds of some cells."""
    parts = np.arange(cells.sum()) % 2
    return Divided(cells, parts, np.ones(len(parts), np.float32), {"n_cells": len(parts)})


def saved(tissue, key):
    return tissue.assemble().obs[key].astype(object).where(lambda values: values.notna(), "")


def test_clusters_may_be_edited_while_some_of_them_are_divided(session, tissue):
    session.editing.rename(0, "mine")
    cells = session.clusters.mask(0, 1)
    session.select(cells)
    key = session.clusters.key
    session.editing.merge([0, 1])
    session.editing.rename(session.clusters.codes[cells][0], "both")
    session.undo()
    session.dividing.take(tissue, key, halves(cells))
    names = saved(tissue, key)
    assert sorted(names[cells].value_counts().tolist()) == [cells.sum() // 2] * 2
    assert not set(names[cells]) & set(names[~cells])
    session.undo()
    assert saved(tissue, key)[cells].nunique() == 1
    while tissue.history.undo_name:
        session.undo()
    assert key not in tissue.assemble().obs
    while tissue.history.redo_name:
        session.redo()
    pd.testing.assert_series_equal(saved(tissue, key), names)


def test_parts_of_a_label_set_that_was_undone_meanwhile_are_not_lost_in_silence(session, tissue):
    told = []
    session.message.connect(lambda *message: told.append(message))
    session.editing.rename(0, "mine")
    key, cells = session.clusters.key, session.clusters.mask(1)
    session.undo()
    told.clear()
    session.dividing.take(tissue, key, halves(cells))
    assert key not in tissue.labels
    (kind, text, _) = told[0]
    assert kind == "info"
    assert repr(key) in text
    assert "divide" in text


def test_parts_of_parts_are_merged_across_parents_and_read_back(session, tissue, tmp_path):
    cells = session.clusters.mask(0)
    session.dividing.take(tissue, session.clusters.key, halves(cells))
    key, first_part = session.clusters.key, session.clusters.parts(0)[0]
    inner = session.clusters.mask(first_part)
    session.dividing.take(tissue, key, halves(inner))
    labels = session.clusters
    name = labels.names[labels.parts(first_part)[0]]
    assert name == f"{labels.names[0]}.1.1"
    other = len(labels.names) - 1
    with pytest.raises(UserError, match=repr(labels.names[other])):
        session.editing.rename(labels.parts(first_part)[0], labels.names[other])
    together = labels.mask(labels.parts(first_part)[0], other)
    session.editing.merge([labels.parts(first_part)[0], other])
    assert saved(tissue, key)[together].nunique() == 1
    write(tissue.assemble(), tmp_path / "x.h5ad")
    again = Tissue.from_adata(read(tmp_path / "x.h5ad"))
    assert same_labels(again.label_set(key), session.clusters)
