"""Questions that a dock asks off the main thread once its user has paused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer

from napari_cellama.ui.workers import Ended, Stopped

if TYPE_CHECKING:
    from napari_cellama.core.events import CancelToken
    from napari_cellama.ui.workers import Job, Jobs

PAUSE_MS = 120


class Inquiry(QObject):
    """Asks one question at a time; only the answer to the latest one counts.

    Parameters
    ----------
    jobs
        The session's jobs.
    slot
        The job slot, e.g. ``"preview"``.
    on_answer
        Called on the main thread with the answer, or with workers.Failed.
    parent
        The widget that asks; its end is the inquiry's.
    after
        The slot of a job that somebody waits for more; it is not asked while that is at work.
    """

    def __init__(
        self,
        jobs: Jobs,
        slot: str,
        on_answer: Callable[[Any], None],
        parent: QObject,
        after: str | None = None,
    ) -> None:
        super().__init__(parent)
        self._jobs, self._slot, self._on_answer = jobs, slot, on_answer
        self._after = after
        self._question: Callable[[CancelToken], Any] | None = None
        self._timer = QTimer(self, singleShot=True, interval=PAUSE_MS)
        self._timer.timeout.connect(self._ask_now)

    def ask(self, question: Callable[[CancelToken], Any]) -> None:
        """Ask after a pause in which nothing else is asked; the question runs in a thread."""
        self._question = question
        self._timer.start()

    def drop(self) -> None:
        """Forget the question; an answer that is on its way does not count."""
        self._timer.stop()
        self._question = None
        self._jobs.cancel(self._slot)

    def _ask_now(self) -> None:
        if self._after is not None and self._jobs.current(self._after) is not None:
            self._timer.start()
            return
        question = self._question

        def events(token: CancelToken) -> Iterator[Any]:
            yield question(token)

        self._jobs.start(self._slot, f"Looking up {self._slot}", events, self._on_event)

    def _on_event(self, job: Job, event: Any) -> None:
        if not isinstance(event, Stopped | Ended) and not job.token.cancelled:
            self._on_answer(event)
