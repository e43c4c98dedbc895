"""Our docks as tabs of one panel on the right, wide enough to read and no wider."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QComboBox,
    QDockWidget,
    QMainWindow,
    QWidget,
)

from napari_cellama.ui.view import is_centred

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Layer

#: The panel's width in pixels, in a window narrower than ``_WIDE`` and in a wide one.
NARROW, BROAD = 340, 400
_WIDE = 1500
#: After what pauses the map's height is looked at, how often at most, and in how many looks it
#: has to be as it was asked for.
_SETTLED_MS, _LOOKS, _KEPT = 100, 40, 4
#: How wide the controls are at the least, so that no choice of a colormap is cut.
_CONTROLS = 297
#: When Qt has worked out what changed controls need.
_LAID_OUT_MS = 20
#: How high a row of the list of layers is before there is one.
_ROW = 34
_LEAST_DOCK = 50
_PACKAGE = "napari_cellama."
_NAMES = ("CELLama", "napari-cellama")
#: What a dock on the left needs above and below its square canvas.
_FRAME = 50
#: How many letters of its entries a choice in napari's controls has room for at the least, and
#: what its frame and arrow take.
_CHOICE_LETTERS, _CHOICE_FRAME = 9, 40


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
        self._squaring = QTimer(self, interval=_SETTLED_MS)
        self._squaring.timeout.connect(self._square)
        self._looks = self._looks_kept = 0
        self._is_slack = False
        self._narrowing = QTimer(self, singleShot=True, interval=_LAID_OUT_MS)
        self._narrowing.timeout.connect(self._narrow)
        window.installEventFilter(self)
        QApplication.instance().focusChanged.connect(self._show_focus)
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            event.connect(self._spare, position="last")
        # napari makes new controls for several layers, each time that they are selected.
        viewer.layers.selection.events.changed.connect(self._spare, position="last")
        self._spare()

    def _show_focus(self, before: QWidget | None, now: QWidget | None) -> None:
        """Bring a dock of ours to the front when the Tab key comes to it behind another one."""
        for dock in our_docks(self._window) if now is not None else ():
            if dock.isAncestorOf(now) and dock.visibleRegion().isEmpty():
                dock.raise_()

    def _spare(self, event: object = None) -> None:
        """Keep napari's own docks from taking the room of the tissue and of the map."""
        viewer = self._viewer()
        if viewer is not None:
            self._is_slack |= keep_narrow(self._window)
            self._narrowing.start()
            keep_low(self._window, len(viewer.layers))

    def _narrow(self) -> None:
        """Give back what a choice took before it was narrowed: Qt leaves a column as wide."""
        docks = _napari_docks(self._window, "layer controls")
        for dock in docks:
            # Qt keeps what the dock needed before, until it is told of another width.
            dock.setMinimumWidth(max(_CONTROLS, dock.widget().minimumSizeHint().width()))
        if self._is_slack:
            self._window.resizeDocks(docks, [1] * len(docks), Qt.Orientation.Horizontal)
        self._is_slack = False

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
                self._looks, self._looks_kept = _LOOKS, _KEPT
                self._squaring.start()
        docks = our_docks(self._window)
        added = [dock for dock in self._added if dock in docks]
        panel = [dock for dock in docks if dock not in added]
        self._added.clear()
        for dock in added:
            _shorten(dock)
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
        """Make our docks on the left as high as they are wide, as far as there is room.

        Qt forgets heights that are asked for before napari has laid the column out, so they are
        asked for until they were kept for a few looks.
        """
        self._looks -= 1
        if self._looks <= 0:
            self._squaring.stop()
        beside = _on_the_left(self._window)
        ours = [dock for dock in beside if _side(dock) == "left"]
        others = [dock for dock in beside if dock not in ours]
        if not ours or not others:
            return
        # The list of layers gives what ours takes; the controls above it need all they have.
        giver = max(others, key=lambda dock: dock.y())
        both = giver.height() + ours[-1].height()
        left = max(both - ours[-1].width() - _FRAME, giver.minimumSizeHint().height())
        pair, heights = [giver, ours[-1]], [left, both - left]
        if giver.height() == left:
            self._looks = min(self._looks, self._looks_kept)
            self._looks_kept -= 1
            return
        self._looks_kept = _KEPT
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
    _shorten(dock)
    area = Qt.DockWidgetArea.LeftDockWidgetArea
    beside = [other for other in _on_the_left(window) if other is not dock]
    if window.dockWidgetArea(dock) != area:
        window.addDockWidget(area, dock)
    if beside:
        width = max(other.minimumSizeHint().width() for other in beside)
        window.resizeDocks([dock], [width], Qt.Orientation.Horizontal)


def _shorten(dock: QDockWidget) -> None:
    """Take the plugin's name, as menus and Python have it, from a title.

    A tab has no room for it, and the tabs beside it say it too.
    """
    title = dock.windowTitle()
    for name in _NAMES:
        title = title.removesuffix(f" ({name})")
    dock.setWindowTitle(title)


def keep_narrow(window: QMainWindow) -> bool:
    """Let no choice in napari's layer controls, as of a pyramid's levels, widen their column.

    Returns
    -------
    bool
        Whether one was made narrower in a column that was as narrow as it could be. One that is
        wider than that was made so by the user.
    """
    short = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
    is_slack = False
    for dock in _napari_docks(window, "layer controls"):
        choices = [c for c in dock.findChildren(QComboBox) if c.sizeAdjustPolicy() != short]
        is_slack |= bool(choices) and _is_tight(dock)
        for choice in choices:
            choice.setSizeAdjustPolicy(short)
            choice.setMinimumContentsLength(_CHOICE_LETTERS)
            # Qt keeps the least width that it worked out for the longest entry before, if it has.
            letters = _CHOICE_LETTERS * choice.fontMetrics().averageCharWidth()
            choice.setMinimumWidth(letters + _CHOICE_FRAME)
    return is_slack


def _is_tight(dock: QDockWidget) -> bool:
    """Whether a dock is as narrow as it can be."""
    return dock.width() <= (dock.minimumWidth() or dock.minimumSizeHint().width())


def keep_low(window: QMainWindow, n_layers: int) -> None:
    """Let napari's list of layers be as low as its layers are, where they are few."""
    for dock in _napari_docks(window, "layer list"):
        for rows in dock.findChildren(QAbstractItemView):
            row = max(rows.sizeHintForRow(0), _ROW)
            wanted = max(1, n_layers) * row + 2 * rows.frameWidth() + 2
            rows.setMinimumHeight(min(wanted, rows.minimumSizeHint().height()))
        # Qt keeps what the dock needed before, until it is told of another height.
        dock.setMinimumHeight(_LEAST_DOCK)


def _napari_docks(window: QMainWindow, name: str) -> list[QDockWidget]:
    """Return napari's own docks of a name."""
    return [dock for dock in window.findChildren(QDockWidget) if dock.objectName() == name]


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
