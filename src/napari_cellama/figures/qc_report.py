"""The report of a quality control: one HTML file with its pictures inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_cellama.core.bins import bin_edges
from napari_cellama.core.qc_thresholds import BY_NAME, Thresholds, reasons
from napari_cellama.core.units import units_of
from napari_cellama.figures.page import GREY, INK, style

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure

    from napari_cellama.core.qc import QCResult

#: Distinct on grey, also for the colour-blind (Okabe and Ito 2008).
_COLORS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#f0e442")
#: Crops shown of each fault.
_CROPS = 8

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Quality control: {title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: {ink}; max-width: 1000px;
  margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; margin: .5rem 0 1.5rem; }}
th, td {{ padding: .2rem .8rem .2rem 0; text-align: left; border-bottom: 1px solid #ddd;
  vertical-align: top; }}
td.n {{ text-align: right; font-variant-numeric: tabular-nums; }}
img {{ max-width: 100%; }} .crops img {{ margin: 2px; width: 96px; image-rendering: pixelated; }}
pre {{ background: #f5f5f5; padding: .8rem; overflow-x: auto; }} .mark {{ color: #b34000; }}
</style></head><body>
{body}
</body></html>
"""


def qc_report(
    adata: AnnData,
    result: QCResult,
    thresholds: Thresholds,
    *,
    title: str = "section",
    labels: pd.Categorical | None = None,
    crop_of: Callable[[int], np.ndarray] | None = None,
) -> str:
    """Return the report as the text of one HTML file that needs nothing beside it.

    Parameters
    ----------
    adata
        The cells that were judged.
    result, thresholds
        What was measured, and the limits.
    title
        What the data are called.
    labels
        (n,) niches, to say which are artefacts.
    crop_of
        Returns the (h, w, 3) uint8 picture of a cell; without it no cells are shown.
    """
    faults = result.faults(thresholds)
    why = reasons(faults)
    parts = [f"<h1>Quality control: {escape(title)}</h1>", _summary(result, faults, why)]
    parts.append("<h2>Where</h2>" + _picture(_map(adata, faults), "Cells by fault on the tissue"))
    parts.append(
        "<h2>Metrics and limits</h2>" + _picture(_histograms(result, thresholds), "Metrics")
    )
    if labels is not None:
        parts.append(_niches(result, thresholds, labels, why))
    if crop_of is not None:
        parts.append(_crops(result, faults, thresholds, crop_of))
    parts.append(f"<h2>Thresholds</h2><pre>{escape(thresholds.to_json())}</pre>")
    return _PAGE.format(title=escape(title), ink=INK, body="\n".join(parts))


def _summary(result: QCResult, faults: pd.DataFrame, why: np.ndarray) -> str:
    n, failed = len(why), int((why != "").sum())
    rows = [
        f"<tr><td>{escape(name)}</td><td class=n>{int(faults[name].sum()):,}</td>"
        f"<td class=n>{faults[name].mean():.2%}</td></tr>"
        for name in faults
    ]
    image = f"the image {escape(result.image_name)!r}" if result.image_name else "no image"
    told = "".join(f"<li>{escape(text)}</li>" for text in result.notices)
    return (
        f"<p>{failed:,} of {n:,} cells ({failed / max(n, 1):.2%}) fail; judged by the cells and "
        f"{image}. A cell can fail for several reasons. Nothing was deleted.</p>"
        + (f"<ul>{told}</ul>" if told else "")
        + "<table><tr><th>Fault</th><th>Cells</th><th>Share</th></tr>"
        + "".join(rows)
        + "</table>"
    )


def _map(adata: AnnData, faults: pd.DataFrame) -> Figure:
    """Draw the cells on the tissue, coloured by their most frequent fault."""
    from napari_cellama.figures.tissue import tissue_figure

    common = [
        name for name in faults.sum().sort_values(ascending=False).index if faults[name].any()
    ]
    codes = np.full(len(faults), -1)
    for code, name in reversed(list(enumerate(common[: len(_COLORS)]))):
        codes[faults[name].to_numpy(bool)] = code
    names = common[: len(_COLORS)] or ["no fault"]
    return tissue_figure(
        np.asarray(adata.obsm["spatial"]),
        categories=pd.Categorical.from_codes(codes, names),
        colors=_COLORS[: len(names)],
        units=units_of(adata),
        size=6.5,
    )


