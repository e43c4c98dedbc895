"""Looking at cells in the QC dock: the clicked one's picture, and a gallery to work through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QVBoxLayout, QWidget

from napari_cellama.core.qc_stored import ACCEPTED
from napari_cellama.core.qc_thresholds import BLURRED, FOLDED, OUTSIDE
from napari_cellama.core.sampling import cells_to_look_at
from napari_cellama.ui.judging import by_hand
from napari_cellama.ui.widgets.cell_text import about
from napari_cellama.ui.widgets.cell_view import CellView
from napari_cellama.ui.widgets.gallery import SIDE, Gallery
from napari_cellama.ui.widgets.lines import button, line
from napari_cellama.ui.widgets.listen import listen
from napari_cellama.ui.widgets.look_choices import chosen, offer, orders, whom_to_show

if TYPE_CHECKING:
    from napari_cellama.ui.album import Album
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue

#: How many cells a gallery shows.
N_CELLS = 200
_KEYS = "Keys in the gallery: A accepts, F flags, N goes on, Return shows the cell on the tissue."


class Look(QWidget):
    """Shows cells of the active tissue; ``visited(int)`` asks to fly to one.

    Parameters
    ----------
    session
        The session.
    album
        Cuts the pictures.
    parent
        The Qt parent.
    """

    visited = Signal(int)

    def __init__(self, session: Session, album: Album, parent: QWidget) -> None:
        super().__init__(parent)
        self._session, self._album = session, album
        self._seen: tuple[Any, ...] = ()
        self._images: tuple[Any, ...] | None = None
        self._cell: int | None = None
        self.view = CellView(session, album, self)
        self.whom, self.how, self.reason = (QComboBox(self) for _ in range(3))
        self.gallery = Gallery(session, self)
        self.show_button = button("Show", self.show_gallery)
        self.accept_button = button("Accept", lambda: self._judge(True))
        self.flag_button = button("Flag", lambda: self._judge(False))
        self.next_button = button("Next", self.gallery.next)
        self.fly_button = button("Fly to it", self._fly)
        self._lay_out()
        self.gallery.judged.connect(self._judge)
        self.gallery.visited.connect(self.visited)
        self.gallery.current_changed.connect(self._on_current)
        listen(self, session.cell_picked, self._on_picked)
        for signal in (
            session.quality_changed,
            session.active_changed,
            session.labels_changed,
            session.clusters_changed,
            session.matrix_ready,
        ):
            listen(self, signal, self.refresh)
        listen(self, session.images_changed, self._on_images)
        for signal in (album.changed, session.boundaries_ready):
            listen(self, signal, self._on_look)
        self.refresh()

    def _lay_out(self) -> None:
        self.reason.setEditable(True)
        self.reason.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.reason.addItems(["flagged", BLURRED, FOLDED, OUTSIDE, "two cells", "debris"])
        self.reason.setToolTip("Why cells are flagged; choose or type.")
        self.reason.setAccessibleName("Reason of a flag")
        self.whom.setToolTip("Which cells the gallery is of.")
        self.whom.setAccessibleName("Cells of the gallery")
        self.how.setToolTip(f"Which {N_CELLS} of them, and in what order.")
        self.how.setAccessibleName("Order of the gallery")
        self.show_button.setToolTip(f"Show pictures of up to {N_CELLS} of these cells. {_KEYS}")
        for box in (self.whom, self.how, self.reason):
            box.setMinimumContentsLength(6)
            box.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
        self.gallery.setToolTip(_KEYS)
        self.accept_button.setToolTip("The cell passes whatever its metrics (A in the gallery).")
        self.flag_button.setToolTip("The cell fails, for the reason above (F in the gallery).")
        self.next_button.setToolTip("Go to the gallery's next cell (N).")
        self.fly_button.setToolTip("Show the cell on the tissue (Return, or a double click).")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self.view)
        layout.addWidget(self.whom)
        layout.addLayout(line(self.how, self.show_button))
        layout.addWidget(self.gallery)
        layout.addLayout(line(self.reason, self.fly_button))
        layout.addLayout(line(self.accept_button, self.flag_button, self.next_button))

    # ---- what is shown

    def refresh(self, *_: Any) -> None:
        """Offer what can be looked at in the active tissue."""
        tissue = self._session.active
        seen = (tissue, None if tissue is None else tissue.quality)
        # By identity: two measurements are tables, which have no single answer to "equal?".
        if not self._seen or any(now is not old for now, old in zip(seen, self._seen, strict=True)):
            other = not self._seen or tissue is not self._seen[0]
            self._seen = seen
            self._images = None if tissue is None else (tissue.choices, tissue.images)
            self._cell = None if other else self._cell
            self.view.show_tissue(tissue)
            self.gallery.crops.show_cells(np.zeros(0, np.int64), None, str)
        if tissue is not None:
            offer(self.whom, whom_to_show(tissue))
            offer(self.how, orders(tissue))
            self.gallery.crops.show_verdicts(by_hand(tissue))
        self._show_cell()

    def show_gallery(self) -> None:
        """Show pictures of the cells that are asked for."""
        tissue = self._session.active
        if tissue is None:
            return
        cells = chosen(self.whom, whom_to_show(tissue)).get()
        worth = chosen(self.how, orders(tissue)).get(cells)
        self._show_cells(cells_to_look_at(cells, N_CELLS, worth))
        if self.gallery.crops.rowCount():
            self.gallery.setCurrentIndex(self.gallery.crops.index(0))
            self.gallery.setFocus()
        else:
            self.view.say("There are no such cells.")

    def _show_cells(self, cells: np.ndarray) -> None:
        tissue = self._session.active
        cut = self._album.cut(tissue, SIDE, self.devicePixelRatioF())
        self.gallery.crops.show_cells(cells, cut, lambda cell: about(tissue, cell))
        self.gallery.crops.show_verdicts(by_hand(tissue))

    def _on_look(self, *_: Any) -> None:
        """Cut the pictures anew, as they look now."""
        row, tissue = self.gallery.currentIndex().row(), self._session.active
        if tissue is not None and self.gallery.crops.rowCount():
            self._show_cells(self.gallery.crops.cells)
            self.gallery.setCurrentIndex(self.gallery.crops.index(row))
        self.view.again()

    def _on_images(self, tissue: Tissue) -> None:
        """Cut the pictures anew where they are of another image, place or channels by now."""
        seen = (tissue.choices, tissue.images)
        if tissue is self._session.active and seen != self._images:
            self._images = seen
            self.view.show_choices()
            self._on_look()

    def _on_picked(self, tissue: Tissue, cell: int) -> None:
        if tissue is self._session.active:
            self._cell = cell
            self._show_cell()

    def _on_current(self) -> None:
        if self.gallery.cell is not None:
            self._cell = self.gallery.cell
            self._show_cell()

    def _show_cell(self) -> None:
        """Show the cell that was clicked last, on the tissue or in the gallery."""
        for one in (self.accept_button, self.flag_button, self.fly_button):
            one.setEnabled(self._cell is not None)
        self.view.show_cell(self._session.active, self._cell)

    # ---- what the user does

    def _judge(self, good: bool) -> None:
        if self._cell is None:
            return
        cells = np.zeros(self._session.active.n_obs, bool)
        cells[self._cell] = True
        reason = self.reason.currentText().strip() or "flagged"
        self._session.editing.mark(cells, ACCEPTED if good else reason)
        if self._cell == self.gallery.cell:
            self.gallery.next()

    def _fly(self) -> None:
        if self._cell is not None:
            self.visited.emit(self._cell)
