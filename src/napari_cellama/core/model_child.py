"""One running child process, seen from the parent: its pipes, and the threads that serve them."""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from typing import Any

from napari_cellama.core.encoder import EncoderInfo

#: How many of the last lines on the child's stderr are kept.
STDERR_LINES = 200


class Child:
    """A child process and what it has said so far.

    One thread reads its answers, one writes its orders (so that a child that does not read
    blocks nobody who wants to cancel), one keeps the end of its stderr. Threads with queues,
    because neither pipes on Windows nor ``select`` there can be waited for with a timeout.

    Attributes
    ----------
    loaded
        Set once the model is loaded, could not be, or the child is dead.
    info, failure, notices
        What loading came to: the model, or (kind, message, details) of its error.
    dead, stopped
        Whether the child has ended, and whether that was :meth:`stop`.
    replies
        The open calls, each with the queue of its answers.
    unanswered
        Calls that were closed early and that the child has not let go of yet.
    """

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        hidden = {"creationflags": subprocess.CREATE_NO_WINDOW} if sys.platform == "win32" else {}
        self.started = time.monotonic()
        self.loaded = threading.Event()
        self.info: EncoderInfo | None = None
        self.failure: tuple[str, str, str] | None = None
        self.notices: list[str] = []
        self.dead = self.stopped = False
        self.replies: dict[int, queue.SimpleQueue[tuple]] = {}
        self.unanswered: set[int] = set()
        self._owner = os.getpid()
        self._calls = 0
        self._lock = threading.Lock()
        self._outbox: queue.SimpleQueue[tuple | None] = queue.SimpleQueue()
        self._stderr: deque[bytes] = deque(maxlen=STDERR_LINES)
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            **hidden,
        )
        self._stderr_thread = self._thread(self._keep_stderr)
        self._thread(self._read)
        self._thread(self._write)

    def open_call(self) -> int:
        """Return a new call's number; its answers are kept from now on."""
        with self._lock:
            self._calls += 1
            self.replies[self._calls] = answers = queue.SimpleQueue()
            if self.dead:
                answers.put(("dead",))
            return self._calls

    def close_call(self, call: int, finished: bool) -> None:
        """Throw away whatever still comes for a call, and have the child leave it."""
        with self._lock:
            self.replies.pop(call, None)
            if not finished and not self.dead:
                self.unanswered.add(call)
        self.send("end", call)

    def send(self, *message: Any) -> None:
        """Send the child a message; never blocks."""
        self._outbox.put(message)

    def receive(self, call: int, timeout: float) -> tuple | None:
        """Return a call's next answer, or ``None`` if there is none in time."""
        try:
            return self.replies[call].get(timeout=timeout)
        except queue.Empty:
            return None

    def stop(self) -> None:
        """Kill the child: it holds nothing that is worth keeping."""
        if os.getpid() != self._owner:  # in a fork of this process, the child is not ours
            return
        self.stopped = self.stopped or not self.dead
        self.process.kill()
        self.process.wait()
        self._outbox.put(None)

    def stderr_text(self) -> str:
        """Return the last lines that the child wrote to its stderr."""
        self._stderr_thread.join(timeout=1)
        return b"".join(self._stderr).decode(errors="replace")

    def _thread(self, target: Any) -> threading.Thread:
        thread = threading.Thread(target=target, name=f"language model: {target.__name__}")
        thread.daemon = True
        thread.start()
        return thread

    def _read(self) -> None:
        """Hand out the child's answers until there are no more."""
        try:
            with self.process.stdout as stream:
                while True:
                    self._hand_out(*pickle.load(stream))
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            pass
        try:
            self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:  # it closed the pipe but lives on: of no use
            self.process.kill()
            self.process.wait()
        with self._lock:
            self.dead = True
            self.unanswered.clear()
            for answers in self.replies.values():
                answers.put(("dead",))
        self.loaded.set()
        self._outbox.put(None)

    def _hand_out(self, kind: str, call: int, *content: Any) -> None:
        if kind in ("ready", "moved", "done"):
            self.info, self.notices = content[-2:]
        if kind == "moved":
            return
        if call == 0:
            if kind == "error":
                self.failure = content
            self.loaded.set()
            return
        with self._lock:
            if kind == "ended":
                self.unanswered.discard(call)
            elif call in self.replies:
                self.replies[call].put((kind, *content))

    def _write(self) -> None:
        try:
            with self.process.stdin as stream:
                while (message := self._outbox.get()) is not None:
                    pickle.dump(message, stream, protocol=pickle.HIGHEST_PROTOCOL)
                    stream.flush()
        except (OSError, ValueError):
            pass  # the child is gone, which the reading thread reports

    def _keep_stderr(self) -> None:
        with self.process.stderr as stream:
            for line in iter(lambda: stream.readline(2000), b""):
                self._stderr.append(line)
