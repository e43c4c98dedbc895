"""Keeps the rows that are selected in the table of clusters and the cells that are alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QItemSelection, QItemSelectionModel, QObject

from napari_cellama.core.labels import same_cells
from napari_cellama.ui.actions import selected_clusters
from napari_cellama.ui.widgets.cluster_model import Column
from napari_cellama.ui.widgets.listen import listen

if TYPE_CHECKING:
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.widgets.cluster_table import ClusterTable


class RowSelection(QObject):
    """Selects the cells of the rows that the user selects, and the rows of selected cells.

    Parameters
    ----------
    session
        Holds the selection.
    table
        Shows it; it has its model already.
    """

    def __init__(self, session: Session, table: ClusterTable) -> None:
        super().__init__(table)
        self._session, self._table = session, table
        self._following = False
        table.selectionModel().selectionChanged.connect(self._on_user_selects)
        listen(self, session.selection_changed, self.follow)
        table.tree.sourceModel().modelReset.connect(self.follow)

    @property
    def clusters(self) -> list[int]:
        """The clusters whose rows are selected."""
        rows = self._table.selectionModel().selectedRows()
        return sorted(self._table.tree.cluster_of(index) for index in rows)

    def _on_user_selects(self, *_: Any) -> None:
        if not self._following and (labels := self._session.clusters) is not None:
            self._session.select(labels.mask(*self.clusters))
            self.follow()  # a cluster without cells cannot stay selected

    def follow(self, *_: Any) -> None:
        """Select the rows that make up the session's selection; none where it is no rows' sum."""
        wanted, labels = selected_clusters(self._session), self._session.clusters
        chosen = self.clusters
        if wanted == chosen or (wanted and same_cells(labels, wanted, chosen)):
            return
        tree, selection = self._table.tree, QItemSelection()
        for cluster in wanted:
            if (row := tree.row_of(cluster)) >= 0:
                selection.select(tree.index(row, 0), tree.index(row, 0))
        flag = QItemSelectionModel.SelectionFlag
        self._following = True
        try:
            model = self._table.selectionModel()
            model.select(selection, flag.ClearAndSelect | flag.Rows)
            if selection.indexes():
                first = selection.indexes()[0].siblingAtColumn(Column.NAME)
                model.setCurrentIndex(first, flag.NoUpdate)
                self._table.scrollTo(first)
        finally:
            self._following = False
