"""The Search dock in the real window, with a model that costs nothing."""

from __future__ import annotations

import pytest

from napari_cellama import api
from napari_cellama.recipe import Recipe
from napari_cellama.ui.widgets.search import SearchDock
from small_sections import WordEncoder


@pytest.fixture(autouse=True)
def words(monkeypatch):
    """Embed with a model that costs nothing."""
    monkeypatch.setattr(api, "NamedEncoder", WordEncoder)


@pytest.fixture
def dock(viewer, session, qtbot):
    dock = SearchDock(viewer)
    viewer.window.add_dock_widget(dock, name="Search", area="right")
    qtbot.waitUntil(dock.isVisible)
    return dock


@pytest.fixture
def ready(dock, session):
    """Return the dock after a run on the tissue."""
    tissue = session.active
    recipe = Recipe(cell_type_key="celltype", n_clusters=2, n_neighbors=6)
    session.take_result(tissue, api.find_niches(tissue.snapshot, recipe, lambda event: None))
    return dock
