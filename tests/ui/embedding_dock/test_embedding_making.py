"""Maps of the cells while they are made, stopped and kept."""

from __future__ import annotations

import io
import threading
import weakref

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog

from dock_hands import delete
from embedding_hands import at, make, open_dock, run
from napari_cellama.core import umap_process
from napari_cellama.core.umap import Placed
from napari_cellama.ui import layouts
from napari_cellama.ui.attach import session_of
from napari_cellama.ui.layers import show
from napari_cellama.ui.layouts import SLOT
from napari_cellama.ui.tissue import Coloring, Tissue

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def children(monkeypatch, children):
    """Make maps in their own process, as outside tests, and return the processes started."""
    monkeypatch.setattr(layouts, "laying_out_apart", umap_process.laying_out_apart)
    return children


# ---- the map


def test_cancel_ends_the_maps_process_while_it_learns(dock, session, qtbot, children):
    run(session)
    qtbot.mouseClick(dock.button, LEFT)
    qtbot.waitUntil(lambda: bool(children), timeout=20_000)
    assert dock.button.text() == "Cancel"
    assert children[0].poll() is None
    qtbot.mouseClick(dock.button, LEFT)
    assert not dock.button.isEnabled()
    qtbot.waitUntil(lambda: session.jobs.current(SLOT) is None, timeout=1_000)
    assert children[0].poll() is not None
    QApplication.processEvents()
    assert dock.button.text() == "Map"
    assert session.active.layouts == {}


def test_closing_the_window_ends_the_maps_process(dock, session, viewer, qtbot, children):
    run(session)
    qtbot.mouseClick(dock.button, LEFT)
    qtbot.waitUntil(lambda: bool(children), timeout=20_000)
    viewer.close()
    qtbot.waitUntil(lambda: children[0].poll() is not None)


@pytest.fixture
def slow(monkeypatch):
    """Place 60 cells, then ten whenever the returned gate is let go of."""
    gate = threading.Semaphore(0)

    def laid_out(features, *, seed, begun, cancel):
        n, order = len(features), np.random.default_rng(seed).permutation(len(features))
        places = np.random.default_rng(seed).normal(size=(n, 2)).astype(np.float32)
        done = 0 if begun is None else int(np.isfinite(begun.places).all(axis=1).sum())
        assert begun is None or begun.learnt == b"learnt"
        yield Placed(done, n)
        starts = [start for start in [0, *range(60, n, 10)] if start >= done]
        for start in starts:
            stop = start + 10 if start else 60
            while not gate.acquire(timeout=0.01):
                cancel.check()
            some = order[start:stop]
            yield Placed(stop, n, some, places[some], b"" if start else b"learnt")
        return places

    monkeypatch.setattr(layouts, "laying_out_apart", laid_out)
    return gate


def test_the_first_cells_are_painted_before_the_others_are_placed(dock, session, qtbot, slow):
    run(session)
    qtbot.mouseClick(dock.button, LEFT)
    qtbot.waitUntil(lambda: dock.status.text() == "Learning the map…")
    qtbot.waitUntil(lambda: dock.status.text() == "Learning the map… · 2 s")
    slow.release()
    qtbot.waitUntil(lambda: dock.canvas.native.isVisible() and len(dock.map.cells) == 60)
    assert dock.status.text() == "60 of 120 cells placed"
    assert session.active.layouts == {}, "a map that grows is not saved"
    first = dock.map.cells
    qtbot.mouseClick(dock.canvas.native, LEFT, pos=at(dock, first[7]))
    assert session.active.picked is not None
    slow.release()
    qtbot.waitUntil(lambda: dock.status.text().startswith("70 of 120 cells placed · "))
    assert dock.status.text().endswith(" left")
    assert len(dock.map.cells) == 60, "shown again when a fifth more are there"
    dock.canvas._view.camera.zoom(0.5)
    moved = dock.canvas._view.camera.rect
    slow.release()
    qtbot.waitUntil(lambda: len(dock.map.cells) == 80)
    assert set(first) < set(dock.map.cells)
    assert dock.canvas._view.camera.rect == moved, "the user looks at something"
    slow.release(4)
    qtbot.waitUntil(lambda: session.jobs.current(SLOT) is None)
    QApplication.processEvents()
    assert len(dock.map.cells) == 120
    assert session.active.layouts["X_niche_umap"].is_whole
    assert dock.status.text().startswith("120 cells · UMAP in ")


def stop_midway(dock, session, qtbot, slow):
    """Ask for a map, and stop it when 70 of 120 cells are on it."""
    run(session)
    qtbot.mouseClick(dock.button, LEFT)
    slow.release(2)
    qtbot.waitUntil(lambda: dock.status.text().startswith("70 of 120"))
    qtbot.mouseClick(dock.button, LEFT)
    qtbot.waitUntil(lambda: session.jobs.current(SLOT) is None)
    QApplication.processEvents()


