"""The foot of a dock: how far the run is, what came of it, and what the user should know."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_cellama.core.events import Progress
from napari_cellama.ui import format as fmt

#: What the stages are called for people, where their own names are the method's.
_STAGES = {
    "Model": "Starting the language model",
    "Graph": "Finding neighbours",
    "Sentences": "Writing sentences",
    "Context": "Averaging over neighbours",
    "Clustering": "Grouping cells",
}
_WINDOW_S = (
    20.0  #: over how long the rate is taken: long enough not to jump, short enough to follow
)
_SETTLED_S = 1.0  #: before this much time the rate would be a guess
#: Between two looks at how far a stage is. Whatever is drawn anew has the window put together
#: anew, tissue included, which takes the model's processors where there is no GPU.
_EVERY_MS = 500


class Pace:
    """How fast a stage goes, from its progress over the last seconds.

    Parameters
    ----------
    clock
        Returns seconds; exchanged in tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()
        self._stage: str | None = None

    def line(self, event: Progress) -> str:
        """Return e.g. ``"Embedding · 31,204 of 48,310 · 4,210/s · 4 s left"``."""
        per_second = self._rate(event)
        stage = _STAGES.get(event.stage, event.stage)
        if not event.total:
            return fmt.joined(stage, event.note)
        left = (event.total - event.done) / per_second if per_second else None
        return fmt.joined(
            stage,
            f"{event.done:,} of {event.total:,}",
            fmt.rate(per_second) if per_second else "",
            f"{fmt.duration(left)} left" if left else "",
        )

    def _rate(self, event: Progress) -> float | None:
        now = self._clock()
        done = event.done - event.cached
        if event.stage != self._stage or (self._seen and done < self._seen[-1][1]):
            self._stage = event.stage
            self._seen.clear()
        self._seen.append((now, done))
        while now - self._seen[0][0] > _WINDOW_S and len(self._seen) > 2:
            self._seen.popleft()
        then, before = self._seen[0]
        enough = done > before and now - then >= _SETTLED_S
        return (done - before) / (now - then) if enough else None


class ProgressLine(QWidget):
    """A line of text and a thin bar below it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._pace = Pace()
        self._stage, self._next = "", None
        self._pause = QTimer(self, singleShot=True, interval=_EVERY_MS)
        self._pause.timeout.connect(self._show_next)
        self.text = QElidingLabel("", self)
        self.bar = QProgressBar(self)
        self.bar.setObjectName("thin")
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(6)
        self.bar.hide()
        self.note = QElidingLabel("", self)
        self.note.setObjectName("muted")
        self.note.hide()
        self.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self.text, self.bar, self.note):
            layout.addWidget(widget)

    def begin(self, text: str) -> None:
        """Show that something has begun."""
        self._pace = Pace()
        self._stop()
        self._set_text(text)
        self.note.hide()
        self.bar.setRange(0, 0)
        self.bar.show()

    def show_progress(self, event: Progress) -> None:
        """Show a step of a stage: at once if it is the first or none was just shown, or soon."""
        self._next = (event, self._pace.line(event))
        if event.stage != self._stage or not self._pause.isActive():
            self._show_next()

    def _show_next(self) -> None:
        """Show the last step, unless it is shown already."""
        if self._next is None:
            return
        (event, line), self._next = self._next, None
        self._stage = event.stage
        self._pause.start()
        self._set_text(line)
        cached = f"{event.cached:,} from the cache" if event.cached else ""
        self.note.setText(fmt.joined(event.note, cached) if event.total else "")
        self.note.setVisible(bool(self.note.text()))
        # Scaled, because Qt's range ends at 2**31.
        self.bar.setRange(0, 1000 if event.total else 0)
        self.bar.setValue(int(1000 * event.done / event.total) if event.total else 0)

    def end(self, text: str) -> None:
        """Show the one-line summary, or why it ended; no bar."""
        self._stop()
        self._set_text(text)
        self.bar.hide()
        self.note.hide()

    def _stop(self) -> None:
        """Forget what was yet to be shown."""
        self._pause.stop()
        self._stage, self._next = "", None

    def _set_text(self, text: str) -> None:
        self.text.setText(text)
        self.text.setToolTip(text)
        self.setVisible(bool(text))


class MessageLine(QFrame):
    """What the user should know, in one sentence, with the rest one click away."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("message")
        self._warnings: list[str] = []
        self.sentence = QLabel(self)
        self.sentence.setWordWrap(True)
        self.sentence.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.more = _link("Details", "Show what is known about it.", self)
        self.more.setCheckable(True)
        self.close_button = _link("Dismiss", "Put this message away.", self)
        self.details = QPlainTextEdit(self)
        self.details.setReadOnly(True)
        self.details.setFixedHeight(140)
        self.details.setToolTip("Select and copy this into a bug report.")
        links = QHBoxLayout()
        links.setContentsMargins(2, 0, 0, 0)  # so that they begin below the sentence
        links.addWidget(self.more)
        links.addWidget(self.close_button)
        links.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.setSpacing(2)
        layout.addWidget(self.sentence)
        layout.addLayout(links)
        layout.addWidget(self.details)
        self.more.toggled.connect(self.details.setVisible)
        self.close_button.clicked.connect(self.clear)
        self.clear()

    def clear(self) -> None:
        """Show nothing."""
        self._warnings.clear()
        self._level = ""
        self.hide()

    def clear_error(self, sentence: str) -> None:
        """Put away an error, if it is the one shown, that is put right; remarks stay."""
        if self._level == "error" and self.sentence.text() == sentence:
            warnings = list(self._warnings)
            self.clear()
            for warning in warnings:
                self.add("warning", warning)

    def add(self, level: str, sentence: str, details: str = "") -> None:
        """Show a message; warnings are collected, and none hides an error."""
        if level == "warning":
            self._warnings.append(sentence)
            if self._level == "error":
                return
            if len(self._warnings) > 1:
                sentence = f"{len(self._warnings)} remarks on these data: {self._warnings[0]}"
                details = "\n".join(self._warnings)
        self._level = level
        self.sentence.setText(sentence)
        self.details.setPlainText(details)
        self.more.setVisible(bool(details))
        self.more.setChecked(False)
        self.details.hide()
        self.setProperty("level", level)
        self.style().unpolish(self)
        self.style().polish(self)
        self.show()


def _link(text: str, tooltip: str, parent: QWidget) -> QPushButton:
    button = QPushButton(text, parent)
    button.setObjectName("link")
    button.setToolTip(tooltip)
    button.setCursor(Qt.CursorShape.PointingHandCursor)
    button.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
    return button
