"""Small tissues and an encoder without a model."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from napari_cellama.core.encoder import EncoderInfo
from napari_cellama.core.events import Finished, Notice
from napari_cellama.core.pipeline import run

SHARED = Path(__file__).parents[3] / "shared" / "data"


class HashEncoder:
    """Gives every sentence a unit vector made from its words, the same on every machine.

    Sentences that share words are near each other, as with a language model; what it embedded
    is kept for tests to look at.
    """

    dim = 64

    def __init__(self, max_seq_length: int = 256, batch: int = 50) -> None:
        self.max_seq_length = max_seq_length
        self.batch = batch
        self.embedded: list[str] = []
        self.notices: list[str] = []

    def start(self) -> None:
        """Do nothing."""

    def load(self, cancel):
        return EncoderInfo("hash", "0", "cpu", "test CPU", "float32", self.dim, self.max_seq_length)

    def encode(self, sentences, cancel):
        order = np.argsort([len(text) for text in sentences], kind="stable")
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            self.embedded += [sentences[row] for row in rows]
            yield rows, np.stack([self._vector(sentences[row]) for row in rows])

    def count_tokens(self, sentences):
        return np.array([len(self._words(text)) for text in sentences])

    @staticmethod
    def _words(text: str) -> list[str]:
        return text.replace(",", " ").split()

    def _vector(self, text: str) -> np.ndarray:
        total = np.zeros(self.dim)
        for word in self._words(text):
            total += word_vector(word, self.dim)
        return (total / np.linalg.norm(total)).astype(np.float32)


@cache
def word_vector(word: str, dim: int) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).normal(size=dim)


def make_tissue(n_obs: int = 300, n_vars: int = 24, seed: int = 0) -> ad.AnnData:
    """Return a tissue of three stripes (obs['region']), each with types and genes of its own."""
    rng = np.random.default_rng(seed)
    coords = rng.uniform(0, 300, (n_obs, 2))
    region = (coords[:, 0] // 100).astype(int)
    kind = 2 * region + rng.integers(0, 2, n_obs)
    means = np.full((6, n_vars), 0.2)
    for k in range(6):
        means[k, 4 * k : 4 * k + 4] = 8
    counts = rng.poisson(means[kind]).astype(np.float32)
    counts[:, 0] += 1  # every cell expresses a gene
    adata = ad.AnnData(
        sp.csr_matrix(counts),
        obs=pd.DataFrame(
            {
                "celltype": pd.Categorical([f"type {k}" for k in kind]),
                "region": pd.Categorical(region.astype(str)),
            },
            index=[f"cell{i}" for i in range(n_obs)],
        ),
        var=pd.DataFrame(index=[f"Gene{j}" for j in range(n_vars)]),
    )
    adata.obsm["spatial"] = coords
    return adata


def finish(adata, recipe, encoder, **more):
    """Run to the end; return the result and the events before it."""
    *events, last = run(adata, recipe, encoder=encoder, **more)
    assert isinstance(last, Finished)
    return last.result, events


def section(name: str) -> ad.AnnData:
    """Return one of the real sections, or skip."""
    path = SHARED / f"{name}.h5ad"
    if not path.exists():
        pytest.skip(f"the real section {path} is not here")
    return ad.read_h5ad(path)


def said(events) -> str:
    """Return the notices among a run's events."""
    return "\n".join(event.text for event in events if isinstance(event, Notice))


def finished(steps):
    """Return what a generator yields, and its value."""
    events = []
    while True:
        try:
            events.append(next(steps))
        except StopIteration as end:
            return events, end.value
