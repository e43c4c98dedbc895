"""The limits of the QC dock: a histogram of every metric, whose limits can be moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.utils.theme import get_theme
from qtpy.QtCore import QTimer, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QComboBox, QFileDialog, QLabel, QVBoxLayout, QWidget

from napari_cellama.core.qc_thresholds import METRICS
from napari_cellama.ui.widgets.form import WheelGuard
from napari_cellama.ui.widgets.lines import button, line, title
from napari_cellama.ui.widgets.listen import heed
from napari_cellama.ui.widgets.metric_row import MetricRow

if TYPE_CHECKING:
    import napari

    from napari_cellama.core.qc import QCResult
    from napari_cellama.core.qc_thresholds import Limit
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.widgets.landmarks import Attempt
    from napari_cellama.ui.widgets.progress import MessageLine

_NO_IMAGE = "No image was read, so the pixels around the cells are not judged."
_FILES = "Limits (*.json)"


class LimitsPart(QWidget):
    """Shows what was measured of the active tissue, and moves the limits.

    ``changed()`` says that there are other rows than before.

    Parameters
    ----------
    session
        What it is a view of.
    attempt
        Does what the user asks for, and says so where that cannot be.
    message
        Where it is said what became of a figure.
    parent
        The Qt parent.
    """

    changed = Signal()

    def __init__(
        self, session: Session, attempt: Attempt, message: MessageLine, parent: QWidget
    ) -> None:
        super().__init__(parent)
        self._session, self._quality = session, session.quality
        self._try, self._message = attempt, message
        self._result: QCResult | None = None
        self.rows: dict[str, MetricRow] = {}
        self.no_image = QLabel(self)
        self.section = QComboBox(self)
        self.load_button = button("Load…", self._load)
        self.save_button = button("Save…", self._save)
        self.reset_button = button("Defaults", self._quality.reset)
        self._guard = WheelGuard(self)
        # However many moves of the mouse come in a turn, cells are painted once.
        self._next: Limit | None = None
        self._soon = QTimer(self, singleShot=True, interval=0)
        self._soon.timeout.connect(self._preview)
        self._lay_out()

    def _lay_out(self) -> None:
        self.no_image.setWordWrap(True)
        self.no_image.setObjectName("muted")
        self.section.setToolTip("Whose cells the histograms show.")
        self.section.setAccessibleName("Section of the histograms")
        self.section.currentIndexChanged.connect(lambda *_: self.show_numbers())
        self._guard.watch(self.section)
        self.load_button.setToolTip("Take limits from a JSON file, e.g. of another section.")
        self.save_button.setToolTip("Keep the limits as JSON, for other sections and the command.")
        self.reset_button.setToolTip("Go back to the default limits.")
        self._groups = {group: QVBoxLayout() for group in ("Cells", "Image")}
        self._titles = {group: title(group) for group in self._groups}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self.section)
        for group, rows in self._groups.items():
            layout.addWidget(self._titles[group])
            layout.addLayout(rows)
        layout.addWidget(self.no_image)
        layout.addWidget(title("Limits"))
        layout.addLayout(line(self.load_button, self.save_button, self.reset_button))

    @property
    def stops(self) -> list[QWidget]:
        """What the tab key stops at, from the top to the bottom."""
        rows = [stop for row in self.rows.values() for stop in row.stops]
        return [self.section, *rows, self.load_button, self.save_button, self.reset_button]

    def follow_colors(self, viewer: napari.Viewer) -> None:
        """Colour the histograms by the viewer's theme, now and whenever the theme changes."""

        def apply() -> None:
            theme = get_theme(viewer.theme)
            names = theme.text.as_hex(), theme.current.as_hex(), theme.error.as_hex()
            self._colors = tuple(QColor(name) for name in names)
            for row in self.rows.values():
                row.histogram.set_colors(*self._colors)

        apply()
        heed(self, viewer.events.theme, apply)

    # ---- what the user does

    def _load(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Load limits", "", _FILES)
        if path:
            self._try(lambda: self._quality.load(path))

    def _save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save limits", "limits.json", _FILES)
        if path:
            self._try(lambda: self._quality.save(path))

    def _on_previewed(self, limit: Limit) -> None:
        self._next = limit
        self._soon.start()

    def _preview(self) -> None:
        if (limit := self._next) is not None:
            self._next = None
            self._quality.preview(limit)

    def _on_settled(self, metric: str) -> None:
        self._soon.stop()
        self._preview()
        self._quality.settle(metric)

    # ---- what is shown

    def refresh(self) -> None:
        """Show the metrics that the active tissue has."""
        tissue = self._session.active
        result = None if tissue is None else tissue.quality
        if result is not self._result:
            self._result = result
            self._make_rows()
            self.changed.emit()

    def _make_rows(self) -> None:
        """Make a row of every metric that there is."""
        for row in self.rows.values():
            row.hide()  # at once; Qt deletes it later
            row.deleteLater()
        self.rows.clear()
        result = self._result
        for metric in METRICS:
            if result is None or metric.name not in result.table:
                continue
            row = self.rows[metric.name] = MetricRow(metric.name, self)
            row.histogram.set_colors(*self._colors)
            row.previewed.connect(self._on_previewed)
            row.settled.connect(self._on_settled)
            row.chosen.connect(self._quality.set_limit)
            row.histogram.menu.told.connect(self._message.add)
            self._guard.watch(row.unit)
            self._groups[metric.group].addWidget(row)
        self._say_no_image()
        several = result is not None and len(result.sections) > 1
        self.section.blockSignals(True)
        self.section.clear()
        self.section.addItems(["All sections", *(result.sections if several else ())])
        self.section.blockSignals(False)
        self.section.setVisible(several)

    def _say_no_image(self) -> None:
        """Title the groups that have rows, and say where the pixels were not judged."""
        result = self._result
        for group, heading in self._titles.items():
            heading.setVisible(any(row.metric.group == group for row in self.rows.values()))
        no_image = result is not None and not result.image_name
        self._titles["Image"].setVisible(no_image or self._titles["Image"].isVisibleTo(self))
        why = [text for text in (result.notices if result else ()) if "image" in text.casefold()]
        self.no_image.setText(" ".join(why) or _NO_IMAGE)
        self.no_image.setVisible(no_image)

    def show_numbers(self) -> None:
        """Show the limits as they are."""
        tissue = self._session.active
        if tissue is None or tissue.quality is None or tissue.quality is not self._result:
            return
        section = self.section.currentIndex() - 1
        for name, row in self.rows.items():
            row.show_metric(tissue.quality, tissue.thresholds.of(name), section)
