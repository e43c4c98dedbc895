"""Images in files of their own as napari layers: one a channel, seen through the pyramid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellama.core.crops import viewing
from napari_cellama.core.section_image import SectionImage

if TYPE_CHECKING:
    from napari_cellama.ui.placement import Placement

#: Channels that are visible at first.
_SHOWN = 3

LayerData = tuple[Any, dict[str, Any], str]


def image_layers(
    image: SectionImage, section: str, placement: Placement, unit: str, prefix: str
) -> list[LayerData]:
    """Return an aligned image as layers that lie under the cells.

    Parameters
    ----------
    image
        The image; only its coarsest level is read, for the contrast.
    section
        Whose offset it shares.
    placement
        Where the cells lie.
    unit
        The world's unit, as napari knows it.
    prefix
        What layers' names begin with.
    """
    shared = {
        "affine": world_of(image, placement.offset_of(section)),
        "units": unit,
        "multiscale": len(image.levels) > 1,
    }
    if image.rgb:
        levels = [_eight_bits(_colors_last(level, image.axes)) for level in image.levels]
        attributes = {**shared, "name": f"{prefix} · {image.name}", "rgb": True}
        return [(_levels(levels), attributes, "image")]
    layers = []
    for number, name in enumerate(image.channels):
        view = viewing(image, (name,)) if number < _SHOWN else None
        levels = [_channel(level, image.axes, number) for level in image.levels]
        own = f"{image.name} {name}" if image.n_channels > 1 else image.name
        attributes = {**shared, "name": f"{prefix} · {own}", "rgb": False, "visible": bool(view)}
        attributes["blending"] = "additive"
        if view is not None:
            attributes["contrast_limits"] = (float(view.low[0]), float(view.high[0]))
        if image.colors[number]:
            attributes["colormap"] = _ramp(image.colors[number])
        layers.append((_levels(levels), attributes, "image"))
    return layers


def world_of(image: SectionImage, offset: tuple[float, float]) -> np.ndarray:
    """Return (3, 3): what takes napari's (row, column) of an image to the world's (y, x).

    napari counts pixels by their centres, :class:`SectionImage` from their outer corner.
    """
    to_world = np.linalg.inv(np.vstack([image.to_pixels, [0, 0, 1]]))
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    swap = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    moved = np.array([[1, 0, offset[0]], [0, 1, offset[1]], [0, 0, 1]])
    return moved @ swap @ to_world @ half @ swap


def _levels(levels: list[Any]) -> Any:
    return levels if len(levels) > 1 else levels[0]


def _channel(level: Any, axes: str, number: int) -> Any:
    if axes == "yx":
        return level
    return level[number] if axes == "cyx" else level[..., number]


def _colors_last(level: Any, axes: str) -> Any:
    return level if axes == "yxc" else level.transpose(1, 2, 0)


def _eight_bits(level: Any) -> Any:
    """Return colours as napari shows them: bytes, or numbers up to 1."""
    return (level // 257).astype(np.uint8) if level.dtype == np.uint16 else level


def _ramp(color: str) -> Any:
    """Return a colour map from black to a colour."""
    from napari.utils.colormaps import Colormap

    end = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return Colormap([[0, 0, 0, 1], [*end, 1]], name=color)
