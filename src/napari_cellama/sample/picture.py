"""The sample's images: nuclei stamped where cells are, fibres and cytoplasm between, then faults.

Haematoxylin and eosin are mixed as optical densities (Beer-Lambert); a fold, which is tissue twice,
is then simply twice the density.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, zoom

from .anatomy import BLOOD, GLASS, LUMEN, SITE, SITES, Anatomy
from .panel import CELL_TYPES, TYPE_NAMES

FINEST = 0.5  # micrometres a pixel
LONGEST = 2_000  # pixels, unless a pixel size is asked for
WHITE = np.array([247, 246, 248], dtype=np.float32)
# Optical density of each stain in red, green and blue: directions as Ruifrok and Johnston 2001
# measured them (skimage.color.rgb_from_hed), the eosin a little warmer.
HAEMATOXYLIN = np.array([0.65, 0.70, 0.29], dtype=np.float32)
EOSIN = np.array([0.10, 0.60, 0.29], dtype=np.float32)


class Ground(NamedTuple):
    """What lies between a site's nuclei."""

    eosin: float
    fibres: float  # how much of the eosin is in fibres
    deep: float  # nuclei below the plane of focus, seen but not counted as cells


GROUND = {
    "stroma": Ground(0.42, 0.45, 0.0),
    "lobule": Ground(0.36, 0.38, 0.1),
    "duct wall": Ground(0.55, 0.08, 0.45),
    "duct base": Ground(0.42, 0.15, 0.3),
    "germinal centre": Ground(0.36, 0.08, 0.15),
    "mantle": Ground(0.28, 0.05, 1.25),
    "T zone": Ground(0.32, 0.10, 0.6),
    "vessel wall": Ground(0.80, 0.28, 0.1),
    "vessel sheath": Ground(0.46, 0.42, 0.0),
    "tumour": Ground(0.52, 0.08, 0.4),
    "tumour margin": Ground(0.46, 0.40, 0.15),
    "muscle": Ground(0.85, 0.28, 0.0),
}


class Look(NamedTuple):
    """How a cell type stains: its nucleus, and the haematoxylin and eosin of its body."""

    nucleus: float
    body: tuple[float, float]


_LYMPHOCYTE = Look(1.25, (0.10, 0.05))
LOOKS = {
    "B cell": _LYMPHOCYTE, "CD4 T cell": _LYMPHOCYTE, "CD8 T cell": _LYMPHOCYTE,
    "Plasma cell": Look(1.2, (0.28, 0.15)), "Mast cell": Look(0.95, (0.25, 0.2)),
    "Tumour cell": Look(0.85, (0.16, 0.22)), "Luminal epithelial cell": Look(0.95, (0.10, 0.28)),
    "Follicular dendritic cell": Look(0.55, (0.03, 0.12)),
}  # fmt: skip
_ORDINARY = Look(0.95, (0.0, 0.12))


class Scene(NamedTuple):
    """What an image is drawn from, all in its pixels; fields are (height, width)."""

    microns: float  # a pixel
    sites: np.ndarray  # uint8, see anatomy.SITES
    along: np.ndarray  # float32, radians: which way fibres run
    xy: np.ndarray  # (cells, 2)
    kind: np.ndarray  # (cells,) into panel.CELL_TYPES
    rng: np.random.Generator


def pixel_size(where: Anatomy) -> float:
    """Return the default micrometres a pixel: fine, but a bounded image."""
    return max(FINEST, max(where.size) / LONGEST)


def render(
    where: Anatomy,
    xy: np.ndarray,
    kind: np.ndarray,
    planted: dict[str, list[np.ndarray]],
    seed: int,
    microns: float,
    wanted: tuple[str, ...] = ("he", "dapi"),
) -> dict[str, np.ndarray]:
    """Draw the wanted images of cells at ``xy``, of types ``kind``, with the faults ``planted``.

    Returns
    -------
    'he', (height, width, 3) uint8, and 'dapi', (height, width) uint8; pixel (row, column) shows
    y = row * microns, x = column * microns.
    """
    scene = _scene(where, xy, kind, seed, microns)
    masks = _masks(scene, planted)
    nuclei, body = _cells(scene, bodies="he" in wanted)
    attached = 1 - masks["out of tissue"]
    images = {}
    # A generator for each image, so that it is the same with and without the other.
    if "dapi" in wanted:
        scene = scene._replace(rng=np.random.default_rng([seed, 7]))
        light = _spoil(_nuclear_stain(scene, nuclei) * attached, masks, microns, glare=0.06)
        images["dapi"] = _developed(255 * light, scene.rng)
    if "he" in wanted:
        scene = scene._replace(rng=np.random.default_rng([seed, 8]))
        density = _stains(scene, nuclei, body) * attached[..., None]
        density = _spoil(density, masks, microns, glare=0.06)
        images["he"] = _developed(WHITE * np.exp(-density), scene.rng)
    return images


