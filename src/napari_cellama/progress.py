"""How a headless run shows where it is: a bar for people, one line a stage for logs."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from napari_cellama.core.events import Progress

if TYPE_CHECKING:
    from napari_cellama.core.events import Partial, Stage


#: How often a log hears of a stage that takes long.
_EVERY_SECONDS = 60.0


class ProgressReport:
    """Shows progress events on standard error; a context manager.

    On a terminal or in a notebook each stage is a tqdm bar with rate and time left. Elsewhere,
    where a bar would fill a log, each stage is one line once it is done, and one a minute while
    it goes on.

    Parameters
    ----------
    enabled
        Whether to show anything.
    stream
        Where to write; standard error by default.
    """

    def __init__(self, enabled: bool = True, stream: TextIO | None = None) -> None:
        self._enabled = enabled
        self._stream = stream or sys.stderr
        self._bars = self._stream.isatty() or "ipykernel" in sys.modules
        self._last: Progress | None = None
        self._started = self._told = 0.0
        self._bar: Any = None

    def __enter__(self) -> ProgressReport:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end_stage(done=kind is None)

    def show(self, event: Progress) -> None:
        """Show one step."""
        if not self._enabled:
            return
        if self._last is None or event.stage != self._last.stage:
            self._end_stage(done=True)
            self._started = self._told = time.perf_counter()
            self._bar = self._new_bar(event) if self._bars else None
        self._last = event
        if self._bar is not None:
            self._bar.total = event.total or None
            if event.unit:
                self._bar.unit = f" {event.unit}"
            if self._bar.n < event.cached:  # what took no time is no part of the rate
                self._bar.n = self._bar.initial = self._bar.last_print_n = event.cached
            cached = f"{event.cached:,} from the cache" if event.cached else ""
            if note := ", ".join(text for text in (event.note, cached) if text):
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(event.done - self._bar.n)
        elif time.perf_counter() - self._told > _EVERY_SECONDS:
            self._told = time.perf_counter()
            print(_midway(event, self._told - self._started), file=self._stream, flush=True)

    def stage(self, name: Stage, note: str = "") -> None:
        """Show the beginning of a stage that has no steps."""
        self.show(Progress(name, note=note))

    def picture(self, event: Partial) -> None:
        """Show how true a picture on the way is, where embeddings are predicted."""
        if self._enabled and event.result.fidelity is not None:
            self.message(event.result.fidelity.sentence)

    def message(self, text: str) -> None:
        """Write a line without breaking a bar."""
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def _new_bar(self, event: Progress) -> Any:
        from tqdm.auto import tqdm

        return tqdm(
            desc=f"{event.stage:<10}",
            total=event.total or None,
            unit=f" {event.unit or 'steps'}",
            file=None if "ipykernel" in sys.modules else self._stream,
            dynamic_ncols=True,
            mininterval=0.2,
        )

    def _end_stage(self, done: bool) -> None:
        """Close the current stage; only a stage that was completed gets its line."""
        last, self._last = self._last, None
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()
        elif last is not None and done:
            seconds = time.perf_counter() - self._started
            amount = f"{last.total:,} {last.unit}, " if last.unit else ""
            amount += f"{last.cached:,} of them from the cache, " if last.cached else ""
            note = f" ({last.note})" if last.note else ""
            print(f"{last.stage}: {amount}{seconds:.1f} s{note}", file=self._stream, flush=True)


def _midway(event: Progress, seconds: float) -> str:
    """Say how far a stage is and how long it will take, for a log."""
    if not event.total or not event.done:
        return f"{event.stage}: {seconds:,.0f} s so far"
    if event.done == event.cached:  # nothing yet that tells how fast it goes
        return f"{event.stage}: {event.done:,} of {event.total:,} {event.unit} from the cache"
    left = seconds * (event.total - event.done) / (event.done - event.cached)
    part = f"{event.done:,} of {event.total:,} {event.unit}".rstrip()
    rest = f"{left:.0f} s" if left < 90 else f"{left / 60:,.0f} min"
    return f"{event.stage}: {part}, {rest} left"
