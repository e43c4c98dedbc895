"""Work that was not saved: written soon, offered after the program was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import dask
import numpy as np
import pandas as pd
import pytest
import tifffile
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication, QVBoxLayout, QWidget

from napari_cellama.core.events import last_of
from napari_cellama.core.image_choices import ImageChoices
from napari_cellama.core.qc import judge
from napari_cellama.core.qc_thresholds import Limit, Thresholds
from napari_cellama.io import recovery as files
from napari_cellama.ui import recovery
from napari_cellama.ui.attach import session_of
from napari_cellama.ui.judging import judgement_of
from napari_cellama.ui.layers import show
from napari_cellama.ui.quality import PAINTED
from napari_cellama.ui.tissue import Tissue
from napari_cellama.ui.widgets.clusters import ClustersDock
from same_labels import same_labels

_CRASHING = """
import sys, time
import anndata as ad
import numpy as np
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication

app = QApplication([])
from napari_cellama.ui import recovery
from napari_cellama.ui.attach import session_of
from napari_cellama.ui.contributions import open_tissue
from napari_cellama.ui.layers import show
from napari_cellama.ui.quality import PAINTED

recovery.PAUSE_MS = 50
viewer = ViewerModel()
session = session_of(viewer)
show(viewer, open_tissue(sys.argv[1]))
session.show_clusters("celltype")
session.editing.rename(0, "Weiße Substanz")
session.select(session.clusters.mask(1))
session.editing.hide()
session.select(session.clusters.mask(0, 2))
session.editing.flag()
session.editing.merge([2, 3])
from napari_cellama.core.qc_thresholds import Thresholds
session.quality.set_limit(Thresholds().of("qc_n_genes").model_copy(update={"low": 1.25}))
while not session.active.has_matrix:
    app.processEvents()
session.quality.measure()
while session.jobs.current("quality"):
    app.processEvents()
session.imaging.cut_channels(("red",))
session.imaging.add(sys.argv[2])
while session.jobs.current("image"):
    app.processEvents()
placement = viewer.layers[-1].metadata["napari_cellama_placement"]
session.imaging.aligning.set_landmarks(True, placement)
for place in ((10, 10), (80, 20), (20, 70)):
    image = session.imaging.attached(session.active)
    pixel = np.array(place) * 2.0 + 7
    x, y = np.linalg.solve(image.to_pixels[:, :2], pixel - image.to_pixels[:, 2])
    session.imaging.aligning.click(y, x, placement)
    session.imaging.aligning.click(place[1], place[0], placement)
print("made", flush=True)
while True:
    app.processEvents()
    time.sleep(0.01)
