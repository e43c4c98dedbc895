"""What a search found: its colours, a threshold that selects, and the best places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QSignalBlocker, QSize, Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_cellama.ui import format as fmt
from napari_cellama.ui.widgets.legend import LegendView
from napari_cellama.ui.widgets.rows import REMARK_ROLE, RowDelegate

if TYPE_CHECKING:
    from napari_cellama.ui.painting import Legend
    from napari_cellama.ui.searchable import Search, Spot

_STEPS = 500
#: Where the threshold stands at first: the cells above this share of them all.
_FIRST = 0.95
#: How long the slider rests before the tissue is painted anew.
_PAUSE_MS = 60


class Threshold(QWidget):
    """A slider over the scores; moving it selects the cells that reach it and are shown.

    ``chosen(float)`` says the threshold once the slider rests or the button is pressed.
    """

    chosen = Signal(float)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._sorted = self._shown = np.zeros(0, np.float32)
        self.slider = QSlider(Qt.Orientation.Horizontal, self)
        self.slider.setRange(0, _STEPS)
        self.slider.setPageStep(_STEPS // 20)
        self.slider.setAccessibleName("Threshold")
        self.slider.setToolTip("Select the cells that are at least so similar.")
        self.count = QLabel(self)
        self.button = QPushButton("Select", self)
        self.button.setObjectName("secondary")
        self.button.setToolTip("Make the cells that reach the threshold the selection.")
        self._timer = QTimer(self, singleShot=True, interval=_PAUSE_MS)
        self._timer.timeout.connect(self._choose)
        self.slider.valueChanged.connect(self._on_moved)
        self.button.clicked.connect(self._choose)
        line = QHBoxLayout()
        line.setSpacing(6)
        line.addWidget(self.count, 1)
        line.addWidget(self.button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.slider)
        layout.addLayout(line)

    @property
    def value(self) -> float:
        """The threshold."""
        low, high = float(self._sorted[0]), float(self._sorted[-1])
        return low + (high - low) * self.slider.value() / _STEPS

    def stop(self) -> None:
        """Forget that the slider was moved: its scores are no longer those that are shown."""
        self._timer.stop()

    def show_scores(self, scores: np.ndarray, hidden: np.ndarray) -> None:
        """Show other scores, with the threshold at their 95th percentile; selects nothing."""
        self._timer.stop()
        self._sorted = np.sort(scores[np.isfinite(scores)])
        low, high = float(self._sorted[0]), float(self._sorted[-1])
        first = float(self._sorted[int(_FIRST * (len(self._sorted) - 1))])
        with QSignalBlocker(self.slider):
            self.slider.setValue(round(_STEPS * (first - low) / max(high - low, 1e-9)))
        self.leave_out(scores, hidden)

    def leave_out(self, scores: np.ndarray, hidden: np.ndarray) -> None:
        """Count without the cells that are hidden, because they will not be selected."""
        shown = scores[np.isfinite(scores) & ~hidden]
        self._shown = self._sorted if len(shown) == len(self._sorted) else np.sort(shown)
        self._count()

    def _on_moved(self) -> None:
        self._count()
        self._timer.start()

    def _count(self) -> None:
        reached = len(self._shown) - np.searchsorted(self._shown, np.float32(self.value))
        self.count.setText(f"{fmt.count(int(reached), 'cell')} at {self.value:.2f} or more")

    def _choose(self) -> None:
        self._timer.stop()
        self.chosen.emit(self.value)


class Places(QListWidget):
    """The best places, best first; ``visited(int)`` says which one is to be looked at."""

    visited = Signal(int)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setItemDelegate(RowDelegate(self))
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName("Best places")
        self.setToolTip("Click a place, or press Enter on it, to fly there.")
        self._spots: tuple[Spot, ...] = ()
        self.itemClicked.connect(self._visit)
        self.itemActivated.connect(self._visit)

    def sizeHint(self) -> QSize:
        """Return the height of the rows."""
        rows = max(1, self.count()) * max(20, self.sizeHintForRow(0))
        return QSize(200, rows + 2 * self.frameWidth() + 2)

    def show_places(self, spots: tuple[Spot, ...]) -> None:
        """List what was found."""
        if spots is self._spots:
            return  # of a search of several tissues, which all list the same
        self._spots = spots
        self.clear()
        for number, spot in enumerate(spots):
            item = QListWidgetItem(f"{number + 1}  {spot.name}")
            item.setData(REMARK_ROLE, f"{spot.score:.2f}")
            item.setToolTip(f"{spot.name}; mean similarity {spot.score:.3f}. Click to fly there.")
            self.addItem(item)
        self.setFixedHeight(self.sizeHint().height())

    def _visit(self, item: QListWidgetItem) -> None:
        self.visited.emit(self.row(item))


class FoundView(QWidget):
    """Shows a search's outcome."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._search: Search | None = None
        self._hidden: np.ndarray | None = None
        self.title = self._label("groupTitle")
        self.asked = self._label("muted")
        self.within = self._label("muted")
        self.within.setText("Only the selected cells are coloured; Esc colours all.")
        self.legend = LegendView(self)
        self.threshold = Threshold(self)
        self.places = Places(self)
        places_title = self._label("groupTitle")
        places_title.setText("Best places")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        above = self.title, self.asked, self.within, self.legend, self.threshold, places_title
        for widget in above:
            layout.addWidget(widget)
        layout.addWidget(self.places)
        self.hide()

    def show_search(
        self, search: Search | None, legend: Legend | None, in_part: bool, hidden: np.ndarray
    ) -> None:
        """Show what was found; ``legend`` where the tissue, or a part, is painted by it.

        ``hidden`` are the cells that a threshold will not select.
        """
        self.setVisible(search is not None)
        self.within.setVisible(legend is not None and in_part)
        self.legend.show_legend(legend)
        if search is self._search:
            if search is not None and hidden is not self._hidden:
                self._hidden = hidden
                self.threshold.leave_out(search.found.scores, hidden)
            return
        self.threshold.stop()
        if search is None:
            self._search = None
            return
        self._search, self._hidden = search, hidden
        self.title.setText(search.title)
        self.asked.setText(asked_of(search))
        self.threshold.show_scores(search.found.scores, hidden)
        self.places.show_places(search.spots)

    def _label(self, name: str) -> QLabel:
        label = QLabel(self)
        label.setObjectName(name)
        label.setWordWrap(True)
        label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        return label


def asked_of(search: Search) -> str:
    """Say what the scores are of."""
    asked = search.found.asked
    if not asked:
        tissues = f", in {search.n_tissues} tissues" if search.n_tissues > 1 else ""
        without = "".join(f" Not searched: {text.rstrip('.')}." for text in search.left_out)
        return f"Similarity to the example{tissues}: the larger, the more alike.{without}"
    compared = [f"“{one.sentence}” ({'neighbourhood' if one.around else 'cell'})" for one in asked]
    kind = "Cosine with " if search.found.is_cosine else "Mean z score of the cosines with "
    return kind + "; ".join(dict.fromkeys(compared))


def tab_stops(view: FoundView) -> list[Any]:
    """Return the view's widgets in the order of the Tab key."""
    return [view.threshold.slider, view.threshold.button, view.places]
