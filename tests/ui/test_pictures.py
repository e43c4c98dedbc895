"""Pictures on the way, in the real window: painted in place, marked, kept, and never stale."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from qtpy.QtCore import Qt

from napari_cellama.core import mosaic, pipeline, refinement
from napari_cellama.core.events import Finished, Partial
from napari_cellama.core.fidelity import Fidelity
from napari_cellama.recipe import Recipe
from napari_cellama.ui.layers import show
from napari_cellama.ui.tissue import Coloring, Tissue
from napari_cellama.ui.widgets.niches import NichesDock

sys.path.append(str(Path(__file__).parents[1]))
from niches_hands import made_result
from small_sections import WordEncoder

LEFT = Qt.MouseButton.LeftButton


class Gated(WordEncoder):
    """Embeds until the gate's number of sentences, then waits to be let on."""

    gate, open = 10**9, threading.Event()

    def __init__(self) -> None:
        super().__init__()
        self.embedded = 0

    def encode(self, sentences, cancel):
        for rows, vectors in super().encode(sentences, cancel):
            while self.embedded >= Gated.gate and not Gated.open.wait(0.01):
                cancel.check()
            self.embedded += len(rows)
            yield rows, vectors


@pytest.fixture
def gate(monkeypatch):
    """Have runs embed without a model, and stop where a test says so."""
    monkeypatch.setattr(refinement, "FIRST", 60)
    monkeypatch.setattr(mosaic, "SMALL", 20)
    monkeypatch.setattr(refinement, "SMALL", 20)
    monkeypatch.setattr(Gated, "gate", 10**9)
    monkeypatch.setattr(Gated, "open", threading.Event())
    recipes = []

    def run_events(adata, recipe, *, cancel=None, earlier=()):
        recipes.append(recipe)
        return pipeline.run(adata, recipe, encoder=Gated(), cancel=cancel, earlier=earlier)

    monkeypatch.setattr("napari_cellama.api.run_events", run_events)
    yield recipes
    Gated.open.set()


@pytest.fixture
def dock(viewer, session, make_adata, qtbot):
    adata = make_adata(900, seed=3)
    # So many counts that hardly two cells rank their genes alike.
    adata.X = sp.csr_matrix(adata.X.toarray() + np.random.default_rng(0).poisson(6, adata.shape))
    tissue = Tissue.from_adata(adata, "large")
    show(viewer, tissue)
    dock = NichesDock(viewer)
    viewer.window.add_dock_widget(dock, name="Niches", area="right")
    qtbot.waitUntil(lambda: dock.form.recipe().cell_type_key == "celltype", timeout=20_000)
    recipe = dock.form.recipe().replace(mode="fast", n_landmarks=200, n_clusters=4, n_runs=5)
    dock.form.set_recipe(recipe)
    return dock


def start(dock, qtbot):
    qtbot.mouseClick(dock.foot.run_button, LEFT)


def test_fast_mode_paints_before_it_ends(dock, session, gate, viewer, qtbot, request):
    Gated.gate = 75
    remarks = []
    session.message.connect(lambda kind, text, details: remarks.append(text))
    start(dock, qtbot)
    tissue = session.active
    qtbot.waitUntil(lambda: "niche" in tissue.results, timeout=30_000)
    first = tissue.results["niche"]
    assert session.running is not None
    assert session.clusters.key == "niche"
    assert tissue.coloring == Coloring("labels", "niche")
    assert first.provenance["preliminary"]
    told = dock.foot.fidelity
    assert told.isVisible()
    assert "sentences embedded" in told.text.text()
    assert f"R² {first.fidelity.r2:.2f}" in told.text.text()
    assert not told.exact_button.isVisible()  # not while it runs
    _keep_picture(request, viewer, "first-picture")
    Gated.open.set()
    qtbot.waitUntil(lambda: session.running is None, timeout=30_000)
    last = tissue.results["niche"]
    assert "preliminary" not in last.provenance
    assert last.fidelity.n_exact > first.fidelity.n_exact
    assert told.exact_button.isVisible()
    assert last.fidelity.sentence in last.notices
    assert last.fidelity.sentence not in remarks  # the line above says it, and once is enough
    _keep_picture(request, viewer, "fast-done")


