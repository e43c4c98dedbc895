"""Images of all kinds are added in the QC dock, and what is wrong with them is said."""

from __future__ import annotations

import shutil
import warnings

import numpy as np
import pytest
import tifffile
import zarr
from napari.layers import Layer
from napari.utils.notifications import notification_manager
from PIL import Image
from qtpy.QtCore import Qt

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
from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.image_tiles import slot_of, tiles_of
from napari_cellama.ui.images import IMAGE, INSIDE

LEFT = Qt.MouseButton.LeftButton


# ---- those of uns['spatial']


def test_the_channels_of_an_image_inside_are_named_coloured_and_chosen(
    open_dock, make_adata, viewer, qtbot
):
    adata = make_adata(100)
    pixels = np.random.default_rng(0).integers(0, 4000, (90, 95, 5), dtype=np.uint16)
    names = ["DAPI", "CD3", "CD8", "CD20", "CK"]
    metadata = {"channels": names, "channel_colors": ["#0000ff", "", "#FF0000", "", "none"]}
    images = {"images": {"hires": pixels}, "scalefactors": {}, "metadata": metadata}
    adata.uns["spatial"] = {"s": images}
    dock, _ = open_dock(adata)

    def shown():
        found = [layer for layer in viewer.layers if INSIDE in layer.metadata]
        return {layer.name.removeprefix("section · hires "): layer for layer in found}

    assert list(shown()) == names[:3]
    assert [layer.blending for layer in shown().values()] == ["opaque", "additive", "additive"]
    ends = [layer.colormap.colors[-1][:3].tolist() for layer in shown().values()]
    assert ends[0] == [0, 0, 1]
    assert ends[2] == [1, 0, 0]
    assert len(set(map(tuple, ends))) == 3, "those without a colour are told apart, too"
    actions = {action.text(): action for action in dock.images.shown.menu.actions()}
    assert list(actions) == names
    actions["DAPI"].trigger()
    actions["CK"].trigger()
    assert set(shown()) == {"CD3", "CD8", "CK"}
    np.testing.assert_array_equal(np.asarray(shown()["CK"].data), pixels[..., 4])
    assert [layer.name for layer in viewer.layers][-1] == "section", "cells stay on top"
    viewer.layers.remove(shown()["CD3"])
    actions["CD20"].trigger()
    assert set(shown()) == {"CD8", "CK", "CD20"}, "what the user deleted stays away"


def test_a_large_image_inside_has_coarse_levels_that_are_drawn_in_the_background(
    open_dock, make_adata, viewer, qtbot
):
    adata = make_adata(100)
    pixels = np.zeros((4400, 4200, 3), np.uint8)
    pixels[:, 2100:] = (200, 100, 50)
    factors = {"tissue_hires_scalef": 40.0}
    adata.uns["spatial"] = {"s": {"images": {"hires": pixels}, "scalefactors": factors}}
    open_dock(adata)
    layer = next(layer for layer in viewer.layers if INSIDE in layer.metadata)
    sides = layer.level_shapes[:, :2].tolist()
    assert sides == [[4400, 4200], [2200, 2100], [1100, 1050], [550, 525]]
    session = session_of(viewer)
    qtbot.waitUntil(lambda: session.jobs.current(slot_of(layer)) is None, timeout=PATIENCE)
    coarse = np.asarray(layer.data[-1])
    assert coarse[300, 400].tolist() == [200, 100, 50]
    assert not coarse[300, 100].any()
    viewer.layers.remove(layer)
    assert tiles_of(layer).is_settled


# ---- adding


def test_without_an_image_the_part_explains_itself_and_the_rest_works(open_dock, make_adata, qtbot):
    dock, session = open_dock(make_adata(200))
    assert "No image belongs to these cells yet." in dock.images.about.text()
    for hidden in (dock.images.image, dock.images.how, dock.images.values, dock.images.measured):
        assert not hidden.isVisible()
    qtbot.mouseClick(dock.measure_button, LEFT)
    wait(qtbot, session)
    assert "only the cells themselves are judged" in dock.no_image.text()
    assert set(dock.rows) >= {"qc_n_genes", "qc_total_counts"}


