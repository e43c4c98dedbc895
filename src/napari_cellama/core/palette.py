"""Colours for categories: far apart from each other, from the backgrounds and on the tissue."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.spatial.distance import cdist

#: Not selected or not known, everywhere.
GREY = "#808080"
#: Where every palette begins: the hues of Tableau's ten, which matplotlib and scanpy users know,
#: without their grey, which means "not known" here.
_FAMILIAR = (
    "#1f77b4",
    "#ff7f0e",
    "#2ca02c",
    "#d62728",
    "#9467bd",
    "#8c564b",
    "#e377c2",
    "#bcbd22",
    "#17becf",
)
#: Lightness and chroma, in OKLab, of the colours that follow: none glaring, none near grey, none
#: that a few pixels of it would not show on a white canvas as on a black one.
_LIGHTNESS, _CHROMA = (0.50, 0.78), (0.06, 0.17)
#: How far shades of a colour go from their middle, in OKLab's lightness, and how much they turn.
#: The darkest still shows on black, the lightest on white.
_SHADE_REACH, _SHADE_MIDDLE, _SHADE_TURN = 0.17, (0.58, 0.62), 0.45
#: Linear sRGB to the eye's cones, and their cube roots to OKLab.
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
#: Up to how many categories colours are dealt out by who is next to whom.
_MOST_ARRANGED = 100


def distinct_palette(n: int) -> tuple[str, ...]:
    """Return n colours that differ as much as possible, from each other, grey, black and white.

    After nine familiar ones, each colour is the one farthest, in the OKLab space (Ottosson 2020),
    from all before it, among sRGB colours of middle lightness and chroma; so a shorter palette is
    the start of a longer.

    Parameters
    ----------
    n
        How many; 60 stay distinguishable, and none ever repeats below 4,096.

    Returns
    -------
    tuple of str
        ``#rrggbb``.
    """
    return _farthest(1 << max(6, int(n - 1).bit_length()))[:n]


def oklab(rgb: np.ndarray) -> np.ndarray:
    """Convert (n, 3) sRGB in [0, 1] to OKLab (lightness, green-red, blue-yellow).

    In this space distance is close to perceived difference; 0.02 is about what one just sees.
    """
    rgb = np.asarray(rgb, np.float64)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _TO_CONES.T) @ _TO_LAB.T


def from_oklab(lab: np.ndarray) -> np.ndarray:
    """Convert (n, 3) OKLab to sRGB in [0, 1], where what lies beyond is cut."""
    cones = (np.asarray(lab, np.float64) @ np.linalg.inv(_TO_LAB).T) ** 3
    linear = np.clip(cones @ np.linalg.inv(_TO_CONES).T, 0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def shades(color: str, n: int) -> tuple[str, ...]:
    """Return n shades of a colour, from dark to light, with a slight turn of the hue.

    Parameters
    ----------
    color
        ``#rrggbb``.
    n
        How many; up to about eight are easily told apart.

    Returns
    -------
    tuple of str
        ``#rrggbb``, all different up to 100.
    """
    light, green_red, blue_yellow = oklab(np.array([_rgb(color)]))[0]
    # The middle is the colour itself, moved to where there is room on both sides.
    middle = np.clip(light, *_SHADE_MIDDLE)
    # Few are told apart without going to the ends, which show least on black and on white.
    places = np.linspace(-1, 1, n) * min(1, (n + 1) / 6) if n > 1 else np.zeros(1)
    angle = np.arctan2(blue_yellow, green_red) + _SHADE_TURN * places
    chroma = np.hypot(green_red, blue_yellow) * (1 - 0.25 * np.abs(places))
    lab = [middle + _SHADE_REACH * places, chroma * np.cos(angle), chroma * np.sin(angle)]
    levels = (from_oklab(np.column_stack(lab)) * 255).round().astype(int)
    return tuple("#{:02x}{:02x}{:02x}".format(*level) for level in levels)


def niche_colors(
    labels: pd.Categorical, connectivities: sp.spmatrix | None = None
) -> tuple[str, ...]:
    """Deal out the palette so that niches side by side on the tissue look most different.

    Parameters
    ----------
    labels
        (n,) niches; missing where a cell has none.
    connectivities
        (n, n) spatial graph; without it the palette keeps its order.

    Returns
    -------
    tuple of str
        One ``#rrggbb`` a category.
    """
    palette = distinct_palette(len(labels.categories))
    if connectivities is None or not 2 < len(palette) <= _MOST_ARRANGED:
        return palette
    touching = _touching(labels, connectivities)
    look = oklab(np.array([_rgb(color) for color in palette]))
    # Confusing two colours grows steeply as they get near; its sum over neighbours is lowered
    # by exchanging pairs of colours until no exchange helps.
    likeness = 1 / (np.square(look[:, None] - look[None]).sum(axis=2) + 1e-4)
    order = np.arange(len(palette))
    improved = True
    while improved:
        improved = False
        for i in range(len(order)):
            for j in range(i + 1, len(order)):
                swapped = order.copy()
                swapped[[i, j]] = swapped[[j, i]]
                change = (touching[[i, j]] * likeness[swapped[[i, j]]][:, swapped]).sum()
                change -= (touching[[i, j]] * likeness[order[[i, j]]][:, order]).sum()
                if change < -1e-9:
                    order, improved = swapped, True
    return tuple(palette[i] for i in order)


def colors_of(column: pd.Series, uns: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the colours of a categorical obs column, its own in ``uns`` where it has them.

    Parameters
    ----------
    column
        A column of ``obs``; not yet categorical ones are read as such.
    uns
        Where ``{column}_colors`` may hold one colour a category (scanpy's convention).

    Returns
    -------
    tuple of str
        One ``#rrggbb`` a category.
    """
    categories = column.astype("category").cat.categories
    stored = uns.get(f"{column.name}_colors")
    if stored is not None and len(stored) >= len(categories):
        from matplotlib.colors import is_color_like, to_hex

        own = [str(color) for color in list(stored)[: len(categories)]]
        if all(is_color_like(color) for color in own):
            return tuple(to_hex(color) for color in own)
    return distinct_palette(len(categories))


