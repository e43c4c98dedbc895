"""Opens napari on a section: from a notebook, a script or the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellama.errors import need_anndata

if TYPE_CHECKING:
    import napari.viewer
    from anndata import AnnData

    from napari_cellama.ui.tissue import Tissue

#: The smallest window, in pixels, that has room for the docks, where the screen has it.
_SIZE = (1280, 800)
_SETTLED_MS = 50


def view(adata: AnnData, *, name: str | None = None, docks: bool = True) -> napari.viewer.Viewer:
    """Open a window on an AnnData.

    The window works on a snapshot that shares the matrices; nothing is written to ``adata``
    unless *Write to AnnData* is asked for.

    Parameters
    ----------
    adata
        Cells with positions in ``obsm['spatial']``.
    name
        What to call it; "cells" if it is not given.
    docks
        Whether to open the docks.

    Returns
    -------
    napari.viewer.Viewer
        In a script, call ``napari.run()`` after this to keep the window open.

    Raises
    ------
    UserError
        When ``adata`` is no AnnData or its positions cannot be used, in one sentence.
    """
    from napari_cellama.ui.tissue import Tissue

    need_anndata(adata, "view")
    return _open_window(Tissue.from_adata(adata, name or "cells"), docks)


def open_path(path: str | Path, *, docks: bool = True, block: bool = True) -> napari.viewer.Viewer:
    """Open a window on a file; the genes are read while the cells are already on screen.

    Parameters
    ----------
    path
        An ``.h5ad`` or ``.zarr`` AnnData.
    docks
        Whether to open the docks Niches and Clusters.
    block
        Whether to return only when the window is closed.

    Raises
    ------
    UserError
        When the file cannot be used, in one sentence; no window is opened then.
    """
    from napari_cellama.ui.contributions import open_tissue

    viewer = _open_window(open_tissue(path), docks)
    if block:
        import napari

        napari.run()
    return viewer


def open_docks(viewer: napari.viewer.Viewer) -> None:
    """Open the docks as tabs of one panel on the right, Niches in front.

    They have the names that napari's menu gives them, so that the menu finds them again.
    """
    from napari_cellama.ui.attach import session_of
    from napari_cellama.ui.widgets.clusters import ClustersDock
    from napari_cellama.ui.widgets.niches import NichesDock
    from napari_cellama.ui.widgets.qc import QCDock
    from napari_cellama.ui.widgets.search import SearchDock
    from napari_cellama.ui.widgets.understand import UnderstandDock

    session_of(viewer)  # which also keeps the docks together
    window = viewer.window
    docks = {
        "Niches": NichesDock,
        "Clusters": ClustersDock,
        "Search": SearchDock,
        "QC": QCDock,
        "Understand": UnderstandDock,
    }
    for title, dock in docks.items():
        name = f"{title} (CELLama)"
        if name not in window.dock_widgets:
            window.add_dock_widget(dock(viewer), name=name, area="right", tabify=True)
        window.dock_widgets[name].parent().show()
    window.dock_widgets["Niches (CELLama)"].parent().raise_()


def bring_to_front(viewer: napari.viewer.Viewer, title: str) -> None:
    """Bring one of the docks to the front; where it is not open, all are opened."""
    name = f"{title} (CELLama)"
    if name not in viewer.window.dock_widgets:
        open_docks(viewer)
    dock = viewer.window.dock_widgets[name].parent()
    dock.show()
    dock.raise_()


def _open_window(tissue: Tissue, docks: bool) -> napari.viewer.Viewer:
    """Open a window with a tissue, or none if the tissue cannot be drawn."""
    from napari_cellama.ui.layers import layer_data

    data = layer_data(tissue)
    import napari
    from napari.layers import Layer
    from qtpy.QtCore import QTimer

    from napari_cellama.ui.attach import session_of

    viewer = napari.Viewer(title=f"{tissue.name} – CELLama")
    _make_room(viewer)
    session_of(viewer)
    for item in data:
        viewer.add_layer(Layer.create(*item))
    if docks:
        open_docks(viewer)
    # The canvas has its size only when the docks have theirs.
    QTimer.singleShot(_SETTLED_MS, viewer.reset_view)
    return viewer


def _make_room(viewer: napari.viewer.Viewer) -> None:
    """Enlarge a small window, so that the docks leave the tissue its half of it."""
    from qtpy.QtCore import QSize

    from napari_cellama.ui.panel import main_window

    if (window := main_window(viewer)) is not None:
        room = QSize(*_SIZE).boundedTo(window.screen().availableSize())
        window.resize(window.size().expandedTo(room))
