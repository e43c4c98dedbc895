"""The Embedding dock in the real window, driven as a user drives it."""

from __future__ import annotations

import io
import threading
import weakref

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractItemView, QApplication, QDockWidget, QFileDialog

from napari_cellama import api
from napari_cellama.core import umap_process
from napari_cellama.core.umap import Placed
from napari_cellama.recipe import Recipe
from napari_cellama.ui import layouts
from napari_cellama.ui.actions import BY_ID, perform
from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.layers import show
from napari_cellama.ui.layouts import NOTHING_TO_SHOW, SLOT
from napari_cellama.ui.painting import FADED
from napari_cellama.ui.panel import main_window, our_docks
from napari_cellama.ui.tissue import Coloring, Tissue
from napari_cellama.ui.widgets.embedding import EmbeddingDock
from small_sections import WordEncoder

LEFT = Qt.MouseButton.LeftButton
SHIFT = Qt.KeyboardModifier.ShiftModifier
CTRL = Qt.KeyboardModifier.ControlModifier
RECIPE = Recipe(cell_type_key="celltype", n_clusters=2, n_neighbors=6, seed=4)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Embed with a model that costs nothing, and lay out on a grid; UMAP has its own tests."""

    def grid(features, *, seed, begun, cancel):
        n = len(features)
        yield Placed(0, n)
        cancel.check()
        places = np.stack(np.divmod(np.arange(n), int(np.ceil(np.sqrt(n)))), axis=1)
        places = places.astype(np.float32) + seed
        places[~np.isfinite(features).all(axis=1)] = np.nan
        yield Placed(n, n, np.arange(n), places)
        return places

    monkeypatch.setattr(api, "NamedEncoder", WordEncoder)
    monkeypatch.setattr(layouts, "laying_out_apart", grid)


def open_dock(viewer, qtbot):
    dock = EmbeddingDock(viewer)
    viewer.window.add_dock_widget(dock, name="Embedding", area="left")
    qtbot.waitUntil(dock.isVisible)
    return dock


@pytest.fixture
def dock(viewer, session, qtbot):
    return open_dock(viewer, qtbot)


def run(session, **changes):
    tissue = session.active
    recipe = RECIPE.replace(**changes)
    session.take_result(tissue, api.find_niches(tissue.snapshot, recipe, lambda event: None))


@pytest.fixture
def mapped(dock, session, qtbot):
    """Return the dock with a map of the niches."""
    run(session)
    make(qtbot, dock, session)
    return dock


def make(qtbot, dock, session):
    assert dock.button.isEnabled(), dock.button.toolTip()
    qtbot.mouseClick(dock.button, LEFT)
    qtbot.waitUntil(lambda: session.jobs.current(SLOT) is None)
    for _ in range(5):
        QApplication.processEvents()


def at(dock, cell):
    """Return where a cell is drawn on the dock's canvas."""
    point = int(np.searchsorted(dock._cells, cell))
    return QPoint(*np.round(dock.canvas.pixel_of(point)).astype(int))


def drag(canvas, viewer, corners, keys):
    """Press, move through the corners, and release."""
    native = canvas.native
    QTest.mousePress(native, LEFT, keys, corners[0])
    for corner in corners[1:]:
        move_pressed(native, corner, keys)
        QTest.qWait(20)
    QTest.mouseRelease(native, LEFT, keys, corners[-1])
    QApplication.processEvents()


def move_pressed(native, position, keys):
    where, globally = QPointF(position), QPointF(native.mapToGlobal(position))
    none = Qt.MouseButton.NoButton
    event = QMouseEvent(QEvent.Type.MouseMove, where, globally, none, LEFT, keys)
    QApplication.sendEvent(native, event)


# ---- before there is a map


def test_it_says_what_to_do_first(dock, session):
    assert dock.empty.isVisible()
    assert dock.empty.text() == NOTHING_TO_SHOW
    assert not dock.button.isEnabled()
    assert dock.button.toolTip() == NOTHING_TO_SHOW
    run(session)
    assert dock.button.isEnabled()
    assert dock.empty.text().startswith("Press Map")


