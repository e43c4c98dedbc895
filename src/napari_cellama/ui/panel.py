"""Our docks as tabs of one panel on the right, wide enough to read and no wider."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow

if TYPE_CHECKING:
    from napari import Viewer

#: The panel's width in pixels, in a window narrower than ``_WIDE`` and in a wide one.
NARROW, BROAD = 340, 400
_WIDE = 1500


def main_window(viewer: Viewer) -> QMainWindow | None:
    """Return a viewer's Qt window, if it has one.

    napari has no public name for it; this is the only place that knows the private one.
    """
    return getattr(getattr(viewer, "window", None), "_qt_window", None)


class PanelKeeper(QObject):
    """Gathers our docks into one panel as they are added, whichever menu added them.

    napari puts docks that are opened from its menus one below the other.
    """

    def __init__(self, window: QMainWindow) -> None:
        super().__init__(window)
        self._window = window
        self._timer = QTimer(self, singleShot=True, interval=0)
        self._timer.timeout.connect(self._gather)
        window.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Notice a new dock; it is not complete yet, so look at it in the next turn."""
        if event.type() == QEvent.Type.ChildAdded and isinstance(event.child(), QDockWidget):
            self._timer.start()
        return False

    def _gather(self) -> None:
        gather(self._window)


def our_docks(window: QMainWindow) -> list[QDockWidget]:
    """Return the window's docks that hold widgets of ours, in the order they were added."""
    return [dock for dock in window.findChildren(QDockWidget) if _is_ours(dock)]


def gather(window: QMainWindow) -> None:
    """Make our docks on the right tabs of one panel of a fitting width."""
    docks = [
        dock
        for dock in our_docks(window)
        if not dock.isFloating()
        and window.dockWidgetArea(dock) == Qt.DockWidgetArea.RightDockWidgetArea
    ]
    if not docks:
        return
    first, *others = docks
    beside = window.tabifiedDockWidgets(first)
    added = [dock for dock in others if dock not in beside]
    for dock in added:
        window.tabifyDockWidget(first, dock)
    if added:
        added[-1].raise_()
    if len(docks) == 1 or added:
        width = NARROW if window.width() < _WIDE else BROAD
        window.resizeDocks([first], [width], Qt.Orientation.Horizontal)


def _is_ours(dock: QDockWidget) -> bool:
    """Whether a dock holds a widget of this package; napari wraps some in one of its own."""
    held = dock.widget()
    if held is None:
        return False
    return any(
        type(widget).__module__.startswith("napari_cellama.") for widget in (held, *held.children())
    )
