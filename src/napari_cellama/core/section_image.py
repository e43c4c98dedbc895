"""A microscope image of a section: levels of pixels, wherever they lie, and where they belong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from napari_cellama.core.stored import Chunks, Stored
from napari_cellama.errors import UserError

Axes = Literal["yx", "yxc", "cyx"]


@dataclass(frozen=True)
class SectionImage:
    """One image, from a single array to a pyramid on disk; only the pixels asked for are read.

    Attributes
    ----------
    name
        What users call it.
    levels
        Arrays (numpy, dask, zarr: anything with ``shape``, ``dtype`` and slices), the finest
        first, all of the same extent.
    axes
        What their axes are: "yx", "yxc" or "cyx".
    to_pixels
        (2, 3) float64: ``to_pixels @ (x, y, 1)`` is the (column, row) on the finest level, where
        pixel 0 reaches from 0 to 1. Its outer corner counts, not its centre, so that the levels
        of a pyramid, and the resolutions of ``uns['spatial']``, cover the same place.
    rgb
        Whether the channels are red, green and blue (and alpha).
    channels
        The channels' names, as many as there are.
    colors
        The channels' colours as ``#rrggbb``, or "" where the file says nothing.
    notices
        What the user should know about it, one sentence each.
    stored
        The levels as they lie on disk, where they do: pixels are then read from these, without
        the task graphs of ``levels``, which cost more than the pixels of a small part.
    """

    name: str
    levels: tuple[Any, ...]
    axes: Axes = "yx"
    to_pixels: np.ndarray = field(default_factory=lambda: np.eye(2, 3))
    rgb: bool = False
    channels: tuple[str, ...] = ()
    colors: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    stored: tuple[Stored, ...] = ()

    def __post_init__(self) -> None:
        if not self.levels or self.levels[0].ndim != len(self.axes):
            raise ValueError("An image needs levels with as many dimensions as axes are named.")
        if not self.channels:
            names = ("red", "green", "blue", "alpha") if self.rgb else ()
            n = self.n_channels
            names = names[:n] if self.rgb else tuple(f"channel {i + 1}" for i in range(n))
            object.__setattr__(self, "channels", names)
        if not self.colors:
            object.__setattr__(self, "colors", ("",) * len(self.channels))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the finest level, in pixels."""
        return self.shape_of(0)

    @property
    def n_channels(self) -> int:
        """How many channels there are; 3 or 4 of a coloured image."""
        return 1 if self.axes == "yx" else int(self.levels[0].shape[self.axes.index("c")])

    @property
    def dtype(self) -> np.dtype:
        """The type of a pixel."""
        return np.dtype(self.levels[0].dtype)

    @cached_property
    def pixel_size(self) -> float:
        """How large a pixel of the finest level is, in the coordinates' unit."""
        return float(1 / np.sqrt(abs(np.linalg.det(self.to_pixels[:, :2]))))

    def shape_of(self, level: int) -> tuple[int, int]:
        """Return the height and width of a level, in pixels."""
        shape = self.levels[level].shape
        return int(shape[self.axes.index("y")]), int(shape[self.axes.index("x")])

    def zoom_of(self, level: int) -> np.ndarray:
        """Return how many pixels of the finest level one of a level covers, (rows, columns)."""
        return np.array(self.shape) / self.shape_of(level)

    def level_for(self, pixel_size: float) -> int:
        """Return the coarsest level whose pixels are no larger than ``pixel_size`` units."""
        sizes = [self.pixel_size * self.zoom_of(level).max() for level in range(len(self.levels))]
        fine = [level for level, size in enumerate(sizes) if size <= 1.001 * pixel_size]
        return max(fine, key=lambda level: sizes[level]) if fine else 0

    def locate(self, xy: np.ndarray, level: int = 0) -> np.ndarray:
        """Return (n, 2) float64: the (row, column) of points (n, 2) on a level, NaN kept."""
        columns_rows = np.asarray(xy, np.float64) @ self.to_pixels[:, :2].T + self.to_pixels[:, 2]
        return columns_rows[:, ::-1] / self.zoom_of(level)

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the least and the largest (x, y), (2,) each, that the image reaches."""
        height, width = self.shape
        corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], float)
        places = np.linalg.solve(self.to_pixels[:, :2], (corners - self.to_pixels[:, 2]).T).T
        return places.min(axis=0), places.max(axis=0)

    def read(
        self,
        rows: slice,
        columns: slice,
        level: int = 0,
        channels: tuple[int, ...] | None = None,
    ) -> np.ndarray:
        """Read a part of a level into memory.

        Parameters
        ----------
        rows, columns
            Within the level; clipped to it.
        level
            Which level.
        channels
            Which channels; all by default.

        Returns
        -------
        numpy.ndarray
            (height, width, number of channels) of the image's type.

        Raises
        ------
        UserError
            When the pixels cannot be read.
        """
        height, width = self.shape_of(level)
        rows = slice(max(rows.start, 0), min(rows.stop, height))
        columns = slice(max(columns.start, 0), min(columns.stop, width))
        source = self.levels[level]
        picked = tuple(range(self.n_channels)) if channels is None else channels
        with self._readable(level):
            if self.stored:
                return self.stored[level].read(rows, columns, picked)
            if self.axes == "yx":
                return _in_memory(source[rows, columns])[..., None]
            if self.axes == "yxc":
                return _in_memory(source[rows, columns, :])[..., list(picked)]
            planes = [_in_memory(source[channel, rows, columns]) for channel in picked]
            return np.stack(planes, axis=-1)

    def read_part(
        self,
        window: tuple[slice, slice],
        level: int = 0,
        channels: tuple[int, ...] | None = None,
        *,
        alone: bool = True,
    ) -> np.ndarray:
        """Read a small part of a level, decoding what it shares with others once.

        Parameters
        ----------
        window
            (rows, columns) within the level.
        level, channels
            As for :meth:`read`.
        alone
            Whether nothing else is read meanwhile: see :meth:`Chunks.read`.

        Returns
        -------
        numpy.ndarray
            As :meth:`read` returns it.

        Raises
        ------
        UserError
            When the pixels cannot be read.
        """
        if not self.stored or not self.chunks.fits(level):
            return self.read(*window, level, channels)
        picked = tuple(range(self.n_channels)) if channels is None else channels
        with self._readable(level):
            return self.chunks.read(window, level, picked, alone=alone)

    @cached_property
    def chunks(self) -> Chunks:
        """The chunks of ``stored`` that were decoded last."""
        return Chunks(self.stored)

    @contextmanager
    def _readable(self, level: int) -> Iterator[None]:
        """Turn what unreadable pixels make the libraries raise into one sentence."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            raise UserError(
                f"Level {level} of the image {self.name!r} cannot be read ({reason}); copy the "
                "file anew or leave the image out."
            ) from error


def brightest(dtype: np.dtype, largest: float) -> float:
    """Return the value of full brightness: the type's, or the camera's in 16 bits.

    Parameters
    ----------
    dtype
        The pixels' type.
    largest
        The largest value seen.
    """
    if dtype.kind == "b":
        return 1.0
    if dtype.kind in "ui":
        full = float(np.iinfo(dtype).max)
        if dtype.itemsize == 1:
            return full
        # 10, 12 and 14 bits are kept in 16: the smallest that holds what was seen.
        # More bits are no camera's; where they end, nothing says.
        steps = (1023.0, 4095.0, 16383.0, min(full, 65535.0))
        return next((bright for bright in steps if largest <= bright), min(full, largest))
    if largest <= 1:
        return 1.0
    return 255.0 if largest <= 255 else max(largest, 1.0)


def _in_memory(values: Any) -> np.ndarray:
    """Return an array's values, computed if they are still to come."""
    if hasattr(values, "compute"):
        # One thread: the callers read several parts at a time themselves.
        values = values.compute(scheduler="synchronous")
    return np.asarray(values)
