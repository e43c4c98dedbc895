"""Levels of pixels that napari looks at through a window, made tile by tile in a thread."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, QThreadPool, QTimer, Signal

#: Tiles that are drawn before what is there is shown, and milliseconds until it is.
_BATCH, _SOON_MS = 4, 80

_Key = tuple[int, int, int]


class BackgroundTiles(QObject):
    """Makes tiles in a thread when they are looked at; an overview stands in meanwhile.

    ``drawn()`` says, on the main thread, that there is more to see. What makes and shows them is
    in :meth:`_draw`, :meth:`_stand_in` and :meth:`_shown`.

    Parameters
    ----------
    shapes
        (height, width) of the levels, the finest first.
    tile
        Pixels along a tile's side.
    depth
        The number of a shown pixel's colours; 0 where it is one number.
    dtype
        A shown pixel's type.
    """

    #: Bytes of tiles that are kept.
    KEPT = 128 * 2**20

    drawn = Signal()
    _came = Signal()

    def __init__(
        self, shapes: tuple[tuple[int, int], ...], tile: int, depth: int, dtype: Any
    ) -> None:
        super().__init__()
        self.shapes, self.dtype = shapes, np.dtype(dtype)
        self._tile_side, self._pixel = tile, (depth,) if depth else ()
        self._kept: OrderedDict[_Key, np.ndarray] = OrderedDict()
        self._n_bytes = 0
        self._wanted: list[_Key] = []
        self._working = self._closed = self._unseen = False
        self._lock = Lock()
        self._coarsest: np.ndarray | None = None
        # Showing more takes longer than drawing it: what came meanwhile is shown at once.
        self._soon = QTimer(self, singleShot=True, interval=_SOON_MS)
        self._soon.timeout.connect(self._tell)
        self._came.connect(self._on_came)

    # ---- what it is of

    def _draw(self, key: _Key) -> np.ndarray:
        """Return a tile (level, row, column) as it is kept; called in a thread."""
        raise NotImplementedError

    def _stand_in(self, level: int, rows: slice, columns: slice) -> np.ndarray:
        """Return, at once, what there is of a part of a level, as tiles are kept."""
        raise NotImplementedError

    def _shown(self, kept: np.ndarray, out: np.ndarray, *, whole: bool) -> None:
        """Write the pixels of (a part of) a tile; ``whole``: of a level that has no tiles."""
        raise NotImplementedError

    def _has_tiles(self, level: int) -> bool:
        """Whether a level has more to show than stands in for it."""
        raise NotImplementedError

    # ---- what napari sees

    @property
    def levels(self) -> list[LevelView]:
        """What napari takes for an image of several levels."""
        return [LevelView(self, level) for level in range(len(self.shapes))]

    @property
    def is_settled(self) -> bool:
        """Whether everything that was looked at is drawn, and that was told."""
        return not self._wanted and not self._working and not self._unseen

    def window(self, level: int, rows: slice, columns: slice) -> np.ndarray:
        """Return (height, width) pixels: a part of a level, as far as it is drawn."""
        size = (rows.stop - rows.start, columns.stop - columns.start)
        pixels = np.empty((*size, *self._pixel), self.dtype)
        if not self._has_tiles(level):
            self._shown(self._stand_in(level, rows, columns), pixels, whole=True)
            return pixels
        wanted, side = [], self._tile_side
        for row in range(rows.start // side, -(-rows.stop // side)):
            for column in range(columns.start // side, -(-columns.stop // side)):
                inner = _common(rows, row, side), _common(columns, column, side)
                key = (level, row, column)
                tile = self._tile(key)
                if tile is None:
                    wanted.append(key)
                    part = self._stand_in(level, *inner)
                else:
                    part = tile[_moved(inner[0], row * side), _moved(inner[1], column * side)]
                place = _moved(inner[0], rows.start), _moved(inner[1], columns.start)
                self._shown(part, pixels[place], whole=False)
        self._request(wanted)
        return pixels

    def coarsest(self) -> np.ndarray:
        """Return all of the coarsest level: always the same array, which is kept up to date.

        napari asks for it once and keeps what it gets, for the thumbnail and for views from afar.
        """
        if self._coarsest is None:
            self._coarsest = np.zeros((*self.shapes[-1], *self._pixel), self.dtype)
            self.renew()
        return self._coarsest

    def renew(self) -> None:
        """Bring the coarsest level up to date, as other colours or more pixels are there."""
        if self._coarsest is not None:
            height, width = self.shapes[-1]
            whole = self.window(len(self.shapes) - 1, slice(0, height), slice(0, width))
            self._coarsest[...] = whole

    def close(self) -> None:
        """Draw no more."""
        self._soon.stop()
        self._closed, self._unseen = True, False
        self._wanted = []

    # ---- drawing

    def _on_came(self) -> None:
        if not self._closed and not self._soon.isActive():
            self._soon.start()

    def _tell(self) -> None:
        self._unseen = False
        self.drawn.emit()

    def _tile(self, key: _Key) -> np.ndarray | None:
        """Return a tile that is drawn already, and remember that it was of use."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _request(self, keys: list[_Key]) -> None:
        """Draw these and forget what was wanted before: the view has moved on."""
        with self._lock:
            self._wanted = [] if self._closed else keys
            start = bool(self._wanted) and not self._working
            self._working |= start
        if start:
            QThreadPool.globalInstance().start(self._work)

    def _work(self) -> None:
        """Draw what is wanted, in a thread of the pool."""
        done = 0
        while True:
            with self._lock:
                missing = [key for key in self._wanted if key not in self._kept]
                if not missing:
                    self._wanted, self._working = [], False
                    break
            tile = self._draw(missing[0])
            with self._lock:
                self._keep(missing[0], tile)
                self._unseen = not self._closed
            done += 1
            if done % _BATCH == 0 and len(missing) > 1 and not self._closed:
                self._came.emit()
        if not self._closed:
            self._came.emit()

    def _keep(self, key: _Key, tile: np.ndarray) -> None:
        """Keep a tile, and let go of those that were of no use for longest."""
        self._kept[key] = tile
        self._n_bytes += tile.nbytes
        while self._n_bytes > self.KEPT and len(self._kept) > max(1, len(self._wanted)):
            self._n_bytes -= self._kept.popitem(last=False)[1].nbytes


