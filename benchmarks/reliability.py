"""What a niche's confidence is worth: how many of the cells with it lie in the right region.

    python benchmarks/reliability.py SECTION.h5ad ... [--cache FILE.npz] [--figure FILE.svg]

Runs the default recipe with the true number of regions on every section and on the sample tissue,
with the cell types and without, sorts the cells by niche_confidence into ten bins, and prints for
each bin the share of cells that lie in the region that most of their niche lies in, as a table in
Markdown. A perfectly calibrated confidence would have the bin's middle in every row. Also prints
the expected calibration error (the mean distance between confidence and share, each bin counting
as many times as it has cells), and draws the curves.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from accuracy import find
from annotated import (
    Remembering,
    add_data_arguments,
    confidence_auc,
    data_sets,
    in_main_region,
)
from napari_cellama.recipe import Recipe

EDGES = np.linspace(0, 1, 11)
#: A share of fewer cells is chance.
FEWEST = 20


def curve(right: np.ndarray, sure: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return each bin's mean confidence and share of right cells, and the calibration error."""
    bins = np.clip(np.digitize(sure, EDGES) - 1, 0, 9)
    sizes = np.bincount(bins, minlength=10)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(bins, sure, 10) / sizes
        share = np.bincount(bins, right, 10) / sizes
    error = float(np.nansum(np.abs(share - mean) * sizes) / sizes.sum())
    few = sizes < FEWEST
    mean[few] = share[few] = np.nan
    return mean, share, error


def draw(curves: dict[str, tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """Draw share against confidence, a line a data set."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
    for name, (mean, share) in curves.items():
        dashed = "without" in name
        axes.plot(mean, share, "--" if dashed else "-", marker="o", markersize=3, label=name)
    axes.set_xlabel("niche_confidence")
    axes.set_ylabel("share of cells in their niche's main region")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7, loc="upper left")
    figure.savefig(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_data_arguments(parser)
    parser.add_argument("--figure", type=Path, help="also draw the curves into this file")
    args = parser.parse_args()
    encoder = Remembering(args.cache)
    middles = " | ".join(f"{low:.1f}-{low + 0.1:.1f}" for low in EDGES[:-1])
    print(f"| | {middles} | error | AUC |")
    print("| --- |" + " ---: |" * 12)
    curves, everyone = {}, []
    for name, adata in data_sets(args):
        region = adata.obs["region"].astype(str).to_numpy()
        for key, title in (("celltype", name), (None, f"{name} without cell types")):
            recipe = Recipe(cell_type_key=key, n_clusters=len(set(region)))
            result, _ = find(adata, recipe, encoder)
            kept = result.labels.codes >= 0
            codes, sure = result.labels.codes[kept].astype(int), result.confidence[kept]
            right = in_main_region(region[kept], codes)
            everyone.append((right, sure))
            auc = confidence_auc(region[kept], codes, sure)
            curves[title] = show(title, right, sure, f"{auc:.3f}")
    if len(everyone) > 1:
        show("all cells", *map(np.concatenate, zip(*everyone, strict=True)), "")
    if args.figure:
        draw(curves, args.figure)
    return 0


def show(name: str, right: np.ndarray, sure: np.ndarray, auc: str) -> tuple[np.ndarray, np.ndarray]:
    """Print a row; returns what the figure draws."""
    mean, share, error = curve(right, sure)
    cells = ["" if np.isnan(value) else f"{value:.2f}" for value in share]
    print(f"| {name} | {' | '.join(cells)} | {error:.3f} | {auc} |", flush=True)
    return mean, share


if __name__ == "__main__":
    sys.exit(main())
