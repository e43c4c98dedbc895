"""How well the default recipe finds experts' regions, beside the methods one would else pick.

    python benchmarks/accuracy.py SECTION.h5ad ... [--peers ../shared/tools/niche_peers.py]

On every section (obs['celltype'], obs['region'], obsm['spatial']) and on the sample tissue, runs
the default recipe with the true number of regions and ten seeds, with the cell types and without;
once with "auto"; and the peers. Prints each one's adjusted Rand index (median and range over the
seeds), how well confidence tells right from wrong, seconds and memory, and what of it holds:

- the spread over the seeds is at most 0.05;
- no data set lies more than 0.03 below its best peer;
- the mean over data sets is 0.05 ahead of the best single peer's;
- "auto" finds the experts' number give or take 2, in the time of 3 runs;
- confidence has an area under the ROC curve of 0.65.

The exit code is 1 if something does not hold. The peers' script is told the section and writes
each method's scores to --json.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import anndata as ad
import numpy as np

from annotated import Remembering, add_data_arguments, agreement, confidence_auc, data_sets
from napari_cellama.core.events import Finished
from napari_cellama.core.pipeline import run
from napari_cellama.core.result import NicheResult
from napari_cellama.recipe import Recipe

SPREAD, BELOW, AHEAD, OFF, AUC, RUNS = 0.05, 0.03, 0.05, 2, 0.65, 3


class Scores(NamedTuple):
    """Of the default recipe on one data set, over all seeds."""

    ari: list[float]
    auc: list[float]
    embedding: float  # seconds that embedding all sentences takes
    again: float  # seconds of a run on embeddings that are at hand
    auto: int
    auto_ari: float
    auto_again: float

    @property
    def median(self) -> float:
        """The median adjusted Rand index."""
        return float(np.median(self.ari))


def find(adata: ad.AnnData, recipe: Recipe, encoder: Remembering) -> tuple[NicheResult, float]:
    """Run the whole pipeline; returns its result and the seconds it took."""
    start = time.perf_counter()
    for event in run(adata, recipe, encoder=encoder):
        if isinstance(event, Finished):
            return event.result, time.perf_counter() - start
    raise AssertionError("the pipeline ended without a result")


def scores(adata: ad.AnnData, recipe: Recipe, encoder: Remembering, seeds: int) -> Scores:
    """Score the recipe on one data set."""
    region = adata.obs["region"].astype(str).to_numpy()
    asked = recipe.replace(n_clusters=len(set(region)))
    ari, auc, seconds = [], [], []
    for seed in range(seeds):
        result, took = find(adata, asked.replace(seed=seed), encoder)
        codes = result.labels.codes.astype(int)
        ari.append(agreement(region, codes))
        auc.append(confidence_auc(region, codes, result.confidence))
        seconds.append(took)
    auto, took = find(adata, recipe, encoder)
    again = float(np.median(seconds[1:] or seconds))
    auto_ari = agreement(region, auto.labels.codes)
    texts = [text for view in auto.views for text in view.sentences]
    embedding = encoder.seconds_a_sentence(texts) * len(texts)
    return Scores(ari, auc, embedding, again, len(auto.labels.categories), auto_ari, took)


def peers(script: Path, adata: ad.AnnData) -> dict[str, dict]:
    """Run the peers' script; returns its rows."""
    with tempfile.TemporaryDirectory() as folder:
        section, table = Path(folder, "section.h5ad"), Path(folder, "table.json")
        adata.write_h5ad(section)
        command = [sys.executable, str(script), str(section), "--json", str(table)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return json.loads(table.read_text())


def show(name: str, found: Scores) -> None:
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"  {name:32s} ARI {found.median:.3f} [{min(found.ari):.3f} {max(found.ari):.3f}]  "
        f"AUC {np.median(found.auc):.3f} [{min(found.auc):.3f}]  "
        f"embedding {found.embedding:.1f} s, the rest {found.again:.1f} s  "
        f"auto {found.auto} (ARI {found.auto_ari:.3f}, {found.auto_again:.1f} s)  "
        f"peak {memory:.1f} GiB",
        flush=True,
    )