@lru_cache
def _farthest(n: int) -> tuple[str, ...]:
    """Return n colours: the familiar ones, then by farthest-first traversal."""
    steps = np.linspace(0, 255, 32).round().astype(int)
    rgb = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    look = oklab(rgb / 255)
    chroma = np.hypot(look[:, 1], look[:, 2])
    usable = (look[:, 0] > _LIGHTNESS[0]) & (look[:, 0] < _LIGHTNESS[1])
    usable &= (chroma > _CHROMA[0]) & (chroma < _CHROMA[1])
    rgb, look = rgb[usable], look[usable]
    avoided = [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), _rgb(GREY), *map(_rgb, _FAMILIAR)]
    nearest = cdist(look, oklab(np.array(avoided))).min(axis=1)
    palette = list(_FAMILIAR)
    while len(palette) < n:
        chosen = int(nearest.argmax())
        palette.append("#{:02x}{:02x}{:02x}".format(*rgb[chosen]))
        nearest = np.minimum(nearest, np.linalg.norm(look - look[chosen], axis=1))
    return tuple(palette)


def _rgb(color: str) -> tuple[float, float, float]:
    """Return the parts, in [0, 1], of ``#rrggbb``."""
    return tuple(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))


def _touching(labels: pd.Categorical, connectivities: sp.spmatrix) -> np.ndarray:
    """Return (k, k): how much of two niches' borders they share, 0 on the diagonal."""
    from napari_cellama.core.describe import contacts

    edges = contacts(labels, labels, connectivities, weighted=True)
    edges = edges + edges.T
    np.fill_diagonal(edges, 0)
    size = np.sqrt(np.outer(edges.sum(axis=1), edges.sum(axis=1)))
    return np.divide(edges, size, out=np.zeros_like(edges), where=size > 0)
