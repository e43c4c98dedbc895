"""Pixels as they lie on disk, chunk by chunk: read and decoded without a task graph."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from threading import Lock
from typing import Any

import numpy as np

#: Bytes of decoded chunks that are kept for the next crops.
_KEPT = 64 * 2**20
#: Threads that decode, as codecs let go of the interpreter's lock; more than there are processors,
#: as some wait for the disk.
THREADS = max(2, min(8, 2 * (os.cpu_count() or 1)))

#: A chunk: its level, and its number along the channels, rows and columns.
Chunk = tuple[int, int, int, int]
#: Returns a whole chunk of an array by its number along every axis.
Decode = Callable[[tuple[int, ...]], np.ndarray]


@dataclass(frozen=True, eq=False)
class Stored:
    """One level of an image on disk.

    Attributes
    ----------
    array
        A chunked array, as of zarr; only sliced.
    index
        For each of its axes "c", "y" or "x", or the one position along it that counts.
    decode
        Returns a chunk of ``array``, padded where it reaches beyond, where there is a shorter
        way to it than the array's.
    """

    array: Any
    index: tuple[int | str, ...]
    decode: Decode | None = None

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

    @property
    def chunk_bytes(self) -> int:
        """What a decoded chunk takes."""
        return prod(self.chunk) * self.array.dtype.itemsize

    def read(self, rows: slice, columns: slice, channels: tuple[int, ...]) -> np.ndarray:
        """Return (height, width, channels) of the array's type."""
        if "c" not in self.index or self.chunk[2] > 1:
            return self._read(rows, columns, slice(None))[..., list(channels)]
        planes = [self._read(rows, columns, slice(c, c + 1)) for c in channels]
        return np.concatenate(planes, axis=-1)

    def _read(self, rows: slice, columns: slice, channels: slice) -> np.ndarray:
        parts = {"y": rows, "x": columns, "c": channels}
        return self._arranged(self.array[tuple(parts.get(i, i) for i in self.index)])

    def _arranged(self, found: Any) -> np.ndarray:
        """Return rows, columns and channels of values that have the axes with letters only."""
        found = np.asarray(found)
        letters = [letter for letter in self.index if isinstance(letter, str)]
        if "c" not in letters:
            found, letters = found[..., None], [*letters, "c"]
        return found.transpose([letters.index(letter) for letter in "yxc"])

    def read_chunk(self, channel: int, row: int, column: int) -> np.ndarray:
        """Return one chunk, cut off where the image ends."""
        height, width, depth = self.chunk
        if self.decode is not None:
            at = {"c": channel, "y": row, "x": column}
            axes = list(zip(self.index, self.array.chunks, strict=True))
            whole = self.decode(tuple(at[i] if i in at else i // size for i, size in axes))
            found = self._arranged(whole[tuple(slice(None) if i in at else i % s for i, s in axes)])
            rows, columns, channels = self.shape
            return found[: rows - row * height, : columns - column * width][
                ..., : channels - channel * depth
            ]
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
        self._kept: OrderedDict[Chunk, Future[np.ndarray]] = OrderedDict()
        self._n_bytes = 0
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(THREADS, "chunks")

    def fits(self, level: int) -> bool:
        """Whether a level's chunks are small enough to be kept."""
        return self._levels[level].chunk_bytes <= _KEPT // 8

    def read(
        self,
        window: tuple[slice, slice],
        level: int,
        channels: tuple[int, ...],
        *,
        alone: bool = True,
    ) -> np.ndarray:
        """Read (height, width, channels) of a window (rows, columns) of a level.

        Parameters
        ----------
        window, level, channels
            What is read.
        alone
            Whether nothing else is read meanwhile, so that all threads decode for this. Where
            several threads read windows, each decodes its own: to hand every chunk to another
            thread and back makes all of them wait for the interpreter's lock.
        """
        needed = self._needed(window, level, channels)
        here = not alone or len(needed) == 1
        there = {chunk: self._begin(chunk, here=here) for chunk in needed}
        return self._put_together(window, level, channels, there)

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

    def _begin(self, chunk: Chunk, *, here: bool = False) -> Future[np.ndarray]:
        """Return a chunk's pixels, or what will have them; ``here``: decoded by this thread."""
        level, *place = chunk
        stored, work = self._levels[level], None
        with self._lock:
            known = self._kept.pop(chunk, None)
            if known is not None and known.done() and known.exception() is not None:
                known = None  # what could not be read is tried again
                self._n_bytes -= stored.chunk_bytes
            if known is None:
                known = work = Future()
                self._n_bytes += stored.chunk_bytes
            self._kept[chunk] = known
            while self._n_bytes > _KEPT and len(self._kept) > 1:
                (oldest, *_), _ = self._kept.popitem(last=False)
                self._n_bytes -= self._levels[oldest].chunk_bytes
        if work is not None and here:
            _decode(stored, place, work)
        elif work is not None:
            self._pool.submit(_decode, stored, place, work)
        return known

    def _put_together(
        self,
        window: tuple[slice, slice],
        level: int,
        channels: tuple[int, ...],
        there: dict[Chunk, Future[np.ndarray]],
    ) -> np.ndarray:
        stored, (rows, columns) = self._levels[level], window
        height, width, depth = stored.chunk
        shape = (rows.stop - rows.start, columns.stop - columns.start, len(channels))
        found = np.empty(shape, stored.array.dtype)
        for (_, group, row, column), reading in there.items():
            pixels, top, left = reading.result(), row * height, column * width
            low, high = max(rows.start, top), min(rows.stop, top + height)
            first, last = max(columns.start, left), min(columns.stop, left + width)
            here = slice(low - rows.start, high - rows.start)
            along = slice(first - columns.start, last - columns.start)
            part = pixels[low - top : high - top, first - left : last - left]
            for place, channel in enumerate(channels):
                if channel // depth == group:
                    found[here, along, place] = part[..., channel % depth]
        return found


def _decode(stored: Stored, place: list[int], work: Future[np.ndarray]) -> None:
    """Read a chunk for all who wait for it."""
    try:
        work.set_result(stored.read_chunk(*place))
    except BaseException as error:  # whatever it is, nobody may wait for ever
        work.set_exception(error)
