"""A sentence transformer in this very process.

Needs numpy, torch and sentence-transformers and nothing else, so that it also runs on a bare GPU
node; the latter two are imported when a model is loaded. Windows, notebooks and the command line
use it through :class:`~napari_cellama.core.model_process.ModelProcess`.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_cellama.core import cpu_attention
from napari_cellama.core.batches import batch_end, batch_tokens
from napari_cellama.core.devices import cpu_name
from napari_cellama.core.encoder import EncoderInfo
from napari_cellama.core.events import CancelToken
from napari_cellama.core.model_files import (
    TokenCounter,
    model_prompt,
    settings_hash,
    weight_files,
    weights_hash,
)
from napari_cellama.errors import UserError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

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
        ``"auto"`` (a GPU if there is one, and the CPU where it fails), ``"cpu"``, ``"mps"``,
        ``"cuda"`` or ``"cuda:N"``.
    dtype
        ``"float32"``, ``"bfloat16"``, or ``"auto"``: bfloat16 where the hardware computes in it
        and its vectors of :data:`PROBES` have a cosine of at least :data:`MIN_COSINE` to
        float32's.
    weights_sha256
        The weights' hash where it is known already; else it is computed on loading.

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
        self._model: SentenceTransformer | None = None
        self._info: EncoderInfo | None = None
        self._counter: TokenCounter | None = None
        self._batch_tokens = 0

    def load(self, cancel: CancelToken) -> EncoderInfo:
        """Load the model unless it is there already, and say what it is.

        Raises
        ------
        UserError
            When the folder is no model, its weights are missing or not safetensors, or the
            device that was asked for is not there or fails.
        """
        if self._info is None:
            cancel.check()
            self._sha256 = self._sha256 or weights_hash(self.folder)
            weight_files(self.folder)
            self._open(_devices(self.device), cancel)
        return self._info

    def encode(
        self, sentences: Sequence[str], cancel: CancelToken
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (rows, vectors) batch by batch, the longest sentences first.

        Sentences of the same number of tokens share a batch, or nearly the same where there are
        few, so that next to nothing is computed for padding. Out of memory halves the batch from
        there on.

        Raises
        ------
        Cancelled
            Between two batches.
        ModelMemoryError
            When a single sentence does not fit.
        ModelError
            When the device fails and is the CPU or was asked for.
        """
        self.load(cancel)
        lengths = np.clip(self._lengths(sentences), 1, self._info.max_seq_length)
        order = np.argsort(-lengths, kind="stable")
        lengths, start = lengths[order], 0
        while start < len(order):
            cancel.check()
            end = batch_end(lengths, start, self._batch_tokens)
            rows = order[start:end]
            tokens = int(lengths[start]) * len(rows)
            vectors = self._try_batch([sentences[row] for row in rows], tokens, cancel)
            if vectors is not None:
                yield rows, vectors
                start += len(rows)

    def count_tokens(self, sentences: Sequence[str]) -> np.ndarray:
        """Return (len(sentences),) int64: each sentence's length in tokens, uncut."""
        if (self.folder / "tokenizer.json").is_file():
            self._counter = self._counter or TokenCounter(self.folder)
            return self._counter.count(sentences)
        self.load(CancelToken())
        tokenizer = self._model.tokenizer
        prompt = model_prompt(self.folder)
        lengths = [
            len(tokenizer(prompt + text, truncation=False)["input_ids"]) for text in sentences
        ]
        return np.array(lengths, np.int64)

    def _lengths(self, sentences: Sequence[str]) -> np.ndarray:
        """Return (len(sentences),) int64: tokens, or letters where they cannot be counted."""
        try:
            return self.count_tokens(sentences)
        except Exception:  # a tokenizer of its own kind; batches then only have more padding
            return np.array([len(text) for text in sentences], np.int64)

    def _open(self, devices: list[str], cancel: CancelToken) -> None:
        """Put the model onto the first of ``devices`` that works."""
        for number, device in enumerate(devices, 1):
            model = self._read()
            cancel.check()
            try:
                model.to(device)
                reference = _embed(model, PROBES)
            except Exception as error:
                if number == len(devices):
                    raise UserError(
                        f"The language model cannot run on the device {device!r} "
                        f"({_reason(error)}); choose another device, or 'auto'."
                    ) from error
                self._note_failure(device, error)
                continue
            cancel.check()
            model, dtype = self._set_dtype(model, device, reference)
            self._model = model
            self._batch_tokens = batch_tokens(model, device)
            self._info = EncoderInfo(
                model=self.name,
                weights_sha256=self._sha256,
                device=str(model.device),
                device_name=_device_name(str(model.device)),
                dtype=dtype,
                dim=reference.shape[1],
                max_seq_length=min(model.max_seq_length or 2**31 - 1, 2**31 - 1),
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
                f"The model in {self.folder} cannot be loaded: {_reason(error)}."
            ) from error
        return model.float().eval()

    def _set_dtype(
        self, model: SentenceTransformer, device: str, reference: np.ndarray
    ) -> tuple[SentenceTransformer, str]:
        """Turn the model into bfloat16 if that is asked for, or native and true to float32."""
        if self.dtype == "float32" or (self.dtype == "auto" and not _computes_bfloat16(device)):
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
            if (_embed(model, PROBES) * reference).sum(axis=1).min() >= MIN_COSINE:
                return model, "bfloat16"
        except Exception:  # some layers know no bfloat16; float32 is the answer to that, too
            pass
        return self._read().to(device), "float32"

    def _try_batch(
        self, sentences: list[str], tokens: int, cancel: CancelToken
    ) -> np.ndarray | None:
        """Return the vectors, or ``None`` after making it likelier that another try succeeds."""
        try:
            return _embed(self._model, sentences)
        except Exception as error:
            problem, details = error, traceback.format_exc()
            # The traceback holds the batch's tensors, which must be free before the next try.
            problem.__traceback__ = problem.__context__ = None
        if _is_out_of_memory(problem):
            self._halve_batch(len(sentences), tokens, details)
        else:
            self._leave_device(problem, details, cancel)
        return None

    def _halve_batch(self, size: int, tokens: int, details: str) -> None:
        if size == 1:
            raise ModelMemoryError(
                f"The language model runs out of memory on {self._info.device_name} even with one "
                "sentence at a time; close other programs, or choose another device or a smaller "
                "model.",
                details,
            )
        self._batch_tokens = tokens // 2
        if self._info.device.startswith("cuda"):
            import torch

            torch.cuda.empty_cache()

    def _leave_device(self, problem: Exception, details: str, cancel: CancelToken) -> None:
        """Go on with the CPU if the device was ours to choose."""
        if self.device != "auto" or self._info.device == "cpu":
            raise ModelError(
                f"The language model failed on {self._info.device_name}: {_reason(problem)}.",
                details,
            )
        self._note_failure(self._info.device_name, problem)
        self._model = self._info = None
        self._open(["cpu"], cancel)

    def _note_failure(self, device: str, error: Exception) -> None:
        self.notices.append(
            f"The language model cannot run on {device} ({_reason(error)}); it runs on the CPU "
            "instead, which is slower."
        )


