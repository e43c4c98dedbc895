"""Large images of one level, as MERSCOPE's mosaics: seen at once, from afar once all is read."""

from __future__ import annotations

import threading

import dask
import numpy as np
import pytest
import tifffile
from napari.utils.notifications import notification_manager

from napari_cellama.core import overview as module
from napari_cellama.core.overview import Overview
from napari_cellama.ui.attach import session_of
from napari_cellama.ui.image_tiles import ImageTiles, slot_of, tiles_of
from napari_cellama.ui.images import IMAGE
from napari_cellama.ui.layers import show
from napari_cellama.ui.tissue import Tissue

SHAPE = (4700, 5003)
STATED = {"resolution": (20_000, 20_000), "resolutionunit": 3}  # half a micrometre
PATIENCE = 60_000


@pytest.fixture(autouse=True)
def _no_threads_of_dask():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(autouse=True)
def _small_overview(monkeypatch):
    """Keep a level in memory that is coarser than the finest."""
    monkeypatch.setattr(module, "_OVERVIEW", 500_000)


@pytest.fixture
def held(monkeypatch):
    """Keep overviews from being drawn until this is set."""
    go, draw = threading.Event(), Overview.draw

    def later(self):
        for share in draw(self):
            assert go.wait(PATIENCE / 1000)
            yield share

    monkeypatch.setattr(Overview, "draw", later)
    yield go
    go.set()


