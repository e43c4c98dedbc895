"""What went wrong with the sample's section: a blur, a fold, a bubble, and tissue that came off.

Each is a polygon in micrometres, so that cells, images and people mean the same place.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .anatomy import GLASS, Anatomy, Outline


class Kind(NamedTuple):
    """A kind of artefact: its size, form, and the share of transcripts still found in it."""

    name: str
    size: float  # relative to the others
    lobes: float
    stretch: float
    depth: float


KINDS = (
    Kind("blur", 1.15, 0.06, 1.2, 0.6),
    Kind("fold", 1.0, 0.04, 6.0, 0.75),
    Kind("bubble", 0.9, 0.012, 1.08, 0.5),
    # Came off after the cells were measured and before the image was taken, hence at full depth.
    Kind("out of tissue", 1.5, 0.1, 1.2, 1.0),
)
NAMES = ("none", *(kind.name for kind in KINDS))
LARGEST = 230.0  # micrometres; larger sections have more artefacts, not larger ones
CELLS_PER_ARTEFACT = 250_000


def plant(
    anatomy: Anatomy, xy: np.ndarray, rng: np.random.Generator
) -> dict[str, list[np.ndarray]]:
    """Choose where the artefacts are.

    Returns
    -------
    For each name in ``NAMES`` but "none", polygons (m, 2) in micrometres.
    """
    width, height = anatomy.size
    radius = min(0.046 * np.hypot(width, height), LARGEST)
    taken: list[tuple[np.ndarray, float]] = []
    planted: dict[str, list[np.ndarray]] = {kind.name: [] for kind in KINDS}
    for kind in KINDS * (1 + len(xy) // CELLS_PER_ARTEFACT):
        shape = Outline(rng, kind.size * radius, kind.lobes, kind.stretch, rng.uniform(0, np.pi))
        reach = float(shape.reach.max())
        places = anatomy.edge if kind.name == "out of tissue" else xy
        for _ in range(400):
            middle = places[rng.integers(len(places))].astype(float)
            polygon = shape.points(96) + middle
            clear = all(np.hypot(*(middle - other)) > reach + far for other, far in taken)
            whole = kind.name == "out of tissue" or (anatomy.at(polygon) != GLASS).all()
            if clear and whole:
                break
        taken.append((middle, reach))
        planted[kind.name].append(polygon)
    return planted


def at(xy: np.ndarray, planted: dict[str, list[np.ndarray]]) -> np.ndarray:
    """Return the artefact that each point (n, 2) lies in, an index into ``NAMES``, int8."""
    from skimage.measure import points_in_poly

    found = np.zeros(len(xy), dtype=np.int8)
    for name, polygons in planted.items():
        for polygon in polygons:
            low, high = polygon.min(axis=0), polygon.max(axis=0)
            near = np.flatnonzero(((xy >= low) & (xy <= high)).all(axis=1))
            found[near[points_in_poly(xy[near], polygon)]] = NAMES.index(name)
    return found