def test_it_sits_on_the_left_whatever_opened_it(viewer, session, qtbot):
    dock = EmbeddingDock(viewer)
    viewer.window.add_dock_widget(dock, name="Embedding (CELLama)", area="right")
    window = main_window(viewer)
    left = Qt.DockWidgetArea.LeftDockWidgetArea
    qtbot.waitUntil(lambda: window.dockWidgetArea(dock.parent()) == left)
    assert our_docks(window) == []
    assert dock.parent().windowTitle() == "Embedding"


def test_the_map_gets_the_height_that_the_layers_do_not_need(viewer, session, qtbot):
    window = main_window(viewer)
    window.resize(1280, 800)
    dock = open_dock(viewer, qtbot)
    qtbot.waitUntil(lambda: dock.shown.height() > 0.7 * dock.shown.width())
    layers = window.findChild(QDockWidget, "layer list").findChild(QAbstractItemView)
    assert layers.height() >= layers.sizeHintForRow(0)


def test_it_can_float_and_comes_back(viewer, session, qtbot):
    dock = open_dock(viewer, qtbot)
    holder = dock.parent()
    holder.setFloating(True)
    QApplication.processEvents()
    assert dock.isVisible()
    holder.setFloating(False)
    QApplication.processEvents()
    left = Qt.DockWidgetArea.LeftDockWidgetArea
    assert main_window(viewer).dockWidgetArea(holder) == left


# ---- the map


def test_a_map_that_floats_and_comes_back_is_still_drawn(mapped, session, viewer, qtbot):
    holder, canvas = mapped.parent(), mapped.canvas
    canvas.zoom(1.5)
    moved = canvas._view.camera.rect
    session.select(np.arange(120) < 30)
    for floats in (True, False):
        before = canvas.native
        holder.setFloating(floats)
        if floats:
            holder.setGeometry(50, 50, 420, 480)
        qtbot.waitUntil(lambda: canvas.native.isVisible() and not canvas._renewing.isActive())
        for _ in range(5):
            QApplication.processEvents()
        assert canvas.native is not before, "Qt has made another context"
        assert (canvas._view.camera.rect.size == np.array(moved.size)).all()
        shown = canvas._canvas.render(alpha=False)
        cell = int(np.flatnonzero(canvas.in_view() & session.active.selection[mapped._cells])[0])
        x, y = canvas.pixel_of(cell) * shown.shape[0] / canvas.native.height()
        color = layers_of(viewer).layer_of(session.active).face_color[cell, :3] * 255
        np.testing.assert_allclose(shown[round(y), round(x), :3], color, atol=4)
    qtbot.mouseClick(canvas.native, LEFT, pos=at(mapped, 42))
    assert session.active.picked == 42
    qtbot.keyClick(canvas.native, Qt.Key.Key_0)
    assert canvas._view.camera.rect == canvas._whole


def test_a_map_is_drawn_in_the_tissues_colours(mapped, session, viewer):
    tissue = session.active
    layout = tissue.layouts["X_niche_umap"]
    assert (layout.run, layout.seed) == ("niche", 4)
    assert mapped.canvas.native.isVisible()
    assert mapped.status.text().startswith("120 cells · UMAP in ")
    for coloring in (Coloring("labels", "niche"), Coloring("gene", "CD3E")):
        session.color_by(coloring)
        shown = mapped.canvas._canvas.render(alpha=False)
        layer = layers_of(viewer).layer_of(tissue)
        scale = shown.shape[0] / mapped.canvas.native.height()
        for cell in (3, 60, 101):
            x, y = (np.array([at(mapped, cell).x(), at(mapped, cell).y()]) * scale).astype(int)
            expected = layer.face_color[cell, :3] * 255
            np.testing.assert_allclose(shown[y, x, :3], expected, atol=4)


