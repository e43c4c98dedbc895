"""Palettes stay distinguishable, honour the data's own colours, and keep neighbours apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from napari_cellama.core.graph import spatial_graph
from napari_cellama.core.palette import (
    GREY,
    colors_of,
    distinct_palette,
    niche_colors,
    oklab,
    shades,
)


def _look(colors) -> np.ndarray:
    return oklab(np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in colors]))


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a[:, None] - b[None], axis=2)


def test_sixty_colors_can_be_told_apart() -> None:
    palette = distinct_palette(60)
    assert len(set(palette)) == 60
    look = _look(palette)
    apart = _distances(look, look)[~np.eye(60, dtype=bool)].min()
    assert apart > 0.06  # three times what one just sees
    background = _look(["#000000", "#ffffff", GREY])
    assert _distances(look, background).min() > 0.06
    assert (np.abs(look[:, 0] - 0).min() > 0.4) & (np.abs(look[:, 0] - 1).min() > 0.1)


def _contrast(colors, background: float) -> np.ndarray:
    """Return WCAG's contrast of colours with a background of this luminance."""
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    high, low = np.maximum(luminance, background), np.minimum(luminance, background)
    return (high + 0.05) / (low + 0.05)


def test_every_color_shows_on_a_light_and_on_a_dark_canvas() -> None:
    """So do the shades that the parts of a cluster get, also those of its palest parts."""
    palette = distinct_palette(60)
    parts = [shade for color in palette for n in (2, 3, 8) for shade in shades(color, n)]
    for colors, on_white, on_black in ((palette, 1.85, 3), (parts, 1.7, 2)):
        assert _contrast(colors, 1.0).min() > on_white
        assert _contrast(colors, 0.0).min() > on_black


def test_a_short_palette_is_the_start_of_a_long_one() -> None:
    assert distinct_palette(200)[:5] == distinct_palette(5)
    assert distinct_palette(0) == ()
    assert len(set(distinct_palette(1000))) == 1000


def test_niches_side_by_side_look_different() -> None:
    """In a strip of 24 niches, neighbours' colours are farther apart than in palette order."""
    rng = np.random.default_rng(0)
    coords = rng.uniform(0, 1, (1200, 2)) * [240, 10]
    labels = pd.Categorical.from_codes(
        (coords[:, 0] // 10).astype(int), [f"{i}" for i in range(24)]
    )
    graph, _ = spatial_graph(coords, n_neighbors=6)
    arranged = niche_colors(labels, graph)
    assert sorted(arranged) == sorted(distinct_palette(24))

    def nearest(colors) -> float:
        look = _look(colors)
        return np.linalg.norm(look[1:] - look[:-1], axis=1).min()

    assert nearest(arranged) > 1.3 * nearest(distinct_palette(24))
    assert arranged == niche_colors(labels, graph)


def test_own_colors_are_honoured() -> None:
    column = pd.Series(pd.Categorical(["a", "b", "a"]), name="kind")
    assert colors_of(column, {"kind_colors": ["red", "#00ff0080"]}) == ("#ff0000", "#00ff00")
    assert colors_of(column, {"kind_colors": np.array(["#123456", "#654321"])})[0] == "#123456"
    assert colors_of(column, {}) == distinct_palette(2)
    assert colors_of(column, {"kind_colors": ["red"]}) == distinct_palette(2)
    assert colors_of(column, {"kind_colors": ["red", "no colour"]}) == distinct_palette(2)


@pytest.mark.parametrize("n", [1, 2])
def test_few_niches_have_colors(n) -> None:
    labels = pd.Categorical([str(i) for i in range(n)])
    assert niche_colors(labels, sp.identity(n, format="csr")) == distinct_palette(n)
