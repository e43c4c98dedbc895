"""How fast sentences are embedded exactly, beside sentence-transformers' own encode.

    python benchmarks/embedding.py [--cells 240] [--rounds 7] [--genes 16] [--device cpu]

The sentences are the sample tissue's, genes and cell type in one, different ones only. Each round
times everything once, beginning with another one each time, so that a busy machine is as busy for
all; the table has the median over the rounds, and the ratios' medians within rounds.

- encode, float32: ``SentenceTransformer.encode`` as anybody calls it
- encode, bfloat16: the same on the same model in bfloat16
- engine: ``SentenceEncoder``, in this process
- ModelProcess: the same as the window, Python and the command line use it
- matrix products: what the model's arithmetic would take at the speed of one large product,
  measured in the same round
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from napari_cellama.core.devices import cpu_name
from napari_cellama.core.embedding import SentenceEncoder
from napari_cellama.core.encoder import Encoder
from napari_cellama.core.events import CancelToken
from napari_cellama.core.model_process import ModelProcess
from napari_cellama.io.models import BUNDLED, resolve_model


def make_sentences(n_cells: int, n_genes: int) -> tuple[list[str], int]:
    """Return different sentences of the sample tissue's cells, and how many cells they are of."""
    import napari_cellama as nc

    adata = nc.sample.tissue(max(n_cells, 600), seed=0)[:n_cells].copy()
    made = nc.cell_sentences(adata, n_top_genes=n_genes, obs_features=["cell_type"])
    made = [text for text in made if isinstance(text, str)]
    return list(dict.fromkeys(made)), len(made)


def embed(encoder: Encoder, sentences: Sequence[str]) -> np.ndarray:
    """Return all vectors."""
    cancel = CancelToken()
    vectors = np.empty((len(sentences), encoder.load(cancel).dim), np.float32)
    for rows, batch in encoder.encode(sentences, cancel):
        vectors[rows] = batch
    return vectors


def product_rate(dtype: Any, device: str) -> float:
    """Return the floating-point operations a second of one large product, the best of some."""
    import torch

    m, n, k = (4096, 1536, 768) if device == "cpu" else (16384, 8192, 8192)
    left = torch.randn(m, k, dtype=dtype, device=device)
    right = torch.randn(k, n, dtype=dtype, device=device)
    best = np.inf
    for _ in range(8):
        _wait(device)
        start = time.perf_counter()
        left @ right
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return 2 * m * n * k / best


def _wait(device: str) -> None:
    if device != "cpu":
        import torch

        torch.cuda.synchronize()


def operations(model: Any, lengths: np.ndarray) -> float:
    """Return the operations of a transformer's matrix products on sentences of these tokens."""
    import torch

    weights = sum(
        part.weight.numel()
        for layer in model[0].auto_model.encoder.layer
        for part in layer.modules()
        if isinstance(part, torch.nn.Linear)
    )
    config = model[0].auto_model.config
    attention = 2 * config.num_hidden_layers * config.hidden_size * lengths**2
    return float(2 * (weights * lengths + attention).sum())


def timed(work: Callable[[], Any], n: int) -> float:
    """Return things a second."""
    start = time.perf_counter()
    work()
    return n / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--genes", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    import torch
    from sentence_transformers import SentenceTransformer

    sentences, n_cells = make_sentences(options.cells, options.genes)
    folder = resolve_model(BUNDLED).path
    plain = SentenceTransformer(str(folder), device=options.device)
    half = SentenceTransformer(str(folder), device=options.device).bfloat16()
    engine = SentenceEncoder(folder, device=options.device)
    process = ModelProcess(folder, device=options.device)
    info = engine.load(CancelToken())
    lengths = engine.count_tokens(sentences)
    cost = operations(plain, np.minimum(lengths, info.max_seq_length).astype(float))
    dtype = getattr(torch, info.dtype)

    runs: dict[str, Callable[[], Any]] = {
        "encode, float32": lambda: plain.encode(sentences, show_progress_bar=False),
        "encode, bfloat16": lambda: half.encode(sentences, show_progress_bar=False),
        f"engine ({info.dtype})": lambda: embed(engine, sentences),
        f"ModelProcess ({info.dtype})": lambda: embed(process, sentences),
    }
    reference = runs["encode, float32"]()
    vectors = embed(engine, sentences)
    cosines = (vectors * reference).sum(axis=1) / np.linalg.norm(reference, axis=1)
    embed(process, sentences[:32])
    rates: dict[str, list[float]] = {name: [] for name in [*runs, "matrix products"]}
    for number in range(options.rounds):
        names = list(runs)
        first = number % len(names)  # nobody always comes after the same other
        for name in names[first:] + names[:first]:
            rates[name].append(timed(runs[name], len(sentences)))
        rates["matrix products"].append(product_rate(dtype, options.device) / cost * len(sentences))
    process.close()

    measured = {name: np.array(values) for name, values in rates.items()}
    print(
        f"{info.device_name if options.device != 'cpu' else cpu_name()}; torch {torch.__version__}"
    )
    print(
        f"{len(sentences)} different sentences of {n_cells} cells "
        f"({len(sentences) / n_cells:.1%} distinct), {lengths.mean():.0f} tokens on average"
    )
    print(f"least cosine of the engine's vectors to float32's: {cosines.min():.5f}")
    columns = ("sentences/s", "x float32", "x bfloat16", "of ceiling")
    print(
        f"{'median of ' + str(options.rounds) + ' rounds':<26}"
        + "".join(f"{c:>13}" for c in columns)
    )
    for name, values in measured.items():
        ratios = [
            np.median(values / measured[other])
            for other in ("encode, float32", "encode, bfloat16", "matrix products")
        ]
        print(
            f"{name:<26}{np.median(values):13.1f}{ratios[0]:13.2f}{ratios[1]:13.2f}"
            f"{ratios[2]:13.0%}"
        )


if __name__ == "__main__":
    main()
