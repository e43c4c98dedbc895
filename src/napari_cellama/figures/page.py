"""What all figures share: style, measures in inches, legends, saving.

Axes are placed by hand, because a tissue's aspect decides the whole layout and automatic layouts
leave gaps around axes of equal aspect.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from napari_cellama.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

FORMATS = (".png", ".svg", ".pdf")

#: Cells without a label, and those that are not highlighted.
GREY = "#d9d9d9"
INK = "#262626"

TITLE_SIZE = 13
LEGEND_SIZE = 9
LEGEND_ROW = 0.215
"""Height of a legend's row, in inches."""

LEGEND: dict[str, Any] = {
    "frameon": False,
    "fontsize": LEGEND_SIZE,
    "handletextpad": 0.2,
    "handlelength": 1.2,
    "columnspacing": 1.2,
    "labelspacing": 0.35,
    "borderaxespad": 0.0,
    "borderpad": 0.0,
}
_STYLE = {
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.edgecolor": INK,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    # Text stays text, so that a figure can still be edited.
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}


def style() -> AbstractContextManager[None]:
    """Return the context in which figures are made and saved, whatever the user's own style."""
    import matplotlib

    return matplotlib.rc_context({**matplotlib.rcParamsDefault, **_STYLE, "backend": "agg"})


@dataclass(frozen=True)
class Page:
    """A figure's size in inches, and axes placed on it in inches from the lower left."""

    width: float
    height: float

    def figure(self) -> Figure:
        """Return an empty figure of this size that pyplot knows nothing of."""
        from matplotlib.figure import Figure

        return Figure(figsize=(self.width, self.height))

    def axes(self, figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
        """Add axes at a place in inches."""
        return figure.add_axes(
            (x / self.width, y / self.height, width / self.width, height / self.height)
        )


def save_figure(figure: Figure, path: str | Path, dpi: int = 200) -> Path:
    """Save a figure as PNG, SVG or PDF, after its suffix.

    In SVG and PDF the cells are one picture of at least 300 dots per inch, so that a million of
    them stay small, and all text stays text.

    Raises
    ------
    UserError
        When the format is another one, or the file cannot be written.
    """
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise UserError(f"The figure {path} must end in .png, .svg or .pdf.")
    # All or nothing, as with the data: beside the target first, then in its place.
    temporary = path.with_name(f".{path.name[:100]}.{uuid4().hex[:8]}.tmp")
    dpi = dpi if suffix == ".png" else max(dpi, 300)
    try:
        with style():
            figure.savefig(temporary, dpi=dpi, format=suffix[1:])
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"The figure {path} was not written: {reason}.") from error
    finally:
        if temporary.exists():
            temporary.unlink()
    return path


def legend_handles(
    categories: pd.Categorical,
    colors: Sequence[str],
    shown: np.ndarray | None = None,
    missing: str = "not labelled",
) -> list[Line2D]:
    """Return a legend's entries: every category (of the cells shown), and one for grey cells."""
    from matplotlib.lines import Line2D

    codes = np.asarray(categories.codes)
    entries = list(zip(map(str, categories.categories), colors, strict=True))
    if shown is not None:
        entries = [entries[code] for code in np.unique(codes[shown & (codes >= 0)])]
        entries.append(("other cells", GREY))
    elif (codes < 0).any():
        entries.append((missing, GREY))
    return [
        Line2D([], [], linestyle="", marker="o", markersize=7, color=color, label=elided(name))
        for name, color in entries
    ]


def legend_width(handles: Sequence[Line2D]) -> float:
    """Return how wide one column of a legend is, in inches, space to the next included."""
    return 0.35 + text_width([str(handle.get_label()) for handle in handles], LEGEND_SIZE)


def elided(name: str, length: int = 28) -> str:
    """Return a name with its middle cut out if it is too long."""
    if len(name) <= length:
        return name
    half = (length - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def text_width(texts: Sequence[str], size: float) -> float:
    """Return the width of the longest text in inches, in the figures' font."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size)
    widths = [text_to_path.get_text_width_height_descent(t, font, False)[0] for t in texts]
    return max(widths, default=0.0) / 72


def readable_on(color: str) -> str:
    """Return white or ink, whichever reads better on a colour (WCAG relative luminance)."""
    from matplotlib.colors import to_rgb

    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return "white" if np.dot(linear, (0.2126, 0.7152, 0.0722)) < 0.2 else INK
