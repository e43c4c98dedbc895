"""The Niches dock in the real window, and a run that does what a test says."""

from __future__ import annotations

import pytest

from niches_hands import Script, open_dock, remark


@pytest.fixture
def dock(viewer, session, qtbot):
    """Return the dock beside the tissue of 120 cells, once it has looked everything up."""
    dock = open_dock(viewer, qtbot)
    qtbot.waitUntil(lambda: "tokens" in dock.preview.remark.text(), timeout=20_000)
    qtbot.waitUntil(lambda: "about" in remark(dock, "radius"), timeout=20_000)
    qtbot.waitUntil(lambda: dock.form.recipe().cell_type_key == "celltype", timeout=20_000)
    return dock


@pytest.fixture
def script(monkeypatch):
    script = Script(monkeypatch)
    yield script
    script.go.set()
