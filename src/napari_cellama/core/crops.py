"""Pictures of single cells, cut from an image and read as people see them: red, green and blue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_cellama.core.section_image import SectionImage

#: Colours of channels that the file gives none: a nuclear stain blue, further ones as they come.
_COLORS = ("#ffffff", "#00ff00", "#ff00ff", "#ffff00", "#00ffff", "#ff0000", "#4060ff")
#: Pixels along each side of the sample that the contrast is judged by; of twice as many.
_SAMPLE = 512
#: Patches along each side that are read instead where the image is large.
_PATCHES = 4


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
    colors = [_rgb(channel_color(image, c, len(picked))) for c in picked]
    return Viewing(image, picked, low, np.maximum(high, low + 1e-9), np.array(colors))


def crop(
    view: Viewing, xy: np.ndarray, width: float, size: int, *, alone: bool = True
) -> np.ndarray:
    """Cut a square around one position.

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
    alone
        Whether no other is cut meanwhile, in another thread.

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
    level, half = _level_and_half(view, width, size)
    (place,) = image.locate(np.asarray(xy, float)[None], level)
    frame = _frame(place, half, size, image.shape_of(level))
    picture = grey(size)
    if frame is not None:
        pixels = image.read_part(frame.window, level, view.channels, alone=alone)
        picture[frame.rows.inside, frame.columns.inside] = colored(view, frame.sample(pixels))
    return picture


def grey(size: int) -> np.ndarray:
    """Return the picture, (size, size, 3) uint8, of what there is no image of."""
    return np.full((size, size, 3), 128, np.uint8)


def placed(
    view: Viewing, center: np.ndarray, width: float, size: int, points: np.ndarray
) -> np.ndarray:
    """Return where points lie on the picture of :func:`crop` around a position.

    Parameters
    ----------
    view, width, size
        As for :func:`crop`.
    center
        (2,) the position.
    points
        (k, 2) positions.

    Returns
    -------
    numpy.ndarray
        (k, 2) x and y in shares of the picture's side, from its top left corner.
    """
    level, half = _level_and_half(view, width, size)
    places = view.image.locate(np.vstack([np.asarray(center)[None], points]), level)
    return ((places[1:] - places[0]) / (2 * half) + 0.5)[:, ::-1]


def _level_and_half(view: Viewing, width: float, size: int) -> tuple[int, float]:
    """Return the level that crops are cut from, and half their side in its pixels."""
    image = view.image
    level = image.level_for(width / size)
    return level, width / 2 / (image.pixel_size * float(image.zoom_of(level).mean()))


@dataclass(frozen=True)
class _Line:
    """Where a picture's pixels lie along one axis of a level.

    Attributes
    ----------
    inside
        Those that lie on the image.
    part
        What must be read for these.
    step
        How many pixels of the level one of the picture covers.
    places
        Of those inside: their middles in the part, counted from its first pixel's middle.
    """

    inside: slice
    part: slice
    step: float
    places: np.ndarray


@dataclass(frozen=True)
class _Frame:
    """Where a picture's pixels lie on a level."""

    rows: _Line
    columns: _Line

    @property
    def window(self) -> tuple[slice, slice]:
        return self.rows.part, self.columns.part

    def sample(self, pixels: np.ndarray) -> np.ndarray:
        """Return the picture's pixels inside, float32, of the part's (h, w, channels)."""
        if pixels.dtype.kind == "f":
            pixels = np.nan_to_num(pixels)  # or all around would be empty as well
        for axis, line in enumerate((self.rows, self.columns)):
            pixels = _sampled(pixels, line, axis)
        return pixels


def _frame(place: np.ndarray, half: float, size: int, shape: tuple[int, int]) -> _Frame | None:
    """Return where the picture around a (row, column) lies; ``None`` off the image."""
    if not np.isfinite(place).all():
        return None
    lines = [_line(middle, half, size, n) for middle, n in zip(place, shape, strict=True)]
    rows, columns = lines
    return None if rows is None or columns is None else _Frame(rows, columns)


