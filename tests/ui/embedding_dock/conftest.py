"""The Embedding dock in the real window, with maps that cost nothing."""

from __future__ import annotations

import pytest

from embedding_hands import grid, make, open_dock, run
from napari_cellama import api
from napari_cellama.ui import layouts
from small_sections import WordEncoder


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Embed with a model that costs nothing, and lay out on a grid; UMAP has its own tests."""
    monkeypatch.setattr(api, "NamedEncoder", WordEncoder)
    monkeypatch.setattr(layouts, "laying_out_apart", grid)


@pytest.fixture
def dock(viewer, session, qtbot):
    return open_dock(viewer, qtbot)


@pytest.fixture
def mapped(dock, session, qtbot):
    """Return the dock with a map of the niches."""
    run(session)
    make(qtbot, dock, session)
    return dock
