"""A folded group of the Understand dock: a figure or table that can be saved and copied."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_cellama.errors import UserError
from napari_cellama.ui import format as fmt
from napari_cellama.ui.widgets.form import folded
from napari_cellama.ui.widgets.picture import Picture

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
        QGuiApplication.clipboard().setText(self._table.to_csv(index=False))
        self._say("info", f"Copied {fmt.count(len(self._table), 'row')} as CSV.")

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
        formats = "PNG (*.png);;SVG (*.svg);;PDF (*.pdf)"
        path, kind = QFileDialog.getSaveFileName(self, "Save figure", self._name, formats)
        if path:
            suffix = kind[kind.find("*.") + 1 : -1] or ".png"
            self.save(path if "." in path.rsplit("/", 1)[-1] else path + suffix)
