"""From `import napari_cellama` to an open Niches dock, beyond what napari itself takes.

    python benchmarks/first_dock.py

Every round is a fresh process with an open viewer: it opens napari's own plugin machinery with an
empty dock (the baseline), then imports the package and opens the Niches dock as the menu does.
Needs a display (``xvfb-run`` will do).
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys

ROUNDS = 5
LIMIT_S = 0.5

ROUND = """
import json, sys, time
import napari
from qtpy.QtWidgets import QApplication, QWidget
from npe2 import PluginManager

viewer = napari.Viewer()
PluginManager.instance().discover()
QApplication.processEvents()
assert "napari_cellama" not in sys.modules

start = time.perf_counter()
viewer.window.add_dock_widget(QWidget(), name="empty")
QApplication.processEvents()
empty = time.perf_counter() - start

start = time.perf_counter()
import napari_cellama
viewer.window.add_plugin_dock_widget("napari-cellama", "Niches")
QApplication.processEvents()
wall = time.perf_counter() - start
print(json.dumps([empty, wall, "torch" in sys.modules]))
viewer.close()
"""


def main() -> int:
    """Print the rounds' medians, and whether the limit is kept."""
    rounds = []
    for _ in range(ROUNDS):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", ROUND],
            capture_output=True,
            text=True,
            check=True,
        )
        rounds.append(json.loads(done.stdout.splitlines()[-1]))
    empty, wall, torch = zip(*rounds, strict=True)
    beyond = [w - e for w, e in zip(wall, empty, strict=True)]
    print(f"machine: {os.cpu_count()} cores, Python {platform.python_version()}, {ROUNDS} rounds")
    print(f"an empty dock of napari's own: {statistics.median(empty):.3f} s")
    print(f"import and Niches dock: {statistics.median(wall):.3f} s")
    kept = statistics.median(beyond) < LIMIT_S
    print(f"beyond napari's: {statistics.median(beyond):.3f} s (limit {LIMIT_S} s, met: {kept})")
    print(f"ratio to an empty dock: {statistics.median(wall) / statistics.median(empty):.1f}")
    print(f"torch was imported: {any(torch)}")
    return 0 if kept and not any(torch) else 1


if __name__ == "__main__":
    sys.exit(main())
