"""Cells drawn as their outlines: reading them, and the layer between image and points."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellama.core.events import CancelToken, Progress
from napari_cellama.ui.panel import insert_unselected
from napari_cellama.ui.workers import Failed

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image
    from qtpy.QtCore import QObject

    from napari_cellama.core.boundaries import Boundaries
    from napari_cellama.core.boundary_raster import BoundaryRaster
    from napari_cellama.ui.boundary_tiles import BoundaryTiles
    from napari_cellama.ui.layers import TissueLayers
    from napari_cellama.ui.placement import Placement
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue
    from napari_cellama.ui.workers import Job

#: How opaque an outline's inside is, over an image and over nothing, and its edge.
_OVER_IMAGE, _OVER_NOTHING, _EDGE = 0.45, 0.8, 0.95
#: An edge has this share of its inside's brightness.
_DARKER = 0.55
#: How wide a cell without an outline is drawn, as a share of its point.
_DOT = 0.45
#: So many cells' colours are worked out at a time.
_PIECE = 16_384


@dataclass
class _Drawn:
    """A tissue whose outlines have a layer."""

    tissue: Tissue
    layer: Image
    tiles: BoundaryTiles


class OutlineLayers:
    """Keeps the outlines of a viewer's tissues as the session has their cells.

    Parameters
    ----------
    session
        What is watched.
    viewer
        Held weakly.
    layers
        Whose colours the outlines have, cell by cell.
    """

    def __init__(self, session: Session, viewer: Viewer, layers: TissueLayers) -> None:
        self._session = session
        self._viewer, self._layers = weakref.ref(viewer), weakref.ref(layers)
        self._drawn: dict[int, _Drawn] = {}
        session.shape_changed.connect(self._on_shape)
        session.boundaries_ready.connect(self._on_ready)
        viewer.layers.events.removed.connect(self._on_removed)

    def layer_of(self, tissue: Tissue) -> Image | None:
        """Return the layer of a tissue's outlines, once they have been drawn."""
        drawn = self._drawn.get(tissue.id)
        return None if drawn is None else drawn.layer

    def tiles_of(self, tissue: Tissue) -> BoundaryTiles | None:
        """Return what draws a tissue's outlines."""
        drawn = self._drawn.get(tissue.id)
        return None if drawn is None else drawn.tiles

    def is_visible(self, tissue: Tissue) -> bool:
        """Whether a tissue's cells are seen as outlines."""
        layer = self.layer_of(tissue)
        return layer is not None and layer.visible

    def paint(self, tissue: Tissue) -> None:
        """Give a tissue's outlines the colours of its cells."""
        drawn = self._drawn.get(tissue.id)
        if drawn is not None:
            self._color(drawn)
            drawn.layer.refresh(extent=False, highlight=False)

    # ---- what the session tells

    def _on_ready(self, tissue: Tissue) -> None:
        if tissue.shape != "dots":
            self._on_shape(tissue)

    def _on_shape(self, tissue: Tissue) -> None:
        layers = self._layers()
        points = None if layers is None else layers.layer_of(tissue)
        if points is None:
            return
        drawn = self._drawn.get(tissue.id)
        outlined = tissue.shape != "dots"
        if drawn is None and outlined and tissue.boundaries is not None:
            draw_outlines(self._session, tissue, layers.placement_of(tissue), self._take)
            return  # dots are shown until then
        if drawn is not None and drawn.layer in self._viewer().layers:
            self._color(drawn)
            if outlined and drawn.layer.visible:
                drawn.layer.refresh(extent=False, highlight=False)
            else:
                drawn.layer.visible = outlined  # which shows the colours of now
            points.visible = not outlined

    def _take(self, tissue: Tissue, raster: BoundaryRaster) -> None:
        """Show outlines that were drawn, between the images and the points."""
        from napari.layers import Image

        from napari_cellama.ui.boundary_tiles import BoundaryTiles

        layers = self._layers()
        points = None if layers is None else layers.layer_of(tissue)
        if self._viewer() is None or points is None or tissue.id in self._drawn:
            return
        tiles = BoundaryTiles(raster)
        y, x = raster.origin[::-1] + raster.pixel / 2
        layer = Image(
            tiles.levels,
            name=f"{tissue.name} · outlines",
            multiscale=True,
            rgb=True,
            scale=(raster.pixel, raster.pixel),
            translate=(float(y), float(x)),
            units=points.units,
            interpolation2d="linear",
            visible=False,
        )
        self._drawn[tissue.id] = _Drawn(tissue, layer, tiles)
        weak = weakref.ref(layer)
        tiles.drawn.connect(lambda: _refresh(weak()))
        self._color(self._drawn[tissue.id])
        # A turn of the event loop each, so that the window goes on in between.
        _later(tiles, lambda: self._insert(tissue))

    def _insert(self, tissue: Tissue) -> None:
        """Put the layer of outlines under the points, hidden, and let it be seen next."""
        viewer, layers, drawn = self._viewer(), self._layers(), self._drawn.get(tissue.id)
        points = None if layers is None else layers.layer_of(tissue)
        if viewer is None or points is None or drawn is None:
            return
        # A new layer makes napari upload all that is in sight once more.
        points.visible = tissue.shape == "dots"
        insert_unselected(viewer, viewer.layers.index(points), drawn.layer)
        _later(drawn.tiles, lambda: self._reveal(tissue))

    def _reveal(self, tissue: Tissue) -> None:
        """Show either outlines or points, in the colours that they have."""
        layers, drawn = self._layers(), self._drawn.get(tissue.id)
        points = None if layers is None else layers.layer_of(tissue)
        if drawn is not None and points is not None:
            drawn.layer.visible = tissue.shape != "dots"
            points.visible = not drawn.layer.visible

    def _on_removed(self, event: Any) -> None:
        """Forget outlines whose layer is gone, and take them away with their points."""
        viewer, layers = self._viewer(), self._layers()
        for key, drawn in list(self._drawn.items()):
            points = None if layers is None else layers.layer_of(drawn.tissue)
            points = None if points is event.value else points
            if points is None and viewer is not None and drawn.layer not in viewer.layers:
                del self._drawn[key]  # the points went before the outlines came
                drawn.tiles.close()
            elif event.value is drawn.layer:
                del self._drawn[key]
                drawn.tiles.close()
                if points is not None:
                    points.visible = True
                    self._session.draw_as("dots", drawn.tissue)
            elif points is None and viewer is not None and drawn.layer in viewer.layers:
                viewer.layers.remove(drawn.layer)

    # ---- painting

    def _color(self, drawn: _Drawn) -> None:
        tissue, layers = drawn.tissue, self._layers()
        placement = layers.placement_of(tissue)
        rgba = layers.colors_of(tissue, placement.cells)
        inside = _OVER_IMAGE if self._has_image(drawn) else _OVER_NOTHING
        drawn.tiles.paint(*color_tables(rgba, inside, alone=tissue.shape == "outlines"))

    def _has_image(self, drawn: _Drawn) -> bool:
        from napari.layers import Image

        viewer = self._viewer()
        ours = {id(other.layer) for other in self._drawn.values()}
        return any(
            isinstance(layer, Image) and layer.visible and id(layer) not in ours
            for layer in viewer.layers
        )


