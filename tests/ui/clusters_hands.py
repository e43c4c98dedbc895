"""What tests do with the Clusters dock, and what a run would find."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QColor

from napari_cellama.core.result import NicheResult, View
from napari_cellama.ui.tissue import Tissue
from napari_cellama.ui.widgets.cluster_model import Column
from napari_cellama.ui.widgets.clusters import ClustersDock

LEFT = Qt.MouseButton.LeftButton


def place_of(dock: ClustersDock, row: int, column: Column = Column.NAME) -> QPoint:
    """Return where a row is to be clicked."""
    table = dock.table
    table.scrollTo(table.model().index(row, column))
    return table.visualRect(table.model().index(row, column)).center()


def click(qtbot, dock, row, *, keys=Qt.KeyboardModifier.NoModifier, column=Column.NAME):
    qtbot.mouseClick(dock.table.viewport(), LEFT, keys, place_of(dock, row, column))


def rows(dock: ClustersDock) -> list[str]:
    """Return the clusters' names as they stand in the table."""
    model = dock.table.model()
    return [model.index(row, Column.NAME).data() for row in range(model.rowCount())]


def selected(dock: ClustersDock) -> list[str]:
    indexes = dock.table.selectionModel().selectedRows(Column.NAME)
    return sorted(index.data() for index in indexes)


def has_pixels(viewer, color: str) -> bool:
    """Whether the canvas has a colour, up to the edges' smoothing."""
    picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    wanted = np.array(QColor(color).getRgb()[:3])
    return bool((np.abs(picture - wanted).max(axis=-1) <= 3).sum() > 20)


def niche_result(tissue: Tissue, key: str = "niche") -> NicheResult:
    """Return what a run would, three bands of cells, the last twenty left out."""
    n = tissue.n_obs
    codes = np.arange(n) * 3 // n
    codes[-20:] = -1
    composition = pd.DataFrame(
        [[1.0, -1.0, 3.0, 0.0], [0.0] * 4, [0.5, 2.0, 0.1, 0.2]],
        index=["1", "2", "3"],
        columns=["T cell", "B cell", "Fibroblast", "Endothelium"],
    )
    nothing = sp.csr_matrix((n, n))
    return NicheResult(
        key=key,
        labels=pd.Categorical.from_codes(codes, ["1", "2", "3"]),
        colors=("#ff0000", "#00ff00", "#0000ff"),
        confidence=np.ones(n, np.float32),
        representation=np.zeros((n, 2), np.float32),
        views=(View("genes", ("Top gene is CD3E.",), np.zeros(n, np.int64), np.ones((1, 2))),),
        connectivities=nothing,
        distances=nothing,
        composition=composition,
        left_out=np.where(codes < 0, "no position", "").astype(object),
    )