class LevelView:
    """One level as napari wants it: a shape, a type and slices.

    Parameters
    ----------
    tiles
        Where it is from.
    level
        Which one it is.
    """

    def __init__(self, tiles: BackgroundTiles, level: int) -> None:
        self.tiles, self._level = tiles, level
        self.shape = (*tiles.shapes[level], *tiles._pixel)
        self.ndim, self.dtype = len(self.shape), tiles.dtype
        self.size = int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        parts = key if isinstance(key, tuple) else (key,)
        slices = [part for part in parts if isinstance(part, slice)]
        if len(slices) != len(parts):
            return np.asarray(self[:, :])[key]
        slices += [slice(None)] * (self.ndim - len(slices))
        rows, columns = (
            slice(*part.indices(side)[:2])
            for part, side in zip(slices[:2], self.shape, strict=False)
        )
        rows, columns = (slice(part.start, max(part.start, part.stop)) for part in (rows, columns))
        pixels = self.tiles.window(self._level, rows, columns)
        return pixels[(slice(None), slice(None), *slices[2:])]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        last = self._level == len(self.tiles.shapes) - 1
        return np.asarray(self.tiles.coarsest() if last else self[:, :], dtype)


def _common(part: slice, tile: int, side: int) -> slice:
    return slice(max(part.start, tile * side), min(part.stop, (tile + 1) * side))


def _moved(part: slice, by: int) -> slice:
    return slice(part.start - by, part.stop - by)
