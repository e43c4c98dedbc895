"""How fast sentences are embedded exactly: beside sentence-transformers' own encode, everywhere.

    python benchmarks/embedding.py [--cells 360] [--rounds 3] [--engine-only]

The sentences are those of a run on the sample tissue. Each round times everything once, beginning
with another one each time, so that a busy machine is as busy for all; the table has the median
over the rounds, and the ratios' medians within rounds. Needs a display (``xvfb-run`` will do).

In a fresh process that has loaded nothing else and has the environment as it is:

- encode, default: ``SentenceTransformer.encode`` as anybody calls it; OpenMP's threads wait by
  spinning, which costs most of the speed as soon as anything else wants a core

in another one with the environment that the engine gives its own, where threads do not spin. The
engine has to beat these, so that its lead is its own and not the environment's:

- encode, float32: the same call
- encode, bfloat16: the same on the same model in bfloat16
- matrix products: what the model's arithmetic would take at the speed of one large product
- engine: ``SentenceEncoder``

and the stage "Embedding" of whole runs, by the clock of their provenance:

- command line: ``napari-cellama run`` in a process of its own
- window: *Run* in an open viewer
- Python: ``run`` here, where scanpy's ``normalize_total`` and ``pca`` have run before

Each of these three must lie within 10% of their common median, above as below.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from napari_cellama.core.model_process import model_environment
from rates import (
    PRODUCTS,
    Rates,
    distinct,
    embed,
    judge,
    least_cosine,
    operations,
    print_rates,
    product_rate,
    timed,
)

DEFAULT, FULL, HALF = "encode, default", "encode, float32", "encode, bfloat16"
ENGINE, COMMAND, WINDOW, PYTHON = "engine", "command line", "window", "Python after normalize, pca"
OVER_FULL, OVER_HALF, OF_CEILING, SAME = 1.8, 1.15, 0.5, 0.1


class Served:
    """This script in a process of its own, which answers each line with one."""

    def __init__(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        command = [sys.executable, __file__, *arguments]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, name: str) -> Any:
        """Return the answer to a line."""
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()


def serve(answers: dict[str, Callable[[], Any]]) -> None:
    """Answer the lines of standard input; what libraries print goes elsewhere."""
    out, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        print(json.dumps(answers[line.strip()]()), file=out, flush=True)


def serve_plain(sentences: list[str]) -> None:
    """Answer for what runs in a fresh process."""
    import torch
    from sentence_transformers import SentenceTransformer

    from napari_cellama.core.embedding import SentenceEncoder
    from napari_cellama.core.events import CancelToken
    from napari_cellama.io.models import BUNDLED, resolve_model

    folder = resolve_model(BUNDLED).path
    plain = SentenceTransformer(str(folder), device="cpu")
    half = SentenceTransformer(str(folder), device="cpu").bfloat16()
    engine = SentenceEncoder(folder, device="cpu")
    info = engine.load(CancelToken())
    lengths = np.minimum(engine.count_tokens(sentences), info.max_seq_length).astype(float)
    cost = operations(plain, lengths) / len(sentences)

    def about() -> dict[str, Any]:
        reference = plain.encode(sentences, show_progress_bar=False)
        return {
            "machine": f"{info.device_name}; torch {torch.__version__}; {info.dtype}",
            "tokens": lengths.mean(),
            "cosine": least_cosine(embed(engine, sentences), reference),
        }

    def rate(work: Callable[[], Any]) -> Callable[[], float]:
        return lambda: timed(work, len(sentences))

    serve(
        {
            "about": about,
            FULL: rate(lambda: plain.encode(sentences, show_progress_bar=False)),
            HALF: rate(lambda: half.encode(sentences, show_progress_bar=False)),
            ENGINE: rate(lambda: embed(engine, sentences)),
            PRODUCTS: lambda: product_rate(getattr(torch, info.dtype), "cpu") / cost,
        }
    )


def serve_window(path: str) -> None:
    """Answer for runs in an open window."""
    from qtpy.QtWidgets import QApplication

    import napari_cellama as nc
    from napari_cellama.core.events import Finished
    from napari_cellama.ui.attach import session_of
    from napari_cellama.ui.launch import view
    from napari_cellama.ui.workers import Failed

    session = session_of(view(nc.read(path), name="benchmark"))
    seen: list[Any] = []
    session.job_event.connect(lambda job, event: seen.append(event))

    def run() -> float:
        seen.clear()
        session.run(recipe())
        while not any(isinstance(event, Finished | Failed) for event in seen):
            QApplication.processEvents()
            time.sleep(0.001)
        (last,) = (event for event in seen if isinstance(event, Finished | Failed))
        while session.running is not None:
            QApplication.processEvents()
        return last.result.provenance["seconds"]["Embedding"]

    serve({WINDOW: run})


def recipe() -> Any:
    """Return the run that is timed in all places."""
    import napari_cellama as nc

    return nc.Recipe(cell_type_key="cell_type", n_clusters=6, device="cpu")


def run_command(path: Path) -> float:
    """Return the seconds that the command line takes to embed a file's cells."""
    import napari_cellama as nc

    out = path.with_name("out.h5ad")
    given = [str(path), str(out), "--overwrite", "--quiet", "--device", "cpu"]
    given += ["--cell-type-key", "cell_type", "--n-clusters", "6"]
    subprocess.run([sys.executable, "-m", "napari_cellama.cli", "run", *given], check=True)
    return float(nc.read(out).uns["cellama"]["runs"]["niche"]["seconds"]["Embedding"])


