"""The cell on which the mouse rests on the tissue: its picture beside the mouse."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from napari.utils.theme import get_theme
from qtpy.QtCore import QEvent, QObject, QPoint, QTimer
from qtpy.QtWidgets import QWidget

from napari_cellama.ui.panel import canvas_of
from napari_cellama.ui.picking import cell_at
from napari_cellama.ui.widgets.cell_text import about
from napari_cellama.ui.widgets.cell_tip import SIDE, CellTip
from napari_cellama.ui.widgets.listen import heed, when_deleted

if TYPE_CHECKING:
    from napari import Viewer

    from napari_cellama.core.events import CancelToken
    from napari_cellama.ui.album import Album
    from napari_cellama.ui.layers import TissueLayers
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue
    from napari_cellama.ui.workers import Job

SLOT = "hover"
#: How long the mouse rests before a picture comes, and how far it may move until it goes.
REST_MS, _TREMBLE = 250, 3
_N_METRICS, _SENTENCE = 4, 170
_GONE = (
    QEvent.Type.Leave,
    QEvent.Type.MouseButtonPress,
    QEvent.Type.Wheel,
    QEvent.Type.Hide,
    QEvent.Type.Resize,
)


class Hovering(QObject):
    """Shows the cell under the resting mouse; the picture is made in a job.

    Parameters
    ----------
    session
        Whose tissues are hovered over.
    viewer
        Whose mouse it is.
    layers
        Say which tissue a layer shows.
    album
        Makes the pictures.
    parent
        Its end is the hovering's.
    """

    def __init__(
        self, session: Session, viewer: Viewer, layers: TissueLayers, album: Album, parent: QWidget
    ) -> None:
        super().__init__(parent)
        self._session, self._layers, self._album = session, layers, album
        self._viewer = weakref.ref(viewer)
        self.on = True
        self._event: Any = None
        self._shown: tuple[Tissue, int] | None = None
        self._timer = QTimer(self, singleShot=True, interval=REST_MS)
        self._timer.timeout.connect(self._rest)
        self.canvas = canvas_of(viewer)
        self.tip = None if self.canvas is None else CellTip(self.canvas)
        if self.canvas is not None:
            viewer.mouse_move_callbacks.append(self._on_move)
            self.canvas.installEventFilter(self)
            self._follow_theme(viewer)
            when_deleted(parent, _forget(viewer, self._on_move, self.tip))

    def switch(self, on: bool) -> None:
        """Show cells from now on, or no longer."""
        self.on = on
        self.leave()

    def leave(self) -> None:
        """Take the picture away; one that is on its way does not come."""
        self._timer.stop()
        self._event = self._shown = None
        self._session.jobs.cancel(SLOT)
        if self.tip is not None:
            self.tip.hide()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Leave as soon as the mouse does something else."""
        if event.type() in _GONE:
            self.leave()
        return False

    # ---- the mouse

    def _on_move(self, viewer: Viewer, event: Any) -> None:
        place = QPoint(*(round(float(value)) for value in event.pos))
        if self._event is not None:
            moved = place - self._event.place
            if max(abs(moved.x()), abs(moved.y())) <= _TREMBLE:
                return
        self.leave()
        if self.on:
            # napari's event is of this moment only.
            self._event = SimpleNamespace(
                place=place,
                position=tuple(event.position),
                dims_displayed=tuple(event.dims_displayed),
                view_direction=event.view_direction,
            )
            self._timer.start()

    def _rest(self) -> None:
        viewer, event = self._viewer(), self._event
        if viewer is None or event is None or not self._session.tissues:
            return
        for tissue, layer, placement in self._layers.from_the_top(viewer):
            zoom = viewer.scene.camera.zoom
            cell = cell_at(layer, placement, event, zoom, tissue.hidden)
            if cell is not None:
                self._ask(tissue, cell)
                return

    def _ask(self, tissue: Tissue, cell: int) -> None:
        self._shown = (tissue, cell)
        ratio = self.canvas.devicePixelRatioF()
        make = self._album.portrait(tissue, cell, SIDE, ratio)
        write = self._album.sentence(tissue, cell)

        def events(token: CancelToken) -> Iterator[Any]:
            portrait = make(token)
            token.check()
            if portrait.picture is not None:
                yield portrait.picture, write(token)

        self._session.jobs.start(SLOT, "Looking at a cell", events, self._on_event)

    def _on_event(self, job: Job, event: Any) -> None:
        shown = self._shown
        if shown is None or job.token.cancelled or not isinstance(event, tuple):
            return
        (tissue, cell), (picture, sentence) = shown, event
        lines = [about(tissue, cell, _N_METRICS), _beginning(sentence)]
        text = "\n\n".join(line for line in lines if line)
        self.tip.show_at(self._event.place, picture, text)

    def _follow_theme(self, viewer: Viewer) -> None:
        """Colour the tip by the viewer's theme, now and whenever it changes."""
        tip = self.tip

        def apply() -> None:
            theme = get_theme(viewer.theme)
            tip.setStyleSheet(
                f"QFrame#cellTip {{ background-color: {theme.background.as_hex()};"
                f" border: 1px solid {theme.secondary.as_hex()}; border-radius: 4px; }}"
                f"QLabel {{ background-color: transparent; color: {theme.text.as_hex()};"
                f" font-size: {theme.font_size}; }}"
            )

        apply()
        heed(tip, viewer.events.theme, apply)


def _beginning(sentence: str) -> str:
    """Return the first words of a sentence, which are the top genes."""
    return sentence if len(sentence) <= _SENTENCE else sentence[: _SENTENCE - 1].rstrip() + "…"


def _forget(viewer: Viewer, on_move: Any, tip: CellTip) -> Any:
    """Return what takes the mouse and the tip back when the dock is closed."""
    callbacks, gone = viewer.mouse_move_callbacks, weakref.ref(tip)

    def forget() -> None:
        if on_move in callbacks:
            callbacks.remove(on_move)
        tip = gone()
        if tip is not None:
            with suppress(RuntimeError):  # its canvas was closed before
                tip.deleteLater()

    return forget
