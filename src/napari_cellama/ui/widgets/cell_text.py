"""What is said of a cell beside its picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_cellama.core.qc_thresholds import BY_NAME, reasons
from napari_cellama.ui import format as fmt
from napari_cellama.ui.judging import by_hand, judgement_of
from napari_cellama.ui.widgets.legend import number

if TYPE_CHECKING:
    from napari_cellama.ui.tissue import Tissue


def about(tissue: Tissue, cell: int, n_metrics: int = 7) -> str:
    """Say of a cell its name, type and cluster, what is wrong with it, and its metrics."""
    lines = [_who(tissue, cell), verdict(tissue, cell), *metrics(tissue, cell)[:n_metrics]]
    return "\n".join(line for line in lines if line)


def kind_of(tissue: Tissue, cell: int) -> str:
    """Return a cell's type; "" where it has none."""
    key = tissue.type_key
    kind = None if key is None else tissue.snapshot.obs[key].iloc[cell]
    return "" if pd.isna(kind) else str(kind)


def verdict(tissue: Tissue, cell: int) -> str:
    """Say what is wrong with a cell, by a hand or else by the limits; "" before it is judged."""
    hand = by_hand(tissue).get(cell)
    if hand is not None:
        return f"flagged by hand: {hand}" if hand else "accepted by hand"
    if tissue.quality is None:
        return ""
    why = reasons(judgement_of(tissue).faults.iloc[[cell]])[0]
    return f"fails: {why}" if why else "passes"


def metrics(tissue: Tissue, cell: int) -> list[str]:
    """Return a cell's metrics, with their names; none before they are measured."""
    if tissue.quality is None:
        return []
    row = tissue.quality.table.iloc[cell]
    return [
        f"{BY_NAME[name].label} {number(float(row[name]))}"
        for name in row.index
        if name in BY_NAME and np.isfinite(row[name])
    ]


def _who(tissue: Tissue, cell: int) -> str:
    labels = None if tissue.clusters is None else tissue.label_set(tissue.clusters)
    code = -1 if labels is None else labels.codes[cell]
    cluster = labels.names[code] if code >= 0 else ""
    kind = kind_of(tissue, cell)
    name = fmt.elided(str(tissue.snapshot.obs_names[cell]), 30)
    return fmt.joined(*dict.fromkeys([name, kind, cluster]))
