"""Images on disk: what is read of them, where they lie, and what is said of broken ones."""

from __future__ import annotations

import shutil
import warnings

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

import napari_cellama as nc
from napari_cellama.core.alignment import by_landmarks, by_values
from napari_cellama.errors import UserError
from napari_cellama.io.attached import attached_images
from napari_cellama.io.images import open_images

AXES = [
    {"name": "c", "type": "channel"},
    {"name": "y", "type": "space", "unit": "micrometer"},
    {"name": "x", "type": "space", "unit": "micrometer"},
]


@pytest.fixture
def planes():
    return np.random.default_rng(0).integers(0, 4000, (3, 256, 320), dtype=np.uint16)


def write_tiff(path, planes):
    options = {"tile": (64, 64), "photometric": "minisblack"}
    stated = {
        "axes": "CYX",
        "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": 500.0, "PhysicalSizeYUnit": "nm",
        "Channel": {"Name": ["DAPI", "CD3", "CD20"], "Color": [65535, -16776961, 16711935]},
    }  # fmt: skip
    with tifffile.TiffWriter(path) as file:
        file.write(planes, subifds=2, metadata=stated, **options)
        file.write(planes[:, ::2, ::2], subfiletype=1, **options)
        file.write(planes[:, ::4, ::4], subfiletype=1, **options)


def write_zarr(path, planes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ome-zarr's own deprecations
        from ome_zarr.writer import write_multiscale

    group = zarr.open_group(path, mode="w")
    write_multiscale(
        [planes[:, ::k, ::k] for k in (1, 2, 4)],
        group,
        axes=AXES,
        coordinate_transformations=[
            [{"type": "scale", "scale": [1, 0.5 * k, 0.5 * k]}] for k in (1, 2, 4)
        ],
    )
    colors = (("DAPI", "0000FF"), ("CD3", "FF0000"), ("CD20", "00FF00"))
    channels = [{"label": name, "color": color} for name, color in colors]
    group.attrs["ome"] = {**group.attrs["ome"], "omero": {"channels": channels}}


WRITERS = {"scan.ome.tif": write_tiff, "scan.ome.zarr": write_zarr}


@pytest.mark.parametrize("name", WRITERS)
def test_pyramids_keep_levels_channels_colours_and_pixel_size(tmp_path, planes, name):
    WRITERS[name](tmp_path / name, planes)
    (image,) = open_images(tmp_path / name)
    assert image.name == "scan"
    assert [level.shape for level in image.levels] == [(3, 256, 320), (3, 128, 160), (3, 64, 80)]
    assert image.channels == ("DAPI", "CD3", "CD20")
    assert image.colors == ("#0000ff", "#ff0000", "#00ff00")
    assert image.pixel_size == pytest.approx(0.5)
    np.testing.assert_allclose(image.locate(np.array([[10.0, 20.0]])), [[40.0, 20.0]])
    np.testing.assert_allclose(image.locate(np.array([[10.0, 20.0]]), 2), [[10.0, 5.0]])
    part = image.read(slice(10, 30), slice(5, 20), 1, (2, 0))
    np.testing.assert_array_equal(part, planes[:, ::2, ::2][[2, 0], 10:30, 5:20].transpose(1, 2, 0))
    assert not image.notices
    assert hasattr(image.levels[0], "compute")


def test_a_level_that_is_missing_is_said_and_gone_without(tmp_path, planes):
    write_zarr(tmp_path / "scan.zarr", planes)
    folders = sorted(p for p in (tmp_path / "scan.zarr").iterdir() if p.is_dir())
    shutil.rmtree(folders[1])
    (image,) = open_images(tmp_path / "scan.zarr")
    assert len(image.levels) == 2
    assert image.notices == ("Level 1 of the image 'scan' is missing; it does without.",)
    shutil.rmtree(folders[0])
    with pytest.raises(UserError, match="full resolution of the image 'scan' is missing"):
        open_images(tmp_path / "scan.zarr")


def test_a_level_of_another_aspect_is_left_out(tmp_path, planes):
    options = {"tile": (64, 64), "photometric": "minisblack"}
    with tifffile.TiffWriter(tmp_path / "odd.ome.tif") as file:
        file.write(planes[0], subifds=1, metadata={"axes": "YX"}, **options)
        file.write(planes[0, :128, :80], subfiletype=1, **options)
    (image,) = open_images(tmp_path / "odd.ome.tif")
    assert len(image.levels) == 1


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_plain_pictures_open(tmp_path, suffix, mode):
    if (suffix, mode) == (".jpg", "RGBA"):
        pytest.skip("JPEG has no alpha")
    n = len(mode)
    pixels = np.random.default_rng(1).integers(0, 255, (40, 50, n), dtype=np.uint8).squeeze()
    path = tmp_path / f"photo{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, pixels, photometric="minisblack" if mode == "L" else "rgb")
    else:
        Image.fromarray(pixels, mode).save(path)
    (image,) = open_images(path)
    assert image.shape == (40, 50)
    assert image.rgb == (mode != "L")
    assert image.n_channels == n
    assert "does not say how large its pixels are" in image.notices[0]
    if suffix != ".jpg":
        np.testing.assert_array_equal(
            image.read(slice(0, 40), slice(0, 50)).squeeze(), pixels.reshape(40, 50, n).squeeze()
        )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 40])