def test_an_image_that_states_its_pixel_size_lies_at_once_where_it_says(
    open_dock, make_adata, viewer, monkeypatch, tmp_path, qtbot
):
    planes = np.random.default_rng(0).integers(0, 4000, (2, 256, 256), dtype=np.uint16)
    channels = {"Channel": {"Name": ["DAPI", "CD3"], "Color": [65535, -16776961]}}
    write_pyramid(tmp_path / "scan.ome.tif", planes, **MICROMETRES, **channels)
    adata = make_adata(100)
    adata.obsm["spatial"] += 5
    dock, session = open_dock(adata)
    add(dock, session, tmp_path / "scan.ome.tif", monkeypatch, qtbot)
    layers = image_layers(viewer)
    assert [layer.name for layer in layers] == ["section · scan DAPI", "section · scan CD3"]
    assert viewer.layers[-1] is viewer.layers.selection.active, "the cells stay on top and chosen"
    np.testing.assert_allclose(layers[0].world_to_data((0, 0)), (-0.5, -0.5))
    np.testing.assert_allclose(layers[0].world_to_data((40, 20)), (79.5, 39.5))
    text = dock.images.about.text().replace("\u00a0", " ")
    assert text == "256 x 256 pixels, 2 channels, uint16, 2 levels; a pixel is 0.5 µm."
    assert dock.images.how.currentText() == "what the file says"
    assert not dock.images.notice.isVisible()
    session.undo()
    assert image_layers(viewer) == []
    assert "No image belongs" in dock.images.about.text()
    session.redo()
    assert len(image_layers(viewer)) == 2


def test_an_image_of_unknown_place_is_seen_beside_the_cells(
    open_dock, make_adata, viewer, monkeypatch, tmp_path, qtbot
):
    dock, session = open_dock(make_adata(100))
    add(dock, session, write_photo(tmp_path / "photo.tif", 600, 900), monkeypatch, qtbot)
    (layer,) = image_layers(viewer)
    cells = viewer.layers[-1].extent.world
    low, high = layer.extent.world
    assert low[1] > cells[1][1], "it covers no cell"
    assert 0.5 < (high - low).max() / np.ptp(cells, axis=0).max() < 2, "about as large as they"
    corners = np.array([cells[0], high])
    centre = np.asarray(viewer.scene.camera.center)[-2:]
    half = np.asarray(viewer.canvas.size) / viewer.scene.camera.zoom / 2
    assert (np.abs(corners - centre) <= half).all(), "both can be seen"
    assert dock.images.how.currentText() == "not aligned yet"
    assert "shown beside the cells" in dock.images.notice.text()
    assert "photo" not in [dock.images.measured.image.itemText(i) for i in range(3)]
    qtbot.mouseClick(dock.measure_button, LEFT)
    wait(qtbot, session)
    assert session.active.quality.image_name == ""
    assert "The image 'photo' is not aligned yet" in dock.message.sentence.text()


def test_images_of_unknown_place_cover_neither_each_other_nor_the_sections_own(
    open_dock, make_adata, viewer, monkeypatch, tmp_path, qtbot
):
    adata = make_adata(100)
    picture = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    adata.uns["spatial"] = {"s": {"images": {"hires": picture}, "scalefactors": {}}}
    dock, session = open_dock(adata)
    for name in ("one", "two"):
        add(dock, session, write_photo(tmp_path / f"{name}.tif", 60, 50), monkeypatch, qtbot)
    qtbot.mouseClick(dock.images.landmarks.set_button, LEFT)
    boxes = [layer.extent.world for layer in viewer.layers if type(layer).__name__ == "Image"]
    assert len(boxes) == 3
    for number, (low, high) in enumerate(boxes):
        for first, last in boxes[:number]:
            assert (low >= last).any() or (high <= first).any(), "they overlap"


def test_images_lie_below_outlines_and_stains_add_up(
    open_dock, make_adata, viewer, monkeypatch, tmp_path, qtbot
):
    adata = make_adata(36)
    adata.obsm["spatial"] += 5
    corners = np.array([[-3, -3], [3, -3], [3, 3], [-3, 3]])
    adata.uns["cellama"]["boundaries"] = {
        "cells": {
            "vertices": (adata.obsm["spatial"][:, None] + corners).reshape(-1, 2),
            "offsets": np.arange(37) * 4,
            "names": adata.obs_names.to_numpy(),
        }
    }
    dock, session = open_dock(adata)
    qtbot.waitUntil(lambda: session.active.boundaries is not None)
    session.draw_as("filled")
    outlines = layers_of(viewer).outlines
    qtbot.waitUntil(lambda: outlines.is_visible(session.active), timeout=PATIENCE)
    for name in ("dapi", "polyt"):
        planes = np.full((1, 128, 128), 500, np.uint16)
        write_pyramid(tmp_path / f"{name}.ome.tif", planes, **MICROMETRES)
        add(dock, session, tmp_path / f"{name}.ome.tif", monkeypatch, qtbot)
    names = [layer.name.removeprefix("section · ") for layer in viewer.layers]
    assert names == ["dapi", "polyt", "outlines", "section"]
    assert [layer.blending for layer in image_layers(viewer)] == ["opaque", "additive"]
    qtbot.waitUntil(lambda: outlines.tiles_of(session.active).is_settled, timeout=PATIENCE)


