"""The Niches dock in the real window, driven as a user drives it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import anndata as ad
import numpy as np
import pandas as pd
import psutil
import pytest
import scipy.sparse as sp
from napari.utils.theme import get_theme
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import (
    QApplication,
    QFileDialog,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
)
from superqt import QElidingLabel

from napari_cellama.core.events import Finished, Notice, Progress
from napari_cellama.core.graph import median_neighbor_count, median_neighbor_distance
from napari_cellama.core.result import NicheResult, View
from napari_cellama.errors import UserError
from napari_cellama.recipe import Recipe
from napari_cellama.ui import format as fmt
from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.layers import show
from napari_cellama.ui.tissue import Tissue
from napari_cellama.ui.widgets.niches import NichesDock

LEFT = Qt.MouseButton.LeftButton
#: Long enough for a model to load on a busy machine.
LOADING = 120_000


def open_dock(viewer, qtbot):
    dock = NichesDock(viewer)
    viewer.window.add_dock_widget(dock, name="Niches", area="right")
    qtbot.waitUntil(dock.isVisible)
    return dock


@pytest.fixture
def dock(viewer, session, qtbot):
    """Return the dock beside the tissue of 120 cells, once it has looked everything up."""
    dock = open_dock(viewer, qtbot)
    qtbot.waitUntil(lambda: "tokens" in dock.preview.remark.text(), timeout=20_000)
    qtbot.waitUntil(lambda: "about" in remark(dock, "radius"), timeout=20_000)
    qtbot.waitUntil(lambda: dock.form.recipe().cell_type_key == "celltype", timeout=20_000)
    return dock


def remark(dock, name):
    return dock.form.groups["Neighbourhood"].remarks[name].text()


def preview_text(dock):
    import re

    text = dock.preview.sentence.text().replace("\u200b", "").replace("</p>", " ")
    return re.sub("<[^>]*>", "", text).strip()


def click(qtbot, button):
    assert button.isEnabled(), button.toolTip()
    parent = button.parent()
    while parent is not None and not isinstance(parent, QScrollArea):
        parent = parent.parent()
    if parent is not None:
        QApplication.processEvents()
        parent.ensureWidgetVisible(button)
    qtbot.mouseClick(button, LEFT)


def type_number(qtbot, spin, number):
    spin.setFocus()
    spin.selectAll()
    qtbot.keyClicks(spin, f"{number}\t")


def made_result(adata, recipe, n_niches=3):
    """Return what a run might find: niches in stripes, the last cell left out."""
    n = adata.n_obs
    codes = np.arange(n) * n_niches // n
    codes[-1] = -1
    names = [str(i + 1) for i in range(n_niches)]
    empty = sp.csr_matrix((n, n), dtype=np.float32)
    return NicheResult(
        key=recipe.key_added,
        labels=pd.Categorical.from_codes(codes, names),
        colors=("#e41a1c", "#377eb8", "#4daf4a", "#984ea3")[:n_niches],
        confidence=np.ones(n, np.float32),
        representation=np.zeros((n, 2), np.float32),
        views=(View("cell", ("Top gene is A.",), np.zeros(n, int), np.ones((1, 4), np.float32)),),
        connectivities=empty,
        distances=empty,
        composition=pd.DataFrame(),
        left_out=np.array([""] * (n - 1) + ["no position"], object),
    )


class Script:
    """A run that does what a test says, step by step, instead of the model."""

    def __init__(self, monkeypatch):
        self.recipes, self.threads, self.closed = [], [], threading.Event()
        self.go = threading.Event()
        self.steps = [Progress("Embedding", 60, 120, "sentences")]
        self.error = None
        monkeypatch.setattr("napari_cellama.api.run_events", self)

    def __call__(self, adata, recipe, *, cancel=None, earlier=()):
        self.recipes.append(recipe)
        try:
            for step in self.steps:
                self.threads.append(threading.get_ident())
                yield step
            while not self.go.wait(0.01):
                cancel.check()
            if self.error is not None:
                raise self.error
            yield Finished(made_result(adata, recipe))
        finally:
            self.closed.set()


@pytest.fixture
def script(monkeypatch):
    script = Script(monkeypatch)
    yield script
    script.go.set()


# ---- the data


def test_without_a_tissue_it_says_what_to_do(viewer, qtbot):
    dock = open_dock(viewer, qtbot)
    assert dock.data.empty.isVisible()
    assert "Open tissue" in dock.data.empty.text()
    assert "Open Sample" in dock.data.empty.text()
    assert not dock.data.tissues.isVisible()
    for button in (dock.foot.run_button, dock.foot.cancel_button, dock.data.save_button):
        assert not button.isEnabled()
        assert button.toolTip()
    assert dock.foot.run_button.toolTip() == "Open a tissue first."


def test_it_shows_the_data_and_a_sensible_guess(dock):
    assert "120 cells · 6 genes" in dock.data.tissues.currentText()
    assert dock.form.editors["cell_type_key"].native.currentText() == "celltype (4)"
    assert dock.form.editors["library_key"].native.currentText() == "one section"
    recipe = dock.form.recipe()
    assert (recipe.cell_type_key, recipe.library_key) == ("celltype", None)
    assert dock.form.editors["device"].native.currentText().startswith("auto · ")
    assert dock.foot.run_button.isEnabled()


def test_the_guess_follows_the_tissue_that_is_chosen(dock, viewer, qtbot, make_adata):
    other = make_adata(90, sections=3)
    other.obs = other.obs.rename(columns={"celltype": "cell_class"})
    show(viewer, Tissue.from_adata(other, "other"))
    qtbot.waitUntil(lambda: dock.form.recipe().cell_type_key == "cell_class")
    assert dock.form.editors["library_key"].native.currentText() == "sample (3)"
    assert dock.data.tissues.currentText().startswith("other · 90 cells")
    dock.data.tissues.setFocus()
    qtbot.keyClick(dock.data.tissues, Qt.Key.Key_Up)
    qtbot.waitUntil(lambda: dock.form.recipe().cell_type_key == "celltype")
    assert session_of(viewer).active.n_obs == 120


def test_opening_a_file_from_the_dock(viewer, qtbot, make_adata, tmp_path, monkeypatch):
    path = tmp_path / "section.h5ad"
    make_adata(80).write_h5ad(path)
    dock = open_dock(viewer, qtbot)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: (str(path), ""))
    dock.data.open_button.menu().actions()[0].trigger()
    qtbot.waitUntil(lambda: "80 cells" in dock.data.tissues.currentText())
    qtbot.waitUntil(lambda: "Top genes" in preview_text(dock), timeout=20_000)
    qtbot.waitUntil(dock.foot.run_button.isEnabled)


def test_opening_a_zarr_folder_from_the_dock(viewer, qtbot, make_adata, tmp_path, monkeypatch):
    path = tmp_path / "section.zarr"
    make_adata(70).write_zarr(path)
    dock = open_dock(viewer, qtbot)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, **__: str(path))
    dock.data.open_button.menu().actions()[1].trigger()
    qtbot.waitUntil(lambda: "70 cells" in dock.data.tissues.currentText())
    qtbot.waitUntil(dock.foot.run_button.isEnabled, timeout=20_000)


def test_what_cannot_be_opened_is_one_sentence(viewer, qtbot, tmp_path, monkeypatch):
    path = tmp_path / "broken.h5ad"
    path.write_text("not HDF5")
    dock = open_dock(viewer, qtbot)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: (str(path), ""))
    dock.data.open_button.menu().actions()[0].trigger()
    assert dock.foot.message.isVisible()
    assert "broken.h5ad" in dock.foot.message.sentence.text()
    assert "Traceback" not in dock.foot.message.sentence.text()


def choose_in_dialog(qtbot, path):
    """Type a path into the save dialog that is about to open, and confirm."""

    def act():
        dialog = next(w for w in QApplication.topLevelWidgets() if isinstance(w, QFileDialog))
        edit = dialog.findChild(QLineEdit)
        edit.setText(str(path))
        qtbot.keyClick(edit, Qt.Key.Key_Return)

    QTimer.singleShot(300, act)


def test_saving_fills_the_file(dock, session, script, qtbot, tmp_path):
    script.go.set()
    click(qtbot, dock.foot.run_button)
    qtbot.waitUntil(lambda: session.clusters is not None)
    qtbot.waitUntil(lambda: session.running is None)
    choose_in_dialog(qtbot, tmp_path / "out")
    click(qtbot, dock.data.save_button)
    qtbot.waitUntil(lambda: "Saved" in dock.foot.message.sentence.text(), timeout=20_000)
    assert list(ad.read_h5ad(tmp_path / "out.h5ad").obs["niche"].cat.categories) == list("123")
    assert dock.data.save_button.isEnabled()


def test_writing_back_to_the_notebook(dock, session, script, qtbot, adata):
    script.go.set()
    click(qtbot, dock.foot.run_button)
    qtbot.waitUntil(lambda: session.clusters is not None)
    assert "niche" not in adata.obs
    click(qtbot, dock.data.write_button)
    assert list(adata.obs["niche"].cat.categories) == list("123")
    assert "Written to the AnnData" in dock.foot.message.sentence.text()


# ---- the form


def test_no_cell_types_is_a_choice(dock, qtbot):
    assert "celltype of this cell is Fibroblast" in preview_text(dock)
    combo = dock.form.editors["cell_type_key"].native
    combo.setFocus()
    qtbot.keyClick(combo, Qt.Key.Key_End)
    assert combo.currentText() == "none"
    assert dock.form.recipe().cell_type_key is None
    qtbot.waitUntil(lambda: preview_text(dock).startswith("Top genes are"))


def test_neighbours_say_how_far_or_how_many(dock, qtbot, adata):
    coords = adata.obsm["spatial"]
    far = fmt.distance(median_neighbor_distance(coords, 20), "µm")
    assert remark(dock, "radius") == f"about {far}"
    type_number(qtbot, dock.form.editors["n_neighbors"].native, 6)
    near = fmt.distance(median_neighbor_distance(coords, 6), "µm")
    qtbot.waitUntil(lambda: remark(dock, "radius") == f"about {near}")
    qtbot.keyClick(dock.form.editors["radius"].word.native, Qt.Key.Key_Down)
    radius = dock.form.recipe().radius
    assert radius == pytest.approx(median_neighbor_distance(coords, 6), rel=0.01)
    number = fmt.count(int(median_neighbor_count(coords, radius)), "cell")
    qtbot.waitUntil(lambda: remark(dock, "radius").endswith(f"about {number}"))


def test_the_preview_follows_clicks(dock, viewer, session, tissue, canvas, qtbot):
    assert dock.preview.remark.text().startswith("cell 0 · ")
    before = preview_text(dock)
    canvas(viewer).click(layers_of(viewer).layer_of(tissue), 57)
    qtbot.waitUntil(lambda: dock.preview.remark.text().startswith("cell 57 · "))
    assert preview_text(dock) != before
    assert "'cell57'" in dock.preview.remark.toolTip()


def test_before_any_click_the_preview_shows_a_cell_that_takes_part(dock, viewer, qtbot, make_adata):
    other = make_adata(90)
    other.obsm["spatial"][:5] = np.nan
    show(viewer, Tissue.from_adata(other, "other"))
    qtbot.waitUntil(lambda: dock.preview.remark.text().startswith("cell 5 · "), timeout=10_000)
    assert preview_text(dock).startswith("Top genes are")


def test_the_preview_follows_the_form_and_counts_tokens(dock, qtbot, adata):
    from napari_cellama.core.resolve import resolve
    from napari_cellama.core.sentences import sentence_of
    from napari_cellama.io.models import BUNDLED, TokenCounter, resolve_model

    type_number(qtbot, dock.form.editors["n_top_genes"].native, 2)
    qtbot.keyClicks(dock.form.editors["neighbors_in"].native, "written")
    dock.form.editors["obs_features"].menu.actions()[1].trigger()
    recipe = dock.form.recipe()
    assert (recipe.n_top_genes, recipe.neighbors_in) == (2, "sentence")
    assert recipe.obs_features == ("area",)
    ((_, sentence),) = sentence_of(adata, resolve(adata, recipe), 0)
    assert "area of this cell is" in sentence
    qtbot.waitUntil(lambda: preview_text(dock) == sentence)
    counter = TokenCounter(resolve_model(BUNDLED).path)
    (number,) = counter.count([sentence])
    assert dock.preview.remark.text() == f"cell 0 · {number} of {counter.limit} tokens"


def test_a_model_that_is_not_here_is_not_fetched_for_the_preview(dock, qtbot):
    dock.form.editors["model"].value = "someone/some-model"
    qtbot.waitUntil(lambda: "once the model is here" in dock.preview.remark.text())


def test_what_cannot_be_is_said_at_once(dock, qtbot):
    edit = dock.form.editors["key_added"].native
    dock.form.advanced.expand(animate=False)
    edit.setFocus()
    edit.selectAll()
    qtbot.keyClicks(edit, "a/b")
    assert not dock.foot.run_button.isEnabled()
    assert "key_added" in dock.foot.run_button.toolTip()
    assert "key_added" in preview_text(dock)
    edit.selectAll()
    qtbot.keyClicks(edit, "ab")
    assert dock.foot.run_button.isEnabled()


def test_a_recipe_goes_to_a_file_and_back(dock, qtbot, tmp_path, monkeypatch):
    path = tmp_path / "recipe.json"
    dock.form.editors["n_clusters"].value = 5
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, **__: (str(path), ""))
    dock.form.advanced.expand(animate=False)
    click(qtbot, dock.save_button)
    assert Recipe.from_file(path) == dock.form.recipe()
    dock.form.editors["n_clusters"].value = "auto"
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: (str(path), ""))
    click(qtbot, dock.load_button)
    assert dock.form.recipe().n_clusters == 5
    path.write_text("{")
    click(qtbot, dock.load_button)
    assert "not valid JSON" in dock.foot.message.sentence.text()


@pytest.mark.parametrize(("theme", "width"), [("dark", 1280), ("light", 1920)])
def test_nothing_is_cut_and_nothing_scrolls_sideways(dock, viewer, session, qtbot, theme, width):
    viewer.theme = theme
    viewer.window._qt_window.resize(width, 800)
    dock.form.advanced.expand(animate=False)
    dock.form.editors["model"].value = "someone/some-model"
    session.message.emit("error", "A sentence that is long enough for two lines. " * 2, "Why.")
    qtbot.wait(100)
    assert 340 <= dock.width() <= 420
    assert dock.form.width() == dock.scroll.viewport().width()
    texts = [*dock.findChildren(QLabel), *dock.findChildren(QPushButton)]
    shown = [text for text in texts if text.isVisible() and text.text()]
    assert len(shown) > 30
    for text in shown:
        if isinstance(text, QLabel) and text.wordWrap():
            assert text.height() >= text.heightForWidth(text.width()), text.text()
        elif not isinstance(text, QElidingLabel) and text.objectName() != "columns":
            assert text.width() >= text.minimumSizeHint().width(), text.text()
            assert text.height() >= text.minimumSizeHint().height(), text.text()


def test_the_dock_wears_napari_s_theme(dock, viewer, qtbot):
    sheets = []
    for theme in ("dark", "light"):
        viewer.theme = theme
        sheets.append(dock.styleSheet())
        assert get_theme(theme).current.as_rgb() in dock.styleSheet()
        assert "{{" not in dock.styleSheet()
    assert sheets[0] != sheets[1]


def test_a_dock_that_was_closed_hears_nothing_more(dock, viewer, session, qtbot):
    dock.foot.message.add("warning", "before")
    viewer.window.remove_dock_widget(dock)
    dock.deleteLater()
    QApplication.sendPostedEvents(dock, QEvent.Type.DeferredDelete)
    session.message.emit("error", "after", "")
    session.pick_cell(3)
    viewer.theme = "light"
    again = open_dock(viewer, qtbot)
    qtbot.waitUntil(lambda: again.preview.remark.text().startswith("cell 3 · "))
    assert not again.foot.message.isVisible()


# ---- running


def test_run_shows_progress_and_then_a_summary(dock, session, script, qtbot):
    click(qtbot, dock.foot.run_button)
    line = dock.foot.progress
    qtbot.waitUntil(lambda: line.text.text().startswith("Embedding · 60 of 120"))
    assert line.bar.isVisible()
    assert line.bar.value() == 500
    assert dock.foot.cancel_button.isEnabled()
    script.go.set()
    qtbot.waitUntil(lambda: line.text.text().startswith("3 niches in 119 cells · 1 left out"))
    assert not line.bar.isVisible()


def test_a_run_says_where_to_go_on(dock, viewer, session, script, qtbot):
    """Also to who has opened this dock alone."""
    assert not dock.foot.next_button.isVisible()
    script.go.set()
    click(qtbot, dock.foot.run_button)
    qtbot.waitUntil(dock.foot.next_button.isVisible)
    click(qtbot, dock.foot.next_button)
    clusters = viewer.window.dock_widgets["Clusters (CELLama)"]
    qtbot.waitUntil(lambda: not clusters.visibleRegion().isEmpty())
    assert clusters.model.rowCount() == 3
    qtbot.waitUntil(lambda: not dock.foot.cancel_button.isEnabled())
    assert session.clusters.key == "niche"
    assert script.recipes == [dock.form.recipe()]


def test_nothing_of_a_run_happens_on_the_main_thread(dock, session, script, qtbot):
    script.go.set()
    click(qtbot, dock.foot.run_button)
    qtbot.waitUntil(lambda: session.clusters is not None)
    assert script.threads
    assert threading.main_thread().ident not in script.threads


def test_cancel_stops_at_once_and_keeps_what_was_painted(dock, session, script, qtbot):
    script.go.set()
    click(qtbot, dock.foot.run_button)
    qtbot.waitUntil(lambda: session.clusters is not None)
    qtbot.waitUntil(lambda: session.running is None)
    painted = session.clusters
    script.go.clear()
    script.closed.clear()
    click(qtbot, dock.foot.run_button)
    qtbot.waitUntil(lambda: len(script.recipes) == 2)
    click(qtbot, dock.foot.cancel_button)
    qtbot.waitUntil(lambda: session.running is None, timeout=1000)
    assert script.closed.is_set()
    assert dock.foot.progress.text.text().startswith("Cancelled after")
    assert session.clusters is painted
    assert dock.foot.run_button.isEnabled()


def test_a_second_run_asks_before_it_replaces_the_first(dock, session, script, qtbot):
    click(qtbot, dock.foot.run_button)
    qtbot.waitUntil(lambda: len(script.recipes) == 1)
    first = session.running
    click(qtbot, dock.foot.run_button)
    assert dock.foot.question.isVisible()
    assert not dock.foot.run_button.isVisible()
    click(qtbot, dock.foot.no_button)
    assert session.running is first
    assert dock.foot.run_button.isVisible()
    dock.form.editors["key_added"].value = "second"
    click(qtbot, dock.foot.run_button)
    click(qtbot, dock.foot.yes_button)
    assert first.token.cancelled
    assert session.running is not first
    script.go.set()
    qtbot.waitUntil(lambda: session.running is None)
    assert list(session.active.results) == ["second"], "the stale result is dropped"


def test_the_question_goes_away_when_the_run_ends_by_itself(dock, session, script, qtbot):
    click(qtbot, dock.foot.run_button)
    qtbot.waitUntil(lambda: len(script.recipes) == 1)
    click(qtbot, dock.foot.run_button)
    script.go.set()
    qtbot.waitUntil(lambda: session.running is None)
    assert not dock.foot.question.isVisible()
    assert dock.foot.run_button.isEnabled()


class OutOfMemoryError(RuntimeError):
    """Like torch's: superqt's workers take a RuntimeError for a deleted widget."""


@pytest.mark.parametrize(
    ("error", "sentence", "details"),
    [
        (UserError("The column is empty; choose another."), "The column is empty", ""),
        (OutOfMemoryError("CUDA out of memory"), "There was not enough memory", "Traceback"),
        (MemoryError(), "There was not enough memory", "Traceback"),
        (KeyError("x"), "Something went wrong", "Traceback"),
    ],
)
def test_an_error_is_one_sentence_with_details(
    dock, session, script, qtbot, error, sentence, details
):
    script.error = error
    script.go.set()
    click(qtbot, dock.foot.run_button)
    message = dock.foot.message
    qtbot.waitUntil(message.isVisible)
    qtbot.waitUntil(lambda: session.running is None)
    assert message.sentence.text().startswith(sentence)
    assert message.sentence.text().count(".") <= 2
    assert message.property("level") == "error"
    assert message.more.isVisible() == bool(details)
    assert not message.details.isVisible()
    if details:
        click(qtbot, message.more)
        assert details in message.details.toPlainText()
        assert message.details.isVisible()
    assert not dock.foot.progress.bar.isVisible()
    script.error = None
    click(qtbot, dock.foot.run_button)
    qtbot.waitUntil(lambda: session.clusters is not None)
    assert not message.isVisible(), "the next run puts the old message away"


def test_warnings_are_collected(dock, session, script, qtbot):
    script.steps = [Notice("Two cells have no type."), Notice("One cell has no position.")]
    script.go.set()
    click(qtbot, dock.foot.run_button)
    qtbot.waitUntil(lambda: session.clusters is not None)
    message = dock.foot.message
    assert message.sentence.text().startswith("2 remarks")
    assert message.property("level") == "warning"
    click(qtbot, message.more)
    assert "One cell has no position." in message.details.toPlainText()
    click(qtbot, message.close_button)
    assert not message.isVisible()


# ---- with the real model


@pytest.fixture
def small(viewer, make_adata, qtbot):
    """Return the dock beside 60 cells."""
    show(viewer, Tissue.from_adata(make_adata(60), "small"))
    dock = open_dock(viewer, qtbot)
    qtbot.waitUntil(lambda: dock.form.recipe().cell_type_key == "celltype", timeout=20_000)
    return dock


def test_cellamas_own_form_from_the_dock_to_the_slots(small, viewer, qtbot):
    session = session_of(viewer)
    qtbot.keyClicks(small.form.editors["neighbors_in"].native, "written")
    qtbot.keyClick(small.form.editors["n_clusters"].word.native, Qt.Key.Key_Down)
    type_number(qtbot, small.form.editors["n_clusters"].number.native, 3)
    click(qtbot, small.foot.run_button)
    qtbot.waitUntil(lambda: session.running is None, timeout=LOADING)
    assert small.foot.progress.text.text().startswith("3 niches in 60 cells · ")
    saved = session.active.assemble()
    sentence = saved.obs["cell_sentence"].iloc[0]
    assert sentence == preview_text(small)
    assert sentence.startswith("Top genes are ")
    assert ". nearest_cells of this cell is " in sentence
    assert saved.obs["niche"].nunique() == 3
    assert saved.obsm["X_cellama"].shape[0] == 60
    assert list(saved.uns["cellama"]["views"]) == ["cell"]


def model_processes():
    """Return the processes of our own in which a language model runs."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "model_server" in " ".join(child.cmdline())]


