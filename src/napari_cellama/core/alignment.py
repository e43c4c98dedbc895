"""Where an image lies: a transform from coordinates to its pixels, by landmarks or typed values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_cellama.errors import UserError

#: Landmarks whose spread across is less than this share of that along lie on a line.
_COLLINEAR = 0.02
#: Between the cells and an image beside them, as a share of the cells' extent.
_GAP = 0.06


@dataclass(frozen=True)
class Alignment:
    """A transform and how well it fits.

    Attributes
    ----------
    to_pixels
        (2, 3) float64: ``to_pixels @ (x, y, 1)`` is the (column, row) on the image.
    residuals
        (n,) float64: how far each landmark lies from where the transform puts it, in the
        coordinates' unit; empty where there are no landmarks.
    """

    to_pixels: np.ndarray
    residuals: np.ndarray

    @property
    def rms(self) -> float:
        """Root mean square of the residuals, in the coordinates' unit; 0 without landmarks."""
        return float(np.sqrt(np.mean(self.residuals**2))) if len(self.residuals) else 0.0


@dataclass(frozen=True)
class Values:
    """What :func:`by_values` takes."""

    pixel_size: float
    origin: tuple[float, float]
    rotation: float
    flip: bool


def by_landmarks(positions: np.ndarray, pixels: np.ndarray) -> Alignment:
    """Fit the affine transform that takes positions to pixels, by least squares.

    Parameters
    ----------
    positions
        (n, 2) x and y of at least three landmarks, in the coordinates' unit.
    pixels
        (n, 2) column and row of the same landmarks on the image.

    Raises
    ------
    UserError
        When there are fewer than three, they lie on a line, or a number is missing.
    """
    positions, pixels = np.asarray(positions, float), np.asarray(pixels, float)
    if positions.shape != pixels.shape or positions.ndim != 2 or positions.shape[1] != 2:
        raise UserError("Landmarks come in pairs: as many (x, y) as (column, row).")
    if len(positions) < 3:
        raise UserError(
            f"Aligning takes at least three landmarks; there are {len(positions)}. Add some far "
            "from each other."
        )
    if not (np.isfinite(positions).all() and np.isfinite(pixels).all()):
        raise UserError("A landmark has no number for one of its coordinates; set it again.")
    for points, where in ((positions, "on the tissue"), (pixels, "on the image")):
        spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
        if spread[1] <= _COLLINEAR * spread[0]:
            raise UserError(
                f"The landmarks {where} lie on a line, so the image could be tilted around it; "
                "move one aside or add another."
            )
    design = np.column_stack([positions, np.ones(len(positions))])
    to_pixels = np.linalg.lstsq(design, pixels, rcond=None)[0].T
    stretch = np.linalg.svd(to_pixels[:, :2], compute_uv=False)
    if stretch[1] <= _COLLINEAR * stretch[0]:
        raise UserError(
            "The landmarks contradict each other: together they would squeeze the image into a "
            "line; remove the pair that is wrong."
        )
    off = pixels - design @ to_pixels.T
    residuals = np.linalg.norm(off @ np.linalg.inv(to_pixels[:, :2]).T, axis=1)
    return Alignment(to_pixels, residuals)


def by_values(
    pixel_size: float,
    *,
    origin: tuple[float, float] = (0.0, 0.0),
    rotation: float = 0.0,
    flip: bool = False,
) -> Alignment:
    """Return the transform of an image of known pixel size, place and rotation.

    Parameters
    ----------
    pixel_size
        The size of a pixel, in the coordinates' unit.
    origin
        The (x, y) of the first pixel's outer corner.
    rotation
        Degrees by which the image's columns are turned clockwise against x (y points down).
    flip
        Whether columns run against x.

    Raises
    ------
    UserError
        When the pixel size is not positive, or a value is no number.
    """
    values = np.array([pixel_size, *origin, rotation], float)
    if not np.isfinite(values).all() or pixel_size <= 0:
        raise UserError(f"The pixel size must be a positive number; it was {pixel_size}.")
    angle = np.deg2rad(rotation)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    linear = turn / pixel_size
    if flip:
        linear[0] *= -1
    offset = -linear @ np.asarray(origin, float)
    return Alignment(np.column_stack([linear, offset]), np.empty(0))


def values_of(to_pixels: np.ndarray) -> Values:
    """Return the values by which :func:`by_values` gives a transform; what it shears is left out.

    Parameters
    ----------
    to_pixels
        (2, 3) float64, as in :class:`Alignment`.
    """
    linear = np.array(to_pixels[:, :2], float)
    x, y = -np.linalg.solve(linear, to_pixels[:, 2])
    determinant = np.linalg.det(linear)
    if determinant < 0:
        linear[0] *= -1
    angle = np.arctan2(linear[0, 1] - linear[1, 0], linear[0, 0] + linear[1, 1])
    return Values(
        float(1 / np.sqrt(abs(determinant))),
        (float(x), float(y)),
        float(np.rad2deg(angle)),
        bool(determinant < 0),
    )


def beside(
    shape: tuple[int, int],
    low: np.ndarray,
    high: np.ndarray,
    taken: Sequence[tuple[np.ndarray, np.ndarray]] = (),
) -> Alignment:
    """Return where an image can be seen that belongs nowhere yet: right of the cells, as large.

    Parameters
    ----------
    shape
        Its height and width in pixels.
    low, high
        (2,) the least and the largest (x, y) of the cells.
    taken
        The same of other images; it is put right of those that it would overlap.
    """
    size = np.maximum(high - low, max(float(np.max(high - low)) / 4, 1e-9))
    pixel = float(np.min(size * (1.5, 1.0) / (shape[1], shape[0])))
    width, height = pixel * shape[1], pixel * shape[0]
    gap = _GAP * float(size.max())
    top = float(np.mean([low[1], high[1]])) - height / 2
    left = float(high[0]) + gap
    for first, last in sorted(taken, key=lambda box: float(box[0][0])):
        meets = first[0] < left + width and last[0] > left
        if meets and first[1] < top + height and last[1] > top:
            left = float(last[0]) + gap
    return by_values(pixel, origin=(left, top))
