"""The table of clusters: two lines a row, and what is selected here is so on the tissue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import (
    QModelIndex,
    QRect,
    QSize,
    Qt,
    QTimer,
    Signal,
)
from qtpy.QtGui import QAction, QFontMetrics, QKeySequence, QPainter
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from napari_cellama.errors import UserError
from napari_cellama.ui.actions import BY_ID, BY_KEY, perform
from napari_cellama.ui.widgets.buttons import SessionAction, assign_menu
from napari_cellama.ui.widgets.cluster_model import (
    DEPTH_ROLE,
    FOLD_ROLE,
    HEADERS,
    NOTHING,
    ClusterModel,
    Column,
)
from napari_cellama.ui.widgets.cluster_tree import ClusterTree
from napari_cellama.ui.widgets.row_selection import RowSelection
from napari_cellama.ui.widgets.rows import (
    PALE,
    REMARK_ROLE,
    draw_background,
    draw_swatch,
    text_color,
)

if TYPE_CHECKING:
    from napari_cellama.ui.session import Session


#: What the table's menu offers of what can be done to the selection.
_MENU = ("subcluster", "merge", "new", "isolate", "hide", "show", "flag", "undo", "redo", "leave")
#: How far the parts of a cluster are indented, in pixels; also the room for the sign that folds.
_STEP = 14
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
            width = _inside(option, index).width()
            lines = len(wrapped(index.data(REMARK_ROLE), width, option.fontMetrics))
        size.setHeight((1 + lines) * option.fontMetrics.height() - _AIR[3] + _AIR[1] + 2)
        return size

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Draw one cell of the table."""
        draw_background(self, painter, option, index)
        rect = _inside(option, index)
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
        if index.column() == Column.NAME and (sign := index.data(FOLD_ROLE)):
            painter.setPen(text_color(option))
            painter.drawText(line.translated(-_STEP, 0), Qt.AlignmentFlag.AlignLeft, sign)
        for i, text in enumerate([name, *below]):
            painter.setPen(text_color(option, PALE if i else 255))
            painter.drawText(line.translated(0, i * line.height()), side, text)
        painter.restore()

    def updateEditorGeometry(
        self, editor: QWidget, option: QStyleOptionViewItem, index: QModelIndex
    ) -> None:
        """Let the name's editor have the whole cell."""
        editor.setGeometry(option.rect)


