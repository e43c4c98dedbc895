"""The Niches dock with the real language model."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest
from qtpy.QtCore import Qt

from napari_cellama.core.events import Progress
from napari_cellama.ui.attach import session_of
from napari_cellama.ui.layers import show
from napari_cellama.ui.tissue import Tissue
from niches_hands import click, open_dock, preview_text, type_number

#: Long enough for a model to load on a busy machine.
LOADING = 120_000


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
