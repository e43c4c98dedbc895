"""A canvas of points on the GPU: pan, zoom, hover, click and lasso. Knows no cells, only points."""

from __future__ import annotations

from typing import Any

import numpy as np
from psygnal import Signal
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget
from vispy.geometry import Rect
from vispy.scene import PanZoomCamera, SceneCanvas, ViewBox
from vispy.scene.visuals import Line, Markers

from napari_cellama.core.lasso import points_inside

#: Pixels that a click may miss a point by, and that a hand may tremble during it.
_REACH, _TREMBLE = 8.0, 4.0
#: Room around the points, as a share of their extent; below them stands what is said of the map.
_MARGIN, _BELOW = 0.05, 0.14
#: Corners of a lasso lie at least so many pixels apart.
_STEP = 2.0
#: Points' diameter in pixels, by the root of their number, and its least and largest.
_SIZE, _SIZES = 170.0, (1.2, 6.0)


class _OneView(SceneCanvas):
    """A canvas whose one view gets all that the mouse does.

    vispy draws everything a second time to find that out, for each click and turn of the wheel.
    """

    def visual_at(self, pos: Any) -> ViewBox:
        """Return the view."""
        return next(child for child in self.central_widget.children if isinstance(child, ViewBox))


class MapCanvas:
    """Draws points and says what the mouse does with them.

    A drag moves the view, the wheel zooms; with Shift a drag draws a lasso, with Shift and Ctrl
    one that takes away.

    Events (psygnal signals)

    ``clicked(point | None)``, ``hovered(point | None)``
        The point's number.
    ``lassoed(mask, way)``
        (n,) bool: the points inside, and what is to become of the selection.
    ``renewed()``
        The points are to be painted again: they are in another window, on another canvas.
    """

    clicked = Signal(object)
    hovered = Signal(object)
    lassoed = Signal(object, str)
    renewed = Signal()

    def __init__(self) -> None:
        #: Holds the canvas and has the focus; what is drawn on may be replaced.
        self.widget = QWidget()
        self.widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        QVBoxLayout(self.widget).setContentsMargins(0, 0, 0, 0)
        self._renewing = QTimer(self.widget, singleShot=True, interval=0)
        self._renewing.timeout.connect(self._renew)
        self._background = "black"
        self._open()
        self._points = np.zeros((0, 2), np.float32)
        self._whole = Rect(self._view.camera.rect)
        self._pressed: np.ndarray | None = None
        self._outline: list[np.ndarray] = []

    def _open(self) -> None:
        """Make the canvas that is drawn on."""
        # napari has chosen vispy's backend; keys stay Qt's, so that Tab and shortcuts work.
        self._canvas = _OneView(keys=None, size=(260, 260), vsync=True)
        self._has_context = False
        self._view = self._canvas.central_widget.add_view()
        self._view.camera = PanZoomCamera(aspect=1)
        self._markers = Markers(parent=self._view.scene)
        self._markers.antialias = 1
        self._markers.set_gl_state("translucent", depth_test=False)
        self._lasso = Line(parent=self._view.scene, width=1.5)
        self._lasso.visible = False
        self.set_background(self._background)
        self.native.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.widget.layout().addWidget(self.native)
        events = self._canvas.events
        events.initialize.connect(self._on_context)
        events.mouse_press.connect(self._on_press)
        events.mouse_move.connect(self._on_move)
        events.mouse_release.connect(self._on_release)

    def _on_context(self, event: Any) -> None:
        """Begin anew where Qt has made another context, as it does when the dock floats.

        What vispy has put on the GPU is lost with the one before.
        """
        if self._has_context:
            self._markers.visible = self._lasso.visible = False
            self._renewing.start()
        self._has_context = True

    def _renew(self) -> None:
        """Draw on another canvas, which shows the same."""
        old, rect = self._canvas, Rect(self._view.camera.rect)
        self.widget.layout().removeWidget(old.native)
        old.events.initialize.disconnect(self._on_context)
        self._open()
        self._view.camera.rect = rect
        self._pressed, self._outline = None, []
        old.close()
        old.native.deleteLater()
        self.renewed.emit()

    @property
    def native(self) -> Any:
        """The Qt widget that is drawn on."""
        return self._canvas.native

    def set_background(self, color: str) -> None:
        """Set the colour behind the points, and a lasso's to one that is seen on it."""
        self._background = self._canvas.bgcolor = color
        dark = self._canvas.bgcolor.rgb.mean() < 0.5
        self._lasso.set_data(color=(1, 1, 1, 0.9) if dark else (0, 0, 0, 0.9))

    def set_points(self, points: np.ndarray, *, keep_view: bool = False) -> None:
        """Show other points, (n, 2) float32: all of them, or what the user has moved to."""
        self._points = np.ascontiguousarray(points, np.float32)
        if len(points) and not (keep_view and self._view.camera.rect != self._whole):
            self.show_all()

    def show_all(self) -> None:
        """Show all points."""
        low, high = self._points.min(axis=0), self._points.max(axis=0)
        size = np.maximum(high - low, 1e-3)
        low = low - np.array([_MARGIN, _BELOW]) * size
        self._view.camera.rect = (*low, *((1 + _MARGIN + np.array([_MARGIN, _BELOW])) * size))
        self._whole = Rect(self._view.camera.rect)

    def move(self, right: float, up: float) -> None:
        """Move the view by shares of what is seen."""
        rect = self._view.camera.rect
        left, bottom = rect.left + right * rect.width, rect.bottom + up * rect.height
        self._view.camera.rect = (left, bottom, rect.width, rect.height)

    def zoom(self, times: float) -> None:
        """Show the middle so many times as large."""
        self._view.camera.zoom(1 / times, self._view.camera.rect.center)

    def in_view(self) -> np.ndarray:
        """Return (n,) bool: the points that are seen."""
        seen = self._to_data(np.array([[0, 0], self._canvas.size]))
        low, high = seen.min(axis=0), seen.max(axis=0)
        return ((self._points >= low) & (self._points <= high)).all(axis=1)

    def paint(self, rgba: np.ndarray, on_top: np.ndarray) -> None:
        """Colour the points.

        Parameters
        ----------
        rgba
            (n, 4) float32.
        on_top
            (n,) bool: the points that others must not cover.
        """
        self._markers.visible = len(self._points) > 0
        if not len(self._points):
            return
        points = self._points
        if on_top.any() and not on_top.all():
            order = np.concatenate([np.flatnonzero(~on_top), np.flatnonzero(on_top)])
            points, rgba = points[order], rgba[order]
        size = float(np.clip(_SIZE / np.sqrt(len(points)), *_SIZES))
        self._markers.set_data(points, size=size, face_color=rgba, edge_width=0, symbol="disc")

    def pixel_of(self, point: int) -> np.ndarray:
        """Return where on the widget a point is drawn, (x, y) in pixels."""
        return self._to_pixels(self._points[[point]])[0]

    # ---- the mouse

    def _on_press(self, event: Any) -> None:
        if event.button != 1:
            return
        self._pressed = np.asarray(event.pos, float)
        if "Shift" in {str(getattr(key, "name", key)) for key in event.modifiers}:
            self._outline = [self._pressed]
            event.blocked = True

    def _on_move(self, event: Any) -> None:
        position = np.asarray(event.pos, float)
        if self._outline:
            if np.linalg.norm(position - self._outline[-1]) >= _STEP:
                self._outline.append(position)
                closed = np.array([*self._outline, self._outline[0]])
                self._lasso.set_data(self._to_data(closed))
                self._lasso.visible = True
            event.blocked = True
        elif self._pressed is None:
            self.hovered.emit(self._point_at(position))

    def _on_release(self, event: Any) -> None:
        pressed, self._pressed = self._pressed, None
        outline, self._outline = self._outline, []
        self._lasso.visible = False
        if event.button != 1 or pressed is None:
            return
        if outline:
            # Moves that follow each other too fast are left out, so the release counts as well.
            outline.append(np.asarray(event.pos, float))
        if len(outline) > 3:
            names = {str(getattr(key, "name", key)) for key in event.modifiers}
            inside = points_inside(self._points, self._to_data(np.array(outline)))
            self.lassoed.emit(inside, "subtract" if "Control" in names else "replace")
            event.blocked = True
        elif np.linalg.norm(np.asarray(event.pos) - pressed) <= _TREMBLE:
            self.clicked.emit(self._point_at(np.asarray(event.pos, float)))

    def _point_at(self, position: np.ndarray) -> int | None:
        """Return the point nearest to a place on the widget, if there is one within reach."""
        if not len(self._points):
            return None
        here, beside = self._to_data(np.stack([position, position + np.array([_REACH, 0])]))
        square = ((self._points - here.astype(np.float32)) ** 2).sum(axis=1)
        nearest = int(square.argmin())
        return nearest if square[nearest] <= ((beside - here) ** 2).sum() else None

    def _to_data(self, pixels: np.ndarray) -> np.ndarray:
        """Return (k, 2) widget pixels in the points' coordinates."""
        transform = self._markers.get_transform("visual", "canvas")
        mapped = transform.imap(np.asarray(pixels, float))
        return mapped[:, :2] / mapped[:, 3:]

    def _to_pixels(self, points: np.ndarray) -> np.ndarray:
        mapped = self._markers.get_transform("visual", "canvas").map(np.asarray(points, float))
        return mapped[:, :2] / mapped[:, 3:]