def _scene(where: Anatomy, xy: np.ndarray, kind: np.ndarray, seed: int, microns: float) -> Scene:
    width, height = np.maximum(np.round(np.array(where.size) / microns), 1).astype(int)
    last_row, last_column = np.array(where.sites.shape) - 1
    rows = np.minimum(((np.arange(height) + 0.5) * microns / where.pixel).astype(int), last_row)
    columns = np.minimum(
        ((np.arange(width) + 0.5) * microns / where.pixel).astype(int), last_column
    )
    sites = where.sites[np.ix_(rows, columns)]
    rng = np.random.default_rng([seed, 6])
    return Scene(microns, sites, _fibre_direction(sites, microns, rng), xy / microns, kind, rng)


def _fibre_direction(sites: np.ndarray, microns: float, rng: np.random.Generator) -> np.ndarray:
    """Fibres run around structures: across the gradient of the distance to them."""
    step = max(1, round(5 / microns))
    coarse = sites[::step, ::step]
    free = coarse == SITE["stroma"]
    distance = distance_transform_edt(free) - distance_transform_edt(~free)
    # Far from structures the section's grain decides: without it the fibres would curl up.
    slope = rng.normal(size=2)
    slope *= 0.75 / np.hypot(*slope)
    y, x = np.indices(coarse.shape)
    distance += slope[0] * x + slope[1] * y + 8 * _noise(coarse.shape, 150 / (step * microns), rng)
    rise, run = np.gradient(gaussian_filter(distance, 4).astype(np.float32))
    waves = 0.3 * _noise(coarse.shape, 22 / (step * microns), rng)
    # Angles double before they are enlarged: a direction and its opposite are the same fibre.
    double = 2 * (np.arctan2(rise, run) + np.pi / 2 + waves)
    big = [_enlarge(part, sites.shape) for part in (np.cos(double), np.sin(double))]
    return np.arctan2(big[1], big[0]) / 2