def _quicken(model: SentenceTransformer) -> None:
    """Give a bfloat16 model on a CPU the attention made for it, unless vectors then differ."""
    before = _embed(model, PROBES)
    if not cpu_attention.install(model):
        return
    try:
        same = (_embed(model, PROBES) * before).sum(axis=1).min() >= MIN_COSINE
    except Exception:  # a layer that calls it in another way; its own attention is there still
        same = False
    if not same:
        cpu_attention.uninstall(model)


def _embed(model: SentenceTransformer, sentences: Sequence[str]) -> np.ndarray:
    """Return (len(sentences), d) float32 vectors of unit length."""
    vectors = model.encode(
        list(sentences), batch_size=len(sentences), show_progress_bar=False, convert_to_numpy=True
    ).astype(np.float32)
    if not np.isfinite(vectors).all():
        raise ArithmeticError("it computed vectors that are not numbers")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norms, np.finfo(np.float32).tiny)


def _devices(device: str) -> list[str]:
    """Return the devices to try, best first.

    Raises
    ------
    UserError
        When the one that was asked for is not there.
    """
    import torch

    found = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    found += ["mps"] if torch.backends.mps.is_available() else []
    found += ["cpu"]
    if device == "auto":
        return found if found[0] == "cpu" else [found[0], "cpu"]
    wanted = "cuda:0" if device == "cuda" else device
    if wanted not in found:
        raise UserError(
            f"PyTorch finds no device {device!r} here; choose 'auto' or one of: {', '.join(found)}."
        )
    return [wanted]


def _device_name(device: str) -> str:
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return "Apple GPU (MPS)" if device == "mps" else cpu_name()


def _computes_bfloat16(device: str) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if hasattr(torch.cpu, "get_capabilities"):
        has = torch.cpu.get_capabilities()
        return any(has.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return torch.cpu._is_avx512_bf16_supported()


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
    )


def _reason(error: BaseException) -> str:
    """Return the first line of an error's message, without its full stop."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(". ") if lines else type(error).__name__