def test_selecting_on_the_tissue_selects_on_the_map(mapped, session):
    mask = np.arange(120) < 30
    session.select(mask)
    colors = layers_of_dock(mapped).colors_of(session.active, mapped._cells)
    np.testing.assert_allclose(colors[~mask], np.tile(FADED, (90, 1)), atol=1e-6)
    drawn = mapped.canvas._markers._data["a_bg_color"]
    np.testing.assert_allclose(drawn[:90], np.tile(FADED, (90, 1)), atol=0.01)  # below
    assert (drawn[90:, 3] == 1).all()


def seen_alike(mapped, viewer, window, cells):
    """Return how far apart cells' colours are on the tissue and on the map, as drawn: 0 to 255."""
    layer, picture = layers_of(viewer).layer_of(mapped._session.active), mapped.canvas._canvas
    shown = picture.render(alpha=False)
    scale = shown.shape[0] / mapped.canvas.native.height()
    places = [(round(at(mapped, c).y() * scale), round(at(mapped, c).x() * scale)) for c in cells]
    on_map = np.array([shown[place][:3] for place in places], int)
    return np.abs(window.colors(layer, np.array(cells)).astype(int) - on_map).max(axis=1), on_map


def test_what_is_drawn_on_either_side_selects_on_both(mapped, session, viewer, canvas, qtbot):
    viewer.reset_view()
    tissue, window = session.active, canvas(viewer)
    layer = layers_of(viewer).layer_of(tissue)
    cells = [0, 12, 60, 101]
    apart, before = seen_alike(mapped, viewer, window, cells)
    assert apart.max() <= 4

    first, last = (np.array(window.pixel_of(layer, cell)) for cell in (0, 12))
    low, high = np.minimum(first, last) - 8, np.maximum(first, last) + 8
    session.take_tool("rectangle")
    window.drag([tuple(map(int, low)), tuple(map(int, high))])
    session.take_tool("pick")
    wanted = np.isin(np.arange(120), [0, 1, 11, 12])
    np.testing.assert_array_equal(tissue.selection, wanted)
    apart, after = seen_alike(mapped, viewer, window, cells)
    assert apart[:2].max() <= 4  # what is faded lies on two backgrounds
    np.testing.assert_allclose(after[:2], before[:2], atol=4)
    assert np.abs(after[2:] - before[2:]).max(axis=1).min() > 30

    middle = at(mapped, 60)
    corners = [middle + QPoint(x, y) for x, y in ((-6, -6), (6, -6), (6, 6), (-6, 6), (-6, -6))]
    drag(mapped.canvas, viewer, corners, SHIFT)
    np.testing.assert_array_equal(tissue.selection, np.arange(120) == 60)
    apart, after = seen_alike(mapped, viewer, window, cells)
    assert apart[2] <= 4
    np.testing.assert_allclose(after[2], before[2], atol=4)
    others = layer.face_color[np.arange(120) != 60]
    np.testing.assert_allclose(others, np.tile(FADED, (119, 1)), atol=1e-6)

    qtbot.keyClick(mapped.canvas.widget, Qt.Key.Key_K)
    key = session.clusters.key
    saved = tissue.assemble().obs[key].astype(str).to_numpy()
    assert (saved == saved[60]).sum() == 1
    for _ in range(2):
        qtbot.keyClick(mapped.canvas.widget, Qt.Key.Key_Z, CTRL)
    np.testing.assert_array_equal(tissue.selection, wanted)


def layers_of_dock(dock):
    return dock._layers


def test_a_click_on_the_map_picks_the_cell(mapped, session, qtbot):
    qtbot.mouseClick(mapped.canvas.native, LEFT, pos=at(mapped, 42))
    assert session.active.picked == 42
    niche = session.clusters.codes[42]
    np.testing.assert_array_equal(session.active.selection, session.clusters.mask(niche))


