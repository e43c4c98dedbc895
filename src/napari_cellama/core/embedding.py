"""A sentence transformer in this very process.

Needs numpy, torch and sentence-transformers and nothing else, so that it also runs on a bare GPU
node; the latter two are imported when a model is loaded. Windows, notebooks and the command line
use it through :class:`~napari_cellama.core.model_process.ModelProcess`.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from napari_cellama.core.batches import Batch, Batches
from napari_cellama.core.encoder import EncoderInfo
from napari_cellama.core.events import CancelToken
from napari_cellama.core.loaded_model import LoadedModel, load_model
from napari_cellama.core.model_files import (
    TokenCounter,
    model_prompt,
    settings_hash,
    weights_hash,
)
from napari_cellama.core.torch_devices import (
    device_groups,
    device_name,
    is_out_of_memory,
    reason,
)
from napari_cellama.errors import Cancelled, UserError

T = TypeVar("T")


class ModelError(Exception):
    """The language model failed; the message is one sentence for people.

    Not a ``RuntimeError``: Qt's worker wrappers swallow those.

    Attributes
    ----------
    details
        The traceback where it happened, possibly in another process; may be empty.
    """

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


class ModelMemoryError(ModelError):
    """Not even one sentence at a time fits into the device's memory."""


class SentenceEncoder:
    """An :class:`~napari_cellama.core.encoder.Encoder` on a sentence transformer's folder.

    Parameters
    ----------
    folder
        The model's folder; its own configuration decides pooling, prompt and normalisation.
    name
        What provenance calls the model; by default the folder's name.
    device
        ``"auto"`` (a GPU if there is one), ``"cpu"``, ``"mps"``, ``"cuda"`` (all GPUs, which
        share the work) or ``"cuda:N"``. A GPU that fails midway gives way to the CPU.
    dtype
        ``"float32"``, ``"bfloat16"`` or ``"auto"``, as for :func:`~.loaded_model.load_model`.
    weights_sha256
        What the weights' hash must be; by default whatever it is.

    Attributes
    ----------
    notices
        What the user should know, one sentence each; grows while loading and embedding.
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
        self.folder = Path(folder)
        self.name = name or self.folder.name
        self.device = device
        self.dtype = dtype
        self.notices: list[str] = []
        self._sha256 = weights_sha256
        self._model: LoadedModel | None = None
        self._info: EncoderInfo | None = None
        self._counter: TokenCounter | None = None

    def start(self) -> None:
        """Do nothing: :meth:`load` works in the caller's own thread."""

    def load(self, cancel: CancelToken) -> EncoderInfo:
        """Load the model unless it is there already, and say what it is.

        Raises
        ------
        UserError
            When the folder is no model, its weights are missing, altered or not safetensors, or
            the device that was asked for is not there or fails.
        """
        if self._info is None:
            cancel.check()
            self._check_weights()
            self._open(device_groups(self.device), cancel)
        return self._info

    def encode(
        self, sentences: Sequence[str], cancel: CancelToken
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (rows, vectors) batch by batch, about the longest sentences first.

        Sentences of the same number of tokens share a batch, or nearly the same where there are
        few, so that next to nothing is computed for padding. Out of memory halves the batch from
        there on; what a GPU that fails has not answered is embedded on the CPU.

        Raises
        ------
        Cancelled
            Between two batches.
        ModelMemoryError
            When a single sentence does not fit.
        ModelError
            When the CPU fails.
        """
        self.load(cancel)
        with closing(
            Batches(sentences, self._read_tokens, self._features, lambda: self._model.batch_tokens)
        ) as batches:
            begun: deque[tuple[Batch, Callable[[], np.ndarray] | None]] = deque()
            while True:
                cancel.check()
                batch = batches.next() if len(begun) < self._model.ahead else None
                if batch is None and not begun:
                    return
                if batch is not None:
                    waits = self._attempt(partial(self._model.start, batch), batch, cancel)
                    begun.append((batch, waits))
                    if waits is not None:
                        continue
                else:
                    batch, waits = begun[0]
                    vectors = self._attempt(waits, batch, cancel)
                    if vectors is not None:
                        begun.popleft()
                        yield batch.rows, vectors
                        continue
                batches.give_back([failed for failed, _ in begun])
                begun.clear()

    def count_tokens(self, sentences: Sequence[str]) -> np.ndarray:
        """Return (len(sentences),) int64: each sentence's length in tokens, uncut."""
        if (self.folder / "tokenizer.json").is_file():
            self._counter = self._counter or TokenCounter(self.folder)
            return self._counter.count(sentences)
        self.load(CancelToken())
        tokenizer = self._model.copies[0].tokenizer
        prompt = model_prompt(self.folder)
        lengths = [
            len(tokenizer(prompt + text, truncation=False)["input_ids"]) for text in sentences
        ]
        return np.array(lengths, np.int64)

    def _check_weights(self) -> None:
        """Refuse weights other than those asked for: all is kept under their hash."""
        found = weights_hash(self.folder)
        if self._sha256 not in ("", found):
            raise UserError(
                f"The weights in {self.folder} have been altered (sha256 {found[:12]}…, not "
                f"{self._sha256[:12]}…); restore them, or run again to use them as they are now."
            )
        self._sha256 = found

    def _read_tokens(self, sentences: list[str]) -> tuple[np.ndarray, list[list[int]] | None]:
        """Return sentences' lengths, within the model's limit, and their ids if it takes those."""
        ids = None
        if self._model.fed is not None:
            ids = self._model.fed.ids(sentences)
            lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        else:
            try:
                lengths = self.count_tokens(sentences)
            except Exception:  # a tokenizer of its own kind; there is only more padding by letters
                lengths = np.array([len(text) for text in sentences], np.int64)
        return np.clip(lengths, 1, self._model.limit), ids

    def _features(self, ids: list[list[int]]) -> dict[str, Any] | None:
        return None if self._model.fed is None else self._model.fed.features(ids)

    def _open(self, groups: list[list[str]], cancel: CancelToken) -> None:
        """Put the model onto the first of the groups of devices that works."""
        for number, devices in enumerate(groups, 1):
            try:
                self._model = load_model(self.folder, devices, self.dtype, cancel)
            except (Cancelled, UserError):
                raise
            except Exception as error:
                if number == len(groups):
                    raise UserError(
                        f"The language model cannot run on the device {', '.join(devices)!r} "
                        f"({reason(error)}); choose another device, or 'auto'."
                    ) from error
                self._note_failure(", ".join(devices), error)
                continue
            self._info = EncoderInfo(
                model=self.name,
                weights_sha256=self._sha256,
                device=",".join(devices),
                device_name=device_name(devices),
                dtype=self._model.dtype,
                dim=self._model.dim,
                max_seq_length=self._model.limit,
                settings_sha256=settings_hash(self.folder),
            )
            return

    def _attempt(self, work: Callable[[], T], batch: Batch, cancel: CancelToken) -> T | None:
        """Return what comes of it, or ``None`` after making it likelier that it succeeds."""
        try:
            return work()
        except Exception as error:
            problem, details = error, traceback.format_exc()
            # The traceback holds the batch's tensors, which must be free before the next try.
            problem.__traceback__ = problem.__context__ = None
        if is_out_of_memory(problem):
            self._halve_batch(batch, details)
        else:
            self._leave_device(problem, details, cancel)
        return None

    def _halve_batch(self, batch: Batch, details: str) -> None:
        if len(batch.rows) == 1:
            raise ModelMemoryError(
                f"The language model runs out of memory on {self._info.device_name} even with one "
                "sentence at a time; close other programs, or choose another device or a smaller "
                "model.",
                details,
            )
        self._model.batch_tokens = batch.tokens // 2
        if self._info.device.startswith("cuda"):
            import torch

            torch.cuda.empty_cache()

    def _leave_device(self, problem: Exception, details: str, cancel: CancelToken) -> None:
        """Go on with the CPU, if that is not what failed: hours of work may be at stake."""
        if self._info.device == "cpu":
            raise ModelError(
                f"The language model failed on {self._info.device_name}: {reason(problem)}.",
                details,
            )
        self._note_failure(self._info.device_name, problem)
        # Its memory is let go of; the thread that reads ahead still asks how it is fed.
        self._model.copies.clear()
        self._info = None
        self._open([["cpu"]], cancel)

    def _note_failure(self, device: str, error: Exception) -> None:
        self.notices.append(
            f"The language model cannot run on {device} ({reason(error)}); it runs on the CPU "
            "instead, which is slower."
        )