def test_an_image_of_pixels_is_taken_for_that_of_the_coordinates(
    open_dock, make_adata, viewer, monkeypatch, tmp_path, qtbot
):
    dock, session = open_dock(make_adata(64, units="pixel"))
    add(dock, session, write_photo(tmp_path / "photo.tif", 90, 90), monkeypatch, qtbot)
    (layer,) = image_layers(viewer)
    np.testing.assert_allclose(layer.world_to_data((10, 20)), (9.5, 19.5))
    assert dock.images.how.currentText() == "what the file says"


def test_a_spatialdata_store_offers_its_images(
    open_dock, make_adata, viewer, monkeypatch, tmp_path, qtbot
):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries that spatialdata loads
        import spatialdata as sd
        from spatialdata.models import Image2DModel, Labels2DModel

        pixels = np.random.default_rng(0).integers(0, 255, (2, 64, 96), dtype=np.uint8)
        image = Image2DModel.parse(pixels, dims=("c", "y", "x"), c_coords=["DAPI", "CD3"])
        labels = Labels2DModel.parse(np.arange(64 * 96).reshape(64, 96), dims=("y", "x"))
        store = sd.SpatialData(images={"he": image}, labels={"cells": labels})
        store.write(tmp_path / "s.zarr")
    dock, session = open_dock(make_adata(64))
    add(dock, session, tmp_path / "s.zarr", monkeypatch, qtbot)
    assert image_layers(viewer) == []
    choose(dock.images.store, "he")
    qtbot.mouseClick(dock.images.take_button, LEFT)
    wait(qtbot, session)
    names = [layer.name for layer in image_layers(viewer)]
    assert names == ["section · he DAPI", "section · he CD3"]
    assert not dock.images.store.isVisible()


def test_what_cannot_be_opened_is_said_in_one_sentence(
    open_dock, make_adata, viewer, monkeypatch, tmp_path, qtbot
):
    dock, session = open_dock(make_adata(64))
    (tmp_path / "broken.tif").write_bytes(b"II*\0 nothing")
    add(dock, session, tmp_path / "broken.tif", monkeypatch, qtbot)
    assert dock.message.sentence.text().startswith(f"The image {tmp_path / 'broken.tif'} cannot be")
    assert image_layers(viewer) == []
    assert session.active.history.undo_name is None
    assert dock.images.add_button.isEnabled()


def write_store(store):
    """Write an OME-Zarr of three levels of noise, half a micrometre a pixel."""
    rng = np.random.default_rng(0)
    group = zarr.open_group(store, mode="w")
    datasets = []
    for level, side in enumerate((128, 64, 32)):
        array = group.create_array(str(level), shape=(side, side), chunks=(32, 32), dtype="u2")
        array[:] = rng.integers(0, 4000, (side, side), dtype=np.uint16)
        scale = {"type": "scale", "scale": [0.5 * 2**level] * 2}
        datasets.append({"path": str(level), "coordinateTransformations": [scale]})
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}


def test_a_level_that_is_missing_is_said_and_gone_without(
    open_dock, make_adata, viewer, monkeypatch, tmp_path, qtbot
):
    store = tmp_path / "scan.zarr"
    write_store(store)
    shutil.rmtree(store / "1")
    dock, session = open_dock(make_adata(36))
    add(dock, session, store, monkeypatch, qtbot)
    assert "Level 1 of the image 'scan' is missing; it does without." in dock.images.notice.text()
    (layer,) = image_layers(viewer)
    assert len(layer.data) == 2


def test_a_level_that_cannot_be_read_is_said_and_nothing_is_added(
    open_dock, make_adata, viewer, monkeypatch, tmp_path, qtbot
):
    store = tmp_path / "scan.zarr"
    write_store(store)
    for chunk in (path for path in (store / "2").rglob("*") if path.suffix != ".json"):
        if chunk.is_file():
            chunk.write_bytes(b"broken")
    dock, session = open_dock(make_adata(36))
    add(dock, session, store, monkeypatch, qtbot)
    assert "Level 2 of the image 'scan' cannot be read" in dock.message.sentence.text()
    assert image_layers(viewer) == []
    assert session.active.images == ()


