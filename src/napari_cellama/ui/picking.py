"""The mouse on the tissue: clicks pick cells, a lasso or a rectangle selects those inside."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellama.ui.selection import How
from napari_cellama.ui.view import outline_of_view

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Points

    from napari_cellama.ui.layers import TissueLayers
    from napari_cellama.ui.placement import Placement
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue

#: Canvas pixels that a click may miss a cell by, and that a hand may tremble during it.
_REACH = 6.0
_TREMBLE = 4.0
#: Canvas pixels between the corners of a lasso.
_STEP = 3.0

#: The keys that are held while the mouse is used, and what they mean.
MODIFIERS: dict[frozenset[str], How] = {
    frozenset({"Shift"}): "add",
    frozenset({"Control"}): "subtract",
    frozenset({"Shift", "Control"}): "intersect",
}


class Picking:
    """Turns a viewer's mouse into the session's picks and selections, and marks the picked cell.

    Parameters
    ----------
    session
        Is told; says which tool is in hand.
    viewer
        Whose mouse it is.
    layers
        Say which tissue a layer shows.
    """

    def __init__(self, session: Session, viewer: Viewer, layers: TissueLayers) -> None:
        from napari_cellama.ui.marks import Marks

        self._session, self._layers = session, layers
        self._viewer = weakref.ref(viewer)
        self.marks = Marks()
        viewer.scene.overlays["cellama_marks"] = self.marks
        viewer.mouse_drag_callbacks.append(self._on_mouse)
        session.cell_picked.connect(self._mark)
        session.active_changed.connect(self._mark)
        session.view_asked.connect(self.select_in_view)

    # ---- the mouse

    def _on_mouse(self, viewer: Viewer, event: Any) -> Iterator[None]:
        """Follow the mouse from press to release, unless a layer's own tool is in hand."""
        active = viewer.layers.selection.active
        drawing = active is not None and active.mode not in ("pan_zoom", "transform")
        keys = frozenset(event.modifiers)
        if event.button != 1 or drawing or (keys and keys not in MODIFIERS):
            return
        how = MODIFIERS.get(keys, self._session.how)
        tissue = self._session.active
        clicks = self._session.tool in ("pick", "landmark")
        if clicks or tissue is None or not self._can_draw(viewer):
            yield from self._click(viewer, event, how)
        else:
            yield from self._draw(viewer, event, how)

    def _can_draw(self, viewer: Viewer) -> bool:
        if viewer.dims.ndisplay == 2:
            return True
        text = "Cells are selected on the canvas in 2D; press napari's 2D/3D button first."
        self._session.message.emit("info", text, "")
        return False

    def _click(self, viewer: Viewer, event: Any, how: How) -> Iterator[None]:
        """Pick the clicked cell; what turns into a drag moves the canvas and picks nothing."""
        pressed = np.asarray(event.pos)
        moved = 0.0
        yield
        while event.type == "mouse_move":
            moved = max(moved, _distance(event.pos, pressed))
            yield
        # Moves that follow each other too fast are left out, so the release counts as well.
        moved = max(moved, _distance(event.pos, pressed))
        if moved > _TREMBLE:
            return
        if self._session.tool == "landmark":
            self._set_landmark(viewer, event)
        else:
            self._pick(viewer, event, how)

    def _set_landmark(self, viewer: Viewer, event: Any) -> None:
        """Tell where on the image, or among the active tissue's cells, was clicked."""
        shown = self._layers.layer_of(self._session.active) if self._session.active else None
        if shown is None:
            return
        if viewer.dims.ndisplay != 2:
            text = "Landmarks are set in 2D; press napari's 2D/3D button first."
            self._session.imaging.told.emit("warning", text, "")
            return
        y, x = np.asarray(shown.world_to_data(event.position))[-2:]
        placement = self._layers.placement_of(self._session.active)
        self._session.imaging.aligning.click(float(y), float(x), placement)

    def _draw(self, viewer: Viewer, event: Any, how: How) -> Iterator[None]:
        """Draw an outline while the canvas stands still, and select the cells inside."""
        corners = _corners(self._session.tool)
        pressed, camera = np.asarray(event.pos), viewer.scene.camera
        could_pan, camera.mouse_pan = camera.mouse_pan, False
        try:
            path = [(np.asarray(event.pos), tuple(event.position[-2:]))]
            yield
            while event.type == "mouse_move":
                path = _extended(path, event)
                self.marks.outline = corners(path)
                yield
            path = _extended(path, event)
        finally:
            camera.mouse_pan = could_pan
            self.marks.outline = ()
        if max(_distance(pos, pressed) for pos, _ in path) <= _TREMBLE:
            self._pick(viewer, event, how)
            return
        shown = self._layers.layer_of(self._session.active)
        if shown is not None:
            placement = self._layers.placement_of(self._session.active)
            self.select_inside(np.array(corners(path)), shown, placement, how)

    def select_inside(
        self, outline: np.ndarray, layer: Points, placement: Placement, how: How
    ) -> None:
        """Select the active tissue's visible cells inside an outline.

        Parameters
        ----------
        outline
            (k, 2) of (y, x) in the world.
        layer, placement
            The tissue's.
        how
            What becomes of the selection.
        """
        tissue = self._session.active
        inside = placement.inside(_to_data(layer, outline))
        self._session.select(inside & ~tissue.hidden, how)

    def select_in_view(self, how: How) -> None:
        """Select the active tissue's visible cells that lie on the canvas."""
        viewer, tissue = self._viewer(), self._session.active
        layer = None if tissue is None else self._layers.layer_of(tissue)
        if viewer is not None and layer is not None and self._can_draw(viewer):
            placement = self._layers.placement_of(tissue)
            self.select_inside(outline_of_view(viewer), layer, placement, how)

    def _pick(self, viewer: Viewer, event: Any, how: How) -> None:
        """Pick the cell under the cursor in the topmost tissue that has one there."""
        for tissue, layer, placement in self._layers.from_the_top(viewer):
            cell = cell_at(layer, placement, event, viewer.scene.camera.zoom, tissue.hidden)
            if cell is not None:
                self._session.activate(tissue)
                self._session.pick_cell(cell, how)
                return

    # ---- the mark

    def _mark(self, tissue: Tissue | None, *_: Any) -> None:
        """Put the ring around the picked cell of the active tissue."""
        place = None
        layer = None if tissue is None else self._layers.layer_of(tissue)
        if layer is not None and tissue is self._session.active and tissue.picked is not None:
            point = self._layers.placement_of(tissue).point_of(tissue.picked)
            if point is not None:
                world = layer.data_to_world(layer.data[point])
                place = tuple(float(value) for value in np.asarray(world))
        self.marks.cell = place


