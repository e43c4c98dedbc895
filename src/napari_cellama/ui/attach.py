"""One session a viewer: found or made, and closed with the viewer's window."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from napari_cellama.ui.actions import bind_keys
from napari_cellama.ui.image_canvas import ImageLayers
from napari_cellama.ui.layers import TissueLayers
from napari_cellama.ui.panel import PanelKeeper, main_window
from napari_cellama.ui.recovery import Recovery
from napari_cellama.ui.session import Session

if TYPE_CHECKING:
    from napari import Viewer

_attached: weakref.WeakKeyDictionary[Viewer, TissueLayers] = weakref.WeakKeyDictionary()


def session_of(viewer: Viewer) -> Session:
    """Return the session of a viewer, making it on first use.

    From then on every layer of the viewer that carries a tissue belongs to the session.

    Parameters
    ----------
    viewer
        The viewer, or napari's public proxy of it.
    """
    return layers_of(viewer).session


def layers_of(viewer: Viewer) -> TissueLayers:
    """Return what keeps a viewer's tissue layers; see :func:`session_of`."""
    viewer = getattr(viewer, "__wrapped__", viewer)
    if viewer not in _attached:
        session = Session()
        session.recovery = Recovery(session)
        _attached[viewer] = TissueLayers(session, viewer)
        ImageLayers(session, viewer, _attached[viewer])
        bind_keys(viewer, session)
        _close_with_window(viewer, session)
    return _attached[viewer]


def _close_with_window(viewer: Viewer, session: Session) -> None:
    """Close the session when the window goes, or else with the viewer."""
    weakref.finalize(viewer, session.close)
    window = main_window(viewer)
    if window is not None:
        window.destroyed.connect(session.close)
        PanelKeeper(viewer, window)
