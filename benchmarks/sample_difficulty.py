"""Show that the sample tissue is as hard as real sections for the methods that a user would pick.

    python benchmarks/sample_difficulty.py [PEERS.py] [--cells N] [--seeds 0 1 2] [--difficulty 1.0]

PEERS.py takes a section (.h5ad with obs['celltype'] and obs['region']) and writes each method's
adjusted Rand index to --json. The sample passes where the best method of every seed reaches between
0.5 and 0.85, as on annotated sections of real tissue; the exit code says so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from napari_cellama import sample

LOW, HIGH = 0.5, 0.85


def scores(peers: Path, n_cells: int, seed: int, difficulty: float) -> dict[str, float]:
    """Run the peers on one section; returns the median ARI of each that ran."""
    adata = sample.tissue(n_cells, seed=seed, difficulty=difficulty, images=False)
    # Only what an annotated section has: a peer must not find the truth in another column.
    adata.obs = adata.obs[["cell_type", "region"]].rename(columns={"cell_type": "celltype"})
    with tempfile.TemporaryDirectory() as folder:
        section, table = Path(folder, f"sample_{seed}.h5ad"), Path(folder, "table.json")
        adata.write_h5ad(section)
        command = [sys.executable, str(peers), str(section), "--json", str(table)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        rows = json.loads(table.read_text())
    return {name: row["ari"] for name, row in rows.items() if "ari" in row}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "peers", nargs="?", type=Path, default=Path("../shared/tools/niche_peers.py")
    )
    parser.add_argument("--cells", type=int, default=5_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--difficulty", type=float, nargs="+", default=[1.0])
    args = parser.parse_args()
    if not args.peers.is_file():
        parser.error(f"{args.peers} is no file: say where the peers' script is.")
    passed = True
    for difficulty in args.difficulty:
        for seed in args.seeds:
            found = scores(args.peers, args.cells, seed, difficulty)
            best = max(found, key=found.get)
            within = LOW <= found[best] <= HIGH
            passed &= within
            verdict = "within" if within else "outside"
            print(f"difficulty {difficulty:g}, seed {seed}: best {best}, ARI {found[best]:.3f}, "
                  f"{verdict} {LOW} to {HIGH}\n", flush=True)  # fmt: skip
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
