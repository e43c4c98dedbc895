"""Aligning an image in the QC dock: by typed values, or by pairs of landmarks in a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_cellama.core.alignment import values_of
from napari_cellama.ui.aligning import fit_of
from napari_cellama.ui.widgets.form import Rows, WheelGuard
from napari_cellama.ui.widgets.small_table import SmallTable

if TYPE_CHECKING:
    from napari_cellama.io.attached import Attached
    from napari_cellama.ui.layers import TissueLayers
    from napari_cellama.ui.session import Session

#: Does what the user asks for, and says so where that cannot be.
Attempt = Callable[[Callable[[], Any]], None]

_FEWEST = 3
_ON_IMAGE = "Click a place on the image (landmark {})."
_ON_CELLS = "Now click the place among the cells where landmark {} belongs."
_FAR = 1e9


class ValuesEdit(QWidget):
    """Shows where an image lies as values; ``typed(size, origin, rotation, flip)`` of others."""

    typed = Signal(float, object, float, bool)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        guard = WheelGuard(self)
        self.size, self.x, self.y, self.rotation = (QDoubleSpinBox(self) for _ in range(4))
        self.size.setRange(1e-6, _FAR)
        self.size.setDecimals(5)
        self.rotation.setRange(-360, 360)
        self.rotation.setDecimals(3)
        self.rotation.setSuffix("°")
        for box in (self.x, self.y):
            box.setRange(-_FAR, _FAR)
            box.setDecimals(2)
        self.flip = QCheckBox(self)
        for box in (self.size, self.x, self.y, self.rotation):
            box.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)
            box.setKeyboardTracking(False)
            box.valueChanged.connect(self._emit)
            guard.watch(box)
        self.flip.toggled.connect(self._emit)
        self._lay_out()

    def _lay_out(self) -> None:
        self.size.setAccessibleName("Pixel size")
        self.x.setAccessibleName("Origin, x")
        self.y.setAccessibleName("Origin, y")
        self.rotation.setAccessibleName("Rotation")
        self.flip.setAccessibleName("Mirrored")
        origin = QWidget(self)
        line = QHBoxLayout(origin)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(6)
        line.addWidget(self.x)
        line.addWidget(self.y)
        rows = Rows(self)
        rows.add("size", "Pixel size", self.size, "How large a pixel of the image is.")
        where = "The x and y at which the image's first pixel begins."
        rows.add("origin", "Origin (x, y)", origin, where)
        turned = "By how much the image is turned clockwise against the cells."
        rows.add("rotation", "Rotation", self.rotation, turned)
        mirrored = "Whether the image's columns run against x."
        rows.add("flip", "Mirrored", self.flip, mirrored)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(rows)

    def show_image(self, attached: Attached, unit: str) -> None:
        """Show where an image lies; what is being typed stays."""
        values = values_of(attached.to_pixels)
        pairs = (
            (self.size, values.pixel_size),
            (self.x, values.origin[0]),
            (self.y, values.origin[1]),
            (self.rotation, values.rotation),
        )
        for box, value in pairs:
            with QSignalBlocker(box):
                box.setValue(value)
        for box in (self.size, self.x, self.y):
            box.setSuffix(f" {unit}")
        with QSignalBlocker(self.flip):
            self.flip.setChecked(values.flip)

    def _emit(self, *_: Any) -> None:
        origin = (self.x.value(), self.y.value())
        self.typed.emit(self.size.value(), origin, self.rotation.value(), self.flip.isChecked())


class Landmarks(QWidget):
    """The landmarks of the chosen image: set by clicks, listed with how far each is off."""

    def __init__(
        self, session: Session, layers: TissueLayers, attempt: Attempt, parent: QWidget
    ) -> None:
        super().__init__(parent)
        self._layers, self._try = layers, attempt
        self._session, self._aligning = session, session.imaging.aligning
        self.set_button = QPushButton("Set landmarks", self)
        self.set_button.setCheckable(True)
        self.set_button.setToolTip("Click in turn on the image and on the same place of the cells.")
        self.remove_button = QPushButton("Remove pair", self)
        self.remove_button.setToolTip("Remove the pair that is chosen in the table.")
        for button in (self.set_button, self.remove_button):
            button.setObjectName("secondary")
        self.hint, self.fit = QLabel(self), QLabel(self)
        self.hint.setWordWrap(True)
        self.fit.setWordWrap(True)
        self.fit.setObjectName("muted")
        headers = (
            ("#", "The landmark's number on the tissue."),
            ("Image", "Column and row on the image, in pixels."),
            ("Cells", "x and y among the cells."),
            ("Off", "How far the image's place lies from that of the cells."),
        )
        self.table = SmallTable(headers, "Landmarks", self)
        head, mode = self.table.horizontalHeader(), QHeaderView.ResizeMode
        for column in range(len(headers)):
            wide = column in (1, 2)
            head.setSectionResizeMode(column, mode.Stretch if wide else mode.ResizeToContents)
        self.set_button.clicked.connect(self._set)
        self.remove_button.clicked.connect(self._remove)
        self.table.itemSelectionChanged.connect(self._enable)
        buttons = QHBoxLayout()
        buttons.setSpacing(6)
        buttons.addWidget(self.set_button, 1)
        buttons.addWidget(self.remove_button, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addLayout(buttons)
        for widget in (self.hint, self.table, self.fit):
            layout.addWidget(widget)

    def show_image(self, attached: Attached, unit: str) -> None:
        """Show the landmarks of the chosen image."""
        tissue = self._session.active
        number = len(attached.pixels)
        setting = self._session.tool == "landmark"
        half = self._session.imaging.desk_of(tissue).pixel is not None
        self.set_button.setChecked(setting)
        self.set_button.setText("Done" if setting else "Set landmarks")
        self.hint.setVisible(setting)
        self.hint.setText((_ON_CELLS if half else _ON_IMAGE).format(number + 1))
        fit, problem = fit_of(attached)
        rows = []
        for i, (pixel, place) in enumerate(zip(attached.pixels, attached.positions, strict=True)):
            off = float("nan") if fit is None else float(fit.residuals[i])
            rows.append(
                (
                    (str(i + 1), i + 1.0),
                    (f"{pixel[0]:,.0f}, {pixel[1]:,.0f}", float(pixel[0])),
                    (f"{place[0]:,.1f}, {place[1]:,.1f}", float(place[0])),
                    ("–" if fit is None else f"{off:,.2f}", off),
                )
            )
        titles = ["#", "Image", "Cells", f"Off ({unit})"]
        self.table.setHorizontalHeaderLabels(titles)
        self.table.show_rows(rows, [f"Landmark {i + 1}" for i in range(number)])
        self.table.setVisible(number > 0)
        self.fit.setText(problem or self._state(number, fit, unit))
        self._enable()

    @staticmethod
    def _state(number: int, fit: Any, unit: str) -> str:
        if fit is not None:
            exact = "; a fourth pair shows how exact they are" if number == _FEWEST else ""
            return f"Off by {fit.rms:,.2f} {unit} (root mean square){exact}."
        pairs = "pair" if number == 1 else "pairs"
        return (
            f"{number} {pairs} of at least {_FEWEST}; choose places far from each other."
            if number
            else "Three or more pairs of places bring the image to the cells."
        )

    def _enable(self) -> None:
        self.remove_button.setEnabled(bool(self.table.selectionModel().selectedRows()))

    def _set(self, on: bool) -> None:
        placement = self._layers.placement_of(self._session.active)
        self._try(lambda: self._aligning.set_landmarks(on, placement))

    def _remove(self) -> None:
        rows = self.table.selectionModel().selectedRows()
        if rows:
            self._aligning.remove_pair(int(self.table.item(rows[0].row(), 0).text()) - 1)
