"""The child's side of the model process: load an encoder, then answer until the parent is gone."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

from napari_cellama.core.embedding import ModelError
from napari_cellama.core.encoder import Encoder
from napari_cellama.core.events import CancelToken
from napari_cellama.errors import Cancelled, UserError


def serve(make_encoder: Callable[[], Encoder]) -> None:
    """Load the encoder and answer the parent's messages on stdin; returns if it cannot load.

    Parameters
    ----------
    make_encoder
        Returns the encoder; called once. It may have a list of ``notices`` for the user.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to decide on
    _offer_to_out_of_memory_killer()
    incoming, outgoing = _take_pipes()
    _Server(incoming, outgoing).run(make_encoder)


class _Server:
    """Reads orders on one thread, so that Cancel and the parent's end are heard at once."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self.outgoing = outgoing
        self.orders: queue.SimpleQueue[tuple] = queue.SimpleQueue()
        self.tokens: dict[int, CancelToken] = {}
        threading.Thread(target=self._listen, args=(incoming,), daemon=True).start()

    def run(self, make_encoder: Callable[[], Encoder]) -> None:
        try:
            encoder = make_encoder()
            info = encoder.load(CancelToken())
        except Exception as error:
            self._report(0, error)
            return
        self._send("ready", 0, info, _notices(encoder))
        while True:
            kind, call, *content = self.orders.get()
            if kind == "end":
                self.tokens.pop(call, None)
                self._send("ended", call)
                continue
            try:
                self._answer(encoder, kind, call, *content)
            except Cancelled:
                pass  # the parent closed the call; the order to end it is on its way
            except Exception as error:
                self._report(call, error)

    def _answer(
        self, encoder: Encoder, kind: str, call: int, piece: int, sentences: list[str]
    ) -> None:
        cancel = self.tokens[call]
        cancel.check()
        if kind == "count":
            self._send("counts", call, encoder.count_tokens(sentences))
            return
        info = encoder.load(cancel)
        for rows, vectors in encoder.encode(sentences, cancel):
            if (now := encoder.load(cancel)) != info:  # before what it computes is heard of
                info = now
                self._send("moved", call, info, _notices(encoder))
            self._send("batch", call, piece, rows, vectors)
        self._send("done", call, piece, encoder.load(cancel), _notices(encoder))

    def _listen(self, incoming: BinaryIO) -> None:
        """Queue the parent's orders; end this process, whatever it does, when the parent ends."""
        try:
            while True:
                order = pickle.load(incoming)
                token = self.tokens.setdefault(order[1], CancelToken())
                if order[0] == "end":
                    token.cancel()
                self.orders.put(order)
        except BaseException:
            os._exit(0)

    def _report(self, call: int, error: Exception) -> None:
        known = isinstance(error, (UserError, ModelError))
        message = str(error) if known else f"The language model failed: {error!r}."
        details = getattr(error, "details", "") or "".join(traceback.format_exception(error))
        self._send("error", call, type(error).__name__, message, details)

    def _send(self, *message: Any) -> None:
        try:
            pickle.dump(message, self.outgoing, protocol=pickle.HIGHEST_PROTOCOL)
            self.outgoing.flush()
        except OSError:
            os._exit(0)  # nobody listens any more


def _notices(encoder: Encoder) -> list[str]:
    return list(getattr(encoder, "notices", ()))


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Take stdin and stdout for messages, and leave harmless ones in their place.

    What a library prints goes to stderr instead of into the messages. Stdin is replaced because
    on Windows a library that looks at it while another thread reads it waits for ever
    (https://github.com/numpy/numpy/issues/24290).
    """
    incoming = os.fdopen(os.dup(0), "rb")
    outgoing = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return incoming, outgoing


def _offer_to_out_of_memory_killer() -> None:
    """Have Linux end this process, not the user's session, when memory runs out."""
    try:
        with open("/proc/self/oom_score_adj", "w") as stream:
            stream.write("500")
    except OSError:
        pass  # another system, or not allowed
