"""Cells drawn as their outlines in a real window: coloured, picked and hidden as dots are."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import dask
import numpy as np
import pytest
from napari.layers import Image
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

import napari_cellama as nc
from napari_cellama.core.boundaries import Boundaries
from napari_cellama.io.boundaries import boundaries_of
from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.contributions import get_reader
from napari_cellama.ui.launch import open_docks
from napari_cellama.ui.layers import show
from napari_cellama.ui.outlines import color_tables, placed
from napari_cellama.ui.panel import main_window
from napari_cellama.ui.placement import place
from napari_cellama.ui.tissue import Coloring, Tissue
from napari_cellama.ui.widgets.clusters import ClustersDock

sys.path.insert(0, str(Path(__file__).parents[1]))
import platform_folders as make


@pytest.fixture(autouse=True)
def _no_threads_of_dask():
    with dask.config.set(scheduler="synchronous"):
        yield


def with_outlines(adata, radius=4.0, leave_out=()):
    """Give a test's tissue square outlines, wider than high."""
    xy = adata.obsm["spatial"][:, :2]
    corners = np.array([[-1, -0.8], [1, -0.8], [1, 0.8], [-1, 0.8]]) * radius
    names = adata.obs_names.to_numpy()
    kept = ~np.isin(np.arange(adata.n_obs), leave_out)
    adata.uns["cellama"]["boundaries"] = {
        "cells": {
            "vertices": (xy[kept, None] + corners).reshape(-1, 2),
            "offsets": np.arange(kept.sum() + 1) * 4,
            "names": names[kept],
        }
    }
    return adata


@pytest.fixture
def outlined(viewer, make_adata, qtbot):
    """Return a tissue on the canvas whose cells are drawn filled."""
    session = session_of(viewer)
    tissue = Tissue.from_adata(with_outlines(make_adata(36), leave_out=(5,)), "section")
    show(viewer, tissue)
    qtbot.waitUntil(lambda: tissue.boundaries is not None)
    session.draw_as("filled")
    settle(viewer, tissue, qtbot)
    return tissue


def settle(viewer, tissue, qtbot):
    outlines = layers_of(viewer).outlines
    qtbot.waitUntil(lambda: outlines.tiles_of(tissue) is not None)
    viewer.reset_view()
    for _ in range(3):
        viewer.screenshot(canvas_only=True, flash=False)
        qtbot.waitUntil(lambda: outlines.tiles_of(tissue).is_settled)
        qtbot.wait(20)


def pixels(viewer, tissue, canvas, qtbot, cells, off=(0.0, 0.0)):
    """Return what is drawn at cells' middles, or (x, y) off them."""
    settle(viewer, tissue, qtbot)
    picture = viewer.screenshot(canvas_only=True, flash=False)
    size = np.array(picture.shape[:2])
    centre = np.asarray(viewer.scene.camera.center)[-2:]
    xy = tissue.snapshot.obsm["spatial"][cells] + np.array(off)
    place = (xy[:, ::-1] - centre) * viewer.scene.camera.zoom + size / 2
    return np.array([picture[int(r), int(c), :3] for r, c in place]).astype(int)


def expected(viewer, tissue, cells):
    rgba = layers_of(viewer).colors_of(tissue, np.asarray(cells))
    return np.round(255 * rgba[:, :3] * rgba[:, 3:] * 0.8).astype(int)


def test_outlines_lie_under_the_points_in_the_cells_colours(viewer, outlined, canvas, qtbot):
    names = [layer.name for layer in viewer.layers]
    assert names == ["section · outlines", "section"]
    assert not viewer.layers["section"].visible
    cells = np.array([0, 7, 20, 35])
    wanted = expected(viewer, outlined, cells)
    np.testing.assert_allclose(pixels(viewer, outlined, canvas, qtbot, cells), wanted, atol=4)
    # Near the right border, inside the outline and outside of where its dot would be.
    at = pixels(viewer, outlined, canvas, qtbot, cells, (3.2, -2.2))
    np.testing.assert_allclose(at, wanted, atol=4)
    assert (pixels(viewer, outlined, canvas, qtbot, cells[:3], (5.0, 4.5)) < 12).all()
    # Nobody has seen the border of cell 5, so it is a small dot.
    np.testing.assert_allclose(
        pixels(viewer, outlined, canvas, qtbot, [5]), expected(viewer, outlined, [5]), atol=4
    )
    assert (pixels(viewer, outlined, canvas, qtbot, [5], (3.2, -2.2)) < 12).all()


