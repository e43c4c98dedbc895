"""What can be done to the selection, as buttons above the table of clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_cellama.core.events import Progress
from napari_cellama.recipe import AUTO
from napari_cellama.ui.actions import BY_ID
from napari_cellama.ui.dividing import SLOT
from napari_cellama.ui.selection import HOWS
from napari_cellama.ui.widgets.buttons import ActionButton, assign_menu
from napari_cellama.ui.widgets.form import WheelGuard
from napari_cellama.ui.widgets.listen import listen
from napari_cellama.ui.widgets.progress import ProgressLine
from napari_cellama.ui.workers import Ended, Failed, Stopped

if TYPE_CHECKING:
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.workers import Job

_HOWS = {
    "replace": ("Replace", "What is drawn around becomes the selection."),
    "add": ("Add", "What is drawn around is added to the selection (or hold Shift)."),
    "subtract": ("Subtract", "What is drawn around is taken from the selection (or hold Ctrl)."),
    "intersect": ("Intersect", "Only what is in both stays selected (or hold Shift and Ctrl)."),
}
_METHODS = {"kmeans": "k-means", "leiden": "Leiden", "gmm": "Gaussian mixture"}


class ClusterTools(QWidget):
    """Undo, lasso, subcluster and the other actions on the selection.

    Parameters
    ----------
    session
        Whose selection it is.
    parent
        The Qt parent.
    """

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self._session = session
        self.buttons = {
            name: ActionButton(session, BY_ID[name], self)
            for name in ("undo", "redo", "lasso", "rectangle", "merge", "new", "isolate", "hide")
        }
        self.buttons["new"].setText("New")
        for name in ("undo", "redo"):  # they stand beside the dock's title
            self.buttons[name].setObjectName("link")
        for tool in ("lasso", "rectangle"):
            self.buttons[tool].setCheckable(True)
            self.buttons[tool].refresh()
        self.how = self._make_how()
        self.assign_button = QPushButton("Assign", self)
        self.assign_button.setObjectName("menu")
        self.assign_button.setMenu(assign_menu(session, self.assign_button))
        self.division = Division(session, self)
        self._lay_out()
        listen(self, session.tool_changed, self._on_tool)
        for signal in (session.active_changed, session.selection_changed, session.clusters_changed):
            listen(self, signal, self._on_selection)
        self._on_selection()

    @property
    def stops(self) -> list[QWidget]:
        """The controls in the order of the tab key."""
        first = [self.buttons[name] for name in ("undo", "redo", "lasso", "rectangle")]
        last = [self.buttons[name] for name in ("isolate", "hide")]
        edits = [self.buttons["merge"], self.buttons["new"], self.assign_button]
        return [*first, self.how, *self.division.stops, *edits, *last]

    def _make_how(self) -> QComboBox:
        how = QComboBox(self)
        for name in HOWS:
            how.addItem(_HOWS[name][0])
        how.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        how.setMinimumContentsLength(8)
        how.setAccessibleName("What becomes of the selection")
        how.activated.connect(lambda row: self._session.take_tool(self._session.tool, HOWS[row]))
        self._guard = WheelGuard(self)
        self._guard.watch(how)
        how.setToolTip(_HOWS["replace"][1])
        return how

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        edits = [self.buttons[name] for name in ("merge", "new", "isolate", "hide")]
        edits.insert(2, self.assign_button)
        choosing = [self.buttons["lasso"], self.buttons["rectangle"], self.how]
        for widgets in (choosing, [self.division], edits):
            row = QHBoxLayout()
            row.setSpacing(4)
            for widget in widgets:
                row.addWidget(widget, 1)
            layout.addLayout(row)

    def _on_tool(self) -> None:
        with QSignalBlocker(self.how):
            self.how.setCurrentIndex(HOWS.index(self._session.how))
        self.how.setToolTip(_HOWS[self._session.how][1])

    def _on_selection(self, *_: Any) -> None:
        why = BY_ID["new"].why_not(self._session)
        self.assign_button.setEnabled(not why)
        self.assign_button.setToolTip(why or "Put the selected cells into one of the clusters.")
        is_open = self._session.active is not None
        self.how.setEnabled(is_open)
        self.how.setToolTip(_HOWS[self._session.how][1] if is_open else "Open a tissue first.")


class Division(QWidget):
    """Subcluster this: how many, by which method and seed, and how far it is.

    Parameters
    ----------
    session
        Keeps the choices and runs the job.
    parent
        The Qt parent.
    """

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self._session = session
        self.button = ActionButton(session, BY_ID["subcluster"], self, "Subcluster this")
        self.cancel_button = QPushButton("Cancel", self)
        self.cancel_button.setObjectName("secondary")
        self.cancel_button.setToolTip("Stop dividing; the clusters stay as they are.")
        self.cancel_button.clicked.connect(session.dividing.cancel)
        self.number = self._spin(1, 100, "Into how many parts; auto takes the largest number that "
                                 "is found again reliably.")  # fmt: skip
        self.number.setSpecialValueText("auto")
        self.method = QComboBox(self)
        self.method.addItems(list(_METHODS.values()))
        self.method.setToolTip("How the parts are found; k-means is the vote of many runs.")
        self.seed = self._spin(0, 9999, "The random seed; the same seed gives the same parts.")
        self.seed.setPrefix("seed ")
        self.method.activated.connect(self._on_choice)
        self.options = QWidget(self)
        self.more = QPushButton("More", self)
        self.more.setObjectName("link")
        self.more.setCheckable(True)
        self.more.setToolTip("Choose how the parts are found, and the random seed.")
        self.more.toggled.connect(self.options.setVisible)
        self.progress = ProgressLine(self)
        self._guard = WheelGuard(self)
        for widget in (self.number, self.method, self.seed):
            self._guard.watch(widget)
        self._lay_out()
        listen(self, session.job_started, self._on_started)
        listen(self, session.job_event, self._on_event)
        self._show_job(False)

    @property
    def stops(self) -> list[QWidget]:
        """The controls in the order of the tab key."""
        return [self.button, self.cancel_button, self.number, self.more, self.method, self.seed]

    def _spin(self, low: int, high: int, tip: str) -> QSpinBox:
        spin = QSpinBox(self)
        spin.setRange(low, high)
        spin.setToolTip(tip)
        spin.valueChanged.connect(self._on_choice)
        return spin

    def _lay_out(self) -> None:
        line, options = QHBoxLayout(), QHBoxLayout()
        for row, widgets in (
            (line, ((self.button, 3), (self.cancel_button, 3), (self.number, 2))),
            (options, ((self.method, 3), (self.seed, 2))),
        ):
            row.setSpacing(4)
            row.setContentsMargins(0, 0, 0, 0)
            for widget, stretch in widgets:
                row.addWidget(widget, stretch)
        line.addWidget(self.more)
        self.options.setLayout(options)
        self.options.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(line)
        layout.addWidget(self.options)
        layout.addWidget(self.progress)

    def _on_choice(self, *_: Any) -> None:
        number = self.number.value()
        dividing = self._session.dividing
        dividing.recipe = dividing.recipe.replace(
            n_clusters=AUTO if number == 1 else number,
            clustering=list(_METHODS)[self.method.currentIndex()],
            seed=self.seed.value(),
        )

    def _show_job(self, on: bool) -> None:
        self.cancel_button.setVisible(on)
        self.button.setVisible(not on)

    def _on_started(self, job: Job) -> None:
        if job.slot == SLOT:
            self.progress.begin("Subclustering…")
            self._show_job(True)

    def _on_event(self, job: Job, event: Any) -> None:
        if job.slot != SLOT:
            return
        if isinstance(event, Progress):
            self.progress.show_progress(event)
        elif isinstance(event, Ended | Stopped | Failed):
            self.progress.end("")
            self._show_job(False)
