"""What is at hand of a tissue's images beside what is kept: opened pixels, choices, clicks."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellama.core.spatial_images import images_of, misfit
from napari_cellama.io.attached import Attached, lay
from napari_cellama.ui.images import Limits, channels_at_first

if TYPE_CHECKING:
    from napari_cellama.core.section_image import SectionImage
    from napari_cellama.ui.tissue import Tissue

#: Stands, among the images to measure, for the one that fits best.
BEST = ""
#: Stands there for none of them.
NO_IMAGE = "none"


@dataclass
class Opened:
    """An image on disk that is open: as its file says, and the contrast of some channels."""

    image: SectionImage
    limits: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass
class Desk:
    """What is at hand of one tissue's images.

    Attributes
    ----------
    chosen
        The name of the image that the dock is about.
    opened
        By path and name in there.
    problems
        Why an image could not be opened, likewise.
    channels
        Which channels are shown, by image, where somebody has chosen.
    pixel
        The (column, row) that was clicked on the image and has no place among the cells yet.
    offered
        The images of a store, of which one is to be chosen, and the store's path.
    measured
        The tissue's images as they were when it was measured.
    """

    chosen: str = ""
    opened: dict[tuple[str, str], Opened] = field(default_factory=dict)
    problems: dict[tuple[str, str], str] = field(default_factory=dict)
    channels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    pixel: tuple[float, float] | None = None
    offered: tuple[str, list[SectionImage]] = ("", [])
    measured: tuple[Attached, ...] | None = None
    laid: dict[str, tuple[Any, SectionImage, str]] = field(default_factory=dict)


class Desks:
    """Answers what is known of the images of tissues; :class:`~.imaging.Imaging` changes it."""

    def __init__(self) -> None:
        self._desks: weakref.WeakKeyDictionary[Tissue, Desk] = weakref.WeakKeyDictionary()

    def desk_of(self, tissue: Tissue) -> Desk:
        """Return what is at hand of a tissue's images."""
        if tissue not in self._desks:
            names = [one.name for one in tissue.images]
            self._desks[tissue] = Desk(names[0] if names else "", measured=tissue.images)
        return self._desks[tissue]

    def attached(self, tissue: Tissue | None, name: str | None = None) -> Attached | None:
        """Return an attached image by its name, by default the chosen one."""
        if tissue is None:
            return None
        name = self.desk_of(tissue).chosen if name is None else name
        return next((one for one in tissue.images if one.name == name), None)

    def image_of(self, tissue: Tissue, attached: Attached) -> SectionImage | None:
        """Return an attached image in its place; ``None`` while it is not open."""
        opened = self.desk_of(tissue).opened.get(attached.key)
        return None if opened is None else self._laid(tissue, attached, opened)[0]

    def misfit_of(self, tissue: Tissue, attached: Attached) -> str:
        """Say in numbers that the cells do not lie on an aligned image; "" where they do."""
        opened = self.desk_of(tissue).opened.get(attached.key)
        if opened is None or attached.how == "none":
            return ""
        return self._laid(tissue, attached, opened)[1]

    def _laid(self, tissue: Tissue, attached: Attached, opened: Opened) -> tuple[SectionImage, str]:
        """Return an image in its place and whether cells lie on it; worked out once a place."""
        laid = self.desk_of(tissue).laid
        if attached.name not in laid or laid[attached.name][0] is not attached:
            image = lay(opened.image, attached)
            laid[attached.name] = (attached, image, misfit(image, cells_of(tissue, attached)))
        return laid[attached.name][1:]

    def limits_of(self, tissue: Tissue, attached: Attached) -> Limits:
        """Return the known contrast of an open image's channels."""
        return self.desk_of(tissue).opened[attached.key].limits

    def channels_of(self, tissue: Tissue, attached: Attached) -> tuple[str, ...]:
        """Return which channels of an open image are shown."""
        desk = self.desk_of(tissue)
        chosen = desk.channels.get(attached.name)
        if chosen is not None:
            return chosen
        opened = desk.opened.get(attached.key)
        return () if opened is None else channels_at_first(opened.image)

    def problem_of(self, tissue: Tissue, attached: Attached) -> str:
        """Say why an image could not be opened; "" where it could, or is about to be."""
        return self.desk_of(tissue).problems.get(attached.key, "")

    def inside(self, tissue: Tissue) -> dict[str, SectionImage]:
        """Return the images of ``uns['spatial']`` by name, of the first library that has it."""
        found: dict[str, SectionImage] = {}
        for images in images_of(tissue.snapshot).values():
            for image in images:
                found.setdefault(image.name, image)
        return found

    def laid_out(
        self, tissue: Tissue, but: Attached | None = None
    ) -> Iterator[tuple[str, SectionImage]]:
        """Yield the images that have a place, and their sections; all but one."""
        for library, images in images_of(tissue.snapshot).items():
            for image in images:
                yield library, image
        for attached in tissue.images:
            image = None if attached is but else self.image_of(tissue, attached)
            if image is not None:
                yield attached.section, image

    def aligned(self, tissue: Tissue) -> list[str]:
        """Return the names of the images that can be measured and that pictures are cut from."""
        return [*self.inside(tissue), *(one.name for one in tissue.images if one.how != "none")]

    def to_measure(self, tissue: Tissue) -> tuple[str, tuple[str, ...]]:
        """Return the image and channels that quality control is to read; one that is gone not."""
        choices = tissue.choices
        if choices.measure in (NO_IMAGE, *self.aligned(tissue)):
            return choices.measure, choices.measure_channels
        return BEST, ()

    def has_moved(self, tissue: Tissue) -> bool:
        """Whether the image that was measured lies elsewhere by now."""
        desk, quality = self.desk_of(tissue), tissue.quality
        if quality is None or desk.measured is None:
            return False
        before = {one.name: one for one in desk.measured}
        after = {one.name: one for one in tissue.images}
        names = [name for name in quality.image_name.split(", ") if name in {**before, **after}]
        return any(
            (name in before) != (name in after)
            or not np.array_equal(before[name].to_pixels, after[name].to_pixels)
            for name in names
        )

    def lacks(self, tissue: Tissue, attached: Attached) -> bool:
        """Whether an image is still to be opened, or the contrast of a shown channel found."""
        desk = self.desk_of(tissue)
        if attached.key in desk.problems:
            return False
        opened = desk.opened.get(attached.key)
        if opened is None:
            return True
        shown = self.channels_of(tissue, attached)
        return not opened.image.rgb and not set(shown) <= set(opened.limits)


def cells_of(tissue: Tissue, attached: Attached) -> np.ndarray:
    """Return (m, 2): the (x, y) of the cells that an image shows."""
    from napari_cellama.core.resolve import guess_library_key

    adata = tissue.snapshot
    xy = np.asarray(adata.obsm["spatial"], float)[:, :2]
    key = guess_library_key(adata.obs, adata.uns) if attached.section else None
    return xy if key is None else xy[(adata.obs[key].astype(str) == attached.section).to_numpy()]
