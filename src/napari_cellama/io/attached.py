"""Images that belong to an AnnData but lie in files of their own, with the transform between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellama.core.alignment import Alignment, by_landmarks, by_values
from napari_cellama.core.section_image import SectionImage
from napari_cellama.core.spatial_images import images_of, misfit
from napari_cellama.core.units import units_of
from napari_cellama.errors import UserError, unknown_name
from napari_cellama.io.images import aligned, open_images

if TYPE_CHECKING:
    from anndata import AnnData

_UNS, _IMAGES = "cellama", "images"


def attach_image(
    adata: AnnData,
    path: str | Path,
    *,
    name: str | None = None,
    section: str = "",
    positions: np.ndarray | None = None,
    pixels: np.ndarray | None = None,
    pixel_size: float | None = None,
    origin: tuple[float, float] = (0.0, 0.0),
    rotation: float = 0.0,
    flip: bool = False,
) -> tuple[SectionImage, Alignment]:
    """Say that an image on disk shows these cells, and where.

    The pixels stay on disk: ``uns['cellama']['images']`` keeps the path and the transform, which
    are applied again whenever the data are opened.

    Parameters
    ----------
    adata
        The cells, with positions in ``obsm['spatial']``.
    path
        As for :func:`~.images.open_images`.
    name
        Which image of a SpatialData store; by default the first.
    section
        Which section it shows, where there are several.
    positions, pixels
        (n, 2) landmarks: (x, y) in the coordinates' unit, and (column, row) on the image.
    pixel_size, origin, rotation, flip
        Typed values instead, as for :func:`~napari_cellama.core.alignment.by_values`. With
        neither, the pixel size in the file counts where coordinates are in micrometres; else
        coordinates are taken to be the image's pixels.

    Returns
    -------
    image
        Aligned; its ``notices`` say what the user should know, e.g. in numbers that the cells do
        not lie on it.
    alignment
        The transform, with the landmarks' residuals.

    Raises
    ------
    UserError
        When the image cannot be opened or the landmarks do not decide where it lies.
    """
    image = _named(open_images(path), name)
    if positions is not None or pixels is not None:
        found = by_landmarks(
            np.empty((0, 2)) if positions is None else positions,
            np.empty((0, 2)) if pixels is None else pixels,
        )
    elif pixel_size is not None:
        found = by_values(pixel_size, origin=origin, rotation=rotation, flip=flip)
    elif units_of(adata) == "µm":
        found = Alignment(image.to_pixels, np.empty(0))
    else:
        found = Alignment(np.eye(2, 3), np.empty(0))
    if positions is not None or pixel_size is not None or units_of(adata) != "µm":
        image = aligned(image, found.to_pixels)
    said = misfit(image, np.asarray(adata.obsm["spatial"], float)[:, :2])
    image = replace(image, notices=(*image.notices, *([said] if said else [])))
    record = dict(adata.uns.get(_UNS, {}))
    record[_IMAGES] = {
        **record.get(_IMAGES, {}),
        image.name: {
            "path": str(Path(path).expanduser().resolve()),
            "section": section,
            "to_pixels": found.to_pixels,
            "residuals": found.residuals,
        },
    }
    adata.uns[_UNS] = record
    return image, found


def attached_images(adata: AnnData) -> tuple[dict[str, list[SectionImage]], list[str]]:
    """Open the attached images again.

    Returns
    -------
    images
        By section, aligned as they were.
    notices
        One sentence for each that is not there any more or cannot be read.
    """
    images: dict[str, list[SectionImage]] = {}
    notices: list[str] = []
    record = adata.uns.get(_UNS, {})
    stored = record.get(_IMAGES, {}) if isinstance(record, Mapping) else {}
    for name, entry in stored.items():
        try:
            image = _named(open_images(str(entry["path"])), name)
            to_pixels = np.asarray(entry["to_pixels"], float).reshape(2, 3)
        except (UserError, KeyError, ValueError) as error:
            notices.append(f"{error} The cells are shown without it.")
            continue
        section = str(entry.get("section", ""))
        images.setdefault(section, []).append(aligned(image, to_pixels))
    return images, notices


def all_images(adata: AnnData) -> tuple[dict[str, list[SectionImage]], list[str]]:
    """Return the images inside an AnnData and those attached to it, by section, and notices."""
    images: dict[str, list[SectionImage]] = {key: list(v) for key, v in images_of(adata).items()}
    attached, notices = attached_images(adata)
    for section, found in attached.items():
        images.setdefault(section, []).extend(found)
    return images, notices


def _named(images: list[SectionImage], name: Any) -> SectionImage:
    if name is None:
        return images[0]
    for image in images:
        if image.name == name:
            return image
    raise unknown_name("image", str(name), [image.name for image in images])
