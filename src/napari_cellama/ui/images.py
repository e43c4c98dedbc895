"""Images as napari layers that lie under the cells: those of ``uns['spatial']`` and files alike.

There is one convention of pixels, that of :class:`~napari_cellama.core.section_image.SectionImage`:
``to_pixels @ (x, y, 1)`` counts from the outer corner of the first pixel, so that all resolutions
of an image cover the same place. napari counts from the first pixel's centre; :func:`world_of` is
the one place that converts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from napari.utils.notifications import show_warning

from napari_cellama.core import spatial_images
from napari_cellama.core.crops import channel_color, viewing
from napari_cellama.core.overview import Overview, needs_overview
from napari_cellama.core.section_image import SectionImage, brightest

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_cellama.ui.placement import Placement

#: Shown first where there are several; the others are there, hidden.
_PREFERRED = ("hires", "fullres")
#: How many channels have layers where nobody has chosen.
_SHOWN = 3
#: Pixels along each side by which the brightness of colours is judged.
_SAMPLE = 2048
#: Where a layer keeps which image of which tissue it shows.
IMAGE = "napari_cellama_image"
#: The same of images of ``uns['spatial']``, which are no files of their own.
INSIDE = "napari_cellama_inside"

LayerData = tuple[Any, dict[str, Any], str]
#: What is black and what is full colour, by channel.
Limits = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class ShownImage:
    """An image of ``uns['spatial']`` as it is shown.

    Attributes
    ----------
    image
        Its name stands after its library's where there are several.
    section
        Whose offset it shares.
    visible
        Whether it is shown at first.
    notice
        What the user should know about it; "" for nothing.
    """

    image: SectionImage
    name: str
    section: str
    visible: bool
    notice: str = ""


def images_inside(adata: AnnData, placement: Placement) -> list[ShownImage]:
    """Return the images of ``uns['spatial']``, the one to be seen of each library last, on top."""
    libraries = spatial_images.images_of(adata)
    shown: list[ShownImage] = []
    for library, images in libraries.items():
        if not images:
            continue
        xy = _cells_of(adata, library)
        misfits = _misfits(xy, library, images)
        fitting = [image for image in images if image.name not in misfits] or images
        by_name = {image.name: image for image in fitting}
        best = next((by_name[name] for name in _PREFERRED if name in by_name), None)
        best = best or max(fitting, key=lambda image: image.shape[0])
        # Nothing says which cells further libraries belong to: they would cover the first.
        covers = bool(shown) and not placement.offsets
        for image in sorted(images, key=lambda image: image is best):
            name = f"{library} {image.name}" if len(libraries) > 1 else image.name
            visible = image is best and not covers
            notice = misfits.get(image.name, "")
            if image is best and not notice:
                notice = " ".join(filter(None, [*image.notices, spatial_images.misfit(image, xy)]))
            shown.append(ShownImage(image, name, library, visible, notice))
    return shown


def _cells_of(adata: AnnData, library: str) -> np.ndarray:
    """Return the positions (n, 2) of a library's cells."""
    from napari_cellama.core.resolve import guess_library_key
    from napari_cellama.core.tissue import positions

    xy = positions(adata)[:, :2]
    key = guess_library_key(adata.obs, adata.uns)
    return xy if key is None else xy[(adata.obs[key].astype(str) == library).to_numpy()]


def _misfits(xy: np.ndarray, library: str, images: list[SectionImage]) -> dict[str, str]:
    """Return the images of a library that do not show its cells, and why in a sentence."""
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


def channels_at_first(image: SectionImage) -> tuple[str, ...]:
    """Return the channels that have layers before anybody has chosen."""
    return image.channels if image.rgb else image.channels[:_SHOWN]


def limits_of(image: SectionImage, channels: tuple[str, ...]) -> Limits:
    """Return the contrast of some channels; a sample of the coarsest level is read.

    Raises
    ------
    UserError
        When the pixels cannot be read.
    """
    if image.rgb or not channels:
        return {}
    view = viewing(image, channels)
    names = [image.channels[number] for number in view.channels]
    pairs = zip(view.low, view.high, strict=True)
    return {name: (float(low), float(high)) for name, (low, high) in zip(names, pairs, strict=True)}


