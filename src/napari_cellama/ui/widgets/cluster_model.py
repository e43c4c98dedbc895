"""The session's clusters as a Qt model: it reads the session and tells its views what changed."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QWidget

from napari_cellama.errors import UserError
from napari_cellama.ui import format as fmt
from napari_cellama.ui.widgets.listen import listen
from napari_cellama.ui.widgets.rows import REMARK_ROLE

if TYPE_CHECKING:
    from napari_cellama.core.labels import LabelSet
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue
    from napari_cellama.ui.widgets.enrichment import Enrichment


class Column(IntEnum):
    """What the table's columns are."""

    COLOR = 0
    NAME = 1
    CELLS = 2
    NEIGHBORS = 3


#: What each column is called, and its tooltip.
HEADERS = {
    Column.COLOR: ("", "Colour. Click here to put the clusters back into their own order."),
    Column.NAME: (
        "Cluster",
        "The cluster's name, and below it the three cell types most enriched among its cells' "
        "neighbours, or why quality control takes it for an artefact. Click to sort by name.",
    ),
    Column.CELLS: (
        "Cells",
        "How many cells the cluster has, and below it their share of all labelled cells. Click "
        "to sort.",
    ),
    Column.NEIGHBORS: (
        "Neighbours",
        "The three cell types most enriched among its cells' neighbours.",
    ),
}

#: Sorting goes by what a cell is worth, not by how it is written.
SORT_ROLE = REMARK_ROLE + 1
#: How deep a cluster lies in the tree, and whether it is split; "" where it is not.
DEPTH_ROLE, FOLD_ROLE = REMARK_ROLE + 2, REMARK_ROLE + 3
#: Where there are no neighbours to name.
NOTHING = "—"


