"""Undo and redo: what every step changed, by name, kept small.

Label sets and masks are never written to but replaced, so that a step is the difference between
two states. It keeps the values of one side only: of the state before while it can be undone, of
the state after while it can be redone. Codes are kept in the smallest integers that hold them and
masks as bits, 1 MB and 0.1 MB at a million cells; what a step did not change is not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_cellama.core.image_choices import ImageChoices
from napari_cellama.core.labels import LabelSet
from napari_cellama.core.qc_thresholds import Thresholds

if TYPE_CHECKING:
    from napari_cellama.core.qc import QCResult
    from napari_cellama.io.attached import Attached

#: The oldest steps are forgotten beyond either.
MOST_STEPS, MOST_BYTES = 500, 128 << 20


@dataclass(frozen=True)
class State:
    """Everything of a tissue that can be undone.

    Attributes
    ----------
    labels
        Label sets by key.
    clusters
        The key of the one that the Clusters dock shows.
    selection, hidden
        (n,) bool.
    thresholds
        What a cell must measure up to.
    images
        The images in files of their own, and where they lie.
    choices
        Which images are measured, and what pictures of cells show.
    quality
        What quality control measured. To measure is no step, but to bring it back is.
    """

    labels: Mapping[str, LabelSet]
    clusters: str | None
    selection: np.ndarray
    hidden: np.ndarray
    thresholds: Thresholds = field(default_factory=Thresholds)
    images: tuple[Attached, ...] = ()
    choices: ImageChoices = field(default_factory=ImageChoices)
    quality: QCResult | None = None


@dataclass(frozen=True)
class _KeptLabels:
    """A label set whose codes are packed, or ``None`` where they are the other side's."""

    labels: LabelSet
    codes: np.ndarray | None

    @classmethod
    def of(cls, labels: LabelSet, other: LabelSet | None) -> _KeptLabels:
        codes = None
        if other is None or labels.codes is not other.codes:
            smallest = np.min_scalar_type(-max(1, len(labels.names)))
            codes = labels.codes.astype(smallest)
        return cls(replace(labels, codes=np.zeros(0, np.int32)), codes)

    def restored(self, other: LabelSet | None) -> LabelSet:
        codes = other.codes if self.codes is None else self.codes.astype(np.int32)
        return replace(self.labels, codes=codes)

    @property
    def nbytes(self) -> int:
        return 0 if self.codes is None else self.codes.nbytes


@dataclass(frozen=True)
class _Difference:
    """What one state has and another has not; ``None`` for a label set that is not there."""

    labels: Mapping[str, _KeptLabels | None]
    clusters: str | None
    selection: np.ndarray | None
    hidden: np.ndarray | None
    thresholds: Thresholds | None
    images: tuple[Attached, ...] | None
    choices: ImageChoices | None
    #: What was measured on this side and on the other, where that differs.
    quality: tuple[QCResult | None, QCResult | None] | None

    @classmethod
    def between(cls, state: State, other: State) -> _Difference:
        """Return what is needed to get from ``other`` to ``state``."""
        keys = dict.fromkeys([*state.labels, *other.labels])
        changed = [key for key in keys if state.labels.get(key) is not other.labels.get(key)]
        return cls(
            {
                key: _KeptLabels.of(state.labels[key], other.labels.get(key))
                if key in state.labels
                else None
                for key in changed
            },
            state.clusters,
            None if state.selection is other.selection else np.packbits(state.selection),
            None if state.hidden is other.hidden else np.packbits(state.hidden),
            None if state.thresholds is other.thresholds else state.thresholds,
            None if state.images is other.images else state.images,
            None if state.choices is other.choices else state.choices,
            None if state.quality is other.quality else (state.quality, other.quality),
        )

    def applied(self, other: State) -> State:
        """Return the state that :meth:`between` was given, from the other one."""
        labels = dict(other.labels)
        for key, kept in self.labels.items():
            if kept is None:
                labels.pop(key, None)
            else:
                labels[key] = kept.restored(other.labels.get(key))
        return State(
            labels,
            self.clusters if self.labels else other.clusters,
            _unpacked(self.selection, other.selection),
            _unpacked(self.hidden, other.hidden),
            self.thresholds or other.thresholds,
            other.images if self.images is None else self.images,
            self.choices or other.choices,
            self._quality_from(other.quality),
        )

    def _quality_from(self, there: QCResult | None) -> QCResult | None:
        """Return what was measured; what is newer than the step stays."""
        return self.quality[0] if self.quality and self.quality[1] is there else there

    @property
    def nbytes(self) -> int:
        """How much memory it holds, apart from what was measured, which is the tissue's own."""
        masks = sum(mask.nbytes for mask in (self.selection, self.hidden) if mask is not None)
        return masks + sum(kept.nbytes for kept in self.labels.values() if kept is not None)


@dataclass(frozen=True)
class _Step:
    name: str
    difference: _Difference


class History:
    """The steps that can be undone, and those that were and can be done again."""

    def __init__(self) -> None:
        self._done: list[_Step] = []
        self._undone: list[_Step] = []

    @property
    def undo_name(self) -> str | None:
        """What would be undone, e.g. "Rename 3 to White matter"; ``None`` where nothing is."""
        return self._done[-1].name if self._done else None

    @property
    def redo_name(self) -> str | None:
        """What would be done again."""
        return self._undone[-1].name if self._undone else None

    @property
    def names(self) -> list[str]:
        """The steps that can be undone, the oldest first."""
        return [step.name for step in self._done]

    @property
    def nbytes(self) -> int:
        """How much memory the steps hold."""
        return sum(step.difference.nbytes for step in [*self._done, *self._undone])

    def record(self, name: str, before: State, after: State) -> None:
        """Remember a step; what was undone before it cannot be done again any more."""
        self._undone.clear()
        self._done.append(_Step(name, _Difference.between(before, after)))
        while len(self._done) > MOST_STEPS or (len(self._done) > 1 and self.nbytes > MOST_BYTES):
            del self._done[0]

    def undo(self, state: State) -> State:
        """Return the state before the last step; there must be one."""
        return self._turn(self._done, self._undone, state)

    def redo(self, state: State) -> State:
        """Return the state after the step that was undone last; there must be one."""
        return self._turn(self._undone, self._done, state)

    def forget(self, key: str) -> None:
        """Forget the steps that changed a label set, because it is there no longer."""
        for steps in (self._done, self._undone):
            steps[:] = [step for step in steps if key not in step.difference.labels]

    @staticmethod
    def _turn(source: list[_Step], target: list[_Step], state: State) -> State:
        step = source.pop()
        turned = step.difference.applied(state)
        target.append(_Step(step.name, _Difference.between(state, turned)))
        return turned


def _unpacked(bits: np.ndarray | None, other: np.ndarray) -> np.ndarray:
    """Return a mask as it was kept; the other side's where it did not change."""
    return other if bits is None else np.unpackbits(bits, count=len(other)).view(bool)
