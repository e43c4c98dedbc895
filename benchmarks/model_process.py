"""How fast the language model embeds beside scanpy: in a process of its own, and in the same one.

    python benchmarks/model_process.py [--sentences 512]

Runs scanpy's ``normalize_total`` and ``pca`` first, as every notebook does, then embeds the same
kind of sentences twice: through ModelProcess, and with sentence-transformers right here. The
latter is timed in a fresh process, too, which is what the machine can do.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

import numpy as np

from napari_cellama.core.embedding import SentenceEncoder
from napari_cellama.core.encoder import Encoder
from napari_cellama.core.events import CancelToken
from napari_cellama.core.model_process import ModelProcess
from napari_cellama.io.models import BUNDLED, describe_device, resolve_model


def make_sentences(n: int) -> list[str]:
    """Return n different sentences of 7 genes, about 40 tokens each."""
    rng = np.random.default_rng(0)
    genes = [f"{chr(65 + i % 26)}{chr(65 + i // 26)}{i % 9}" for i in range(300)]
    return [
        f"Top genes are {', '.join(rng.choice(genes, 6, replace=False))}, and {rng.choice(genes)}."
        f" celltype of this cell is Type {i}."
        for i in range(n)
    ]


def rate(encoder: Encoder, sentences: list[str]) -> float:
    """Return sentences a second, after loading and one batch to warm up."""
    cancel = CancelToken()
    encoder.load(cancel)
    list(encoder.encode(sentences[:32], cancel))
    start = time.perf_counter()
    done = sum(len(rows) for rows, _ in encoder.encode(sentences, cancel))
    return done / (time.perf_counter() - start)


def normalise_something() -> None:
    """Run what loads numba's OpenMP threads into this process."""
    import anndata as ad
    import scanpy as sc
    import scipy.sparse as sp

    counts = np.random.default_rng(0).poisson(0.3, (5000, 300)).astype(np.float32)
    adata = ad.AnnData(sp.csr_matrix(counts))
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    sc.pp.pca(adata, n_comps=30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sentences", type=int, default=512)
    parser.add_argument("--fresh", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = resolve_model(BUNDLED)
    given = {"name": folder.name, "weights_sha256": folder.weights_sha256}
    sentences = make_sentences(options.sentences)
    if options.fresh:
        print(json.dumps(rate(SentenceEncoder(folder.path, **given), sentences)))
        return

    command = [sys.executable, __file__, "--fresh", "--sentences", str(options.sentences)]
    fresh = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    normalise_something()
    process = ModelProcess(folder.path, **given)
    own = rate(process, sentences)
    info = process.load(CancelToken())
    tokens = process.count_tokens(sentences).mean()
    process.close()
    same = rate(SentenceEncoder(folder.path, **given), sentences[: max(64, len(sentences) // 4)])

    print(f"Machine: {describe_device()}; model {info.model} in {info.dtype}")
    print(
        f"{len(sentences)} different sentences of {tokens:.0f} tokens, after normalize_total, pca"
    )
    print(f"{'':44}{'sentences/s':>12}{'ratio':>8}")
    for label, value in (
        ("sentence-transformers in this process", same),
        ("ModelProcess from this process", own),
        ("sentence-transformers in a fresh process", fresh),
    ):
        print(f"{label:44}{value:12.1f}{value / same:8.2f}")
    print(f"ModelProcess keeps {own / fresh:.0%} of a fresh process's rate.")


if __name__ == "__main__":
    main()
