"""Where the images of a session's tissues lie: by their files, typed values, or landmarks."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_cellama.core.alignment import Alignment, beside, by_values
from napari_cellama.core.spatial_images import FITS, share_inside
from napari_cellama.errors import UserError
from napari_cellama.io.attached import Attached, by_file
from napari_cellama.io.images import states_size
from napari_cellama.ui.image_desk import cells_of

if TYPE_CHECKING:
    from napari_cellama.core.section_image import SectionImage
    from napari_cellama.ui.imaging import Imaging
    from napari_cellama.ui.placement import Placement
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue


class Aligning:
    """Brings attached images of the active tissue to their place; every change is a step."""

    def __init__(self, session: Session, imaging: Imaging) -> None:
        self._session, self._imaging = weakref.proxy(session), weakref.proxy(imaging)

    def by_file(self, name: str) -> None:
        """Align an image by the pixel size in its file, or take coordinates for its pixels.

        Raises
        ------
        UserError
            When the file does not say how large its pixels are.
        """
        tissue, attached = self._imaging.need(name)
        opened = self._imaging.desk_of(tissue).opened.get(attached.key)
        if opened is None:
            raise UserError(
                self._imaging.problem_of(tissue, attached) or f"{name} is being opened."
            )
        if tissue.units == "µm" and not states_size(opened.image):
            raise UserError(
                f"The image {name!r} does not say how large its pixels are; type the size, or set "
                "landmarks."
            )
        to_pixels = by_file(opened.image, tissue.units)
        self._align(tissue, f"Align {name} by its file", attached, to_pixels, "file")

    def by_values(
        self, name: str, pixel_size: float, origin: tuple[float, float], rotation: float, flip: bool
    ) -> None:
        """Align an image by typed values, as for :func:`~.alignment.by_values`.

        Raises
        ------
        UserError
            When the values give no place.
        """
        tissue, attached = self._imaging.need(name)
        found = by_values(pixel_size, origin=origin, rotation=rotation, flip=flip)
        self._align(tissue, f"Align {name} by values", attached, found.to_pixels, "values")

    def show_section(self, name: str, section: str, placement: Placement) -> None:
        """Say that an image shows another section; one not aligned yet stays where it is seen."""
        tissue, attached = self._imaging.need(name)
        if section == attached.section:
            return
        to_pixels = attached.to_pixels
        if attached.how == "none":
            there, here = (placement.offset_of(one) for one in (section, attached.section))
            shift = to_pixels[:, :2] @ np.subtract(there, here)[::-1]
            to_pixels = np.column_stack([to_pixels[:, :2], to_pixels[:, 2] + shift])
        changes = {"section": section, "to_pixels": to_pixels}
        self._imaging.replace(tissue, f"Move {name} to {section}", attached, **changes)

    def set_landmarks(self, on: bool, placement: Placement) -> None:
        """Let clicks on the tissue set landmarks of the chosen image, or no longer.

        An image that hardly any cell lies on is put beside them, where both can be clicked.
        """
        if not on:
            self._imaging.put_away()
            return
        tissue, attached = self._imaging.need()
        image = self._imaging.image_of(tissue, attached)
        fresh = image is not None and not len(attached.pixels) and attached.how != "none"
        if fresh and share_inside(image, cells_of(tissue, attached)) < FITS:
            to_pixels = self.put_beside(tissue, image, placement, attached.section, attached)
            step = f"Put {attached.name} beside the cells"
            self._imaging.replace(tissue, step, attached, to_pixels=to_pixels, how="none")
        self._session.take_tool("landmark")
        self._imaging.placed.emit(tissue, self._imaging.attached(tissue))

    def click(self, y: float, x: float, placement: Placement) -> None:
        """Take a click at a place of the world: one on the image, the next among the cells."""
        tissue = self._session.need_tissue()
        desk, attached = self._imaging.desk_of(tissue), self._imaging.attached(tissue)
        image = None if attached is None else self._imaging.image_of(tissue, attached)
        if image is None:
            self._imaging.put_away()
            return
        top, left = placement.offset_of(attached.section)
        place_xy = np.array([x - left, y - top])
        if desk.pixel is not None:
            pixel, desk.pixel = desk.pixel, None
            self._pair(tissue, attached, place_xy, np.array(pixel))
            return
        row, column = image.locate(place_xy[None])[0]
        height, width = image.shape
        if not (0 <= row <= height and 0 <= column <= width):
            text = f"That place is not on the image {attached.name!r}; click one that is."
            self._imaging.told.emit("warning", text, "")
            return
        desk.pixel = (float(column), float(row))
        self._session.images_changed.emit(tissue)

    def _pair(self, tissue: Tissue, attached: Attached, xy: np.ndarray, pixel: np.ndarray) -> None:
        positions = np.vstack([attached.positions, xy])
        pixels = np.vstack([attached.pixels, pixel])
        name = f"Add landmark {len(pixels)} of {attached.name}"
        self._by_pairs(tissue, name, attached, positions, pixels)

    def remove_pair(self, number: int) -> None:
        """Remove a pair of landmarks of the chosen image."""
        tissue = self._session.need_tissue()
        attached = self._imaging.attached(tissue)
        name = f"Remove landmark {number + 1} of {attached.name}"
        positions = np.delete(attached.positions, number, axis=0)
        pixels = np.delete(attached.pixels, number, axis=0)
        self._by_pairs(tissue, name, attached, positions, pixels)

    def _by_pairs(
        self,
        tissue: Tissue,
        step: str,
        attached: Attached,
        positions: np.ndarray,
        pixels: np.ndarray,
    ) -> None:
        """Take other pairs; three that decide it move the image."""
        after = replace(attached, positions=positions, pixels=pixels)
        fit, _ = fit_of(after)
        moved = {} if fit is None else {"to_pixels": fit.to_pixels, "how": "landmarks"}
        self._imaging.replace(tissue, step, attached, positions=positions, pixels=pixels, **moved)

    def put_beside(
        self,
        tissue: Tissue,
        image: SectionImage,
        placement: Placement,
        section: str,
        itself: Attached | None = None,
    ) -> np.ndarray:
        """Return the transform by which an image is seen beside all cells and other images."""
        here = np.array(placement.offset_of(section))[::-1]
        xy = placement.points[:, :-3:-1] - here
        taken = []
        for other, one in self._imaging.laid_out(tissue, but=itself):
            moved = np.array(placement.offset_of(other))[::-1] - here
            low, high = one.box()
            taken.append((low + moved, high + moved))
        return beside(image.shape, xy.min(axis=0), xy.max(axis=0), taken).to_pixels

    def _align(
        self, tissue: Tissue, step: str, attached: Attached, to_pixels: np.ndarray, how: str
    ) -> None:
        if how != attached.how or not np.allclose(to_pixels, attached.to_pixels, rtol=1e-9):
            self._imaging.replace(tissue, step, attached, to_pixels=to_pixels, how=how)


def fit_of(attached: Attached) -> tuple[Alignment | None, str]:
    """Return how the landmarks of an image fit, or why they decide nothing yet."""
    try:
        return attached.fit(), ""
    except UserError as error:
        return None, str(error)
