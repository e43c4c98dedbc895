"""Images in files of their own, and a real one inside an AnnData, lie where their cells do."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import tifffile
from napari.layers import Layer
from napari.utils.notifications import notification_manager

import napari_cellama as nc
from napari_cellama.ui.attach import session_of
from napari_cellama.ui.contributions import read_layers
from napari_cellama.ui.layers import show
from napari_cellama.ui.tissue import Tissue


@pytest.fixture(autouse=True)
def _no_threads_of_dask():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def images_open(viewer, qtbot):
    """Return what waits until the images of the active tissue are open."""

    def wait():
        session = session_of(viewer)
        slot = f"images {session.active.id}"
        qtbot.waitUntil(lambda: session.jobs.current(slot) is None, timeout=60_000)
        qtbot.wait(50)

    return wait


@pytest.fixture
def said():
    """Return what napari has told the user since the test began."""
    before = len(notification_manager.records)
    return lambda: [note.message for note in notification_manager.records[before:]]


def test_a_pyramid_lies_under_its_cells_in_its_own_colours(
    viewer, make_adata, tmp_path, images_open
):
    rng = np.random.default_rng(0)
    planes = rng.integers(100, 4000, (2, 256, 256), dtype=np.uint16)
    options = {"tile": (64, 64), "photometric": "minisblack"}
    stated = {"axes": "CYX", "Channel": {"Name": ["DAPI", "CD3"], "Color": [65535, -16776961]}}
    with tifffile.TiffWriter(tmp_path / "scan.ome.tif") as file:
        file.write(planes, subifds=1, metadata=stated, **options)
        file.write(planes[:, ::2, ::2], subfiletype=1, **options)
    adata = make_adata(64)
    turned = np.array([[0.0, 2.0, 20.0], [2.0, 0.0, 30.0]])  # x runs down the image
    positions = np.array([[0.0, 0], [70, 0], [0, 70], [70, 70]])
    pixels = np.column_stack([positions, np.ones(4)]) @ turned.T
    nc.attach_image(adata, tmp_path / "scan.ome.tif", positions=positions, pixels=pixels)
    nc.write(adata, tmp_path / "section.h5ad")
    session_of(viewer)
    for data in read_layers(str(tmp_path / "section.h5ad")):
        viewer.add_layer(Layer.create(*data))
    images_open()
    dapi, cd3, cells = viewer.layers
    assert viewer.layers.selection.active is cells
    assert [layer.name for layer in viewer.layers] == [
        "section · scan DAPI",
        "section · scan CD3",
        "section",
    ]
    assert dapi.multiscale
    assert dapi.colormap.name == "#0000ff"
    assert cd3.colormap.name == "#ff0000"
    assert {str(unit) for unit in (*dapi.units, *cells.units)} == {"micrometer"}
    for cell in (0, 9, 63):
        x, y = adata.obsm["spatial"][cell]
        column, row = turned @ [x, y, 1]
        world = cells.data_to_world(cells.data[cell])
        # napari counts from a pixel's middle.
        np.testing.assert_allclose(dapi.world_to_data(world), [row - 0.5, column - 0.5], atol=1e-6)
        np.testing.assert_array_equal(
            np.asarray(cd3.data[0][int(row), int(column)]), planes[1, int(row), int(column)]
        )


def test_the_real_visium_section_opens_with_its_image_under_known_spots(shared_data, viewer, said):
    path = shared_data / "visium_mini" / "test_data.h5ad"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    adata = nc.read(path)
    library = adata.uns["spatial"]["V1_Adult_Mouse_Brain"]
    pixels, factor = library["images"]["lowres"], library["scalefactors"]["tissue_lowres_scalef"]
    session_of(viewer)
    cells = show(viewer, Tissue.from_adata(adata, "visium"))
    assert "of the cells lie on the image 'hires': it is 100 x 100 pixels" in said()[0]
    shown = [layer for layer in viewer.layers if layer.name.endswith("lowres")]
    (image,) = shown
    assert image.visible
    assert not next(layer for layer in viewer.layers if layer.name.endswith("hires")).visible
    for cell in (0, 10, 48):
        x, y = adata.obsm["spatial"][cell] * factor
        place = image.world_to_data(cells.data_to_world(cells.data[cell]))
        np.testing.assert_allclose(place, [y - 0.5, x - 0.5], atol=1e-6)
        row, column = int(y), int(x)
        np.testing.assert_array_equal(image.data[row, column], pixels[row, column])


def test_all_resolutions_and_files_show_one_pixel_at_one_place(
    viewer, make_adata, tmp_path, images_open
):
    """Pixel (3, 5) of 40 x 40, drawn from the coordinate (50, 30) to (60, 40), is there in all."""
    adata = make_adata(100)
    full = np.zeros((40, 40), np.uint8)
    full[3, 5] = 255
    half = full.reshape(20, 2, 20, 2).max(axis=(1, 3))
    adata.uns["spatial"] = {
        "lib": {
            "images": {"hires": full, "lowres": half},
            "scalefactors": {"tissue_hires_scalef": 0.1, "tissue_lowres_scalef": 0.05},
        }
    }
    tifffile.imwrite(tmp_path / "scan.tif", full)
    nc.attach_image(adata, tmp_path / "scan.tif", pixel_size=10.0)
    session_of(viewer)
    show(viewer, Tissue.from_adata(adata, "section"))
    images_open()
    layers = {layer.name.split(" · ")[1]: layer for layer in viewer.layers if " · " in layer.name}
    layers["lowres"].visible = True
    for x, y, lit in ((55, 35, True), (51, 31, True), (59, 39, True), (49, 35, False)):
        for name in ("hires", "scan"):
            assert bool(layers[name].get_value((y, x), world=True)) == lit, (name, x, y)
    for x, y, lit in ((41, 21, True), (59, 39, True), (39, 35, False), (55, 41, False)):
        assert bool(layers["lowres"].get_value((y, x), world=True)) == lit
    np.testing.assert_allclose(layers["hires"].data_to_world((-0.5, -0.5)), (0, 0), atol=1e-9)
    np.testing.assert_allclose(layers["lowres"].data_to_world((-0.5, -0.5)), (0, 0), atol=1e-9)


def test_an_attached_image_that_is_gone_is_said_and_the_rest_opens(
    viewer, make_adata, tmp_path, said, images_open
):
    adata = make_adata(30)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((90, 90), np.uint8))
    nc.attach_image(adata, tmp_path / "a.tif", pixel_size=1.0)
    (tmp_path / "a.tif").unlink()
    session = session_of(viewer)
    points = show(viewer, Tissue.from_adata(adata, "section"))
    images_open()
    assert list(viewer.layers) == [points]
    (text,) = [text for text in said() if "There is no image" in text]
    assert text.endswith("The cells are shown without it.")
    assert "a" in session.active.assemble().uns["cellama"]["images"], "it is not forgotten"


def test_a_misfit_of_an_attached_image_is_said_in_numbers(
    viewer, make_adata, tmp_path, said, images_open
):
    adata = make_adata(100)
    tifffile.imwrite(tmp_path / "small.tif", np.zeros((20, 30), np.uint8))
    nc.attach_image(adata, tmp_path / "small.tif", pixel_size=1.0)
    session_of(viewer)
    show(viewer, Tissue.from_adata(adata, "section"))
    images_open()
    assert "of the cells lie on the image 'small': it is 30 x 20 pixels" in said()[-1]


def test_a_scale_that_puts_the_cells_on_a_corner_of_their_image_is_said_in_numbers(
    viewer, make_adata, said
):
    adata = make_adata(100)
    adata.obsm["spatial"] += 5
    pixels = np.random.default_rng(0).integers(0, 255, (400, 600, 3), dtype=np.uint8)
    adata.uns["spatial"] = {"s": {"images": {"hires": pixels}, "scalefactors": {}}}
    session_of(viewer)
    show(viewer, Tissue.from_adata(adata, "section"))
    (text,) = said()
    assert text.startswith("The cells take up ")
    assert "of the image 'hires': it is 600 x 400 pixels, but by its scale the cells reach" in text
