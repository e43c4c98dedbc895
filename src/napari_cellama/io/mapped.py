"""Pixels that lie in a TIFF as they are in memory: read without a strip, which may be all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

#: Rows and columns that are read as one.
_CHUNK = {"Y": 512, "X": 2048}


@dataclass(frozen=True, eq=False)
class Mapped:
    """An array that lies in one piece in a file; only sliced.

    The file is mapped anew for each part, so that pages that were read do not stay in memory.

    Attributes
    ----------
    path
        The file.
    offset
        Where the array begins, in bytes.
    shape, dtype
        As of numpy.
    order
        The order of the bytes in the file, "<" or ">".
    chunks
        How it is best read, along each axis.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype
    order: str
    chunks: tuple[int, ...]

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        stored = self.dtype.newbyteorder(self.order)
        return np.memmap(self.path, stored, "r", self.offset, self.shape)[key].astype(self.dtype)


def chunks_of(shape: Sequence[int], axes: str) -> tuple[int, ...]:
    """Return how pixels that can be read in any part are best read, along each axis.

    ``axes`` are named in capitals, as tifffile does; the samples of a pixel stay together.
    """
    return tuple(
        min(side, _CHUNK.get(axis, side if axis == "S" else 1))
        for axis, side in zip(axes, shape, strict=True)
    )


def mapped(path: Path, level: Any) -> Mapped | None:
    """Return a level of a TIFF (tifffile's series) as it lies in the file, if it does in one piece.

    That is, not compressed, not in tiles and its planes one behind the other.
    """
    if level.dataoffset is None or level.dtype is None or level.dtype.kind not in "uif":
        return None
    chunks = chunks_of(level.shape, level.axes)
    order, dtype = level.keyframe.parent.byteorder, np.dtype(level.dtype).newbyteorder("=")
    return Mapped(path.resolve(), level.dataoffset, tuple(level.shape), dtype, order, chunks)