def _inside(option: QStyleOptionViewItem, index: QModelIndex) -> QRect:
    """Return where a cell's text goes: indented by its depth, and right of the sign that folds."""
    rect = option.rect.adjusted(*_AIR)
    if index.column() == Column.NAME:
        steps = index.data(DEPTH_ROLE) + bool(index.data(FOLD_ROLE))
        rect.adjust(_STEP * steps, 0, 0, 0)
    return rect


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
        self.tree = ClusterTree(model, self)
        # Once more in the next turn: high rows bring the scroll bar, which narrows the names while
        # rows are being measured, and some would keep the height that they had without it.
        self._fit = QTimer(self, singleShot=True, interval=0)
        self._fit.timeout.connect(self.resizeRowsToContents)
        self.setModel(self.tree)
        self.setItemDelegate(ClusterDelegate(self))
        self._lay_out()
        self._add_actions()
        self.clicked.connect(self._on_clicked)
        self._selection = RowSelection(session, self)
        for changed in (model.modelReset, model.dataChanged):
            changed.connect(lambda *_: self._fit_rows())

    def _lay_out(self) -> None:
        self.setObjectName("clusters")
        self.setAccessibleName("Clusters")
        self.setToolTip("Click to select, with Shift or Ctrl several; F2 renames, C recolours.")
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
        header.sectionResized.connect(lambda *_: self._fit_rows())
        self.setSortingEnabled(True)
        self.sortByColumn(Column.COLOR, Qt.SortOrder.AscendingOrder)
        self.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked
            | QAbstractItemView.EditTrigger.EditKeyPressed
        )

    def _add_actions(self) -> None:
        """Offer by key and by menu key what the mouse can do."""
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        self._action("Rename\tF2", self.rename_current)
        self._action("Change colour…\tC", self._recolor_current)
        self._shared = [SessionAction(self._session, BY_ID[name], self) for name in _MENU]
        self.addActions(self._shared)
        self._assign = QAction("Assign selection to", self)
        self._assign.setMenu(assign_menu(self._session, self))
        self.addAction(self._assign)
        self._action("Move up\tAlt+Up", lambda: self._move(-1))
        self._action("Move down\tAlt+Down", lambda: self._move(1))
        self._action("Keep the order shown", self._keep_order)
        self._action("Fold all parts", lambda: self.tree.fold_all(True))
        self._action("Unfold all parts", lambda: self.tree.fold_all(False))
        for column in Column:
            title = HEADERS[column][0].lower() or "own order"
            self._action(f"Sort by {title}", lambda column=column: self._sort_by(column))

    def _action(self, text: str, act: Callable[[], Any]) -> None:
        action = QAction(text, self)
        action.triggered.connect(lambda *_: self._try(act))
        self.addAction(action)

    def _try(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except UserError as error:
            self._session.message.emit("error", str(error), "")

    def contextMenuEvent(self, event: Any) -> None:
        """Enable what can be done now, and show the menu."""
        for action in self._shared:
            action.refresh()
        super().contextMenuEvent(event)

    def keyPressEvent(self, event: Any) -> None:
        """Let the actions' keys work while the table has the focus."""
        alt = event.modifiers() == Qt.KeyboardModifier.AltModifier
        acts = {
            (Qt.Key.Key_F2, False): self.rename_current,
            (Qt.Key.Key_C, False): self._recolor_current,
            (Qt.Key.Key_Left, False): lambda: self._fold_current(True),
            (Qt.Key.Key_Right, False): lambda: self._fold_current(False),
            (Qt.Key.Key_Up, True): lambda: self._move(-1),
            (Qt.Key.Key_Down, True): lambda: self._move(1),
        }
        plain = event.modifiers() in (
            Qt.KeyboardModifier.NoModifier,
            Qt.KeyboardModifier.KeypadModifier,
        )
        keys = QKeySequence(event.keyCombination()).toString()
        if (plain or alt) and (event.key(), alt) in acts:
            self._try(acts[event.key(), alt])
        elif keys in BY_KEY:
            perform(self._session, BY_KEY[keys])
        else:
            super().keyPressEvent(event)

    def clusters_in_order(self) -> list[int]:
        """Return the clusters as the rows stand, from top to bottom; folded parts too."""
        tree, labels = self.tree, self._session.clusters
        shown = [tree.cluster_of(tree.index(row, 0)) for row in range(tree.rowCount())]
        folded = [i for i in shown if labels.is_group[i] and tree.is_folded(i)]
        return [cluster for i in shown for cluster in (labels.family(i) if i in folded else [i])]

    # ---- what the user does

    def rename_current(self) -> None:
        """Open the editor of the current cluster's name."""
        self.edit(self.currentIndex().siblingAtColumn(Column.NAME))

    def _recolor_current(self) -> None:
        if self.currentIndex().isValid():
            self.recolor.emit(self.tree.cluster_of(self.currentIndex()))

    def _fold_current(self, away: bool) -> None:
        if self.currentIndex().isValid():
            self.tree.fold(self.tree.cluster_of(self.currentIndex()), away)

    def _move(self, steps: int) -> None:
        """Move the current cluster in the own order, which is shown from then on."""
        if not self.currentIndex().isValid():
            raise UserError("Select the cluster to move first.")
        cluster = self.tree.cluster_of(self.currentIndex())
        self.sortByColumn(Column.COLOR, Qt.SortOrder.AscendingOrder)
        self._session.editing.move(cluster, steps)

    def _keep_order(self) -> None:
        self._session.editing.keep_order(self.clusters_in_order())
        self.sortByColumn(Column.COLOR, Qt.SortOrder.AscendingOrder)

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
            self.recolor.emit(self.tree.cluster_of(index))

    def mousePressEvent(self, event: Any) -> None:
        """Let a click on the one selected row take the highlight away again."""
        index = self.indexAt(event.position().toPoint())
        if self._on_sign(index, event.position().x()):
            cluster = self.tree.cluster_of(index)
            self.tree.fold(cluster, not self.tree.is_folded(cluster))
            return
        plain = event.modifiers() == Qt.KeyboardModifier.NoModifier
        left = event.button() == Qt.MouseButton.LeftButton
        again = index.isValid() and self._selection.clusters == [self.tree.cluster_of(index)]
        if left and plain and (not index.isValid() or (again and index.column() != Column.COLOR)):
            self.clearSelection()
            return
        super().mousePressEvent(event)

    def _fit_rows(self) -> None:
        self.resizeRowsToContents()
        self._fit.start()

    def _on_sign(self, index: QModelIndex, x: float) -> bool:
        """Whether a place in a row is the sign that folds its parts."""
        if not index.isValid() or index.column() != Column.NAME or not index.data(FOLD_ROLE):
            return False
        left = self.visualRect(index).left() + _AIR[0] + _STEP * index.data(DEPTH_ROLE)
        return left - 2 <= x <= left + _STEP

    def mouseDoubleClickEvent(self, event: Any) -> None:
        """Rename: the first of the two clicks may have taken the highlight away."""
        index = self.indexAt(event.position().toPoint())
        if self._on_sign(index, event.position().x()):
            return
        if index.isValid() and not self.selectionModel().isSelected(index):
            self.selectRow(index.row())
        super().mouseDoubleClickEvent(event)
