"""What the pixels around cells say, tile by tile, so that no image need fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_cellama.core.events import CancelToken
from napari_cellama.core.threads import in_turn, n_threads

if TYPE_CHECKING:
    from napari_cellama.core.section_image import SectionImage

#: Pixels along a tile's side.
TILE = 1024
#: Tiles that are measured at a time, at most: each takes memory.
_THREADS = 4
#: The window's half-width in pixels once fine images have been reduced: enough to see a nucleus.
_FINE = 6
#: Of a nucleus' stain in red, green and blue, as optical density (Ruifrok and Johnston 2001).
_HAEMATOXYLIN = np.array([0.65, 0.70, 0.29], np.float32)
_EOSIN = np.array([0.07, 0.99, 0.11], np.float32)
#: Standard deviations of the smoothing before gradients of fine to broad structure, in pixels.
_DETAILS = (1.0, 1.5, 2.5)


@dataclass(frozen=True)
class Reading:
    """How an image's pixels are read.

    Attributes
    ----------
    image
        Where they lie.
    channels
        Which channels are measured; of a coloured image red, green and blue together.
    bright
        Whether tissue is what darkens a bright ground, as in histological stains; else it shines.
    top
        The largest value a pixel can have; it counts as clipped from there on.
    scale
        The value that counts as 1.
    radius
        Half the width of a cell's window, in pixels of ``level``.
    level
        The pyramid's level that is read.
    nuclear
        Which of ``channels`` shows nuclei, ``None`` where none does.
    nuclear_limit
        From where on a pixel shows a nucleus.
    """

    image: SectionImage
    channels: tuple[int, ...]
    bright: bool
    top: float
    scale: float
    radius: float
    level: int = 0
    nuclear: int | None = None
    nuclear_limit: float = np.inf

    @property
    def shrink(self) -> int:
        """How many pixels along each side are averaged before anything else."""
        return max(1, int(self.radius // _FINE))

    @property
    def n_signals(self) -> int:
        """How many signals are measured: one of a coloured image, else one a channel."""
        return 1 if self.image.rgb else len(self.channels)

    @property
    def details(self) -> tuple[float, ...]:
        """How much is smoothed away before fine, middling and broad gradients, in shrunk pixels.

        Of a window a few pixels wide less than of others, or what lies beside it would decide.
        """
        most = self.radius / self.shrink
        shares = (most / 4, most / 3, most / 2)
        return tuple(min(pair) for pair in zip(_DETAILS, shares, strict=True))

    def with_nuclei(self, limit: float) -> Reading:
        """Return a copy that knows from where on a pixel shows a nucleus."""
        return replace(self, nuclear_limit=limit)


@dataclass
class Measured:
    """What was summed up: per cell, and as a coarse map of the whole image.

    Attributes
    ----------
    signal, fine, middling, broad, clipped
        (n, signals) float32: mean signal, root mean square gradient of fine, middling and broad
        structure, share of clipped pixels in each cell's window; NaN for a cell that lies outside
        the image.
    nuclear
        (n,) float32: share of the window that shows a nucleus.
    coarse
        (rows, columns) float32: the mean signal over ``step`` pixels of the level.
    step
        How many pixels of the level a pixel of ``coarse`` covers along each side.
    """

    signal: np.ndarray
    fine: np.ndarray
    middling: np.ndarray
    broad: np.ndarray
    clipped: np.ndarray
    nuclear: np.ndarray
    coarse: np.ndarray
    step: int = field(default=1)


def measure(
    reading: Reading, places: np.ndarray, cancel: CancelToken
) -> Iterator[tuple[int, int, Measured]]:
    """Read the image once, tile by tile, and yield (tiles done, of how many, what there is).

    Parameters
    ----------
    reading
        What to read and how.
    places
        (n, 2) the cells' (row, column) on the level; NaN for cells without a position.
    cancel
        Checked between tiles.
    """
    shape = reading.image.shape_of(reading.level)
    shrink = reading.shrink
    step = shrink * max(1, int(np.ceil(max(shape) / shrink / 2_000)))
    n, k = len(places), reading.n_signals
    found = Measured(
        *(np.full((n, k), np.nan, np.float32) for _ in range(5)),
        np.full(n, np.nan, np.float32),
        np.zeros([-(-side // step) for side in shape], np.float32),
        step,
    )
    inside = ((places >= 0) & (places < shape)).all(axis=1)
    side = max(step, TILE * min(shrink, 4) // step * step)
    tiles = [(r, c) for r in range(0, shape[0], side) for c in range(0, shape[1], side)]
    columns = -(-shape[1] // side)
    tile_of = np.full(n, -1)
    tile_of[inside] = (places[inside] // side).astype(int) @ [columns, 1]
    order = np.argsort(tile_of, kind="stable")
    bounds = np.searchsorted(tile_of[order], np.arange(len(tiles) + 1))

    def work(number: int) -> None:
        cancel.check()
        cells = order[bounds[number] : bounds[number + 1]]
        _measure_tile(reading, tiles[number], side, places[cells], cells, found)

    for done, _ in enumerate(in_turn(work, range(len(tiles)), min(_THREADS, n_threads())), 1):
        cancel.check()
        yield done, len(tiles), found


def _measure_tile(
    reading: Reading,
    corner: tuple[int, int],
    side: int,
    places: np.ndarray,
    cells: np.ndarray,
    found: Measured,
) -> None:
    """Measure one tile's cells and its part of the coarse map."""
    shrink, height_width = reading.shrink, reading.image.shape_of(reading.level)
    halo = shrink * (int(np.ceil(reading.radius / shrink)) + 8)
    start = np.maximum(np.array(corner) - halo, 0) // shrink * shrink
    stop = np.minimum(np.array(corner) + side + halo, height_width)
    pixels = reading.image.read(
        slice(start[0], stop[0]), slice(start[1], stop[1]), reading.level, reading.channels
    )
    signals, clipped, nuclear = signals_of(reading, shrunk(pixels, shrink))
    own = (np.array(corner) - start) // shrink
    _fill_coarse(found, corner, side, shrink, signals[0][own[0] :, own[1] :])
    if not len(cells):
        return
    windows = _Windows((places - start) / shrink, reading.radius / shrink, signals[0].shape)
    for number, (signal, over) in enumerate(zip(signals, clipped, strict=True)):
        found.signal[cells, number] = windows.mean(signal)
        gradients = (found.fine, found.middling, found.broad)
        for gradient, width in zip(gradients, reading.details, strict=True):
            energy = windows.mean(_energy(signal, width))
            gradient[cells, number] = np.sqrt(np.maximum(energy, 0))
        found.clipped[cells, number] = windows.mean(over)
    if nuclear is not None:
        found.nuclear[cells] = windows.mean((nuclear > reading.nuclear_limit).astype(np.float32))