def test_killing_the_model_leaves_the_window_and_its_work(small, viewer, qtbot):
    session = session_of(viewer)
    small.form.editors["n_clusters"].value = 3
    killed = []

    def kill(job, event):
        if isinstance(event, Progress) and event.stage == "Embedding" and not killed:
            killed.extend(model_processes())
            for process in killed:
                process.kill()

    session.job_event.connect(kill)
    click(qtbot, small.foot.run_button)
    qtbot.waitUntil(lambda: session.running is None, timeout=LOADING)
    assert killed
    assert "unexpectedly" in small.foot.message.sentence.text()
    assert small.isVisible()
    assert len(viewer.layers) == 1
    assert session.active.n_obs == 60
    click(qtbot, small.foot.run_button)
    qtbot.waitUntil(lambda: session.running is None, timeout=LOADING)
    assert small.foot.progress.text.text().startswith("3 niches in 60 cells")
    assert not small.foot.message.isVisible()


WINDOW = """
import sys, time
from pathlib import Path
import napari
from napari_cellama.ui.attach import session_of
from napari_cellama.ui.widgets.niches import NichesDock
from qtpy.QtWidgets import QApplication

def wait(until, seconds=120):
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, dock.foot.message.sentence.text()
        QApplication.processEvents()

viewer = napari.Viewer()
dock = NichesDock(viewer)
viewer.window.add_dock_widget(dock)
viewer.open(sys.argv[1], plugin="napari-cellama")
session = session_of(viewer)
wait(lambda: "tokens" in dock.preview.remark.text())
dock.form.editors["n_clusters"].value = 3
dock.foot.run_button.click()
wait(lambda: session.running is None)
assert dock.foot.progress.text.text().startswith("3 niches"), dock.foot.message.sentence.text()
heavy = {"torch", "sentence_transformers", "transformers"} & set(sys.modules)
viewer.close()
print("heavy:", sorted(heavy))
"""


def test_torch_is_never_in_the_windows_process(tmp_path, make_adata):
    path = tmp_path / "section.h5ad"
    make_adata(60).write_h5ad(path)
    done = subprocess.run(
        [sys.executable, "-c", WINDOW, str(path)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "NAPARI_CONFIG": str(tmp_path / "settings.yaml")},
    )
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-3000:]}"
    assert "heavy: []" in done.stdout
