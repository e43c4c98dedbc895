"""Any 200 actions with undo and redo: states return, and what is shown is what is saved."""

from __future__ import annotations

import gc

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from napari.components import ViewerModel
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication, QVBoxLayout, QWidget

from napari_cellama.core.subclusters import Divided
from napari_cellama.errors import UserError
from napari_cellama.ui.actions import BY_ID, perform, selected_clusters
from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.layers import show
from napari_cellama.ui.layouts import Layout
from napari_cellama.ui.painting import paint
from napari_cellama.ui.selection import HOWS
from napari_cellama.ui.tissue import Coloring, Tissue
from napari_cellama.ui.widgets.cluster_model import Column
from napari_cellama.ui.widgets.clusters import ClustersDock
from napari_cellama.ui.widgets.embedding import EmbeddingDock
from same_labels import same_labels

N = 60
NUMBERS = st.integers(0, 10_000)


def section() -> ad.AnnData:
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {
            "celltype": pd.Categorical(rng.choice(["T cell", "B cell", "Stroma"], N)),
            "batch": pd.Categorical(rng.choice(["a", "b"], N)),
            "area": rng.uniform(0, 1, N),
        },
        index=[f"cell{i}" for i in range(N)],
    )
    obs.loc[obs.index[:3], "celltype"] = np.nan
    return ad.AnnData(
        np.ones((N, 2), np.float32), obs=obs, obsm={"spatial": rng.uniform(0, 100, (N, 2))}
    )


def same_state(one, other) -> bool:
    """Whether two states are alike, but for label sets that were only looked at."""
    keys = {key for key, labels in [*one.labels.items(), *other.labels.items()] if labels.edited}
    return (
        np.array_equal(one.selection, other.selection)
        and np.array_equal(one.hidden, other.hidden)
        and all(same_labels(one.labels.get(key), other.labels.get(key)) for key in keys)
    )


