"""A folded group of the Understand dock: a figure or table that can be saved and copied."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_cellama.errors import UserError
from napari_cellama.ui.widgets.form import folded
from napari_cellama.ui.widgets.picture import Picture
from napari_cellama.ui.widgets.plot_menu import choose_path, copy_table

if TYPE_CHECKING:
    import pandas as pd

#: Tells the user something: level, sentence.
Say = Callable[[str, str], object]


class Exhibit(QWidget):
    """A title that folds, what it is about, a figure or table, and buttons for both.

    Parameters
    ----------
    title
        The group's.
    shown
        A :class:`~.picture.Picture` or a table.
    say
        Called with what became of saving and copying.
    parent
        The Qt parent.
    """

    def __init__(self, title: str, shown: QWidget, say: Say, parent: QWidget) -> None:
        super().__init__(parent)
        self.shown, self._say = shown, say
        self._name, self._table = title, None
        self.remark = QLabel(self)
        self.remark.setObjectName("remark")
        self.remark.setWordWrap(True)
        self.copy_button = QPushButton("Copy as CSV", self)
        self.copy_button.setToolTip("Copy the numbers as CSV, to paste into a spreadsheet.")
        self.copy_button.clicked.connect(self.copy)
        self.save_button = QPushButton("Save figure…", self)
        self.save_button.setToolTip("Save the figure for slides (.png) or to be edited (.svg).")
        self.save_button.clicked.connect(self._choose)
        self.save_button.setVisible(isinstance(shown, Picture))
        line = QHBoxLayout()
        line.setSpacing(6)
        for button in (self.save_button, self.copy_button):
            button.setObjectName("secondary")
            line.addWidget(button, 1)
        content = QWidget(self)
        inside = QVBoxLayout(content)
        inside.setContentsMargins(0, 0, 0, 4)
        inside.setSpacing(4)
        inside.addWidget(self.remark)
        inside.addWidget(shown)
        inside.addLayout(line)
        self.fold = folded(title, content, self)
        self.fold.toggleButton().setToolTip("Show or hide this group.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.fold)

    @property
    def stops(self) -> list[QWidget]:
        """What the tab key stops at, from the top to the bottom."""
        shown = [] if isinstance(self.shown, Picture) else [self.shown]
        return [self.fold.toggleButton(), *shown, self.save_button, self.copy_button]

    def tell(self, remark: str, table: pd.DataFrame, name: str) -> None:
        """Say what is shown, what is copied, and what a saved figure is called.

        Where the table has no rows, only the remark is seen.
        """
        self.remark.setText(remark)
        self._table, self._name = table, name
        self.shown.setVisible(len(table) > 0)
        self.copy_button.setVisible(len(table) > 0)
        self.save_button.setVisible(len(table) > 0 and isinstance(self.shown, Picture))

    def settle(self) -> None:
        """Take the room that the figure needs, which was drawn while the group was not seen."""
        for layout in (self.shown.parentWidget().layout(), self.fold.layout(), self.layout()):
            layout.invalidate()
            layout.activate()

    def copy(self) -> None:
        """Put the numbers on the clipboard as CSV."""
        self._say("info", copy_table(self._table))

    def save(self, path: str) -> None:
        """Save the figure as PNG, SVG or PDF, after its suffix."""
        from napari_cellama.figures import save_figure

        try:
            written = save_figure(self.shown.figure(), path)
        except UserError as error:
            self._say("error", str(error))
        else:
            self._say("info", f"Figure saved to {written}.")

    def _choose(self) -> None:
        if path := choose_path(self, self._name):
            self.save(path)
