"""Images that belong to an AnnData but lie in files of their own, with the transform between."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

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

#: How an image came to lie where it does: not at all yet, by what its file says, by typed values
#: or by landmarks.
How = Literal["none", "file", "values", "landmarks"]


@dataclass(frozen=True, eq=False)
class Attached:
    """Which image on disk shows some cells, and where it lies.

    Attributes
    ----------
    name
        What users call it; no other attached image has it.
    path
        Its file or folder.
    image
        Its name in there, e.g. in a SpatialData store.
    section
        Which section it shows; "" where there is one.
    how
        How it was aligned; one that is not is shown, but not measured.
    to_pixels
        (2, 3) float64, as in :class:`~napari_cellama.core.section_image.SectionImage`.
    positions, pixels
        (n, 2) float64 landmarks: (x, y) in the coordinates' unit, and (column, row) on the image.
    """

    name: str
    path: str
    image: str
    section: str = ""
    how: How = "file"
    to_pixels: np.ndarray = field(default_factory=lambda: np.eye(2, 3))
    positions: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))
    pixels: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))

    @property
    def key(self) -> tuple[str, str]:
        """Which pixels it is about: its path, and its name in there."""
        return self.path, self.image

    def as_dict(self) -> dict[str, Any]:
        """Return it as ``uns`` can hold it."""
        record = {"path": self.path, "image": self.image, "section": self.section, "how": self.how}
        return record | {
            "to_pixels": self.to_pixels,
            "positions": self.positions,
            "pixels": self.pixels,
        }

    @classmethod
    def from_dict(cls, name: str, record: Mapping[str, Any]) -> Attached:
        """Return what :meth:`as_dict` gave.

        Raises
        ------
        UserError
            When something is missing or no number.
        """
        try:
            how = str(record.get("how", "file"))
            positions, pixels = (
                np.asarray(record.get(key, ()), float).reshape(-1, 2)
                for key in ("positions", "pixels")
            )
            to_pixels = np.asarray(record["to_pixels"], float).reshape(2, 3)
            if not np.isfinite(to_pixels).all() or np.linalg.det(to_pixels[:, :2]) == 0:
                raise ValueError("the transform turns the image into nothing")
            if len(positions) != len(pixels):
                raise ValueError("landmarks come in pairs")
            return cls(
                name,
                str(record["path"]),
                str(record.get("image", name)),
                str(record.get("section", "")),
                how if how in get_args(How) else "file",
                to_pixels,
                positions,
                pixels,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"Where the image {name!r} lies is not kept as it should be ({error}); attach it "
                "again."
            ) from None

    def fit(self) -> Alignment | None:
        """Return how well the landmarks fit; ``None`` where there are fewer than three.

        Raises
        ------
        UserError
            When they decide nothing, e.g. lie on a line.
        """
        return by_landmarks(self.positions, self.pixels) if len(self.pixels) > 2 else None


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
    how: How = "file"
    places = {}
    if positions is not None or pixels is not None:
        places = {
            key: np.empty((0, 2)) if values is None else np.asarray(values, float)
            for key, values in (("positions", positions), ("pixels", pixels))
        }
        found, how = by_landmarks(**places), "landmarks"
    elif pixel_size is not None:
        found, how = by_values(pixel_size, origin=origin, rotation=rotation, flip=flip), "values"
    else:
        found = Alignment(by_file(image, units_of(adata)), np.empty(0))
    if how != "file" or units_of(adata) != "µm":
        image = aligned(image, found.to_pixels)
    said = misfit(image, np.asarray(adata.obsm["spatial"], float)[:, :2])
    image = replace(image, notices=(*image.notices, *([said] if said else [])))
    record = Attached(
        image.name,
        str(Path(path).expanduser().resolve()),
        image.name,
        section,
        how,
        found.to_pixels,
        **places,
    )
    known, _ = read_attached(adata)
    others = [one for one in known if one.name != image.name]
    write_attached(adata, [*others, record])
    return image, found


def by_file(image: SectionImage, unit: str) -> np.ndarray:
    """Return the transform by the pixel size in the file; of pixels, that they are the image's."""
    return image.to_pixels if unit == "µm" else np.eye(2, 3)


def read_attached(adata: AnnData) -> tuple[list[Attached], list[str]]:
    """Return which images are attached to an AnnData, opening none, and what is amiss."""
    record = adata.uns.get(_UNS, {})
    stored = record.get(_IMAGES, {}) if isinstance(record, Mapping) else {}
    found, notices = [], []
    for name, entry in stored.items() if isinstance(stored, Mapping) else ():
        try:
            found.append(Attached.from_dict(str(name), entry))
        except UserError as error:
            notices.append(str(error))
    return found, notices


def write_attached(adata: AnnData, images: Iterable[Attached]) -> None:
    """Keep which images are attached to an AnnData, and no others."""
    record = dict(adata.uns.get(_UNS, {}))
    record[_IMAGES] = {one.name: one.as_dict() for one in images}
    if not record[_IMAGES]:
        del record[_IMAGES]
    adata.uns[_UNS] = record


def open_attached(attached: Attached) -> SectionImage:
    """Open an attached image, as its file says; :func:`lay` brings it to its place.

    Raises
    ------
    UserError
        When it is not there any more or cannot be read.
    """
    return _named(open_images(attached.path), attached.image)


def lay(image: SectionImage, attached: Attached) -> SectionImage:
    """Return an opened image under its name and in its place."""
    return replace(aligned(image, attached.to_pixels), name=attached.name)


def attached_images(adata: AnnData) -> tuple[dict[str, list[SectionImage]], list[str]]:
    """Open the attached images again, but for those that are not aligned yet.

    Returns
    -------
    images
        By section, aligned as they were.
    notices
        One sentence for each that is not there any more or cannot be read.
    """
    images: dict[str, list[SectionImage]] = {}
    found, notices = read_attached(adata)
    for attached in found:
        if attached.how == "none":
            notices.append(f"The image {attached.name!r} is not aligned yet, so it is not used.")
            continue
        try:
            image = lay(open_attached(attached), attached)
        except UserError as error:
            notices.append(f"{error} The cells are shown without it.")
            continue
        images.setdefault(attached.section, []).append(image)
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
