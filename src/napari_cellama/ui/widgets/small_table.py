"""A table of a few rows in a dock: as high as its rows, sorted by any column."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

#: How many rows are seen without scrolling.
ROWS = 8


class SmallTable(QTableWidget):
    """Shows rows of a name and numbers.

    Parameters
    ----------
    headers
        What each column is, and its tooltip.
    name
        What screen readers call the table.
    parent
        The Qt parent.
    """

    def __init__(self, headers: Sequence[tuple[str, str]], name: str, parent: QWidget) -> None:
        super().__init__(0, len(headers), parent)
        self.setHorizontalHeaderLabels([header for header, _ in headers])
        for column, (_, tip) in enumerate(headers):
            head = self.horizontalHeaderItem(column)
            head.setToolTip(tip)
            # Over its column: the name's at the left, the numbers' at the right.
            side = Qt.AlignmentFlag.AlignRight if column else Qt.AlignmentFlag.AlignLeft
            head.setTextAlignment(side | Qt.AlignmentFlag.AlignVCenter)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 8)
        self.setShowGrid(False)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setTabKeyNavigation(False)
        self.setAccessibleName(name)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)

    def show_rows(self, rows: Sequence[Sequence[tuple[str, float]]], tips: Sequence[str]) -> None:
        """Show other rows, in this order until a header is clicked.

        Parameters
        ----------
        rows
            The text of each cell, and the number that it is sorted by (NaN: by its text).
        tips
            Each row's tooltip.
        """
        self.setSortingEnabled(False)
        self.setRowCount(len(rows))
        for row, (cells, tip) in enumerate(zip(rows, tips, strict=True)):
            for column, (text, number) in enumerate(cells):
                item = _Cell(text, number)
                if column:
                    side = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    item.setTextAlignment(side)
                item.setToolTip(tip)
                self.setItem(row, column, item)
        self.horizontalHeader().setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.setSortingEnabled(True)
        head = self.horizontalHeader().sizeHint().height()
        self.setFixedHeight(head + min(ROWS, len(rows)) * self.rowHeight(0) + 4)


class _Cell(QTableWidgetItem):
    """A cell that is sorted by a number, or by its text."""

    def __init__(self, text: str, number: float) -> None:
        super().__init__(text)
        self._number = number

    def __lt__(self, other: QTableWidgetItem) -> bool:
        if math.isnan(self._number) and math.isnan(other._number):
            return self.text().casefold() < other.text().casefold()
        return math.isnan(self._number) or self._number < other._number
