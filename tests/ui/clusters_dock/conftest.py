"""The Clusters dock, in the real window where a test asks for it."""

from __future__ import annotations

import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import (
    QApplication,
    QVBoxLayout,
    QWidget,
)

from napari_cellama.ui.widgets.clusters import ClustersDock
from napari_cellama.ui.widgets.enrichment import SLOT


@pytest.fixture
def real_window(make_napari_viewer):
    """Ask for napari's window; other tests do with a viewer that has none, which is quick."""
    return make_napari_viewer(show=True)


@pytest.fixture
def viewer(request, qapp):
    """Return an empty viewer, with a window where the test asks for it."""
    if "real_window" in request.fixturenames:
        return request.getfixturevalue("real_window")
    return ViewerModel()


@pytest.fixture
def add_dock(qtbot):
    """Return a maker of docks, in napari's window where there is one."""
    hosts = []

    def add(viewer) -> ClustersDock:
        dock = ClustersDock(viewer)
        if hasattr(viewer, "window"):
            viewer.window.add_dock_widget(dock, name="Clusters", area="right")
        else:
            host = QWidget()
            qtbot.addWidget(host)
            hosts.append(host)  # qtbot holds it weakly
            QVBoxLayout(host).addWidget(dock)
            host.resize(400, 720)
            with qtbot.waitExposed(host):
                host.show()
        QApplication.processEvents()
        return dock

    yield add
    hosts.clear()


@pytest.fixture
def dock(qtbot, viewer, session, add_dock):
    """Return the dock, with the cell types shown as clusters."""
    dock = add_dock(viewer)
    session.show_clusters("celltype")
    qtbot.waitUntil(lambda: session.jobs.current(SLOT) is None)
    yield dock
    session.close()
