"""Image quality control finds what was planted, on any kind of array, and says no clearly."""

from __future__ import annotations

import numpy as np
import pytest
from core_tissues import finished
from scipy.ndimage import gaussian_filter

from napari_cellama.core import image_qc
from napari_cellama.core.events import CancelToken, Progress
from napari_cellama.core.image_qc import image_metrics
from napari_cellama.core.qc_thresholds import (
    BLURRED,
    FOLDED,
    OUTSIDE,
    SOFT,
    WASHED_OUT,
    Thresholds,
    flags,
)
from napari_cellama.core.section_image import SectionImage
from napari_cellama.core.tissue_mask import detect_tissue, edge_distance
from napari_cellama.errors import Cancelled, UserError
from napari_cellama.sample import tissue


def spots_image(side=400, step=20, dtype=np.uint8, channels=None):
    """Return nuclei on a grid as an image of one or more channels, and their positions."""
    rng = np.random.default_rng(0)
    xy = np.stack(np.meshgrid(*[np.arange(step, side - step, step)] * 2), -1).reshape(-1, 2)
    y, x = np.mgrid[:side, :side]
    nuclei = np.exp(-((((x + step / 2) % step - step / 2) / 3.0) ** 2) / 2)
    nuclei *= np.exp(-((((y + step / 2) % step - step / 2) / 3.0) ** 2) / 2)
    light = np.clip(0.15 + 0.6 * nuclei + 0.01 * rng.standard_normal(nuclei.shape), 0, 1)
    top = 1.0 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    pixels = (light * top).astype(dtype)
    if channels is not None:
        pixels = np.repeat(pixels[None], channels, axis=0)
    return pixels, xy.astype(float)


@pytest.fixture(scope="module")
def sample():
    adata = tissue(5000, seed=2)
    pixels = adata.uns["spatial"]["sample"]["images"]["hires"]
    factor = adata.uns["spatial"]["sample"]["scalefactors"]["tissue_hires_scalef"]
    image = SectionImage("hires", (pixels,), "yxc", np.diag([factor, factor, 1])[:2], rgb=True)
    return adata, image


@pytest.fixture(scope="module")
def corner(sample):
    """Return a part of the sample that is quick to measure, and where its cells are."""
    adata, image = sample
    part = image.levels[0][300:800, 300:800]
    to_pixels = image.to_pixels - np.array([[0, 0, 300], [0, 0, 300]])
    cut = SectionImage("hires", (part,), "yxc", to_pixels, rgb=True)
    xy = np.asarray(adata.obsm["spatial"])
    places = cut.locate(xy)
    return cut, xy[((places >= 0) & (places < 500)).all(axis=1)]


def fault_table(adata, image, **kwargs):
    codes = adata.obs["cell_type"].cat.codes.to_numpy()
    found = finished(image_metrics(image, adata.obsm["spatial"], types=codes, **kwargs))[1]
    names = {c: f"qc_image_{c}" for c in found.table if c != "edge_distance"}
    return flags(
        found.table.rename(columns={**names, "edge_distance": "qc_edge_distance"}), Thresholds()
    )


def test_finds_the_planted_faults_at_the_default_limits(sample):
    adata, image = sample
    truth = adata.obs["true_artefact"].to_numpy()
    faults = fault_table(adata, image)
    for kind, name in (("blur", BLURRED), ("fold", FOLDED), ("out of tissue", OUTSIDE)):
        found = faults[name].to_numpy()
        assert (truth[found] == kind).mean() > 0.85, kind
        assert found[truth == kind].mean() > 0.85, kind
    washed = faults[WASHED_OUT].to_numpy()
    assert (truth[washed] == "bubble").mean() > 0.85
    assert washed[truth == "bubble"].mean() > 0.8
    assert faults.any(axis=1).to_numpy()[truth == "none"].mean() < 0.02


def test_a_clean_section_is_left_alone():
    adata = tissue(2000, seed=5, artefacts=False)
    pixels = adata.uns["spatial"]["sample"]["images"]["hires"]
    factor = adata.uns["spatial"]["sample"]["scalefactors"]["tissue_hires_scalef"]
    image = SectionImage("hires", (pixels,), "yxc", np.diag([factor, factor, 1])[:2], rgb=True)
    assert fault_table(adata, image).any(axis=1).mean() < 0.02


def test_lazy_arrays_give_what_memory_gives(corner, tmp_path):
    import dask.array as da
    import zarr

    image, xy = corner
    assert len(xy) > 200
    pixels = image.levels[0]
    stored = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=pixels.shape, chunks=(300, 300, 3), dtype="uint8"
    )
    stored[:] = pixels
    lazy = da.from_array(pixels, chunks=(256, 300, 3))
    want = finished(image_metrics(image, xy))[1].table
    for source in (stored, lazy):
        same = SectionImage("hires", (source,), "yxc", image.to_pixels, rgb=True)
        got = finished(image_metrics(same, xy))[1].table
        np.testing.assert_array_equal(got.to_numpy(), want.to_numpy())