def _enlarge(field: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    factors = np.array(shape) / field.shape
    return zoom(field, factors, order=1, mode="nearest", grid_mode=True).astype(np.float32)


def _noise(shape: tuple[int, ...], width: float, rng: np.random.Generator) -> np.ndarray:
    """Return smooth noise of unit variance; wide noise is made small and enlarged."""
    shrink = max(1, int(width / 3))
    small = rng.standard_normal([-(-side // shrink) + 1 for side in shape], dtype=np.float32)
    small = gaussian_filter(small, width / shrink)
    small /= small.std() + 1e-9
    return _enlarge(small, shape) if shrink > 1 else small[: shape[0], : shape[1]]


def _cells(scene: Scene, bodies: bool) -> tuple[np.ndarray, np.ndarray]:
    """Stamp the cells; returns their nuclei (height, width) and bodies (height, width, 2)."""
    rng, kind = scene.rng, scene.kind
    size = np.array([cell_type.nucleus for cell_type in CELL_TYPES])[kind]
    varied = np.where(kind == TYPE_NAMES.index("Tumour cell"), 0.22, 0.12)
    size = size * rng.lognormal(0, varied)[:, None]
    looks = [LOOKS.get(name, _ORDINARY) for name in TYPE_NAMES]
    column, row = np.clip(scene.xy.astype(int).T, 0, np.array(scene.sites.shape[::-1])[:, None] - 1)
    angle = scene.along[row, column] + rng.normal(0, 0.3, size=len(kind))
    round_ones = size[:, 0] < 1.4 * size[:, 1]
    angle[round_ones] = rng.uniform(0, np.pi, size=round_ones.sum())
    blast = (scene.sites[row, column] == SITE["germinal centre"]) & round_ones
    axes = size * np.where(blast, 1.3, 1.0)[:, None] / scene.microns
    stain = np.array([look.nucleus for look in looks])[kind] * rng.lognormal(0, 0.12, len(kind))
    stain[blast] *= 0.65
    nuclei = _stamp(scene, axes, angle, stain)
    if not bodies:
        return nuclei, np.zeros((*nuclei.shape, 0), dtype=np.float32)
    wide = axes * [1.35, 1.7]
    amounts = np.array([look.body for look in looks], dtype=np.float32)[kind].T
    body = [
        gaussian_filter(_stamp(scene, wide, angle, amount), 1.3 / scene.microns)
        for amount in amounts
    ]
    return nuclei, np.stack(body, axis=-1)


def _stamp(scene: Scene, axes: np.ndarray, angle: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Add a soft ellipse for each cell; one smaller than a pixel is paler instead."""
    height, width = scene.sites.shape
    drawn = np.maximum(axes, 0.75)
    weight = weight * np.prod(axes / drawn, axis=1)
    reach = int(np.ceil(np.quantile(drawn[:, 0], 0.999))) + 1 if len(drawn) else 1
    offsets = np.arange(-reach, reach + 1)
    total = np.zeros(height * width, dtype=np.float32)
    chunk = max(1, 6_000_000 // len(offsets) ** 2)
    for start in range(0, len(axes), chunk):
        part = slice(start, start + chunk)
        middle = np.floor(scene.xy[part]).astype(int)
        x = (middle[:, 0, None] + offsets)[:, None, :]
        y = (middle[:, 1, None] + offsets)[:, :, None]
        dx = (x + 0.5 - scene.xy[part, 0, None, None]).astype(np.float32)
        dy = (y + 0.5 - scene.xy[part, 1, None, None]).astype(np.float32)
        cos, sin = (f(angle[part]).astype(np.float32)[:, None, None] for f in (np.cos, np.sin))
        long, short = drawn[part].astype(np.float32).T[:, :, None, None]
        share = np.hypot((dx * cos + dy * sin) / long, (dy * cos - dx * sin) / short)
        value = np.clip((1 - share) * short + 0.5, 0, 1) * weight[part, None, None]
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (value > 0)
        where = (y * width + x)[inside]
        total += np.bincount(where, weights=value[inside], minlength=height * width)
    return total.reshape(height, width)


def _nuclear_stain(scene: Scene, nuclei: np.ndarray) -> np.ndarray:
    """Return the fluorescence, about 0 to 1."""
    chromatin = 1 + 0.22 * _noise(nuclei.shape, 0.7 / scene.microns, scene.rng)
    light = 0.62 * np.minimum(nuclei, 1.5) * np.clip(chromatin, 0.3, 1.8)
    haze = gaussian_filter(light, 9 / scene.microns) + 0.5 * _deep_nuclei(scene)
    tissue = (scene.sites < len(SITES)).astype(np.float32)
    uneven = 1 + 0.08 * _noise(nuclei.shape, 250 / scene.microns, scene.rng)
    light = gaussian_filter(light, 0.45 / scene.microns) + 0.14 * haze + 0.03 * tissue
    return (light * uneven).astype(np.float32)


def _stains(scene: Scene, nuclei: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Return the optical density, (height, width, 3)."""
    soft = max(0.6, 0.8 / scene.microns)
    tissue = gaussian_filter((scene.sites < GLASS).astype(np.float32), soft)
    fibrous = gaussian_filter(_of_site(scene, "fibres"), 3 * soft)
    texture = np.clip(1 + fibrous * _fibres(scene), 0.12, 2.2)
    eosin = gaussian_filter(_of_site(scene, "eosin"), 2 * soft) * texture * tissue
    eosin += body[..., 1] * np.maximum(tissue, 0.4)
    eosin *= 1 - 0.55 * np.clip(nuclei, 0, 1)
    red_cells = np.clip(1 + 2 * _noise(nuclei.shape, 1.5 / scene.microns, scene.rng), 0, 2)
    eosin += (scene.sites == BLOOD) * (0.35 + 0.4 * red_cells) + (scene.sites == LUMEN) * 0.12
    chromatin = 1 + 0.16 * _noise(nuclei.shape, 0.8 / scene.microns, scene.rng)
    blue = np.minimum(nuclei, 1.6) * np.clip(chromatin, 0.4, 1.7)
    blue += body[..., 0] + 0.05 * tissue + 0.42 * _deep_nuclei(scene)
    uneven = 1 + 0.07 * _noise(nuclei.shape, 220 / scene.microns, scene.rng)
    return (blue[..., None] * HAEMATOXYLIN + eosin[..., None] * EOSIN) * uneven[..., None]


def _of_site(scene: Scene, part: str) -> np.ndarray:
    values = np.zeros(256, dtype=np.float32)
    values[: len(SITES)] = [getattr(GROUND[site.name], part) for site in SITES]
    return values[scene.sites]


def _deep_nuclei(scene: Scene) -> np.ndarray:
    """Return blotches of nuclear size where cells are packed, (height, width), 0 to about 1."""
    blotches = np.clip(0.5 + 0.55 * _noise(scene.sites.shape, 2.2 / scene.microns, scene.rng), 0, 1)
    return blotches * gaussian_filter(_of_site(scene, "deep"), 4 / scene.microns)


def _fibres(scene: Scene) -> np.ndarray:
    """Smear noise along the fibres' direction (line integral convolution); unit variance.

    Fibres are about a micrometre thick: finer pixels than that are filled in.
    """
    every = 2 if scene.microns < 0.9 else 1
    along = scene.along[::every, ::every]
    height, width = along.shape
    pixel = scene.microns * every
    noise = _noise(along.shape, max(0.5, 0.6 / pixel), scene.rng)
    step = np.float32(max(1.0, 1.5 / pixel))
    smeared = noise.copy()
    for sign in (1, -1):
        y, x = np.indices(along.shape, dtype=np.float32)
        heading = along.copy()
        for _ in range(9):
            x += sign * step * np.cos(heading)
            y += sign * step * np.sin(heading)
            place = np.clip(y, 0, height - 1).astype(np.int32) * np.int32(width)
            place += np.clip(x, 0, width - 1).astype(np.int32)
            ahead = along.ravel()[place]
            heading = np.where(np.cos(ahead - heading) < 0, ahead + np.float32(np.pi), ahead)
            smeared += noise.ravel()[place]
    return _enlarge(smeared / smeared.std(), scene.sites.shape)


def _masks(scene: Scene, planted: dict[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
    """Return how much of each fault is at each pixel, 0 to 1, with soft edges."""
    from skimage.draw import polygon as fill

    masks = {}
    for name in ("blur", "fold", "bubble", "out of tissue"):
        mask = np.zeros(scene.sites.shape, dtype=np.float32)
        for outline in planted.get(name, []):
            mask[fill(*(outline[:, ::-1] / scene.microns).T, shape=mask.shape)] = 1
        feather = 7 if name == "blur" else 1.5
        masks[name] = gaussian_filter(mask, feather / scene.microns) if mask.any() else mask
    return masks


def _spoil(
    image: np.ndarray, masks: dict[str, np.ndarray], microns: float, glare: float
) -> np.ndarray:
    """Blur, fold and veil an image of densities or light, (height, width) or with channels."""
    weights = {
        name: mask.reshape(mask.shape + (1,) * (image.ndim - 2)) for name, mask in masks.items()
    }
    sigma = [5 / microns] * 2 + [0] * (image.ndim - 2)
    if masks["fold"].any():
        shift = round(14 / microns)
        image = image + weights["fold"] * (1.15 * np.roll(image, (shift, shift), axis=(0, 1)))
    if masks["blur"].any():
        image = image + weights["blur"] * (gaussian_filter(image, sigma) - image)
    if masks["bubble"].any():
        veiled = 0.3 * gaussian_filter(image, [side / 2 for side in sigma]) + glare
        image = image + weights["bubble"] * (veiled - image)
        rim = _rim(masks["bubble"], 2 / microns).reshape(weights["bubble"].shape)
        image = image + 8 * glare * rim
    return image


def _rim(mask: np.ndarray, width: float) -> np.ndarray:
    """Return a line of 1 along a mask's edge, fading within ``width`` pixels."""
    soft = gaussian_filter(mask, width)
    return np.clip(4 * soft * (1 - soft), 0, 1) ** 3


def _developed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    grain = rng.standard_normal(image.shape[:2], dtype=np.float32) * 1.8
    grain = grain.reshape(grain.shape + (1,) * (image.ndim - 2))
    return np.clip(image + grain, 0, 255).astype(np.uint8)
