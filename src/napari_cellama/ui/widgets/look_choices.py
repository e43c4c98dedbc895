"""Which cells a gallery can show, and in what order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QComboBox

from napari_cellama.core.qc_thresholds import METRICS
from napari_cellama.core.sampling import badness, typicality
from napari_cellama.ui import format as fmt
from napari_cellama.ui.judging import PASSES, by_hand, flags_of, judgement_of

if TYPE_CHECKING:
    import pandas as pd

    from napari_cellama.core.labels import LabelSet
    from napari_cellama.core.result import NicheResult
    from napari_cellama.ui.tissue import Tissue

FAILING, ALL, SELECTED, BY_HAND = (
    "Failing cells", "All cells", "Selected cells", "Judged by hand"
)  # fmt: skip
RANDOM, TYPICAL, UNCERTAIN, WORST = (
    "at random", "most typical", "least certain", "worst by any limit"
)  # fmt: skip
#: A box elides longer texts in the middle; the tooltip has them whole.
_LONGEST = 34


@dataclass(frozen=True)
class Choice:
    """One entry of a box.

    Attributes
    ----------
    key
        What it is, however it is worded.
    text
        What users read.
    get
        The cells, (n,) bool, or how early each comes, (n,) floats; ``None`` for at random.
    group
        Entries of different groups are set apart.
    """

    key: str
    text: str
    get: Callable[..., np.ndarray | None]
    group: int = 0


def whom_to_show(tissue: Tissue) -> list[Choice]:
    """Return the groups of cells that a gallery can be of: ``get()`` returns (n,) bool."""
    everyone = Choice(ALL, ALL, lambda: np.ones(tissue.n_obs, bool))
    selected = Choice(SELECTED, SELECTED, lambda: tissue.selection)
    found = [everyone, selected]
    if tissue.quality is not None:
        judged = judgement_of(tissue)
        found = [Choice(FAILING, FAILING, lambda: judged.fails), *found]
    if tissue.clusters is not None:
        found += _of(tissue.label_set(tissue.clusters), "cluster", "Cluster {}", 1)
    flags = flags_of(tissue)
    if tissue.quality is not None:
        # By hand or by a limit: what fails, and why.
        found += _of(judgement_of(tissue).labels, "fault", "Fails: {}", 2, without=PASSES)
    elif flags is not None:
        found += _of(flags, "fault", "Flag: {}", 2)
    if hand := by_hand(tissue):
        cells = np.zeros(tissue.n_obs, bool)
        cells[list(hand)] = True
        found.append(Choice(BY_HAND, BY_HAND, lambda: cells, 2))
    return found


def _of(labels: LabelSet, kind: str, text: str, group: int, without: str = "") -> list[Choice]:
    return [
        Choice(
            f"{kind} {name}",
            f"{text.format(name)} ({size:,})",
            lambda code=code: labels.codes == code,
            group,
        )
        for code, (name, size) in enumerate(zip(labels.names, labels.sizes, strict=True))
        if size and name != without
    ]


def orders(tissue: Tissue) -> list[Choice]:
    """Return the orders that cells can come in: ``get(cells)`` returns (n,) floats, or None."""
    found = [Choice(RANDOM, RANDOM, lambda cells: None)]
    run = run_of(tissue)
    if run is not None:
        found += [
            Choice(TYPICAL, TYPICAL, lambda cells: typicality(run.representation, cells)),
            Choice(UNCERTAIN, UNCERTAIN, lambda cells: -run.confidence),
        ]
    quality = tissue.quality
    if quality is None:
        return found
    limits = tissue.thresholds
    found.append(Choice(WORST, WORST, lambda cells: badness(quality.table, limits)))
    for metric in METRICS:
        if metric.name not in quality.table:
            continue
        name = metric.label[0].lower() + metric.label[1:]
        for word, sign in (("lowest", -1), ("highest", 1)):
            # The cells that are worth most come first.
            worth = partial(_signed, quality.table[metric.name], sign)
            found.append(Choice(f"{word} {metric.name}", f"{word} {name}", worth, 1))
    return found


def _signed(values: pd.Series, sign: int, cells: np.ndarray) -> np.ndarray:
    return sign * values.to_numpy(float)


def run_of(tissue: Tissue) -> NicheResult | None:
    """Return the run behind the shown clusters, or else the last one."""
    return tissue.results.get(tissue.clusters) or next(reversed(tissue.results.values()), None)


def offer(box: QComboBox, choices: list[Choice]) -> None:
    """Offer other choices in a box, and keep the chosen one where it is still there."""
    before = [box.itemData(i) for i in range(box.count())]
    wanted: list[Any] = []
    for last, choice in zip([None, *choices], choices, strict=False):
        if last is not None and choice.group != last.group:
            wanted.append(None)
        wanted.append(choice.key)
    texts = {choice.key: choice.text for choice in choices}
    with QSignalBlocker(box):
        if before != wanted:
            chosen = box.currentData()  # None in a box that was empty, as that of a line between
            box.clear()
            for key in wanted:
                if key is None:
                    box.insertSeparator(box.count())
                else:
                    box.addItem("", key)
            kept = chosen is not None and chosen in wanted
            # What stood first because nothing better was there gives way to what is first now.
            kept = kept and not (chosen == before[0] and wanted[0] not in before)
            box.setCurrentIndex(wanted.index(chosen) if kept else 0)
        for i, key in enumerate(wanted):
            if key is not None:
                box.setItemText(i, fmt.elided(texts[key], _LONGEST))
                box.setItemData(i, texts[key], Qt.ItemDataRole.ToolTipRole)


def chosen(box: QComboBox, choices: list[Choice]) -> Choice:
    """Return which of the choices a box shows."""
    key = box.currentData()
    return next(choice for choice in choices if choice.key == key)
