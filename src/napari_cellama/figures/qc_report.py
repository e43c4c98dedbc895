"""The report of a quality control: one HTML file with its pictures inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_cellama.core.bins import bin_edges
from napari_cellama.core.qc_thresholds import BY_NAME, Thresholds, failing, reasons
from napari_cellama.core.sections import side_by_side
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
th.n, td.n {{ text-align: right; font-variant-numeric: tabular-nums; }}
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
    by_hand: Mapping[int, str] | None = None,
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
    by_hand
        What a person said of single cells: a reason, or "" for a cell that is good.
    """
    faults = _with_hand(result.faults(thresholds), by_hand or {})
    why = reasons(faults)
    parts = [f"<h1>Quality control: {escape(title)}</h1>"]
    parts.append(_summary(result, thresholds, faults, why, by_hand or {}))
    where = _picture(_map(adata, result, faults), "Cells by fault on the tissue")
    parts.append(f"<h2>Where</h2>{where}{_sections(result, why)}")
    parts.append(
        "<h2>Metrics and limits</h2><p>Cells beyond a limit (lines) are orange.</p>"
        + _picture(_histograms(result, thresholds), "Metrics")
    )
    if labels is not None:
        parts.append(_niches(result, thresholds, labels, why))
    if crop_of is not None:
        parts.append(_crops(result, faults, thresholds, crop_of))
    parts.append(f"<h2>Thresholds</h2><pre>{escape(thresholds.to_json())}</pre>")
    return _PAGE.format(title=escape(title), ink=INK, body="\n".join(parts))


def _with_hand(faults: pd.DataFrame, by_hand: Mapping[int, str]) -> pd.DataFrame:
    """Return the cells' faults where a person has the last word."""
    if not by_hand:
        return faults
    faults = faults.copy()
    faults.iloc[list(by_hand)] = False
    for reason in dict.fromkeys(filter(None, by_hand.values())):
        cells = [cell for cell, said in by_hand.items() if said == reason]
        found = faults[reason].to_numpy(bool) if reason in faults else np.zeros(len(faults), bool)
        found = found.copy()
        found[cells] = True
        faults[reason] = found
    return faults


def _summary(
    result: QCResult,
    thresholds: Thresholds,
    faults: pd.DataFrame,
    why: np.ndarray,
    by_hand: Mapping[int, str],
) -> str:
    n, failed = len(why), int((why != "").sum())
    order = faults.sum().sort_values(ascending=False, kind="stable").index
    rows = [
        f"<tr><td>{escape(name)}</td><td class=n>{int(faults[name].sum()):,}</td>"
        f"<td class=n>{faults[name].mean():.2%}</td></tr>"
        for name in order
    ]
    several = ", " in result.image_name
    image = "images" if several else "image"
    image = f"the {image} {escape(result.image_name)}" if result.image_name else "no image"
    told = list(result.notices)
    if lacking := thresholds.lacking(result.table):
        told.append(f"Without effect are the limits of what these data do not have: {lacking}.")
    if by_hand:
        flagged = sum(map(bool, by_hand.values()))
        told.append(
            f"By hand {flagged:,} cells were flagged and {len(by_hand) - flagged:,} accepted."
        )
    listed = "".join(f"<li>{escape(text)}</li>" for text in told)
    return (
        f"<p>{failed:,} of {n:,} cells ({failed / max(n, 1):.2%}) fail; judged by the cells and "
        f"{image}. A cell can fail for several reasons. Nothing was deleted.</p>"
        + (f"<ul>{listed}</ul>" if listed else "")
        + _table(("Fault", "Cells", "Share"), rows)
    )


def _table(head: tuple[str, ...], rows: list[str]) -> str:
    """Return a table; all columns of numbers have their heads above them."""
    numbers = ("Cells", "Share", "Fail")
    heads = "".join(f"<th{' class=n' * (name in numbers)}>{name}</th>" for name in head)
    return f"<table><tr>{heads}</tr>{''.join(rows)}</table>"


def _sections(result: QCResult, why: np.ndarray) -> str:
    """Return the table of sections, where there are several: how many cells of each fail."""
    if result.section is None or len(result.sections) < 2:
        return ""
    rows = []
    for code, name in enumerate(result.sections):
        own = result.section == code
        fail = int((why[own] != "").sum())
        rows.append(
            f"<tr><td>{escape(str(name))}</td><td class=n>{own.sum():,}</td>"
            f"<td class=n>{fail:,}</td><td class=n>{fail / max(1, own.sum()):.1%}</td></tr>"
        )
    return _table(("Section", "Cells", "Fail", "Share"), rows)