def test_a_lasso_selects_and_with_ctrl_takes_away(mapped, session, viewer):
    places = session.active.layouts["X_niche_umap"].places
    low, high = places[0], places[0] + [3.5, 2.5]
    wanted = ((places >= low - 0.5) & (places <= high)).all(axis=1)

    def box(low, high):
        corners = np.array([low, [low[0], high[1]], high, [high[0], low[1]], low])
        pixels = mapped.canvas._to_pixels(corners.astype(np.float32))
        return [QPoint(*np.round(pixel).astype(int)) for pixel in pixels]

    drag(mapped.canvas, viewer, box(low - 0.5, high), SHIFT)
    np.testing.assert_array_equal(session.active.selection, wanted)
    before = mapped.canvas._view.camera.rect
    drag(mapped.canvas, viewer, box(low - 0.5, low + 0.5), SHIFT | CTRL)
    wanted[0] = False
    np.testing.assert_array_equal(session.active.selection, wanted)
    assert mapped.canvas._view.camera.rect == before, "a lasso does not move the view"
    session.take_tool("lasso", "add")  # chosen in the Clusters dock
    drag(mapped.canvas, viewer, box(low - 0.5, low + 0.5), SHIFT)
    wanted[0] = True
    np.testing.assert_array_equal(session.active.selection, wanted)
    session.take_tool("lasso", "intersect")
    drag(mapped.canvas, viewer, box(low - 0.5, low + 1.5), SHIFT)
    wanted &= ((places >= low - 0.5) & (places <= low + 1.5)).all(axis=1)
    np.testing.assert_array_equal(session.active.selection, wanted)


def test_the_map_is_moved_zoomed_and_selected_on_by_keys(mapped, session, qtbot):
    native, camera = mapped.canvas.native, mapped.canvas._view.camera
    native.setFocus()
    whole = camera.rect
    for _ in range(6):
        qtbot.keyClick(native, Qt.Key.Key_Plus)
    assert camera.rect.width == pytest.approx(whole.width / 1.25**6)
    zoomed = camera.rect
    qtbot.keyClick(native, Qt.Key.Key_Left)
    qtbot.keyClick(native, Qt.Key.Key_Up)
    assert camera.rect.left == pytest.approx(zoomed.left - 0.1 * zoomed.width)
    assert camera.rect.bottom == pytest.approx(zoomed.bottom + 0.1 * zoomed.height)
    qtbot.keyClick(native, Qt.Key.Key_E)
    places = session.active.layouts["X_niche_umap"].places
    pixels = mapped.canvas._to_pixels(places)
    seen = ((pixels >= 0) & (pixels <= mapped.canvas._canvas.size)).all(axis=1)
    assert 0 < seen.sum() < 120
    np.testing.assert_array_equal(session.active.selection, seen)
    for _ in range(6):
        qtbot.keyClick(native, Qt.Key.Key_Right)
    pixels = mapped.canvas._to_pixels(places)
    later = ((pixels >= 0) & (pixels <= mapped.canvas._canvas.size)).all(axis=1)
    assert (later != seen).any()
    qtbot.keyClick(native, Qt.Key.Key_E, SHIFT)
    np.testing.assert_array_equal(session.active.selection, seen | later)
    qtbot.keyClick(native, Qt.Key.Key_E, Qt.KeyboardModifier.AltModifier)
    np.testing.assert_array_equal(session.active.selection, seen & ~later)
    qtbot.keyClick(native, Qt.Key.Key_0)
    assert camera.rect == whole
    qtbot.keyClick(native, Qt.Key.Key_Z, CTRL)
    np.testing.assert_array_equal(session.active.selection, seen | later)


def test_a_drag_moves_the_view_and_selects_nothing(mapped, session, viewer, qtbot):
    before = mapped.canvas._view.camera.rect
    start = at(mapped, 42)
    no = Qt.KeyboardModifier.NoModifier
    drag(mapped.canvas, viewer, [start, start + QPoint(20, 5), start + QPoint(40, 10)], no)
    assert mapped.canvas._view.camera.rect != before
    assert not session.active.selection.any()
    qtbot.mouseClick(mapped.all_button, LEFT)
    assert mapped.canvas._view.camera.rect.pos == pytest.approx(before.pos)