def test_a_broken_tile_is_black_and_said_once_and_the_window_goes_on(
    open_dock, make_adata, viewer, monkeypatch, tmp_path, qtbot
):
    store = tmp_path / "scan.zarr"
    write_store(store)
    chunks = [path for path in (store / "0").rglob("*") if path.is_file() and path.suffix == ""]
    broken = next(path for path in chunks if path.parts[-2:] == ("1", "2"))
    broken.write_bytes(b"broken")
    dock, session = open_dock(make_adata(36))
    before = len(notification_manager.records)
    add(dock, session, store, monkeypatch, qtbot)
    (layer,) = image_layers(viewer)
    whole = np.asarray(layer.data[0])
    assert not whole[32:64, 64:96].any()
    assert (whole[32:64, :64] > 0).any()
    viewer.scene.camera.zoom = 20
    viewer.screenshot(canvas_only=True, flash=False)
    (said,) = [note.message for note in notification_manager.records[before:]]
    assert said.startswith("Level 0 of the image 'scan' cannot be read everywhere")


def test_another_scale_than_the_data_say_is_warned_of_in_numbers(
    open_dock, make_adata, monkeypatch, tmp_path, qtbot
):
    planes = np.zeros((1, 64, 96), np.uint16)
    write_pyramid(tmp_path / "scan.ome.tif", planes, **MICROMETRES)
    dock, session = open_dock(make_adata(100))
    add(dock, session, tmp_path / "scan.ome.tif", monkeypatch, qtbot)
    text = dock.images.notice.text()
    assert text.startswith("Only ")
    assert "of the cells lie on the image 'scan': it is 96 x 64 pixels" in text


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_of_forty_channels_of_any_type_three_are_shown_until_others_are_chosen(
    open_dock, make_adata, viewer, monkeypatch, tmp_path, qtbot, dtype
):
    planes = (200 * np.random.default_rng(1).random((40, 96, 96))).astype(dtype)
    stated = {"axes": "CYX", "Channel": {"Name": [f"m{i}" for i in range(40)]}, **MICROMETRES}
    tifffile.imwrite(tmp_path / "many.ome.tif", planes, metadata=stated)
    dock, session = open_dock(make_adata(16))
    add(dock, session, tmp_path / "many.ome.tif", monkeypatch, qtbot)
    assert [layer.metadata[IMAGE][2] for layer in image_layers(viewer)] == ["m0", "m1", "m2"]
    actions = {action.text(): action for action in dock.images.shown.menu.actions()}
    assert len(actions) == 40
    for name in ("m0", "m1", "m37"):
        actions[name].trigger()
    wait(qtbot, session)
    layers = image_layers(viewer)
    assert {layer.metadata[IMAGE][2] for layer in layers} == {"m2", "m37"}
    added = next(layer for layer in layers if layer.metadata[IMAGE][2] == "m37")
    np.testing.assert_array_equal(np.asarray(added.data), planes[37])
    assert added.contrast_limits[1] > added.contrast_limits[0]
    choose(dock.images.measured.image, "many")
    chosen = {action.text(): action for action in dock.images.measured.channels.menu.actions()}
    chosen["m5"].trigger()
    chosen["m37"].trigger()
    qtbot.mouseClick(dock.measure_button, LEFT)
    wait(qtbot, session)
    table = session.active.quality.table
    assert session.active.quality.image_name == "many"
    assert "qc_image_signal_(m37)" in table
    assert not any("(m5)" in name for name in table), "the first has the metrics' own names"


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_with_and_without_alpha_are_shown_as_they_are(
    open_dock, make_adata, viewer, monkeypatch, tmp_path, qtbot, mode
):
    pixels = np.random.default_rng(1).integers(0, 255, (90, 90, len(mode)), dtype=np.uint8)
    Image.fromarray(pixels, mode).save(tmp_path / "photo.png")
    dock, session = open_dock(make_adata(64, units="pixel"))
    add(dock, session, tmp_path / "photo.png", monkeypatch, qtbot)
    (layer,) = image_layers(viewer)
    assert layer.rgb
    np.testing.assert_array_equal(np.asarray(layer.data), pixels)
    assert not dock.images.shown.native.isVisible()


@pytest.mark.parametrize(
    ("dtype", "top"), [(np.uint16, 4095), (np.float32, 1.0), (np.float64, 255)]
)
def test_colours_of_more_than_a_byte_keep_their_brightness(dtype, top):
    from napari_cellama.core.section_image import SectionImage
    from napari_cellama.ui.images import image_layers as layers_of

    pixels = np.linspace(0, 1, 3 * 64).reshape(8, 8, 3)
    image = SectionImage("he", ((pixels * top).astype(dtype),), "yxc", rgb=True)
    ((shown, attributes, _),) = layers_of(image, name="he")
    Layer.create(shown, attributes, "image")
    bright = shown / 255 if shown.dtype == np.uint8 else shown
    np.testing.assert_allclose(bright, pixels, atol=1 / 200)
