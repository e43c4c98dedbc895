"""Coarser levels of large images: averages of the pixels, whatever their type and the rim."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from napari_cellama.core import overview as module
from napari_cellama.core.overview import LARGE, TILE, Overview, halved, needs_overview
from napari_cellama.core.section_image import SectionImage


def averaged(pixels: np.ndarray, times: int) -> np.ndarray:
    """Return float means over squares of four, again and again; the rim's are of its last again."""
    pixels = pixels.astype(float)
    for _ in range(times):
        padded = np.pad(
            pixels, [(0, side % 2) for side in pixels.shape[:2]] + [(0, 0)], mode="edge"
        )
        rows, columns = (side // 2 for side in padded.shape[:2])
        pixels = padded.reshape(rows, 2, columns, 2, -1).mean(axis=(1, 3))
    return pixels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_halves_are_means_and_nothing_overflows(dtype):
    rng = np.random.default_rng(0)
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    pixels = (rng.uniform(0.9, 1, (7, 10, 3)) * top).astype(dtype)
    small = halved(pixels)
    assert small.dtype == dtype
    assert small.shape == (4, 5, 3)
    np.testing.assert_allclose(small, averaged(pixels, 1), rtol=1e-6, atol=0 if top == 1 else 0.5)


def test_halves_of_masks_keep_what_is_there():
    mask = np.zeros((4, 4, 1), bool)
    mask[3, 0] = True
    assert halved(mask)[..., 0].tolist() == [[False, False], [True, False]]


def test_levels_are_averages_of_the_pixels_and_stand_in_as_far_as_they_are_drawn(monkeypatch):
    monkeypatch.setattr(module, "_OVERVIEW", 300_000)
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 60_000, (3, 1500, 5003)).astype(np.uint16)
    image = SectionImage("scan", (da.from_array(pixels, (1, 400, 700)),), "cyx")
    assert needs_overview(image)
    overview = Overview(image, (2,))
    assert overview.shapes == ((1500, 5003), (750, 2502), (375, 1251), (188, 626))
    assert overview.kept_level == 3
    assert not overview.stand_in(1, slice(0, 9), slice(0, 9)).any()
    shares = list(overview.draw())
    assert shares == sorted(shares)
    assert shares[-1] == 1
    whole = pixels[2][..., None]
    np.testing.assert_allclose(overview.kept, averaged(whole, 3), atol=2)
    for level, (height, width) in enumerate(overview.shapes[:3]):
        wanted = averaged(whole, level)
        for row, column in ((0, 0), ((height - 1) // TILE, (width - 1) // TILE)):
            tile = overview.tile(level, row, column)
            part = wanted[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
            np.testing.assert_allclose(tile, part, atol=2)
        stood = overview.stand_in(level, slice(height - 5, height), slice(width - 9, width))
        rows = np.minimum(np.arange(height - 5, height) >> (3 - level), 187)
        columns = np.minimum(np.arange(width - 9, width) >> (3 - level), 625)
        np.testing.assert_array_equal(stood, overview.kept[rows[:, None], columns])
    assert not overview.problem


def test_what_cannot_be_read_is_black_and_said():
    def broken(block, block_info=None):
        if block_info[0]["array-location"][0][0] >= 2048:
            raise OSError("the disk is gone")
        return block

    pixels = da.full((4200, 3000), 9, dtype=np.uint8, chunks=(512, 3000))
    levels = (pixels.map_blocks(broken, dtype=np.uint8),)
    overview = Overview(SectionImage("scan", levels, "yx"), (0,))
    for _ in overview.draw():
        pass
    assert "'scan' cannot be read (the disk is gone)" in overview.problem
    edge = 2048 >> overview.kept_level
    assert (overview.kept[:edge] == 9).all()
    assert not overview.kept[edge:].any()


def test_small_images_and_those_in_huge_pieces_are_left_as_they_are(tmp_path, monkeypatch):
    import tifffile

    from napari_cellama.io.images import open_images

    assert not needs_overview(SectionImage("a", (np.zeros((LARGE, 5), np.uint8),), "yx"))
    assert needs_overview(SectionImage("a", (np.zeros((LARGE + 1, 5), np.uint8),), "yx"))
    pixels = np.zeros((9000, 9000), np.uint8)
    options = {"compression": "deflate"}
    tifffile.imwrite(tmp_path / "whole.tif", pixels, rowsperstrip=9000, **options)
    tifffile.imwrite(tmp_path / "strips.tif", pixels, rowsperstrip=3, **options)
    (strips,) = open_images(tmp_path / "strips.tif")
    assert needs_overview(open_images(tmp_path / "whole.tif")[0])  # its one piece is unpacked once
    assert needs_overview(strips)
    monkeypatch.setattr(module, "_LARGEST_CHUNK", 3 * 9000 - 1)
    assert not needs_overview(strips)