def _histograms(result: QCResult, thresholds: Thresholds) -> Figure:
    """Draw every metric's histogram with its limits."""
    from matplotlib.figure import Figure

    names = [name for name in BY_NAME if name in result.table]
    columns = 3
    rows = -(-len(names) // columns)
    with style():
        figure = Figure(figsize=(10, 2.1 * rows), layout="constrained")
        for axes, name in zip(
            figure.subplots(rows, columns, squeeze=False).flat, names, strict=False
        ):
            _draw_histogram(axes, result, thresholds, name)
        for axes in figure.axes[len(names) :]:
            axes.set_visible(False)
    return figure


def _draw_histogram(axes, result: QCResult, thresholds: Thresholds, name: str) -> None:
    metric, limit = BY_NAME[name], thresholds.of(name)
    values = result.table[name].to_numpy(float)
    known = values[np.isfinite(values)]
    axes.set_title(metric.label, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_yticks([])
    if not len(known):
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center")
        return
    low, high = np.quantile(known, (0.001, 0.999))
    high = high if high > low else low + 1
    edges = bin_edges(known, low, high, 60)
    axes.hist(np.clip(known, edges[0], edges[-1]), bins=edges, color=GREY)
    codes = result.section
    own = limit.per_section and codes is not None
    for part in [codes == code for code in np.unique(codes)] if own else [slice(None)]:
        for bound, given in zip(limit.resolved(values[part]), limit.bounds, strict=True):
            if given is not None and np.isfinite(bound):
                axes.axvline(bound, color=_COLORS[0], linewidth=1.2)


def _niches(
    result: QCResult, thresholds: Thresholds, labels: pd.Categorical, why: np.ndarray
) -> str:
    """Return the table of niches: how many fail, what tells them apart, which are artefacts."""
    marked = result.artefacts(labels, thresholds)
    aucs = result.aucs(labels)
    codes = np.asarray(labels.codes)
    rows = []
    for number, niche in enumerate(labels.categories):
        own = codes == number
        mine = aucs[aucs["niche"] == str(niche)].dropna()
        mine = mine.assign(far=(mine["auc"] - 0.5).abs()).sort_values("far", ascending=False)
        best = ""
        if len(mine):
            top = mine.iloc[0]
            best = (
                f"{BY_NAME[top['metric']].label if top['metric'] in BY_NAME else top['metric']}: "
            )
            best += f"AUC {top['auc']:.2f}, {top['n_cells']:,} cells"
        share = (why[own] != "").mean() if own.any() else 0.0
        text = escape(marked.get(str(niche), ""))
        rows.append(
            f"<tr><td>{escape(str(niche))}</td><td class=n>{own.sum():,}</td>"
            f"<td class=n>{share:.1%}</td><td>{escape(best)}</td><td class=mark>{text}</td></tr>"
        )
    return (
        "<h2>Is a niche an artefact?</h2><p>The metric that alone tells a niche's cells best from "
        "the others (AUC: 0.5 says nothing, 0 and 1 tell all apart), and the niches that a fault "
        "explains.</p><table><tr><th>Niche</th><th>Cells</th><th>Fail</th><th>Best metric</th>"
        "<th>Artefact</th></tr>" + "".join(rows) + "</table>"
    )


def _crops(
    result: QCResult,
    faults: pd.DataFrame,
    thresholds: Thresholds,
    crop_of: Callable[[int], np.ndarray],
) -> str:
    """Return pictures of cells of each fault, and of cells that pass."""
    rng = np.random.default_rng(0)
    groups = [(name, np.flatnonzero(faults[name])) for name in faults if faults[name].any()]
    groups.append(("no fault", np.flatnonzero(~faults.any(axis=1))))
    parts = ["<h2>Cells</h2>"]
    for name, cells in groups:
        chosen = rng.choice(cells, min(_CROPS, len(cells)), replace=False)
        pictures = "".join(_image(_png(crop_of(int(cell))), f"cell {cell}") for cell in chosen)
        parts.append(f"<h3>{escape(name)} ({len(cells):,})</h3><div class=crops>{pictures}</div>")
    return "".join(parts)


def _picture(figure: Figure, words: str) -> str:
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png", dpi=110)
    return _image(buffer.getvalue(), words)


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png")
    return buffer.getvalue()


def _image(png: bytes, words: str) -> str:
    data = base64.b64encode(png).decode("ascii")
    return f'<img alt="{escape(words)}" src="data:image/png;base64,{data}">'
