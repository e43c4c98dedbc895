"""Pictures of cells, cut from the images that they lie on, and what is drawn over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from napari_cellama.core.crops import Viewing, crop, grey, placed, viewing
from napari_cellama.core.image_qc import window_radius
from napari_cellama.core.qc import spot_size
from napari_cellama.core.resolve import guess_library_key
from napari_cellama.core.spatial_images import image_to_judge, images_for
from napari_cellama.core.tissue import obs_feature, positions
from napari_cellama.errors import UserError
from napari_cellama.io.attached import all_images

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy.spatial import KDTree

    from napari_cellama.core.boundaries import Boundaries
    from napari_cellama.core.qc import QCResult
    from napari_cellama.core.section_image import SectionImage

#: A cell's radius, as a share of half a window: half of what lies between two cells.
_RADIUS = 0.67
#: Of so many sections the images are looked at beforehand.
_PREPARED = 4


@dataclass(frozen=True)
class PictureLook:
    """What a cell's picture shows.

    Attributes
    ----------
    n_windows
        How many half windows it is wide.
    channels
        The names of the channels; ``None`` for the first three. Colours are seen whole.
    marked
        Whether the cell and its neighbours are drawn.
    """

    n_windows: float = 8.0
    channels: tuple[str, ...] | None = None
    marked: bool = True


@dataclass(frozen=True)
class Marks:
    """What is drawn over a picture, x and y in shares of its side.

    Attributes
    ----------
    center
        (2,) the cell.
    radius
        How large the ring around a cell without an outline is.
    own
        (k, 2) the cell's outline; empty where it has none.
    others
        (k, 2) each: its neighbours' outlines.
    dots
        (m, 2) the neighbours that have none.
    """

    center: np.ndarray
    radius: float
    own: np.ndarray
    others: tuple[np.ndarray, ...]
    dots: np.ndarray


class CellPictures:
    """Cuts pictures of the cells of an AnnData; from any thread, several at a time.

    Parameters
    ----------
    adata
        Only read.
    images
        By section, or under "" where there is one section, the image that its cells are cut
        from.
    window
        Half the width of the windows around cells, in the coordinates' unit.
    boundaries
        The cells' outlines, where there are any.
    offered
        The names of all images that pictures could be cut from.
    """

    def __init__(
        self,
        adata: AnnData,
        images: Mapping[str, SectionImage],
        window: float,
        boundaries: Boundaries | None = None,
        offered: tuple[str, ...] = (),
    ) -> None:
        self.images, self.window, self._boundaries = images, window, boundaries
        self.offered = offered
        self._xy = positions(adata)[:, :2]
        self._section, self._names = _sections(adata)
        self._views: dict[tuple[str, tuple[str, ...] | None], Viewing | None] = {}
        self._known_trees: dict[int, tuple[KDTree, np.ndarray]] = {}
        self._lock = Lock()

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that one can choose from; none of coloured images."""
        several = [i.channels for i in self.images.values() if not i.rgb and i.n_channels > 1]
        return tuple(dict.fromkeys(name for names in several for name in names))

    def picture(self, cell: int, look: PictureLook, size: int, *, alone: bool = True) -> np.ndarray:
        """Cut the picture of a cell; may be called from several threads.

        Parameters
        ----------
        cell
            The row of the data.
        look
            What is seen.
        size
            The picture's side in pixels.
        alone
            Whether no other is cut meanwhile.

        Returns
        -------
        numpy.ndarray
            (size, size, 3) uint8; grey where there is no image.

        Raises
        ------
        UserError
            When the pixels cannot be read.
        """
        view = self._view(int(self._section[cell]), look.channels)
        if view is None:
            return grey(size)
        return crop(view, self._xy[cell], look.n_windows * self.window, size, alone=alone)

    def prepare(self, look: PictureLook) -> None:
        """Do what the first pictures would wait for: find the contrast, and where cells lie."""
        for code in range(min(len(self._names), _PREPARED)):
            with suppress(UserError):  # the picture says why
                self._view(code, look.channels)
            self._trees(code)

    def marks(self, cell: int, look: PictureLook, size: int) -> Marks | None:
        """Return what is drawn over a cell's picture; ``None`` where there is no image."""
        code = int(self._section[cell])
        view, center = self._view(code, look.channels), self._xy[cell]
        if view is None or not np.isfinite(center).all():
            return None
        width = look.n_windows * self.window
        tree, members = self._trees(code)
        near = members[tree.query_ball_point(center, 0.75 * width)]
        near = near[near != cell]

        def there(points: np.ndarray) -> np.ndarray:
            return placed(view, center, width, size, points)

        empty = np.zeros((0, 2))
        found = [empty] * (len(near) + 1)
        if self._boundaries is not None:
            found = self._boundaries.polygons(np.append(near, cell))
        others = tuple(there(polygon) for polygon in found[:-1] if len(polygon))
        bare = near[[not len(polygon) for polygon in found[:-1]]]
        own = there(found[-1]) if len(found[-1]) else empty
        radius = _RADIUS / look.n_windows
        return Marks(np.full(2, 0.5), radius, own, others, there(self._xy[bare]))

    def _trees(self, code: int) -> tuple[KDTree, np.ndarray]:
        """Return where a section's cells lie, and which they are."""
        from scipy.spatial import KDTree

        with self._lock:
            if code not in self._known_trees:
                there = (self._section == code) & np.isfinite(self._xy).all(axis=1)
                members = np.flatnonzero(there)
                self._known_trees[code] = KDTree(self._xy[members]), members
            return self._known_trees[code]

    def _view(self, code: int, channels: tuple[str, ...] | None) -> Viewing | None:
        name = self._names[code] if 0 <= code < len(self._names) else ""
        key = name, channels
        with self._lock:
            if key not in self._views:
                image = self.images.get(name)
                here = channels
                if image is not None and channels is not None:
                    here = tuple(c for c in channels if c in image.channels) or None
                self._views[key] = None if image is None else viewing(image, here)
            return self._views[key]


