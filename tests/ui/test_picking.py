"""The mouse on the tissue: picks, lasso and rectangle, in the real window."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.path import Path
from qtpy.QtCore import Qt

from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.layers import show
from napari_cellama.ui.painting import FADED
from napari_cellama.ui.placement import place
from napari_cellama.ui.tissue import Tissue

SHIFT, CTRL = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier
NO_KEYS = Qt.KeyboardModifier.NoModifier


@pytest.fixture
def window(viewer, session, canvas):
    """Return the canvas, with the cell types shown as clusters."""
    session.show_clusters("celltype")
    window = canvas(viewer)
    yield window
    session.close()


def around(window, layer, points) -> list[tuple[int, int]]:
    """Return a rectangle's corners, in canvas pixels, that holds some points and no more."""
    pixels = np.array([window.pixel_of(layer, point) for point in points])
    (top, left), (bottom, right) = pixels.min(axis=0) - 8, pixels.max(axis=0) + 8
    return [(top, left), (top, right), (bottom, right), (bottom, left)]


def block(rows, columns):
    """Return the cells in a part of the tissue's grid, which is eleven cells wide."""
    grid = np.arange(120) // 11, np.arange(120) % 11
    return np.flatnonzero(np.isin(grid[0], rows) & np.isin(grid[1], columns))


def chosen(tissue) -> list[int]:
    return np.flatnonzero(tissue.selection).tolist()


def test_the_picked_cell_is_marked_on_the_tissue(viewer, session, tissue, window):
    layer, marks = layers_of(viewer).layer_of(tissue), layers_of(viewer).picking.marks
    assert marks.cell is None
    before = viewer.screenshot(canvas_only=True, flash=False)
    window.click(layer, 44)
    assert tissue.picked == 44
    np.testing.assert_allclose(marks.cell, layer.data[44])
    row, column = window.pixel_of(layer, 44)
    window.settle()
    after = viewer.screenshot(canvas_only=True, flash=False)
    ring = np.s_[row - 9 : row + 10, column - 9 : column + 10]
    assert (after[ring][..., :3].min(axis=-1) > 240).sum() > 10, "a white ring"
    assert (before[ring][..., :3].min(axis=-1) > 240).sum() == 0
    viewer.layers.remove(layer)
    assert marks.cell is None


def test_shift_adds_and_control_takes_away(viewer, session, tissue, window):
    layer, types = layers_of(viewer).layer_of(tissue), session.clusters.codes
    first, second = (int(np.flatnonzero(types == code)[5]) for code in (0, 1))
    window.click(layer, first)
    window.click(layer, second, keys=SHIFT)
    assert np.array_equal(tissue.selection, types <= 1)
    window.click(layer, first, keys=CTRL)
    assert np.array_equal(tissue.selection, types == 1)
    window.click(layer, second, keys=SHIFT | CTRL)
    assert np.array_equal(tissue.selection, types == 1)


@pytest.mark.parametrize("tool", ["lasso", "rectangle"])
def test_a_drawn_outline_selects_the_cells_inside(viewer, session, tissue, window, tool):
    layer, wanted = layers_of(viewer).layer_of(tissue), block((2, 3, 4), (3, 4, 5, 6))
    session.take_tool(tool)
    corners = around(window, layer, wanted)
    centre = tuple(viewer.scene.camera.center)
    window.drag(corners if tool == "lasso" else corners[::2])
    assert chosen(tissue) == wanted.tolist()
    assert tuple(viewer.scene.camera.center) == centre, "the canvas stands still"
    assert layers_of(viewer).picking.marks.outline == ()
    assert len(viewer.layers) == 1
    beside = np.setdiff1d(np.arange(120), wanted)
    np.testing.assert_allclose(layer.face_color[beside], np.tile(FADED, (len(beside), 1)))
    assert tissue.history.undo_name == "Select 12 cells"
    session.undo()
    assert not tissue.selection.any()


@pytest.mark.parametrize("way", ["keys", "buttons"])
def test_outlines_add_subtract_and_intersect(viewer, session, tissue, window, way):
    layer = layers_of(viewer).layer_of(tissue)
    session.take_tool("rectangle")

    def draw(cells, how, keys):
        session.take_tool("rectangle", how if way == "buttons" else "replace")
        corners = around(window, layer, cells)
        window.drag(corners[::2], keys if way == "keys" else NO_KEYS)

    draw(block((0, 1), (0, 1)), "replace", NO_KEYS)
    draw(block((5, 6), (5, 6)), "add", SHIFT)
    assert tissue.n_selected == 8
    draw(block((0, 1), (1, 2)), "subtract", CTRL)
    assert chosen(tissue) == sorted([*block((0, 1), (0,)), *block((5, 6), (5, 6))])
    draw(block((0, 1, 2), (0, 1, 2)), "intersect", SHIFT | CTRL)
    assert chosen(tissue) == block((0, 1), (0,)).tolist()


def test_the_outline_is_seen_while_it_is_drawn(viewer, session, tissue, window, qtbot):
    layer, marks = layers_of(viewer).layer_of(tissue), layers_of(viewer).picking.marks
    session.take_tool("lasso")
    seen = []
    marks.events.outline.connect(lambda: seen.append(marks.outline))
    window.drag(around(window, layer, block((2, 3), (2, 3))))
    assert max(len(set(outline)) for outline in seen) == 4  # a corner may be said twice
    assert seen[-1] == ()