def test_hidden_cells_are_not_on_the_map(mapped, session, qtbot):
    hidden = session.clusters.mask(0)
    session.select(hidden)
    perform(session, BY_ID["hide"])
    drawn = layers_of_dock(mapped).colors_of(session.active, mapped._cells)
    np.testing.assert_array_equal(drawn[:, 3] == 0, hidden)
    assert (mapped.canvas._markers._data["a_bg_color"][:, 3] == 0).sum() == hidden.sum()
    before = session.active.selection
    qtbot.mouseClick(mapped.canvas.native, LEFT, pos=at(mapped, int(np.flatnonzero(hidden)[0])))
    assert session.active.selection is before
    mapped._on_lasso(np.ones(120, bool), "replace")
    np.testing.assert_array_equal(session.active.selection, ~hidden)


def test_the_cell_under_the_mouse_is_named(mapped, session, qtbot):
    QTest.mouseMove(mapped.canvas.native, at(mapped, 42))
    qtbot.waitUntil(lambda: "cell42" in mapped.status.text())
    niche = session.clusters.names[session.clusters.codes[42]]
    assert mapped.status.text() == f"cell42 · {niche}"


def test_cells_and_niches_have_maps_of_their_own(mapped, session, qtbot):
    mapped.of.setCurrentText("Cells")
    assert mapped.empty.isVisible()
    make(qtbot, mapped, session)
    assert set(session.active.layouts) == {"X_niche_umap", "X_niche_cells_umap"}
    mapped.of.setCurrentText("Niches")
    assert mapped.canvas.native.isVisible()


def test_another_run_makes_the_map_stale(mapped, session):
    run(session, n_clusters=3)
    assert session.active.layouts == {}
    assert mapped.empty.isVisible()


@pytest.fixture
def children(monkeypatch):
    """Make maps in their own process, as outside tests, and return the processes started."""
    monkeypatch.setattr(layouts, "laying_out_apart", umap_process.laying_out_apart)
    started = []

    class Child(umap_process._Child):
        def __init__(self, order):
            super().__init__(order)
            started.append(self.process)

    monkeypatch.setattr(umap_process, "_Child", Child)
    return started


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
    qtbot.waitUntil(lambda: dock.canvas.native.isVisible() and len(dock._cells) == 60)
    assert dock.status.text() == "60 of 120 cells placed"
    assert session.active.layouts == {}, "a map that grows is not saved"
    first = dock._cells
    qtbot.mouseClick(dock.canvas.native, LEFT, pos=at(dock, first[7]))
    assert session.active.picked is not None
    slow.release()
    qtbot.waitUntil(lambda: dock.status.text().startswith("70 of 120 cells placed · "))
    assert dock.status.text().endswith(" left")
    assert len(dock._cells) == 60, "shown again when a fifth more are there"
    dock.canvas._view.camera.zoom(0.5)
    moved = dock.canvas._view.camera.rect
    slow.release()
    qtbot.waitUntil(lambda: len(dock._cells) == 80)
    assert set(first) < set(dock._cells)
    assert dock.canvas._view.camera.rect == moved, "the user looks at something"
    slow.release(4)
    qtbot.waitUntil(lambda: session.jobs.current(SLOT) is None)
    QApplication.processEvents()
    assert len(dock._cells) == 120
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
    assert len(dock._cells) == 70
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
    assert len(dock._cells) == 70, "they stay in sight"
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
    np.testing.assert_array_equal(whole.places[dock._cells], whole.places)
    known = np.isfinite(stopped.places).all(axis=1)
    np.testing.assert_array_equal(whole.places[known], stopped.places[known])
    assert dock.button.text() == "Map"
    qtbot.mouseClick(dock.button, LEFT)
    slow.release()
    qtbot.waitUntil(lambda: len(dock._cells) == 60)
    qtbot.mouseClick(dock.button, LEFT)
    qtbot.waitUntil(lambda: session.jobs.current(SLOT) is None)
    QApplication.processEvents()
    assert session.active.layouts["X_niche_umap"] is whole, "the map with more cells stays"
    assert len(dock._cells) == 120


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
    viewer.window.remove_dock_widget(dock)
    dock.deleteLater()
    QApplication.sendPostedEvents(dock, QEvent.Type.DeferredDelete.value)
    del dock
    assert is_gone(reference)
    session.color_by(Coloring("obs", "celltype"))
    session.select(np.arange(120) < 5)
    viewer.theme = "light"