def test_painting_anew_draws_no_outline_again(viewer, outlined, canvas, qtbot, monkeypatch):
    session, raster = session_of(viewer), layers_of(viewer).outlines.tiles_of(outlined).raster
    pixels(viewer, outlined, canvas, qtbot, [0])
    drawn = []
    monkeypatch.setattr(raster, "tile", lambda *key: drawn.append(key))
    cells = np.arange(6, 18)
    before = expected(viewer, outlined, cells)
    session.color_by(Coloring("gene", "CD3E"))
    after = expected(viewer, outlined, cells)
    assert (before != after).any()
    np.testing.assert_allclose(pixels(viewer, outlined, canvas, qtbot, cells), after, atol=4)
    mask = np.arange(36) < 10
    session.select(mask)
    outlined.hidden = np.arange(36) == 12
    session.selection_changed.emit(outlined)
    now = pixels(viewer, outlined, canvas, qtbot, cells)
    np.testing.assert_allclose(now, expected(viewer, outlined, cells), atol=4)
    assert (now[6] < 12).all()  # cell 12 is hidden
    assert np.ptp(now[8]) < 6  # those beside the selection are grey
    assert not drawn


def test_a_click_inside_an_outline_picks_its_cell_though_dots_are_hidden(
    viewer, outlined, canvas, qtbot
):
    hand = canvas(viewer)
    points = layers_of(viewer).layer_of(outlined)
    hand.settle()
    row, column = hand.pixel_of(points, 14)
    hand.click_at(row + 3, column - 3)
    assert outlined.picked == 14
    layers_of(viewer).outlines.layer_of(outlined).visible = False
    hand.click(points, 20)
    assert outlined.picked == 14  # nothing is to be seen there


def test_the_dock_offers_outlines_where_there_are_some(viewer, make_adata, qtbot):
    dock = ClustersDock(viewer)
    viewer.window.add_dock_widget(dock, name="Clusters (CELLama)")
    session = session_of(viewer)
    plain = Tissue.from_adata(make_adata(16), "plain")
    show(viewer, plain)
    assert not dock.shape.isVisible()
    tissue = Tissue.from_adata(with_outlines(make_adata(16, seed=1)), "outlined")
    show(viewer, tissue)
    qtbot.waitUntil(dock.shape.isVisible)
    assert dock.shape.currentText() == "Dots"
    dock.shape.setFocus()
    QTest.keyClick(dock.shape, Qt.Key.Key_Down)
    settle(viewer, tissue, qtbot)
    assert dock.shape.currentText() == "Outlines, filled"
    outlines = layers_of(viewer).outlines
    assert outlines.is_visible(tissue)
    QTest.keyClick(dock.shape, Qt.Key.Key_Up)
    assert not outlines.is_visible(tissue)
    assert layers_of(viewer).layer_of(tissue).visible
    session.activate(plain)
    assert not dock.shape.isVisible()


def test_removing_either_layer_leaves_nothing_half_shown(viewer, outlined):
    layers = layers_of(viewer)
    viewer.layers.remove(layers.outlines.layer_of(outlined))
    assert outlined.shape == "dots"
    assert layers.layer_of(outlined).visible
    session_of(viewer).draw_as("outlines")


def test_removing_the_points_takes_the_outlines_along(viewer, outlined):
    viewer.layers.remove(layers_of(viewer).layer_of(outlined))
    assert not viewer.layers
    assert not session_of(viewer).tissues


def test_outlines_move_with_their_sections(make_adata):
    adata = with_outlines(make_adata(40, sections=2))
    adata.obsm["spatial"][3] = np.nan
    placement = place(adata)
    boundaries, _ = boundaries_of(adata)
    moved = placed(boundaries, adata.obsm["spatial"], placement)
    assert len(moved) == 39
    middles = (moved.boxes[:, :2] + moved.boxes[:, 2:]) / 2
    np.testing.assert_allclose(middles, placement.points[:, ::-1], atol=1e-3)
    assert any(any(offset) for offset in placement.offsets.values())