def _map(adata: AnnData, result: QCResult, faults: pd.DataFrame) -> Figure:
    """Draw the cells on the tissue, coloured by their rarest fault; sections side by side."""
    from napari_cellama.figures.tissue import tissue_figure

    common = [
        name for name in faults.sum().sort_values(ascending=False).index if faults[name].any()
    ]
    names = common[: len(_COLORS)]
    codes = np.full(len(faults), -1)
    for code, name in enumerate(names):
        codes[faults[name].to_numpy(bool)] = code
    colors = [*_COLORS[: len(names)]]
    rest = faults[common[len(names) :]].any(axis=1).to_numpy() & (codes < 0)
    if rest.any():
        codes[rest] = len(names)
        names, colors = [*names, "other faults"], [*colors, "#777777"]
    return tissue_figure(
        _apart(np.asarray(adata.obsm["spatial"], float)[:, :2], result),
        categories=pd.Categorical.from_codes(codes, names),
        colors=colors,
        units=units_of(adata),
        size=6.5,
        missing="passes",
    )


def _apart(xy: np.ndarray, result: QCResult) -> np.ndarray:
    """Return positions in which no section covers another."""
    if result.section is None or len(result.sections) < 2:
        return xy
    known = np.isfinite(xy).all(axis=1)
    shifts = side_by_side(xy[known][:, ::-1], result.section[known], len(result.sections))
    moved = xy.copy()
    moved[known] += np.vstack([shifts, [[0.0, 0.0]]])[result.section[known]][:, ::-1]
    return moved


def _histograms(result: QCResult, thresholds: Thresholds) -> Figure:
    """Draw every metric's histogram with its limits."""
    from matplotlib.figure import Figure

    names = [name for name in BY_NAME if name in result.table]
    columns = 3
    rows = max(1, -(-len(names) // columns))
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
    known = np.isfinite(values)
    axes.set_title(metric.label, fontsize=10, loc="left")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_yticks([])
    if not known.any():
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center")
        return
    codes = result.section
    own = limit.per_section and limit.unit == "mad" and codes is not None
    parts = [codes == code for code in np.unique(codes)] if own else [slice(None)]
    bounds = {bound for part in parts for bound in limit.resolved(values[part])}
    lines = [bound for bound in bounds if np.isfinite(bound)]
    low, high = np.quantile(values[known], (0.001, 0.999))
    high = high if high > low else low + 1
    low, high = min([low, *lines]), max([high, *lines])
    low = max(0.0, low) if metric.log else low
    edges = bin_edges(values, low, high, 60, log=metric.log)
    below, above = failing(limit, values, codes)
    axis = np.log1p(edges) if metric.log else edges
    for cells, color in ((known, GREY), (below | above, _COLORS[0])):
        counts = np.histogram(np.clip(values[cells], edges[0], edges[-1]), edges)[0]
        # By area, and by its root, so that few cells are seen, too.
        heights = np.sqrt(counts / np.diff(axis))
        axes.stairs(heights, axis, fill=True, color=color)
    for bound in lines:
        axes.axvline(np.log1p(max(bound, 0)) if metric.log else bound, color=INK, linewidth=0.9)
    axes.set_xlim(axis[0], axis[-1])
    axes.set_ylim(bottom=0)
    if metric.log:
        _label_logarithms(axes, edges)


def _label_logarithms(axes, edges: np.ndarray) -> None:
    """Write round numbers at an axis of log(1 + x), no two of them upon each other."""
    low, high = np.log1p(edges[[0, -1]])
    round_ones = [step * 10.0**power for power in range(-2, 9) for step in (1, 2, 5)]
    chosen: list[float] = []
    for value in (value for value in round_ones if edges[0] <= value <= edges[-1]):
        if not chosen or np.log1p(value) - np.log1p(chosen[-1]) > (high - low) / 7:
            chosen.append(value)
    axes.set_xticks(np.log1p(chosen), [f"{value:,.6g}" for value in chosen])


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
        "explains.</p>" + _table(("Niche", "Cells", "Fail", "Best metric", "Artefact"), rows)
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
