"""How long context, clustering and confidence take for a million cells, and how much memory.

    python benchmarks/niches_million.py [--cells 1000000] [--threads 2]

The sample tissue's cells, types and graph are real. So that the language model, which has a
benchmark of its own, need not run for hours, the sentences' embeddings are stood in for: every
cell's genes by a vector of the model's length that depends on its counts (a random projection of
its log counts, of unit length), every cell type by a random vector. Prints the seconds of each
step beside those of a baseline in the same process (one k-means of scikit-learn on the same niche
space, as the methods that one would else pick end with), the share of the tissue's regions that
is found, and the peak memory. Fails where context and clustering take more than 120 s or the
process more than 8 GiB.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

MOST_SECONDS, MOST_GIB, DIM, CHUNK = 120, 8, 384, 50_000


def timed(name: str, work: Callable[[], Any], seconds: dict[str, float]) -> Any:
    start = time.perf_counter()
    result = work()
    seconds[name] = time.perf_counter() - start
    print(f"  {name:44s} {seconds[name]:7.1f} s  peak so far {peak_gib():.1f} GiB", flush=True)
    return result


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def stand_ins(adata: Any) -> tuple:
    """Return the genes' and the cell types' views with vectors that stand in for the model's."""
    import numpy as np

    from napari_cellama.core.result import View

    rng = np.random.default_rng(0)
    projection = rng.normal(size=(adata.n_vars, DIM)).astype(np.float32)
    vectors = np.empty((adata.n_obs, DIM), np.float32)
    for start in range(0, adata.n_obs, CHUNK):
        rows = slice(start, start + CHUNK)
        vectors[rows] = adata.X[rows].log1p() @ projection
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-6
    types = adata.obs["cell_type"].astype("category").cat
    named = rng.normal(size=(len(types.categories), DIM)).astype(np.float32)
    named /= np.linalg.norm(named, axis=1, keepdims=True)
    everyone = np.arange(adata.n_obs)
    return (
        View("genes", (), everyone, vectors),
        View("features", (), types.codes.to_numpy().astype(np.int64), named),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(args.threads)
    return measure(args.cells)


def measure(n_cells: int) -> int:
    """Run it all and say what holds; the libraries are loaded once their threads are limited."""
    import gc

    import numpy as np
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    from napari_cellama import sample
    from napari_cellama.core.clustering import choose_n_clusters, cluster, confidence
    from napari_cellama.core.context import niche_representation
    from napari_cellama.core.graph import spatial_graph
    from napari_cellama.recipe import Recipe

    recipe, took, beside = Recipe(), {}, {}
    load = os.getloadavg()[0]
    print(f"{n_cells:,} cells, {platform.machine()}, {os.cpu_count()} cores, load {load:.1f}")
    adata = timed("making the sample tissue", lambda: sample.tissue(n_cells, images=False), beside)
    region, regions = adata.obs["region"].to_numpy(), adata.obs["region"].nunique()
    graph, _ = timed(
        "spatial graph",
        lambda: spatial_graph(adata.obsm["spatial"], n_neighbors=recipe.n_neighbors),
        beside,
    )
    views = timed("stand-ins for the embeddings", lambda: stand_ins(adata), beside)
    adata = None  # only the views are needed from here on
    gc.collect()
    space = timed(
        "context",
        lambda: niche_representation(
            views, graph, recipe.n_components, recipe.n_hops, recipe.n_directions
        ),
        took,
    )
    views = None
    found = timed(
        f"clustering, {recipe.n_runs} runs vote",
        lambda: cluster(space, recipe.clustering, regions, n_runs=recipe.n_runs),
        took,
    )
    timed("confidence", lambda: confidence(space, found), took)
    number, _ = timed("choosing the number (auto)", lambda: choose_n_clusters(space), beside)
    single = timed(
        "baseline: one k-means, 4 starts",
        lambda: KMeans(regions, n_init=4, random_state=0).fit_predict(space),
        beside,
    )
    total, base = sum(took.values()), beside["baseline: one k-means, 4 starts"]
    clustering = took[f"clustering, {recipe.n_runs} runs vote"]
    ours, theirs = (adjusted_rand_score(region, codes) for codes in (found.codes, single))
    print(f"clustering takes {clustering / base:.1f} times the baseline's time")
    print(f"ARI {ours:.3f}, baseline {theirs:.3f}; auto {number}, regions {regions}")
    print(f"context, clustering and confidence: {total:.1f} s; peak {peak_gib():.1f} GiB")
    assert np.isfinite(space).all()
    holds = total <= MOST_SECONDS and peak_gib() <= MOST_GIB
    print(f"{'holds' if holds else 'FAILS'}: at most {MOST_SECONDS} s and {MOST_GIB} GiB")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
