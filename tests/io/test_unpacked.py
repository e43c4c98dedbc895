"""Images on disk in pieces too large to be read for every part of them."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import zarr

from napari_cellama.errors import UserError
from napari_cellama.io import unpacked
from napari_cellama.io.images import open_images


@pytest.fixture
def pixels():
    """Return a plane of 18 MB that packs well, each place with a number of its own."""
    rows, columns = np.ogrid[:3000, :3001]
    return (rows + columns).astype(np.uint16)


def one_strip(path, pixels):
    tifffile.imwrite(path, pixels, compression="zlib", rowsperstrip=len(pixels))


def planes(path, pixels):
    both = np.stack([pixels, pixels + 7])
    tifffile.imwrite(path, both, photometric="minisblack", compression="zlib", rowsperstrip=3000)


def one_chunk(path, pixels):
    group = zarr.open_group(path, mode="w")
    group.create_array("0", shape=pixels.shape, chunks=pixels.shape, dtype="u2")[:] = pixels
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    scales = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1]}]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": scales}]}


@pytest.mark.parametrize(
    ("name", "write"), [("a.tif", one_strip), ("b.tif", planes), ("c.zarr", one_chunk)]
)
def test_a_large_piece_is_decoded_once_and_read_in_parts(tmp_path, pixels, name, write):
    path = tmp_path / name
    write(path, pixels)
    (image,) = open_images(path)
    assert np.prod(image.stored[0].chunk) * 2 <= unpacked.LARGE
    part = slice(100, 140), slice(2990, 3001)
    np.testing.assert_array_equal(image.read(*part)[..., 0], pixels[part])
    # Nothing is read from the file any more.
    for file in [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]:
        file.write_bytes(b"gone")
    part = slice(2500, 2600), slice(0, 30)
    np.testing.assert_array_equal(image.read(*part)[..., -1], pixels[part] + 7 * (write is planes))
    np.testing.assert_array_equal(
        np.asarray(image.levels[0][..., 5:9, 11:14]).reshape(-1, 4, 3)[0], pixels[5:9, 11:14]
    )


def test_what_memory_or_disk_cannot_hold_is_refused_with_what_to_do(tmp_path, pixels, monkeypatch):
    one_strip(tmp_path / "a.tif", pixels)
    with monkeypatch.context() as patch:
        patch.setattr(unpacked, "MOST", 2**20)
        with pytest.raises(UserError, match=r"pieces of 0\.0 GiB, .*; save it in tiles, e\.g\."):
            open_images(tmp_path / "a.tif")
    full = type("Usage", (), {"free": 1_000})()
    monkeypatch.setattr(unpacked.shutil, "disk_usage", lambda _: full)
    with pytest.raises(UserError, match=r"more than is free in .*; save it in tiles"):
        open_images(tmp_path / "a.tif")