def test_cancel_keeps_the_cells_that_are_placed(dock, session, qtbot, slow):
    stop_midway(dock, session, qtbot, slow)
    assert len(dock.map.cells) == 70
    assert dock.status.text().startswith("Stopped at 70 of 120 cells · UMAP in ")
    saved = session.active.assemble()
    assert np.isfinite(saved.obsm["X_niche_umap"]).all(axis=1).sum() == 70
    assert saved.uns["cellama"]["runs"]["niche"]["layouts"]["X_niche_umap"]["placed"] == 70


def test_a_stopped_map_goes_on_where_it_was(dock, session, qtbot, slow):
    stop_midway(dock, session, qtbot, slow)
    stopped = session.active.layouts["X_niche_umap"]
    assert dock.button.text() == "Continue"
    assert dock.button.toolTip() == "Place the cells that are not on the map yet."
    qtbot.mouseClick(dock.button, LEFT)
    assert dock.status.text() == "70 of 120 cells placed"
    assert len(dock.map.cells) == 70, "they stay in sight"
    qtbot.mouseClick(dock.button, LEFT)  # stopped before there is more
    qtbot.waitUntil(lambda: session.jobs.current(SLOT) is None)
    QApplication.processEvents()
    assert session.active.layouts["X_niche_umap"] is stopped
    assert dock.button.text() == "Continue"
    slow.release(5)
    make(qtbot, dock, session)
    whole = session.active.layouts["X_niche_umap"]
    assert whole.is_whole
    assert not whole.learnt, "no memory is held for nothing"
    assert whole.seconds > stopped.seconds
    np.testing.assert_array_equal(whole.places[dock.map.cells], whole.places)
    known = np.isfinite(stopped.places).all(axis=1)
    np.testing.assert_array_equal(whole.places[known], stopped.places[known])
    assert dock.button.text() == "Map"
    qtbot.mouseClick(dock.button, LEFT)
    slow.release()
    qtbot.waitUntil(lambda: len(dock.map.cells) == 60)
    qtbot.mouseClick(dock.button, LEFT)
    qtbot.waitUntil(lambda: session.jobs.current(SLOT) is None)
    QApplication.processEvents()
    assert session.active.layouts["X_niche_umap"] is whole, "the map with more cells stays"
    assert len(dock.map.cells) == 120


# ---- keeping it


def test_a_map_is_saved_in_its_slot_and_read_back(mapped, session, viewer, qtbot):
    adata = session.active.assemble()
    assert adata.obsm["X_niche_umap"].shape == (120, 2)
    assert adata.uns["cellama"]["runs"]["niche"]["layouts"]["X_niche_umap"]["seed"] == 4
    show(viewer, Tissue.from_adata(adata, "saved"))
    assert session.active.name == "saved"
    assert mapped.canvas.native.isVisible()
    assert mapped.status.text().startswith("120 cells · UMAP")


def test_key_added_names_the_slot(dock, session, qtbot):
    run(session, key_added="domain")
    make(qtbot, dock, session)
    assert "X_domain_umap" in session.active.assemble().obsm


def test_cells_without_a_position_are_not_on_the_map(viewer, make_adata, qtbot):
    adata = make_adata()
    adata.obsm["spatial"][[3, 4]] = np.nan
    session = session_of(viewer)
    show(viewer, Tissue.from_adata(adata, "gaps"))
    dock = open_dock(viewer, qtbot)
    run(session)
    make(qtbot, dock, session)
    assert dock.status.text().startswith("118 cells")
    qtbot.mouseClick(dock.canvas.native, LEFT, pos=at(dock, 42))
    assert session.active.picked == 42
    assert np.isnan(session.active.layouts["X_niche_umap"].places[[3, 4]]).all()


@pytest.mark.parametrize("coloring", ["labels", "gene"])
def test_the_map_is_saved_and_its_numbers_copied(
    mapped, session, qtbot, tmp_path, monkeypatch, coloring
):
    name = "niche" if coloring == "labels" else "CD3E"
    session.color_by(Coloring(coloring, name))
    mapped.menu.copy_action.trigger()
    table = pd.read_csv(io.StringIO(QApplication.clipboard().text()))
    places = session.active.layouts["X_niche_umap"].places
    np.testing.assert_allclose(table[["umap_1", "umap_2"]], places, rtol=1e-5)
    assert list(table["cell"]) == list(session.active.snapshot.obs_names)
    assert table[name].notna().all()
    assert "Copied 120 rows" in mapped.status.text()
    chosen = str(tmp_path / "map"), "SVG (*.svg)"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args: chosen)
    mapped.menu.save_action.trigger()
    qtbot.waitUntil(lambda: "Figure saved" in mapped.status.text(), timeout=30_000)
    text = (tmp_path / "map.svg").read_text()
    assert "UMAP" in text
    assert name in text
    assert "µm" not in text  # a map has no scale


def test_a_closed_dock_is_gone(viewer, session, qtbot, is_gone):
    dock = open_dock(viewer, qtbot)
    run(session)
    make(qtbot, dock, session)
    reference = weakref.ref(dock.canvas)
    delete(viewer, dock)
    del dock
    assert is_gone(reference)
    session.color_by(Coloring("obs", "celltype"))
    session.select(np.arange(120) < 5)
    viewer.theme = "light"
