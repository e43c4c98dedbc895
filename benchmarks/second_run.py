"""How long a second run takes, with another neighbourhood to average over: nothing is embedded.

    python benchmarks/second_run.py [--cells 100000] [--batch 32]

The first run fills a cache in a folder of its own, in batches as small as a processor's, with
vectors that a stand-in makes from the words (the real model would take an hour); what is read
back is as large and as real as the model's. The second run asks for other neighbours and as many
niches, from a cache object that knows nothing of the first, as after a restart. It paints what
the first runs of k-means say and ends when all have voted, which gives the confidence; both times
are printed, with those of a run whose number of niches is "auto" as well. Time is printed
by stage, and beside the cache's the time in which the same bytes are read and hashed, which is
what the machine can do. On a busy machine look at the processor's seconds.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from napari_cellama.core.devices import cpu_name
from napari_cellama.core.encoder import EncoderInfo
from napari_cellama.core.events import CancelToken, Finished, Partial, Progress
from napari_cellama.core.pipeline import run
from napari_cellama.core.result import NicheResult
from napari_cellama.io.embedding_cache import CacheFolder
from napari_cellama.recipe import Recipe
from napari_cellama.sample import tissue
from rates import judge

LIMIT_SECONDS = 3.0


class WordEncoder:
    """Makes a vector of each sentence's words; counts what it was asked for."""

    notices: tuple[str, ...] = ()

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.embedded = 0
        self._words: dict[str, np.ndarray] = {}

    def start(self) -> None:
        """Do nothing."""

    def load(self, cancel: CancelToken) -> EncoderInfo:
        """Say what this is."""
        return EncoderInfo("words", "0" * 64, "cpu", "stand-in", "float32", 384, 256)

    def encode(
        self, sentences: Sequence[str], cancel: CancelToken
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield batches of unit vectors."""
        for start in range(0, len(sentences), self.batch):
            part = sentences[start : start + self.batch]
            self.embedded += len(part)
            yield (
                np.arange(start, start + len(part)),
                np.stack([self._vector(text) for text in part]),
            )

    def count_tokens(self, sentences: Sequence[str]) -> np.ndarray:
        """Return about how many tokens sentences have."""
        return np.array([2 * text.count(" ") for text in sentences], np.int64)

    def _vector(self, text: str) -> np.ndarray:
        total = np.zeros(384, np.float32)
        for weight, word in enumerate(reversed(text.replace(",", " ").split()), 1):
            if word not in self._words:
                seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "little")
                vector = np.random.default_rng(seed).normal(size=384).astype(np.float32)
                self._words[word] = vector
            total += weight * self._words[word]
        return total / np.linalg.norm(total)


class Timed(NamedTuple):
    """A run: its result, its sentences, and seconds of the clock and the processor to where."""

    result: NicheResult
    cached: int
    embedded: int
    painted: float
    worked_to_paint: float
    ended: float
    worked: float
    same: float


def timed_run(adata: Any, recipe: Recipe, encoder: WordEncoder, folder: Path) -> Timed:
    """Run, and return what is measured of it."""
    start, worked = time.perf_counter(), time.process_time()
    last, first, made = None, None, encoder.embedded
    for event in run(adata, recipe, encoder=encoder, cache=CacheFolder(folder)):
        if isinstance(event, Progress) and event.stage == "Embedding":
            last = event
        if isinstance(event, Partial | Finished):
            now = time.perf_counter() - start, time.process_time() - worked
            # Pictures while embeddings come in are another matter; a second run has none.
            if event.result.fidelity is None and first is None:
                first = now, event.result.labels.codes
        if isinstance(event, Finished):
            same = float((event.result.labels.codes == first[1]).mean())
            return Timed(event.result, last.cached, encoder.embedded - made, *first[0], *now, same)
    raise AssertionError("the run did not end")


def seconds_to_hash(folder: Path) -> float:
    """Return how long reading the pieces and hashing them takes."""
    start = time.perf_counter()
    for path in folder.rglob("*.vec"):
        hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    adata = tissue(options.cells)
    recipe = Recipe(cell_type_key="cell_type", n_clusters=8, mode="exact")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encoder = WordEncoder(options.batch)
        first = timed_run(adata, recipe, encoder, folder)
        usage = CacheFolder(folder).usage()
        other = recipe.replace(n_neighbors=30)
        runs = {
            "second": timed_run(adata, other, encoder, folder),
            "auto": timed_run(adata, other.replace(n_clusters="auto"), encoder, folder),
        }
        ceiling = seconds_to_hash(folder)
    n_sentences = sum(len(view.sentences) for view in first.result.views)
    print(
        f"{options.cells:,} cells, {n_sentences:,} sentences, {first.embedded:,} embedded at first"
    )
    print(f"cache: {usage.n_bytes / 1e6:,.0f} MB in {usage.n_pieces} pieces; {cpu_name()}")
    print("second run: another neighbourhood; auto: the same, and the number of niches is sought")
    print(f"{'seconds':<12}{'first':>10}" + "".join(f"{name:>10}" for name in runs))
    columns = [run.result.provenance["seconds"] for run in (first, *runs.values())]
    for stage in columns[0]:
        print(f"{stage:<12}" + "".join(f"{column[stage]:10.2f}" for column in columns))
    for text in ("painted", "ended"):
        print(
            f"{text:<12}"
            + "".join(f"{getattr(run, text):10.2f}" for run in (first, *runs.values()))
        )
    print(f"reading and hashing the cache's bytes takes {ceiling:.2f} s here")
    for name, row in runs.items():
        print(
            f"{name}: {row.embedded} embedded, {row.cached:,} from the cache; processor "
            f"{row.worked_to_paint:.2f} s to the painting, {row.worked:.2f} s in all; "
            f"{row.same:.1%} of the cells keep their niche's number from first look to end"
        )
    genes = first.result.views[0]
    distinct = len(genes.sentences) / (genes.index >= 0).sum()
    embedded = sum(row.embedded for row in runs.values())
    return judge(
        (distinct >= 0.95, f"{distinct:.1%} of the cells' sentences are distinct"),
        (embedded == 0, f"{embedded} sentences embedded by the second run"),
        *(
            (row.painted <= LIMIT_SECONDS, f"{name} painted in {row.painted:.2f} s, at most 3")
            for name, row in runs.items()
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
