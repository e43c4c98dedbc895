"""The QC dock: measure cells and pixels, move limits, and see at once which cells fail."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari.utils.theme import get_theme
from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_cellama.core.events import Notice, Progress
from napari_cellama.core.qc_thresholds import METRICS
from napari_cellama.errors import UserError
from napari_cellama.ui import format as fmt
from napari_cellama.ui.album import Album
from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.hovering import Hovering
from napari_cellama.ui.judging import judgement_of
from napari_cellama.ui.quality import PAINTED, SLOT
from napari_cellama.ui.view import fly_to
from napari_cellama.ui.widgets.fail_table import FailTable
from napari_cellama.ui.widgets.form import WheelGuard, folded, stops_of, tab_through
from napari_cellama.ui.widgets.imaging import ImagePart
from napari_cellama.ui.widgets.key_help import follow_help_key
from napari_cellama.ui.widgets.listen import listen
from napari_cellama.ui.widgets.look import Look
from napari_cellama.ui.widgets.metric_row import MetricRow
from napari_cellama.ui.widgets.progress import MessageLine, ProgressLine
from napari_cellama.ui.widgets.style import follow_theme
from napari_cellama.ui.workers import Failed, Job, Stopped

if TYPE_CHECKING:
    import napari

    from napari_cellama.core.qc import QCResult
    from napari_cellama.core.qc_thresholds import Limit
    from napari_cellama.ui.tissue import Tissue

_WIDTH, _NARROWEST = 364, 340
#: How many cells' diameters one sees after flying to a cell.
_VIEW = 30
_NO_TISSUE = "No tissue is open. Open one with File > Open, or drop a .h5ad file onto the window."
_NOT_MEASURED = (
    "Press Measure: every cell is judged by its counts and by the pixels around it. Cells beyond "
    "a limit are painted by what is wrong with them; nothing is deleted."
)
_NO_IMAGE = "No image was read, so the pixels around the cells are not judged."
_FILES = "Limits (*.json)"
_PAINT = "Colour the tissue by what is wrong with its cells."


class QCDock(QWidget):
    """Quality control of the active tissue.

    Parameters
    ----------
    napari_viewer
        The viewer whose session this is a view of.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self.setMinimumWidth(_NARROWEST)
        self._viewer = weakref.ref(getattr(napari_viewer, "__wrapped__", napari_viewer))
        session = self._session = session_of(napari_viewer)
        self._layers = layers_of(napari_viewer)
        self._quality = session.quality
        self._result: QCResult | None = None
        self.rows: dict[str, MetricRow] = {}
        self.empty, self.summary, self.no_image = (QLabel(self) for _ in range(3))
        self.paint_button = _button("Paint", self._quality.paint, "secondary")
        self.select_button = _button("Select failing", self._select, "secondary")
        self.failing = FailTable(self)
        self.album = Album(session)
        self.look = Look(session, self.album, self)
        viewer = self._viewer()
        self.hovering = Hovering(session, viewer, self._layers, self.album, self)
        self.look.view.hover.toggled.connect(self.hovering.switch)
        self.images = ImagePart(session, self._layers, self._try, self)
        self.section = QComboBox(self)
        self.load_button = _button("Load…", self._load, "secondary")
        self.save_button = _button("Save…", self._save, "secondary")
        self.reset_button = _button("Defaults", self._quality.reset, "secondary")
        self.message, self.progress = MessageLine(self), ProgressLine(self)
        self.measure_button = _button("Measure", self._measure, "primary")
        self.cancel_button = _button("Cancel", self._quality.cancel, "secondary")
        self._guard = WheelGuard(self)
        # However many moves of the mouse come in a turn, cells are painted once.
        self._next: Limit | None = None
        self._soon = QTimer(self, singleShot=True, interval=0)
        self._soon.timeout.connect(self._preview)
        self._lay_out()
        follow_help_key(self)
        follow_theme(self, napari_viewer)
        self._color_histograms(napari_viewer)
        for signal in (session.active_changed, session.matrix_ready, session.quality_changed):
            listen(self, signal, self.refresh)
        listen(self, session.clusters_changed, self._on_clusters)
        listen(self, session.coloring_changed, self._on_coloring)
        self.look.visited.connect(self._visit)
        self.look.gallery.crops.failed.connect(lambda *said: self.message.add("error", *said))
        listen(self, session.imaging.told, self.message.add)
        listen(self, self._quality.moved, self._show_numbers)
        listen(self, self._quality.told, self._on_told)
        self._order()
        self.refresh()

    def sizeHint(self) -> QSize:
        """Return the width that leaves the tissue its room."""
        return QSize(_WIDTH, 720)

    def _lay_out(self) -> None:
        for label in (self.empty, self.summary, self.no_image):
            label.setWordWrap(True)
        self.empty.setObjectName("muted")
        self.no_image.setObjectName("muted")
        self.paint_button.setToolTip(_PAINT)
        self.select_button.setToolTip("Select all cells that fail.")
        self.section.setToolTip("Whose cells the histograms show.")
        self.section.setAccessibleName("Section of the histograms")
        self.section.currentIndexChanged.connect(lambda *_: self._show_numbers())
        self._guard.watch(self.section)
        self._guard.watch(self.failing.by)
        self.load_button.setToolTip("Take limits from a JSON file, e.g. of another section.")
        self.save_button.setToolTip("Keep the limits as JSON, for other sections and the command.")
        self.reset_button.setToolTip("Go back to the default limits.")
        self._arrange()

    def _arrange(self) -> None:
        """Put what was measured, and what can be done, below each other."""
        self._groups = {group: QVBoxLayout() for group in ("Cells", "Image")}
        self._titles = {group: _title(group) for group in self._groups}
        content = QWidget(self)
        self.found, self.measured = QWidget(content), QWidget(content)
        top, column = QVBoxLayout(self.found), QVBoxLayout(self.measured)
        top.addWidget(self.summary)
        top.addLayout(_line(self.paint_button, self.select_button))
        top.addWidget(self.failing)
        self.look_fold = folded("Look at cells", self.look, content)
        # As high as its wrapped texts need, which the fold's own policy takes for too much.
        self.look_fold.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        column.addWidget(self.section)
        for group, rows in self._groups.items():
            column.addWidget(self._titles[group])
            column.addLayout(rows)
        column.addWidget(self.no_image)
        column.addWidget(_title("Limits"))
        column.addLayout(_line(self.load_button, self.save_button, self.reset_button))
        outer = QVBoxLayout(content)
        for box, right in ((top, 0), (column, 0), (outer, 6)):
            box.setContentsMargins(0, 0, right, 0)
            box.setSpacing(6)
        self.image_fold = self._fold_images(content)
        shown = (self.image_fold, self.empty, self.found, self.look_fold, self.measured)
        for widget in shown:
            outer.addWidget(widget)
        outer.addStretch(1)
        self.scroll = QScrollArea(self)
        self.scroll.setWidgetResizable(True)
        self.scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.scroll.setWidget(content)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 6, 4, 8)
        layout.setSpacing(8)
        layout.addWidget(self.scroll, 1)
        layout.addWidget(self.message)
        layout.addWidget(self.progress)
        layout.addLayout(_line(self.measure_button, self.cancel_button, first=3))

    def _fold_images(self, parent: QWidget) -> QWidget:
        fold = folded("Images", self.images, parent)
        fold.toggleButton().setToolTip("Add an image, align it, choose what is judged.")
        fold.toggled.connect(self._session.imaging.show_pins)
        # superqt gives it no more than its hint, which does not know how texts are wrapped.
        as_needed = QSizePolicy.Policy.Preferred
        fold.setSizePolicy(as_needed, as_needed)
        fold.layout().setAlignment(Qt.AlignmentFlag(0))
        return fold

    def _color_histograms(self, viewer: napari.Viewer) -> None:
        """Colour the histograms by the viewer's theme, now and whenever the theme changes."""

        def apply() -> None:
            theme = get_theme(viewer.theme)
            names = theme.text.as_hex(), theme.current.as_hex(), theme.error.as_hex()
            self._colors = tuple(QColor(name) for name in names)
            for row in self.rows.values():
                row.histogram.set_colors(*self._colors)

        apply()
        viewer.events.theme.connect(apply)
        self.destroyed.connect(lambda: viewer.events.theme.disconnect(apply))

    # ---- what the user does

    def _measure(self) -> None:
        self._try(self._quality.measure)

    def _select(self) -> None:
        self._session.select(judgement_of(self._session.active).fails)

    def _load(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Load limits", "", _FILES)
        if path:
            self._try(lambda: self._quality.load(path))

    def _save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save limits", "limits.json", _FILES)
        if path:
            self._try(lambda: self._quality.save(path))

    def _visit(self, cell: int) -> None:
        tissue = self._session.active
        layer, placement = self._layers.layer_of(tissue), self._layers.placement_of(tissue)
        if layer is not None and (point := placement.point_of(cell)) is not None:
            fly_to(self._viewer(), layer, placement.points[point], _VIEW * placement.diameter)

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

    def _try(self, act: Callable[[], Any]) -> None:
        self.message.clear()
        try:
            act()
        except UserError as error:
            self.message.add("error", str(error))

    # ---- what is shown

    def refresh(self, *_: Any) -> None:
        """Show what was measured of the active tissue, and what can be done."""
        tissue = self._session.active
        result = None if tissue is None else tissue.quality
        self.empty.setText(_NO_TISSUE if tissue is None else _NOT_MEASURED)
        self.empty.setVisible(result is None)
        for widget in (self.found, self.measured):
            widget.setVisible(result is not None)
        for fold in (self.look_fold, self.image_fold):
            fold.setVisible(tissue is not None)
        if result is not self._result:
            self._result = result
            self._make_rows()
        self._show_numbers()
        self._on_coloring()
        self._enable()

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
            row = self.rows[metric.name] = MetricRow(metric.name, self.measured)
            row.histogram.set_colors(*self._colors)
            row.previewed.connect(self._on_previewed)
            row.settled.connect(self._on_settled)
            row.chosen.connect(self._quality.set_limit)
            row.histogram.menu.told.connect(self.message.add)
            self._guard.watch(row.unit)
            self._groups[metric.group].addWidget(row)
        self._order()
        for group, title in self._titles.items():
            title.setVisible(any(row.metric.group == group for row in self.rows.values()))
        no_image = result is not None and not result.image_name
        self._titles["Image"].setVisible(no_image or self._titles["Image"].isVisibleTo(self))
        why = [text for text in (result.notices if result else ()) if "image" in text.casefold()]
        self.no_image.setText(" ".join(why) or _NO_IMAGE)
        self.no_image.setVisible(no_image)
        several = result is not None and len(result.sections) > 1
        self.section.blockSignals(True)
        self.section.clear()
        self.section.addItems(["All sections", *(result.sections if several else ())])
        self.section.blockSignals(False)
        self.section.setVisible(several)

    def _order(self) -> None:
        """Let the tab key go from the top to the bottom, also through rows that came later."""
        limits = self.load_button, self.save_button, self.reset_button
        rows = [stop for row in self.rows.values() for stop in row.stops]
        images = self.image_fold.toggleButton(), *self.images.stops
        first = *images, self.paint_button, self.select_button, self.failing.by, self.failing.table
        first = *first, self.look_fold.toggleButton(), *stops_of(self.look), self.section
        tab_through([*first, *rows, *limits, self.measure_button, self.cancel_button])

    def _show_numbers(self, *_: Any) -> None:
        """Show what fails by the limits as they are."""
        tissue = self._session.active
        if tissue is None or tissue.quality is None or tissue.quality is not self._result:
            return
        number = int(judgement_of(tissue).fails.sum())
        share = number / max(1, tissue.n_obs)
        self.summary.setText(f"{number:,} of {fmt.count(tissue.n_obs, 'cell')} fail ({share:.1%})")
        self.failing.show_tissue(tissue)
        section = self.section.currentIndex() - 1
        for name, row in self.rows.items():
            row.show_metric(tissue.quality, tissue.thresholds.of(name), section)
        self.select_button.setEnabled(number > 0)

    def _on_clusters(self, tissue: Tissue) -> None:
        if tissue is self._session.active and tissue.quality is not None:
            self.failing.show_tissue(tissue)

    def _on_coloring(self, *_: Any) -> None:
        tissue = self._session.active
        painted = tissue is not None and tissue.coloring == PAINTED
        self.paint_button.setEnabled(tissue is not None and not painted)
        self.paint_button.setText("Painted" if painted else "Paint")
        tip = "The tissue is coloured by it." if painted else _PAINT
        self.paint_button.setToolTip(tip)

    def _enable(self) -> None:
        why, job = self._quality.why_not(), self._session.jobs.current(SLOT)
        self.measure_button.setEnabled(not why and job is None)
        self.measure_button.setText("Measure" if self._result is None else "Measure again")
        tip = "Measure counts, genes, room and the pixels around every cell."
        self.measure_button.setToolTip(why or ("It is measuring." if job else tip))
        stops = job is not None and job.token.cancelled
        self.cancel_button.setEnabled(job is not None and not stops)
        self.cancel_button.setToolTip(
            "It stops." if stops else "Stop measuring." if job else "Nothing is being measured."
        )

    def _on_told(self, job: Job, event: Any) -> None:
        if event is None:
            self.progress.begin("Preparing…")
        elif isinstance(event, Progress):
            self.progress.show_progress(event)
        elif isinstance(event, Notice):
            self.message.add("warning", event.text)
        else:
            self.progress.end("Cancelled." if isinstance(event, Stopped) else "")
            if isinstance(event, Failed):
                self.message.add("error", event.sentence, event.details)
        self._enable()


def _button(text: str, act: Callable[[], Any], name: str) -> QPushButton:
    button = QPushButton(text)
    button.setObjectName(name)
    button.clicked.connect(lambda: act())
    return button


def _title(text: str) -> QLabel:
    title = QLabel(text)
    title.setObjectName("groupTitle")
    return title


def _line(*widgets: QWidget, first: int = 1) -> QHBoxLayout:
    line = QHBoxLayout()
    line.setSpacing(6)
    for i, widget in enumerate(widgets):
        line.addWidget(widget, 1 if i else first)
    return line