def image_layers(
    image: SectionImage,
    *,
    name: str,
    offset: tuple[float, float] = (0.0, 0.0),
    unit: str = "pixel",
    visible: bool = True,
    channels: tuple[str, ...] | None = None,
    limits: Limits | None = None,
    tag: Any = None,
    key: str = IMAGE,
    deep: bool = False,
) -> Iterator[LayerData]:
    """Yield an image's layers, one a channel: one of 40 channels does not get 40 of them.

    Parameters
    ----------
    image
        The image.
    name
        What the layers' names begin with.
    offset
        The (y, x) that its section is moved by.
    unit
        The world's unit, as napari knows it.
    visible
        Whether the layers are.
    channels
        Which have layers; by default the first three.
    limits
        The channels' contrast; by default it is judged by the coarsest level.
    tag, key
        What the layers keep to be known by, and under which key.
    deep
        Give an image whose coarsest level is large further ones, drawn as they are looked at;
        :mod:`~.image_tiles` draws what they stand on.
    """
    channels = channels_at_first(image) if channels is None else channels
    limits = limits_of(image, channels) if limits is None else limits
    deep = deep and needs_overview(image)
    stored, image = image, replace(image, levels=tuple(_guarded(image)))
    shared = {
        "affine": world_of(image, offset),
        "units": unit,
        "multiscale": deep or len(image.levels) > 1,
        "rgb": image.rgb,
        "visible": visible,
    }
    if image.rgb:
        metadata = {} if tag is None else {key: (*tag, "")}
        levels = _colored(image, len(image.levels) - deep)
        if deep:
            levels = [*levels, *_deep(stored, tuple(range(image.n_channels)))]
        yield _levels(levels), {**shared, "name": name, "metadata": metadata}, "image"
        return
    numbers = [number for number, own in enumerate(image.channels) if own in channels]
    for number in numbers:
        own = image.channels[number]
        attributes = {
            **shared,
            "name": f"{name} {own}" if image.n_channels > 1 else name,
            # The lowest covers what lies below the image, the others add their light to it.
            "blending": "opaque" if number == numbers[0] else "additive",
            "metadata": {} if tag is None else {key: (*tag, own)},
        }
        if own in limits:
            attributes["contrast_limits"] = limits[own]
        if image.n_channels > 1 or image.colors[number]:
            attributes["colormap"] = _ramp(channel_color(image, number, image.n_channels))
        levels = [_channel(level, image.axes, number) for level in image.levels]
        if deep:
            levels = [*levels[:-1], *_deep(stored, (number,))]
        yield _levels(levels), attributes, "image"


def world_of(image: SectionImage, offset: tuple[float, float]) -> np.ndarray:
    """Return (3, 3): what takes napari's (row, column) of an image to the world's (y, x).

    napari counts pixels by their centres, :class:`SectionImage` from their outer corner.
    """
    to_world = np.linalg.inv(np.vstack([image.to_pixels, [0, 0, 1]]))
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    swap = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    moved = np.array([[1, 0, offset[0]], [0, 1, offset[1]], [0, 0, 1]])
    return moved @ swap @ to_world @ half @ swap


class _Guard:
    """Reads parts of a level; what cannot be read is black, and said once an image."""

    def __init__(self, level: Any, number: int, name: str, told: set[str]) -> None:
        self._level, self._number, self._name, self._told = level, number, name, told
        self.shape, self.dtype, self.ndim = level.shape, level.dtype, level.ndim

    def __getitem__(self, key: Any) -> np.ndarray:
        part = self._level[key]
        try:
            return np.asarray(part.compute(scheduler="synchronous"))
        except Exception as error:
            if not self._told:
                self._told.add(self._name)
                reason = " ".join(str(error).split())[:120] or type(error).__name__
                show_warning(
                    f"Level {self._number} of the image {self._name!r} cannot be read everywhere "
                    f"({reason}); what is missing is black."
                )
            return np.zeros(part.shape, part.dtype)


def _guarded(image: SectionImage) -> Iterator[Any]:
    """Yield the levels as they are drawn: a broken tile must not break the canvas."""
    import dask.array as da

    told: set[str] = set()
    for number, level in enumerate(image.levels):
        if not hasattr(level, "compute"):
            yield level
            continue
        guard = _Guard(level, number, image.name, told)
        empty = np.empty((0,) * level.ndim, level.dtype)
        # Of the same tiles, so that one that is broken leaves its neighbours.
        yield da.from_array(guard, level.chunks, name=f"drawn-{uuid4().hex}", meta=empty)


def _levels(levels: list[Any]) -> Any:
    return levels if len(levels) > 1 else levels[0]


def _channel(level: Any, axes: str, number: int) -> Any:
    if axes == "yx":
        return level
    return level[number] if axes == "cyx" else level[..., number]


def _deep(image: SectionImage, channels: tuple[int, ...]) -> list[Any]:
    """Return an image's coarsest level, and further ones below it, to be drawn as they are seen."""
    from napari_cellama.ui.image_tiles import ImageTiles

    factor = _to_bytes(image) if image.rgb else None
    if factor is None:
        overview = Overview(image, channels)
    else:
        overview = Overview(image, channels, partial(_as_bytes, factor=factor), np.dtype(np.uint8))
    return ImageTiles(overview, image.name, rgb=image.rgb).levels


def _colored(image: SectionImage, number: int) -> list[Any]:
    """Return the first levels as napari shows colours: as bytes, or as numbers up to 1."""
    last = image.axes == "yxc"
    levels = [level if last else level.transpose(1, 2, 0) for level in image.levels[:number]]
    factor = _to_bytes(image) if levels else None
    return levels if factor is None else [_as_bytes(level, factor) for level in levels]


def _to_bytes(image: SectionImage) -> float | None:
    """Return what makes bytes of an image's colours; ``None`` where they can be shown as are."""
    if image.dtype == np.uint8:
        return None
    part, level = slice(0, _SAMPLE), len(image.levels) - 1
    largest = float(np.nanmax(image.read(part, part, level, (0, 1, 2)), initial=0))
    # Bytes are kept in larger types at times.
    full = 255.0 if 1 < largest <= 255 else brightest(image.dtype, largest)
    return None if full == 1.0 and image.dtype.kind == "f" else 255 / full


def _as_bytes(pixels: Any, factor: float) -> Any:
    return (pixels * factor).clip(0, 255).astype(np.uint8)


def _ramp(color: str) -> Any:
    """Return a colour map from black to a colour."""
    from napari.utils.colormaps import Colormap

    end = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return Colormap([[0, 0, 0, 1], [*end, 1]], name=color)
