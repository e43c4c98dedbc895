"""A sentence transformer on one device, fed with token ids, one batch ahead of its answers.

A GPU is kept busy by having its next batch before it has finished the last: ids lie in pinned
memory, are copied and worked on in the device's own time, and vectors come back the same way.
:func:`start` returns at once there; on a processor it computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellama.core.tokens import TextTokens, WordTokens, padded, token_source

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

#: What a model may be given for ids to be enough.
_FED = {"input_ids", "attention_mask", "token_type_ids"}


class Feeding:
    """How a model's sentences become ids, and what else the model is given.

    Parameters
    ----------
    source
        Finds the ids.
    prompt
        Before every sentence.
    filler
        The id that fills short sentences up.
    extras
        What goes with every batch.
    """

    def __init__(
        self,
        source: WordTokens | TextTokens,
        prompt: str,
        filler: int,
        extras: dict[str, Any],
    ) -> None:
        self._source = source
        self._prompt = prompt
        self._filler = filler
        self._extras = extras

    def ids(self, sentences: Sequence[str]) -> list[list[int]]:
        """Return each sentence's ids, with the model's prompt and special ones, cut."""
        return self._source.ids([self._prompt + text for text in sentences])

    def features(self, ids: Sequence[list[int]]) -> dict[str, Any]:
        """Return what the model takes, on the processor."""
        import torch

        filled, mask = padded(ids, self._filler)
        return {
            **self._extras,
            "input_ids": torch.from_numpy(filled),
            "attention_mask": torch.from_numpy(mask),
        }


def feeding(model: SentenceTransformer, prompt: str, probes: Sequence[str]) -> Feeding | None:
    """Return how to feed a model with ids; ``None`` where it takes more than those.

    The ids of the probes, and of one that is too long, must be those that sentence-transformers
    gives the model, and the vectors those of its ``encode``.
    """
    import torch

    try:
        limit = min(model.max_seq_length or 2**31 - 1, 2**31 - 1)
        texts = [*probes, probes[-1] + " MBP" * min(limit, 4096)]
        theirs = model.preprocess(texts, prompt=prompt or None)
        tensors = {name for name, value in theirs.items() if isinstance(value, torch.Tensor)}
        extras = {name: value for name, value in theirs.items() if name not in tensors}
        tokenizer = model.tokenizer
        source = token_source(tokenizer.backend_tokenizer, limit)
        found = Feeding(source, prompt, int(tokenizer.pad_token_id), extras)
        ours = found.features(found.ids(texts))
        same = tensors <= _FED and all(
            torch.equal(ours[name], theirs[name]) for name in ("input_ids", "attention_mask")
        )
        if not same or theirs.get("token_type_ids", torch.zeros(1)).any():
            return None
        few = list(probes)
        vectors = unit_rows(forward(model, found.features(found.ids(few))).cpu().numpy())
        close = (vectors * encoded(model, few)).sum(axis=1).min() > 0.9999
    except Exception:  # a model of its own kind; its own encode knows how to feed it
        return None
    return found if close else None


def start(
    model: SentenceTransformer, sentences: Sequence[str], features: dict[str, Any] | None
) -> Callable[[], np.ndarray]:
    """Begin a batch, and return what waits for its (n, d) float32 vectors of unit length.

    Parameters
    ----------
    model
        On its device and in the precision that it computes in.
    sentences
        What sentence-transformers' ``encode`` takes where there are no features.
    features
        From :meth:`Feeding.features`.
    """
    if features is None:
        vectors = encoded(model, sentences)
        return lambda: vectors
    return _waiting(forward(model, features))


def forward(model: SentenceTransformer, features: dict[str, Any]) -> torch.Tensor:
    """Return the sentences' vectors as float32, still on the model's device."""
    import torch

    device = model.device
    moved = {
        name: _moved(value, device) if isinstance(value, torch.Tensor) else value
        for name, value in features.items()
    }
    with torch.inference_mode():
        return model(moved)["sentence_embedding"].float()


def encoded(model: SentenceTransformer, sentences: Sequence[str]) -> np.ndarray:
    """Return (n, d) float32 vectors of unit length from the model's own ``encode``."""
    return unit_rows(
        model.encode(
            list(sentences),
            batch_size=max(1, len(sentences)),
            show_progress_bar=False,
            convert_to_numpy=True,
        ).astype(np.float32)
    )


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Return vectors of unit length.

    Raises
    ------
    ArithmeticError
        When some are not numbers.
    """
    if not np.isfinite(vectors).all():
        raise ArithmeticError("it computed vectors that are not numbers")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norms, np.finfo(np.float32).tiny)


def _moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _waiting(vectors: torch.Tensor) -> Callable[[], np.ndarray]:
    """Return what waits for vectors on a device; on CUDA their way back begins at once."""
    if vectors.device.type != "cuda":
        return lambda: unit_rows(vectors.cpu().numpy())
    import torch

    host = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=True)
    with torch.cuda.device(vectors.device):
        host.copy_(vectors, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()

    def wait() -> np.ndarray:
        arrived.synchronize()
        return unit_rows(host.numpy())

    return wait