def test_a_click_with_a_tool_in_hand_still_picks(viewer, session, tissue, window):
    session.take_tool("lasso")
    window.click(layers_of(viewer).layer_of(tissue), 30)
    assert tissue.picked == 30
    assert np.array_equal(tissue.selection, session.clusters.mask(session.clusters.codes[30]))


def test_hidden_cells_are_neither_seen_nor_picked_nor_drawn_around(viewer, session, tissue, window):
    layer = layers_of(viewer).layer_of(tissue)
    cells = block((4, 5, 6), (4, 5, 6))
    hidden = np.isin(np.arange(120), cells)
    session.select(hidden)
    session.editing.hide()
    assert (layer.face_color[cells][:, 3] == 0).all()
    window.click(layer, cells[4])
    assert tissue.picked != cells[4]
    session.take_tool("rectangle")
    window.drag(around(window, layer, block((3, 4, 5, 6, 7), (3, 4, 5, 6, 7)))[::2])
    assert tissue.n_selected == 16
    session.editing.show_hidden()
    assert (layer.face_color[cells][:, 3] > 0).all()


def test_a_lasso_around_cells_of_both_sections(viewer, make_adata, canvas):
    adata = make_adata(120, sections=2)
    half = adata.n_obs // 2
    for part in (slice(None, half), slice(half, None)):
        adata.obsm["spatial"][part] -= adata.obsm["spatial"][part].min(axis=0)
    tissue = Tissue.from_adata(adata)
    session, layer = session_of(viewer), show(viewer, tissue)
    window = canvas(viewer)
    window.settle()
    session.take_tool("rectangle")
    window.drag(around(window, layer, np.arange(half, adata.n_obs))[::2])
    assert chosen(tissue) == list(range(half, adata.n_obs))
    session.close()


def test_a_layer_that_was_scaled_and_moved_is_lassoed_where_it_is(viewer, session, tissue, window):
    layer, wanted = layers_of(viewer).layer_of(tissue), block((2, 3, 4), (3, 4, 5, 6))
    layer.scale, layer.translate = (0.5, 0.5), (300, -40)
    viewer.reset_view()
    session.take_tool("lasso")
    window.settle()
    window.drag(around(window, layer, wanted))
    assert chosen(tissue) == wanted.tolist()


def test_a_lasso_in_three_dimensions_is_refused_in_a_sentence(viewer, make_adata, canvas):
    tissue = Tissue.from_adata(make_adata(60, n_dims=3))
    session = session_of(viewer)
    show(viewer, tissue)
    said = []
    session.message.connect(lambda *message: said.append(message[1]))
    session.take_tool("lasso")
    canvas(viewer).drag([(100, 100), (100, 200), (200, 200)])
    assert "in 2D" in said[0]
    session.close()


def test_inside_is_what_a_slower_way_says(make_adata):
    placement = place(make_adata(400))
    rng = np.random.default_rng(3)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 60))
    radius = rng.uniform(20, 90, 60)
    outline = 100 + np.column_stack([radius * np.sin(angle), radius * np.cos(angle)])
    expected = Path(outline).contains_points(placement.points)
    assert 30 < expected.sum() < 370
    np.testing.assert_array_equal(placement.inside(outline), expected)
    assert not placement.inside(outline[:2]).any()
    eight = np.array([[0, 0], [100, 100], [0, 100], [100, 0]], float)
    assert placement.inside(eight).any(), "an outline may cross itself"


def test_cells_without_a_position_are_inside_nothing(make_adata):
    adata = make_adata(50)
    adata.obsm["spatial"][[0, 7]] = np.nan
    placement = place(adata)
    everything = np.array([[-99, -99], [-99, 999], [999, 999], [999, -99]], float)
    assert np.flatnonzero(~placement.inside(everything)).tolist() == [0, 7]
    assert placement.point_of(7) is None
    assert placement.point_of(8) == 6


def test_what_is_in_view_is_selected_by_keys(viewer, session, tissue, window, qtbot):
    from napari_cellama.ui.panel import canvas_of

    layer, native = layers_of(viewer).layer_of(tissue), canvas_of(viewer)
    camera = viewer.scene.camera
    camera.center = tuple(layer.data_to_world(layer.data[0]))
    camera.zoom = camera.zoom * 3

    def seen():
        half = np.asarray(viewer.canvas.size) / camera.zoom / 2
        off = np.abs(layer.data - np.asarray(camera.center)[-2:])
        return np.flatnonzero((off <= half).all(axis=1)).tolist()

    first = seen()
    assert 0 < len(first) < 120
    qtbot.keyClick(native, Qt.Key.Key_E)
    assert chosen(tissue) == first
    camera.center = tuple(layer.data_to_world(layer.data[-1]))
    assert not set(first) & set(seen())
    qtbot.keyClick(native, Qt.Key.Key_E, SHIFT)
    assert chosen(tissue) == sorted([*first, *seen()])
    qtbot.keyClick(native, Qt.Key.Key_E, Qt.KeyboardModifier.AltModifier)
    assert chosen(tissue) == first
    session.undo()
    assert chosen(tissue) == sorted([*first, *seen()])
    viewer.dims.ndisplay = 3
    said = []
    session.message.connect(lambda *message: said.append(message[1]))
    qtbot.keyClick(native, Qt.Key.Key_E)
    assert "2D" in said[0]