def test_edges_are_darker_than_insides_and_carry_the_colour_alone():
    rgba = np.array([[1, 0.5, 0, 1], [0, 0, 1, 0.0]])
    fine, coarse = color_tables(rgba, 0.4, alone=False)
    assert not fine[:2].any()
    assert fine[2].tolist() == [255, 128, 0, 102]
    assert fine[3, 0] < 255
    assert fine[3, 3] > fine[2, 3]
    assert not fine[4:, 3].any()
    assert not coarse[4:, 3].any()
    fine, _ = color_tables(rgba, 0.4, alone=True)
    assert fine[2, 3] == 0
    assert fine[3, :3].tolist() == [255, 128, 0]


def test_a_platforms_folder_opens_through_napari(viewer, tmp_path, qtbot):
    make.xenium(tmp_path / "output-XETG")
    viewer.open(tmp_path / "output-XETG", plugin="napari-cellama")
    session = session_of(viewer)
    tissue = session.active
    qtbot.waitUntil(lambda: tissue.has_matrix and tissue.boundaries is not None)
    qtbot.waitUntil(lambda: len(viewer.layers) == 3)  # the image is opened meanwhile
    assert [layer.name for layer in viewer.layers] == [
        "output-XETG · morphology_focus_0000 DAPI",
        "output-XETG · morphology_focus_0000 ATP1A1",
        "output-XETG",
    ]
    image, cells = viewer.layers[0], viewer.layers[-1]
    assert {str(unit) for unit in (*image.units, *cells.units)} == {"micrometer"}
    plane = make.morphology()[0]
    for cell in (0, 17, 35):
        row, column = image.world_to_data(cells.data_to_world(cells.data[cell]))
        assert plane[round(row), round(column)] == 1000 + cell
    assert tissue.snapshot.X.sum() == make.counts(6)[:, :4].sum()
    session.draw_as("outlines")
    settle(viewer, tissue, qtbot)
    assert isinstance(viewer.layers[-2], Image)
    assert viewer.layers[-2].name.endswith("outlines")


def test_a_section_whose_file_of_outlines_is_gone_opens_with_one_notice(viewer, tmp_path, qtbot):
    make.xenium(tmp_path / "x")
    adata = nc.read(tmp_path / "x")
    del adata.uns["cellama"]["images"]
    nc.write(adata, tmp_path / "saved.h5ad")
    shutil.rmtree(tmp_path / "x")
    session = session_of(viewer)
    said = []
    session.message.connect(lambda level, text, _: said.append((level, text)))
    viewer.open(tmp_path / "saved.h5ad", plugin="napari-cellama")
    tissue = session.active
    qtbot.waitUntil(lambda: tissue.has_matrix and bool(said))
    assert len(said) == 1
    assert said[0][0] == "warning"
    assert "is not there any more. The cells are shown without outlines." in said[0][1]
    assert tissue.boundaries is None


def test_folders_of_others_are_refused(tmp_path):
    (tmp_path / "slices").mkdir()
    (tmp_path / "slices" / "a.tif").touch()
    assert get_reader(str(tmp_path / "slices")) is None
    assert get_reader([str(tmp_path / "slices")]) is None


def test_the_real_visium_folder_opens_with_spots_on_their_tissue(shared_data, viewer, qtbot):
    folder = shared_data / "visium_mini"
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}")
    before = len(notification_manager.records)
    viewer.open(folder, plugin="napari-cellama")
    said = [note.message for note in notification_manager.records[before:]]
    assert said == ["The image 'hires' of visium_mini is of one colour all over."]
    tissue = session_of(viewer).active
    qtbot.waitUntil(lambda: tissue.has_matrix)
    cells = viewer.layers["visium_mini"]
    image = next(layer for layer in viewer.layers if layer.name.endswith("lowres"))
    assert image.visible
    assert not next(layer for layer in viewer.layers if layer.name.endswith("hires")).visible
    spots = dict(zip(tissue.snapshot.obs_names, cells.data, strict=True))
    # By Space Ranger's table: row 8513 and column 9811 of the full image, times 0.045004502.
    row, column = image.world_to_data(cells.data_to_world(spots["AAACAAGTATCTCCCA-1"]))
    assert (row, column) == pytest.approx((8513 * 0.045004502, 9811 * 0.045004502), abs=0.6)
    pixels = np.asarray(image.data).astype(int)
    rows, columns = (slice(round(at) - 2, round(at) + 3) for at in (row, column))
    red, green = pixels[rows, columns, 0], pixels[rows, columns, 1]
    assert (red - green).max() > 25  # muscle, which haematoxylin and eosin make red
    assert np.ptp(pixels[5, 300]) < 15  # glass
    # A spot is as wide as Space Ranger says.
    assert cells.size[0] <= 89.43


