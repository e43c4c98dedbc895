"""Pictures of cells, worked through with keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QAbstractListModel, QModelIndex, QPoint, QRect, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QKeyEvent, QPainter, QPen, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QListView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from napari_cellama.ui.workers import Ended, Failed

if TYPE_CHECKING:
    from napari_cellama.core.events import CancelToken
    from napari_cellama.ui.album import Cut
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.workers import Job

SLOT = "gallery"
#: A picture's side on the screen: four fit beside each other in a panel of its usual width.
SIDE = 86
#: How many pictures, and of how many seconds, come from the job at a time.
_BATCH, _SOON_S = 9, 0.04
_GAP = 4
_FAIL, _PASS = QColor("#d62728"), QColor("#2ca02c")
VERDICT_ROLE = int(Qt.ItemDataRole.UserRole)


class _Wishes:
    """Which cells are to be cut, the first first; a job takes what is there at the time."""

    def __init__(self) -> None:
        self.cells: list[int] = []
        self.tried: set[int] = set()

    def next(self) -> int | None:
        """Return the first that was not tried yet."""
        return next((cell for cell in self.cells if cell not in self.tried), None)

    def taken(self, token: CancelToken) -> Iterator[int]:
        """Yield one after the other, as they are wished for at the time."""
        while (cell := self.next()) is not None:
            token.check()
            self.tried.add(cell)
            yield cell


class CropModel(QAbstractListModel):
    """Some cells and their pictures; those that are seen are cut first, off the main thread."""

    failed = Signal(str, str)

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self._session = session
        self._cut: Cut | None = None
        self._verdicts: dict[int, str] = {}
        self._tips: Callable[[int], str] = str
        self.cells = np.zeros(0, np.int64)
        self.pictures: dict[int, QPixmap] = {}
        self._wishes = _Wishes()

    def show_cells(self, cells: np.ndarray, cut: Cut | None, tip_of: Callable[[int], str]) -> None:
        """Show other cells, none of whose pictures is cut yet."""
        self.beginResetModel()
        self.cells, self._cut, self._tips = cells, cut, tip_of
        self.pictures, self._wishes = {}, _Wishes()
        self._session.jobs.cancel(SLOT)
        self.endResetModel()

    def show_verdicts(self, verdicts: dict[int, str]) -> None:
        """Mark the cells that a hand has judged: a reason, or "" for one that is good."""
        self._verdicts = verdicts
        if self.rowCount():
            self.dataChanged.emit(self.index(0), self.index(self.rowCount() - 1))

    def cut(self, rows: Sequence[int]) -> None:
        """Cut the pictures of rows that have none yet, in that order; older wishes are dropped.

        A job at work takes the new wishes up: were it stopped at every turn of the wheel, nothing
        would come as long as somebody scrolls.
        """
        cells = (int(self.cells[row]) for row in rows)
        self._wishes.cells = [cell for cell in cells if cell not in self.pictures]
        job = self._session.jobs.current(SLOT)
        wanted = self._cut is not None and self._wishes.next() is not None
        if wanted and (job is None or job.token.cancelled):
            self._start(self._cut, self._wishes)

    def _start(self, cut: Cut, wishes: _Wishes) -> None:
        def events(token: CancelToken) -> Iterator[Any]:
            together, since = [], perf_counter()
            for made in cut(wishes.taken(token)):
                together.append(made)
                if len(together) == _BATCH or perf_counter() - since > _SOON_S:
                    yield together
                    together, since = [], perf_counter()
            yield together

        def on_event(job: Job, event: Any) -> None:
            self._on_event(event)
            more = wishes is self._wishes and wishes.next() is not None
            if isinstance(event, Ended) and more:
                self._start(cut, wishes)  # what was wished for just as the job ended

        self._session.jobs.start(SLOT, "Cutting pictures", events, on_event)

    def _on_event(self, event: Any) -> None:
        if isinstance(event, list):
            place = {int(cell): row for row, cell in enumerate(self.cells)}
            for cell, picture in event:
                if cell in place:
                    self.pictures[cell] = QPixmap.fromImage(picture)
                    index = self.index(place[cell])
                    self.dataChanged.emit(index, index)
        elif isinstance(event, Failed):
            self.failed.emit(event.sentence, event.details)

    # ---- what Qt asks

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of cells."""
        return 0 if parent is not None and parent.isValid() else len(self.cells)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return a cell's picture, verdict or description."""
        if not index.isValid():
            return None
        cell = int(self.cells[index.row()])
        if role == Qt.ItemDataRole.DecorationRole:
            return self.pictures.get(cell)
        if role == VERDICT_ROLE:
            return self._verdicts.get(cell)
        if role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole):
            return self._tips(cell)
        return None