def sentences_of(adata: Any) -> list[str]:
    """Return the sentences that the run embeds, from a run with a stand-in."""
    from napari_cellama.core.events import Finished
    from napari_cellama.core.pipeline import run
    from second_run import WordEncoder

    *_, last = run(adata, recipe(), encoder=WordEncoder(64))
    assert isinstance(last, Finished)
    return [text for view in last.result.views for text in view.sentences]


def normalise(adata: Any) -> None:
    """Run what loads numba's OpenMP threads into this process."""
    import scanpy as sc

    work = adata.copy()
    sc.pp.normalize_total(work)
    sc.pp.log1p(work)
    sc.pp.pca(work, n_comps=20)


def measure_engine(folder: Path, sentences: list[str], rounds: int) -> tuple[Rates, Any]:
    """Return the rates in the fresh process, and what it says of itself."""
    texts = folder / "sentences.json"
    texts.write_text(json.dumps(sentences), encoding="utf-8")
    plain = Served("--plain", str(texts), environment=model_environment())
    default = Served("--plain", str(texts))
    about = plain.ask("about")
    names = [FULL, HALF, ENGINE, PRODUCTS]
    runs = {name: (lambda name=name: plain.ask(name)) for name in names}
    rates = in_turn({DEFAULT: lambda: default.ask(FULL), **runs}, rounds)
    plain.close()
    default.close()
    return rates, about


def in_turn(runs: dict[str, Callable[[], float]], rounds: int) -> Rates:
    """Return each one's rates, every round in another order."""
    rates: Rates = {name: [] for name in runs}
    for number in range(rounds):
        first = number % len(runs)
        for name in [*runs, *runs][first : first + len(runs)]:
            rates[name].append(runs[name]())
    return rates


def measure(adata: Any, folder: Path, sentences: list[str], rounds: int) -> tuple[Rates, Any]:
    """Return all rates, and what the fresh process says of itself."""
    import napari_cellama as nc

    path = nc.write(adata, folder / "tissue.h5ad")
    texts = folder / "sentences.json"
    texts.write_text(json.dumps(sentences), encoding="utf-8")
    plain = Served("--plain", str(texts), environment=model_environment())
    default = Served("--plain", str(texts))
    window = Served("--window", str(path))
    normalise(adata)
    n = len(sentences)

    def here() -> float:
        result = nc.run(adata.copy(), recipe(), progress=False)
        return n / result.provenance["seconds"]["Embedding"]

    runs: dict[str, Callable[[], float]] = {
        DEFAULT: lambda: default.ask(FULL),
        **{name: (lambda name=name: plain.ask(name)) for name in (FULL, HALF, ENGINE)},
        COMMAND: lambda: n / run_command(path),
        WINDOW: lambda: n / window.ask(WINDOW),
        PYTHON: here,
        PRODUCTS: lambda: plain.ask(PRODUCTS),
    }
    about = plain.ask("about")
    window.ask(WINDOW)
    here()
    rates = in_turn(runs, rounds)
    plain.close()
    default.close()
    window.close()
    return rates, about


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=360)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine-only", action="store_true", help="only in a fresh process")
    parser.add_argument("--plain", help=argparse.SUPPRESS)
    parser.add_argument("--window", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        serve_plain(json.loads(Path(options.plain).read_text(encoding="utf-8")))
        return 0
    if options.window:
        serve_window(options.window)
        return 0
    os.environ["NAPARI_CELLAMA_CACHE_GIB"] = "0"  # everything is embedded every time
    import napari_cellama as nc

    adata = nc.sample.tissue(max(options.cells, 600), seed=0)[: options.cells].copy()
    sentences = sentences_of(adata)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if options.engine_only:
            rates, about = measure_engine(place, sentences, options.rounds)
        else:
            rates, about = measure(adata, place, sentences, options.rounds)
    print(about["machine"])
    print(f"{distinct(sentences)}, {about['tokens']:.0f} tokens on average")
    ratios = print_rates(rates, [DEFAULT, FULL, HALF, ENGINE, PRODUCTS])
    engine = ratios[ENGINE]
    share = len(set(sentences)) / len(sentences)
    return judge(
        (share >= 0.95, f"{share:.1%} of the sentences are distinct"),
        (about["cosine"] >= 0.998, f"least cosine to float32 {about['cosine']:.5f} >= 0.998"),
        (engine[DEFAULT] >= OVER_FULL, f"{engine[DEFAULT]:.2f} x {DEFAULT}, at least {OVER_FULL}"),
        (engine[FULL] >= OVER_FULL, f"{engine[FULL]:.2f} x {FULL}, at least {OVER_FULL}"),
        (engine[HALF] >= OVER_HALF, f"{engine[HALF]:.2f} x {HALF}, at least {OVER_HALF}"),
        (engine[PRODUCTS] >= OF_CEILING, f"{engine[PRODUCTS]:.0%} of the ceiling, at least 50%"),
        *same_everywhere(rates),
    )


def same_everywhere(rates: Rates) -> list[tuple[bool, str]]:
    """Judge whether whole runs are as quick from the window, the command line and Python."""
    places = [name for name in (COMMAND, WINDOW, PYTHON) if name in rates]
    medians = {name: float(np.median(rates[name])) for name in places}
    common = float(np.median(list(medians.values()))) if places else 1.0
    return [
        (abs(rate / common - 1) <= SAME, f"{name}: {rate / common:.2f} x the median of the three")
        for name, rate in medians.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
