"""Coarser levels of an image that has none: averaged from its pixels, in part or all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from napari_cellama.core.section_image import SectionImage
from napari_cellama.errors import UserError

#: Pixels along a tile's side.
TILE = 512
#: A level no larger than this along either side is looked at whole.
LARGE = 4096
#: A level no larger than this along either side is the coarsest.
_COARSEST = 1024
#: Bytes of the overview that is kept, from which coarser levels are taken.
_OVERVIEW = 48 * 2**20
#: Chunks of more bytes than this on disk cannot be read in parts.
_LARGEST_CHUNK = 64 * 2**20
#: Pixels along the sides of what is read at once, as far as chunks are no larger.
_BLOCK = (512, 4096)


def needs_overview(image: SectionImage) -> bool:
    """Whether even the coarsest level is too large to be looked at whole, but read in parts."""
    if max(image.shape_of(-1)) <= LARGE:
        return False
    if not image.stored:
        return True
    stored = image.stored[-1]
    return int(np.prod(stored.chunk)) * stored.array.dtype.itemsize <= _LARGEST_CHUNK


class Overview:
    """Levels below an image's coarsest one, each half as wide and high as the one before.

    Parameters
    ----------
    image
        The image.
    channels
        Which of its channels.
    convert
        What is done to pixels (height, width, channels) that were read; by default nothing.
    dtype
        The type of what ``convert`` returns.
    """

    def __init__(
        self,
        image: SectionImage,
        channels: tuple[int, ...],
        convert: Callable[[np.ndarray], np.ndarray] | None = None,
        dtype: np.dtype | None = None,
    ) -> None:
        self._image, self._channels, self._convert = image, channels, convert
        self._level = len(image.levels) - 1
        self.dtype = np.dtype(image.dtype if dtype is None else dtype)
        #: Why some pixels could not be read; "" where all could. What is missing is black.
        self.problem = ""
        shapes = [image.shape_of(self._level)]
        while max(shapes[-1]) > _COARSEST:
            shapes.append(tuple(-(-side // 2) for side in shapes[-1]))
        #: (height, width) of the levels, the image's coarsest first.
        self.shapes: tuple[tuple[int, int], ...] = tuple(shapes)
        one = len(channels) * self.dtype.itemsize
        #: The finest level that is kept whole.
        self.kept_level = next(
            number
            for number, (height, width) in enumerate(shapes)
            if height * width * one <= _OVERVIEW or number == len(shapes) - 1
        )
        #: (height, width, channels) of that level, black where it is not drawn yet.
        self.kept = np.zeros((*shapes[self.kept_level], len(channels)), self.dtype)

    def draw(self) -> Iterator[float]:
        """Read all pixels once and average them for the level that is kept; yields the share."""
        height, width = self.shapes[0]
        step = 1 << self.kept_level
        rows, columns = (
            -(-max(side, least) // step) * step
            for side, least in zip(self._chunk(), _BLOCK, strict=True)
        )
        for top in range(0, height, rows):
            for left in range(0, width, columns):
                part = (slice(top, top + rows), slice(left, left + columns))
                small = self._shrunk(*part, self.kept_level)
                row, column = top // step, left // step
                self.kept[row : row + small.shape[0], column : column + small.shape[1]] = small
                done = top * width + min(rows, height - top) * min(left + columns, width)
                yield done / (height * width)

    def tile(self, level: int, row: int, column: int) -> np.ndarray:
        """Return a tile of a level, (TILE, TILE, channels) or less at the rim, from the pixels."""
        side = TILE << level
        rows, columns = (slice(k * side, (k + 1) * side) for k in (row, column))
        return self._shrunk(rows, columns, level)

    def stand_in(self, level: int, rows: slice, columns: slice) -> np.ndarray:
        """Return a part of any level from the one that is kept: at once, as far as it is drawn."""
        shift = level - self.kept_level
        if shift >= 0:
            return self.kept[:: 1 << shift, :: 1 << shift][rows, columns]
        height, width = self.kept.shape[:2]
        row = np.minimum(np.arange(rows.start, rows.stop) >> -shift, height - 1)
        column = np.minimum(np.arange(columns.start, columns.stop) >> -shift, width - 1)
        return self.kept[row[:, None], column]

    def _chunk(self) -> tuple[int, int]:
        if not self._image.stored:
            return _BLOCK
        return self._image.stored[-1].chunk[:2]

    def _shrunk(self, rows: slice, columns: slice, times: int) -> np.ndarray:
        """Read a part of the image's coarsest level and halve it so many times."""
        height, width = self.shapes[0]
        rows, columns = (
            slice(rows.start, min(rows.stop, height)),
            slice(columns.start, min(columns.stop, width)),
        )
        try:
            # Tiles that share a strip or a chunk decode it once.
            pixels = self._image.read_part((rows, columns), self._level, self._channels)
        except UserError as error:
            self.problem = self.problem or str(error)
            shape = (rows.stop - rows.start, columns.stop - columns.start, len(self._channels))
            pixels = np.zeros(shape, self._image.dtype)
        if self._convert is not None:
            pixels = self._convert(pixels)
        for _ in range(times):
            pixels = halved(pixels)
        return pixels


def halved(pixels: np.ndarray) -> np.ndarray:
    """Return (ceil(h / 2), ceil(w / 2), channels): the means of squares of four, of their type."""
    height, width = pixels.shape[:2]
    if height % 2:
        pixels = np.concatenate([pixels, pixels[-1:]])
    if width % 2:
        pixels = np.concatenate([pixels, pixels[:, -1:]], axis=1)
    kind, size = pixels.dtype.kind, pixels.dtype.itemsize
    if kind == "b":
        rows = pixels[::2] | pixels[1::2]
        return rows[:, ::2] | rows[:, 1::2]
    wide = np.dtype(f"{kind}{min(8, 2 * size)}") if kind in "ui" else pixels.dtype
    rows = pixels[::2].astype(wide)
    rows += pixels[1::2]
    total = rows[:, ::2] + rows[:, 1::2]
    if kind not in "ui":
        return (total / 4).astype(pixels.dtype)
    total += 2
    total >>= 2
    return total.astype(pixels.dtype)
