"""How well the default recipe finds experts' regions, over five seeds.

    python benchmarks/accuracy.py SECTION.h5ad N_REGIONS [--recipe FILE.json] [--cell-type-key COL]

The sentences are embedded once, by the model; every seed runs the whole pipeline on them. Prints
the adjusted Rand index of obs['niche'] against obs['region'] for each seed, and the median.
"""

from __future__ import annotations

import argparse

import anndata as ad
import numpy as np
from sklearn.metrics import adjusted_rand_score

from napari_cellama.api import NamedEncoder
from napari_cellama.core.events import CancelToken, Finished, Notice
from napari_cellama.core.pipeline import run
from napari_cellama.recipe import Recipe

SEEDS = range(5)


class Remembering:
    """An encoder that embeds each sentence once, however often it is asked."""

    def __init__(self, encoder) -> None:
        self._encoder = encoder
        self._known: dict[str, np.ndarray] = {}
        self.notices: list[str] = []
        self.load = encoder.load
        self.count_tokens = encoder.count_tokens

    def encode(self, sentences, cancel):
        """Embed those that are new."""
        new = [text for text in sentences if text not in self._known]
        for rows, vectors in self._encoder.encode(new, cancel) if new else ():
            self._known.update(zip((new[row] for row in rows), vectors, strict=True))
        yield np.arange(len(sentences)), np.stack([self._known[text] for text in sentences])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("section")
    parser.add_argument("n_regions", type=int)
    parser.add_argument("--recipe")
    parser.add_argument("--cell-type-key", default="celltype")
    args = parser.parse_args()
    adata = ad.read_h5ad(args.section)
    recipe = Recipe.from_file(args.recipe) if args.recipe else Recipe()
    recipe = recipe.replace(n_clusters=args.n_regions, cell_type_key=args.cell_type_key)
    encoder = Remembering(NamedEncoder(recipe.model, recipe.device, recipe.dtype))
    print(f"{args.section}: {encoder.load(CancelToken())}")
    scores = []
    for seed in SEEDS:
        for event in run(adata, recipe.replace(seed=seed), encoder=encoder):
            if isinstance(event, Notice) and seed == 0:
                print(event.text)
            if isinstance(event, Finished):
                labels = event.result.labels
        scores.append(adjusted_rand_score(adata.obs["region"].astype(str), labels.codes))
    print("ARI by seed:", " ".join(f"{score:.3f}" for score in scores))
    print(f"median {np.median(scores):.3f}")


if __name__ == "__main__":
    main()
