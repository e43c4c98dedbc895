"""The label sets' menu: duplicate, rename, delete and compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QInputDialog,
    QLabel,
    QMenu,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_cellama.errors import UserError
from napari_cellama.figures import Look, contingency_figure
from napari_cellama.ui import format as fmt
from napari_cellama.ui.editing import refuse_fixed_set
from napari_cellama.ui.widgets.plot_menu import PlotMenu
from napari_cellama.ui.workers import Failed, Job

if TYPE_CHECKING:
    import pandas as pd

    from napari_cellama.core.events import CancelToken
    from napari_cellama.ui.session import Session

#: The comparison's job in the session.
SLOT = "compare"
#: The most characters of a label in the comparison's headers.
_HEADING = 24


class LabelsMenu(QPushButton):
    """What can be done to the shown label set as a whole.

    ``compared(object)`` brings a comparison's table, agreement and title.
    """

    compared = Signal(object)

    def __init__(self, session: Session, others: Callable[[], list[str]], parent: QWidget) -> None:
        super().__init__("Edit", parent)
        self._session, self._others = session, others
        self.setObjectName("menu")
        self.setToolTip("Duplicate, rename, delete or compare the labels that are shown.")
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        menu.aboutToShow.connect(self.fill)
        self.setMenu(menu)
        self.compared.connect(lambda found: Comparison(*found, self.window()).show())

    def fill(self) -> None:
        """Offer what can be done now; what cannot says why."""
        menu, labels = self.menu(), self._session.clusters
        menu.clear()
        edit, why = self._session.editing, "" if labels else "Choose some labels first."
        self._entry("Duplicate", edit.duplicate_set, why)
        if labels is not None:
            try:
                refuse_fixed_set(self._session.active, labels.key)
            except UserError as error:
                why = str(error)
        self._entry("Rename…", self._rename, why)
        self._entry("Delete", edit.delete_set, why)
        compare = menu.addMenu("Compare with")
        others = [] if labels is None else [key for key in self._others() if key != labels.key]
        for key in others:
            compare.addAction(fmt.elided(key, 40)).triggered.connect(
                lambda *_, key=key: self.compare(key)
            )
        compare.setEnabled(bool(others))

    def _entry(self, text: str, act: Callable[[], Any], why_not: str) -> None:
        entry = self.menu().addAction(text)
        entry.setEnabled(not why_not)
        entry.setToolTip(why_not)
        entry.triggered.connect(lambda *_: self._try(act))

    def _try(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except UserError as error:
            self._session.message.emit("error", str(error), "")

    def _rename(self) -> None:
        key = self._session.clusters.key
        name, taken = QInputDialog.getText(self, "Rename labels", "Name (obs column):", text=key)
        if taken:
            self._session.editing.rename_set(name)

    def compare(self, key: str) -> None:
        """Compare the shown label set with another one in a job, and show the table."""
        one, other = self._session.clusters, self._session.active.label_set(key)

        def events(token: CancelToken) -> Iterator[Any]:
            from napari_cellama.core.labels import compared

            yield (*compared(one, other), f"{one.key} and {other.key}")

        def on_event(job: Job, event: Any) -> None:
            if isinstance(event, Failed):
                self._session.message.emit("error", event.sentence, event.details)
            elif isinstance(event, tuple):
                self.compared.emit(event)

        self._session.jobs.start(SLOT, f"Comparing with {key}", events, on_event)


class Comparison(QDialog):
    """How many cells have each pair of labels, and how well the two sets agree.

    Parameters
    ----------
    table
        From :func:`~napari_cellama.core.labels.compared`.
    agreement
        The adjusted Rand index.
    title
        Of the window.
    parent
        The Qt parent.
    """

    def __init__(self, table: pd.DataFrame, agreement: float, title: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(f"Compare {title}")
        self.summary = QLabel(
            f"Adjusted Rand index {agreement:.3f} over {fmt.count(int(table.to_numpy().sum()))} "
            "cells with both labels (1: the same groups, 0: as by chance)",
            self,
        )
        self.summary.setWordWrap(True)
        self.table = QTableWidget(*table.shape, self)
        for column, name in enumerate(table.columns):
            self.table.setHorizontalHeaderItem(column, _heading(name))
        for row, name in enumerate(table.index):
            self.table.setVerticalHeaderItem(row, _heading(name))
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        for row, counts in enumerate(table.to_numpy()):
            for column, count in enumerate(counts):
                item = QTableWidgetItem(f"{count:,}" if count else "")
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.table.setItem(row, column, item)
        self.table.resizeColumnsToContents()
        self.said = QLabel("", self)
        self.menu = PlotMenu(
            self.table,
            "comparison.png",
            table.reset_index,
            lambda: contingency_figure(table, agreement, _look_for(table)),
        )
        self.menu.told.connect(lambda _, text: self.said.setText(text))
        copy = QPushButton("Copy table", self)
        copy.setToolTip("Copy the counts as CSV.")
        copy.clicked.connect(lambda: QGuiApplication.clipboard().setText(table.to_csv()))
        self.save_button = QPushButton("Save figure…", self)
        self.save_button.setToolTip("Save the table as a heatmap: PNG, SVG or PDF.")
        self.save_button.clicked.connect(self.menu.save_action.trigger)
        line = QHBoxLayout()
        line.addWidget(copy)
        line.addWidget(self.save_button)
        layout = QVBoxLayout(self)
        for widget in (self.summary, self.table, self.said):
            layout.addWidget(widget)
        layout.addLayout(line)
        self.resize(640, 420)


def _heading(name: object) -> QTableWidgetItem:
    """Return a header that can be read whole, or elided with the whole name as its tooltip."""
    heading = QTableWidgetItem(fmt.elided(str(name), _HEADING) or "(no name)")
    heading.setToolTip(str(name))
    return heading


def _look_for(table: pd.DataFrame) -> Look:
    """Return a width, in inches, that leaves every column room for its name and counts."""
    return Look(width=min(max(3.4, 1.8 + 0.45 * table.shape[1]), 16.0))
