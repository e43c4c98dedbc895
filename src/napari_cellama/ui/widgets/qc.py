"""The QC dock: measure cells and pixels, move limits, and see at once which cells fail."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import (
    QLabel,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_cellama.errors import UserError
from napari_cellama.ui.album import Album
from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.hovering import Hovering
from napari_cellama.ui.view import fly_to
from napari_cellama.ui.widgets.failing_cells import FailingCells
from napari_cellama.ui.widgets.form import folded, stops_of, tab_through
from napari_cellama.ui.widgets.imaging import ImagePart
from napari_cellama.ui.widgets.key_help import follow_help_key
from napari_cellama.ui.widgets.limits import LimitsPart
from napari_cellama.ui.widgets.lines import NO_TISSUE
from napari_cellama.ui.widgets.listen import listen
from napari_cellama.ui.widgets.look import Look
from napari_cellama.ui.widgets.measuring import Measuring
from napari_cellama.ui.widgets.progress import MessageLine
from napari_cellama.ui.widgets.style import follow_theme

if TYPE_CHECKING:
    import napari


_WIDTH, _NARROWEST = 364, 340
#: How many cells' diameters one sees after flying to a cell.
_VIEW = 30
_NOT_MEASURED = (
    "Press Measure: every cell is judged by its counts and by the pixels around it. Cells beyond "
    "a limit are painted by what is wrong with them; nothing is deleted."
)


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
        self.empty, self.message = QLabel(self), MessageLine(self)
        self.album = Album(session)
        self.look = Look(session, self.album, self)
        viewer = self._viewer()
        self.hovering = Hovering(session, viewer, self._layers, self.album, self)
        self.look.view.hover.toggled.connect(self.hovering.switch)
        self.images = ImagePart(session, self._layers, self._try, self)
        self.found = FailingCells(session, self)
        self.measured = LimitsPart(session, self._try, self.message, self)
        self.foot = Measuring(session, self._try, self.message, self)
        self._name_parts()
        self._lay_out()
        follow_help_key(self)
        follow_theme(self, napari_viewer)
        self.measured.follow_colors(napari_viewer)
        for signal in (session.active_changed, session.matrix_ready, session.quality_changed):
            listen(self, signal, self.refresh)
        self.look.visited.connect(self._visit)
        self.look.gallery.crops.failed.connect(lambda *said: self.message.add("error", *said))
        listen(self, session.imaging.told, self.message.add)
        listen(self, session.quality.moved, self._show_numbers)
        self.measured.changed.connect(self._order)
        self._order()
        self.refresh()

    def _name_parts(self) -> None:
        """Give what users press and read its name at the dock, whichever part holds it."""
        found, limits, foot = self.found, self.measured, self.foot
        self.summary, self.failing = found.summary, found.failing
        self.paint_button, self.select_button = found.paint_button, found.select_button
        self.rows, self.section, self.no_image = limits.rows, limits.section, limits.no_image
        self.load_button, self.save_button = limits.load_button, limits.save_button
        self.reset_button = limits.reset_button
        self.measure_button, self.cancel_button = foot.measure_button, foot.cancel_button
        self.progress = foot.progress

    def sizeHint(self) -> QSize:
        """Return the width that leaves the tissue its room."""
        return QSize(_WIDTH, 720)

    def _lay_out(self) -> None:
        """Put what was measured, and what can be done, below each other."""
        self.empty.setWordWrap(True)
        self.empty.setObjectName("muted")
        content = QWidget(self)
        self.look_fold = folded("Look at cells", self.look, content)
        # As high as its wrapped texts need, which the fold's own policy takes for too much.
        self.look_fold.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        outer = QVBoxLayout(content)
        outer.setContentsMargins(0, 0, 6, 0)
        outer.setSpacing(6)
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
        layout.addWidget(self.foot)

    def _fold_images(self, parent: QWidget) -> QWidget:
        fold = folded("Images", self.images, parent)
        fold.toggleButton().setToolTip("Add an image, align it, choose what is judged.")
        fold.toggled.connect(self._session.imaging.show_pins)
        # superqt gives it no more than its hint, which does not know how texts are wrapped.
        as_needed = QSizePolicy.Policy.Preferred
        fold.setSizePolicy(as_needed, as_needed)
        fold.layout().setAlignment(Qt.AlignmentFlag(0))
        return fold

    def _visit(self, cell: int) -> None:
        tissue = self._session.active
        layer, placement = self._layers.layer_of(tissue), self._layers.placement_of(tissue)
        if layer is not None and (point := placement.point_of(cell)) is not None:
            fly_to(self._viewer(), layer, placement.points[point], _VIEW * placement.diameter)

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
        self.empty.setText(NO_TISSUE if tissue is None else _NOT_MEASURED)
        self.empty.setVisible(result is None)
        for widget in (self.found, self.measured):
            widget.setVisible(result is not None)
        for fold in (self.look_fold, self.image_fold):
            fold.setVisible(tissue is not None)
        self.measured.refresh()
        self._show_numbers()
        self.found.show_coloring()
        self.foot.refresh()

    def _show_numbers(self, *_: Any) -> None:
        """Show what fails by the limits as they are."""
        tissue = self._session.active
        if tissue is not None and tissue.quality is not None:
            self.found.show_numbers()
            self.measured.show_numbers()

    def _order(self) -> None:
        """Let the tab key go from the top to the bottom, also through rows that came later."""
        images = self.image_fold.toggleButton(), *self.images.stops
        look = self.look_fold.toggleButton(), *stops_of(self.look)
        parts = *self.measured.stops, *self.foot.stops
        tab_through([*images, *self.found.stops, *look, *parts])
