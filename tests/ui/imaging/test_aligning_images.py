"""Images are aligned by values and landmarks in the QC dock, kept, and removed."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from napari.layers import Layer
from qtpy.QtCore import QPoint, Qt

import napari_cellama as nc
from imaging_hands import (
    MICROMETRES,
    PATIENCE,
    add,
    choose,
    image_layers,
    wait,
    write_photo,
    write_pyramid,
)
from napari_cellama.ui.contributions import read_layers
from napari_cellama.ui.judging import judgement_of

LEFT = Qt.MouseButton.LeftButton


def click_world(canvas, y, x):
    """Click on the canvas at a place of the world; returns where that is exactly."""
    viewer = canvas.viewer
    centre = np.asarray(viewer.scene.camera.center)[-2:]
    size = np.array([canvas.native.height(), canvas.native.width()])
    zoom = viewer.scene.camera.zoom
    pixel = np.rint((np.array([y, x]) - centre) * zoom + size / 2).astype(int)
    assert (pixel >= 0).all()
    assert (pixel < size).all(), "the place cannot be seen"
    canvas.click_at(*(int(value) for value in pixel))
    return (pixel - size / 2) / zoom + centre


# ---- aligning


def test_typed_values_align_as_steps(open_dock, make_adata, viewer, monkeypatch, tmp_path, qtbot):
    dock, session = open_dock(make_adata(100))
    add(dock, session, write_photo(tmp_path / "photo.tif"), monkeypatch, qtbot)
    (layer,) = image_layers(viewer)
    beside = layer.affine.affine_matrix.copy()
    values = dock.images.values
    choose(dock.images.how, "typed values")
    assert values.isVisible()

    def type_in(box, text):
        box.setFocus()
        box.selectAll()
        qtbot.keyClicks(box, text)
        qtbot.keyClick(box, Qt.Key.Key_Return)

    for box, text in (
        (values.size, "2"),
        (values.x, "10"),
        (values.y, "-5"),
        (values.rotation, "90"),
    ):
        type_in(box, text)
    assert session.active.history.undo_name == "Align photo by values"
    assert session.active.images[0].how == "values"
    # The first pixel's corner lies at (10, -5); turned clockwise, columns run down, rows left.
    np.testing.assert_allclose(layer.data_to_world((-0.5, -0.5)), (-5, 10), atol=1e-6)
    np.testing.assert_allclose(layer.data_to_world((-0.5, 9.5)), (15, 10), atol=1e-6)
    np.testing.assert_allclose(layer.data_to_world((9.5, -0.5)), (-5, -10), atol=1e-6)
    qtbot.mouseClick(values.flip, LEFT, pos=QPoint(8, values.flip.height() // 2))
    np.testing.assert_allclose(layer.data_to_world((-0.5, 9.5)), (-25, 10), atol=1e-6)
    assert (values.size.value(), values.rotation.value()) == (2, 90)
    for _ in range(5):
        session.undo()
    np.testing.assert_allclose(layer.affine.affine_matrix, beside)
    assert session.active.images[0].how == "none"
    choose(dock.images.how, "what the file says")
    assert "does not say how large its pixels are" in dock.message.sentence.text()
    np.testing.assert_allclose(layer.affine.affine_matrix, beside)


def align_by_clicks(dock, session, canvas, truth, places):
    """Click in turn on the image and among the cells; returns what was clicked exactly."""
    clicked = []
    for x, y in places:
        attached = session.imaging.attached(session.active)
        column_row = truth @ [x, y, 1]
        linear, shift = attached.to_pixels[:, :2], attached.to_pixels[:, 2]
        at_x, at_y = np.linalg.solve(linear, column_row - shift)
        on_image = click_world(canvas, at_y, at_x)
        clicked.append((linear @ on_image[::-1] + shift, click_world(canvas, y, x)[::-1]))
    return clicked


def test_landmarks_bring_an_image_to_its_cells_and_stay(
    open_dock, make_adata, viewer, canvas, monkeypatch, tmp_path, qtbot
):
    dock, session = open_dock(make_adata(100))
    add(dock, session, write_photo(tmp_path / "photo.tif", 600, 600), monkeypatch, qtbot)
    (layer,) = image_layers(viewer)
    choose(dock.images.how, "landmarks")
    landmarks, window = dock.images.landmarks, canvas(viewer)
    qtbot.mouseClick(landmarks.set_button, LEFT)
    assert landmarks.hint.text() == "Click a place on the image (landmark 1)."
    click_world(window, 40, 40)
    assert "not on the image 'photo'" in dock.message.sentence.text()
    truth = np.array([[0.0, 5.0, 40.0], [-5.0, 0.0, 520.0]])  # turned and scaled
    corners = [(10, 10), (80, 15), (15, 85)]
    pins = viewer.scene.overlays["cellama_pins"]
    clicked = align_by_clicks(dock, session, window, truth, corners[:2])
    assert landmarks.fit.text().startswith("2 pairs of at least 3")
    assert session.active.images[0].how == "none"
    assert (len(pins.on_image), len(pins.on_cells)) == (2, 2)
    np.testing.assert_allclose(np.array(pins.on_cells)[:, ::-1], [c[1] for c in clicked], atol=1e-4)
    before = layer.affine.affine_matrix.copy()
    clicked += align_by_clicks(dock, session, window, truth, corners[2:])
    assert not np.allclose(before, layer.affine.affine_matrix), "it moves at once"
    for pixel, place in clicked:
        there = layer.data_to_world(pixel[::-1] - 0.5)
        np.testing.assert_allclose(there, place[::-1], atol=1e-3)
    fourth = align_by_clicks(dock, session, window, truth, [(70, 80)])
    assert len(fourth) == 1
    attached = session.active.images[0]
    assert attached.how == "landmarks"
    expected = [f"{off:,.2f}" for off in attached.fit().residuals]
    assert [landmarks.table.item(row, 3).text() for row in range(4)] == expected
    assert f"Off by {attached.fit().rms:,.2f} µm (root mean square)" in landmarks.fit.text()
    assert attached.fit().rms < 2
    assert session.active.history.undo_name == "Add landmark 4 of photo"
    assert session.active.picked is None, "no cell was picked meanwhile"
    qtbot.mouseClick(landmarks.set_button, LEFT)
    assert session.tool == "pick"
    landmarks.table.selectRow(1)
    qtbot.mouseClick(landmarks.remove_button, LEFT)
    assert len(session.active.images[0].pixels) == 3
    np.testing.assert_allclose(session.active.images[0].pixels, attached.pixels[[0, 2, 3]])
    session.undo()
    np.testing.assert_allclose(session.active.images[0].to_pixels, attached.to_pixels)


def test_landmarks_on_a_line_are_refused_in_the_dock(
    open_dock, make_adata, viewer, canvas, monkeypatch, tmp_path, qtbot
):
    dock, session = open_dock(make_adata(100))
    add(dock, session, write_photo(tmp_path / "photo.tif", 600, 600), monkeypatch, qtbot)
    (layer,) = image_layers(viewer)
    before = layer.affine.affine_matrix.copy()
    choose(dock.images.how, "landmarks")
    landmarks = dock.images.landmarks
    qtbot.mouseClick(landmarks.set_button, LEFT)
    truth = np.array([[5.0, 0.0, 20.0], [0.0, 5.0, 20.0]])
    align_by_clicks(dock, session, canvas(viewer), truth, [(10, 10), (45, 45), (80, 80)])
    assert "lie on a line, so the image could be tilted" in landmarks.fit.text()
    np.testing.assert_allclose(layer.affine.affine_matrix, before)
    assert session.active.images[0].how == "none"
    qtbot.keyClick(viewer.window._qt_viewer.canvas.native, Qt.Key.Key_Escape)
    assert session.tool == "pick"


def test_an_image_far_from_the_cells_is_put_beside_them_for_landmarks(
    open_dock, make_adata, viewer, monkeypatch, tmp_path, qtbot
):
    planes = np.zeros((1, 64, 96), np.uint16)
    write_pyramid(tmp_path / "scan.ome.tif", planes, **{**MICROMETRES, "PhysicalSizeX": 0.001,
                                                        "PhysicalSizeY": 0.001})  # fmt: skip
    dock, session = open_dock(make_adata(100))
    add(dock, session, tmp_path / "scan.ome.tif", monkeypatch, qtbot)
    choose(dock.images.how, "landmarks")
    qtbot.mouseClick(dock.images.landmarks.set_button, LEFT)
    (layer,) = image_layers(viewer)
    assert np.ptp(layer.extent.world, axis=0).max() > 40
    assert session.active.history.undo_name == "Put scan beside the cells"


def test_an_image_moves_with_its_section(
    open_dock, make_adata, viewer, monkeypatch, tmp_path, qtbot
):
    adata = make_adata(80, sections=2)
    adata.obsm["spatial"][40:] -= adata.obsm["spatial"][40:].min(axis=0)
    planes = np.zeros((1, 256, 256), np.uint16)
    write_pyramid(tmp_path / "scan.ome.tif", planes, **MICROMETRES)
    dock, session = open_dock(adata)
    add(dock, session, tmp_path / "scan.ome.tif", monkeypatch, qtbot)
    (layer,) = image_layers(viewer)
    placement = dock._layers.placement_of(session.active)
    for section in ("section 1", "section 0"):
        choose(dock.images.section, section)
        corner = layer.data_to_world((-0.5, -0.5))
        np.testing.assert_allclose(corner, placement.offset_of(section), atol=1e-9)
    assert session.active.history.undo_name == "Move scan to section 0"


# ---- keeping


def test_saved_and_opened_again_thresholds_flags_metrics_and_alignment_are_the_same(
    viewer, open_dock, monkeypatch, tmp_path, qtbot
):
    adata = nc.sample.tissue(600, seed=4)
    pixels = adata.uns["spatial"]["sample"]["images"]["hires"]
    factor = adata.uns["spatial"]["sample"]["scalefactors"]["tissue_hires_scalef"]
    tifffile.imwrite(tmp_path / "he.tif", pixels, photometric="rgb")
    del adata.uns["spatial"]
    dock, session = open_dock(adata)
    add(dock, session, tmp_path / "he.tif", monkeypatch, qtbot)
    session.imaging.aligning.by_values("he", 1 / factor, (0.0, 0.0), 0.0, False)
    choose(dock.images.measured.image, "he")
    assert session.active.history.undo_name == "Measure on he"
    session.undo()
    assert dock.images.measured.image.currentText() == "the one that fits best"
    session.redo()
    qtbot.mouseClick(dock.measure_button, LEFT)
    wait(qtbot, session)
    row = dock.rows["qc_n_genes"]
    row.low.setFocus()
    row.low.selectAll()
    qtbot.keyClicks(row.low, "2")
    qtbot.keyClick(row.low, Qt.Key.Key_Return)
    session.select(np.arange(600) < 3)
    session.editing.flag()
    tissue = session.active
    judgement, quality = judgement_of(tissue), tissue.quality
    assert quality.image_name == "he"
    session.save(tmp_path / "kept.h5ad")
    wait(qtbot, session)
    for layer in list(viewer.layers):
        viewer.layers.remove(layer)
    assert session.active is None
    for data in read_layers(str(tmp_path / "kept.h5ad")):
        viewer.add_layer(Layer.create(*data))
    wait(qtbot, session)
    qtbot.waitUntil(lambda: session.active.has_matrix, timeout=PATIENCE)
    again = session.active
    assert again is not tissue
    assert again.thresholds == tissue.thresholds
    assert again.thresholds.of("qc_n_genes").low == 2
    np.testing.assert_array_equal(judgement_of(again).fails, judgement.fails)
    assert (again.assemble().obs["flag"].iloc[:3] == "flagged").all()
    for name in quality.table:
        np.testing.assert_allclose(again.quality.table[name], quality.table[name])
    (layer,) = image_layers(viewer)
    np.testing.assert_allclose(layer.affine.affine_matrix[:2, 2], [0.5 / factor] * 2)
    assert dock.images.how.currentText() == "typed values"
    assert dock.images.values.size.value() == pytest.approx(1 / factor, abs=1e-4)
    assert not dock.images.measured.moved.isVisible()
    assert dock.images.measured.image.currentText() == "he"
    session.imaging.remove("he")
    assert dock.images.measured.image.currentText() == "the one that fits best"
    session.undo()
    assert dock.images.measured.image.currentText() == "he"
    session.imaging.aligning.by_values("he", 1 / factor, (30.0, 0.0), 0.0, False)
    assert dock.images.measured.moved.isVisible()


def test_a_removed_image_is_gone_from_window_and_file(
    open_dock, make_adata, viewer, monkeypatch, tmp_path, qtbot
):
    adata = make_adata(64)
    nc.attach_image(adata, write_photo(tmp_path / "photo.tif", 90, 90), pixel_size=1.0)
    dock, session = open_dock(adata)
    wait(qtbot, session)
    assert len(image_layers(viewer)) == 1
    qtbot.mouseClick(dock.images.remove_button, LEFT)
    assert image_layers(viewer) == []
    assert "images" not in session.active.assemble().uns["cellama"]
    assert "photo" in adata.uns["cellama"]["images"], "the user's own object is not touched"
    session.apply_to_owner()
    assert "images" not in adata.uns["cellama"]
    session.undo()
    assert len(image_layers(viewer)) == 1
    assert "photo" in session.active.assemble().uns["cellama"]["images"]


def test_a_layer_that_the_user_deletes_does_not_come_again_by_itself(
    open_dock, make_adata, viewer, monkeypatch, tmp_path, qtbot
):
    dock, session = open_dock(make_adata(64))
    add(dock, session, write_photo(tmp_path / "photo.tif", 90, 90), monkeypatch, qtbot)
    viewer.layers.remove(image_layers(viewer)[0])
    session.imaging.aligning.by_values("photo", 1.0, (0.0, 0.0), 0.0, False)
    assert image_layers(viewer) == []
    assert dock.images.image.currentText() == "photo"
