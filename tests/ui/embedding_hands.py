"""What tests do with the Embedding dock."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication

from napari_cellama import api
from napari_cellama.core.umap import Placed
from napari_cellama.recipe import Recipe
from napari_cellama.ui.layouts import SLOT
from napari_cellama.ui.widgets.embedding import EmbeddingDock

LEFT = Qt.MouseButton.LeftButton

RECIPE = Recipe(cell_type_key="celltype", n_clusters=2, n_neighbors=6, seed=4)


def grid(features, *, seed, begun, cancel):
    """Lay out on a grid, in no time, what UMAP would."""
    n = len(features)
    yield Placed(0, n)
    cancel.check()
    places = np.stack(np.divmod(np.arange(n), int(np.ceil(np.sqrt(n)))), axis=1)
    places = places.astype(np.float32) + seed
    places[~np.isfinite(features).all(axis=1)] = np.nan
    yield Placed(n, n, np.arange(n), places)
    return places


def open_dock(viewer, qtbot):
    dock = EmbeddingDock(viewer)
    viewer.window.add_dock_widget(dock, name="Embedding", area="left")
    qtbot.waitUntil(dock.isVisible)
    return dock


def run(session, **changes):
    tissue = session.active
    recipe = RECIPE.replace(**changes)
    session.take_result(tissue, api.find_niches(tissue.snapshot, recipe, lambda event: None))


def make(qtbot, dock, session):
    assert dock.button.isEnabled(), dock.button.toolTip()
    qtbot.mouseClick(dock.button, LEFT)
    qtbot.waitUntil(lambda: session.jobs.current(SLOT) is None)
    for _ in range(5):
        QApplication.processEvents()


def at(dock, cell):
    """Return where a cell is drawn on the dock's canvas."""
    point = int(np.searchsorted(dock.map.cells, cell))
    return QPoint(*np.round(dock.canvas.pixel_of(point)).astype(int))
