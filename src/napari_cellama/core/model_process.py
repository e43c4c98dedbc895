"""The language model in a process of its own.

Three reasons. Importing torch and sentence-transformers takes 6 to 8 s and holds the
interpreter's lock long enough to freeze a window; a process that runs out of memory or crashes
must not take the user's session with it; and once scanpy's ``normalize_total`` has run in a
process (numba's OpenMP threads, a second libgomp), torch embeds there at 8 to 9 sentences a
second instead of 180 to 200. ``benchmarks/model_process.py`` measures the last.

The child is started with ``subprocess``, not ``multiprocessing``, so that a user's script or
notebook is never imported a second time. The two talk in pickled tuples over the child's stdin
and stdout; each begins with its kind and the number of the call it belongs to:

- to the child: ``encode, call, piece, sentences``; ``count, call, piece, sentences``;
  ``end, call`` (stop working on it, answer when done);
- from the child: ``ready, 0, info, notices``; ``batch, call, piece, rows, vectors``;
  ``moved, call, info, notices`` (what follows is computed on another device);
  ``done, call, piece, info, notices``; ``counts, call, counts``; ``ended, call``;
  ``error, call, kind, message, details``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from napari_cellama.core.embedding import ModelError, ModelMemoryError
from napari_cellama.core.encoder import EncoderInfo
from napari_cellama.core.events import CancelToken
from napari_cellama.core.model_child import Child
from napari_cellama.core.model_files import TokenCounter
from napari_cellama.errors import Cancelled, UserError

#: How often a waiting thread looks at its cancel token, in seconds.
POLL = 0.05
#: How long a child may take to come back from a cancelled call before it is replaced.
GRACE = 5.0
#: Giving up a load that has taken this long ends the child; a quicker one is left to finish.
PATIENCE = 60.0
#: Sentences a message: what is computed in a few seconds, and how many messages ahead.
CPU_PIECE, GPU_PIECE, AHEAD = 256, 32768, 2
#: How many idle models are kept in memory.
MAX_WARM = 2

_ERRORS = {"UserError": UserError, "ModelMemoryError": ModelMemoryError}

# The parent's import path goes last, so that it never hides the standard library.
_BOOTSTRAP = """
import json, sys
given = json.loads(sys.argv[1])
sys.path += [entry for entry in given.pop("path") if entry not in sys.path]
from napari_cellama.core.model_server import serve
from napari_cellama.core.embedding import SentenceEncoder
serve(lambda: SentenceEncoder(**given))
"""


class ModelProcess:
    """An :class:`~napari_cellama.core.encoder.Encoder` that runs in a child process.

    The child is started on first need, stays warm, and is started again after it died. Any
    number of threads may use it at once: their pieces are worked on in turn. It ends with this
    object and with this process, however that ends. Torch is never imported here.

    Parameters
    ----------
    folder, name, device, dtype, weights_sha256
        As for :class:`~napari_cellama.core.embedding.SentenceEncoder`.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        name: str = "",
        device: str = "auto",
        dtype: str = "auto",
        weights_sha256: str = "",
    ) -> None:
        self.folder = Path(folder).resolve()
        self._options = {
            "folder": str(self.folder),
            "name": name,
            "device": device,
            "dtype": dtype,
            "weights_sha256": weights_sha256,
        }
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._finalizer: weakref.finalize | None = None
        self._counter: TokenCounter | None = None

    @property
    def notices(self) -> list[str]:
        """What the user should know, one sentence each, e.g. that the GPU failed."""
        child = self._child
        return [] if child is None else list(child.notices)

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        child = self._child
        return None if child is None or child.dead else child.process.pid

    @property
    def busy(self) -> bool:
        """Whether someone waits for an answer."""
        child = self._child
        return child is not None and not child.dead and bool(child.replies)

    def start(self) -> None:
        """Start the child, unless it runs, and let it load its model meanwhile."""
        if self.pid is None:
            self._running(CancelToken())

    def load(self, cancel: CancelToken) -> EncoderInfo:
        """Start the child if need be, wait until its model is ready, and say what it is.

        Cancelling leaves the child to finish loading, for the next time.

        Raises
        ------
        UserError, ModelError
            As :meth:`SentenceEncoder.load`, with the child's traceback in ``details``.
        """
        return self._ready(cancel).info

    def encode(
        self, sentences: Sequence[str], cancel: CancelToken
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (rows, vectors) as batches finish, the longest sentences first.

        Cancelling, or dropping the iterator, leaves the child to finish its batch, whose late
        answer is thrown away; the model stays warm.

        Raises
        ------
        Cancelled
            Within a tenth of a second of the token being set.
        UserError, ModelError
            As :meth:`SentenceEncoder.encode`, or when the child died.
        """
        child = self._ready(cancel)
        order = np.argsort([-len(sentence) for sentence in sentences], kind="stable")
        size = CPU_PIECE if child.info.device == "cpu" else GPU_PIECE
        pieces = [order[start : start + size] for start in range(0, len(order), size)]
        call = child.open_call()
        finished = False
        try:
            sent = 0
            done = 0
            while done < len(pieces):
                while sent < min(done + AHEAD, len(pieces)):
                    child.send("encode", call, sent, [sentences[row] for row in pieces[sent]])
                    sent += 1
                kind, *content = self._receive(child, call, cancel)
                if kind == "batch":
                    piece, rows, vectors = content
                    yield pieces[piece][rows], vectors
                else:
                    done += 1
            finished = True
        finally:
            child.close_call(call, finished)

    def count_tokens(self, sentences: Sequence[str]) -> np.ndarray:
        """Return (len(sentences),) int64: tokens of each, uncut.

        Counted here, without the child, unless the model's tokenizer is of a kind that only
        transformers can read.
        """
        if (self.folder / "tokenizer.json").is_file():
            self._counter = self._counter or TokenCounter(self.folder)
            return self._counter.count(sentences)
        cancel = CancelToken()
        child = self._ready(cancel)
        call = child.open_call()
        try:
            child.send("count", call, 0, list(sentences))
            return self._receive(child, call, cancel)[1]
        finally:
            child.close_call(call, finished=True)

    def close(self) -> None:
        """End the child; the next use starts another."""
        with self._lock:
            self._end()

    def _ready(self, cancel: CancelToken) -> Child:
        """Return a running child whose model is loaded."""
        child = self._running(cancel)
        try:
            while not child.loaded.wait(POLL):
                cancel.check()
        except Cancelled:
            if time.monotonic() - child.started > PATIENCE:
                child.stop()
            raise
        cancel.check()
        if child.failure is not None:
            raise _error(*child.failure)
        if child.info is None:
            raise _death(child)
        return child

    def _running(self, cancel: CancelToken) -> Child:
        """Return the child, or a new one where it is dead or does not come back."""
        while not self._lock.acquire(timeout=POLL):
            cancel.check()
        try:
            child = self._child
            deadline = time.monotonic() + GRACE
            while child is not None and not child.dead and child.unanswered:
                cancel.check()
                if time.monotonic() > deadline:
                    break
                time.sleep(POLL / 5)
            if child is None or child.dead or child.unanswered:
                self._end()
                self._child = child = Child(self._command(), model_environment())
                self._finalizer = weakref.finalize(self, child.stop)
            return child
        finally:
            self._lock.release()

    def _end(self) -> None:
        if self._finalizer is not None:
            self._finalizer()
        self._child = self._finalizer = None

    def _receive(self, child: Child, call: int, cancel: CancelToken) -> tuple:
        """Return the next answer to a call, or raise what it reports."""
        while (message := child.receive(call, POLL)) is None:
            cancel.check()
        cancel.check()
        if message[0] == "error":
            raise _error(*message[1:])
        if message[0] == "dead":
            raise _death(child)
        return message

    def _command(self) -> list[str]:
        """Return the child's command line; ``-P`` keeps the current folder off its path."""
        given = {**self._options, "path": import_path()}
        return [sys.executable, "-P", "-c", _BOOTSTRAP, json.dumps(given)]


def import_path() -> list[str]:
    """Return where a child finds this package, and whatever else this process can import."""
    package_root = Path(__file__).resolve().parents[2]
    return [str(package_root), *(entry for entry in sys.path if entry)]


_shared: dict[tuple[str, ...], ModelProcess] = {}
_shared_lock = threading.Lock()


def shared(
    folder: str | Path,
    *,
    name: str = "",
    device: str = "auto",
    dtype: str = "auto",
    weights_sha256: str = "",
) -> ModelProcess:
    """Return the process-wide :class:`ModelProcess` for a model, so that it is loaded once.

    At most :data:`MAX_WARM` stay in memory; the one unused longest is ended for a new one.
    """
    options = {"name": name, "device": device, "dtype": dtype, "weights_sha256": weights_sha256}
    key = (str(Path(folder).resolve()), *options.values())
    with _shared_lock:
        process = _shared.pop(key, None) or ModelProcess(folder, **options)
        _shared[key] = process
        idle = [other for other, kept in _shared.items() if other != key and not kept.busy]
        for other in idle[: max(0, len(_shared) - MAX_WARM)]:
            _shared.pop(other).close()
    return process


def shutdown_all() -> None:
    """End every shared child; each starts again when it is next used."""
    with _shared_lock:
        processes = list(_shared.values())
    for process in processes:
        process.close()


def model_environment() -> dict[str, str]:
    """Return the child's environment: no network, as models are local folders, and no spinning.

    OpenMP's threads wait for each other by spinning unless told otherwise. As soon as another
    program wants one of the cores (a window that draws is enough), that makes torch 5 to 15
    times slower. And glibc's allocator gives each batch's memory back to the system and asks for
    it again, a page at a time, unless it is told to keep it. oneDNN keeps compiled code and
    memory for every shape of batch it has seen, a thousand by default, which came to half a
    gigabyte; batches of one shape follow each other, so few do. Whoever sets these keeps what
    they set.
    """
    return {
        "OMP_WAIT_POLICY": "passive",
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "16",
        "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
        "MALLOC_MMAP_THRESHOLD_": str(1 << 28),
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "true",
    }


def _error(kind: str, message: str, details: str) -> Exception:
    """Return what the child reported as an exception of its kind."""
    error = _ERRORS.get(kind, ModelError)(message)
    error.details = details
    return error


def _death(child: Child) -> ModelError:
    """Return the error for a child that is gone."""
    code = child.process.wait()
    if child.stopped:
        return ModelError("The language model's process was stopped; Run starts it again.")
    cause = f"signal {-code}" if code < 0 else f"exit code {code}"
    hint = ", often because memory ran out" if code == -9 else ""
    return ModelError(
        f"The language model's process ended unexpectedly ({cause}{hint}); your data and "
        "everything painted is kept, and Run starts it again.",
        child.stderr_text(),
    )