def _line(middle: float, half: float, size: int, n: int) -> _Line | None:
    step = 2 * half / size
    places = middle - half + (np.arange(size) + 0.5) * step
    first, last = np.searchsorted(places, (0, n)).tolist()
    if first == last:
        return None
    places = places[first:last]
    reach = max(step, 1) / 2 + 0.5
    start = max(0, int(np.floor(places[0] - reach)))
    stop = min(n, int(np.ceil(places[-1] + reach)))
    return _Line(slice(first, last), slice(start, stop), step, places - start - 0.5)


def _sampled(pixels: np.ndarray, line: _Line, axis: int) -> np.ndarray:
    """Return pixels at a line's places: between them, or their mean where many make one."""
    last, shape = pixels.shape[axis] - 1, (-1,) + (1,) * (pixels.ndim - 1 - axis)
    n = max(1, round(line.step))
    found: np.ndarray | None = None
    for shift in (np.arange(n) + 0.5) / n - 0.5:  # n samples of each pixel of the picture
        places = np.clip(line.places + shift * line.step, 0, last)
        low = places.astype(np.intp)
        share = (places - low).astype(np.float32).reshape(shape)
        here = pixels.take(low, axis).astype(np.float32)
        further = pixels.take(np.minimum(low + 1, last), axis) - here
        further *= share
        here += further
        found = here if found is None else found + here
    return found if n == 1 else found / n


def colored(view: Viewing, pixels: np.ndarray) -> np.ndarray:
    """Return (h, w, 3) uint8 of pixels, (h, w, channels) float32."""
    if view.image.rgb and view.image.dtype == np.uint8:
        return np.rint(pixels).astype(np.uint8)
    low, high = view.low.astype(np.float32), view.high.astype(np.float32)
    share = np.clip((pixels - low) / (high - low), 0, 1)
    light = share if view.image.rgb else share @ view.colors.astype(np.float32)
    return (np.clip(light, 0, 1) * 255).astype(np.uint8)


def _sample(image: SectionImage, channels: tuple[int, ...]) -> np.ndarray:
    """Return (m, channels): pixels of the coarsest level: its middle, or patches where it is large.

    The middle of a large one may be a hole in the tissue.
    """
    level = len(image.levels) - 1
    shape = image.shape_of(level)
    if max(shape) <= 8 * _SAMPLE:
        windows = [tuple(_around(side // 2, _SAMPLE, side) for side in shape)]
    else:
        middles = [
            [side * (2 * k + 1) // (2 * _PATCHES) for k in range(_PATCHES)] for side in shape
        ]
        half = _SAMPLE // _PATCHES
        windows = [
            (_around(row, half, shape[0]), _around(column, half, shape[1]))
            for row in middles[0]
            for column in middles[1]
        ]
    parts = [image.read_part(window, level, channels) for window in windows]
    # Of some pixels the quantiles are found in a fraction of the time, and are the same.
    step = max(1, round(np.sqrt(sum(part[..., 0].size for part in parts)) / _SAMPLE))
    parts = [part[::step, ::step].reshape(-1, len(channels)) for part in parts]
    pixels = np.concatenate(parts)
    pixels = pixels.astype(np.float32)
    known = np.isfinite(pixels).all(axis=1)
    return pixels[known] if known.any() else np.zeros((1, len(channels)), np.float32)


def _around(middle: int, half: int, side: int) -> slice:
    return slice(max(0, middle - half), min(side, middle + half))


def _top(image: SectionImage) -> float:
    """Return the value of full brightness in a coloured image."""
    if image.dtype.kind in "ui":
        return float(np.iinfo(image.dtype).max)
    return 1.0 if float(_sample(image, (0, 1, 2)).max()) <= 1 else 255.0


def channel_color(image: SectionImage, channel: int, shown: int) -> str:
    """Return a channel's colour as ``#rrggbb``: the file's; else one alone is white."""
    stated = image.colors[channel]
    return stated or _COLORS[0 if shown == 1 else 1 + channel % (len(_COLORS) - 1)]


def _rgb(color: str) -> list[float]:
    return [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
