"""The one small interface behind which every way of embedding sentences stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from napari_cellama.core.events import CancelToken


@dataclass(frozen=True)
class EncoderInfo:
    """What an encoder is, as provenance records it.

    Attributes
    ----------
    model
        The model's name as the recipe gave it.
    weights_sha256
        Hash of its weights.
    device, device_name
        E.g. ``"cuda:0"`` and ``"NVIDIA H200"``.
    dtype
        ``"float32"`` or ``"bfloat16"``.
    dim
        Length of an embedding.
    max_seq_length
        The model's token limit; longer sentences are cut.
    settings_sha256
        Hash of the rest of what decides a vector: tokenizer, pooling, prompts and limits.
    """

    model: str
    weights_sha256: str
    device: str
    device_name: str
    dtype: str
    dim: int
    max_seq_length: int
    settings_sha256: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a plain dict, ready for ``uns``."""
        return asdict(self)


class Encoder(Protocol):
    """Turns sentences into vectors, batch by batch.

    Attributes
    ----------
    notices
        What the user should know, one sentence each, e.g. that the GPU failed and the CPU goes
        on. Grows while loading and embedding; :meth:`load` then says what it runs on now.
    """

    @property
    def notices(self) -> list[str]:
        """What the user should know, so far."""
        ...

    def start(self) -> None:
        """Begin to make the model ready, if that can go on by itself; return at once.

        What goes wrong is for :meth:`load` to say.
        """
        ...

    def load(self, cancel: CancelToken) -> EncoderInfo:
        """Make the model ready (at once if it already is) and say what it is."""
        ...

    def encode(
        self, sentences: Sequence[str], cancel: CancelToken
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (rows, vectors) as batches finish, until every sentence has its vector.

        ``rows`` are int64 positions in ``sentences`` (in any order over the batches, each once);
        ``vectors`` is (len(rows), dim) float32 of unit length.
        """
        ...

    def count_tokens(self, sentences: Sequence[str]) -> np.ndarray:
        """Return (len(sentences),) int64: each sentence's length in tokens, uncut."""
        ...
