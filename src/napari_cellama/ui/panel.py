"""Our docks as tabs of one panel on the right, wide enough to read and no wider."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

from napari_cellama.ui.view import is_centred

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Layer

#: The panel's width in pixels, in a window narrower than ``_WIDE`` and in a wide one.
NARROW, BROAD = 340, 400
_WIDE = 1500
_SETTLED_MS = 50
_PACKAGE = "napari_cellama."
#: What a dock on the left needs above and below its square canvas.
_FRAME = 70


def main_window(viewer: Viewer) -> QMainWindow | None:
    """Return a viewer's Qt window, if it has one.

    napari has no public name for it; this is the only place that knows the private one.
    """
    return getattr(getattr(viewer, "window", None), "_qt_window", None)


def canvas_of(viewer: Viewer) -> QWidget | None:
    """Return what a viewer draws on, if it has a window; napari has no public name for it."""
    qt_viewer = getattr(getattr(viewer, "window", None), "_qt_viewer", None)
    return None if qt_viewer is None else qt_viewer.canvas.native


def insert_unselected(viewer: Viewer, index: int, layer: Layer) -> None:
    """Insert a layer below others and leave the user's one selected.

    napari selects what is new, and has no public way not to; to go back takes as long again, a
    tenth of a second where there are many cells, and the controls flicker.
    """
    layers, active = viewer.layers, viewer.layers.selection.active
    selects = getattr(layers, "_activate_on_insert", True)
    layers._activate_on_insert = False
    try:
        layers.insert(index, layer)
    finally:
        layers._activate_on_insert = selects
    if layers.selection.active is not active:
        layers.selection.active = active


class PanelKeeper(QObject):
    """Gathers our docks into one panel as they are added, whichever menu added them.

    napari puts docks that are opened from its menus one below the other.
    """

    def __init__(self, viewer: Viewer, window: QMainWindow) -> None:
        super().__init__(window)
        self._viewer = weakref.ref(viewer)
        self._window = window
        self._added: list[QDockWidget] = []
        self._is_fitted = False
        self._timer = QTimer(self, singleShot=True, interval=0)
        self._timer.timeout.connect(self._gather)
        window.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Notice a new dock; it is not complete yet, so look at it in the next turn."""
        if event.type() == QEvent.Type.ChildAdded and isinstance(event.child(), QDockWidget):
            self._added.append(event.child())
            self._timer.start()
        return False

    def _gather(self) -> None:
        for dock in self._added:
            if _side(dock) == "left":
                put_left(self._window, dock)
                # It takes its height only once napari has laid the column out.
                QTimer.singleShot(_SETTLED_MS, self._square)
        docks = our_docks(self._window)
        added = [dock for dock in self._added if dock in docks]
        panel = [dock for dock in docks if dock not in added]
        self._added.clear()
        for dock in added:
            # A tab has no room for the plugin's name, and the tabs beside it say it too.
            dock.setWindowTitle(dock.windowTitle().removesuffix(" (CELLama)"))
            if panel and dock not in self._window.tabifiedDockWidgets(panel[0]):
                self._window.tabifyDockWidget(panel[0], dock)
                dock.raise_()
            panel.append(dock)
        if added and not self._is_fitted:
            self._is_fitted = True  # from now on the width is the user's
            fit(self._window, added)
            # The canvas has its new size once the layout has been done, in the next turn.
            QTimer.singleShot(0, self._refit)

    def _square(self) -> None:
        """Make our docks on the left as high as they are wide, as far as there is room."""
        beside = _on_the_left(self._window)
        ours = [dock for dock in beside if _side(dock) == "left"]
        others = [dock for dock in beside if dock not in ours]
        if not ours or not others:
            return
        wanted = ours[-1].width() + _FRAME
        # The list of layers gives what ours takes; the controls above it need all they have.
        giver = max(others, key=lambda dock: dock.y())
        left = giver.height() + ours[-1].height() - wanted
        pair, heights = [giver, ours[-1]], [max(left, 1), wanted]
        self._window.resizeDocks(pair, heights, Qt.Orientation.Vertical)

    def _refit(self) -> None:
        """Show all of the tissue beside the panel, unless the user has moved the view."""
        viewer = self._viewer()
        if viewer is not None and is_centred(viewer):
            viewer.fit_to_view()


def our_docks(window: QMainWindow) -> list[QDockWidget]:
    """Return the window's docks on the right that hold widgets of ours."""
    return [
        dock
        for dock in window.findChildren(QDockWidget)
        if _is_ours(dock)
        and not dock.isFloating()
        and window.dockWidgetArea(dock) == Qt.DockWidgetArea.RightDockWidgetArea
    ]


def put_left(window: QMainWindow, dock: QDockWidget) -> None:
    """Put a dock below napari's own on the left, without widening that column."""
    dock.setWindowTitle(dock.windowTitle().removesuffix(" (CELLama)"))
    area = Qt.DockWidgetArea.LeftDockWidgetArea
    beside = [other for other in _on_the_left(window) if other is not dock]
    if window.dockWidgetArea(dock) != area:
        window.addDockWidget(area, dock)
    if beside:
        width = max(other.minimumSizeHint().width() for other in beside)
        window.resizeDocks([dock], [width], Qt.Orientation.Horizontal)


def _on_the_left(window: QMainWindow) -> list[QDockWidget]:
    """Return the docks that are seen in the left column."""
    area = Qt.DockWidgetArea.LeftDockWidgetArea
    return [
        dock
        for dock in window.findChildren(QDockWidget)
        if window.dockWidgetArea(dock) == area and dock.isVisible() and not dock.isFloating()
    ]


def fit(window: QMainWindow, docks: list[QDockWidget]) -> None:
    """Give the panel its width: the tissue is the point, so it gets what the docks can spare."""
    width = NARROW if window.width() < _WIDE else BROAD
    window.resizeDocks(docks, [width] * len(docks), Qt.Orientation.Horizontal)


def _is_ours(dock: QDockWidget) -> bool:
    """Whether a dock holds a widget of this package."""
    return _held(dock) is not None


def _held(dock: QDockWidget) -> QObject | None:
    """Return the widget of this package that a dock holds; napari wraps some in one of its own."""
    held = dock.widget()
    candidates = () if held is None else (held, *held.children())
    ours = (widget for widget in candidates if type(widget).__module__.startswith(_PACKAGE))
    return next(ours, None)


def _side(dock: QDockWidget) -> str:
    """Return the side that a dock of ours belongs on."""
    return getattr(_held(dock), "dock_side", "right")
