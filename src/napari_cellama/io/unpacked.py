"""Pixels that lie on disk in pieces too large to be read for each part: unpacked once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from itertools import product
from threading import Lock
from typing import Any

import numpy as np

from napari_cellama.errors import UserError
from napari_cellama.io.mapped import chunks_of

#: Pieces of more bytes are unpacked: to decode one for every part of it would take too long.
LARGE = 8 * 2**20
#: Pieces of more bytes are refused: one has to be in memory whole to be unpacked.
MOST = 2**30
#: Bytes that are written at once.
_BLOCK = 16 * 2**20


class Unpacked:
    """An array on disk, unpacked into a temporary file when it is first read; only sliced.

    The file has no name and is gone with this object, or with the program.

    Parameters
    ----------
    array
        Of zarr, in large pieces.
    axes
        What its axes are, in capitals.
    """

    def __init__(self, array: Any, axes: str) -> None:
        self._packed: Any = array
        self.shape, self.ndim, self.dtype = tuple(array.shape), array.ndim, np.dtype(array.dtype)
        #: How it is best read, along each axis.
        self.chunks = chunks_of(self.shape, axes)
        self._file: Any = None
        self._lock = Lock()

    def __getitem__(self, key: Any) -> np.ndarray:
        with self._lock:
            if self._file is None:
                self._file = self._unpack()
                self._packed = None
        # Mapped anew for each part, so that pages that were read do not stay in memory.
        return np.array(np.memmap(self._file, self.dtype, "r", 0, self.shape)[key])

    def _unpack(self) -> Any:
        file = tempfile.TemporaryFile(prefix="napari-cellama-")  # noqa: SIM115 - kept open
        try:
            # Written, not only mapped: on a full disk that is an error, and not the program's end.
            left = n_bytes_of(self)
            while left:
                left -= file.write(bytes(min(left, _BLOCK)))
            file.flush()
            for piece in _pieces(self._packed):
                whole = np.memmap(file, self.dtype, "r+", 0, self.shape)
                whole[piece] = self._packed[piece]
                whole.flush()
        except BaseException:
            file.close()
            raise
        return file

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()


def in_parts(array: Any, axes: str, name: str) -> Any:
    """Return an array that can be read in parts: itself, or one that unpacks its large pieces.

    Parameters
    ----------
    array
        Of zarr.
    axes
        What its axes are, in capitals.
    name
        What users call the image.

    Raises
    ------
    UserError
        When a piece does not fit into memory, or all of it not onto the disk.
    """
    piece = int(np.prod(array.chunks)) * np.dtype(array.dtype).itemsize
    if piece <= LARGE:
        return array
    advice = "save it in tiles, e.g. with: vips tiffsave IN OUT.tif --tile --pyramid"
    if piece > MOST:
        raise UserError(
            f"The image {name!r} is compressed in pieces of {piece / 2**30:.1f} GiB, which cannot "
            f"be read in parts; {advice}."
        )
    if n_bytes_of(array) > shutil.disk_usage(tempfile.gettempdir()).free:
        raise UserError(
            f"The image {name!r} is compressed in large pieces, and unpacked it takes "
            f"{n_bytes_of(array) / 2**30:.1f} GiB, more than is free in {tempfile.gettempdir()}; "
            f"{advice}."
        )
    return Unpacked(array, axes)


def n_bytes_of(array: Any) -> int:
    """Return what an array takes in memory."""
    return int(np.prod(array.shape, dtype=np.int64)) * np.dtype(array.dtype).itemsize


def _pieces(array: Any) -> Iterator[tuple[slice, ...]]:
    """Yield the places of an array's pieces."""
    grid = [range(0, side, chunk) for side, chunk in zip(array.shape, array.chunks, strict=True)]
    for starts in product(*grid):
        yield tuple(slice(at, at + size) for at, size in zip(starts, array.chunks, strict=True))