def test_any_type_and_number_of_channels(tmp_path, dtype, channels):
    pixels = np.random.default_rng(1).random((channels, 30, 34)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata={"axes": "CYX"}, ome=True)
    (image,) = open_images(tmp_path / "a.tif")
    assert image.n_channels == channels
    assert image.dtype == dtype
    np.testing.assert_array_equal(
        image.read(slice(0, 30), slice(0, 34), 0, (channels - 1,))[..., 0], pixels[-1]
    )


def test_a_spatialdata_store_gives_its_images_and_labels_where_they_lie(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries that spatialdata loads
        import spatialdata as sd
        from spatialdata.models import Image2DModel, Labels2DModel
        from spatialdata.transformations import Scale

    pixels = np.random.default_rng(0).integers(0, 255, (2, 64, 96), dtype=np.uint8)
    half = {"global": Scale([0.5, 0.5], axes=("y", "x"))}
    image = Image2DModel.parse(
        pixels, dims=("c", "y", "x"), c_coords=["DAPI", "CD3"], scale_factors=[2],
        transformations=half,
    )  # fmt: skip
    labels = Labels2DModel.parse(np.arange(64 * 96).reshape(64, 96), dims=("y", "x"))
    store = sd.SpatialData(images={"he": image}, labels={"cells": labels})
    store.write(tmp_path / "section.zarr")
    found = {image.name: image for image in open_images(tmp_path / "section.zarr")}
    assert set(found) == {"he", "cells"}
    assert found["he"].channels == ("DAPI", "CD3")
    assert len(found["he"].levels) == 2
    np.testing.assert_allclose(found["he"].locate(np.array([[10.0, 20.0]])), [[40.0, 20.0]])
    np.testing.assert_array_equal(
        found["he"].read(slice(3, 9), slice(4, 8)), pixels[:, 3:9, 4:8].transpose(1, 2, 0)
    )


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.tif", None, "There is no image"),
        ("broken.tif", b"II*\0 nothing", "cannot be read"),
        ("notes.txt", b"text", "no image that can be opened"),
        ("broken.png", b"\x89PNG", "cannot be read"),
    ],
)
def test_what_is_no_image_is_refused_in_one_sentence(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        open_images(tmp_path / name)
    (tmp_path / "plain.zarr").mkdir()
    with pytest.raises(UserError, match="is no OME-Zarr and no SpatialData"):
        open_images(tmp_path / "plain.zarr")


# ---- alignment


def test_landmarks_give_back_an_affine_transform_and_its_residuals():
    rng = np.random.default_rng(0)
    truth = np.array([[1.9, 0.2, 30.0], [-0.1, 2.1, -12.0]])
    positions = rng.uniform(0, 500, (6, 2))
    pixels = np.column_stack([positions, np.ones(6)]) @ truth.T
    found = by_landmarks(positions, pixels)
    np.testing.assert_allclose(found.to_pixels, truth)
    assert found.residuals.max() < 1e-9
    off = pixels.copy()
    off[0] += (4.0, 0.0)  # about 2 units
    found = by_landmarks(positions, off)
    assert 0.2 < found.rms < 2.0
    assert found.residuals.shape == (6,)


def test_landmarks_that_decide_nothing_are_refused():
    line = np.array([[0.0, 0], [10, 10], [20, 20.01]])
    corner = np.array([[0.0, 0], [10, 0], [0, 10]])
    with pytest.raises(UserError, match="on the tissue lie on a line"):
        by_landmarks(line, corner)
    with pytest.raises(UserError, match="on the image lie on a line"):
        by_landmarks(corner, line)
    with pytest.raises(UserError, match="at least three landmarks; there are 2"):
        by_landmarks(corner[:2], corner[:2])
    with pytest.raises(UserError, match="in pairs"):
        by_landmarks(corner, corner[:2])
    with pytest.raises(UserError, match="must be a positive number"):
        by_values(0)


def test_typed_values_turn_and_place():
    found = by_values(2.0, origin=(10.0, 20.0), rotation=90)
    point = found.to_pixels @ [10.0, 24.0, 1.0]
    np.testing.assert_allclose(point, [2.0, 0.0], atol=1e-12)


def test_an_attached_image_survives_saving_and_is_used_by_quality_control(tmp_path):
    adata = nc.sample.tissue(600, seed=4)
    pixels = adata.uns["spatial"]["sample"]["images"]["hires"]
    factor = adata.uns["spatial"]["sample"]["scalefactors"]["tissue_hires_scalef"]
    tifffile.imwrite(tmp_path / "he.tif", pixels, photometric="rgb")
    del adata.uns["spatial"]
    positions = np.array([[0.0, 0], [300, 0], [0, 300], [250, 260]])
    image, found = nc.attach_image(
        adata, tmp_path / "he.tif", positions=positions, pixels=positions * factor
    )
    assert found.rms < 1e-9
    assert not any("Only" in text for text in image.notices)
    nc.write(adata, tmp_path / "section.h5ad")
    again = nc.read(tmp_path / "section.h5ad")
    images, notices = attached_images(again)
    assert notices == []
    np.testing.assert_allclose(images[""][0].to_pixels, [[factor, 0, 0], [0, factor, 0]], atol=1e-9)
    result = nc.qc(again, progress=False)
    assert result.image_name == "he"
    assert result.table["qc_image_signal"].notna().all()
    (tmp_path / "he.tif").unlink()
    images, notices = attached_images(again)
    assert images == {}
    assert "There is no image" in notices[0]


def test_an_image_of_another_scale_gives_a_warning_with_numbers(tmp_path):
    adata = nc.sample.tissue(600, seed=4, images=False)
    Image.fromarray(np.zeros((50, 80), np.uint8)).save(tmp_path / "small.png")
    image, _ = nc.attach_image(adata, tmp_path / "small.png", pixel_size=1.0)
    text = image.notices[-1]
    assert "it is 80 x 50 pixels" in text
    assert text.startswith("Only ")


@pytest.mark.parametrize(
    ("axes", "options"),
    [
        ("CYX", {"tile": (64, 64), "compression": "zlib"}),
        ("CYX", {"tile": (64, 32), "compression": "lzw", "predictor": True, "byteorder": ">"}),
        ("CYX", {"rowsperstrip": 40, "compression": "zstd"}),
        ("ZCYX", {"tile": (64, 64), "compression": "zlib"}),
        ("YXS", {"tile": (64, 64), "compression": "jpeg", "photometric": "rgb"}),
        ("YXS", {"tile": (64, 64), "compression": "zlib", "photometric": "rgb"}),
        ("SYX", {"tile": (64, 64), "compression": "zlib", "photometric": "rgb"}),
        ("YX", {"tile": (64, 64), "compression": "deflate"}),
    ],
)
def test_tiles_are_decoded_as_the_library_reads_them(tmp_path, planes, axes, options):
    planes = planes[:, :250, :300]
    pixels = {"YX": planes[0], "ZCYX": np.stack([planes[::-1], planes, planes * 2])}.get(
        axes, planes
    )
    if "S" in axes:
        pixels = (planes >> 4).astype(np.uint8)
        pixels = pixels.transpose(1, 2, 0) if axes == "YXS" else pixels
    else:
        options = {"photometric": "minisblack", **options}
    order = {"byteorder": options.pop("byteorder", None)}
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True, **order) as file:
        file.write(pixels, metadata={"axes": axes}, **options)
    (image,) = open_images(path)
    (stored,) = image.stored
    assert stored.decode is not None
    wanted = image.read(slice(0, 250), slice(0, 300))
    assert wanted.dtype == pixels.dtype
    if "jpeg" not in str(options):
        plain = {"YX": planes[:1], "ZCYX": planes}.get(axes, pixels)
        plain = plain if axes == "YXS" else plain.transpose(1, 2, 0)
        np.testing.assert_array_equal(wanted, plain)
    windows = [(slice(r, r + 90), slice(c, c + 70)) for r in (0, 33, 160) for c in (0, 61, 230)]
    for rows, columns in windows:
        found = image.read_part((rows, columns))
        np.testing.assert_array_equal(found, wanted[rows, columns])
    last = image.read_part(windows[-1], 0, (image.n_channels - 1,))
    np.testing.assert_array_equal(last[..., 0], wanted[windows[-1]][..., -1])


def test_a_tile_that_is_no_tile_is_said_in_a_sentence(tmp_path, planes):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, planes[0], tile=(64, 64), compression="zlib")
    (image,) = open_images(path)
    with tifffile.TiffFile(path) as file:
        offset, size = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * size)
    with pytest.raises(UserError, match="Level 0 of the image 'a' cannot be read"):
        image.read_part((slice(0, 30), slice(0, 30)))
    whole = image.read_part((slice(70, 90), slice(70, 90)))
    np.testing.assert_array_equal(whole[..., 0], planes[0, 70:90, 70:90])
