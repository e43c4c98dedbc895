"""Which cells of a tissue fail, by its metrics, its limits and what a hand has flagged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_cellama.core.labels import LabelSet
from napari_cellama.core.palette import distinct_palette
from napari_cellama.core.qc_stored import ACCEPTED, FLAG, reasons_of
from napari_cellama.core.qc_thresholds import BLURRED, FOLDED, METRICS, OUTSIDE, WASHED_OUT

if TYPE_CHECKING:
    import pandas as pd

    from napari_cellama.core.qc import QCResult
    from napari_cellama.core.qc_thresholds import Thresholds
    from napari_cellama.ui.tissue import Tissue

PASSES = "passes"
#: Cells that pass are there to be seen past.
_PALE = "#8a97a6"
#: What can be wrong by a metric, in an order that no limit changes, so that colours stay; the
#: pixels' faults first, because these have places that one looks at.
_WORDS = tuple(
    dict.fromkeys(
        (BLURRED, FOLDED, OUTSIDE, WASHED_OUT, *(w for m in METRICS for w in (m.low, m.high)))
    )
)


@dataclass(frozen=True)
class Judgement:
    """What is wrong with each cell of a tissue.

    Attributes
    ----------
    faults
        (n, faults) bool: which cells have which fault by the limits; a hand has no say here.
    fails
        (n,) bool, in which the hand has the last word.
    labels
        Each cell's first fault, or that it passes, with a colour each; for the painter.
    """

    faults: pd.DataFrame
    fails: np.ndarray
    labels: LabelSet


def judgement_of(tissue: Tissue) -> Judgement:
    """Return which cells of a measured tissue fail; worked out once for the same limits."""
    wanted = (tissue.quality, tissue.thresholds, flags_of(tissue))
    known = tissue.judged
    if known is None or any(a is not b for a, b in zip(known[0], wanted, strict=True)):
        tissue.judged = known = (wanted, _judge(*wanted))
    return known[1]


def by_hand(tissue: Tissue) -> dict[int, str]:
    """Return what a hand said of single cells: a reason, or "" for a cell that is good."""
    flags = flags_of(tissue)
    return {} if flags is None else reasons_of(flags)


def flags_of(tissue: Tissue) -> LabelSet | None:
    """Return the flags that were set by hand; a column of the user's own is none of them."""
    from napari_cellama.core.annotations import is_annotation

    if FLAG in tissue.labels or is_annotation(tissue.snapshot, FLAG):
        return tissue.label_set(FLAG) if tissue.is_ours(FLAG) else None
    return None


def _judge(quality: QCResult, thresholds: Thresholds, flags: LabelSet | None) -> Judgement:
    faults = quality.faults(thresholds)
    names = [*faults.columns, *(flags.names if flags else ())]
    names = [PASSES, *dict.fromkeys(name for name in names if name != ACCEPTED)]
    codes = np.zeros(len(faults), np.int32)
    for code in range(len(faults.columns), 0, -1):  # the first fault has the last word
        codes[faults[names[code]].to_numpy(bool)] = code
    if flags is not None:
        places = [0 if name == ACCEPTED else names.index(name) for name in flags.names]
        flagged = np.flatnonzero(flags.codes >= 0)
        codes[flagged] = np.array([*places, 0], np.int32)[flags.codes[flagged]]
    labels = LabelSet("qc_reason", codes, tuple(names), _colors(names))
    return Judgement(faults, codes > 0, labels)


def _colors(names: list[str]) -> tuple[str, ...]:
    palette = distinct_palette(len(_WORDS) + len(names))
    known = {word: palette[i] for i, word in enumerate(_WORDS)}
    more = iter(palette[len(_WORDS) :])
    return (_PALE, *(known[name] if name in known else next(more) for name in names[1:]))
