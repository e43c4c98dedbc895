"""The foot of the Niches dock: Run and Cancel, with progress, summary and messages above."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_cellama.core.events import Finished, Progress
from napari_cellama.errors import UserError
from napari_cellama.ui import format as fmt
from napari_cellama.ui.widgets.fidelity import FidelityLine
from napari_cellama.ui.widgets.lines import button
from napari_cellama.ui.widgets.listen import listen
from napari_cellama.ui.widgets.progress import MessageLine, ProgressLine
from napari_cellama.ui.workers import Failed, Stopped

if TYPE_CHECKING:
    from napari_cellama.core.result import NicheResult
    from napari_cellama.recipe import Recipe
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.workers import Job

_NEXT = "Name, divide, merge and colour the niches in the Clusters dock; it opens if it must."
_RUN = "Find the niches of this tissue. What is painted stays until the result is there."


class Foot(QWidget):
    """Runs what the form says and shows how far it is.

    Parameters
    ----------
    session
        Runs, and tells of the run's events.
    recipe
        Returns the recipe as it stands in the form; raises a UserError about what cannot be.
    parent
        The Qt parent.
    """

    def __init__(
        self, session: Session, recipe: Callable[[], Recipe], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._session, self._recipe = session, recipe
        self._started = time.monotonic()
        self.progress = ProgressLine(self)
        self.message = MessageLine(self)
        self.fidelity = FidelityLine(session, self)
        self.run_button = button("Run", self.run, "primary", _RUN)
        self.cancel_button = button("Cancel", self.cancel)
        self.next_button = button("Look at the niches one by one", lambda: None, "link", _NEXT)
        self.question = QLabel("Replace the run at work?", self)
        self.yes_button = button("Replace", self._replace, "primary", "Stop it and run this.")
        self.no_button = button("Keep", self._ask_nothing, "secondary", "Let it go on.")
        self._lay_out()
        listen(self, session.job_started, self._on_started)
        listen(self, session.job_event, self._on_event)
        listen(self, session.message, self.message.add)
        self._ask_nothing()

    @property
    def stops(self) -> list[QWidget]:
        """The controls in the order of the tab key."""
        links = [self.message.more, self.message.close_button, self.message.details]
        links += [self.next_button, self.fidelity.exact_button]
        buttons = [self.run_button, self.cancel_button, self.yes_button, self.no_button]
        return [*links, *buttons]

    def _lay_out(self) -> None:
        self._buttons, self._asking = QWidget(self), QWidget(self)
        for row, widgets in (
            (self._buttons, (self.run_button, self.cancel_button)),
            (self._asking, (self.question, self.yes_button, self.no_button)),
        ):
            line = QHBoxLayout(row)
            line.setContentsMargins(0, 0, 0, 0)
            line.setSpacing(6)
            for widget in widgets:
                line.addWidget(widget, 3 if widget is self.run_button else 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        lines = self.message, self.progress, self.next_button, self.fidelity
        for widget in (*lines, self._buttons, self._asking):
            layout.addWidget(widget)
        layout.setAlignment(self.next_button, Qt.AlignmentFlag.AlignLeft)
        self.next_button.hide()

    # ---- what the user does

    def run(self) -> None:
        """Run, or ask first whether the run at work may be replaced."""
        if self._session.running is not None:
            self._asking.show()
            self._buttons.hide()
            self.no_button.setFocus()
        else:
            self._run_now()

    def cancel(self) -> None:
        """Cancel the run; what was painted stays."""
        self._session.cancel()
        self.progress.begin("Cancelling…")
        self.refresh()

    def _replace(self) -> None:
        self._ask_nothing()
        self._run_now()

    def _run_now(self) -> None:
        self.message.clear()
        try:
            self._session.run(self._recipe())
        except UserError as error:
            self.message.add("error", str(error))

    def _ask_nothing(self) -> None:
        """Put the question away and show what the buttons can do now."""
        self._asking.hide()
        self._buttons.show()
        self.refresh()

    # ---- what is shown

    def refresh(self) -> None:
        """Enable the buttons that can work; the others say why they cannot."""
        why = self._why_not()
        self.run_button.setEnabled(not why)
        self.run_button.setToolTip(why or _RUN)
        job = self._session.running
        why = "No run is on." if job is None else "It stops." if job.token.cancelled else ""
        self.cancel_button.setEnabled(not why)
        self.cancel_button.setToolTip(why or "Stop the run. What is painted stays.")

    def _why_not(self) -> str:
        tissue = self._session.active
        if tissue is None:
            return "Open a tissue first."
        try:
            self._session.need_matrix(tissue)
            self._recipe()
        except UserError as error:
            return str(error)
        return ""

    def _on_started(self, job: Job) -> None:
        if job.slot == "run":
            self._started = time.monotonic()
            self.progress.begin("Starting…")
            self.next_button.hide()
            self.refresh()

    def _on_event(self, job: Job, event: Any) -> None:
        if job.slot != "run":
            return
        if isinstance(event, Progress):
            if not job.token.cancelled:
                self.progress.show_progress(event)
            return
        took = fmt.duration(time.monotonic() - self._started)
        if isinstance(event, Finished):
            self.progress.end(summary(event.result, took))
            self.next_button.show()
        elif isinstance(event, Stopped):
            self.progress.end(f"Cancelled after {took}; what was painted stays.")
        elif isinstance(event, Failed):
            self.progress.end("")
        if self._session.running is None:
            self._ask_nothing()


def summary(result: NicheResult, took: str) -> str:
    """Return e.g. ``"7 niches in 4,839 cells · 1 min 52 s"``."""
    labelled = int((result.labels.codes >= 0).sum())
    left_out = result.n_obs - labelled
    return fmt.joined(
        f"{fmt.count(len(result.labels.categories), 'niche')} in {fmt.count(labelled, 'cell')}",
        f"{left_out:,} left out" if left_out else "",
        took,
    )
