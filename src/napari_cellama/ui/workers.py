"""Runs generators off the main thread and hands their events to it.

Stands on napari's worker (so that napari shows it as a running task and asks before closing),
with a loop of its own: superqt's takes any ``RuntimeError``, so also ``torch.OutOfMemoryError``,
for a deleted widget and drops it, and never closes the generator.
"""

from __future__ import annotations

import gc
import itertools
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from napari.qt.threading import GeneratorWorker, create_worker

from napari_cellama.core.embedding import ModelError
from napari_cellama.core.events import CancelToken
from napari_cellama.errors import Cancelled, UserError


@dataclass(frozen=True)
class Failed:
    """A job's last event when it could not go on: one sentence, and the traceback behind it."""

    sentence: str
    details: str = ""


@dataclass(frozen=True)
class Stopped:
    """A job's last event when the user cancelled it."""


@dataclass(frozen=True)
class Ended:
    """A job's last event when it went through."""


_ids = itertools.count(1)


@dataclass(eq=False)
class Job:
    """A generator at work. Its events count only while it is its slot's current job."""

    slot: str
    title: str
    token: CancelToken = field(default_factory=CancelToken)
    id: int = field(default_factory=lambda: next(_ids))
    #: When it began, by ``time.monotonic``.
    started: float = field(default_factory=time.monotonic)


class JobWorker(GeneratorWorker):
    """Iterates a generator in a thread: reports failures as events and closes it there."""

    def __init__(
        self, func: Callable[[CancelToken], Iterator[Any]], token: CancelToken, **kwargs: Any
    ) -> None:
        super().__init__(func, token, **kwargs)
        self._token = token

    def quit(self) -> None:
        """Cancel through the token; napari calls this when the window closes."""
        self._token.cancel()

    def work(self) -> None:
        """Run the generator to its end, whatever that is."""
        # A full garbage collection holds the interpreter's lock while it looks at every object
        # there is, 0.2 s in a window with napari loaded; now it looks at the job's own only.
        gc.freeze()
        try:
            last = self._last_event()
        finally:
            gc.unfreeze()
        # The window, and with it the signals, may be gone by the time an event comes.
        with suppress(RuntimeError):
            self.yielded.emit(last)

    def _last_event(self) -> Failed | Stopped | Ended:
        try:
            for event in self._gen:
                with suppress(RuntimeError):
                    self.yielded.emit(event)
        except Cancelled:
            return Stopped()
        except UserError as error:
            return Failed(str(error))
        except Exception as error:
            return Failed(sentence_of(error), getattr(error, "details", "") or _trace(error))
        finally:
            self._gen.close()
        return Ended()


def sentence_of(error: BaseException) -> str:
    """Say in one sentence what went wrong."""
    if isinstance(error, ModelError):
        return str(error)
    name = type(error).__name__
    if isinstance(error, MemoryError) or "OutOfMemory" in name:
        return (
            "There was not enough memory; close other programs, or choose fewer genes per cell "
            "or another device, and run again."
        )
    text = " ".join(str(error).split()) or "no more is known"
    return f"Something went wrong that should not have ({name}: {text[:200]})."


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


class Jobs:
    """The jobs of one session: at most one a slot; a newer one makes the older stale.

    All methods belong to the main thread, and ``on_event`` is called there.
    """

    def __init__(self) -> None:
        self._current: dict[str, Job] = {}

    def current(self, slot: str) -> Job | None:
        """Return the job at work in a slot, if any."""
        return self._current.get(slot)

    def start(
        self,
        slot: str,
        title: str,
        events: Callable[[CancelToken], Iterator[Any]],
        on_event: Callable[[Job, Any], None],
    ) -> Job:
        """Start ``events(token)`` in a thread; an older job of the slot is cancelled.

        Parameters
        ----------
        slot
            What the job is for, e.g. ``"run"``; a slot has one current job.
        title
            What napari shows while it goes on.
        events
            Called with the job's cancel token; the generator runs wholly in the worker's thread.
        on_event
            Called on the main thread with the job and each event, last a :class:`Failed`,
            :class:`Stopped` or :class:`Ended`; never for a job that is no longer current.
        """
        self.cancel(slot)
        job = Job(slot, title)
        self._current[slot] = job

        # napari keeps every worker, and so both functions, until the window closes: what a job
        # works on must not be kept with them.
        to_run, to_tell = [events], [on_event]

        def generator(token: CancelToken) -> Iterator[Any]:
            yield from to_run.pop()(token)

        generator.__qualname__ = title

        def deliver(event: Any) -> None:
            is_last = isinstance(event, Failed | Stopped | Ended)
            tell = to_tell.pop() if is_last else to_tell[0]
            if self._current.get(slot) is not job:
                return
            if is_last:
                del self._current[slot]
            tell(job, event)

        create_worker(
            generator,
            token=job.token,
            _worker_class=JobWorker,
            _connect={"yielded": deliver},
            _start_thread=True,
        )
        return job

    def cancel(self, slot: str) -> None:
        """Ask a slot's job to stop; its :class:`Stopped` event follows when it has."""
        if job := self._current.get(slot):
            job.token.cancel()

    def close(self) -> None:
        """Cancel everything and let go of every job, as the window closes."""
        for job in self._current.values():
            job.token.cancel()
        self._current.clear()
