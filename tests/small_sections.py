"""Sections so small that the real model embeds them in a second, and a model for larger ones."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from napari_cellama.core.encoder import EncoderInfo
from napari_cellama.core.events import CancelToken

GENES = ["CD3E", "MS4A1", "EPCAM", "PECAM1", "COL1A1", "ACTA2", "LYZ", "KRT8"]
TYPES = ["T cell", "B cell", "Tumour cell", "Fibroblast"]


def small_section(n_cells: int = 24, seed: int = 0) -> ad.AnnData:
    """Return cells in two halves, each with types and genes of its own."""
    rng = np.random.default_rng(seed)
    coords = rng.uniform(0, 100, (n_cells, 2))
    kind = rng.integers(0, 2, n_cells) + 2 * (coords[:, 0] > 50)
    means = np.full((4, len(GENES)), 0.5)
    means[np.arange(4), np.arange(4)] = 9
    counts = rng.poisson(means[kind]).astype(np.float32)
    counts[:, 6] += 1  # every cell expresses a gene
    obs = pd.DataFrame(
        {"celltype": pd.Categorical(np.array(TYPES)[kind], categories=TYPES)},
        index=[f"cell{i}" for i in range(n_cells)],
    )
    adata = ad.AnnData(sp.csr_matrix(counts), obs, pd.DataFrame(index=GENES))
    adata.obsm["spatial"] = coords
    return adata


class WordEncoder:
    """Stands in for the model: a sentence's vector is the sum of its words' random vectors."""

    dim = 32

    def __init__(self, model: str = "words", device: str = "auto", dtype: str = "auto") -> None:
        self.notices: list[str] = []

    def start(self) -> None:
        """Do nothing."""

    def load(self, cancel: CancelToken) -> EncoderInfo:
        return EncoderInfo("words", "0" * 64, "cpu", "test CPU", "float32", self.dim, 256)

    def encode(
        self, sentences: Sequence[str], cancel: CancelToken
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(sentences), 50):
            cancel.check()
            rows = np.arange(start, min(start + 50, len(sentences)))
            vectors = np.stack([self._vector(sentences[row]) for row in rows])
            yield rows, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("f4")

    def count_tokens(self, sentences: Sequence[str]) -> np.ndarray:
        return np.array([len(text.split()) for text in sentences], np.int64)

    def _vector(self, text: str) -> np.ndarray:
        seeds = [zlib.crc32(word.encode()) for word in text.replace(",", " ").split()]
        return np.sum([np.random.default_rng(seed).normal(size=self.dim) for seed in seeds], axis=0)
