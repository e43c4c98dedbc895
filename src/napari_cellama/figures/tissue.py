"""The tissue itself: cells as discs in their colours, with a legend and a scale bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .page import (
    GREY,
    INK,
    LEGEND,
    LEGEND_ROW,
    TITLE_SIZE,
    Page,
    legend_handles,
    legend_width,
    style,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

#: Above so many cells the distance between neighbours is measured on a sample of them.
_SPACING_SAMPLE = 20_000
#: A cell's diameter in distances to its nearest cell; the others are farther, so that it takes a
#: little more than one for the tissue to look like one.
_FILL = 1.3


def tissue_figure(
    coords: np.ndarray,
    *,
    categories: pd.Categorical | None = None,
    colors: Sequence[str] = (),
    values: np.ndarray | None = None,
    label: str = "",
    limits: tuple[float, float] | None = None,
    colormap: str = "viridis",
    units: str = "pixel",
    title: str = "",
    shown: np.ndarray | None = None,
    diameter: float | None = None,
    size: float = 6.0,
    missing: str = "not labelled",
) -> Figure:
    """Draw a tissue, coloured by category or by value, with legend or colour bar and scale bar.

    Parameters
    ----------
    coords
        (n, 2 or 3) positions as x, y[, z]; y points down, as in napari and squidpy. Cells
        without a position are left out.
    categories, colors
        (n,) labels, grey where they are missing, and one colour a category.
    values
        (n,) numbers, instead of categories; NaN is grey.
    label
        What the values are, for the colour bar.
    limits, colormap
        The values at the ends of the colour map, by default the smallest and the 99th
        percentile, and its name.
    units
        The unit of ``coords``: "µm", "pixel" or another name; "" draws no scale bar.
    title
        Written above the tissue.
    shown
        (n,) bool: the other cells are drawn in grey, underneath.
    diameter
        A cell's diameter in ``units``; by default a little more than the median
        distance to the nearest cell.
    size
        The longer side of the tissue, in inches.
    missing
        What the legend calls cells without a category.

    Returns
    -------
    matplotlib.figure.Figure
        Not known to pyplot; save it with :func:`save_figure`.
    """
    if (categories is None) == (values is None):
        raise TypeError("give either categories with colors, or values")
    coords = np.asarray(coords, float)
    width, height = fit(coords, size, size)
    with style():
        handles = [] if categories is None else legend_handles(categories, colors, shown, missing)
        columns = max(-(-len(handles) // max(int(height / LEGEND_ROW), 1)), 1)
        side = columns * legend_width(handles) if handles else 0.8
        page = Page(width + side + 0.45, height + 0.85)
        figure = page.figure()
        axes = page.axes(figure, 0.15, 0.4, width, height)
        scale = None if values is None else _mapped(np.asarray(values, float), limits, colormap)
        rgba, order = paint(categories, colors, values, shown, scale)
        draw_tissue(axes, coords, rgba, order, units, diameter)
        axes.set_title(title, fontsize=TITLE_SIZE, loc="left", pad=8)
        if values is None:
            anchor = (1 + 0.15 / width, 0.5)
            axes.legend(
                handles=handles,
                loc="center left",
                bbox_to_anchor=anchor,
                ncols=columns,
                **LEGEND,
            )
        else:
            bar = page.axes(figure, width + 0.3, 0.4 + height * 0.2, 0.13, height * 0.6)
            _draw_color_bar(bar, np.asarray(values, float), label, scale)
    return figure


def paint(
    categories: pd.Categorical | None,
    colors: Sequence[str],
    values: np.ndarray | None = None,
    shown: np.ndarray | None = None,
    scale: ScalarMappable | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, 4) colours, and (n,) the order to draw in: grey cells first, so underneath."""
    from matplotlib.colors import to_rgba_array

    if categories is None:
        numbers = np.asarray(values, float)
        known, rank = np.isfinite(numbers), numbers
        scale = _mapped(numbers) if scale is None else scale
        rgba = scale.to_rgba(np.where(known, numbers, 0))
    else:
        codes = np.asarray(categories.codes)
        rgba = to_rgba_array([*colors, GREY])[codes]
        # Shuffled, so that no category covers the others where cells overlap.
        known, rank = codes >= 0, np.random.default_rng(0).permutation(len(codes))
    if shown is not None:
        known = known & shown
    rgba[~known] = to_rgba_array(GREY)
    return rgba, np.lexsort((rank, known))


