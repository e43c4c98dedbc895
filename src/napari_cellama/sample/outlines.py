"""The cells' outlines: as far as a cell reaches, and no further than half-way to the next one."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

CORNERS = 16
REACH = 7.0  # micrometres from the middle, where no neighbour is nearer
_NEIGHBORS = 8
_CHUNK = 50_000


def draw(xy: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw every cell as a polygon that meets its neighbours'.

    Parameters
    ----------
    xy
        (n, 2) the cells' middles, in micrometres.
    seed
        The same numbers give the same outlines.

    Returns
    -------
    vertices
        (n * CORNERS, 2) float32.
    offsets
        (n + 1,) int64: where each cell's corners begin.
    """
    rng = np.random.default_rng([seed, 9])
    xy = np.asarray(xy, float)
    turn = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    around = np.column_stack([np.cos(turn), np.sin(turn)])
    tree = cKDTree(xy)
    vertices = np.empty((len(xy), CORNERS, 2), np.float32)
    for start in range(0, len(xy), _CHUNK):
        part = xy[start : start + _CHUNK]
        _, near = tree.query(part, k=min(_NEIGHBORS, len(xy) - 1) + 1, workers=-1)
        to = xy[near[:, 1:]] - part[:, None]
        apart = np.maximum(np.linalg.norm(to, axis=2), 1e-6)
        # How far one gets in a direction before the line half-way to a neighbour is met.
        along = np.einsum("nkd,cd->nkc", to / apart[..., None], around)
        met = np.where(along > 0.05, apart[..., None] / 2 / np.maximum(along, 0.05), np.inf)
        free = REACH * rng.lognormal(0, 0.12, (len(part), 1)) * _wobble(rng, len(part), turn)
        radius = np.maximum(np.minimum(0.96 * met.min(axis=1), free), 0.5)
        vertices[start : start + _CHUNK] = part[:, None] + radius[..., None] * around
    return vertices.reshape(-1, 2), np.arange(len(xy) + 1, dtype=np.int64) * CORNERS


def _wobble(rng: np.random.Generator, n: int, turn: np.ndarray) -> np.ndarray:
    """Return (n, corners) about 1: cells are longer one way than the other."""
    long, axis = rng.uniform(0, 0.2, (n, 1)), rng.uniform(0, np.pi, (n, 1))
    return 1 + long * np.cos(2 * (turn - axis))