def show_peers(rows: dict[str, dict]) -> dict[str, float]:
    """Print the peers' rows; returns the median of each that ran."""
    for name, row in rows.items():
        if "ari" not in row:
            print(f"  {name:32s} {row['error']}", flush=True)
            continue
        print(f"  {name:32s} ARI {row['ari']:.3f} [{row['ari_min']:.3f} {row['ari_max']:.3f}]  "
              f"{row['seconds']:.1f} s", flush=True)  # fmt: skip
    return {name: row["ari"] for name, row in rows.items() if "ari" in row}


class Verdicts:
    """What holds and what does not, printed one a line."""

    def __init__(self) -> None:
        self.all_hold = True

    def __call__(self, holds: bool, text: str) -> None:
        """Print and remember whether something holds."""
        self.all_hold &= bool(holds)
        print(f"{'holds ' if holds else 'FAILS '} {text}")


def judge_data_set(say: Callable, name: str, found: Scores, n_regions: int) -> None:
    spread = max(found.ari) - min(found.ari)
    say(spread <= SPREAD, f"{name}: spread {spread:.3f}, at most {SPREAD}")
    off = found.auto - n_regions
    say(abs(off) <= OFF, f"{name}: auto {found.auto}, experts {n_regions}")
    # Both from nothing: the embedding, which they share, and what comes after it.
    ratio = (found.embedding + found.auto_again) / (found.embedding + found.again)
    say(ratio <= RUNS, f"{name}: auto takes {ratio:.1f} runs ({found.auto_again / found.again:.1f} "
        "on embeddings at hand)")  # fmt: skip
    auc = float(np.median(found.auc))
    say(auc >= AUC, f"{name}: confidence AUC {auc:.3f}, at least {AUC}")


def judge_peers(say: Callable, ours: dict[str, float], theirs: dict[str, dict[str, float]]) -> None:
    for name, found in theirs.items():
        best = max(found, key=found.get)
        gap = ours[name] - found[best]
        say(gap >= -BELOW, f"{name}: {gap:+.3f} to its best peer, {best}")
    names = set.intersection(*(set(found) for found in theirs.values()))
    means = {name: np.mean([found[name] for found in theirs.values()]) for name in names}
    best = max(means, key=means.get)
    ahead = np.mean([ours[name] for name in theirs]) - means[best]
    say(ahead >= AHEAD, f"mean over data sets: {ahead:+.3f} to the best single peer, {best}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_data_arguments(parser)
    parser.add_argument("--peers", type=Path, help="the script that runs the peers")
    parser.add_argument("--recipe", type=Path, help="another recipe than the default")
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    recipe = Recipe.from_file(args.recipe) if args.recipe else Recipe(mode="exact")
    encoder = Remembering(args.cache)
    say, rows, theirs, counts = Verdicts(), {}, {}, {}
    for name, adata in data_sets(args):
        counts[name] = adata.obs["region"].nunique()
        print(f"{name}: {adata.n_obs} cells, {adata.n_vars} genes, {counts[name]} regions")
        typed = recipe.replace(cell_type_key="celltype")
        rows[name] = scores(adata, typed, encoder, args.seeds)
        show("ours", rows[name])
        untyped = f"{name} without cell types"
        counts[untyped] = counts[name]
        rows[untyped] = scores(adata, recipe.replace(cell_type_key=None), encoder, args.seeds)
        show("ours without cell types", rows[untyped])
        if args.peers:
            theirs[name] = show_peers(peers(args.peers, adata))
    print()
    for name, found in rows.items():
        judge_data_set(say, name, found, counts[name])
    if theirs:
        judge_peers(say, {name: found.median for name, found in rows.items()}, theirs)
    return 0 if say.all_hold else 1


if __name__ == "__main__":
    sys.exit(main())
