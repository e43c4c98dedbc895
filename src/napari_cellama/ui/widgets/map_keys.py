"""The map's keys: what the mouse does there, and the actions of the tissue."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QKeySequence

from napari_cellama.ui.actions import BY_KEY, IN_VIEW, perform
from napari_cellama.ui.selection import How

if TYPE_CHECKING:
    from napari_cellama.ui.map_canvas import MapCanvas
    from napari_cellama.ui.session import Session

#: A step of the arrow keys, as a share of what is seen, and of the zoom.
_STEP, _ZOOM = 0.1, 1.25


class MapKeys(QObject):
    """Moves and zooms a map by keys while it has the focus, and selects what is seen of it.

    Parameters
    ----------
    canvas
        The map.
    session
        Does the actions.
    select
        Selects the cells of what is seen of the map.
    """

    def __init__(self, canvas: MapCanvas, session: Session, select: Callable[[How], None]) -> None:
        super().__init__(canvas.widget)
        self._session, self._select = session, select
        key = Qt.Key
        self._moves: dict[int, Callable[[], None]] = {
            key.Key_Left: lambda: canvas.move(-_STEP, 0),
            key.Key_Right: lambda: canvas.move(_STEP, 0),
            key.Key_Up: lambda: canvas.move(0, _STEP),
            key.Key_Down: lambda: canvas.move(0, -_STEP),
            key.Key_Plus: lambda: canvas.zoom(_ZOOM),
            key.Key_Equal: lambda: canvas.zoom(_ZOOM),
            key.Key_Minus: lambda: canvas.zoom(1 / _ZOOM),
            key.Key_0: canvas.show_all,
        }
        canvas.widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Take the keys that mean something here; the others go on."""
        if event.type() != QEvent.Type.KeyPress:
            return False
        held = event.modifiers() & ~(
            Qt.KeyboardModifier.KeypadModifier | Qt.KeyboardModifier.ShiftModifier
        )
        if not held and event.key() in self._moves:
            self._moves[event.key()]()
            return True
        action = BY_KEY.get(QKeySequence(event.keyCombination()).toString())
        if action is None:
            return False
        if action.id in IN_VIEW:
            self._select(IN_VIEW[action.id])
        else:
            perform(self._session, action)
        return True
