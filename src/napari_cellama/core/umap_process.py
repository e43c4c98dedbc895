"""Laying cells out in a process of its own, which can be ended at any moment.

Learning a map cannot be stopped from within, and numba compiles for it with the interpreter's
lock held, so that a window would stutter. Features go to the child's stdin and events come from
its stdout, both pickled. The child ends when its stdin does, so also with this process.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Generator
from contextlib import suppress
from typing import Any

import numpy as np

from napari_cellama.core.events import CancelToken
from napari_cellama.core.model_process import import_path
from napari_cellama.core.umap import LEARNT_ON, Begun, Placed, laying_out
from napari_cellama.errors import UserError

#: How often a waiting thread looks at its cancel token, in seconds.
_POLL = 0.05
#: How many of the last lines on the child's stderr are told of when it dies.
_LINES = 20

# The parent's import path goes last, so that it never hides the standard library.
_BOOTSTRAP = """
import pickle, sys
path = pickle.load(sys.stdin.buffer)
sys.path += [entry for entry in path if entry not in sys.path]
from napari_cellama.core.umap_process import serve
serve()
"""


def laying_out_apart(
    features: np.ndarray,
    *,
    seed: int = 0,
    n_learnt: int = LEARNT_ON,
    begun: Begun | None = None,
    cancel: CancelToken | None = None,
) -> Generator[Placed, None, np.ndarray]:
    """Do what :func:`~.umap.laying_out` does, in a child process.

    Cancelling, or closing the generator, kills the child at once.

    Parameters
    ----------
    features, seed, n_learnt, begun
        As there.
    cancel
        Looked at twenty times a second.

    Yields
    ------
    Placed
        As there.

    Returns
    -------
    numpy.ndarray
        (n, 2) float32; NaN where a cell was left out.

    Raises
    ------
    UserError
        When fewer than four cells are left.
    Cancelled
        When the token was set.
    RuntimeError
        When the child failed or died; its last words are in ``details``.
    """
    cancel = cancel or CancelToken()
    cancel.check()
    order = {"seed": seed, "n_learnt": n_learnt, "begun": begun}
    child = _Child({"features": np.asarray(features), **order})
    try:
        while True:
            cancel.check()
            try:
                kind, content = child.events.get(timeout=_POLL)
            except queue.Empty:
                continue
            if kind == "step":
                yield content
            elif kind == "done":
                return content
            elif kind == "refused":
                raise UserError(content)
            else:
                error = RuntimeError("the map's process ended unexpectedly")
                error.details = content
                raise error
    finally:
        child.end()


class _Child:
    """The process, and the threads that serve its pipes (Windows has no waiting for several)."""

    def __init__(self, order: dict[str, Any]) -> None:
        hidden = {"creationflags": subprocess.CREATE_NO_WINDOW} if sys.platform == "win32" else {}
        self.events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._last: deque[bytes] = deque(maxlen=_LINES)
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOTSTRAP], stdin=pipe, stdout=pipe, stderr=pipe, **hidden
        )
        self._threads = [
            threading.Thread(target=target, args=args, name="map", daemon=True)
            for target, args in ((self._write, (order,)), (self._read, ()), (self._listen, ()))
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Kill the process, if it has not ended, and let go of its pipes."""
        self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with suppress(OSError):  # what was not written yet
                pipe.close()

    def _write(self, order: dict[str, Any]) -> None:
        """Send the order; stdin stays open, as a sign that this process lives."""
        try:
            for message in (import_path(), order):
                pickle.dump(message, self.process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            self.process.stdin.flush()
        except OSError:
            pass  # the child is gone, which the reading thread reports

    def _read(self) -> None:
        try:
            while True:
                self.events.put(pickle.load(self.process.stdout))
        except (EOFError, OSError, pickle.UnpicklingError):
            self._threads[2].join()
            self.events.put(("died", b"".join(self._last).decode(errors="replace")))

    def _listen(self) -> None:
        for line in iter(self.process.stderr.readline, b""):
            self._last.append(line)


def serve() -> None:
    """Lay out what comes on stdin, telling of it on stdout: the child's whole life."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer

    def tell(kind: str, content: Any) -> None:
        pickle.dump((kind, content), answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()

    order = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    steps = laying_out(**order)
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            tell("done", end.value)
            return
        except UserError as error:
            tell("refused", str(error))
            return
        except Exception:
            tell("died", traceback.format_exc())
            return
        tell("step", step)


def _end_with_parent() -> None:
    """End as soon as nobody is left who could want an answer."""
    sys.stdin.buffer.read(1)
    os._exit(1)