class Hands(RuleBasedStateMachine):
    """Does at random what users do, beside a plain list of the states there have been."""

    def __init__(self) -> None:
        super().__init__()
        self.viewer = ViewerModel()
        self.session = session_of(self.viewer)
        self.tissue = Tissue.from_adata(section(), "section")
        self.layer = show(self.viewer, self.tissue)
        self.session.show_clusters("celltype")
        self.host = QWidget()
        self.dock = ClustersDock(self.viewer)
        self.map = EmbeddingDock(self.viewer)
        column = QVBoxLayout(self.host)
        for dock in (self.dock, self.map):
            column.addWidget(dock)
        self.places = places = np.random.default_rng(1).normal(size=(N, 2)).astype(np.float32)
        places[5] = np.nan
        self.tissue.snapshot.uns["cellama"] = {"runs": {"run": {}}}
        self.tissue.layouts["X_run_umap"] = Layout("run", "X_run_umap", places, 0)
        self.map.refresh()
        self.states, self.now = [self.tissue.state], 0

    def teardown(self) -> None:
        for _ in range(self.now):
            self.session.undo()
        assert same_state(self.tissue.state, self.states[0])
        self.session.close()
        self.host.deleteLater()
        QApplication.sendPostedEvents(self.host, QEvent.Type.DeferredDelete.value)
        QApplication.processEvents()

    def do(self, act) -> None:
        """Act; what makes a step is the newest state, and what was undone is gone."""
        steps = self.session.active.history.names
        try:
            act()
        except UserError:
            assert self.tissue.history.names == steps
        if self.tissue.history.names != steps:
            del self.states[self.now + 1 :]
            self.states.append(self.tissue.state)
            self.now += 1

    def cluster(self, number: int) -> int:
        return number % len(self.session.clusters.names)

    @property
    def edit(self):
        return self.session.editing

    @rule(what=st.sampled_from(range(25)), one=NUMBERS, other=NUMBERS)
    def act(self, what, one, other):
        """Do one of everything, each as often; one rule, since Hypothesis leaves some rules out."""
        acts = (
            *(self.select, self.pick, self.click_row, self.press, self.rename, self.recolor),
            *(self.merge, self.merge_selected, self.move, self.keep_order, self.new_cluster),
            *(self.assign, self.subcluster, self.duplicate, self.rename_set, self.delete_set),
            *(self.show_clusters, self.color, self.fold, self.undo, self.redo),
            *(self.subcluster, self.assign, self.select, self.new_cluster),
        )
        if self.session.clusters.names or acts[what] in (self.undo, self.show_clusters):
            acts[what](one, other)

    # ---- selecting

    def select(self, one, other):
        mask = np.random.default_rng(one).random(N) < 0.3
        self.do(lambda: self.session.select(mask, HOWS[other % 4]))

    def pick(self, one, other):
        self.do(lambda: self.session.pick_cell(one % N, HOWS[other % 4]))

    def click_row(self, one, other):
        table = self.dock.table
        if rows := table.model().rowCount():
            self.do(lambda: table.selectRow(one % rows))

    def press(self, one, other):
        names = ("next", "previous", "leave", "isolate", "hide", "show", "flag")
        self.do(lambda: perform(self.session, BY_ID[names[one % len(names)]]))

    # ---- editing

    def rename(self, one, other):
        name = ("a", "b", "Ü 1", "3.1", "")[other % 5]
        self.do(lambda: self.edit.rename(self.cluster(one), name))

    def recolor(self, one, other):
        color = ("#102030", "#ff0000", "red")[other % 3]
        self.do(lambda: self.edit.recolor(self.cluster(one), color))

    def merge(self, one, other):
        self.do(lambda: self.edit.merge(list({self.cluster(one), self.cluster(other)})))

    def merge_selected(self, one, other):
        self.do(lambda: self.edit.merge(selected_clusters(self.session)))

    def move(self, one, other):
        self.do(lambda: self.edit.move(self.cluster(one), (-2, -1, 1, 2)[other % 4]))

    def keep_order(self, one, other):
        self.dock.table._sort_by((Column.NAME, Column.CELLS)[one % 2])
        self.do(self.dock.table._keep_order)

    def new_cluster(self, one, other):
        self.do(lambda: self.edit.new_cluster())

    def assign(self, one, other):
        self.do(lambda: self.edit.assign(-1 if other % 5 == 0 else self.cluster(one)))

    def subcluster(self, one, other):
        cells = self.tissue.selection
        if not cells.any() or len(self.session.clusters.names) > 12:
            return
        codes = np.random.default_rng(one).integers(0, 1 + other % 4, int(cells.sum()))
        codes = np.unique(codes, return_inverse=True)[1]
        divided = Divided(cells, codes, np.ones(len(codes), np.float32), {"n_cells": len(codes)})
        key = self.session.clusters.key
        self.do(lambda: self.session.dividing.take(self.tissue, key, divided))

    # ---- label sets and views

    def duplicate(self, one, other):
        if len(self.tissue.labels) < 6:
            self.do(lambda: self.edit.duplicate_set())

    def rename_set(self, one, other):
        self.do(lambda: self.edit.rename_set(("mine", "yours", "area", "x/y")[one % 4]))

    def delete_set(self, one, other):
        if len(self.tissue.labels) > 1:
            self.do(lambda: self.edit.delete_set())

    def show_clusters(self, one, other):
        keys = [*self.tissue.labels, "celltype", "batch"]
        self.do(lambda: self.session.show_clusters(keys[one % len(keys)]))

    def color(self, one, other):
        self.do(lambda: self.session.color_by(Coloring("obs", ("area", "celltype")[one % 2])))

    def fold(self, one, other):
        self.do(lambda: self.dock.table.tree.fold_all(bool(one % 2)))

    # ---- undo

    def undo(self, one, other):
        for _ in range(1 + one % 5):
            self.session.undo()
            self.now = max(0, self.now - 1)

    def redo(self, one, other):
        for _ in range(1 + one % 5):
            self.session.redo()
            self.now = min(len(self.states) - 1, self.now + 1)

    # ---- what always holds

    @invariant()
    def the_state_is_the_one_expected(self):
        assert same_state(self.tissue.state, self.states[self.now])

    @invariant()
    def the_tissue_is_painted_as_the_session_says(self):
        tissue = self.tissue
        painted = paint(tissue, tissue.coloring, tissue.selection, hidden=tissue.hidden)
        np.testing.assert_allclose(self.layer.face_color, painted.rgba, atol=1e-6)
        assert layers_of(self.viewer).legend_of(tissue) == painted.legend

    @invariant()
    def the_map_has_the_tissues_colors(self):
        placed = np.delete(np.arange(N), 5)
        data = self.map.canvas._markers._data  # what goes to the GPU, the selected ones last
        order = np.lexsort(data["a_position"][:, :2].T)
        expected = placed[np.lexsort(self.places[placed].T)]
        np.testing.assert_array_equal(data["a_position"][order, :2], self.places[expected])
        drawn = data["a_bg_color"][order]
        np.testing.assert_allclose(drawn, self.layer.face_color[expected], atol=1e-6)

    @invariant()
    def the_table_shows_the_clusters(self):
        labels, table = self.session.clusters, self.dock.table
        model = self.dock.model
        names = [model.index(row, Column.NAME).data() for row in range(model.rowCount())]
        assert names == list(labels.names)
        assert model.sizes.tolist() == labels.totals.tolist()
        assert sorted(table.clusters_in_order()) == list(range(len(names)))
        rows = table.selectionModel().selectedRows()
        if rows and not any(table.tree.is_folded(i) for i in range(len(names))):
            chosen = labels.mask(*(table.tree.cluster_of(row) for row in rows))
            assert np.array_equal(chosen, self.tissue.selection)
        assert self.dock.foot.count.text().startswith(f"{self.tissue.n_selected:,} of") or (
            self.tissue.n_selected == 0
        )

    @invariant()
    def what_would_be_saved_is_what_is_shown(self):
        saved = self.tissue.assemble()
        original = section().obs
        pd.testing.assert_frame_equal(saved.obs[original.columns], original)
        for key, labels in self.tissue.labels.items():
            flat = labels.flat()
            if labels.edited:
                codes = saved.obs[key].cat.codes.to_numpy()
                assert np.array_equal(codes, flat.codes)
                assert tuple(saved.obs[key].cat.categories) == flat.names
                assert tuple(saved.uns[f"{key}_colors"]) == flat.colors
        assert {key for key in saved.obs if key not in original} == {
            key for key, labels in self.tissue.labels.items() if labels.edited
        }

    @invariant()
    def the_tree_is_one(self):
        for labels in self.tissue.labels.values():
            assert len(set(labels.names)) == len(labels.names) == len(labels.colors)
            assert all(parent < i for i, parent in enumerate(labels.parents))
            assert labels.codes.min(initial=-1) >= -1
            assert labels.codes.max(initial=-1) < len(labels.names)
            order = [i for top in labels.parts(-1) for i in labels.family(top)]
            assert order == list(range(len(labels.names)))


@pytest.mark.usefixtures("qtbot")
def test_any_200_actions_return_to_the_same_state_and_nothing_ever_disagrees():
    run_state_machine_as_test(
        Hands,
        settings=settings(
            max_examples=2,
            phases=(Phase.generate,),
            stateful_step_count=200,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    gc.collect()