def scan(shape=SHAPE, dtype=np.uint8) -> np.ndarray:
    """Return a picture that is brighter to the right, with a dark square at its middle."""
    pixels = np.broadcast_to(np.linspace(40, 250, shape[1]), shape).astype(dtype)
    y, x = (side // 2 for side in shape)
    pixels[y - 40 : y + 40, x - 40 : x + 40] = 5
    return pixels


def open_image(viewer, make_adata, path, qtbot):
    """Add an image to a section as wide as it, and wait until it has layers."""
    session = session_of(viewer)
    adata = make_adata(100)
    adata.obsm["spatial"] = adata.obsm["spatial"] * 25
    show(viewer, Tissue.from_adata(adata, "section"))
    session.imaging.add(path)
    qtbot.waitUntil(lambda: any(IMAGE in one.metadata for one in viewer.layers), timeout=PATIENCE)
    viewer.layers["section"].visible = False
    viewer.reset_view()
    return session, [one for one in viewer.layers if IMAGE in one.metadata]


def seen(viewer, layer, rows, columns):
    """Return what the canvas shows in the middle of each of these pixels of the image."""
    picture = viewer.screenshot(canvas_only=True, flash=False)
    centre = np.asarray(viewer.scene.camera.center)[-2:]
    world = np.array([layer.data_to_world((r, c)) for r, c in zip(rows, columns, strict=True)])
    place = (world - centre) * viewer.scene.camera.zoom + np.array(picture.shape[:2]) / 2
    return np.array([picture[int(r), int(c), :3] for r, c in place]).astype(int)


def finish(session, layers, qtbot):
    qtbot.waitUntil(
        lambda: not any(session.jobs.current(slot_of(one)) for one in layers), timeout=PATIENCE
    )


KINDS = {
    "tiles": {"tile": (256, 256)},
    "strips": {"rowsperstrip": 3},
    "one strip": {"rowsperstrip": SHAPE[0]},
    "compressed strips": {"rowsperstrip": 16, "compression": "deflate"},
    "big-endian": {"byteorder": ">"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_of_one_level_is_seen_near_and_far(
    viewer, make_adata, tmp_path, qtbot, kind, held
):
    path, pixels = tmp_path / "mosaic.tif", scan(dtype=np.uint16 if kind == "big-endian" else "u1")
    tifffile.imwrite(path, pixels, **STATED, **KINDS[kind])
    session, (layer,) = open_image(viewer, make_adata, path, qtbot)
    tiles = tiles_of(layer)
    assert layer.multiscale
    assert layer.level_shapes.tolist() == [[4700, 5003], [2350, 2502], [1175, 1251], [588, 626]]
    assert session.jobs.current(slot_of(layer)) is not None
    # While the rest is still to be read, what is looked at from near is there.
    middle = np.array(SHAPE) // 2
    viewer.scene.camera.center = tuple(layer.data_to_world(middle))
    viewer.scene.camera.zoom = 4
    viewer.screenshot(canvas_only=True, flash=False)
    assert layer.data_level == 0
    qtbot.waitUntil(lambda: tiles.is_settled, timeout=PATIENCE)
    rows, columns = (middle + np.array([[0, 0], [0, 60], [0, -60]])).T
    low, high = layer.contrast_limits
    wanted = 255 * (pixels[rows, columns].astype(float) - low).clip(0) / (high - low)
    np.testing.assert_allclose(seen(viewer, layer, rows, columns)[:, 0], wanted, atol=4)
    held.set()
    finish(session, [layer], qtbot)
    viewer.reset_view()
    viewer.scene.camera.zoom /= 2
    rows, columns = np.full(3, 900), np.array([1000, 2500, 4000])
    wanted = 255 * (pixels[rows, columns].astype(float) - low).clip(0) / (high - low)
    shown = seen(viewer, layer, rows, columns)[:, 0]
    assert layer.data_level == len(layer.data) - 1
    np.testing.assert_allclose(shown, wanted, atol=6)
    assert np.ptp(np.asarray(layer.thumbnail)[..., 0].astype(int)) > 50


@pytest.mark.parametrize("top", [255, 4095])
def test_colours_and_channels_have_levels_too(viewer, make_adata, tmp_path, qtbot, top):
    ramp = np.linspace(0, 1, 4200)[None, :, None] * [1.0, 0.5, 0.0]
    colours = np.broadcast_to(ramp * top, (600, 4200, 3)).astype("u1" if top == 255 else "u2")
    path = tmp_path / "stain.tif"
    tifffile.imwrite(path, colours, photometric="rgb", tile=(256, 256), **STATED)
    session, (layer,) = open_image(viewer, make_adata, path, qtbot)
    finish(session, [layer], qtbot)
    assert layer.rgb
    assert len(layer.data) == 4
    shown = seen(viewer, layer, [300, 300], [1050, 3150])
    np.testing.assert_allclose(shown, [[64, 32, 0], [191, 96, 0]], atol=5)
    stains = np.stack([scan((500, 4300), np.uint16), 300 - scan((500, 4300), np.uint16)])
    path = tmp_path / "stains.ome.tif"
    tifffile.imwrite(path, stains, metadata={"axes": "CYX", "PhysicalSizeX": 0.5,
                                             "PhysicalSizeY": 0.5})  # fmt: skip
    session.imaging.add(path)
    qtbot.waitUntil(lambda: len(viewer.layers) == 4, timeout=PATIENCE)
    layers = [one for one in viewer.layers if one.name.startswith("section · stains")]
    finish(session, layers, qtbot)
    for number, one in enumerate(layers):
        coarse = np.asarray(one.data[-1])
        step = 4300 / coarse.shape[1]
        wanted = stains[number, 100, (np.arange(coarse.shape[1]) * step).astype(int)]
        np.testing.assert_allclose(coarse[5], wanted, atol=3)


def test_a_layer_that_is_removed_is_read_no_further(viewer, make_adata, tmp_path, qtbot, held):
    path = tmp_path / "mosaic.tif"
    tifffile.imwrite(path, scan(), tile=(256, 256), **STATED)
    session, (layer,) = open_image(viewer, make_adata, path, qtbot)
    job, tiles = session.jobs.current(slot_of(layer)), tiles_of(layer)
    viewer.layers.remove(layer)
    assert job.token.cancelled
    held.set()
    qtbot.waitUntil(lambda: session.jobs.current(job.slot) is None, timeout=PATIENCE)
    assert not tiles.overview.kept[-1].any()


def test_pixels_that_cannot_be_read_are_black_and_said_once(viewer, make_adata, tmp_path, qtbot):
    path = tmp_path / "mosaic.tif"
    tifffile.imwrite(path, scan(), rowsperstrip=16, compression="deflate", **STATED)
    with tifffile.TiffFile(path) as file:
        offset, size = (getattr(file.pages[0], k)[8] for k in ("dataoffsets", "databytecounts"))
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * size)
    before = len(notification_manager.records)
    session, (layer,) = open_image(viewer, make_adata, path, qtbot)
    finish(session, [layer], qtbot)
    viewer.screenshot(canvas_only=True, flash=False)
    qtbot.waitUntil(lambda: tiles_of(layer).is_settled, timeout=PATIENCE)
    said = [note.message for note in notification_manager.records[before:]]
    assert len(said) == 1
    assert "Level 0 of the image 'mosaic' cannot be read" in said[0]
    assert said[0].endswith("Where that is, it is black.")
    kept = np.asarray(layer.data[-1])
    assert not kept[128 >> 3].any()  # of the part that was read at once
    assert (kept[-1] > 20).all()


def test_a_small_image_and_a_pyramid_stay_as_they_are(viewer, make_adata, tmp_path, qtbot):
    path = tmp_path / "small.tif"
    tifffile.imwrite(path, scan((300, 500)), **STATED)
    _, (layer,) = open_image(viewer, make_adata, path, qtbot)
    assert tiles_of(layer) is None
    assert not layer.multiscale
    assert not any(isinstance(layer.data, kind) for kind in (ImageTiles, list))