"""


@pytest.fixture(autouse=True)
def _no_threads_of_dask():
    with dask.config.set(scheduler="synchronous"):
        yield


def wait_for(condition, seconds=60):
    end = time.time() + seconds
    while not condition() and time.time() < end:
        QApplication.processEvents()
        time.sleep(0.02)
    assert condition()


@pytest.fixture
def open_viewer(qapp):
    """Return a maker of viewers without a window, and close their sessions."""
    sessions = []

    def make(tissue):
        viewer = ViewerModel()
        session = session_of(viewer)
        sessions.append((viewer, session))
        show(viewer, tissue)
        return viewer, session

    yield make
    for _, session in sessions:
        session.close()


def test_work_is_offered_after_kill_9(adata, tmp_path, open_viewer, qtbot):
    path = tmp_path / "section.h5ad"
    adata.write_h5ad(path)
    tifffile.imwrite(tmp_path / "photo.tif", np.zeros((300, 200), np.uint8))
    command = [sys.executable, "-c", _CRASHING, str(path), str(tmp_path / "photo.tif")]
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "made\n"
        wait_for(lambda: len(list(files.folder().glob("*.npz"))) == 1)
        wait_for(lambda: len(list(files.folder().glob("*.measured"))) == 1)
        time.sleep(0.5)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    from napari_cellama.ui.contributions import open_tissue

    viewer, session = open_viewer(open_tissue(path))
    host = QWidget()
    qtbot.addWidget(host)
    dock = ClustersDock(viewer)
    QVBoxLayout(host).addWidget(dock)
    offer = dock.foot.offer
    assert "was not saved. Restore it?" in offer.question.text()
    assert offer.isVisibleTo(dock)
    offer.restore_button.click()
    assert not offer.isVisibleTo(dock)
    assert session.clusters.key == "celltype_edited"
    assert "Weiße Substanz" in session.clusters.names
    assert len(session.clusters.names) == 3
    types = adata.obs["celltype"].cat.codes.to_numpy()
    assert np.array_equal(session.active.hidden, types == 1)
    assert np.array_equal(session.active.selection, np.isin(types, (0, 2)))
    flags = session.active.assemble().obs["flag"]
    assert np.array_equal((flags == "flagged").to_numpy(), np.isin(types, (0, 2)))
    assert session.active.thresholds.of("qc_n_genes").low == 1.25
    # What was measured is there again, and with it what fails.
    found = last_of(judge(adata))
    pd.testing.assert_frame_equal(session.active.quality.table, found.table)
    fails = found.faults(session.active.thresholds).any(axis=1) | np.isin(types, (0, 2))
    np.testing.assert_array_equal(judgement_of(session.active).fails, fails)
    assert session.active.choices.cut_channels == ("red",)
    (image,) = session.active.images
    assert (image.name, image.how) == ("photo", "landmarks")
    np.testing.assert_allclose(image.to_pixels, [[2, 0, 7], [0, 2, 7]], atol=1e-9)
    np.testing.assert_allclose(image.positions, [(10, 10), (80, 20), (20, 70)], atol=1e-9)
    wait_for(lambda: any("photo" in layer.name for layer in viewer.layers))
    (shown,) = [layer for layer in viewer.layers if "photo" in layer.name]
    np.testing.assert_allclose(shown.world_to_data((10, 20)), (26.5, 46.5), atol=1e-6)
    wait_for(lambda: files.left_behind(next(iter(session.recovery._keys.values()))) == [])
    wait_for(lambda: len(list(files.folder().glob("*.measured"))) == 1)
    session.undo()
    assert session.clusters is None
    assert session.active.thresholds == Thresholds()
    assert session.active.images == ()
    assert session.active.choices == ImageChoices()
    assert not any("photo" in layer.name for layer in viewer.layers)
    assert session.active.quality is None
    assert not {"qc_pass", "qc_n_genes"} & set(session.active.assemble().obs)
    # Undone work is not offered again, and what was measured does not lie about.
    session.recovery.write_now()
    wait_for(lambda: list(files.folder().glob("*.measured")) == [])
    session.redo()
    pd.testing.assert_frame_equal(session.active.quality.table, found.table)


@pytest.fixture
def kept(tissue, open_viewer, monkeypatch):
    """Return a session whose work is written at once, and what lists the files."""
    monkeypatch.setattr(recovery, "PAUSE_MS", 10)
    _, session = open_viewer(tissue)
    session.show_clusters("celltype")
    return session, lambda: list(files.folder().glob("*.npz"))


def test_the_pause_is_within_half_a_minute():
    assert recovery.PAUSE_MS <= 30_000


def test_what_is_saved_is_kept_no_longer(kept, tmp_path):
    session, listed = kept
    session.editing.rename(0, "a")
    wait_for(lambda: len(listed()) == 1)
    session.save(tmp_path / "saved.h5ad")
    wait_for(lambda: listed() == [])


def test_what_was_all_undone_is_kept_no_longer(kept):
    session, listed = kept
    session.editing.rename(0, "a")
    wait_for(lambda: len(listed()) == 1)
    session.undo()
    wait_for(lambda: listed() == [])


def test_limits_alone_and_images_alone_are_kept_and_forgotten_when_undone(kept, tmp_path):
    session, listed = kept
    session.quality.set_limit(Limit(metric="qc_n_genes", low=3.0))
    wait_for(lambda: len(listed()) == 1)
    work = files.read_work(listed()[0], 120)
    assert work.thresholds == session.active.thresholds
    assert work.images is None
    session.undo()
    wait_for(lambda: listed() == [])
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((90, 90), np.uint8))
    session.imaging.add(tmp_path / "a.tif")
    wait_for(lambda: len(listed()) == 1)
    work = files.read_work(listed()[0], 120)
    assert [image.how for image in work.images] == ["none"]
    assert work.thresholds is None
    session.undo()
    wait_for(lambda: listed() == [])


def test_a_selection_alone_is_not_missed_after_closing(kept):
    session, listed = kept
    session.select(np.arange(120) < 5)
    wait_for(lambda: len(listed()) == 1)
    session.close()
    assert listed() == []


@pytest.mark.parametrize("layers_go_first", [False, True])
def test_closing_at_once_loses_nothing_and_the_next_window_is_offered_it(
    tissue, make_adata, open_viewer, layers_go_first
):
    viewer, session = open_viewer(tissue)
    session.show_clusters("celltype")
    session.editing.rename(0, "seen to")
    assert list(files.folder().glob("*.npz")) == [], "the pause is not over"
    if layers_go_first:  # as napari has it
        viewer.layers.clear()
    session.close()
    session.close()  # a window may go, and then its viewer
    _, again = open_viewer(Tissue.from_adata(make_adata(), "section"))
    assert "was not saved. Restore it?" in again.recovery.offer
    again.recovery.restore()
    assert again.clusters.names[0] == "seen to"
    assert again.recovery.offer == ""
    again.undo()
    again.close()
    assert list(files.folder().glob("*.npz")) == []


def test_the_work_of_a_living_program_is_not_offered(kept, make_adata, open_viewer):
    session, listed = kept
    session.editing.rename(0, "a")
    wait_for(lambda: len(listed()) == 1)
    _, other = open_viewer(Tissue.from_adata(make_adata(), "section"))
    assert other.recovery.offer == ""


def test_discarded_work_is_gone_and_other_data_are_not_offered_it(
    kept, make_adata, open_viewer, monkeypatch
):
    session, listed = kept
    session.editing.rename(0, "a")
    wait_for(lambda: len(listed()) == 1)
    left = listed()[0]
    left.rename(left.with_name(left.stem.rsplit("-", 2)[0] + "-999999999-1.npz"))
    _, other = open_viewer(Tissue.from_adata(make_adata(), "another name"))
    assert other.recovery.offer == ""
    _, same = open_viewer(Tissue.from_adata(make_adata(), "section"))
    assert same.recovery.offer
    same.recovery.discard()
    assert same.recovery.offer == ""
    assert listed() == []


def test_a_file_that_is_not_whole_is_said_and_removed(tissue, open_viewer, tmp_path):
    key = files.data_key(recovery.fingerprint(tissue.snapshot), 120, None, "section")
    path = files.folder() / f"{key}-999999999-1.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PK\x03\x04 half a file")
    _, session = open_viewer(tissue)
    said = []
    session.message.connect(lambda *message: said.append(message[1]))
    session.recovery.restore()
    assert "cannot be read" in said[0]
    assert not path.exists()


def test_work_comes_back_as_it_was(kept, tmp_path):
    session, _ = kept
    session.select(session.clusters.mask(0))
    session.editing.new_cluster()
    tissue = session.active
    labels = {session.clusters.key: session.clusters}
    work = files.Work(labels, session.clusters.key, tissue.selection, tissue.hidden)
    files.write_work(tmp_path / "a-1-1.npz", work)
    back = files.read_work(tmp_path / "a-1-1.npz", 120)
    assert same_labels(back.labels[session.clusters.key], session.clusters)
    assert np.array_equal(back.selection, tissue.selection)
    assert files.read_work(tmp_path / "a-1-1.npz", 121) is None
    assert [file.name for file in tmp_path.glob("*.part")] == []


def test_undoing_a_restoration_leaves_what_was_measured_since(kept, open_viewer, make_adata):
    session, listed = kept
    session.quality.measure()
    wait_for(lambda: session.jobs.current("quality") is None and len(listed()) == 1)
    wait_for(lambda: len(list(files.folder().glob("*.measured"))) == 1)
    session.close()
    for path in files.folder().iterdir():  # as if that program had ended
        path.rename(path.with_name(path.name.replace(f"-{os.getpid()}-", "-999999999-")))
    _, session = open_viewer(Tissue.from_adata(make_adata(), "section"))
    session.recovery.restore()
    assert session.active.quality is not None
    session.color_by(PAINTED)
    session.undo()
    assert session.active.quality is None
    assert session.active.coloring.kind == "labels", "what it was coloured by is gone"
    session.recovery.write_now()  # while what was restored is still being written
    wait_for(lambda: not list(files.folder().glob("*.measured")) and not listed())
    wait_for(lambda: session.jobs.current(f"recovery {session.active.id}") is None)
    assert not list(files.folder().glob("*.measured"))
    session.redo()
    session.quality.measure()
    wait_for(lambda: session.jobs.current("quality") is None)
    measured = session.active.quality
    session.undo()
    assert session.active.quality is measured


def test_a_measurement_alone_is_kept_until_it_is_saved(kept, tmp_path):
    session, listed = kept
    session.quality.measure()
    wait_for(lambda: len(listed()) == 1)
    (beside,) = files.folder().glob("*.measured")
    names = session.active.snapshot.obs_names
    back = files.read_measured(beside, names)
    pd.testing.assert_frame_equal(back.table, session.active.quality.table)
    assert files.read_measured(beside, names[:-1]) is None
    written = beside.stat().st_mtime_ns
    session.quality.set_limit(Limit(metric="qc_n_genes", low=3.0))
    wait_for(lambda: files.read_work(listed()[0], 120).thresholds is not None)
    assert beside.stat().st_mtime_ns == written  # what does not change is not written anew
    beside.write_bytes(b"PK half")
    assert files.read_measured(beside, names) is None
    session.save(tmp_path / "saved.h5ad")
    wait_for(lambda: listed() == [] and not beside.exists())


_ENDING = """
import sys
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication

app = QApplication([])
from napari_cellama.ui.attach import session_of
from napari_cellama.ui.contributions import open_tissue
from napari_cellama.ui.layers import show

viewer = ViewerModel()
session = session_of(viewer)
show(viewer, open_tissue(sys.argv[1]))
while not session.active.has_matrix:
    app.processEvents()
session.show_clusters("celltype")
session.editing.rename(0, "seen to")
"""


def test_a_program_that_ends_keeps_the_work_and_says_nothing(adata, tmp_path):
    adata.write_h5ad(tmp_path / "section.h5ad")
    command = [sys.executable, "-c", _ENDING, str(tmp_path / "section.h5ad")]
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "Traceback" not in ended.stderr
    assert len(list(files.folder().glob("*.npz"))) == 1
