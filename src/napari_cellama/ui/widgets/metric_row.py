"""One metric in the QC dock: its name, how many fail, its histogram, and its limits as numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from qtpy.QtCore import QLocale, QSignalBlocker, Qt, Signal
from qtpy.QtGui import QDoubleValidator
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLineEdit, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_cellama.core.qc_thresholds import BY_NAME, Limit, failing
from napari_cellama.ui import format as fmt
from napari_cellama.ui.widgets.histogram import Histogram, Line, Side

if TYPE_CHECKING:
    from napari_cellama.core.qc import QCResult

#: A limit's unit, and whether each section has its own, as users read it.
_UNITS: dict[str, tuple[Literal["absolute", "mad"], bool]] = {
    "Value": ("absolute", False),
    "MAD": ("mad", False),
    "MAD by section": ("mad", True),
}
_UNIT_TIP = (
    "Limits as values of the metric, or as so many median absolute deviations (scaled to standard "
    "deviations) below and above the median; by section, each counts from its own median."
)
#: Stands, among sections' codes, for all cells together; -1 are those of no section.
_ALL = -2
#: Pixels that a limit's field takes at least and at most.
_FIELD = (44, 76)


class MetricRow(QWidget):
    """A view of one metric's limit.

    ``previewed(Limit)`` tells of a limit on its way, ``settled(str)`` that the metric's has come
    to rest, ``chosen(Limit)`` of one that was typed or set.
    """

    previewed = Signal(object)
    settled = Signal(str)
    chosen = Signal(object)

    def __init__(self, metric: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.metric = BY_NAME[metric]
        self._limit = Limit(metric=metric)
        self._values = np.zeros(0)
        self._section: np.ndarray | None = None
        self._seen = np.zeros(0, bool)
        self._shown: tuple[Any, ...] = ()
        self.title, self.count = QElidingLabel(self.metric.label, self), QElidingLabel("", self)
        self.histogram = Histogram(self.metric.label, self.metric.log, self)
        self.low, self.high = self._edit("low"), self._edit("high")
        self.unit = QComboBox(self)
        self.unit.addItems(list(_UNITS)[:2])
        self.unit.setToolTip(_UNIT_TIP)
        self.unit.setAccessibleName(f"{self.metric.label}: unit of its limits")
        self._lay_out()
        self.histogram.moved.connect(self._on_moved)
        self.histogram.released.connect(lambda: self.settled.emit(metric))
        self.unit.currentTextChanged.connect(self._on_unit)

    @property
    def stops(self) -> list[QWidget]:
        """The controls in the order of the tab key."""
        return [self.histogram, self.low, self.unit, self.high]

    def _edit(self, side: Side) -> QLineEdit:
        edit = QLineEdit(self)
        validator = QDoubleValidator(edit)
        validator.setLocale(QLocale.c())
        edit.setValidator(validator)
        edit.setPlaceholderText("no limit")
        edit.setMinimumWidth(_FIELD[0])
        edit.setMaximumWidth(_FIELD[1])
        edit.setAccessibleName(f"{self.metric.label}: {side} limit")
        edit.setToolTip(f"The {side} limit; leave it empty for none.")
        edit.editingFinished.connect(lambda: self._on_typed(side))
        return edit

    def _lay_out(self) -> None:
        head, foot = QHBoxLayout(), QHBoxLayout()
        self.count.setObjectName("muted")
        self.count.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        head.addWidget(self.title, 3)
        head.addWidget(self.count, 2)
        for row in (head, foot):
            row.setSpacing(6)
        # In a narrow dock the fields give way, so that nothing is cut off.
        foot.addWidget(self.low, 1)
        foot.addStretch(0)
        foot.addWidget(self.unit)
        foot.addStretch(0)
        foot.addWidget(self.high, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 2, 0, 6)
        layout.setSpacing(2)
        layout.addLayout(head)
        layout.addWidget(self.histogram)
        layout.addLayout(foot)

    # ---- what is shown

    def show_metric(self, result: QCResult, limit: Limit, section: int) -> None:
        """Show a metric of a result under a limit; of one section (a code), or of all (-1)."""
        self._limit = limit
        if self._shown[:1] != (result,) or self._shown[1:2] != (section,):
            self._values = result.table[self.metric.name].to_numpy(float)
            self._section = result.section
            everywhere = section < 0 or result.section is None
            self._seen = np.ones(len(self._values), bool)
            if not everywhere:
                self._seen = result.section == section
            self._shown = (result, section)
            self.histogram.show_values(self._values[self._seen], self._lines())
        low, high = failing(limit, self._values, self._section)
        fails = low | high
        self.histogram.show_failing(fails[self._seen], self._lines())
        number = int(fails[self._seen].sum())
        self.count.setText(f"{fmt.count(number)} fail" if number else "none fails")
        self._show_unit()
        for edit, value in ((self.low, limit.low), (self.high, limit.high)):
            if not edit.hasFocus() or not edit.isModified():
                with QSignalBlocker(edit):
                    edit.setText("" if value is None else f"{value:.4g}")
                edit.setModified(False)

    @property
    def _several(self) -> bool:
        """Whether there are sections that could have limits of their own."""
        return self._section is not None and len(self._shown[0].sections) > 1

    def _show_unit(self) -> None:
        """Show what the limit is counted in; by section only where there are several."""
        offered = list(_UNITS) if self._several else list(_UNITS)[:2]
        own = self._limit.per_section and self._several
        wanted = (self._limit.unit, own and self._limit.unit == "mad")
        with QSignalBlocker(self.unit):
            if self.unit.count() != len(offered):
                self.unit.clear()
                self.unit.addItems(offered)
            self.unit.setCurrentText(next(text for text, it in _UNITS.items() if it == wanted))

    def _lines(self) -> tuple[Line, ...]:
        """Return the limits to draw: each shown section's own where the limit says so."""
        lines = []
        for part in self._parts():
            low, high = self._limit.resolved(self._of(part))
            lines += [Line("low", low, part), Line("high", high, part)]
        return tuple(lines)

    def _parts(self) -> list[int]:
        """Return the sections whose limits are shown."""
        if self._limit.per_section and self._limit.unit == "mad" and self._section is not None:
            return [int(code) for code in np.unique(self._section[self._seen])]
        return [_ALL]

    def _of(self, part: int) -> np.ndarray:
        return self._values if part == _ALL else self._values[self._section == part]

    # ---- what the user does

    def _on_moved(self, side: Side, part: int, value: float | None) -> None:
        self.previewed.emit(self._limit.moved(side, value, self._of(part)))

    def _on_typed(self, side: Side) -> None:
        edit = self.low if side == "low" else self.high
        if not edit.isModified():
            return
        edit.setModified(False)
        text = edit.text().strip()
        value = float(text) if text else None
        if value is not None and self._limit.unit == "mad":
            value = max(0.0, value)
        limit = self._limit.model_copy(update={side: value})
        if limit.unit == "absolute" and None not in limit.bounds and limit.low > limit.high:
            limit = self._limit.moved(side, value, self._values)
        self.chosen.emit(limit)

    def _on_unit(self, text: str) -> None:
        unit, own = _UNITS[text]
        limit = self._limit.in_unit(unit, self._of(self._parts()[0]))
        if unit == "mad" and self._several:
            limit = limit.model_copy(update={"per_section": own})
        self.chosen.emit(limit)
