"""The foot of the QC dock: Measure and Cancel, with the progress above."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cellama.core.events import Notice, Progress
from napari_cellama.ui.quality import SLOT
from napari_cellama.ui.widgets.lines import button, line
from napari_cellama.ui.widgets.listen import listen
from napari_cellama.ui.widgets.progress import MessageLine, ProgressLine
from napari_cellama.ui.workers import Failed, Job, Stopped

if TYPE_CHECKING:
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.widgets.landmarks import Attempt


class Measuring(QWidget):
    """Measures the active tissue and shows how far it is.

    Parameters
    ----------
    session
        Measures, and tells of it.
    attempt
        Does what the user asks for, and says so where that cannot be.
    message
        Where notices and errors are shown.
    parent
        The Qt parent.
    """

    def __init__(
        self, session: Session, attempt: Attempt, message: MessageLine, parent: QWidget
    ) -> None:
        super().__init__(parent)
        self._session, self._quality = session, session.quality
        self._message = message
        self.progress = ProgressLine(self)
        self.measure_button = button("Measure", lambda: attempt(self._quality.measure), "primary")
        self.cancel_button = button("Cancel", self._quality.cancel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self.progress)
        layout.addLayout(line(self.measure_button, self.cancel_button, first=3))
        listen(self, self._quality.told, self._on_told)

    @property
    def stops(self) -> list[QWidget]:
        """What the tab key stops at, from the left to the right."""
        return [self.measure_button, self.cancel_button]

    def refresh(self) -> None:
        """Enable the buttons that can work; the others say why they cannot."""
        why, job = self._quality.why_not(), self._session.jobs.current(SLOT)
        tissue = self._session.active
        first = tissue is None or tissue.quality is None
        self.measure_button.setEnabled(not why and job is None)
        self.measure_button.setText("Measure" if first else "Measure again")
        tip = "Measure counts, genes, room and the pixels around every cell."
        self.measure_button.setToolTip(why or ("It is measuring." if job else tip))
        stops = job is not None and job.token.cancelled
        self.cancel_button.setEnabled(job is not None and not stops)
        self.cancel_button.setToolTip(
            "It stops." if stops else "Stop measuring." if job else "Nothing is being measured."
        )

    def _on_told(self, job: Job, event: Any) -> None:
        if event is None:
            self.progress.begin("Preparing…")
        elif isinstance(event, Progress):
            self.progress.show_progress(event)
        elif isinstance(event, Notice):
            self._message.add("warning", event.text)
        else:
            self.progress.end("Cancelled." if isinstance(event, Stopped) else "")
            if isinstance(event, Failed):
                self._message.add("error", event.sentence, event.details)
        self.refresh()