def test_boundaries_are_shared_not_copied(outlined):
    assert isinstance(outlined.boundaries, Boundaries)
    assert outlined.boundaries.has_outline.sum() == 35


def test_from_afar_and_in_the_list_outlines_have_the_colours_of_now(
    viewer, outlined, canvas, qtbot
):
    """napari asks for the coarsest level once and keeps it."""
    session, layer = session_of(viewer), layers_of(viewer).outlines.layer_of(outlined)
    viewer.scene.camera.zoom /= 20
    viewer.screenshot(canvas_only=True, flash=False)
    assert layer.data_level == len(layer.data) - 1
    before = expected(viewer, outlined, np.array([7]))
    session.color_by(Coloring("gene", "CD3E"))
    after = expected(viewer, outlined, np.array([7]))
    assert (before != after).any()
    row, column = layer.world_to_data(outlined.snapshot.obsm["spatial"][7, ::-1])
    shape = np.array(layer.data[-1].shape[:2]) / layer.data[0].shape[:2]
    row, column = (np.array([row, column]) * shape).astype(int)
    shown = np.asarray(layer._slice.image.view)[row, column]
    np.testing.assert_allclose(shown[:3] * (shown[3] / 255), after[0], atol=4)
    thumbnail = np.asarray(layer.thumbnail)[..., :3].reshape(-1, 3)
    assert (thumbnail.max(axis=1) > 0).any()


def test_dots_that_come_back_have_the_colours_of_now(viewer, outlined, canvas, qtbot):
    session, points = session_of(viewer), layers_of(viewer).layer_of(outlined)
    session.color_by(Coloring("gene", "CD3E"))
    session.draw_as("dots")
    hand = canvas(viewer)
    hand.settle()
    picture = viewer.screenshot(canvas_only=True, flash=False)
    rgba = layers_of(viewer).colors_of(outlined, np.arange(36))
    for cell in (0, 7, 20, 35):
        row, column = hand.pixel_of(points, cell)
        shown = picture[int(row), int(column), :3].astype(int)
        np.testing.assert_allclose(shown, 255 * rgba[cell, :3] * rgba[cell, 3], atol=4)


def test_the_tissue_keeps_its_share_beside_outlines_and_what_was_open_before(
    viewer, make_adata, qtbot
):
    viewer.window.resize(1280, 800)
    levels = [np.zeros((32_768 >> k,) * 2, np.uint16) for k in range(3)]
    viewer.add_image(levels, multiscale=True, contrast_limits=(0, 60_000), units=("um", "um"))
    canvas, window = viewer.window._qt_viewer.canvas.native, main_window(viewer)
    # napari has worked out by now how wide the longest name of a level is.
    qtbot.waitUntil(lambda: canvas.width() < 1280 - 340)
    tissue, session = (
        Tissue.from_adata(with_outlines(make_adata(36)), "section"),
        session_of(viewer),
    )
    show(viewer, tissue)
    open_docks(viewer)
    qtbot.waitUntil(lambda: tissue.boundaries is not None)
    session.draw_as("filled")
    outlines = layers_of(viewer).outlines
    qtbot.waitUntil(lambda: outlines.is_visible(tissue))
    drawn, points = outlines.layer_of(tissue), layers_of(viewer).layer_of(tissue)
    for selected in ({viewer.layers[0]}, {drawn}, {points}, {drawn, viewer.layers[0]}, {points}):
        viewer.layers.selection = selected
        qtbot.wait(60)
        assert window.width() == 1280
        assert canvas.width() >= 0.46 * 1280, selected