def draw_tissue(
    axes: Axes,
    coords: np.ndarray,
    rgba: np.ndarray,
    order: np.ndarray,
    units: str,
    diameter: float | None = None,
) -> None:
    """Draw cells as discs, y downwards, in axes of the tissue's own aspect (see :func:`fit`)."""
    low, high = bounds(coords)
    axes.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]), xticks=[], yticks=[])
    axes.set_aspect("equal")
    axes.spines[:].set_visible(False)
    if diameter is None:
        diameter = _FILL * spacing(coords)
    inches = axes.get_position().width * axes.figure.get_figwidth()
    points = diameter * inches * 72 / (high[0] - low[0])
    order = order[np.isfinite(coords[order, :2]).all(axis=1)]
    axes.scatter(
        *coords[order, :2].T,
        s=np.clip(points, 0.35, 40) ** 2,
        c=rgba[order],
        linewidths=0,
        rasterized=True,
    )
    if units:
        _draw_scale_bar(axes, units, float(high[0] - low[0]))


def bounds(coords: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and upper corner (x, y) of the tissue with a small margin.

    A tissue without extent (one place, one line) gets one, and none is longer than ten times its
    other side, so that it can be drawn.
    """
    xy = coords[np.isfinite(coords[:, :2]).all(axis=1), :2]
    low, high = xy.min(axis=0), xy.max(axis=0)
    longest = float((high - low).max()) or 1.0
    half = np.maximum(high - low, longest / 10) / 2 + 0.02 * longest
    middle = (low + high) / 2
    return middle - half, middle + half


def fit(coords: np.ndarray, width: float, height: float) -> tuple[float, float]:
    """Return the largest width and height of the tissue's aspect that fit into a box."""
    low, high = bounds(coords)
    scale = np.min((width, height) / (high - low))
    return tuple(float(side) for side in (high - low) * scale)


def spacing(coords: np.ndarray) -> float:
    """Return the median distance from a cell to the nearest at another place; 1 without any."""
    from scipy.spatial import cKDTree

    xy = np.unique(coords[np.isfinite(coords[:, :2]).all(axis=1), :2], axis=0)
    if len(xy) < 2:
        return 1.0
    some = xy
    if len(xy) > _SPACING_SAMPLE:
        some = np.random.default_rng(0).choice(xy, _SPACING_SAMPLE, replace=False)
    distances, _ = cKDTree(xy).query(some, k=2)
    return float(np.median(distances[:, 1]))


def _scale(values: np.ndarray) -> Normalize:
    """Return the colour scale: up to the 99th percentile, so that few cells do not rule it."""
    from matplotlib.colors import Normalize

    finite = values[np.isfinite(values)]
    if not len(finite):
        return Normalize(0, 1, clip=True)
    low, high = float(finite.min()), float(np.percentile(finite, 99))
    return Normalize(low, high if high > low else max(float(finite.max()), low + 1), clip=True)


def _mapped(
    values: np.ndarray, limits: tuple[float, float] | None = None, colormap: str = "viridis"
) -> ScalarMappable:
    """Return what turns values into colours."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    norm = _scale(values) if limits is None else Normalize(*limits, clip=True)
    return ScalarMappable(norm, colormap)


def _draw_color_bar(axes: Axes, values: np.ndarray, label: str, scale: ScalarMappable) -> None:
    beyond = np.nanmax(values, initial=-np.inf) > scale.norm.vmax
    bar: Any = axes.figure.colorbar(
        scale, cax=axes, label=label, extend="max" if beyond else "neither"
    )
    bar.outline.set_visible(False)


def scale_bar_length(extent: float) -> float:
    """Return the round length (1, 2 or 5 times a power of ten) next below a fifth of the width."""
    step = 10.0 ** np.floor(np.log10(extent / 5))
    return float(step * max(factor for factor in (1, 2, 5) if factor * step <= extent / 5))


def _draw_scale_bar(axes: Axes, units: str, extent: float) -> None:
    """Draw a scale bar under the tissue, at its right."""
    from matplotlib_scalebar.scalebar import ScaleBar

    inches = axes.get_position().height * axes.figure.get_figheight()

    length = scale_bar_length(extent)
    if units == "µm" and length >= 1000:
        text = f"{length / 1000:g} mm"
    else:
        text = f"{length:,.6g} {units}" + "s" * (units == "pixel" and length != 1)
    axes.add_artist(
        ScaleBar(
            1,
            "px",
            dimension="pixel-length",
            fixed_value=length,
            fixed_units="px",
            scale_formatter=lambda value, unit: text,
            location="upper right",
            bbox_to_anchor=(1, 0),
            bbox_transform=axes.transAxes,
            frameon=False,
            color=INK,
            width_fraction=0.02 / inches,
            border_pad=0.1,
            sep=3,
            font_properties={"size": 9},
        )
    )
