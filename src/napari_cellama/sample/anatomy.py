"""Where the sample's tissue is: structures drawn into a map of sites, and cells placed on it.

The map is a raster of one byte a pixel. A *site* is what a microscopist would name at that spot
("germinal centre", "duct wall"); it says which niche the spot belongs to, how far apart cells lie
there and which cell types they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from .panel import NICHES, TYPE_NAMES

CELLS_PER_SET = 5_000  # one set of structures for so many cells
HARD_CORE = 3.5  # micrometres: no two cells lie closer
SPARE = 1.02  # cells placed for each cell asked for; the surplus is dropped at random


class Site(NamedTuple):
    """A kind of spot in the tissue."""

    name: str
    niche: str
    spacing: float  # micrometres between neighbouring cells
    composition: dict[str, float]  # weight of each cell type


SITES = (
    Site("stroma", "Stroma", 20.5, {
        "Fibroblast": 44, "Macrophage": 11, "Endothelial cell": 10, "CD4 T cell": 8,
        "CD8 T cell": 7, "Plasma cell": 6, "Pericyte": 4, "Mast cell": 4, "B cell": 4,
        "Smooth muscle cell": 4, "Dendritic cell": 3}),
    Site("lobule", "Gland", 16.5, {
        "Fibroblast": 34, "Plasma cell": 12, "Endothelial cell": 11, "Macrophage": 10,
        "CD8 T cell": 8, "CD4 T cell": 7, "Luminal epithelial cell": 6, "Mast cell": 4,
        "Pericyte": 4, "Dendritic cell": 3}),
    Site("duct wall", "Gland", 11.0, {
        "Luminal epithelial cell": 86, "Myoepithelial cell": 8, "CD8 T cell": 4, "Macrophage": 2}),
    Site("duct base", "Gland", 12.5, {
        "Myoepithelial cell": 62, "Luminal epithelial cell": 18, "Fibroblast": 12,
        "CD8 T cell": 4, "Endothelial cell": 4}),
    Site("germinal centre", "Germinal centre", 12.0, {
        "B cell": 66, "CD4 T cell": 16, "Follicular dendritic cell": 14, "Macrophage": 6,
        "Dendritic cell": 3}),
    Site("mantle", "Mantle zone", 11.5, {
        "B cell": 70, "CD4 T cell": 17, "CD8 T cell": 4, "Follicular dendritic cell": 5,
        "Dendritic cell": 3, "Fibroblast": 3}),
    Site("T zone", "T zone", 12.0, {
        "CD4 T cell": 44, "CD8 T cell": 20, "B cell": 15, "Dendritic cell": 8, "Fibroblast": 6,
        "Endothelial cell": 5, "Macrophage": 2}),
    Site("vessel wall", "Vessel", 12.5, {
        "Smooth muscle cell": 42, "Endothelial cell": 28, "Pericyte": 20, "Fibroblast": 10}),
    Site("vessel sheath", "Vessel", 17.0, {
        "Fibroblast": 34, "Pericyte": 16, "Macrophage": 14, "CD4 T cell": 9, "Mast cell": 8,
        "Endothelial cell": 8, "CD8 T cell": 6, "Smooth muscle cell": 5}),
    Site("tumour", "Tumour nest", 14.0, {
        "Tumour cell": 80, "Macrophage": 6, "CD8 T cell": 5, "Endothelial cell": 4,
        "Fibroblast": 3, "CD4 T cell": 2}),
    Site("tumour margin", "Tumour margin", 15.0, {
        "Fibroblast": 27, "Tumour cell": 25, "Macrophage": 16, "CD8 T cell": 11,
        "CD4 T cell": 9, "Endothelial cell": 7, "B cell": 3, "Plasma cell": 2}),
    Site("muscle", "Muscle", 20.0, {
        "Smooth muscle cell": 70, "Fibroblast": 14, "Endothelial cell": 8, "Macrophage": 4,
        "Pericyte": 4}),
)  # fmt: skip
# Map values without cells: outside the tissue, inside a duct, inside a vessel.
GLASS, LUMEN, BLOOD = 253, 254, 255
SITE = {site.name: number for number, site in enumerate(SITES)}
SITE_NICHE = np.array([NICHES.index(site.niche) for site in SITES])


class Plan(NamedTuple):
    """A structure of the set: outer radius in micrometres, and how lobed its outline is."""

    kind: str
    radius: float
    lobes: float
    stretch: float = 1.0


SET = (
    Plan("nest", 220, 0.16, 1.15),
    Plan("follicle", 215, 0.05, 1.15),
    Plan("muscle", 205, 0.07, 2.3),
    Plan("nest", 190, 0.16, 1.2),
    Plan("gland", 160, 0.09, 1.1),
    Plan("gland", 140, 0.09, 1.2),
    Plan("vessel", 88, 0.06, 1.2),
    Plan("vessel", 70, 0.06, 1.4),
    Plan("hole", 70, 0.2, 1.7),
)
# Zones of each structure, outermost first: the share of its radius that they reach, and the site.
ZONES: dict[str, tuple[tuple[float, int], ...]] = {
    "nest": ((1.0, SITE["tumour margin"]), (0.74, SITE["tumour"])),
    "follicle": ((1.0, SITE["T zone"]), (0.74, SITE["mantle"]), (0.54, SITE["germinal centre"])),
    "muscle": ((1.0, SITE["muscle"]),),
    "gland": ((1.0, SITE["lobule"]),),
    "vessel": ((1.0, SITE["vessel sheath"]), (0.66, SITE["vessel wall"]), (0.36, BLOOD)),
    "hole": ((1.0, GLASS),),
}


@dataclass(frozen=True)
class Anatomy:
    """A section's map of sites.

    Attributes
    ----------
    sites
        (height, width) uint8, an index into ``SITES``, or ``GLASS``, ``LUMEN`` or ``BLOOD``.
    pixel
        Micrometres a pixel; pixel (row, column) starts at y = row * pixel, x = column * pixel.
    edge
        (720, 2) float64, the tissue's outline as x, y in micrometres.
    """

    sites: np.ndarray
    pixel: float
    edge: np.ndarray

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in micrometres."""
        height, width = self.sites.shape
        return width * self.pixel, height * self.pixel

    def at(self, xy: np.ndarray) -> np.ndarray:
        """Return the map's values at points (n, 2) in micrometres; off the map is glass."""
        column, row = np.floor(xy.T / self.pixel).astype(np.int32)
        height, width = self.sites.shape
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        values = np.full(len(xy), GLASS, dtype=np.uint8)
        values[inside] = self.sites[row[inside], column[inside]]
        return values


