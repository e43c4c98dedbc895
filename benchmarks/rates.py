"""What the embedding benchmarks share; needs numpy, torch and sentence-transformers alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from napari_cellama.core.encoder import Encoder
from napari_cellama.core.events import CancelToken

#: Rates by name, one a round.
Rates = dict[str, list[float]]
PRODUCTS = "matrix products"


def make_sentences(n: int, n_genes: int = 16, seed: int = 0) -> list[str]:
    """Return n sentences of a made-up section: 14 types, each with genes of its own kind."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    genes = ["".join(rng.choice(letters, rng.integers(2, 5))) + str(i % 12) for i in range(300)]
    rate = rng.gamma(0.25, 1.2, (14, len(genes)))
    texts = []
    for kind in rng.integers(0, 14, n):
        named = [genes[i] for i in np.argsort(-rng.poisson(rate[kind]), kind="stable")[:n_genes]]
        texts.append(
            f"Top genes are {', '.join(named[:-1])}, and {named[-1]}. "
            f"celltype of this cell is Cell type {kind}."
        )
    return texts


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


def operations(model: Any, lengths: np.ndarray) -> float:
    """Return the operations of a transformer's matrix products on sentences of these tokens."""
    import torch

    bert = model[0].auto_model
    weights = sum(
        part.weight.numel()
        for layer in bert.encoder.layer
        for part in layer.modules()
        if isinstance(part, torch.nn.Linear)
    )
    attention = 2 * bert.config.num_hidden_layers * bert.config.hidden_size * lengths**2
    return float(2 * (weights * lengths + attention).sum())


def timed(work: Callable[[], Any], n: int) -> float:
    """Return things a second."""
    start = time.perf_counter()
    work()
    return n / (time.perf_counter() - start)


def least_cosine(vectors: np.ndarray, reference: np.ndarray) -> float:
    """Return the smallest cosine of vectors of unit length to those of any length."""
    return float(((vectors * reference).sum(axis=1) / np.linalg.norm(reference, axis=1)).min())


def distinct(sentences: Sequence[str]) -> str:
    """Say how many sentences are different ones."""
    n = len(set(sentences))
    return f"{len(sentences):,} sentences, {n / len(sentences):.1%} of them distinct"


def print_rates(rates: Rates, baselines: Sequence[str]) -> dict[str, dict[str, float]]:
    """Print the median rates and the medians of the ratios within rounds; return the ratios."""
    measured = {name: np.array(values) for name, values in rates.items()}
    n_rounds = len(next(iter(measured.values())))
    title = f"median of {n_rounds} round{'s' * (n_rounds > 1)}"
    titles = [f"x {name}" if name != PRODUCTS else "of ceiling" for name in baselines]
    width = max(map(len, [title, *measured])) + 2
    print(f"{title:<{width}}{'sentences/s':>12}" + "".join(f"{text:>20}" for text in titles))
    ratios = {}
    for name, values in measured.items():
        ratios[name] = {other: float(np.median(values / measured[other])) for other in baselines}
        shown = [
            f"{ratio:.0%}" if other == PRODUCTS else f"{ratio:.2f}"
            for other, ratio in ratios[name].items()
        ]
        print(f"{name:<{width}}{np.median(values):12,.1f}" + "".join(f"{t:>20}" for t in shown))
    return ratios


def judge(*claims: tuple[bool, str]) -> int:
    """Print which claims hold; return the exit code."""
    for holds, text in claims:
        print(f"{'holds' if holds else 'FAILS'}  {text}")
    return 0 if all(holds for holds, _ in claims) else 1


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()
