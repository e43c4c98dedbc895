"""The tiles of a TIFF, decoded straight from its bytes.

tifffile offers its files as zarr stores; for hundreds of tiles that a gallery needs at once,
what zarr does around each takes longer than the decoding and holds the interpreter's lock.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellama.core.stored import Decode

if TYPE_CHECKING:
    from tifffile import TiffFrame, TiffPage, TiffPageSeries

#: Above this many planes their offsets are not kept at hand: a stack is not what cells lie on.
_MOST_PLANES = 100


class TiffTiles:
    """Decodes single tiles or strips of a level; may be called from several threads.

    Parameters
    ----------
    path
        The file; it is opened with the first tile.
    pages
        The level's planes.
    planes, grid
        How many planes, and how many tiles of one, there are along the level's axes.
    chunk
        A tile's size along all of them.
    empty
        What a tile that the file leaves out is full of.
    """

    def __init__(
        self,
        path: Path,
        pages: list[TiffPage | TiffFrame],
        planes: tuple[int, ...],
        grid: tuple[int, ...],
        chunk: tuple[int, ...],
        empty: np.generic,
    ) -> None:
        self._path, self._pages = path, pages
        self._planes, self._grid = planes, grid
        self._chunk, self._empty = chunk, empty
        # How to decode is worked out once, by the page that the others are like.
        self._decode = pages[0].keyframe.decode
        self._file: Any = None
        self._lock = Lock()

    def __call__(self, numbers: tuple[int, ...]) -> np.ndarray:
        """Return a tile by its number along every axis; at the end of the image it is padded."""
        n = len(self._planes)
        plane = int(np.ravel_multi_index(numbers[:n], self._planes)) if n else 0
        tile = int(np.ravel_multi_index(numbers[n:], self._grid))
        page = self._pages[plane]
        # Some writers leave the last row of tiles out.
        size = page.databytecounts[tile] if tile < len(page.databytecounts) else 0
        if size == 0:
            return np.full(self._chunk, self._empty)
        tables: dict[str, Any] = {}
        if page.jpegtables is not None:
            tables["jpegtables"] = page.jpegtables
        if page.keyframe.jpegheader is not None:
            tables["jpegheader"] = page.keyframe.jpegheader
        encoded = self._read(page.dataoffsets[tile], size)
        decoded, *_ = self._decode(encoded, tile, _fullsize=True, **tables)
        return decoded.reshape(self._chunk)

    def _read(self, offset: int, size: int) -> bytes:
        with self._lock:
            if self._file is None:
                self._file = self._path.open("rb", buffering=0)
                weakref.finalize(self, self._file.close)
        if hasattr(os, "pread"):
            # One that reads must not hold a lock that all wait for while it waits for Python's.
            return os.pread(self._file.fileno(), size, offset)
        with self._lock:
            self._file.seek(offset)
            return self._file.read(size)


def tiles_of(path: Path, level: TiffPageSeries, array: Any) -> Decode | None:
    """Return what decodes the tiles of a level, or ``None`` where only tifffile's store can.

    Parameters
    ----------
    path
        The file that the level is of.
    level
        Of a file that is open.
    array
        The level as a zarr array, whose chunks are the tiles.
    """
    keyframe = level.keyframe
    n = len(array.shape) - len(keyframe.shape)
    n_planes = int(np.prod(array.shape[:n])) if n >= 0 else 0
    plain = (
        0 < n_planes <= _MOST_PLANES
        and tuple(array.shape[n:]) == tuple(keyframe.shape)
        and tuple(array.chunks[:n]) == (1,) * n
        and level.dataoffset is None  # else all lies in one piece
        and level.transform is None
        and not level.is_multifile
    )
    if not plain:
        return None
    pages = [level[number] for number in range(n_planes)]
    if any(page is None or page.keyframe.hash != keyframe.hash for page in pages):
        return None
    sizes = zip(array.shape[n:], array.chunks[n:], strict=True)
    grid = tuple(-(-size // chunk) for size, chunk in sizes)
    empty = np.asarray(keyframe.nodata, array.dtype)[()]
    planes, chunk = tuple(array.shape[:n]), tuple(array.chunks)
    return TiffTiles(path, pages, planes, grid, chunk, empty)