def cell_at(
    layer: Points, placement: Placement, event: Any, zoom: float, hidden: np.ndarray
) -> int | None:
    """Return the cell of a tissue's layer that a mouse event points at, if any.

    Parameters
    ----------
    layer, placement
        The tissue's.
    event
        napari's.
    zoom
        Canvas pixels per unit of the world.
    hidden
        (n,) bool: cells that cannot be pointed at.
    """
    skipped = placement.of_points(hidden)
    scale = abs(float(layer.scale[-1])) or 1.0
    radius = max(placement.diameter, _REACH / zoom / scale)
    position = np.asarray(layer.world_to_data(event.position))[-layer.ndim :]
    if len(event.dims_displayed) == 3 and layer.ndim == 3:
        ahead = np.asarray(event.position) + np.asarray(event.view_direction)
        direction = np.asarray(layer.world_to_data(ahead))[-layer.ndim :] - position
        return placement.nearest_to_ray(position, direction, radius, skipped)
    return placement.nearest(position, radius, skipped)


#: Canvas position and world (y, x) of every step of the mouse.
_Path = list[tuple[np.ndarray, tuple[float, float]]]


def _extended(path: _Path, event: Any) -> _Path:
    """Return the path with where the mouse is now, if it has moved on since."""
    position = np.asarray(event.pos)
    if _distance(position, path[-1][0]) < _STEP:
        return path
    return [*path, (position, tuple(event.position[-2:]))]


def _corners(tool: str) -> Callable[[_Path], tuple[tuple[float, float], ...]]:
    """Return what turns a path into an outline: all of it, or the rectangle that it spans."""

    def rectangle(path: _Path) -> tuple[tuple[float, float], ...]:
        (top, left), (bottom, right) = path[0][1], path[-1][1]
        return ((top, left), (top, right), (bottom, right), (bottom, left))

    def lasso(path: _Path) -> tuple[tuple[float, float], ...]:
        return tuple(world for _, world in path)

    return rectangle if tool == "rectangle" else lasso


def _to_data(layer: Points, outline: np.ndarray) -> np.ndarray:
    """Return (k, 2) world positions (y, x) in the layer's own coordinates."""

    def converted(y: float, x: float) -> np.ndarray:
        world = np.zeros(layer.ndim)
        world[-2:] = y, x
        return np.asarray(layer.world_to_data(world))[-2:]

    # The transform is affine, so that three places tell where all are.
    start = converted(0, 0)
    return start + outline @ np.stack([converted(1, 0) - start, converted(0, 1) - start])


def _distance(position: Any, start: np.ndarray) -> float:
    """Return how many canvas pixels lie between two positions."""
    return float(np.linalg.norm(np.asarray(position) - start))