def build(n_cells: int, seed: int) -> Anatomy:
    """Draw a section that holds slightly more than ``n_cells`` cells.

    Structures keep their size and large sections hold more of them; below ``CELLS_PER_SET`` cells
    the one set is drawn smaller. The scale that gives the wanted number is found by drawing twice.
    """
    scale = np.sqrt(min(1.0, n_cells / CELLS_PER_SET))
    for _ in range(4):
        anatomy = _draw(n_cells, seed, scale)
        expected = expected_cells(anatomy)
        if 1.01 <= expected / (SPARE * n_cells) <= 1.06:
            break
        scale *= np.sqrt(1.03 * SPARE * n_cells / expected)
    return anatomy


def expected_cells(anatomy: Anatomy) -> float:
    """Return how many cells the map has room for: area of each site over the area of a cell."""
    pixels = np.bincount(anatomy.sites.ravel(), minlength=256)[: len(SITES)]
    cell_area = np.array([_row_height(site.spacing) * site.spacing for site in SITES])
    return float((pixels * anatomy.pixel**2 / cell_area).sum())


def _row_height(spacing: float) -> float:
    return spacing * np.sqrt(3) / 2


def _draw(n_cells: int, seed: int, scale: float) -> Anatomy:
    rng = np.random.default_rng([seed, 1])
    n_sets = max(1, round(n_cells / CELLS_PER_SET))
    side = 1_130 * scale * np.sqrt(n_sets)  # of the square with the tissue's area
    outline = Outline(rng, radius=side / np.sqrt(np.pi), lobes=0.06, stretch=1.25)
    reach = outline.reach * 1.04
    pixel = float(np.clip(side / 2_500, 1.0, 3.0))
    width, height = np.ceil(2 * reach / pixel).astype(int)
    sites = np.full((height, width), GLASS, dtype=np.uint8)
    _fill(sites, pixel, reach, outline, ((1.0, SITE["stroma"]),), only=GLASS)
    plans = [plan for plan in SET for _ in range(n_sets)]
    radii = np.array([plan.radius for plan in plans]) * scale
    centres = _settle(rng, radii, outline)
    for number in np.argsort(radii):  # small ones first, for the first one drawn stays whole
        plan, radius, centre = plans[number], radii[number], centres[number]
        shape = Outline(rng, radius, plan.lobes, plan.stretch, rng.uniform(0, np.pi))
        middle = centre + reach
        _fill(sites, pixel, middle, shape, ZONES[plan.kind], only=SITE["stroma"])
        if plan.kind == "gland":
            _add_ducts(sites, pixel, middle, shape.reach, rng)
    return Anatomy(sites, pixel, outline.points() + reach)


