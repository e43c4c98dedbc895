"""Encoders for the child process whose behaviour the sentences decide."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from napari_cellama.core.embedding import ModelMemoryError
from napari_cellama.core.encoder import EncoderInfo
from napari_cellama.core.model_process import ModelProcess, import_path
from napari_cellama.errors import UserError


def vector(sentence: str) -> np.ndarray:
    """Return a unit vector that tells sentences apart."""
    values = np.random.default_rng(list(sentence.encode())).normal(size=8)
    return (values / np.linalg.norm(values)).astype(np.float32)


class ObedientEncoder:
    """Embeds one sentence at a time; some sentences are orders."""

    def __init__(self) -> None:
        self.notices = ["The GPU is out for lunch."]

    def start(self) -> None:
        """Do nothing."""

    def load(self, cancel):
        return EncoderInfo("fake", "0" * 64, "cpu", "a fake", "float32", 8, 256)

    def encode(self, sentences, cancel):
        for row, sentence in enumerate(sentences):
            cancel.check()
            order, _, value = sentence.partition(" ")
            if order == "hang":
                Path(value).touch()
                time.sleep(600)
            elif order == "slow":
                time.sleep(0.02)
            elif order == "print":
                print("this must not get into the messages")
                os.write(1, b"nor this")
            elif order == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            elif order == "leave":
                sys.stderr.write("a library gave up\n")
                sys.stderr.flush()
                os._exit(3)
            elif order == "memory":
                raise ModelMemoryError("No room even for one sentence.", "where it happened")
            elif order == "fail":
                raise ZeroDivisionError("a fault in a library")
            yield np.array([row]), vector(sentence)[None]

    def count_tokens(self, sentences):
        return np.array([len(sentence) for sentence in sentences])


class UnloadableEncoder(ObedientEncoder):
    def start(self) -> None:
        """Do nothing."""

    def load(self, cancel):
        raise UserError("This is no model.")


class NeverLoadedEncoder(ObedientEncoder):
    def start(self) -> None:
        """Do nothing."""

    def load(self, cancel):
        time.sleep(600)


_BOOTSTRAP = """
import sys
sys.path += {path!r}
import fake_encoders
from napari_cellama.core.model_server import serve
serve(fake_encoders.{name})
"""


class FakeProcess(ModelProcess):
    """A model process whose child runs one of the encoders above."""

    def __init__(self, encoder: type = ObedientEncoder) -> None:
        super().__init__("no such folder")
        self._encoder = encoder

    def _command(self) -> list[str]:
        path = [str(Path(__file__).parent), *import_path()]
        code = _BOOTSTRAP.format(path=path, name=self._encoder.__name__)
        return [sys.executable, "-P", "-c", code]