def open_pictures(
    adata: AnnData,
    result: QCResult | None = None,
    boundaries: Boundaries | None = None,
    image: str = "",
) -> CellPictures | None:
    """Open the images that cells are cut from: by default those that were judged, if any were.

    Parameters
    ----------
    adata
        Only read.
    result
        What quality control found, if it has been run.
    boundaries
        The cells' outlines, where there are any.
    image
        The image's name, in the sections that have one of that name.

    Returns
    -------
    CellPictures
        ``None`` where there is no image with the cells on it.
    """
    libraries, _ = all_images(adata)
    section, names = _sections(adata)
    xy = positions(adata)[:, :2]
    wanted = set(result.image_name.split(", ")) if result and result.image_name else None
    chosen: dict[str, SectionImage] = {}
    for code, name in enumerate(names):
        own = images_for(libraries, name, several=len(names) > 1)
        named = [one for one in own if image and one.name == image]
        judged = named or [one for one in own if wanted and one.name in wanted]
        found = judged[0] if judged else image_to_judge(own, xy[section == code])
        if found is not None:
            chosen[name] = found
    if not chosen:
        return None
    window = float("nan") if result is None else result.window
    if not window > 0:
        first = next(iter(chosen))
        window, _ = window_radius(xy[section == names.index(first)], spot_size(adata, first))
    offered = tuple(dict.fromkeys(one.name for group in libraries.values() for one in group))
    return CellPictures(adata, chosen, window, boundaries, offered)


def crops_of(adata: AnnData, result: QCResult) -> Callable[[int], np.ndarray] | None:
    """Return what cuts a cell's picture from the image that was judged; ``None`` without one."""
    pictures = open_pictures(adata, result) if result.image_name else None
    if pictures is None:
        return None
    return lambda cell: pictures.picture(cell, PictureLook(), 96)


def _sections(adata: AnnData) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return (n,) section codes and the sections' names; one called "" where there is one."""
    key = guess_library_key(adata.obs, adata.uns)
    if key is None:
        return np.zeros(adata.n_obs, np.int64), ("",)
    feature = obs_feature(adata.obs, key)
    return np.asarray(feature.codes, np.int64), tuple(feature.values)
