"""The Embedding dock in the real window, driven as a user drives it."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractItemView, QApplication, QDockWidget

from embedding_hands import at, make, open_dock, run
from napari_cellama.ui.actions import BY_ID, perform
from napari_cellama.ui.attach import layers_of
from napari_cellama.ui.layouts import NOTHING_TO_SHOW
from napari_cellama.ui.painting import FADED
from napari_cellama.ui.panel import main_window, our_docks
from napari_cellama.ui.tissue import Coloring
from napari_cellama.ui.widgets.embedding import EmbeddingDock

LEFT = Qt.MouseButton.LeftButton

SHIFT = Qt.KeyboardModifier.ShiftModifier

CTRL = Qt.KeyboardModifier.ControlModifier


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
        cell = int(np.flatnonzero(canvas.in_view() & session.active.selection[mapped.map.cells])[0])
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
    colors = layers_of_dock(mapped).colors_of(session.active, mapped.map.cells)
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
    drawn = layers_of_dock(mapped).colors_of(session.active, mapped.map.cells)
    np.testing.assert_array_equal(drawn[:, 3] == 0, hidden)
    assert (mapped.canvas._markers._data["a_bg_color"][:, 3] == 0).sum() == hidden.sum()
    before = session.active.selection
    qtbot.mouseClick(mapped.canvas.native, LEFT, pos=at(mapped, int(np.flatnonzero(hidden)[0])))
    assert session.active.selection is before
    mapped.map._on_lasso(np.ones(120, bool), "replace")
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
