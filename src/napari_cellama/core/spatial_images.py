"""The images that an AnnData carries in ``uns['spatial']`` (squidpy's convention)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellama.core.section_image import SectionImage

if TYPE_CHECKING:
    from anndata import AnnData

#: Below this share of the cells on it, an image is another place's or wrongly scaled.
FITS = 0.5
#: Cells that take up less than this share of an image's width and height are said to.
_PART = 0.5
#: No picture has so few rows or columns, and hardly any so many channels.
_CHANNELS = 64
#: Images of one library may differ by this much in what they cover: small ones are rounded.
_ROUNDED = 0.04


def images_of(adata: AnnData) -> dict[str, list[SectionImage]]:
    """Return the images of ``uns['spatial']``, by library, finest first.

    ``coordinate * tissue_{name}_scalef = pixel``, where pixel k reaches from k to k + 1; an image
    without a scale factor is taken to have the coordinates' own pixels. Entries that are no
    pictures (a file's name, as some Space Ranger readers leave) are passed over. Channels are
    called and coloured as ``metadata['channels']`` and ``metadata['channel_colors']`` of the
    library say, where there are as many.
    """
    libraries = adata.uns.get("spatial")
    found: dict[str, list[SectionImage]] = {}
    for library, entry in libraries.items() if isinstance(libraries, Mapping) else ():
        stored = entry.get("images") if isinstance(entry, Mapping) else None
        factors = (entry.get("scalefactors") if isinstance(entry, Mapping) else None) or {}
        images = []
        for name, pixels in stored.items() if isinstance(stored, Mapping) else ():
            image = _section_image(str(name), pixels, _factor(factors, name))
            if image is not None:
                images.append(_named_channels(image, entry.get("metadata")))
        images = sorted(images, key=lambda image: image.pixel_size)
        found[str(library)] = _with_disagreements(images)
    return found


def _with_disagreements(images: list[SectionImage]) -> list[SectionImage]:
    """Let images say in numbers that they cover another place than the finest of their library."""
    told = list(images)
    for number, image in enumerate(images[1:], start=1):
        first = images[0]
        sizes = [np.multiply(one.shape[::-1], one.pixel_size) for one in (first, image)]
        if np.abs(sizes[1] / sizes[0] - 1).max() <= _ROUNDED:
            continue
        (w0, h0), (w1, h1) = sizes
        text = (
            f"The images {first.name!r} and {image.name!r} do not cover the same place: by their "
            f"scale factors they are {w0:,.0f} x {h0:,.0f} and {w1:,.0f} x {h1:,.0f} large in the "
            "coordinates' unit; the scale factor or aspect of one may be another's."
        )
        for one in (0, number):
            told[one] = replace(told[one], notices=(*told[one].notices, text))
    return told


def images_for(
    images: Mapping[str, list[SectionImage]], section: str, *, several: bool
) -> list[SectionImage]:
    """Return the images that may show a section: its own, and those that are said to be of none.

    Where there are not ``several`` sections, all images are its own, whatever they are filed under.
    """
    names = dict.fromkeys((section, "", *(() if several else images)))
    return [image for name in names for image in images.get(name, ())]


def spot_diameter(adata: AnnData, library: str) -> float | None:
    """Return the diameter of a library's spots, in the coordinates' unit, if it is stated."""
    try:
        stated = adata.uns["spatial"][library]["scalefactors"]["spot_diameter_fullres"]
        diameter = float(stated)
    except (KeyError, TypeError, ValueError):
        return None
    return diameter if diameter > 0 else None


def share_inside(image: SectionImage, xy: np.ndarray) -> float:
    """Return what share of the positions (n, 2) lies on an image; those with a NaN do not count."""
    known = np.isfinite(xy).all(axis=1)
    if not known.any():
        return 0.0
    places = image.locate(xy[known])
    return float(((places >= 0) & (places < image.shape)).all(axis=1).mean())


def is_blank(image: SectionImage) -> bool:
    """Whether an image in memory is of one colour all over, as where a picture was taken out."""
    pixels = image.levels[0]
    if not isinstance(pixels, np.ndarray):
        return False
    # A hundred lines tell nearly always; all pixels are looked at only where they do not.
    some = pixels[:: max(1, len(pixels) // 100)]
    return bool((some == pixels[0, 0]).all() and (pixels == pixels[0, 0]).all())


def image_to_judge(images: list[SectionImage], xy: np.ndarray) -> SectionImage | None:
    """Return the image that quality control reads by default: coloured, fine, with the cells on it.

    Coloured, because a stained section shows tissue that a nuclear stain leaves dark.
    """
    fitting = [image for image in images if share_inside(image, xy) >= FITS and not is_blank(image)]
    return min(fitting, key=lambda image: (not image.rgb, image.pixel_size), default=None)


def misfit(image: SectionImage, xy: np.ndarray) -> str:
    """Say in numbers that the cells do not lie on an image, or on a corner of it; else ""."""
    places = image.locate(xy[np.isfinite(xy).all(axis=1)])
    if not len(places):
        return ""
    height, width = image.shape
    low, high = places.min(axis=0), places.max(axis=0)
    tall, wide = (high - low) / image.shape
    share = share_inside(image, xy)
    if share >= 0.95 and (max(tall, wide) >= _PART or len(places) < 3):
        return ""
    low, high = np.rint(low) + 0.0, np.rint(high) + 0.0
    numbers = (
        f"it is {width:,} x {height:,} pixels, but by its scale the cells reach from "
        f"({low[1]:,.0f}, {low[0]:,.0f}) to ({high[1]:,.0f}, {high[0]:,.0f})"
    )
    if share >= 0.95:
        return (
            f"The cells take up {wide:.0%} of the width and {tall:.0%} of the height of the image "
            f"{image.name!r}: {numbers}; unless they are a part of what it shows, its scale factor "
            "may be another's."
        )
    return (
        f"Only {share:.0%} of the cells lie on the image {image.name!r}: {numbers}; its scale "
        "factor or aspect may be another's."
    )


def _named_channels(image: SectionImage, metadata: Any) -> SectionImage:
    """Return an image whose channels are called and coloured as its library says."""
    if image.rgb or not isinstance(metadata, Mapping):
        return image
    told = {
        "channels": tuple(str(name) for name in np.ravel(metadata.get("channels", ()))),
        "colors": tuple(
            color.lower() if re.fullmatch("#[0-9a-fA-F]{6}", color) else ""
            for color in map(str, np.ravel(metadata.get("channel_colors", ())))
        ),
    }
    known = {key: found for key, found in told.items() if len(found) == image.n_channels}
    if len(set(known.get("channels", ()))) < len(known.get("channels", ())):
        del known["channels"]  # two of one name could not be told apart
    return replace(image, **known)


def _factor(factors: Any, name: Any) -> float:
    try:
        factor = float(factors.get(f"tissue_{name}_scalef", 1.0))
    except (AttributeError, TypeError, ValueError):
        return 1.0
    return factor if factor > 0 and np.isfinite(factor) else 1.0


def _section_image(name: str, pixels: Any, factor: float) -> SectionImage | None:
    if not hasattr(pixels, "ndim") or pixels.ndim not in (2, 3) or pixels.dtype.kind not in "buif":
        return None
    if min(pixels.shape[:2]) == 0:
        return None
    to_pixels = np.array([[factor, 0.0, 0.0], [0.0, factor, 0.0]])
    if pixels.ndim == 2:
        return SectionImage(name, (pixels,), "yx", to_pixels)
    if pixels.shape[0] <= _CHANNELS < pixels.shape[2]:
        pixels = pixels.transpose(1, 2, 0)  # a few planes of many columns: channels come first
    return SectionImage(name, (pixels,), "yxc", to_pixels, rgb=pixels.shape[2] in (3, 4))
