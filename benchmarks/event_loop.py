"""How long the window stands still while a run is on.

    python benchmarks/event_loop.py [--cells 100000] [--docks] [--model]

A timer ticks every 5 ms in the window's thread; the longest time between two ticks, less what the
canvas took to draw in between (software, where there is no GPU), is what a user feels. The
language model works in a process of its own, so a stand-in that makes vectors from the words
takes its place here, at --rate sentences a second; --model takes the real one (an hour at 100,000
cells on two cores). Needs a display (``xvfb-run`` will do).

A busy machine makes everything late. So an idle process ticks beside it, and a gap is held against
the window only as far as it is longer than what that process had to wait at the same time.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

LIMIT_MS = 100.0
TICK_MS = 5


class StandInEncoder:
    """Makes a vector of each sentence's words, a batch at a time, as fast as it is told."""

    notices: tuple[str, ...] = ()

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._words: dict[str, np.ndarray] = {}

    def start(self) -> None:
        """Do nothing."""

    def load(self, cancel: Any) -> Any:
        """Say what this is."""
        from napari_cellama.core.encoder import EncoderInfo

        return EncoderInfo("stand-in", "", "cpu", "stand-in", "float32", 384, 256)

    def encode(
        self, sentences: Sequence[str], cancel: Any
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield batches of unit vectors; mostly asleep, as one that waits for a process is."""
        for start in range(0, len(sentences), 256):
            cancel.check()
            batch = sentences[start : start + 256]
            vectors = np.stack([self._vector(text) for text in batch])
            time.sleep(len(batch) / self._rate)
            yield np.arange(start, start + len(batch)), vectors

    def count_tokens(self, sentences: Sequence[str]) -> np.ndarray:
        """Return about how many tokens sentences have."""
        return np.array([2 * text.count(" ") for text in sentences], np.int64)

    def _vector(self, text: str) -> np.ndarray:
        total = np.zeros(384, np.float32)
        for word in text.replace(",", " ").split():
            if word not in self._words:
                rng = np.random.default_rng(abs(hash(word)))
                self._words[word] = rng.normal(size=384).astype(np.float32)
            total += self._words[word]
        return total / np.linalg.norm(total)


class IdleProcess:
    """A process that does nothing but tick, and notes when it was woken late."""

    _CODE = (
        "import time\n"
        "last = time.perf_counter()\n"
        "while True:\n"
        f"    time.sleep({TICK_MS / 1000})\n"
        "    now = time.perf_counter()\n"
        "    if now - last > 0.02:\n"
        "        print(last, now, flush=True)\n"
        "    last = now\n"
    )

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self._CODE], stdout=subprocess.PIPE, text=True
        )

    def stop(self) -> np.ndarray:
        """Return (n, 2): from when to when it was not woken."""
        self._process.kill()
        text, _ = self._process.communicate()
        lines = [line.split() for line in text.splitlines()]
        return np.array([line for line in lines if len(line) == 2], float).reshape(-1, 2)


class Stopwatch:
    """Times the gaps between ticks of the event loop, and looks into the long ones.

    Parameters
    ----------
    window
        Whose drawing is not counted.
    clock
        What gaps and drawing are timed by; the spans between ticks are always by the clock on the
        wall.
    """

    def __init__(self, window: Any, clock: Callable[[], float] = time.perf_counter) -> None:
        from qtpy.QtCore import QEvent, QTimer
        from vispy.scene import SceneCanvas

        self.gaps: list[float] = []
        self.spans: list[tuple[float, float]] = []
        self.busy: list[float] = []
        self._cpu = 0.0
        self.drawn: list[float] = []
        self._clock = clock
        self._last = self._timed = 0.0
        self._drawing = 0.0
        self._lookout = _Lookout()
        self._drawing_since = 0.0
        self._time_drawing(SceneCanvas, "_draw_scene", lambda *_: True)
        # Qt puts the canvas on the screen in an event of its own.
        updates = QEvent.Type.UpdateRequest
        self._time_drawing(type(window), "event", lambda _, event: event.type() == updates)
        self.collections: list[float] = []
        gc.callbacks.append(self._on_collection)
        self._timer = QTimer(interval=TICK_MS)
        self._timer.timeout.connect(self._tick)

    def _time_drawing(self, owner: Any, name: str, is_drawing: Callable[..., bool]) -> None:
        """Count the calls of a method that draw as drawing, those inside another once."""
        method = getattr(owner, name)

        def timed(*args: Any) -> Any:
            if self._drawing_since or not is_drawing(*args):
                return method(*args)
            self._drawing_since = self._clock()
            try:
                return method(*args)
            finally:
                self._drawing += self._clock() - self._drawing_since
                self._drawing_since = 0.0

        setattr(owner, name, timed)

    def start(self) -> None:
        """Begin to count."""
        self._last, self._timed = time.perf_counter(), self._clock()
        self._cpu = time.thread_time()
        self._lookout.ticked(self._last)
        self._lookout.start()
        self._timer.start()

    def stop(self) -> None:
        """Count no more."""
        self._timer.stop()
        gc.callbacks.remove(self._on_collection)
        self._lookout.stop()

    def _on_collection(self, phase: str, info: Any) -> None:
        """Time Python's garbage collections: they hold the interpreter's lock throughout."""
        if phase == "start":
            self._collecting = time.perf_counter()
        else:
            self.collections.append(time.perf_counter() - self._collecting)

    def _tick(self) -> None:
        now, timed = time.perf_counter(), self._clock()
        self.gaps.append(timed - self._timed - self._drawing)
        self.drawn.append(self._drawing)
        self.spans.append((self._last, now))
        cpu = time.thread_time()
        self.busy.append(cpu - self._cpu)
        self._last, self._timed, self._drawing, self._cpu = now, timed, 0.0, cpu
        self._lookout.ticked(now)

    def seen(self) -> Counter[str]:
        """Return what the threads were doing when a tick was late, and how often."""
        return self._lookout.seen


class _Lookout(threading.Thread):
    """Looks, when a tick is late, at where all threads are.

    It holds the interpreter's lock to look, so that no thread goes on meanwhile; of a call that
    keeps the lock for long it sees the line after it was let go. ``faulthandler`` would look at
    once, without the lock, but walks stacks that go on changing: the process crashed of that
    after some thousand looks.
    """

    def __init__(self) -> None:
        super().__init__(name="look-out", daemon=True)
        self.seen: Counter[str] = Counter()
        self._last = 0.0
        self._stopped = threading.Event()

    def ticked(self, now: float) -> None:
        """Begin to wait for the next tick."""
        self._last = now

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def run(self) -> None:
        """Wait until a tick is late, look once, and wait for the next."""
        told = None
        while True:
            last = self._last
            left = last + LIMIT_MS / 1000 - time.perf_counter()
            if self._stopped.wait(max(left, TICK_MS / 1000)):
                return
            if last == self._last and last != told and left <= 0:
                told = last
                if places := _places(sys._current_frames(), self.ident):
                    self.seen[places] += 1


def _places(frames: dict[int, FrameType], own: int | None) -> str:
    """Return where each thread is, idle ones left out; "" where the canvas is drawn."""
    places = []
    for thread, frame in frames.items():
        steps = []
        while frame is not None:
            code = frame.f_code
            if code.co_name == "timed":
                return ""
            steps.append(f"{Path(code.co_filename).name}:{frame.f_lineno} {code.co_name}")
            frame = frame.f_back
        if thread != own and "wait" not in steps[0]:
            places.append(" < ".join(steps[:4]))
    return " | ".join(places)


def make_section(n_cells: int) -> Any:
    """Return cells of 12 types in stripes of mixtures, 200 genes, 60 counts a cell."""
    import anndata as ad
    import pandas as pd
    import scipy.sparse as sp

    rng = np.random.default_rng(0)
    coords = rng.uniform(0, 10 * n_cells**0.5, (n_cells, 2))
    stripe = (coords[:, 0] / coords[:, 0].max() * 5.999).astype(int)
    types = (stripe * 2 + rng.integers(0, 4, n_cells)) % 12
    programs = rng.dirichlet(np.full(200, 0.1), 12)
    counts = sp.vstack(
        [
            sp.csr_matrix(rng.poisson(programs[types[start : start + 10_000]] * 60))
            for start in range(0, n_cells, 10_000)
        ]
    )
    return ad.AnnData(
        counts.astype(np.float32),
        obs=pd.DataFrame(
            {"celltype": pd.Categorical.from_codes(types, [f"type {i}" for i in range(12)])},
            index=np.arange(n_cells).astype(str),
        ),
        obsm={"spatial": coords},
        uns={"cellama": {"units": "um"}},
    )


def main() -> None:
    """Run the benchmark; exits with 1 where something stood still for too long."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=20_000, help="the stand-in's sentences/s")
    parser.add_argument("--docks", action="store_true", help="with both docks open")
    parser.add_argument("--model", action="store_true", help="the real language model")
    arguments = parser.parse_args()
    from qtpy.QtWidgets import QApplication

    import napari_cellama.api as api
    from napari_cellama.core.events import Progress
    from napari_cellama.recipe import Recipe
    from napari_cellama.ui.attach import session_of
    from napari_cellama.ui.launch import view
    from napari_cellama.ui.panel import main_window
    from napari_cellama.ui.workers import Ended, Failed, Stopped

    if not arguments.model:
        encoder = StandInEncoder(arguments.rate)
        api.NamedEncoder = lambda *args: encoder
    viewer = view(make_section(arguments.cells), name="benchmark", docks=arguments.docks)
    session = session_of(viewer)
    for _ in range(50):  # until everything that opening set off is done
        QApplication.processEvents()
        time.sleep(0.02)
    watch, idle, stages, last = Stopwatch(main_window(viewer)), IdleProcess(), {}, []

    def on_event(job: Any, event: Any) -> None:
        if isinstance(event, Progress):
            stages.setdefault(event.stage, len(watch.gaps))
        elif isinstance(event, Ended | Failed | Stopped):
            last.append(event)

    session.job_event.connect(on_event)
    started = time.perf_counter()
    watch.start()
    session.run(Recipe(cell_type_key="celltype", n_clusters=6))
    while not last:
        QApplication.processEvents()
        time.sleep(0.001)
    for _ in range(100):  # the result's painting
        QApplication.processEvents()
        time.sleep(0.005)
    watch.stop()
    late = idle.stop()
    worst = report(watch, late, stages, last[0], arguments, time.perf_counter() - started)
    viewer.close()
    raise SystemExit(0 if worst <= LIMIT_MS and isinstance(last[0], Ended) else 1)


def waited_anyway(spans: np.ndarray, late: np.ndarray) -> np.ndarray:
    """Return (n,) for how long of each span the idle process was not woken either."""
    waited = np.zeros(len(spans))
    for start, stop in late:
        overlap = np.minimum(spans[:, 1], stop) - np.maximum(spans[:, 0], start)
        waited += np.clip(overlap, 0, None)
    return waited


def report(
    watch: Stopwatch,
    late: np.ndarray,
    stages: dict[str, int],
    last: Any,
    arguments: Any,
    seconds: float,
) -> float:
    """Print how long the event loop stood still, in all and by stage; returns the longest (ms)."""
    encoder = "the real model" if arguments.model else "a stand-in for the language model"
    print(f"{arguments.cells:,} cells, {encoder}, {seconds:.1f} s, ended with {last}")
    wall = np.array(watch.gaps) * 1000
    gaps = np.clip(wall - waited_anyway(np.array(watch.spans), late) * 1000, 0, None)
    busy = np.array(watch.busy) * 1000
    shares = np.percentile(gaps, [50, 99, 99.9])
    print(
        f"gaps between ticks ({len(gaps):,}), drawing and waiting for other programs apart:\n"
        f"  median {shares[0]:.1f} ms, 99% {shares[1]:.1f}, 99.9% {shares[2]:.1f}, longest "
        f"{gaps.max():.1f} ms (limit {LIMIT_MS:.0f}); by the clock {wall.max():.1f} ms; an idle "
        f"process waited {np.ptp(late, axis=1).max(initial=0) * 1000:.0f} ms at the longest"
    )
    starts = [*stages.values(), len(gaps)]
    for (stage, start), stop in zip(stages.items(), starts[1:], strict=True):
        if stop > start:
            longest = start + int(gaps[start:stop].argmax())
            print(
                f"  {stage:12} longest {gaps[longest]:6.1f} ms, of which this thread worked "
                f"{busy[longest]:.1f} ms"
            )
    print(f"drawing: longest {max(watch.drawn) * 1000:.0f} ms, in all {sum(watch.drawn):.1f} s")
    print(
        f"garbage collections: longest {max(watch.collections, default=0) * 1000:.0f} ms, in all "
        f"{sum(watch.collections):.1f} s"
    )
    for where, times in watch.seen().most_common(8):
        print(f"  late by the clock ({times} times) with the threads in {where}")
    return float(gaps.max())


if __name__ == "__main__":
    main()