def shrunk(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Return pixels averaged over squares, float32; what is left over at the end is dropped.

    An edge that is no whole square is kept as one pixel if nothing else is there.
    """
    if factor == 1:
        return pixels.astype(np.float32)
    height, width = (max(1, side // factor) for side in pixels.shape[:2])
    part = pixels[: height * factor, : width * factor]
    total = np.zeros((height, width, pixels.shape[2]), np.float32)
    for row in range(min(factor, part.shape[0])):
        for column in range(min(factor, part.shape[1])):
            total += part[row::factor, column::factor]
    return total / (min(factor, part.shape[0]) * min(factor, part.shape[1]))


def signals_of(
    reading: Reading, pixels: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray | None]:
    """Return, of shrunk pixels, the signals, where they are clipped, and the nuclei's signal.

    The signal is optical density (Beer-Lambert, mean of the colours) where tissue darkens a
    bright ground, and light in units of ``scale`` elsewhere.
    """
    np.nan_to_num(pixels, copy=False)
    if not reading.image.rgb:
        over = [(pixels[..., i] >= reading.top).astype(np.float32) for i in range(pixels.shape[2])]
        signals = [pixels[..., i] / np.float32(reading.scale) for i in range(pixels.shape[2])]
        nuclear = None if reading.nuclear is None else signals[reading.nuclear]
        return signals, over, nuclear
    colors = pixels[..., :3]
    clipped = (colors >= reading.top).all(axis=-1).astype(np.float32)
    if not reading.bright:
        light = colors.mean(axis=-1) / np.float32(reading.scale)
        return [light], [clipped], colors[..., 2] / np.float32(reading.scale)
    density = -np.log(np.maximum(colors, 0) / np.float32(reading.scale) + np.float32(0.004))
    density = np.maximum(density, 0)
    nuclear = density @ _nuclear_weights() if reading.nuclear is not None else None
    return [density.mean(axis=-1)], [clipped], nuclear


def _nuclear_weights() -> np.ndarray:
    """Return what unmixes haematoxylin from eosin, (3,) float32."""
    stains = np.stack([_HAEMATOXYLIN, _EOSIN])
    return np.linalg.pinv(stains)[:, 0].astype(np.float32)


def _energy(signal: np.ndarray, width: float) -> np.ndarray:
    """Return the squared gradient (Tenengrad) of a signal, finer structure smoothed away first.

    Without the smoothing, the grain of an empty or a blurred part would pass for detail.
    """
    smooth = gaussian_filter(signal, width, truncate=3.0)
    energy = np.zeros_like(smooth)
    energy[1:-1] += ((smooth[2:] - smooth[:-2]) / 2) ** 2
    energy[:, 1:-1] += ((smooth[:, 2:] - smooth[:, :-2]) / 2) ** 2
    return energy


def _fill_coarse(
    found: Measured, corner: tuple[int, int], side: int, shrink: int, signal: np.ndarray
) -> None:
    factor = found.step // shrink
    row, column = (start // found.step for start in corner)
    target = found.coarse[row : row + side // found.step, column : column + side // found.step]
    if not target.size:
        return
    wanted = [size * factor for size in target.shape]
    part = signal[: wanted[0], : wanted[1]]
    part = np.pad(part, [(0, w - s) for w, s in zip(wanted, part.shape, strict=True)], mode="edge")
    target[:] = shrunk(part[..., None], factor)[..., 0]


class _Windows:
    """The cells' square windows on a tile, clipped to it; means by an integral image."""

    def __init__(self, places: np.ndarray, radius: float, shape: tuple[int, int]) -> None:
        shape = np.array(shape)
        self._low = np.clip(np.round(places - radius).astype(int), 0, shape - 1)
        self._high = np.clip(np.round(places + radius).astype(int), self._low + 1, shape)
        self._area = np.prod(self._high - self._low, axis=1)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Return the mean of a map in each window."""
        total = np.zeros([side + 1 for side in values.shape])
        np.cumsum(np.cumsum(values, axis=0, dtype=np.float64), axis=1, out=total[1:, 1:])
        (top, left), (bottom, right) = self._low.T, self._high.T
        found = total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left]
        return found / self._area
