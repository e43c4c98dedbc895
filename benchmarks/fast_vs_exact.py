"""Whether fast mode finds the niches that exact embeddings give, where only a tenth is embedded.

    python benchmarks/fast_vs_exact.py SECTION.h5ad ... [--cache vectors.npz] [--seeds 10]

On every section (obs['celltype'], obs['region'], obsm['spatial']) and on the sample tissue, with
the cell types and without, runs the default recipe with the experts' number of niches in both
modes and with all seeds. In fast mode a tenth of the cells are landmarks, and the seed draws them,
too. Prints

- R² and centred cosine of the predicted embeddings, measured here on all sentences that were not
  embedded, and as each run told of itself; and the R² of a plain ridge on rank-weighted genes
  from as many sentences (DESIGN.md, section 4);
- the median adjusted Rand index (ARI) of exact runs with each other, over all pairs of seeds, and
  of fast runs with exact ones, over all pairs of different seeds;
- the median ARI of both to the experts' regions;

and what of it holds: fast with exact at least 0.95 times exact with exact with cell types, 0.9
without; to the experts at most 0.03 lower. The exit code is 1 if something does not hold.
"""

from __future__ import annotations

import argparse
import sys
from itertools import combinations, permutations

import anndata as ad
import numpy as np

from annotated import Remembering, add_data_arguments, agreement, data_sets
from napari_cellama.core.events import Finished
from napari_cellama.core.fidelity import explained
from napari_cellama.core.pipeline import run
from napari_cellama.core.result import NicheResult
from napari_cellama.recipe import Recipe

SHARE, TYPED, UNTYPED, BELOW = 0.1, 0.95, 0.9, 0.03


def find(adata: ad.AnnData, recipe: Recipe, encoder: Remembering) -> NicheResult:
    """Run the whole pipeline."""
    *_, last = run(adata, recipe, encoder=encoder)
    assert isinstance(last, Finished)
    return last.result


def ridge_r2(exact: NicheResult, n_known: int, seed: int) -> float:
    """Return the R² that a ridge on rank-weighted genes has, from as many sentences."""
    from sklearn.linear_model import RidgeCV

    view = exact.views[0]
    words = view.contents[0]
    places = np.zeros((len(view.sentences), len(words.names) + 1))
    for place, column in enumerate(words.codes.T):
        places[np.arange(len(places)), column] += 1 - place / (2 * words.codes.shape[1])
    order = np.random.default_rng(seed).permutation(len(places))
    known, rest = order[:n_known], order[n_known:]
    ridge = RidgeCV(np.logspace(-3, 3, 13)).fit(places[known, :-1], view.vectors[known])
    return explained(view.vectors[rest], ridge.predict(places[rest, :-1]))[0]


def true_fidelity(fast: NicheResult, exact: NicheResult) -> tuple[float, float]:
    """Return R² and cosine of the genes' sentences that were predicted."""
    one, other = exact.views[0].vectors, fast.views[0].vectors
    predicted = (one != other).any(axis=1)
    return explained(one[predicted], other[predicted])


def judge(name: str, adata: ad.AnnData, recipe: Recipe, encoder: Remembering, seeds: int) -> bool:
    """Print one data set's lines; returns whether all holds."""
    region = adata.obs["region"].astype(str).to_numpy()
    asked = recipe.replace(n_clusters=len(set(region)))
    n_landmarks = round(SHARE * adata.n_obs)
    exact, fast = [], []
    for seed in range(seeds):
        exact.append(find(adata, asked.replace(seed=seed, mode="exact"), encoder))
        quick = asked.replace(seed=seed, mode="fast", n_landmarks=n_landmarks)
        fast.append(find(adata, quick, encoder))
    codes = [[result.labels.codes for result in results] for results in (exact, fast)]
    own = np.median([agreement(a, b) for a, b in combinations(codes[0], 2)])
    pairs = permutations(range(seeds), 2)
    cross = np.median([agreement(codes[0][i], codes[1][j]) for i, j in pairs])
    experts = [np.median([agreement(region, code) for code in group]) for group in codes]
    true = np.median([true_fidelity(f, e) for f, e in zip(fast, exact, strict=True)], axis=0)
    told = np.median([(f.fidelity.r2, f.fidelity.cosine) for f in fast], axis=0)
    niches = np.median([(f.fidelity.agreement, f.fidelity.own_agreement) for f in fast], axis=0)
    verdicts = sorted({f.fidelity.verdict for f in fast})
    ridge = ridge_r2(exact[0], n_landmarks, 0)
    print(f"{name}: {adata.n_obs:,} cells, {n_landmarks:,} landmarks")
    print(f"  R² {true[0]:.3f} (told {told[0]:.3f}, plain ridge {ridge:.3f}), "
          f"cosine {true[1]:.3f} (told {told[1]:.3f})")  # fmt: skip
    print(f"  told of niches: {niches[0]:.3f} of {niches[1]:.3f}, {' or '.join(verdicts)}")
    factor = UNTYPED if recipe.cell_type_key is None else TYPED
    first = say(cross >= factor * own, f"{name}: niches of fast with exact {cross:.3f}, at least "
                f"{factor} x exact with exact {own:.3f} = {factor * own:.3f}")  # fmt: skip
    second = say(experts[1] >= experts[0] - BELOW, f"{name}: experts {experts[1]:.3f}, exact "
                 f"{experts[0]:.3f}, difference {experts[1] - experts[0]:+.3f}")  # fmt: skip
    return first and second


def say(holds: bool, text: str) -> bool:
    print(f"{'holds ' if holds else 'FAILS '} {text}", flush=True)
    return bool(holds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_data_arguments(parser)
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    encoder, all_hold = Remembering(args.cache), True
    for name, adata in data_sets(args):
        for key, title in (("celltype", name), (None, f"{name} without cell types")):
            all_hold &= judge(title, adata, Recipe(cell_type_key=key), encoder, args.seeds)
    return 0 if all_hold else 1


if __name__ == "__main__":
    sys.exit(main())