class _CropDelegate(QStyledItemDelegate):
    """Draws a picture, framed in red or green where a hand has judged its cell."""

    #: How wide the columns are; never less than a picture and its gap.
    column = SIDE + _GAP

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:
        """Return the same room for every picture, so that long galleries stay quick."""
        return QSize(self.column, SIDE + _GAP)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Draw one picture."""
        square = QRect(0, 0, SIDE, SIDE)
        square.moveCenter(option.rect.center())
        picture = index.data(Qt.ItemDataRole.DecorationRole)
        painter.save()
        if picture is None:
            painter.fillRect(square, QColor(128, 128, 128, 60))
        else:
            painter.drawPixmap(square, picture)
        verdict = index.data(VERDICT_ROLE)
        if verdict is not None:
            painter.setPen(QPen(_FAIL if verdict else _PASS, 4))
            painter.drawRect(square.adjusted(2, 2, -2, -2))
        if option.state & QStyle.StateFlag.State_Selected:
            for color, width in ((Qt.GlobalColor.black, 4), (Qt.GlobalColor.white, 2)):
                painter.setPen(QPen(color, width))  # dark around light, seen on any picture
                painter.drawRect(square.adjusted(1, 1, -1, -1))
        painter.restore()


class Gallery(QListView):
    """Pictures in rows; ``judged(bool)`` accepts (True) or flags the current cell.

    Keys: A accepts, F flags, N goes to the next, Return shows the cell on the tissue.
    """

    judged = Signal(bool)
    visited = Signal(int)
    current_changed = Signal()

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self.crops = CropModel(session, self)
        self.setModel(self.crops)
        self._delegate = _CropDelegate(self)
        self.setItemDelegate(self._delegate)
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setMovement(QListView.Movement.Static)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setUniformItemSizes(True)
        self.setSpacing(0)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFixedHeight(3 * (SIDE + _GAP) + 6)
        self.setAccessibleName("Pictures of cells")
        self._seen = QTimer(self, singleShot=True, interval=20)
        self._seen.timeout.connect(self._cut_seen)
        self.verticalScrollBar().valueChanged.connect(lambda *_: self._seen.start())
        self.crops.modelReset.connect(self._seen.start)
        self.doubleClicked.connect(lambda index: self._visit())
        self.selectionModel().currentChanged.connect(lambda *_: self.current_changed.emit())

    @property
    def cell(self) -> int | None:
        """The current cell."""
        row = self.currentIndex().row()
        return int(self.crops.cells[row]) if 0 <= row < len(self.crops.cells) else None

    def next(self) -> None:
        """Go to the next cell."""
        row = min(self.currentIndex().row() + 1, self.crops.rowCount() - 1)
        self.setCurrentIndex(self.crops.index(row))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Accept, flag, go on, or show on the tissue."""
        acts = {
            Qt.Key.Key_A: lambda: self.judged.emit(True),
            Qt.Key.Key_F: lambda: self.judged.emit(False),
            Qt.Key.Key_N: self.next,
            Qt.Key.Key_Return: self._visit,
            Qt.Key.Key_Enter: self._visit,
        }
        act = acts.get(Qt.Key(event.key()))
        if act is None or event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier:
            super().keyPressEvent(event)
        else:
            act()

    def resizeEvent(self, event: Any) -> None:
        """Spread the columns over the new width, and cut what has come into sight."""
        # Qt leaves room for the bar whether it is there or not, and one pixel at the end.
        bar = self.style().pixelMetric(QStyle.PixelMetric.PM_ScrollBarExtent, None, self)
        width = self.maximumViewportSize().width() - bar - 1
        self._delegate.column = width // max(1, width // (SIDE + _GAP))
        super().resizeEvent(event)
        self._seen.start()

    def _visit(self) -> None:
        if self.cell is not None:
            self.visited.emit(self.cell)

    def _cut_seen(self) -> None:
        """Cut the pictures from the first in sight on, then those before it."""
        first, n = max(0, self.indexAt(QPoint(6, 6)).row()), self.crops.rowCount()
        self.crops.cut([*range(first, n), *range(first)])
