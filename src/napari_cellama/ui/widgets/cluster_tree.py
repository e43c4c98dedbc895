"""The clusters' rows as a tree in a table: parts below their parent, which can be folded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QModelIndex, QSortFilterProxyModel, Qt
from qtpy.QtWidgets import QWidget

from napari_cellama.ui.widgets.cluster_model import FOLD_ROLE, SORT_ROLE, ClusterModel

if TYPE_CHECKING:
    from napari_cellama.core.labels import LabelSet


class ClusterTree(QSortFilterProxyModel):
    """Sorts clusters among those beside them, keeps parts below their parent, and folds them."""

    def __init__(self, model: ClusterModel, parent: QWidget) -> None:
        super().__init__(parent)
        #: Label set and name of the clusters whose parts are folded away.
        self._folded: set[tuple[str, str]] = set()
        self.setSortRole(SORT_ROLE)
        self.setSourceModel(model)

    @property
    def _labels(self) -> LabelSet | None:
        return self.sourceModel().shown

    def is_folded(self, cluster: int) -> bool:
        """Whether a cluster's parts are folded away."""
        labels = self._labels
        return (labels.key, labels.names[cluster]) in self._folded

    def fold(self, cluster: int, away: bool) -> None:
        """Fold a cluster's parts away, or show them; nothing happens where it has none."""
        labels = self._labels
        if not labels.is_group[cluster] or away == self.is_folded(cluster):
            return
        self._folded ^= {(labels.key, labels.names[cluster])}
        self.invalidate()

    def fold_all(self, away: bool) -> None:
        """Fold the parts of all clusters away, or show them."""
        for cluster, group in enumerate(self._labels.is_group):
            if group:
                self.fold(cluster, away)

    def cluster_of(self, index: QModelIndex) -> int:
        """Return the cluster that a row of the table shows."""
        return self.mapToSource(index).row()

    def row_of(self, cluster: int) -> int:
        """Return the row that shows a cluster: its own, or that of what it is folded into."""
        labels = self._labels
        for seen in (cluster, *labels.ancestors(cluster)):
            index = self.mapFromSource(self.sourceModel().index(seen, 0))
            if index.isValid():
                return index.row()
        return -1

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Return what the model says, and how a row is folded."""
        if role == FOLD_ROLE:
            cluster, labels = self.cluster_of(index), self._labels
            if labels is None or not labels.is_group[cluster]:
                return ""
            return "▸" if self.is_folded(cluster) else "▾"
        return super().data(index, role)

    def filterAcceptsRow(self, row: int, parent: QModelIndex) -> bool:
        """Return whether no parent of a cluster is folded."""
        labels = self._labels
        if labels is None or row >= len(labels.names):
            return True
        return not any(self.is_folded(cluster) for cluster in labels.ancestors(row))

    def lessThan(self, left: QModelIndex, right: QModelIndex) -> bool:
        """Compare clusters with those beside them; a parent comes before its parts always."""
        labels = self._labels
        if labels is None:
            return super().lessThan(left, right)
        model, column = self.sourceModel(), left.column()
        one, other = (
            [*labels.ancestors(index.row())[::-1], index.row()] for index in (left, right)
        )
        shared = 0
        while shared < min(len(one), len(other)) and one[shared] == other[shared]:
            shared += 1
        if shared in (len(one), len(other)):
            before = len(one) < len(other)
            return before == (self.sortOrder() == Qt.SortOrder.AscendingOrder)
        return super().lessThan(
            model.index(one[shared], column), model.index(other[shared], column)
        )
