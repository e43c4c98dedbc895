"""The label sets' menu: duplicate, rename, delete and compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QColor, QGuiApplication, QPalette
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
from napari_cellama.ui.widgets.listen import listen
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
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        menu.aboutToShow.connect(self.fill)
        self.setMenu(menu)
        for signal in (session.active_changed, session.clusters_changed):
            listen(self, signal, self.refresh)
        self.refresh()
        self.compared.connect(lambda found: Comparison(*found, self.window()).show())

    def refresh(self, *_: Any) -> None:
        """Enable the button where labels are shown; otherwise say what to do first."""
        why = "No clusters are shown; choose some under Labels."
        if self._session.active is None:
            why = "Open a tissue first."
        has_labels = self._session.clusters is not None
        tip = "Duplicate, rename, delete or compare the labels that are shown."
        self.setEnabled(has_labels)
        self.setToolTip(tip if has_labels else why)

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
            "cells with both labels (1: the same groups, 0: as by chance). Rows: "
            f"{fmt.elided(str(table.index.name), _HEADING)}; columns: "
            f"{fmt.elided(str(table.columns.name), _HEADING)}; the stronger the colour, the larger "
            "the share of the row's cells.",
            self,
        )
        self.summary.setWordWrap(True)
        self.table = QTableWidget(*table.shape, self)
        for column, name in enumerate(table.columns):
            self.table.setHorizontalHeaderItem(column, _heading(name))
        for row, name in enumerate(table.index):
            self.table.setVerticalHeaderItem(row, _heading(name))
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self._fill(table)
        self.said = QLabel("", self)
        self.said.setWordWrap(True)
        self.said.hide()
        self.menu = PlotMenu(
            self.table,
            "comparison.png",
            table.reset_index,
            lambda: contingency_figure(table, agreement, _look_for(table)),
        )
        self.menu.told.connect(lambda _, text: self._say(text))
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
        self.resize(self._fitting())

    def _fill(self, table: pd.DataFrame) -> None:
        """Write the counts, the cells shaded by their share of the row."""
        counts = table.to_numpy()
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        shade = self.palette().color(QPalette.ColorRole.Highlight)
        for (row, column), count in np.ndenumerate(counts):
            item = QTableWidgetItem(f"{count:,}" if count else "")
            item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            color = QColor(shade)
            color.setAlphaF(float(0.85 * shares[row, column]))
            item.setBackground(color)
            self.table.setItem(row, column, item)
        self.table.resizeColumnsToContents()
        self.table.resizeRowsToContents()

    def _fitting(self) -> QSize:
        """Return a size that shows the whole table, or as much as three quarters of the screen."""
        header, side = self.table.horizontalHeader(), self.table.verticalHeader()
        wide = header.length() + side.sizeHint().width() + 60
        high = side.length() + header.sizeHint().height() + 160
        most = self.screen().availableGeometry().size() * 0.75
        return QSize(max(480, wide), max(320, high)).boundedTo(most)

    def _say(self, text: str) -> None:
        self.said.setText(text)
        self.said.setVisible(bool(text))


def _heading(name: object) -> QTableWidgetItem:
    """Return a header that can be read whole, or elided with the whole name as its tooltip."""
    heading = QTableWidgetItem(fmt.elided(str(name), _HEADING) or "(no name)")
    heading.setToolTip(str(name))
    return heading


def _look_for(table: pd.DataFrame) -> Look:
    """Return a width, in inches, that leaves every column room for its name and counts."""
    return Look(width=min(max(3.4, 1.8 + 0.45 * table.shape[1]), 16.0))
