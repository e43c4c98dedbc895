"""The table of clusters: two lines a row, and what is selected here is so on the tissue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import (
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QRect,
    QSize,
    QSortFilterProxyModel,
    Qt,
    Signal,
)
from qtpy.QtGui import QAction, QFontMetrics, QPainter
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from napari_cellama.core.labels import made_up_of, same_cells
from napari_cellama.ui.widgets.cluster_model import (
    HEADERS,
    NOTHING,
    SORT_ROLE,
    ClusterModel,
    Column,
)
from napari_cellama.ui.widgets.listen import listen
from napari_cellama.ui.widgets.rows import (
    PALE,
    REMARK_ROLE,
    draw_background,
    draw_swatch,
    text_color,
)

if TYPE_CHECKING:
    from napari_cellama.ui.session import Session


#: Around a row's text: left, top, right, bottom.
_AIR = (4, 3, -6, -3)
_MIDDLE = Qt.TextElideMode.ElideMiddle


class ClusterDelegate(QStyledItemDelegate):
    """Draws the swatch, the name above its neighbours, the number of cells above their share."""

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:
        """Return the room for a line, and for one or two paler ones below it."""
        size = super().sizeHint(option, index)
        lines = 1
        if index.column() == Column.NAME:
            width = option.rect.adjusted(*_AIR).width()
            lines = len(wrapped(index.data(REMARK_ROLE), width, option.fontMetrics))
        size.setHeight((1 + lines) * option.fontMetrics.height() - _AIR[3] + _AIR[1] + 2)
        return size

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Draw one cell of the table."""
        draw_background(self, painter, option, index)
        rect = option.rect.adjusted(*_AIR)
        metrics = QFontMetrics(option.font)
        line = QRect(rect.left(), rect.top(), rect.width(), metrics.height())
        if index.column() == Column.COLOR:
            draw_swatch(painter, line, index.data(Qt.ItemDataRole.DecorationRole))
            return
        if index.column() == Column.NAME:
            below = wrapped(index.data(REMARK_ROLE), line.width(), metrics)
            side = Qt.AlignmentFlag.AlignLeft
        else:
            below = [index.data(REMARK_ROLE)]
            side = Qt.AlignmentFlag.AlignRight
        name = metrics.elidedText(index.data(), _MIDDLE, line.width())
        painter.save()
        painter.setFont(option.font)
        for i, text in enumerate([name, *below]):
            painter.setPen(text_color(option, PALE if i else 255))
            painter.drawText(line.translated(0, i * line.height()), side, text)
        painter.restore()

    def updateEditorGeometry(
        self, editor: QWidget, option: QStyleOptionViewItem, index: QModelIndex
    ) -> None:
        """Let the name's editor have the whole cell."""
        editor.setGeometry(option.rect)


def wrapped(names: Sequence[str], width: int, metrics: QFontMetrics) -> list[str]:
    """Join names with commas, on one line where they fit and on two where they do not."""

    def long(part: Sequence[str]) -> int:
        return metrics.horizontalAdvance(", ".join(part))

    if not names:
        return [NOTHING]
    if len(names) == 1 or long(names) <= width:
        return [_fitted(names, width, metrics)]
    best = min(range(1, len(names)), key=lambda i: max(long(names[:i]) + 4, long(names[i:])))
    comma = metrics.horizontalAdvance(",")
    first = _fitted(names[:best], width - comma, metrics) + ","
    return [first, _fitted(names[best:], width, metrics)]


def _fitted(names: Sequence[str], width: int, metrics: QFontMetrics) -> str:
    """Join names with commas; the long ones are elided so that each can be seen in the width."""
    if metrics.horizontalAdvance(", ".join(names)) <= width:
        return ", ".join(names)
    left = width - (len(names) - 1) * metrics.horizontalAdvance(", ")
    short = {}
    # The shortest first: what it does not need is the longer ones'.
    for i, name in enumerate(sorted(names, key=metrics.horizontalAdvance)):
        room, needed = left // (len(names) - i), metrics.horizontalAdvance(name)
        fits = needed <= room
        short[name] = name if fits else metrics.elidedText(name, _MIDDLE, room)
        left -= needed if fits else room
    return ", ".join(short[name] for name in names)


