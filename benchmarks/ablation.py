"""What each part of the default recipe is worth: the table of what was tried.

    python benchmarks/ablation.py SECTION.h5ad ... [--cache FILE.npz] [--only WORD ...]

Every row changes one thing and leaves the rest as it is by default: a view is left out or added,
expression or one-hot cell types stand in the language model's stead, the averaging or the
clustering is another. All rows get the true number of regions. Prints the adjusted Rand index
with the experts' regions for each data set (the median over the seeds) and the mean over the data
sets, as a table in Markdown; and for each data set which row the others would have chosen.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NamedTuple

import anndata as ad
import numpy as np
import scanpy as sc
import scipy.sparse as sp

from annotated import Remembering, add_data_arguments, agreement, data_sets
from napari_cellama.core.clustering import Method, cluster
from napari_cellama.core.context import averaged, niche_representation, shared_directions
from napari_cellama.core.events import Finished
from napari_cellama.core.pipeline import run
from napari_cellama.core.result import NicheResult, View
from napari_cellama.recipe import Recipe

DEFAULT = Recipe()


class Row(NamedTuple):
    """One line of the table: which views, and what differs from the default recipe."""

    views: tuple[str, ...] = ("genes", "types")
    n_neighbors: int = DEFAULT.n_neighbors
    n_components: int = DEFAULT.n_components
    n_hops: int = DEFAULT.n_hops
    n_directions: int | None = DEFAULT.n_directions  # None: the components as they are
    kernel: str = "even"  # or "gaussian", or "adaptive": as wide as each cell's neighbourhood
    scales: tuple[int, ...] = ()  # niche spaces of so many neighbours side by side
    refined: bool = False  # each cell gets the niche that most of its neighbours have
    clustering: Method = DEFAULT.clustering
    n_runs: int = DEFAULT.n_runs


ROWS = {
    "default: genes + cell type": Row(),
    # Views of the language model.
    "genes": Row(("genes",)),
    "cell type": Row(("types",)),
    "neighbours' types": Row(("niche",)),
    "genes + neighbours' types": Row(("genes", "niche")),
    "genes + cell type + neighbours' types": Row(("genes", "types", "niche")),
    "all in one sentence": Row(("cell",)),
    "all in one sentence, not averaged (CELLama)": Row(("cell",), n_hops=0),
    "genes + found types": Row(("genes", "found")),
    "genes + cell type + found types": Row(("genes", "types", "found")),
    # In the language model's stead.
    "expression + cell type": Row(("expression", "types")),
    "genes + one-hot types": Row(("genes", "one-hot")),
    "expression + one-hot types": Row(("expression", "one-hot")),
    "expression": Row(("expression",)),
    "one-hot types": Row(("one-hot",)),
    "genes + expression + cell type": Row(("genes", "expression", "types")),
    # Context.
    "no shared directions": Row(n_directions=None),
    "no shared directions, neighbours' types": Row(("genes", "niche"), n_directions=None),
    "no shared directions, expression": Row(("expression",), n_directions=None),
    "10 shared directions": Row(n_directions=10),
    "15 shared directions": Row(n_directions=15),
    "30 shared directions": Row(n_directions=30),
    "60 shared directions": Row(n_directions=60),
    "15 components": Row(n_components=15),
    "40 components": Row(n_components=40),
    "50 components": Row(n_components=50),
    "80 components": Row(n_components=80),
    "10 neighbours": Row(n_neighbors=10),
    "15 neighbours": Row(n_neighbors=15),
    "30 neighbours": Row(n_neighbors=30),
    "1 hop": Row(n_hops=1),
    "3 hops": Row(n_hops=3),
    "nearer neighbours count more": Row(kernel="gaussian"),
    "nearer neighbours count more, adaptive": Row(kernel="adaptive"),
    "several scales: 10 and 20 neighbours": Row(scales=(10, 20)),
    "several scales: 10, 20 and 40 neighbours": Row(scales=(10, 20, 40)),
    # Clustering.
    "one k-means": Row(n_runs=1),
    "10 runs vote": Row(n_runs=10),
    "30 runs vote": Row(n_runs=30),
    "labels refined by the neighbours' majority": Row(refined=True),
    "Gaussian mixture": Row(clustering="gmm"),
    "Leiden": Row(clustering="leiden"),
}


class Material:
    """Everything the rows of one data set are made of; made when first asked for."""

    def __init__(self, adata: ad.AnnData, encoder: Remembering) -> None:
        self.adata, self._encoder = adata, encoder
        self.region = adata.obs["region"].astype(str).to_numpy()
        self._results: dict[tuple, NicheResult] = {}
        self._views: dict[str, View] = {}

    def result(self, **changes: object) -> NicheResult:
        """Return a run's result; only its graph and its embedded views matter here."""
        key = tuple(sorted(changes.items()))
        if key not in self._results:
            plain = Recipe(cell_type_key="celltype", n_clusters=2, n_runs=1).replace(**changes)
            events = list(run(self.adata, plain, encoder=self._encoder))
            assert isinstance(events[-1], Finished)
            self._results[key] = events[-1].result
        return self._results[key]

    def view(self, name: str) -> View:
        """Return a view with its vectors."""
        if name not in self._views:
            self._views[name] = self._make(name)
        return self._views[name]

    def _make(self, name: str) -> View:
        if name in ("genes", "types"):
            return self.result().views[("genes", "types").index(name)]
        if name == "found":
            return self.result(cell_type_key=None).views[1]
        if name == "niche":
            return self.result(neighbors_in="both").views[1]
        if name == "cell":
            return self.result(neighbors_in="sentence").views[0]
        usable = self.result().views[0].index >= 0
        if name == "one-hot":
            codes = self.adata.obs["celltype"].astype("category").cat.codes.to_numpy()
            vectors, index = np.eye(codes.max() + 1, dtype=np.float32), codes.astype(np.int64)
        else:
            log = self.adata.copy()
            sc.pp.normalize_total(log)
            sc.pp.log1p(log)
            sc.pp.pca(log, n_comps=min(50, log.n_vars - 1))
            vectors, index = log.obsm["X_pca"].astype(np.float32), np.arange(log.n_obs)
        return View(name, (), np.where(usable, index, -1), vectors)

    def graph(self, row: Row) -> sp.csr_matrix:
        """Return the graph that the row averages over."""
        result = self.result(n_neighbors=row.n_neighbors)
        if row.kernel == "even":
            return result.connectivities
        distances = result.distances.tocsr().copy()
        if row.kernel == "gaussian":
            reach = np.median(distances.data)
        else:
            farthest = distances.max(axis=1).toarray().ravel()
            reach = np.repeat(farthest / 2, np.diff(distances.indptr))
        distances.data = np.exp(-0.5 * (distances.data / reach) ** 2)
        return distances


