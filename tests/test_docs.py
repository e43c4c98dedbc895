"""The generated pages are those that the code would generate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["recipe_page.py", "keys_page.py"])
def test_generated_page_is_up_to_date(name: str) -> None:
    script = ROOT / "scripts" / name
    assert subprocess.run([sys.executable, script, "--check"]).returncode == 0, "run `make docs`"
