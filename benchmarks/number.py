"""How near "auto" comes to the experts' number, also on parts of sections and at other thresholds.

    python benchmarks/number.py SECTION.h5ad ... [--cache FILE.npz]

Runs the default recipe with "auto" on every section, on two crops of it (the left and the lower
60%) and a random 60% of its cells, and on the sample tissue, with the cell types and without.
Prints the stability curves, then for several thresholds which number would have been taken and
how often that is within 2 of the experts' number (regions of fewer than 10 cells do not count).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import anndata as ad
import numpy as np
import pandas as pd

from accuracy import OFF, find
from annotated import Remembering, add_data_arguments, data_sets
from napari_cellama.core import clustering
from napari_cellama.recipe import Recipe

THRESHOLDS = (0.80, 0.82, 0.83, 0.84, 0.85, 0.86, 0.87, 0.90)
PART, FEWEST = 0.6, 10


def parts(name: str, adata: ad.AnnData) -> Iterator[tuple[str, ad.AnnData]]:
    """Yield the data set, and parts of it if it is a real section."""
    yield name, adata
    if name.startswith("sample"):
        return
    coords = adata.obsm["spatial"]
    for axis, where in enumerate(("left", "lower")):
        kept = coords[:, axis] < np.quantile(coords[:, axis], PART)
        yield f"{name}, {where} part", adata[kept].copy()
    drawn = np.random.default_rng(0).random(adata.n_obs) < PART
    yield f"{name}, random part", adata[drawn].copy()


def taken(curve: dict[str, float], threshold: float) -> int:
    """Return the number that is taken at a threshold."""
    table = pd.DataFrame({"n_clusters": map(int, curve), "stability": curve.values()})
    usual, clustering.RELIABLE = clustering.RELIABLE, threshold
    try:
        return clustering.largest_reliable(table)
    finally:
        clustering.RELIABLE = usual


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_data_arguments(parser)
    args = parser.parse_args()
    encoder = Remembering(args.cache)
    curves, experts = {}, {}
    for whole, section in data_sets(args):
        for name, adata in parts(whole, section):
            sizes = adata.obs["region"].astype(str).value_counts()
            for key, title in (("celltype", name), (None, f"{name} without cell types")):
                result, _ = find(adata, Recipe(cell_type_key=key), encoder)
                curves[title] = result.provenance["stability"]
                experts[title] = int((sizes >= FEWEST).sum())
                values = " ".join(f"{100 * value:3.0f}" for value in curves[title].values())
                print(f"{title:60s} experts {experts[title]:2d}  2 to 20: {values}", flush=True)
    for threshold in THRESHOLDS:
        found = [taken(curve, threshold) for curve in curves.values()]
        off = np.abs(np.array(found) - list(experts.values()))
        print(f"threshold {threshold:.2f}: within {OFF} on {(off <= OFF).sum()} of {len(off)}, "
              f"off by {off.mean():.2f} on average: {found}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