def space(material: Material, row: Row) -> np.ndarray:
    """Return the row's niche space, without the cells that have none."""
    if row.scales:
        near = [row._replace(n_neighbors=number, scales=()) for number in row.scales]
        return np.hstack([space(material, each) for each in near])
    views, graph = [material.view(name) for name in row.views], material.graph(row)
    if row.n_directions is not None and row.kernel == "even":
        found = niche_representation(views, graph, row.n_components, row.n_hops, row.n_directions)
        return found[np.isfinite(found).all(axis=1)]
    found = niche_representation(views, graph, row.n_components, n_hops=0)
    kept = np.isfinite(found).all(axis=1)
    weights, features = weighted(graph[kept][:, kept]), found[kept]
    if row.n_directions is not None:
        features = shared_directions(weights, features, row.n_directions)
    for _ in range(row.n_hops):
        features = averaged(weights, features)
    return features


def weighted(graph: sp.csr_matrix) -> sp.csr_matrix:
    """Return the graph with each cell itself, at weight 1, in rows that sum to 1."""
    graph = (graph + sp.eye(graph.shape[0], dtype=np.float32, format="csr")).tocsr()
    totals = np.asarray(graph.sum(axis=1), np.float32).ravel()
    return (sp.diags(1 / totals) @ graph).tocsr().astype(np.float32)


def score(material: Material, row: Row, seeds: int) -> list[float]:
    """Return the adjusted Rand index at every seed."""
    features = space(material, row)
    kept = np.all([material.view(name).index >= 0 for name in row.views], axis=0)
    region = material.region[kept]
    n = len(set(material.region))
    found = [cluster(features, row.clustering, n, seed, row.n_runs).codes for seed in range(seeds)]
    if row.refined:
        graph = weighted(material.graph(row)[kept][:, kept])
        found = [(graph @ np.eye(n, dtype=np.float32)[codes]).argmax(axis=1) for codes in found]
    return [agreement(region, codes) for codes in found]


def leave_one_out(table: dict[str, list[float]], names: list[str], say: Callable) -> None:
    """Say for each data set which row the others would choose, and what it costs."""
    values = np.array(list(table.values()))
    for i, name in enumerate(names):
        chosen = np.delete(values, i, axis=1).mean(axis=1).argmax()
        say(
            f"{name}: the others choose '{list(table)[chosen]}' ({values[chosen, i]:.3f} here; "
            f"default {values[0, i]:.3f}, best row {values[:, i].max():.3f})"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_data_arguments(parser)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], help="rows that have one of these words")
    args = parser.parse_args()
    encoder = Remembering(args.cache)
    materials = {name: Material(adata, encoder) for name, adata in data_sets(args)}
    print("| | " + " | ".join([*materials, "mean"]) + " |")
    print("| --- |" + " ---: |" * (len(materials) + 1))
    table: dict[str, list[float]] = {}
    for name, row in ROWS.items():
        if args.only and not any(word in name for word in args.only):
            continue
        found = [score(material, row, args.seeds) for material in materials.values()]
        table[name] = [float(np.median(scores)) for scores in found]
        cells = [
            f"{np.median(scores):.3f} ± {(max(scores) - min(scores)) / 2:.3f}" for scores in found
        ]
        print(
            f"| {name} | " + " | ".join([*cells, f"{np.mean(table[name]):.3f}"]) + " |", flush=True
        )
    if len(materials) > 1:
        print()
        leave_one_out(table, list(materials), print)
    return 0


if __name__ == "__main__":
    sys.exit(main())