class Outline:
    """A smooth closed curve around the origin: an ellipse with lobes of random phase."""

    def __init__(
        self,
        rng: np.random.Generator,
        radius: float,
        lobes: float,
        stretch: float,
        angle: float = 0.0,
    ) -> None:
        self.radius, self.stretch, self.angle = radius, stretch, angle
        waves = np.arange(2, 40)
        heights = lobes * rng.normal(size=len(waves)) / (waves / 2) ** 1.3
        phases = rng.uniform(0, 2 * np.pi, size=len(waves))
        self.theta = np.linspace(-np.pi, np.pi, 1_441)
        wobble = heights @ np.cos(np.outer(waves, self.theta) + phases[:, None])
        self.radii = radius * np.clip(1 + wobble, 0.5, 1.6)

    def share(self, xy: np.ndarray) -> np.ndarray:
        """Return how far out points (..., 2) are: 0 in the middle, 1 on the curve."""
        along = xy[..., 0] * np.cos(self.angle) + xy[..., 1] * np.sin(self.angle)
        across = xy[..., 1] * np.cos(self.angle) - xy[..., 0] * np.sin(self.angle)
        along, across = along / np.sqrt(self.stretch), across * np.sqrt(self.stretch)
        return np.hypot(along, across) / self._radius(np.arctan2(across, along))

    def _radius(self, theta: np.ndarray) -> np.ndarray:
        return np.interp(theta, self.theta, self.radii)

    def points(self, number: int = 720) -> np.ndarray:
        """Return the curve as (number, 2) x and y."""
        theta = np.linspace(-np.pi, np.pi, number, endpoint=False)
        radius = self._radius(theta)
        along = radius * np.cos(theta) * np.sqrt(self.stretch)
        across = radius * np.sin(theta) / np.sqrt(self.stretch)
        x = along * np.cos(self.angle) - across * np.sin(self.angle)
        y = along * np.sin(self.angle) + across * np.cos(self.angle)
        return np.column_stack([x, y])

    @property
    def reach(self) -> np.ndarray:
        """Half the width and half the height that hold the curve."""
        return np.abs(self.points()).max(axis=0)


