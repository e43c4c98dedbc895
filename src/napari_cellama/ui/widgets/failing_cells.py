"""How many cells of the active tissue fail, by what, and what can be done with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_cellama.ui import format as fmt
from napari_cellama.ui.judging import judgement_of
from napari_cellama.ui.quality import PAINTED
from napari_cellama.ui.widgets.fail_table import FailTable
from napari_cellama.ui.widgets.form import WheelGuard
from napari_cellama.ui.widgets.lines import button, line
from napari_cellama.ui.widgets.listen import listen

if TYPE_CHECKING:
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue

_PAINT = "Colour the tissue by what is wrong with its cells."


class FailingCells(QWidget):
    """Counts the cells that fail, paints them and selects them.

    Parameters
    ----------
    session
        What it is a view of.
    parent
        The Qt parent.
    """

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self._session = session
        self.summary = QLabel(self)
        self.summary.setWordWrap(True)
        self.paint_button = button("Paint", session.quality.paint)
        self.select_button = button("Select failing", self._select)
        self.paint_button.setToolTip(_PAINT)
        self.select_button.setToolTip("Select all cells that fail.")
        self.failing = FailTable(self)
        self._guard = WheelGuard(self)
        self._guard.watch(self.failing.by)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self.summary)
        layout.addLayout(line(self.paint_button, self.select_button))
        layout.addWidget(self.failing)
        listen(self, session.clusters_changed, self._on_clusters)
        listen(self, session.coloring_changed, self.show_coloring)

    @property
    def stops(self) -> list[QWidget]:
        """What the tab key stops at, from the top to the bottom."""
        return [self.paint_button, self.select_button, self.failing.by, self.failing.table]

    def _select(self) -> None:
        self._session.select(judgement_of(self._session.active).fails)

    def show_numbers(self) -> None:
        """Show what fails by the limits as they are."""
        tissue = self._session.active
        number = int(judgement_of(tissue).fails.sum())
        share = number / max(1, tissue.n_obs)
        self.summary.setText(f"{number:,} of {fmt.count(tissue.n_obs, 'cell')} fail ({share:.1%})")
        self.failing.show_tissue(tissue)
        self.select_button.setEnabled(number > 0)

    def _on_clusters(self, tissue: Tissue) -> None:
        if tissue is self._session.active and tissue.quality is not None:
            self.failing.show_tissue(tissue)

    def show_coloring(self, *_: Any) -> None:
        """Offer to paint what is not painted."""
        tissue = self._session.active
        painted = tissue is not None and tissue.coloring == PAINTED
        self.paint_button.setEnabled(tissue is not None and not painted)
        self.paint_button.setText("Painted" if painted else "Paint")
        tip = "The tissue is coloured by it." if painted else _PAINT
        self.paint_button.setToolTip(tip)
