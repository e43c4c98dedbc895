"""Pictures of single cells, cut from an image and read as people see them: red, green and blue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_cellama.core.section_image import SectionImage

#: Colours of channels that the file gives none: a nuclear stain blue, further ones as they come.
_COLORS = ("#ffffff", "#00ff00", "#ff00ff", "#ffff00", "#00ffff", "#ff0000", "#4060ff")
#: Pixels of the sample that the contrast is judged by, along each side.
_SAMPLE = 512


@dataclass(frozen=True)
class Viewing:
    """How an image's pixels become colours.

    Attributes
    ----------
    image
        The image.
    channels
        Which channels are shown; of a coloured image red, green and blue.
    low, high
        (channels,) the values shown as black and as the full colour.
    colors
        (channels, 3) float in [0, 1].
    """

    image: SectionImage
    channels: tuple[int, ...]
    low: np.ndarray
    high: np.ndarray
    colors: np.ndarray


def viewing(image: SectionImage, channels: tuple[str, ...] | None = None) -> Viewing:
    """Return how to show an image: its own colours, and a contrast that leaves out extremes.

    Parameters
    ----------
    image
        The image; a sample of its coarsest level is read.
    channels
        Names of the channels to show; by default the first three.
    """
    if image.rgb:
        picked: tuple[int, ...] = (0, 1, 2)
        top = _top(image)
        low, high = np.zeros(3), np.full(3, top)
        return Viewing(image, picked, low, high, np.eye(3))
    known = {name: number for number, name in enumerate(image.channels)}
    picked = tuple(known[name] for name in channels or image.channels[:3] if name in known)
    sample = _sample(image, picked)
    low, high = np.quantile(sample, (0.01, 0.998), axis=0)
    colors = [_color(image.colors[c], c, len(picked)) for c in picked]
    return Viewing(image, picked, low, np.maximum(high, low + 1e-9), np.array(colors))


def crop(view: Viewing, xy: np.ndarray, width: float, size: int) -> np.ndarray:
    """Cut a square around a position.

    Parameters
    ----------
    view
        From :func:`viewing`.
    xy
        (2,) the position.
    width
        The square's side, in the coordinates' unit.
    size
        The picture's side in pixels.

    Returns
    -------
    numpy.ndarray
        (size, size, 3) uint8; grey where the image ends.

    Raises
    ------
    UserError
        When the pixels cannot be read.
    """
    image = view.image
    level = image.level_for(width / size)
    row, column = image.locate(np.asarray(xy, float)[None], level)[0]
    half = width / 2 / (image.pixel_size * float(image.zoom_of(level).mean()))
    picture = np.full((size, size, 3), 128, np.uint8)
    if not np.isfinite([row, column]).all():
        return picture
    rows = np.floor(row - half + (np.arange(size) + 0.5) * 2 * half / size).astype(int)
    columns = np.floor(column - half + (np.arange(size) + 0.5) * 2 * half / size).astype(int)
    height, wide = image.shape_of(level)
    in_rows, in_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < wide)
    if not in_rows.any() or not in_columns.any():
        return picture
    top, left = rows[in_rows][0], columns[in_columns][0]
    pixels = image.read(
        slice(top, rows[in_rows][-1] + 1),
        slice(left, columns[in_columns][-1] + 1),
        level,
        view.channels,
    )
    shown = colored(view, pixels[np.ix_(rows[in_rows] - top, columns[in_columns] - left)])
    picture[np.ix_(in_rows, in_columns)] = shown
    return picture


def colored(view: Viewing, pixels: np.ndarray) -> np.ndarray:
    """Return (h, w, 3) uint8 of pixels (h, w, channels)."""
    share = (pixels.astype(np.float32) - view.low) / (view.high - view.low)
    light = np.clip(share, 0, 1) @ view.colors
    return (np.clip(light, 0, 1) * 255).astype(np.uint8)


def _sample(image: SectionImage, channels: tuple[int, ...]) -> np.ndarray:
    """Return (m, channels): pixels from the middle of the coarsest level."""
    level = len(image.levels) - 1
    starts = [max(0, side // 2 - _SAMPLE) for side in image.shape_of(level)]
    rows, columns = (slice(start, start + 2 * _SAMPLE) for start in starts)
    pixels = image.read(rows, columns, level, channels).reshape(-1, len(channels))
    pixels = pixels.astype(np.float32)
    known = np.isfinite(pixels).all(axis=1)
    return pixels[known] if known.any() else np.zeros((1, len(channels)), np.float32)


def _top(image: SectionImage) -> float:
    """Return the value of full brightness in a coloured image."""
    if image.dtype.kind in "ui":
        return float(np.iinfo(image.dtype).max)
    return 1.0 if float(_sample(image, (0, 1, 2)).max()) <= 1 else 255.0


def _color(stated: str, channel: int, number: int) -> list[float]:
    """Return a channel's colour; one channel alone is white."""
    text = stated or _COLORS[0 if number == 1 else 1 + channel % (len(_COLORS) - 1)]
    return [int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)]