def color_tables(rgba: np.ndarray, inside: float, *, alone: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the colours of insides and edges.

    Parameters
    ----------
    rgba
        (n, 4) float in [0, 1]: the cells' colours.
    inside
        How opaque insides are.
    alone
        Whether there are only edges, which then have the cells' own colours.

    Returns
    -------
    fine, coarse
        (2 + 2 n, 4) uint8: nothing twice, then each cell's inside and edge; ``coarse`` where
        cells are a few pixels wide and have no edges.
    """
    fine = np.zeros((2 + 2 * len(rgba), 4), np.uint8)
    coarse = np.zeros_like(fine)
    whole = np.array([255, 255, 255, 255 * max(inside, 0.6)], np.float32)
    filled = np.array([255, 255, 255, 0.0 if alone else 255 * inside], np.float32)
    darker = 1.0 if alone else _DARKER
    edge = 255 * np.array([darker, darker, darker, _EDGE], np.float32)
    # In pieces that stay in the processor's cache: the window waits for this.
    for start in range(0, len(rgba), _PIECE):
        piece = rgba[start : start + _PIECE].astype(np.float32)
        rows = slice(2 + 2 * start, 2 + 2 * (start + len(piece)))
        coarse[rows][::2] = coarse[rows][1::2] = np.rint(piece * whole)
        fine[rows][::2] = np.rint(piece * filled)
        fine[rows][1::2] = np.rint(piece * edge)
    return fine, coarse


def read_if_there(session: Session, tissue: Tissue) -> Job | None:
    """Read the outlines that belong to a tissue's cells, in the background, if it names some."""
    snapshot = tissue.snapshot
    entry = snapshot.uns.get("cellama", {})
    if not (hasattr(entry, "get") and entry.get("boundaries")):
        return None

    def events(token: CancelToken) -> Iterator[Any]:
        from napari_cellama.io.boundaries import boundaries_of

        found, notices = boundaries_of(snapshot)
        token.check()
        yield found, notices

    def on_event(job: Job, event: Any) -> None:
        if isinstance(event, Failed):
            session.message.emit("error", event.sentence, event.details)
        elif isinstance(event, tuple):
            found, notices = event
            for text in notices:
                session.message.emit("warning", text, "")
            if found is not None and tissue in session.tissues:
                tissue.boundaries = found
                session.boundaries_ready.emit(tissue)

    return session.jobs.start(f"outlines {tissue.id}", "Reading cell outlines", events, on_event)


def draw_outlines(session: Session, tissue: Tissue, placement: Placement, take: Any) -> Job:
    """Draw an overview of the outlines in the background; ``take(tissue, raster)`` gets it."""
    boundaries = tissue.boundaries
    positions = np.asarray(tissue.snapshot.obsm["spatial"], float)[:, :2]

    def events(token: CancelToken) -> Iterator[Any]:
        # napari's first image imports it, a third of a second in the window's thread.
        import scipy.ndimage  # noqa: F401

        from napari_cellama.core.boundary_raster import BoundaryRaster

        raster = BoundaryRaster(placed(boundaries, positions, placement))
        for share in raster.draw_overview():
            token.check()
            yield Progress("Drawing outlines", round(100 * share), 100)
        yield raster

    def on_event(job: Job, event: Any) -> None:
        if isinstance(event, Failed):
            session.message.emit("error", event.sentence, event.details)
        elif hasattr(event, "overview") and tissue in session.tissues:
            take(tissue, event)

    return session.jobs.start(f"draw {tissue.id}", "Drawing cell outlines", events, on_event)


def placed(boundaries: Boundaries, positions: np.ndarray, placement: Placement) -> Boundaries:
    """Return the outlines of the points on the canvas, moved with their sections.

    A cell that has none is drawn as a small dot: it is there, but nobody has seen its border.
    """
    from napari_cellama.core.boundaries import Boundaries

    cells, points = placement.cells, placement.points[:, ::-1]
    moved = boundaries.take(cells).shifted(points - positions[cells])
    bare = np.flatnonzero(~moved.has_outline)
    if not len(bare):
        return moved
    radii = np.full(len(bare), placement.diameter * _DOT / 2)
    dots = Boundaries.from_circles(points[bare], radii, bare, len(cells))
    offsets = np.concatenate([moved.offsets, dots.offsets[1:] + moved.offsets[-1]])
    vertices = np.concatenate([moved.vertices, dots.vertices])
    return Boundaries.from_rings(vertices, offsets, np.tile(np.arange(len(cells)), 2), len(cells))


def _later(parent: QObject, act: Callable[[], None]) -> None:
    """Act in the next turn of the event loop, if the parent is still there."""
    from qtpy.QtCore import QTimer

    timer = QTimer(parent, singleShot=True, interval=0)
    timer.timeout.connect(act)
    timer.timeout.connect(timer.deleteLater)
    timer.start()


def _refresh(layer: Image | None) -> None:
    if layer is not None and layer.visible:
        layer.refresh(thumbnail=False, extent=False, highlight=False)