def _window(
    sites: np.ndarray, pixel: float, middle: np.ndarray, reach: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of the map around a structure and its pixels' offsets from the middle."""
    height, width = sites.shape
    left, top = np.maximum(((middle - reach) / pixel).astype(int) - 1, 0)
    right, bottom = np.minimum(((middle + reach) / pixel).astype(int) + 2, [width, height])
    x = (np.arange(left, right) + 0.5) * pixel - middle[0]
    y = (np.arange(top, bottom) + 0.5) * pixel - middle[1]
    return sites[top:bottom, left:right], np.stack(np.meshgrid(x, y), axis=-1)


def _fill(
    sites: np.ndarray,
    pixel: float,
    middle: np.ndarray,
    shape: Outline,
    zones: tuple[tuple[float, int], ...],
    only: int,
) -> None:
    """Draw a structure's zones where the map still shows ``only``, so that none hides another.

    Row by row in blocks: the tissue itself is the size of the map.
    """
    part, _ = _window(sites, pixel, middle, shape.reach)
    top = max(int((middle[1] - shape.reach[1]) / pixel) - 1, 0)
    left = max(int((middle[0] - shape.reach[0]) / pixel) - 1, 0)
    x = (np.arange(left, left + part.shape[1]) + 0.5) * pixel - middle[0]
    for start in range(0, part.shape[0], 512):
        block = part[start : start + 512]
        y = (np.arange(top + start, top + start + len(block)) + 0.5) * pixel - middle[1]
        share = shape.share(np.stack(np.meshgrid(x, y), axis=-1))
        free = block == only
        for limit, value in zones:
            block[free & (share <= limit)] = value


def _add_ducts(
    sites: np.ndarray, pixel: float, middle: np.ndarray, reach: np.ndarray, rng: np.random.Generator
) -> None:
    """Draw the ducts of a lobule: lumen, wall and base, on a jittered lattice."""
    part, offsets = _window(sites, pixel, middle, reach)
    spacing = 82.0
    ducts = lattice(2 * reach, spacing, 0.16, rng) - reach
    radius = rng.uniform(28, 39, size=len(ducts))
    radius[np.hypot(*ducts.T).argmin()] = 42.0  # the main duct, so that each lobule has one
    tree = cKDTree(ducts)
    distance, nearest = tree.query(offsets.reshape(-1, 2))
    share = (distance / radius[nearest]).reshape(part.shape)
    free = part == SITE["lobule"]
    for limit, value in ((1.0, SITE["duct base"]), (0.76, SITE["duct wall"]), (0.36, LUMEN)):
        part[free & (share <= limit)] = value


def _settle(rng: np.random.Generator, radii: np.ndarray, outline: Outline) -> np.ndarray:
    """Spread structures over the tissue until they hardly overlap; returns (n, 2) micrometres."""
    reach = outline.reach
    share = np.sqrt(rng.uniform(0, 0.8, size=len(radii)))
    theta = rng.uniform(0, 2 * np.pi, size=len(radii))
    xy = np.column_stack([share * np.cos(theta), share * np.sin(theta)]) * reach
    for _ in range(80):
        pairs = cKDTree(xy).query_pairs(2.1 * radii.max(), output_type="ndarray")
        first, second = pairs.T
        apart = xy[first] - xy[second]
        distance = np.maximum(np.hypot(*apart.T), 1e-6)
        overlap = np.maximum(1.08 * (radii[first] + radii[second]) - distance, 0)
        push = apart * (0.3 * overlap / distance)[:, None]
        np.add.at(xy, first, push)
        np.add.at(xy, second, -push)
        far = outline.share(xy)
        limit = np.maximum(1 - 0.85 * radii / outline.radius, 0.05)
        xy *= np.minimum(1, limit / np.maximum(far, 1e-6))[:, None]
    return xy


def lattice(
    size: np.ndarray | tuple[float, float], spacing: float, jitter: float, rng: np.random.Generator
) -> np.ndarray:
    """Return points of a jittered triangular lattice over ``size``, (n, 2) in micrometres.

    ``jitter`` is the radius, in spacings, of the disc that each point is moved within; below 0.5
    no two points fall together, which is how cells differ from a Poisson process.
    """
    width, height = size
    x = np.arange(0, width, spacing)
    y = np.arange(0, height, _row_height(spacing))
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    grid[1::2, :, 0] += spacing / 2
    grid = grid.reshape(-1, 2)
    moved = jitter * spacing * np.sqrt(rng.random(len(grid)))
    theta = rng.uniform(0, 2 * np.pi, size=len(grid))
    grid[:, 0] += moved * np.cos(theta)
    grid[:, 1] += moved * np.sin(theta)
    return grid


def place_cells(anatomy: Anatomy, n_cells: int, rng: np.random.Generator) -> np.ndarray:
    """Place ``n_cells`` cells on the tissue, (n_cells, 2) float32 micrometres, in random order."""
    placed = []
    for spacing in sorted({site.spacing for site in SITES}):
        # As they will be kept: rounding must not move a cell off its site.
        points = lattice(anatomy.size, spacing, 0.42, rng).astype(np.float32)
        has = np.zeros(256, dtype=bool)
        has[[number for number, site in enumerate(SITES) if site.spacing == spacing]] = True
        placed.append(points[has[anatomy.at(points)]])
    xy = rng.permutation(np.concatenate(placed))
    # Lattices of different spacing meet at the zones' borders: of two cells too close, one goes.
    distance, nearest = cKDTree(xy).query(xy, k=2, distance_upper_bound=HARD_CORE)
    close = np.isfinite(distance[:, 1]) & (np.arange(len(xy)) > nearest[:, 1])
    return xy[~close][:n_cells]


def composition(sites: tuple[Site, ...] = SITES) -> np.ndarray:
    """Return the share of each cell type at each site, (sites, cell types), rows summing to 1."""
    table = np.array([[site.composition.get(name, 0.0) for name in TYPE_NAMES] for site in sites])
    return table / table.sum(axis=1, keepdims=True)