class ClusterTable(QTableView):
    """The clusters' rows: what is selected here is what is selected on the tissue.

    ``recolor(int)`` asks for another colour for a cluster.
    """

    recolor = Signal(int)

    def __init__(self, session: Session, model: ClusterModel, parent: QWidget) -> None:
        super().__init__(parent)
        self._session = session
        self._clusters = model
        self._following = False
        proxy = QSortFilterProxyModel(self)
        proxy.setSortRole(SORT_ROLE)
        proxy.setSourceModel(model)
        self.setModel(proxy)
        self.setItemDelegate(ClusterDelegate(self))
        self._lay_out()
        self._add_actions()
        self.clicked.connect(self._on_clicked)
        self.selectionModel().selectionChanged.connect(self._on_user_selects)
        listen(self, session.selection_changed, self.follow)
        model.modelReset.connect(self.follow)
        model.modelReset.connect(self.resizeRowsToContents)
        model.dataChanged.connect(lambda *_: self.resizeRowsToContents())

    def _lay_out(self) -> None:
        self.setObjectName("clusters")
        self.setAccessibleName("Clusters")
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.setColumnHidden(Column.NEIGHBORS, True)
        self.verticalHeader().hide()
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        header = self.horizontalHeader()
        header.setMinimumSectionSize(24)
        header.setHighlightSections(False)
        header.setStyleSheet("QHeaderView::section { border: 0; padding: 4px; }")
        header.setSectionResizeMode(Column.CELLS, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(Column.NAME, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(Column.COLOR, QHeaderView.ResizeMode.Fixed)
        header.resizeSection(Column.COLOR, 28)
        # How many lines a row has depends on the width.
        header.sectionResized.connect(lambda *_: self.resizeRowsToContents())
        self.setSortingEnabled(True)
        self.sortByColumn(Column.COLOR, Qt.SortOrder.AscendingOrder)
        self.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked
            | QAbstractItemView.EditTrigger.EditKeyPressed
        )

    def _add_actions(self) -> None:
        """Offer by key and by menu key what the mouse can do."""
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        self._action("Rename\tF2", self._rename_current)
        self._action("Change colour…\tC", self._recolor_current)
        self._action("Show all cells alike\tEsc", self.clearSelection)
        for column in Column:
            title = HEADERS[column][0].lower() or "own order"
            self._action(f"Sort by {title}", lambda column=column: self._sort_by(column))

    def _action(self, text: str, act: Callable[[], Any]) -> None:
        action = QAction(text, self)
        action.triggered.connect(lambda *_: act())
        self.addAction(action)

    def keyPressEvent(self, event: Any) -> None:
        """Let the actions' keys work while the table has the focus."""
        acts = {
            Qt.Key.Key_F2: self._rename_current,
            Qt.Key.Key_C: self._recolor_current,
            Qt.Key.Key_Escape: self.clearSelection,
        }
        if event.modifiers() == Qt.KeyboardModifier.NoModifier and event.key() in acts:
            acts[event.key()]()
        else:
            super().keyPressEvent(event)

    def clusters_in_order(self) -> list[int]:
        """Return the clusters as the rows stand, from top to bottom."""
        proxy = self.model()
        return [self._cluster(proxy.index(row, 0)) for row in range(proxy.rowCount())]

    # ---- what the user does

    def _rename_current(self) -> None:
        self.edit(self.currentIndex().siblingAtColumn(Column.NAME))

    def _recolor_current(self) -> None:
        if self.currentIndex().isValid():
            self.recolor.emit(self._cluster(self.currentIndex()))

    def _sort_by(self, column: Column) -> None:
        """Sort by a column; numbers begin with the largest, and a second time turns it round."""
        header = self.horizontalHeader()
        down = column == Column.CELLS
        if header.sortIndicatorSection() == column:
            down = header.sortIndicatorOrder() == Qt.SortOrder.AscendingOrder
        order = Qt.SortOrder.DescendingOrder if down else Qt.SortOrder.AscendingOrder
        self.sortByColumn(column, order)

    def _on_clicked(self, index: QModelIndex) -> None:
        if index.column() == Column.COLOR:
            self.recolor.emit(self._cluster(index))

    def mousePressEvent(self, event: Any) -> None:
        """Let a click on the one selected row take the highlight away again."""
        index = self.indexAt(event.position().toPoint())
        plain = event.modifiers() == Qt.KeyboardModifier.NoModifier
        left = event.button() == Qt.MouseButton.LeftButton
        again = index.isValid() and self._selected_clusters() == [self._cluster(index)]
        if left and plain and (not index.isValid() or (again and index.column() != Column.COLOR)):
            self.clearSelection()
            return
        super().mousePressEvent(event)

    def mouseDoubleClickEvent(self, event: Any) -> None:
        """Rename: the first of the two clicks may have taken the highlight away."""
        index = self.indexAt(event.position().toPoint())
        if index.isValid() and not self.selectionModel().isSelected(index):
            self.selectRow(index.row())
        super().mouseDoubleClickEvent(event)

    def _on_user_selects(self, *_: Any) -> None:
        if not self._following and (labels := self._session.clusters) is not None:
            self._session.select(labels.mask(*self._selected_clusters()))
            self.follow()  # a cluster without cells cannot stay selected

    # ---- what the session says

    def follow(self, *_: Any) -> None:
        """Select the rows that make up the session's selection; none where it is no rows' sum."""
        wanted, labels = self._rows_of_selection(), self._session.clusters
        chosen = self._selected_clusters()
        if wanted == chosen or (wanted and same_cells(labels, wanted, chosen)):
            return
        proxy, selection = self.model(), QItemSelection()
        for cluster in wanted:
            index = proxy.mapFromSource(self._clusters.index(cluster, 0))
            selection.select(index, index)
        flag = QItemSelectionModel.SelectionFlag
        self._following = True
        try:
            self.selectionModel().select(selection, flag.ClearAndSelect | flag.Rows)
            if wanted:
                first = selection.indexes()[0].siblingAtColumn(Column.NAME)
                self.selectionModel().setCurrentIndex(first, flag.NoUpdate)
                self.scrollTo(first)
        finally:
            self._following = False

    def _rows_of_selection(self) -> list[int]:
        tissue, labels = self._session.active, self._session.clusters
        return [] if labels is None else made_up_of(labels, tissue.selection)

    def _selected_clusters(self) -> list[int]:
        return sorted(self._cluster(index) for index in self.selectionModel().selectedRows())

    def _cluster(self, index: QModelIndex) -> int:
        return self.model().mapToSource(index).row()
