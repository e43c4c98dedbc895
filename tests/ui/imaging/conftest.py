"""The images in the QC dock, unfolded in the real window."""

from __future__ import annotations

import dask
import pytest
from qtpy.QtCore import Qt

from napari_cellama.ui.attach import session_of
from napari_cellama.ui.layers import show
from napari_cellama.ui.tissue import Tissue
from napari_cellama.ui.widgets.qc import QCDock

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture(autouse=True)
def _no_threads_of_dask():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def open_dock(viewer, qtbot):
    """Return what shows an AnnData and the QC dock with its images unfolded."""

    def open_it(adata):
        session = session_of(viewer)
        show(viewer, Tissue.from_adata(adata, "section"))
        dock = QCDock(viewer)
        viewer.window.add_dock_widget(dock, name="QC", area="right")
        qtbot.waitUntil(dock.isVisible)
        qtbot.mouseClick(dock.image_fold.toggleButton(), LEFT)
        assert dock.images.isVisible()
        return dock, session

    return open_it
