"""Pixels as they lie on disk, chunk by chunk: read and decoded without a task graph."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from threading import Lock
from typing import Any

import numpy as np

#: Bytes of decoded chunks that are kept for the next crops.
_KEPT = 64 * 2**20
#: Threads that decode; codecs let go of the interpreter's lock.
_THREADS = 4

#: A chunk: its level, and its number along the channels, rows and columns.
Chunk = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Stored:
    """One level of an image on disk.

    Attributes
    ----------
    array
        A chunked array, as of zarr; only sliced.
    index
        For each of its axes "c", "y" or "x", or the one position along it that counts.
    """

    array: Any
    index: tuple[int | str, ...]

    def _size(self, sizes: tuple[int, ...], letter: str) -> int:
        return int(sizes[self.index.index(letter)]) if letter in self.index else 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns and channels."""
        return tuple(self._size(self.array.shape, letter) for letter in "yxc")

    @property
    def chunk(self) -> tuple[int, int, int]:
        """Rows, columns and channels of a chunk."""
        return tuple(self._size(self.array.chunks, letter) for letter in "yxc")

    def read(self, rows: slice, columns: slice, channels: tuple[int, ...]) -> np.ndarray:
        """Return (height, width, channels) of the array's type."""
        if "c" not in self.index or self.chunk[2] > 1:
            return self._read(rows, columns, slice(None))[..., list(channels)]
        planes = [self._read(rows, columns, slice(c, c + 1)) for c in channels]
        return np.concatenate(planes, axis=-1)

    def _read(self, rows: slice, columns: slice, channels: slice) -> np.ndarray:
        parts = {"y": rows, "x": columns, "c": channels}
        found = np.asarray(self.array[tuple(parts.get(i, i) for i in self.index)])
        letters = [letter for letter in self.index if isinstance(letter, str)]
        if "c" not in letters:
            found, letters = found[..., None], [*letters, "c"]
        return found.transpose([letters.index(letter) for letter in "yxc"])

    def read_chunk(self, channel: int, row: int, column: int) -> np.ndarray:
        """Return one chunk, cut off where the image ends."""
        height, width, depth = self.chunk
        rows = slice(row * height, (row + 1) * height)
        columns = slice(column * width, (column + 1) * width)
        return self._read(rows, columns, slice(channel * depth, (channel + 1) * depth))


class Chunks:
    """The chunks of an image's levels, decoded once for all crops that share them.

    Parameters
    ----------
    levels
        The finest first.
    """

    def __init__(self, levels: tuple[Stored, ...]) -> None:
        self._levels = levels
        self._kept: OrderedDict[Chunk, np.ndarray] = OrderedDict()
        self._n_bytes = 0
        self._lock = Lock()

    def fits(self, level: int) -> bool:
        """Whether a level's chunks are small enough to be kept."""
        stored = self._levels[level]
        return prod(stored.chunk) * stored.array.dtype.itemsize <= _KEPT // 8

    def read(
        self, windows: list[tuple[slice, slice]], level: int, channels: tuple[int, ...]
    ) -> Iterable[np.ndarray]:
        """Yield (height, width, channels) of each window (rows, columns) of a level.

        Each chunk is decoded once for all windows, on a few threads, as far as memory allows.
        """
        needed = [self._needed(window, level, channels) for window in windows]
        stored = self._levels[level]
        most = max(1, _KEPT // (prod(stored.chunk) * stored.array.dtype.itemsize) - 1)
        start = 0
        with ThreadPoolExecutor(_THREADS) as pool:
            while start < len(windows):
                chunks, stop = dict.fromkeys(needed[start]), start + 1
                while stop < len(windows) and len(chunks) + len(needed[stop]) <= most:
                    chunks.update(dict.fromkeys(needed[stop]))
                    stop += 1
                there = dict(zip(chunks, pool.map(self._chunk, chunks), strict=True))
                for window in windows[start:stop]:
                    yield self._put_together(window, level, channels, there)
                start = stop

    def _needed(
        self, window: tuple[slice, slice], level: int, channels: tuple[int, ...]
    ) -> list[Chunk]:
        height, width, depth = self._levels[level].chunk
        rows, columns = window
        return [
            (level, channel, row, column)
            for channel in dict.fromkeys(c // depth for c in channels)
            for row in range(rows.start // height, -(-rows.stop // height))
            for column in range(columns.start // width, -(-columns.stop // width))
        ]

    def _chunk(self, chunk: Chunk) -> np.ndarray:
        with self._lock:
            if chunk in self._kept:
                self._kept.move_to_end(chunk)
                return self._kept[chunk]
        level, *place = chunk
        pixels = self._levels[level].read_chunk(*place)
        with self._lock:
            if chunk not in self._kept:
                self._kept[chunk] = pixels
                self._n_bytes += pixels.nbytes
            while self._n_bytes > _KEPT:
                self._n_bytes -= self._kept.popitem(last=False)[1].nbytes
        return pixels

    def _put_together(
        self,
        window: tuple[slice, slice],
        level: int,
        channels: tuple[int, ...],
        there: dict[Chunk, np.ndarray],
    ) -> np.ndarray:
        stored, (rows, columns) = self._levels[level], window
        height, width, depth = stored.chunk
        shape = (rows.stop - rows.start, columns.stop - columns.start, len(channels))
        found = np.empty(shape, stored.array.dtype)
        for chunk in self._needed(window, level, channels):
            _, group, row, column = chunk
            pixels, top, left = there[chunk], row * height, column * width
            low, high = max(rows.start, top), min(rows.stop, top + height)
            first, last = max(columns.start, left), min(columns.stop, left + width)
            here = slice(low - rows.start, high - rows.start)
            along = slice(first - columns.start, last - columns.start)
            part = pixels[low - top : high - top, first - left : last - left]
            for place, channel in enumerate(channels):
                if channel // depth == group:
                    found[here, along, place] = part[..., channel % depth]
        return found
