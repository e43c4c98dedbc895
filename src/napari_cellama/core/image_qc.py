"""Quality control by the image: what the pixels around every cell say, computed tile by tile."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from napari_cellama.core.events import CancelToken, Progress
from napari_cellama.core.expectation import log2_excess
from napari_cellama.core.graph import median_neighbor_distance
from napari_cellama.core.image_tiles import Measured, Reading, measure, shrunk, signals_of
from napari_cellama.core.patches import level_sides, widen_veils
from napari_cellama.core.qc_thresholds import PALE, SOFT
from napari_cellama.core.section_image import SectionImage, brightest
from napari_cellama.core.tissue_mask import detect_tissue, edge_distance, tissue_share
from napari_cellama.errors import UserError, unknown_name

#: Half a window's width, in median distances to the nearest cell.
_WINDOW = 0.75
#: Names of channels that show nuclei.
_NUCLEAR = ("dapi", "hoechst", "nuclei", "nuclear", "nucleus", "dna", "draq5", "sytox")
#: Patches and their width in pixels that white level, light and nuclei are judged by.
_PATCHES, _PATCH = 48, 192
#: How far nuclei are smeared to see tissue between them, in half windows.
_SMEAR = 0.6
#: Below this share of tissue a window is not corrected any further.
_LEAST_TISSUE = 0.3
#: Gradients far below the usual one are grain: this share of its square.
_GRAIN = 0.01
#: What the gradient loses at least by a little more smoothing, as a share.
_LEAST_LOSS = 0.03
#: Of the usual signal, what tissue has at least; below that is glass, or a veil.
_PALEST = 0.2
#: Of a cell on glass that the smear takes for tissue: less than half of the expected signal.
_RIM = -1.0


@dataclass(frozen=True)
class ImageQC:
    """What an image says about each cell.

    Attributes
    ----------
    table
        One row a cell: ``signal`` (optical density of a bright-field image, else light),
        ``sharpness`` (root mean square gradient of fine structure, times its
        ratio to that of broad structure), ``signal_excess`` and
        ``sharpness_excess`` (log2 of the ratio to what the cells around let expect: 1 is twice
        as much, -1 half), ``saturation`` (share of
        clipped pixels), ``nuclear`` (share of pixels that show a nucleus; NaN where no channel
        shows nuclei), ``edge_distance`` (into the tissue, in the coordinates' unit). NaN for
        cells outside the image. Of further channels: ``signal (name)`` and so on.
    tissue
        (rows, columns) bool, coarse: where there is tissue.
    tissue_pixel
        The size of a pixel of ``tissue``, in the coordinates' unit.
    radius
        Half the width of a cell's window, in the coordinates' unit.
    bright
        Whether the image was taken for a bright-field image.
    """

    table: pd.DataFrame
    tissue: np.ndarray
    tissue_pixel: float
    radius: float
    bright: bool


def image_metrics(
    image: SectionImage,
    xy: np.ndarray,
    *,
    types: np.ndarray | None = None,
    channels: tuple[str, ...] | None = None,
    radius: float | None = None,
    spot_diameter: float | None = None,
    cancel: CancelToken | None = None,
) -> Generator[Progress, None, ImageQC]:
    """Measure the pixels around every cell, yielding how far it is.

    Parameters
    ----------
    image
        The image, in memory or on disk; read once, in tiles.
    xy
        (n, 2) the cells' positions; NaN where a cell has none.
    types
        (n,) int codes of the cells' types (-1 for none), if they are known: they tell what the
        image should show.
    channels
        Names of the channels to measure, the first of which the ratios are about. By default all
        of a coloured image together, else the nuclear stain and, without one, the first channel.
    radius
        Half the width of a cell's window, in the coordinates' unit; by default 0.75 times the
        median distance to the nearest cell.
    spot_diameter
        Of spots: the window is one spot where spots leave room between them.
    cancel
        Checked between tiles.

    Returns
    -------
    ImageQC

    Raises
    ------
    UserError
        When the image cannot be read, there is no such channel, or no cell lies on the image.
    Cancelled
        When the token says so.
    """
    cancel = cancel or CancelToken()
    yield Progress("Image", note=image.name)
    xy = np.asarray(xy, np.float64)[:, :2]
    radius, reach = (radius, 4 * radius) if radius else window_radius(xy, spot_diameter)
    reading = _reading(image, xy, channels, radius)
    places = image.locate(xy, reading.level)
    inside = ((places >= 0) & (places < image.shape_of(reading.level))).all(axis=1)
    if not inside.any():
        raise UserError(
            f"No cell lies on the image {image.name!r}: the positions do not fit it; align it "
            "first (scale factor, landmarks or typed values)."
        )
    reading = _with_nuclei(reading, places[inside])
    steps = measure(reading, places, cancel)
    for done, total, found in steps:  # noqa: B007 - of the last step
        yield Progress("Image", done, total, "tiles", image.name)
    return _judged(reading, found, xy, places, types, radius, reach)


def window_radius(xy: np.ndarray, spot_diameter: float | None) -> tuple[float, float]:
    """Return half the width of a window, and how far away cells share its faults."""
    distance = median_neighbor_distance(xy)
    if not np.isfinite(distance) or distance <= 0:
        distance = (spot_diameter or 20.0) / 2 / _WINDOW
    radius = _WINDOW * distance
    if spot_diameter is not None and spot_diameter < radius:
        # Spots with room between them: each is a place of its own.
        return spot_diameter / 2, spot_diameter
    return radius, 4 * radius


def _reading(
    image: SectionImage, xy: np.ndarray, channels: tuple[str, ...] | None, radius: float
) -> Reading:
    """Decide which pixels to read and what their values mean."""
    picked = _picked(image, channels)
    level = image.level_for(radius / 6)
    pixel = image.pixel_size * float(image.zoom_of(level).mean())
    places = image.locate(xy, level)
    sample = _sample(image, level, picked, places)
    largest = float(sample.max(initial=0))
    # Pixels of two values are not clipped.
    top = np.inf if image.dtype.kind == "b" else brightest(image.dtype, largest)
    bright = image.rgb and _is_bright(sample, top)
    scale = top
    if not image.rgb and image.dtype.kind != "u":
        scale = float(np.quantile(sample, 0.995)) or 1.0
    nuclear = next((i for i, c in enumerate(picked) if _is_nuclear(image.channels[c])), None)
    if bright or (image.n_channels == 1 and _is_nuclear(image.name)):
        nuclear = 0
    return Reading(image, picked, bright, top, scale or 1.0, radius / pixel, level, nuclear)


def _picked(image: SectionImage, channels: tuple[str, ...] | None) -> tuple[int, ...]:
    """Return which channels to measure."""
    if image.rgb:
        return (0, 1, 2)
    if channels is None:
        nuclear = [i for i, name in enumerate(image.channels) if _is_nuclear(name)]
        return (nuclear[0] if nuclear else 0,)
    for name in channels:
        if name not in image.channels:
            raise unknown_name("channel", name, image.channels)
    return tuple(image.channels.index(name) for name in channels)


def _is_nuclear(name: str) -> bool:
    return any(word in name.lower() for word in _NUCLEAR)


def _is_bright(sample: np.ndarray, top: float) -> bool:
    """Whether a coloured image shows dark stains on a bright ground.

    Most of it is bright, or it is purple and pink: both common stains take green away.
    """
    red, green, blue = (float(np.median(sample[:, i])) for i in range(3))
    return (red + green + blue) / 3 > 0.5 * top or green < 0.97 * min(red, blue)


def _sample(
    image: SectionImage, level: int, channels: tuple[int, ...], places: np.ndarray
) -> np.ndarray:
    """Return (m, channels) float32: pixels of patches around some cells, always the same."""
    height, width = image.shape_of(level)
    inside = ((places >= 0) & (places < (height, width))).all(axis=1)
    centres = places[inside] if inside.any() else np.array([[height / 2, width / 2]])
    chosen = np.random.default_rng(0).choice(len(centres), min(_PATCHES, len(centres)), False)
    patches = []
    for row, column in np.maximum(centres[chosen].astype(int) - _PATCH // 2, 0):
        rows, columns = slice(row, row + _PATCH), slice(column, column + _PATCH)
        pixels = image.read(rows, columns, level, channels)
        patches.append(pixels.reshape(-1, pixels.shape[-1]).astype(np.float32))
    sample = np.concatenate(patches)
    return sample[np.isfinite(sample).all(axis=1)]


def _with_nuclei(reading: Reading, places: np.ndarray) -> Reading:
    """Find from where on pixels show a nucleus (Otsu's threshold)."""
    if reading.nuclear is None:
        return reading
    from skimage.filters import threshold_otsu

    chosen = np.random.default_rng(1).choice(len(places), min(_PATCHES, len(places)), False)
    values = []
    for row, column in np.maximum(places[chosen].astype(int) - _PATCH // 2, 0):
        rows, columns = slice(row, row + _PATCH), slice(column, column + _PATCH)
        pixels = reading.image.read(rows, columns, reading.level, reading.channels)
        nuclear = signals_of(reading, shrunk(pixels, reading.shrink))[2]
        values.append(nuclear.ravel())
    joined = np.concatenate(values)
    flat = float(np.ptp(joined)) <= 0
    return reading.with_nuclei(np.inf if flat else float(threshold_otsu(joined)))


def _sharpness(found: Measured, number: int) -> np.ndarray:
    """Return how much fine structure there is, and how fine it is.

    The geometric mean of two things that a blur takes. The gradient of fine structure, times its
    ratio to that of broad structure, tells best in tissue, whose contrast is much the same all
    over. How much of the gradient a little more smoothing takes away depends on no contrast: fine
    detail loses most of it, and what is out of focus already nearly nothing.
    """
    fine, broad = found.fine[:, number], found.broad[:, number]
    detail = fine * fine / (broad + 0.02 * _usual(broad) + 1e-9)
    grain = _GRAIN * _usual(fine) ** 2 + 1e-12
    kept = np.sqrt((fine**2 + grain) / (found.middling[:, number] ** 2 + grain))
    return np.sqrt(detail * (np.maximum(kept - 1, 0) + _LEAST_LOSS))


def _usual(values: np.ndarray) -> float:
    """Return the median of what is known, 0 where nothing is."""
    return float(np.nanmedian(values)) if np.isfinite(values).any() else 0.0


def _judged(
    reading: Reading,
    found: Measured,
    xy: np.ndarray,
    places: np.ndarray,
    types: np.ndarray | None,
    radius: float,
    reach: float,
) -> ImageQC:
    """Compare what was measured with what was to be expected, and find the tissue."""
    signal, sharp = found.signal[:, 0], _sharpness(found, 0)
    pixel = reading.image.pixel_size * float(reading.image.zoom_of(reading.level).mean())
    coarse_pixel = pixel * found.step
    usual = float(np.nanmedian(signal))
    window = radius / coarse_pixel
    mask = detect_tissue(found.coarse, usual, _SMEAR * window, window)
    on_mask = places / found.step
    # At an edge part of the window is glass; what is judged is the tissue's share of it.
    share = np.maximum(tissue_share(mask, on_mask, window), _LEAST_TISSUE)
    distance = edge_distance(mask, on_mask, coarse_pixel)
    excess = _excess(signal / share, sharp / np.sqrt(share), distance, xy, types, radius, reach)
    columns = {
        "signal": signal,
        "sharpness": sharp,
        "signal_excess": excess[0],
        "sharpness_excess": excess[1],
        "saturation": found.clipped[:, 0],
        "nuclear": found.nuclear,
        "edge_distance": _without_smear(distance, excess[0], radius),
    }
    for number in range(1, reading.n_signals):
        name = reading.image.channels[reading.channels[number]]
        columns[f"signal ({name})"] = found.signal[:, number]
        columns[f"sharpness ({name})"] = _sharpness(found, number)
        columns[f"saturation ({name})"] = found.clipped[:, number]
    table = pd.DataFrame(columns)
    return ImageQC(table, mask, coarse_pixel, radius, reading.bright)


def _excess(
    signal: np.ndarray,
    sharp: np.ndarray,
    distance: np.ndarray,
    xy: np.ndarray,
    types: np.ndarray | None,
    radius: float,
    reach: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far signal and sharpness are from what is expected, with the faults' borders."""
    own_signal, around = log2_excess(signal, xy, radius, types, reach)
    # Half the stain shows half the contrast, and sharpness goes as the root of the contrast: pale
    # tissue is not blurred for that.
    contrast = np.clip(signal / max(_usual(signal), 1e-9), _PALEST, 1)
    own_sharp, sharp_around = log2_excess(sharp / np.sqrt(contrast), xy, radius, types, reach)
    around = level_sides(around, xy, reach)
    # A blur leaves an eighth of the sharpness: next to that, one window has hardly any noise.
    sharp_around = level_sides(sharp_around, xy, reach, own_sharp, SOFT)
    veiled = (around < PALE) & (sharp_around < SOFT)
    veiled &= _without_smear(distance, around, radius) >= 0
    return widen_veils((around, sharp_around), (own_signal, own_sharp), veiled, xy, reach)


def _without_smear(distance: np.ndarray, signal_excess: np.ndarray, radius: float) -> np.ndarray:
    """Return distances to the edge, negative for cells next to it that see too little tissue.

    Nuclei are smeared to see the tissue between them, which moves its edge outwards. A cell in
    that rim with less than half of the signal that its neighbours let expect lies on glass.
    """
    rim = (distance >= 0) & (distance < radius) & (signal_excess < _RIM)
    return np.where(rim, distance - np.float32(radius), distance)
