"""One metric in the QC dock: its name, how many fail, its histogram, and its limits as numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QLocale, QSignalBlocker, Qt, Signal
from qtpy.QtGui import QDoubleValidator
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLineEdit, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_cellama.core.qc_thresholds import BY_NAME, Limit, failing
from napari_cellama.ui import format as fmt
from napari_cellama.ui.widgets.histogram import Histogram, Line, Side

if TYPE_CHECKING:
    from napari_cellama.core.qc import QCResult

_UNITS = {"Value": "absolute", "MAD": "mad"}
_UNIT_TIP = (
    "Limits as values of the metric, or as so many median absolute deviations (scaled to standard "
    "deviations) below and above the median."
)


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
        self.unit.addItems(list(_UNITS))
        self.unit.setToolTip(_UNIT_TIP)
        self.unit.setAccessibleName(f"{self.metric.label}: unit of its limits")
        self.own = QCheckBox("Each section", self)
        self.own.setToolTip("Count deviations within each section, from the section's own median.")
        self._lay_out()
        self.histogram.moved.connect(self._on_moved)
        self.histogram.released.connect(lambda: self.settled.emit(metric))
        self.unit.currentTextChanged.connect(self._on_unit)
        self.own.toggled.connect(self._on_own)

    @property
    def stops(self) -> list[QWidget]:
        """The controls in the order of the tab key."""
        return [self.histogram, self.low, self.high, self.unit, self.own]

    def _edit(self, side: Side) -> QLineEdit:
        edit = QLineEdit(self)
        validator = QDoubleValidator(edit)
        validator.setLocale(QLocale.c())
        edit.setValidator(validator)
        edit.setPlaceholderText("no limit")
        edit.setFixedWidth(76)
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
        foot.addWidget(self.low)
        foot.addStretch(1)
        foot.addWidget(self.unit)
        foot.addWidget(self.own)
        foot.addStretch(1)
        foot.addWidget(self.high)
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
        several = self._section is not None and len(result.sections) > 1
        for widget in (self.unit, self.own):
            widget.blockSignals(True)
        self.unit.setCurrentText("MAD" if limit.unit == "mad" else "Value")
        self.own.setChecked(limit.per_section)
        for widget in (self.unit, self.own):
            widget.blockSignals(False)
        self.own.setVisible(several and limit.unit == "mad")
        for edit, value in ((self.low, limit.low), (self.high, limit.high)):
            if not edit.hasFocus() or not edit.isModified():
                with QSignalBlocker(edit):
                    edit.setText("" if value is None else f"{value:.4g}")
                edit.setModified(False)

    def _lines(self) -> tuple[Line, ...]:
        """Return the limits to draw: each shown section's own where the limit says so."""
        lines = []
        for part in self._parts():
            low, high = self._limit.resolved(self._of(part))
            lines += [Line("low", low, part), Line("high", high, part)]
        return tuple(lines)

    def _parts(self) -> list[int]:
        """Return the sections whose limits are shown; -1 stands for all cells together."""
        if self._limit.per_section and self._limit.unit == "mad" and self._section is not None:
            return [int(code) for code in np.unique(self._section[self._seen])]
        return [-1]

    def _of(self, part: int) -> np.ndarray:
        return self._values if part < 0 else self._values[self._section == part]

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
        self.chosen.emit(self._limit.in_unit(_UNITS[text], self._of(self._parts()[0])))

    def _on_own(self, on: bool) -> None:
        self.chosen.emit(self._limit.model_copy(update={"per_section": on}))
