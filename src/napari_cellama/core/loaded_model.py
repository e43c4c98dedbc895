"""A sentence transformer read from its folder, on its devices, in a precision true to float32.

Needs numpy, torch and sentence-transformers and nothing else; the latter two are imported when a
model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_cellama.core import cpu_attention
from napari_cellama.core.batches import LEAST_BATCH, Batch, batch_tokens
from napari_cellama.core.events import CancelToken
from napari_cellama.core.forward import Feeding, encoded, feeding, start
from napari_cellama.core.model_files import model_prompt
from napari_cellama.core.streams import MOST_STREAMS, Streams
from napari_cellama.core.torch_devices import computes_bfloat16, reason
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


@dataclass
class LoadedModel:
    """A model ready to embed, one copy a device.

    Attributes
    ----------
    copies
        One on each of the devices, which take turns.
    devices
        As PyTorch names them.
    dtype
        ``"float32"`` or ``"bfloat16"``.
    dim
        Length of a vector.
    limit
        Tokens that it reads of a sentence.
    fed
        How it is given ids; ``None`` where its own ``encode`` must find them.
    streams
        Threads that share a processor's cores; ``None`` on other devices.
    batch_tokens
        Tokens a batch, padding included; who runs out of memory may lower it.
    """

    copies: list[SentenceTransformer]
    devices: list[str]
    dtype: str
    dim: int
    limit: int
    fed: Feeding | None
    streams: Streams | None
    batch_tokens: int
    _turn: int = 0

    @property
    def ahead(self) -> int:
        """How many batches are begun before the first is waited for: no device is ever idle."""
        if self.devices == ["cpu"]:
            return 1 if self.streams is None else self.streams.number + 1
        return 2 * len(self.copies)

    def start(self, batch: Batch) -> Callable[[], np.ndarray]:
        """Begin a batch on the device whose turn it is, and return what waits for its vectors."""
        self._turn += 1
        model = self.copies[self._turn % len(self.copies)]
        begin = partial(start, model, batch.sentences, batch.features if self.fed else None)
        return begin() if self.streams is None else self.streams.start(lambda: begin()())


def load_model(folder: Path, devices: list[str], dtype: str, cancel: CancelToken) -> LoadedModel:
    """Read a model and put it onto devices that share the work.

    Parameters
    ----------
    folder
        The model's.
    devices
        As PyTorch names them.
    dtype
        ``"float32"``, ``"bfloat16"``, or ``"auto"``: bfloat16 where the first device's hardware
        computes in it and its vectors of :data:`PROBES` have a cosine of at least
        :data:`MIN_COSINE` to float32's.
    cancel
        Looked at between the steps.

    Raises
    ------
    UserError
        When the folder's model cannot be read.
    Exception
        Of any kind, when a device fails.
    """
    model = _read(folder)
    cancel.check()
    model.to(devices[0])
    reference = encoded(model, PROBES)
    cancel.check()
    if dtype == "bfloat16":
        _to_bfloat16(model, devices[0])
    elif dtype == "auto" and computes_bfloat16(devices[0]):
        _to_bfloat16(model, devices[0])
        if _is_true_to(reference, model):
            dtype = "bfloat16"
        else:
            model, dtype = _read(folder).to(devices[0]), "float32"
    else:
        dtype = "float32"
    copies = [model, *(deepcopy(model).to(device) for device in devices[1:])]
    fed = feeding(model, model_prompt(folder), PROBES)
    tokens, streams = batch_tokens(model, devices[0]), None
    # A tokenizer that a model's own encode calls is not for several threads.
    if devices == ["cpu"] and fed is not None:
        streams = Streams(max(1, min(MOST_STREAMS, tokens // LEAST_BATCH)))
        tokens //= streams.number
    limit = min(model.max_seq_length or 2**31 - 1, 2**31 - 1)
    return LoadedModel(copies, devices, dtype, reference.shape[1], limit, fed, streams, tokens)


def _read(folder: Path) -> SentenceTransformer:
    """Read the model from its folder into float32 on the CPU; never run its code."""
    from sentence_transformers import SentenceTransformer

    try:
        model = SentenceTransformer(
            str(folder.resolve()),
            device="cpu",
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True},
        )
    except Exception as error:
        raise UserError(f"The model in {folder} cannot be loaded: {reason(error)}.") from error
    return model.float().eval()


def _to_bfloat16(model: SentenceTransformer, device: str) -> None:
    """Turn a model's parameters into bfloat16, and quicken it where it runs on a CPU."""
    import torch

    # Only the parameters: buffers such as rotary frequencies need float32's digits.
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)
    if device == "cpu":
        _quicken(model)


def _quicken(model: SentenceTransformer) -> None:
    """Give a bfloat16 model on a CPU the attention made for it, unless vectors then differ."""
    before = encoded(model, PROBES)
    if cpu_attention.install(model) and not _is_true_to(before, model):
        cpu_attention.uninstall(model)


def _is_true_to(reference: np.ndarray, model: SentenceTransformer) -> bool:
    """Whether a model's vectors of the probes are those it should give, all but for rounding."""
    try:
        return (encoded(model, PROBES) * reference).sum(axis=1).min() >= MIN_COSINE
    except Exception:  # a layer that knows no bfloat16, or calls its attention in another way
        return False
