"""Pictures of cells: right pixels in the right colours, and each chunk read once."""

from __future__ import annotations

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
import zarr

from napari_cellama.core import stored as stored_module
from napari_cellama.core.crops import crop, viewing
from napari_cellama.core.section_image import SectionImage
from napari_cellama.core.stored import Chunks, Stored
from napari_cellama.core.threads import in_turn
from napari_cellama.errors import UserError

HALF = np.array([[0.5, 0, 10], [0, 0.5, 20]])  # 2 units a pixel, moved


def crops(view, xy, width, size):
    """Cut as a gallery does: some at a time, in threads."""
    return in_turn(lambda place: crop(view, place, width, size, alone=False), xy, 4)


def fresh(view):
    """Forget what was read to find the contrast."""
    return replace(view, image=replace(view.image))


class Counting:
    """A zarr array that counts which parts of it are read."""

    def __init__(self, array):
        self.array, self.asked = array, []
        self.shape, self.chunks, self.dtype = array.shape, array.chunks, array.dtype

    def __getitem__(self, index):
        self.asked.append(index)
        return self.array[index]


def on_disk(pixels, chunks, path, axes):
    array = zarr.create_array(str(path), shape=pixels.shape, chunks=chunks, dtype=pixels.dtype)
    array[:] = pixels
    counting = Counting(array)
    stored = Stored(counting, tuple(axes))
    image = SectionImage("scan", (da.from_zarr(array),), axes, HALF, rgb=axes == "yxc")
    return replace(image, stored=(stored,)), counting


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 4000, (3, 150, 170), np.uint16)


def test_a_crop_shows_the_pixels_around_a_position():
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[30:40, 50:60] = (200, 100, 50)
    image = SectionImage("photo", (pixels,), "yxc", HALF, rgb=True)
    # The square's middle, (column, row) = (55, 35), is to_pixels @ (x, y, 1).
    picture = crop(viewing(image), np.array([90.0, 30.0]), 40, 20)
    assert picture.shape == (20, 20, 3)
    square = np.zeros((20, 20), bool)
    square[5:15, 5:15] = True
    np.testing.assert_array_equal((picture == (200, 100, 50)).all(axis=-1), square)


def test_beyond_the_image_a_crop_is_grey():
    image = SectionImage("photo", (np.full((10, 10, 3), 255, np.uint8),), "yxc", rgb=True)
    view = viewing(image)
    picture = crop(view, np.array([0.0, 5.0]), 10, 10)
    assert (picture[:, :5] == 128).all()
    assert (picture[:, 5:] == 255).all()
    assert (crop(view, np.array([np.nan, 5.0]), 10, 10) == 128).all()
    assert (crop(view, np.array([500.0, 5.0]), 10, 10) == 128).all()


def test_many_pixels_in_one_are_averaged_and_few_are_blended():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    view = viewing(SectionImage("photo", (stripes,), "yxc", rgb=True))
    small = crop(view, np.array([32.0, 32.0]), 32, 8)
    assert (np.abs(small.astype(int) - 100) <= 1).all()
    large = crop(view, np.array([32.0, 32.0]), 4, 16)
    assert len(np.unique(large)) > 2


@pytest.mark.parametrize(
    ("axes", "chunks"), [("cyx", (1, 40, 50)), ("cyx", (2, 64, 64)), ("yxc", (40, 50, 3))]
)
def test_from_disk_it_is_the_same_as_from_memory(noise, tmp_path, axes, chunks):
    pixels = noise if axes == "cyx" else (noise >> 4).astype(np.uint8).transpose(1, 2, 0).copy()
    image, _ = on_disk(pixels, chunks, tmp_path / "a.zarr", axes)
    memory = SectionImage("scan", (pixels,), axes, HALF, rgb=image.rgb)
    xy = np.random.default_rng(1).uniform((-20, -40), (330, 270), (30, 2))
    for read, wanted in zip(
        crops(viewing(image), xy, 60, 24), crops(viewing(memory), xy, 60, 24), strict=True
    ):
        np.testing.assert_array_equal(read, wanted)
    part = slice(3, 90), slice(20, 130)
    np.testing.assert_array_equal(image.read(*part), memory.read(*part))
    np.testing.assert_array_equal(image.read(*part, 0, (2, 0)), memory.read(*part, 0, (2, 0)))


def test_chunks_that_crops_share_are_read_once(noise, tmp_path):
    image, counting = on_disk(noise[:2], (1, 50, 50), tmp_path / "a.zarr", "cyx")
    view = fresh(viewing(image))
    counting.asked.clear()
    xy = np.random.default_rng(1).uniform((0, 0), (300, 220), (100, 2))
    list(crops(view, xy, 60, 24))
    assert 1 < len(counting.asked) == len({str(asked) for asked in counting.asked}) <= 2 * 3 * 4
    list(crops(view, xy, 60, 24))
    assert len(counting.asked) <= 2 * 3 * 4  # they were kept


def test_memory_is_bounded(noise, tmp_path, monkeypatch):
    monkeypatch.setattr(stored_module, "_KEPT", 6 * 50 * 50 * 2)
    image, counting = on_disk(noise[:2], (1, 50, 50), tmp_path / "a.zarr", "cyx")
    chunks = Chunks(image.stored)
    windows = [(slice(r, r + 40), slice(c, c + 40)) for c in (5, 60, 99) for r in (0, 100, 50, 0)]

    def read(number):
        found = chunks.read(windows[number], 0, (0, 1), alone=number % 2 == 0)
        assert len(chunks._kept) <= 6
        return found

    for number, found in enumerate(in_turn(read, range(len(windows)), 3)):
        rows, columns = windows[number]
        np.testing.assert_array_equal(found, noise[:2, rows, columns].transpose(1, 2, 0))
    assert len(counting.asked) > 24  # so that some had to be read again
    monkeypatch.setattr(stored_module, "_KEPT", 50 * 50)
    assert not chunks.fits(0)


def test_only_a_few_are_begun_before_they_are_asked_for():
    begun, done = [], []

    def items():
        for item in range(50):
            begun.append(item)
            yield item

    results = in_turn(lambda item: done.append(item) or 2 * item, items(), 2)
    assert [next(results) for _ in range(5)] == [0, 2, 4, 6, 8]
    assert len(begun) < 15
    results.close()  # whoever wants no more gets no more
    assert len(done) <= len(begun) < 15


def test_pixels_that_cannot_be_read_are_said_in_a_sentence(noise, tmp_path):
    image, counting = on_disk(noise, (1, 40, 50), tmp_path / "a.zarr", "cyx")
    view = fresh(viewing(image))

    def broken(index):
        raise OSError("the disk is gone")

    counting.array = type("Broken", (), {"__getitem__": lambda self, index: broken(index)})()
    with pytest.raises(UserError, match=r"Level 0 of the image 'scan' cannot be read"):
        list(crops(view, np.array([[100.0, 100.0]]), 60, 24))