def test_tiles_do_not_show_in_the_metrics(monkeypatch):
    from napari_cellama.core import image_tiles

    pixels, xy = spots_image()
    image = SectionImage("dapi", (pixels,))
    whole = finished(image_metrics(image, xy))[1].table
    monkeypatch.setattr(image_tiles, "TILE", 100)
    events, tiled = finished(image_metrics(image, xy))
    np.testing.assert_allclose(tiled.table, whole, rtol=2e-4, atol=2e-4)
    steps = [event for event in events if event.total]
    assert all(isinstance(event, Progress) for event in events)
    assert steps[-1].done == steps[-1].total == 4


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_any_type_of_pixel_gives_the_same_judgement(dtype):
    pixels, xy = spots_image(dtype=dtype)
    blurred = pixels.copy()
    blurred[100:200, 100:200] = blurred[100:200, 100:200].mean()
    found = finished(image_metrics(SectionImage("dapi", (blurred,)), xy))[1].table
    inside = ((xy > 110) & (xy < 190)).all(axis=1) & (np.abs(xy - 150).sum(axis=1) < 50)
    assert (found["sharpness_excess"][inside] < SOFT).all()
    assert (found["sharpness_excess"][~((xy > 90) & (xy < 210)).all(axis=1)] > SOFT).all()
    assert found["nuclear"][~inside].gt(0.05).mean() > 0.9
    assert (found["nuclear"][inside] == 0).all()


@pytest.mark.parametrize("channels", [1, 2, 40])
def test_channels_are_measured_as_asked(channels):
    pixels, xy = spots_image(side=200, channels=channels)
    names = ("DAPI", *(f"marker {i}" for i in range(2, channels + 1)))
    image = SectionImage("panel", (pixels,), "cyx", channels=names)
    table = finished(image_metrics(image, xy, channels=names))[1].table
    if channels > 1:
        np.testing.assert_allclose(table["signal (marker 2)"], table["signal"])
        assert f"saturation ({names[-1]})" in table
    with pytest.raises(UserError, match="no channel named 'CD3'"):
        finished(image_metrics(image, xy, channels=("CD3",)))


def test_clipped_pixels_count_as_saturated_also_in_twelve_bits():
    pixels, xy = spots_image(dtype=np.uint16)
    pixels = (pixels // 16).astype(np.uint16)
    pixels[:100, :100] = 4095
    table = finished(image_metrics(SectionImage("dapi", (pixels,)), xy))[1].table
    inside = (xy < 90).all(axis=1)
    assert (table["saturation"][inside] == 1).all()
    assert (table["saturation"][(xy > 110).all(axis=1)] < 0.05).all()


def test_alpha_is_no_colour(corner):
    image, xy = corner
    pixels = image.levels[0]
    with_alpha = np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 255, np.uint8)], axis=2)
    same = SectionImage("hires", (with_alpha,), "yxc", image.to_pixels, rgb=True)
    want, got = (finished(image_metrics(i, xy))[1].table for i in (image, same))
    np.testing.assert_array_equal(got.to_numpy(), want.to_numpy())


def test_cells_off_the_image_have_no_value_and_none_on_it_is_an_error():
    pixels, xy = spots_image(side=200)
    far = np.vstack([xy, [[-50.0, 10.0], [10.0, 900.0], [np.nan, 5.0]]])
    table = finished(image_metrics(SectionImage("dapi", (pixels,)), far))[1].table
    assert table["signal"].notna().sum() == len(xy)
    assert table.iloc[-3:].isna().all(axis=None)
    with pytest.raises(UserError, match="No cell lies on the image"):
        finished(image_metrics(SectionImage("dapi", (pixels,)), xy + 5000))


def test_cancelling_stops_between_tiles(sample):
    adata, image = sample
    token = CancelToken()
    steps = image_metrics(image, np.asarray(adata.obsm["spatial"]), cancel=token)
    while not next(steps).total:
        pass
    token.cancel()
    with pytest.raises(Cancelled):
        for _ in steps:
            pass


def test_a_level_that_cannot_be_read_is_named():
    class Broken:
        shape, dtype, ndim = (200, 200), np.dtype("uint8"), 2

        def __getitem__(self, key):
            raise OSError("chunk 0.3 is corrupt")

    with pytest.raises(UserError, match=r"Level 0 of the image 'scan' cannot be read \(chunk 0.3"):
        finished(image_metrics(SectionImage("scan", (Broken(),)), np.array([[50.0, 50.0]] * 5)))


