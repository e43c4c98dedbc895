"""Where the tissue is on an image, by squidpy's tissue detection, and how far cells are inside."""

from __future__ import annotations

import logging
import warnings

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, uniform_filter

#: A signal this many times smaller than a cell's usual one counts as next to nothing.
_FAINT = 0.3
#: If what is taken for glass has more than this share of the tissue's signal, there is no glass.
_GLASS = 0.35
#: Glass varies less than this share of what tissue does.
_EMPTY = 0.2


def detect_tissue(coarse: np.ndarray, usual: float, smooth: float, radius: float) -> np.ndarray:
    """Return (rows, columns) bool: where there is tissue.

    ``squidpy.experimental.im.detect_tissue`` (Otsu's threshold) sees the signal squeezed so that
    faint and strong tissue look alike and nothing but glass does not; on the image as it is, the
    threshold would fall between pale and dark tissue. Where tissue is much paler than the rest, it
    falls there all the same, so what is taken for glass must be empty, too: stroma beside a dark
    carcinoma still has nuclei and fibres. An image without glass is tissue all over.

    Parameters
    ----------
    coarse
        (rows, columns) the signal: optical density, or light.
    usual
        The median signal around cells.
    smooth
        How far nuclei are smeared so that what lies between them is tissue, too, in pixels.
    radius
        Half the width of a cell's window, in pixels: what is smaller is not looked at.
    """
    signal = gaussian_filter(coarse, smooth)
    squeezed = 1 - np.exp(-signal / max(_FAINT * usual, 1e-9))
    if float(np.ptp(squeezed)) < 0.2 or min(coarse.shape) < 8:
        return np.ones(coarse.shape, bool)
    mask = _squidpy_mask(squeezed.astype(np.float32))
    if mask.any() and not mask.all() and np.median(signal[~mask]) < _GLASS * usual:
        return _without_pale_tissue(mask, coarse, max(1, round(radius)))
    return np.ones(coarse.shape, bool)


def _without_pale_tissue(mask: np.ndarray, coarse: np.ndarray, radius: int) -> np.ndarray:
    """Return a mask of tissue to which all is added that is pale, but not empty."""
    width = 2 * radius + 1
    signal = coarse.astype(np.float64)  # differences of squares
    mean = uniform_filter(signal, width)
    spread = np.sqrt(np.maximum(uniform_filter(signal**2, width) - mean**2, 0))
    empty = ~mask & (spread < _EMPTY * float(np.median(spread[mask])))
    # A disc as wide as a window must fit in: between fibres, smaller places are empty by chance.
    deep = distance_transform_edt(empty) > radius
    if not deep.any():
        return np.ones(mask.shape, bool)
    # Back to where the disc ends, and to where windows see nothing of the tissue beside.
    return mask | (distance_transform_edt(~deep) > 2 * radius + 1)


def _squidpy_mask(signal: np.ndarray) -> np.ndarray:
    """Call squidpy on one channel, dark ground, every piece of tissue kept."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries that squidpy loads, about themselves
        from spatialdata import SpatialData
        from spatialdata._logging import logger
        from spatialdata.models import Image2DModel
        from squidpy.experimental.im import BackgroundDetectionParams
        from squidpy.experimental.im import detect_tissue as squidpy_detect

        # Told where the ground is by a dark margin, squidpy need not guess it from the corners.
        margin = max(2, int(0.02 * max(signal.shape)))
        framed = np.pad(signal, margin)
        level = logger.level
        logger.setLevel(logging.WARNING)
        try:
            data = SpatialData(images={"image": Image2DModel.parse(framed[None], dims="cyx")})
            labels = squidpy_detect(
                data,
                "image",
                channel_format="multichannel",
                background_detection_params=BackgroundDetectionParams(),
                min_specimen_area_frac=1e-4,
                n_samples=10_000,
                auto_max_pixels=50_000_000,
                inplace=False,
            )
        finally:
            logger.setLevel(level)
    return labels[margin:-margin, margin:-margin] > 0


def tissue_share(mask: np.ndarray, places: np.ndarray, radius: float) -> np.ndarray:
    """Return (n,) float32: what share of the cells' windows is tissue, 1 outside the image.

    Parameters
    ----------
    mask
        (rows, columns) bool.
    places
        (n, 2) the cells' (row, column) on the mask.
    radius
        Half the width of a window, in pixels of the mask.
    """
    share = np.ones(len(places), np.float32)
    inside = ((places >= 0) & (places < mask.shape)).all(axis=1)
    if not mask.all():
        width = max(1, round(2 * radius))
        row, column = places[inside].astype(int).T
        smooth = uniform_filter(mask.astype(np.float32), width, mode="nearest")
        share[inside] = smooth[row, column]
    return share


def edge_distance(mask: np.ndarray, places: np.ndarray, pixel: float) -> np.ndarray:
    """Return how far cells lie inside the tissue, in the coordinates' unit.

    Parameters
    ----------
    mask
        (rows, columns) bool.
    places
        (n, 2) the cells' (row, column) on the mask.
    pixel
        The size of a pixel of the mask.

    Returns
    -------
    numpy.ndarray
        (n,) float32: to the nearest edge of the tissue, negative outside it; infinite where the
        image shows no edge, NaN outside the image.
    """
    inside = ((places >= 0) & (places < mask.shape)).all(axis=1)
    distance = np.full(len(places), np.nan, np.float32)
    if mask.all():
        distance[inside] = np.inf
        return distance
    # Half a pixel: an edge runs between two pixels' centres.
    signed = np.where(mask, distance_transform_edt(mask), -distance_transform_edt(~mask))
    signed -= 0.5 * np.sign(signed)
    row, column = places[inside].astype(int).T
    distance[inside] = signed[row, column] * pixel
    return distance
