"""How fast a GPU embeds sentences, beside sentence-transformers' own encode.

    PYTHONPATH=src python benchmarks/embedding_gpu.py [--model FOLDER] [--sentences 100000]
    PYTHONPATH=src python benchmarks/embedding_gpu.py --save-half FOLDER

Needs torch, sentence-transformers, numpy and a copy of this repository, nothing of which must be
installed. The model is the bundled one unless a folder is given; --save-half makes a copy of it
with weights in float16, half as large, which is easier to carry to a node without network.

On a machine without a GPU it says so, and only shows on the CPU that ids and vectors are right.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from napari_cellama.core.embedding import SentenceEncoder
from napari_cellama.core.events import CancelToken
from napari_cellama.core.loaded_model import MIN_COSINE
from napari_cellama.core.tokens import TextTokens, token_source
from napari_cellama.io.models import BUNDLED, resolve_model
from rates import (
    PRODUCTS,
    Rates,
    distinct,
    embed,
    judge,
    least_cosine,
    make_sentences,
    operations,
    print_rates,
    product_rate,
    timed,
)

WANTED = 4.0


def float32_model(folder: Path, device: str) -> Any:
    """Return the model as sentence-transformers runs it, in float32 whatever the weights are."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device=device, local_files_only=True).float()


def save_half(folder: Path, target: Path) -> int:
    """Save the model with weights in float16."""
    float32_model(folder, "cpu").half().save(str(target))
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{size / 1e6:.0f} MB in {target}")
    return 0


def check(engine: SentenceEncoder, plain: Any, sentences: list[str]) -> list[tuple[bool, str]]:
    """Return what is claimed of ids and vectors."""
    import json

    tokenizer = plain.tokenizer.backend_tokenizer
    source = token_source(tokenizer, plain.max_seq_length)
    whole = TextTokens(json.loads(tokenizer.to_str()), plain.max_seq_length)
    same = source.ids(sentences) == whole.ids(sentences)
    vectors = embed(engine, sentences)
    cosine = least_cosine(vectors, plain.encode(sentences, show_progress_bar=False))
    return [
        (same, f"{type(source).__name__} gives the tokenizer's ids"),
        (cosine >= MIN_COSINE, f"least cosine to float32 {cosine:.5f} >= {MIN_COSINE}"),
    ]


def measure(engine: SentenceEncoder, plain: Any, sentences: list[str], rounds: int) -> Rates:
    """Return the rates of all, every round in another order."""
    import torch

    device = str(plain.device)
    half = float32_model(Path(engine.folder), device).bfloat16()
    few = sentences[:: max(1, len(sentences) // 20_000)]  # enough for what is slower
    info = engine.load(CancelToken())
    lengths = np.minimum(engine.count_tokens(few), info.max_seq_length).astype(float)
    cost = operations(plain, lengths) / len(few)
    runs = {
        "encode, float32": lambda: timed(lambda: plain.encode(few), len(few)),
        "encode, bfloat16": lambda: timed(lambda: half.encode(few), len(few)),
        f"engine ({info.dtype})": lambda: timed(lambda: embed(engine, sentences), len(sentences)),
        PRODUCTS: lambda: product_rate(getattr(torch, info.dtype), device) / cost,
    }
    for model in (plain, half):
        model.encode(few[:2000])
    embed(engine, sentences[:20_000])
    rates: Rates = {name: [] for name in runs}
    for number in range(rounds):
        names = list(runs)
        first = number % len(names)
        for name in names[first:] + names[:first]:
            rates[name].append(runs[name]())
    print(f"{lengths.mean():.0f} tokens a sentence on average")
    return rates


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=BUNDLED)
    parser.add_argument("--sentences", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--save-half", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    folder = resolve_model(options.model).path
    if options.save_half:
        return save_half(folder, options.save_half)
    import torch

    has_gpu = torch.cuda.is_available()
    device = options.device if has_gpu else "cpu"
    plain = float32_model(folder, device)
    engine = SentenceEncoder(folder, device=device)
    info = engine.load(CancelToken())
    print(f"{info.device_name}; torch {torch.__version__}; {options.model} in {info.dtype}")
    checked = make_sentences(2000 if has_gpu else 128, seed=1)
    claims = check(engine, plain, checked)
    if not has_gpu:
        print("There is no GPU here, so no speed is measured; ids and vectors on the CPU:")
        return judge(*claims)
    sentences = make_sentences(options.sentences)
    print(distinct(sentences))
    baselines = ["encode, float32", "encode, bfloat16", PRODUCTS]
    ratios = print_rates(measure(engine, plain, sentences, options.rounds), baselines)
    ratio = ratios[f"engine ({info.dtype})"]["encode, float32"]
    share = len(set(sentences)) / len(sentences)
    return judge(
        *claims,
        (share >= 0.95, f"{share:.1%} of the sentences are distinct"),
        (ratio >= WANTED, f"{ratio:.1f} times encode's default form, at least {WANTED:g}"),
    )


if __name__ == "__main__":
    sys.exit(main())
