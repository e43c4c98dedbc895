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
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from napari_cellama.core import cpu_attention
from napari_cellama.core.batches import LEAST_BATCH, Batch, Batches, batch_tokens
from napari_cellama.core.encoder import EncoderInfo
from napari_cellama.core.events import CancelToken
from napari_cellama.core.forward import Feeding, encoded, feeding, start
from napari_cellama.core.model_files import (
    TokenCounter,
    model_prompt,
    settings_hash,
    weights_hash,
)
from napari_cellama.core.streams import MOST_STREAMS, Streams
from napari_cellama.core.torch_devices import (
    computes_bfloat16,
    device_groups,
    device_name,
    is_out_of_memory,
    reason,
)
from napari_cellama.errors import Cancelled, UserError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

T = TypeVar("T")

#: bfloat16 is taken only if every probe's vector has at least this cosine to float32's.
MIN_COSINE = 0.998

#: Short, usual and long sentences of the kinds that are embedded, to compare precisions on.
PROBES = (
    "celltype of this cell is Oligodendrocyte.",
    "Top gene is MBP.",
    "Top genes are Plp1, Mbp, Mobp, Cldn11, and Mog. celltype of this cell is OPC.",
    "Top genes are EPCAM, KRT8, KRT18, MUC1, CDH1, ERBB2, ESR1, GATA3, FOXA1, XBP1, TFF1, TFF3, "
    "AGR2, CD24, KRT19, and CLDN4.",
    "nearest_cells of this cell is Endothelial,Pericyte,Astrocyte,Astrocyte,Microglia,Neuron L2/3,"
    "Neuron L4,Interneuron Pvalb,Oligodendrocyte,OPC.",
    "Top genes are CD3E, CD8A, GZMB, NKG7, PRF1, IFNG, CCL5, CXCR3, LAG3, PDCD1, TIGIT, HAVCR2, "
    "TOX, EOMES, KLRG1, and CTLA4. celltype of this cell is CD8+ T cell. nearest_cells of this "
    "cell is Tumor,Tumor,Macrophage,CD8+ T cell,Tumor,Fibroblast,Tumor,Dendritic cell,Treg,Tumor.",
)


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
        ``"float32"``, ``"bfloat16"``, or ``"auto"``: bfloat16 where the hardware computes in it
        and its vectors of :data:`PROBES` have a cosine of at least :data:`MIN_COSINE` to
        float32's.
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
        self._models: list[SentenceTransformer] = []
        self._fed: Feeding | None = None
        self._streams: Streams | None = None
        self._turn = 0
        self._info: EncoderInfo | None = None
        self._counter: TokenCounter | None = None
        self._batch_tokens = self._limit = 0

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
            Batches(sentences, self._read_tokens, self._features, lambda: self._batch_tokens)
        ) as batches:
            begun: deque[tuple[Batch, Callable[[], np.ndarray] | None]] = deque()
            while True:
                cancel.check()
                batch = batches.next() if len(begun) < self._ahead else None
                if batch is None and not begun:
                    return
                if batch is not None:
                    waits = self._attempt(partial(self._start, batch), batch, cancel)
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
        tokenizer = self._models[0].tokenizer
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
        if self._fed is not None:
            ids = self._fed.ids(sentences)
            lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        else:
            try:
                lengths = self.count_tokens(sentences)
            except Exception:  # a tokenizer of its own kind; there is only more padding by letters
                lengths = np.array([len(text) for text in sentences], np.int64)
        return np.clip(lengths, 1, self._limit), ids

    def _features(self, ids: list[list[int]]) -> dict[str, Any] | None:
        return None if self._fed is None else self._fed.features(ids)

    @property
    def _ahead(self) -> int:
        """How many batches are begun before the first is waited for: no device is ever idle."""
        if self._info.device == "cpu":
            return 1 if self._streams is None else self._streams.number + 1
        return 2 * len(self._models)

    def _start(self, batch: Batch) -> Callable[[], np.ndarray]:
        """Begin a batch on the device whose turn it is."""
        self._turn += 1
        model = self._models[self._turn % len(self._models)]
        begin = partial(start, model, batch.sentences, batch.features if self._fed else None)
        return begin() if self._streams is None else self._streams.start(lambda: begin()())

    def _open(self, groups: list[list[str]], cancel: CancelToken) -> None:
        """Put the model onto the first of the groups of devices that works."""
        for number, devices in enumerate(groups, 1):
            model = self._read()
            cancel.check()
            try:
                model.to(devices[0])
                reference = encoded(model, PROBES)
                cancel.check()
                model, dtype = self._set_dtype(model, devices[0], reference)
                models = [model, *(deepcopy(model).to(device) for device in devices[1:])]
            except Cancelled:
                raise
            except Exception as error:
                if number == len(groups):
                    raise UserError(
                        f"The language model cannot run on the device {', '.join(devices)!r} "
                        f"({reason(error)}); choose another device, or 'auto'."
                    ) from error
                self._note_failure(", ".join(devices), error)
                continue
            self._models = models
            self._fed = feeding(model, model_prompt(self.folder), PROBES)
            self._batch_tokens = batch_tokens(model, devices[0])
            self._streams = None
            # A tokenizer that a model's own encode calls is not for several threads.
            if devices == ["cpu"] and self._fed is not None:
                most = min(MOST_STREAMS, self._batch_tokens // LEAST_BATCH)
                self._streams = Streams(max(1, most))
                self._batch_tokens //= self._streams.number
            self._limit = min(model.max_seq_length or 2**31 - 1, 2**31 - 1)
            self._info = EncoderInfo(
                model=self.name,
                weights_sha256=self._sha256,
                device=",".join(devices),
                device_name=device_name(devices),
                dtype=dtype,
                dim=reference.shape[1],
                max_seq_length=self._limit,
                settings_sha256=settings_hash(self.folder),
            )
            return

    def _read(self) -> SentenceTransformer:
        """Read the model from its folder into float32 on the CPU; never run its code."""
        from sentence_transformers import SentenceTransformer

        try:
            model = SentenceTransformer(
                str(self.folder.resolve()),
                device="cpu",
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={"use_safetensors": True},
            )
        except Exception as error:
            raise UserError(
                f"The model in {self.folder} cannot be loaded: {reason(error)}."
            ) from error
        return model.float().eval()

    def _set_dtype(
        self, model: SentenceTransformer, device: str, reference: np.ndarray
    ) -> tuple[SentenceTransformer, str]:
        """Turn the model into bfloat16 if that is asked for, or native and true to float32."""
        if self.dtype == "float32" or (self.dtype == "auto" and not computes_bfloat16(device)):
            return model, "float32"
        import torch

        # Only the parameters: buffers such as rotary frequencies need float32's digits.
        for parameter in model.parameters():
            parameter.data = parameter.data.to(torch.bfloat16)
        if device == "cpu":
            _quicken(model)
        if self.dtype == "bfloat16":
            return model, "bfloat16"
        try:
            if (encoded(model, PROBES) * reference).sum(axis=1).min() >= MIN_COSINE:
                return model, "bfloat16"
        except Exception:  # some layers know no bfloat16; float32 is the answer to that, too
            pass
        return self._read().to(device), "float32"

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
        self._batch_tokens = batch.tokens // 2
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
        self._models, self._info = [], None
        self._open([["cpu"]], cancel)

    def _note_failure(self, device: str, error: Exception) -> None:
        self.notices.append(
            f"The language model cannot run on {device} ({reason(error)}); it runs on the CPU "
            "instead, which is slower."
        )


def _quicken(model: SentenceTransformer) -> None:
    """Give a bfloat16 model on a CPU the attention made for it, unless vectors then differ."""
    before = encoded(model, PROBES)
    if not cpu_attention.install(model):
        return
    try:
        same = (encoded(model, PROBES) * before).sum(axis=1).min() >= MIN_COSINE
    except Exception:  # a layer that calls it in another way; its own attention is there still
        same = False
    if not same:
        cpu_attention.uninstall(model)