class ClusterModel(QAbstractTableModel):
    """The session's clusters as rows; holds nothing but what it last told its views.

    ``refused(str)`` says in one sentence why a new name was not taken.
    """

    refused = Signal(str)

    def __init__(self, session: Session, enrichment: Enrichment, parent: QWidget) -> None:
        super().__init__(parent)
        self._session = session
        self._enrichment = enrichment
        self._told: LabelSet | None = None
        self._sizes = np.zeros(0, np.int64)
        listen(self, session.clusters_changed, self.refresh)
        listen(self, session.active_changed, self.refresh)
        listen(self, session.labels_changed, self._on_labels)
        for signal in (session.quality_changed, session.quality.marked):
            listen(self, signal, self._on_remarks)
        enrichment.changed.connect(self._on_remarks)
        self.refresh()

    @property
    def shown(self) -> LabelSet | None:
        """The label set that the rows are of."""
        return self._told

    @property
    def sizes(self) -> np.ndarray:
        """(number of clusters,) int64: how many cells each has."""
        return self._sizes

    def refresh(self, *_: Any) -> None:
        """Tell the views what has changed: texts and colours alone, or the rows as well."""
        told, labels = self._told, self._session.clusters
        if told is labels:
            return
        if told is not None and labels is not None and _same_rows(told, labels):
            self._told = labels
            self._all_changed(Column.COLOR, Column.NEIGHBORS)
            return
        self.beginResetModel()
        self._told = labels
        self._sizes = np.zeros(0, np.int64) if labels is None else labels.totals
        self.endResetModel()

    def _on_labels(self, tissue: Tissue, key: str) -> None:
        if tissue is self._session.active and key == tissue.clusters:
            self.refresh()

    def _on_remarks(self, *_: Any) -> None:
        self._all_changed(Column.NAME, Column.NEIGHBORS)

    def _all_changed(self, first: Column, last: Column) -> None:
        if rows := self.rowCount():
            self.dataChanged.emit(self.index(0, first), self.index(rows - 1, last))

    # ---- what Qt asks

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of clusters."""
        return 0 if parent is not None and parent.isValid() else len(self._sizes)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of columns."""
        return 0 if parent is not None and parent.isValid() else len(Column)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        """Return the columns' titles and tooltips."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        title, tip = HEADERS[Column(section)]
        if role == Qt.ItemDataRole.DisplayRole:
            return title
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(Column(section))
        return tip if role == Qt.ItemDataRole.ToolTipRole else None

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Return that rows can be selected, and names edited."""
        flags = super().flags(index)
        if index.column() == Column.NAME:
            flags |= Qt.ItemFlag.ItemIsEditable
        return flags

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what a cell of the table shows."""
        if not index.isValid():
            return None
        row, column = index.row(), Column(index.column())
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            return self._text(row, column)
        if role == SORT_ROLE:
            return self._worth(row, column)
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._tip(row, column)
        if role == Qt.ItemDataRole.DecorationRole and column == Column.COLOR:
            return QColor(self._told.colors[row])
        if role == REMARK_ROLE and column == Column.CELLS:
            return self._share(row)
        if role == REMARK_ROLE and column == Column.NAME:
            return self._below(row)
        if role == DEPTH_ROLE:
            return len(self._told.ancestors(row))
        return None

    def setData(self, index: QModelIndex, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Rename a cluster; a name that cannot be taken is refused in one sentence."""
        if role != Qt.ItemDataRole.EditRole or index.column() != Column.NAME:
            return False
        name = str(value).strip()
        if name == self._told.names[index.row()]:
            return False
        try:
            self._session.editing.rename(index.row(), name)
        except UserError as error:
            self.refused.emit(str(error))
            return False
        return True

    # ---- one cell

    def neighbors(self, row: int) -> list[str]:
        """Return the cell types most enriched among a cluster's neighbours."""
        return [name for name, _ in self._enrichment.top(row)]

    def fault(self, row: int) -> str:
        """Return what explains a cluster other than biology, in words; "" where nothing does."""
        return self._session.quality.artefacts(self._session.active).get(self._told.names[row], "")

    def _below(self, row: int) -> list[str]:
        """Return what the line below a name lists: its fault, parts' number, or neighbours."""
        if fault := self.fault(row):
            # "63% of its 1,203 cells: blurred" takes two lines, as long lists do.
            return f"Artefact? {fault}".split(": ", 1)
        if self._told.is_group[row]:
            return [fmt.count(len(self._told.parts(row)), "part")]
        return self.neighbors(row)

    def _share(self, row: int) -> str:
        return f"{self._sizes[row] / max(1, self._told.sizes.sum()):.1%}"

    def _text(self, row: int, column: Column) -> str:
        return {
            Column.COLOR: lambda: "",
            Column.NAME: lambda: self._told.names[row],
            Column.CELLS: lambda: f"{self._sizes[row]:,}",
            Column.NEIGHBORS: lambda: ", ".join(self.neighbors(row)) or NOTHING,
        }[column]()

    def _worth(self, row: int, column: Column) -> Any:
        if column == Column.CELLS:
            return int(self._sizes[row])
        if column == Column.COLOR:
            return row
        # "niche 10" comes after "niche 9".
        text = self._text(row, column).casefold()
        return re.sub(r"\d+", lambda digits: digits.group().zfill(12), text)

    def _tip(self, row: int, column: Column) -> str:
        name = self._told.names[row]
        if column == Column.COLOR:
            return f"{name}: click, or press C, to choose another colour."
        if column == Column.NAME:
            fault = self.fault(row)
            mark = f"Probably an artefact: {fault}.\n" if fault else ""
            tip = self._enrichment.tip(row)
            return f"{name}\n{mark}{tip}\nDouble click, or press F2, to rename."
        return (
            f"{name}: {self._sizes[row]:,} of {self._told.sizes.sum():,} labelled cells "
            f"({self._share(row)})"
        )


def _alignment(column: Column) -> Qt.AlignmentFlag:
    right = column == Column.CELLS
    side = Qt.AlignmentFlag.AlignRight if right else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter


def _same_rows(one: LabelSet, other: LabelSet) -> bool:
    """Whether the same rows are shown of both: what is folded is known by label set and name."""
    return (
        one.key == other.key
        and one.codes is other.codes
        and one.parents == other.parents
        and [name for name, group in zip(one.names, one.is_group, strict=True) if group]
        == [name for name, group in zip(other.names, other.is_group, strict=True) if group]
    )
