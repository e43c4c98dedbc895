"""The generated pages are those that the code would generate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_recipe_page_is_up_to_date() -> None:
    script = ROOT / "scripts" / "recipe_page.py"
    assert subprocess.run([sys.executable, script, "--check"]).returncode == 0, "run `make docs`"
