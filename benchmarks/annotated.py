"""What the accuracy benchmarks share: annotated data, remembered embeddings, scores."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import anndata as ad
import numpy as np
from sklearn.metrics import adjusted_rand_score, roc_auc_score

from napari_cellama import sample
from napari_cellama.api import NamedEncoder
from napari_cellama.core.events import CancelToken
from napari_cellama.recipe import Recipe


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Let the command line say which data to look at."""
    parser.add_argument("sections", nargs="*", type=Path, help=".h5ad with celltype and region")
    parser.add_argument("--sample-seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--sample-cells", type=int, default=5_000)
    parser.add_argument("--sample-difficulty", type=float, default=1.0)
    parser.add_argument("--cache", type=Path, help="remember embeddings in this .npz")


def data_sets(args: argparse.Namespace) -> Iterator[tuple[str, ad.AnnData]]:
    """Yield every annotated data set with its name; obs has celltype and region only."""
    for path in args.sections:
        adata = ad.read_h5ad(path)
        adata.obs = adata.obs[["celltype", "region"]]
        yield path.stem, adata[adata.obs["region"].notna().to_numpy()].copy()
    for seed in args.sample_seeds:
        adata = sample.tissue(
            args.sample_cells, seed=seed, difficulty=args.sample_difficulty, images=False
        )
        # Nobody must find the truth in another column.
        adata.obs = adata.obs[["cell_type", "region"]].rename(columns={"cell_type": "celltype"})
        yield f"sample_{seed}", adata


class Remembering:
    """The default model, which embeds each sentence once, however often it is asked."""

    def __init__(self, cache: Path | None = None) -> None:
        recipe = Recipe()
        self._encoder = NamedEncoder(recipe.model, recipe.device, recipe.dtype)
        self._cache = cache
        self._known: dict[str, np.ndarray] = {}
        if cache is not None and cache.is_file():
            with np.load(cache) as stored:
                self._known = dict(zip(stored["texts"].tolist(), stored["vectors"], strict=True))
        self.notices: list[str] = []
        self.start, self.load = self._encoder.start, self._encoder.load
        self.count_tokens = self._encoder.count_tokens

    def encode(self, sentences, cancel):
        """Embed those that are new."""
        new = [text for text in sentences if text not in self._known]
        for rows, vectors in self._encoder.encode(new, cancel) if new else ():
            self._known.update(zip((new[row] for row in rows), vectors, strict=True))
        if new and self._cache is not None:
            texts = np.array(list(self._known), dtype=str)
            np.savez(self._cache, texts=texts, vectors=np.stack(list(self._known.values())))
        yield np.arange(len(sentences)), np.stack([self._known[text] for text in sentences])

    def seconds_a_sentence(self, sentences: Sequence[str], most: int = 64) -> float:
        """Return how long the model takes for a sentence, remembered or not."""
        some = list(sentences[:most])
        list(self._encoder.encode(some[:8], CancelToken()))  # the first ones wait for the model
        start = time.perf_counter()
        list(self._encoder.encode(some, CancelToken()))
        return (time.perf_counter() - start) / len(some)


def agreement(region: np.ndarray, codes: np.ndarray) -> float:
    """Return the adjusted Rand index; cells without a niche count as a niche of their own."""
    return float(adjusted_rand_score(region, codes))


def confidence_auc(region: np.ndarray, codes: np.ndarray, confidence: np.ndarray) -> float:
    """Return how well confidence tells cells in their niche's main region from the others."""
    labelled = codes >= 0
    inside = in_main_region(region[labelled], codes[labelled])
    return float(roc_auc_score(inside, confidence[labelled]))


def in_main_region(region: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return (n,) bool: the cell lies in the region that most of its niche lies in."""
    _, regions = np.unique(region, return_inverse=True)
    counts = np.zeros((codes.max() + 1, regions.max() + 1), int)
    np.add.at(counts, (codes, regions), 1)
    return counts.argmax(axis=1)[codes] == regions
