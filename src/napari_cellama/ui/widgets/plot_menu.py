"""What every plot offers: its figure as a file, its numbers as CSV."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtGui import QAction, QGuiApplication
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_cellama.errors import UserError
from napari_cellama.ui import format as fmt

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FORMATS = "PNG (*.png);;SVG (*.svg);;PDF (*.pdf)"
#: What a plot's tooltip says of its menu.
HINT = "Right click or menu key: save the figure, copy the numbers (Ctrl+S, Ctrl+C)."


def choose_path(parent: QWidget, name: str) -> str:
    """Ask where a figure is to be saved; returns "" where the user thought better of it."""
    path, kind = QFileDialog.getSaveFileName(parent, "Save figure", name, FORMATS)
    if not path or "." in path.rsplit("/", 1)[-1]:
        return path
    return path + (kind[kind.find("*.") + 1 : -1] or ".png")


def copy_table(table: pd.DataFrame) -> str:
    """Put a table on the clipboard as CSV; returns what to tell the user."""
    QGuiApplication.clipboard().setText(table.to_csv(index=False))
    return f"Copied {fmt.count(len(table), 'row')} as CSV."


class PlotMenu(QObject):
    """A plot's context menu, which its menu key opens, too; the actions' keys work in the plot.

    Parameters
    ----------
    plot
        The widget.
    name
        What a saved figure is called at first.
    table
        Returns the plot's numbers.
    figure
        Draws the plot for a file.
    save
        Saves it at a path instead, where drawing takes a job.

    ``told(str, str)`` says what became of it: level, sentence.
    """

    told = Signal(str, str)

    def __init__(
        self,
        plot: QWidget,
        name: str,
        table: Callable[[], pd.DataFrame],
        figure: Callable[[], Figure] | None = None,
        save: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(plot)
        self._plot, self._name, self._table, self._figure = plot, name, table, figure
        self._save = save or self.save
        plot.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        if figure is not None or save is not None:
            self.save_action = self._add("Save figure…", "Ctrl+S", self._choose)
        self.copy_action = self._add("Copy numbers as CSV", "Ctrl+C", self._copy)

    def _add(self, text: str, key: str, act: Callable[[], None]) -> QAction:
        action = QAction(text, self._plot)
        action.setShortcut(key)
        action.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
        action.triggered.connect(act)
        self._plot.addAction(action)
        return action

    def save(self, path: str) -> None:
        """Save the figure as PNG, SVG or PDF, after its suffix."""
        from napari_cellama.figures import save_figure

        try:
            written = save_figure(self._figure(), path)
        except UserError as error:
            self.told.emit("error", str(error))
        else:
            self.told.emit("info", f"Figure saved to {written}.")

    def _choose(self) -> None:
        if path := choose_path(self._plot, self._name):
            self._save(path)

    def _copy(self) -> None:
        self.told.emit("info", copy_table(self._table()))
