"""How numbers become colours: colour map, cut, limits, and the matrix that genes are read from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_cellama.errors import UserError
from napari_cellama.ui.tissue import COLORMAPS
from napari_cellama.ui.widgets.form import WheelGuard
from napari_cellama.ui.widgets.legend import number

if TYPE_CHECKING:
    from napari_cellama.ui.painting import Legend
    from napari_cellama.ui.session import Session


class ScaleRow(QWidget):
    """Edits the active tissue's scale; hidden where no numbers are shown."""

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self._session = session
        self.layer = self._combo("The matrix that the gene is read from.")
        self.colormap = self._combo("The colour map; all are even steps to every eye.")
        self.colormap.addItems(COLORMAPS)
        self.clip = QDoubleSpinBox(self)
        self.clip.setRange(0, 25)
        self.clip.setDecimals(1)
        self.clip.setPrefix("cut ")
        self.clip.setSuffix(" %")
        self.clip.setToolTip("How many of the values lie beyond either end of the colour bar.")
        self.low = self._limit("The value at the lower end; empty goes back to the cut.")
        self.high = self._limit("The value at the upper end; empty goes back to the cut.")
        self.layer.activated.connect(lambda row: self._set(layer=self.layer.itemData(row)))
        self.colormap.activated.connect(lambda row: self._set(colormap=COLORMAPS[row]))
        self.clip.valueChanged.connect(lambda value: self._set(clip=value, limits=None))
        guard = WheelGuard(self)
        for widget in (self.layer, self.colormap, self.clip):
            guard.watch(widget)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widgets in ((self.layer, self.colormap), (self.low, self.clip, self.high)):
            row = QHBoxLayout()
            row.setSpacing(4)
            for widget in widgets:
                row.addWidget(widget, 3 if widget is self.clip else 2)
            layout.addLayout(row)

    @property
    def stops(self) -> list[QWidget]:
        """The controls in the order of the tab key."""
        return [self.layer, self.colormap, self.low, self.clip, self.high]

    def _combo(self, tip: str) -> QComboBox:
        combo = QComboBox(self)
        combo.setToolTip(tip)
        combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        combo.setMinimumContentsLength(6)
        return combo

    def _limit(self, tip: str) -> QLineEdit:
        line = QLineEdit(self)
        line.setToolTip(tip)
        line.editingFinished.connect(self._on_limits)
        return line

    def show_legend(self, legend: Legend | None) -> None:
        """Show how the numbers of a legend are coloured."""
        tissue = self._session.active
        shown = legend is not None and legend.kind == "continuous" and tissue is not None
        self.setVisible(shown)
        if not shown:
            return
        blocked = [QSignalBlocker(widget) for widget in self.stops]
        layers = [("X", None), *((name, name) for name in tissue.snapshot.layers)]
        if tissue.snapshot.raw is not None:
            layers.append(("raw", "raw"))
        self.layer.clear()
        for text, name in layers:
            self.layer.addItem(text, name)
        self.layer.setCurrentIndex(max(0, self.layer.findData(tissue.scale.layer)))
        self.layer.setVisible(tissue.coloring.kind == "gene" and len(layers) > 1)
        self.colormap.setCurrentIndex(COLORMAPS.index(tissue.scale.colormap))
        self.clip.setValue(tissue.scale.clip)
        for line, value in zip((self.low, self.high), legend.limits, strict=True):
            line.setText(number(value).replace(",", ""))
        del blocked

    def _on_limits(self) -> None:
        texts = [self.low.text().strip(), self.high.text().strip()]
        if not (self.low.isModified() or self.high.isModified()):
            return
        for line in (self.low, self.high):
            line.setModified(False)
        try:
            self._set(limits=tuple(map(float, texts)) if all(texts) else None)
        except ValueError:
            text = "A limit must be a number, e.g. 0.5; leave it empty to go back to the cut."
            self._session.message.emit("error", text, "")
            self._session.coloring_changed.emit(self._session.active)

    def _set(self, **changes: Any) -> None:
        try:
            self._session.set_scale(**changes)
        except UserError as error:
            self._session.message.emit("error", str(error), "")
            self._session.coloring_changed.emit(self._session.active)