def test_cells_on_glass_beside_the_tissue_are_outside_it():
    distance = np.array([-3.0, 2.0, 2.0, 9.0, np.inf, np.nan], np.float32)
    excess = np.array([-2.0, -1.5, -0.5, -1.5, -1.5, np.nan], np.float32)
    found = image_qc._without_smear(distance, excess, 5.0)
    np.testing.assert_array_equal(found, [-3, -3, 2, 9, np.inf, np.nan])


def test_pale_tissue_beside_dark_tissue_is_no_glass():
    rng = np.random.default_rng(0)
    density = 0.02 * rng.random((300, 300))
    density[:, 150:] += 0.12 * gaussian_filter(rng.random((300, 150)), 2) + 0.05
    density[::12, 150:] += 0.35  # fibres on a ground hardly darker than glass
    density[:, 220:] = 0.6 + 0.4 * rng.random((300, 80))
    mask = detect_tissue(density.astype(np.float32), 0.8, 4.0, 6.0)
    assert not mask[:, :140].any()
    assert mask[:, 175:].all()
    rows = np.arange(20.0, 290, 20)
    places = np.array([(row, column) for row in rows for column in (20.0, 100.0, 190.0, 260.0)])
    inside = edge_distance(mask, places, 1.0).reshape(-1, 4) > 0
    np.testing.assert_array_equal(inside, np.tile([False, False, True, True], (len(rows), 1)))


def test_a_window_of_few_pixels_sees_nothing_of_what_lies_beside():
    rng = np.random.default_rng(1)
    pixels = (90 + 60 * rng.random((90, 90))).astype(np.uint8)
    xy = np.stack(np.meshgrid(*[np.arange(8.0, 84, 7)] * 2), -1).reshape(-1, 2)
    smooth = pixels.copy()
    cell = len(xy) // 2
    column, row = xy[cell].astype(int)
    part = (slice(row - 2, row + 3), slice(column - 2, column + 3))
    smooth[part] = gaussian_filter(pixels.astype(float), 3)[part]
    sharp = finished(image_metrics(SectionImage("he", (smooth,)), xy, spot_diameter=4.6))[1].table
    excess = sharp["sharpness_excess"]
    assert excess[cell] == excess.min()
    assert excess[cell] < SOFT


def texture(side=300, step=20):
    """Return (side, side) of unit spread as fine as nuclei, and places (n, 2) on it."""
    noise = gaussian_filter(np.random.default_rng(3).standard_normal((side, side)), 1.6)
    xy = np.stack(np.meshgrid(*[np.arange(step, side - step + 1.0, step)] * 2), -1)
    return noise / noise.std(), xy.reshape(-1, 2)


def stained(density):
    """Return the density (rows, columns) as an image of a pink and purple stain."""
    colors = 250 * np.exp(-density[..., None] * np.array([0.8, 1.3, 0.7]))
    return SectionImage("he", (colors.astype(np.uint8),), "yxc", rgb=True)


def test_pale_tissue_is_not_blurred_for_its_lower_contrast_but_a_blur_in_it_is():
    noise, xy = texture()
    density = 0.8 * (1 + 0.3 * noise)
    density[:, 210:] *= 0.12
    pale = xy[:, 0] > 230
    found = finished(image_metrics(stained(density), xy))[1].table
    assert (found["sharpness_excess"] > SOFT).all()
    density[90:190, 210:] = gaussian_filter(density, 4)[90:190, 210:]
    blurred = pale & (xy[:, 1] > 110) & (xy[:, 1] < 170)
    found = finished(image_metrics(stained(density), xy))[1].table
    assert (found["sharpness_excess"][blurred] < SOFT).all()
    assert (found["sharpness_excess"][xy[:, 0] < 190] > SOFT).all()


def test_a_blur_is_found_where_the_contrast_stays_higher_than_elsewhere():
    noise, xy = texture()
    light = 120 + 8 * noise
    light[:, 151:] += 90  # an edge with many times the contrast of what is on either side
    edge = np.abs(xy[:, 0] - 151) < 12
    before = SectionImage("x", (light.astype(np.uint8),))
    excess = finished(image_metrics(before, xy, radius=8))[1].table["sharpness_excess"]
    assert (excess > SOFT).all()
    light[100:200, 130:180] = gaussian_filter(light, 5)[100:200, 130:180]
    after = SectionImage("x", (light.astype(np.uint8),))
    excess = finished(image_metrics(after, xy, radius=8))[1].table["sharpness_excess"]
    assert (excess[edge & (xy[:, 1] > 110) & (xy[:, 1] < 190)] < SOFT).all()
    assert (excess[xy[:, 0] < 90] > SOFT).all()
