"""The images of ``uns['spatial']`` (squidpy's convention) as layers that lie under the cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_cellama.ui.placement import Placement

#: Shown first where there are several; the others are there, hidden.
_PREFERRED = ("hires", "fullres")


@dataclass(frozen=True)
class TissueImage:
    """One image, placed.

    Attributes
    ----------
    name
        Which of its library's images, after the library's name where there are several.
    pixels
        (height, width) or (height, width, 3 or 4), as napari shows it.
    scale
        A pixel's size in the coordinates' unit.
    offset
        The (y, x) of its first pixel: that of its section.
    visible
        Whether it is shown at first.
    notice
        What the user should know about it; "" for nothing.
    """

    name: str
    pixels: Any
    scale: float
    offset: tuple[float, float]
    visible: bool
    notice: str = ""

    @property
    def is_rgb(self) -> bool:
        """Whether the last axis is colour."""
        return self.pixels.ndim == 3


def images_of(adata: AnnData, placement: Placement) -> list[TissueImage]:
    """Return the images that belong to an AnnData, aligned with its placed cells.

    ``coordinate * tissue_{name}_scalef = pixel``; an image without a scale factor is taken to
    have the coordinates' own pixels. Of each library the high resolution is visible.
    """
    libraries = adata.uns.get("spatial")
    if not isinstance(libraries, Mapping):
        return []
    images: list[TissueImage] = []
    for name, entry in libraries.items():
        found = list(_library_images(name, entry, placement, _misfits(adata, str(name))))
        if len(libraries) > 1:
            found = [replace(image, name=f"{name} {image.name}") for image in found]
        if images and not placement.offsets:
            # Nothing says which cells further libraries belong to: they would cover the first.
            found = [replace(image, visible=False) for image in found]
        images += found
    return images


def _misfits(adata: AnnData, library: str) -> dict[str, str]:
    """Return the images of a library that do not show its cells, and why in a sentence."""
    from napari_cellama.core import spatial_images
    from napari_cellama.core.resolve import guess_library_key
    from napari_cellama.core.tissue import positions

    xy = positions(adata)[:, :2]
    key = guess_library_key(adata.obs, adata.uns)
    if key is not None:
        xy = xy[(adata.obs[key].astype(str) == library).to_numpy()]
    images = spatial_images.images_of(adata).get(library, [])
    off = [
        image for image in images if spatial_images.share_inside(image, xy) < spatial_images.FITS
    ]
    blank = {
        image.name: f"The image {image.name!r} of {library} is of one colour all over."
        for image in images
        if spatial_images.is_blank(image)
    }
    misfits = {image.name: spatial_images.misfit(image, xy) for image in off} if len(xy) else {}
    return blank | misfits


def _library_images(
    name: str, entry: Any, placement: Placement, misfits: Mapping[str, str]
) -> Iterator[TissueImage]:
    """Yield one library's images, the one to be seen last, so that it lies on top."""
    stored = entry.get("images") if isinstance(entry, Mapping) else None
    if not isinstance(stored, Mapping):
        return
    factors = entry.get("scalefactors") or {}
    pixels = {key: _presentable(image) for key, image in stored.items()}
    pixels = {key: image for key, image in pixels.items() if image is not None}
    fitting = [key for key in pixels if str(key) not in misfits] or list(pixels)
    shown = next((key for key in _PREFERRED if key in fitting), None)
    if shown is None and pixels:
        shown = max(fitting, key=lambda key: pixels[key].shape[0])
    for key in sorted(pixels, key=lambda key: key == shown):
        factor = float(factors.get(f"tissue_{key}_scalef", 1.0))
        yield TissueImage(
            name=str(key),
            pixels=pixels[key],
            scale=1 / factor if factor > 0 else 1.0,
            offset=placement.offset_of(str(name)),
            visible=key == shown,
            notice=misfits.get(str(key), ""),
        )


def _presentable(image: Any) -> Any | None:
    """Return an image as napari shows it: one channel, or colours in [0, 1] or uint8.

    ``None`` where it is no picture, e.g. a file's name, as some Space Ranger readers leave.
    """
    if not hasattr(image, "ndim") or image.ndim not in (2, 3) or image.dtype.kind not in "buif":
        return None
    if image.ndim == 3 and image.shape[2] not in (3, 4):
        return image[..., 0] if image.shape[2] >= 1 else None
    if image.ndim == 3 and image.dtype != np.uint8:
        top = float(image.max())
        if image.dtype.kind == "f" and top <= 1:
            return image
        if top > 255:
            return (image / (top / 255)).astype(np.uint8)
        return image.astype(np.uint8)
    return image