def test_run_exactly_is_one_click(dock, session, gate, qtbot):
    start(dock, qtbot)
    qtbot.waitUntil(lambda: bool(gate) and session.running is None, timeout=30_000)
    qtbot.mouseClick(dock.foot.fidelity.exact_button, LEFT)
    qtbot.waitUntil(lambda: len(gate) == 2 and session.running is None, timeout=30_000)
    assert gate[1] == gate[0].replace(mode="exact")
    assert session.active.results["niche"].fidelity is None
    assert not dock.foot.fidelity.isVisible()


def test_cancel_keeps_the_picture_marked_as_what_it_is(dock, session, gate, qtbot, tmp_path):
    Gated.gate = 75
    start(dock, qtbot)
    tissue = session.active
    qtbot.waitUntil(lambda: "niche" in tissue.results, timeout=30_000)
    painted = session.clusters
    qtbot.mouseClick(dock.foot.cancel_button, LEFT)
    qtbot.waitUntil(lambda: session.running is None, timeout=2_000)
    assert session.clusters is painted
    assert dock.foot.progress.text.text().startswith("Cancelled after")
    assert dock.foot.fidelity.isVisible()
    assert dock.foot.fidelity.exact_button.isVisible()
    stored = tissue.assemble().uns["cellama"]["runs"]["niche"]
    assert stored["preliminary"]
    assert Recipe.from_json(stored["recipe"]).mode == "fast"
    assert "picture on the way" in stored["notices"][0]


def test_repainting_leaves_what_the_user_looks_at(dock, session, gate, qtbot):
    Gated.gate = 75
    start(dock, qtbot)
    tissue = session.active
    qtbot.waitUntil(lambda: "niche" in tissue.results, timeout=30_000)
    first = session.clusters
    session.select(first.mask(1))
    session.color_by(Coloring("gene", "CD3E"))
    Gated.open.set()
    qtbot.waitUntil(lambda: session.running is None, timeout=30_000)
    assert tissue.coloring == Coloring("gene", "CD3E")
    assert np.array_equal(tissue.selection, first.mask(1))
    assert session.clusters is not first
    assert sorted(session.clusters.colors) == sorted(first.colors)
    assert session.clusters.names == first.names


def test_another_neighbourhood_embeds_nothing(dock, session, gate, qtbot):
    start(dock, qtbot)
    tissue = session.active
    qtbot.waitUntil(lambda: session.running is None and "niche" in tissue.results, timeout=30_000)
    first = tissue.results["niche"]
    Gated.gate = 0  # whatever is embedded now waits for ever
    dock.form.set_recipe(dock.form.recipe().replace(n_neighbors=12))
    start(dock, qtbot)
    qtbot.waitUntil(lambda: session.running is None, timeout=30_000)
    second = tissue.results["niche"]
    assert second.views[0].vectors is first.views[0].vectors
    assert (second.connectivities.getnnz(axis=1) == 12).all()
    assert (second.labels != first.labels).any()


def test_a_picture_of_a_run_that_was_replaced_is_dropped(
    dock, session, monkeypatch, make_adata, qtbot
):
    """The first run's picture comes after the second run has begun, and is not shown."""
    late, ready = threading.Event(), threading.Event()

    def run_events(adata, recipe, *, cancel=None, earlier=()):
        fidelity = Fidelity(0.9, 0.9, 0.9, 0.9, 100, 200, 700)
        if recipe.seed == 1:
            ready.set()
            late.wait(10)
            result = made_result(adata, recipe, 4)
            yield Partial(replace(result, fidelity=fidelity))
        else:
            yield Finished(made_result(adata, recipe, 2))

    monkeypatch.setattr("napari_cellama.api.run_events", run_events)
    recipe = dock.form.recipe()
    session.run(recipe.replace(seed=1))
    qtbot.waitUntil(ready.is_set)
    session.run(recipe.replace(seed=2))
    qtbot.waitUntil(lambda: session.clusters is not None)
    late.set()
    qtbot.wait(200)
    assert len(session.clusters.names) == 2
    assert not dock.foot.fidelity.isVisible()


def _keep_picture(request, viewer, name):
    """Keep a screenshot where the test run was asked for one."""
    folder = request.config.getoption("--screenshots")
    if folder:
        viewer.window.screenshot(str(Path(folder) / f"{name}.png"), canvas_only=False, flash=False)
