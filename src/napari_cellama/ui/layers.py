"""The tissue on the canvas: its layers, painted as the session says."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer

from napari_cellama.ui.images import INSIDE, image_layers, images_inside
from napari_cellama.ui.outlines import OutlineLayers
from napari_cellama.ui.painting import Legend, Shading, shade
from napari_cellama.ui.picking import Picking
from napari_cellama.ui.placement import Placement, place
from napari_cellama.ui.tissue import Coloring, Tissue
from napari_cellama.ui.view import is_in_view

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Layer, Points

    from napari_cellama.ui.images import LayerData, ShownImage
    from napari_cellama.ui.session import Session

#: Where a points layer keeps its tissue, and how the tissue's cells are placed.
TISSUE = "napari_cellama"
PLACEMENT = "napari_cellama_placement"

#: The unit, of our own, of coordinates in pixels.
_PIXELS = "coordinate_pixel"
#: How long after the last painting the thumbnails follow, in milliseconds.
_THUMBNAIL_MS = 100


def layer_data(tissue: Tissue) -> list[tuple[Any, dict[str, Any], str]]:
    """Return a tissue's layers as napari's readers return them: images first, then the cells.

    Raises
    ------
    UserError
        When the cells have no usable positions.
    """
    from napari.utils.notifications import show_warning

    placement = place(tissue.snapshot)
    unit = napari_unit(tissue.units)
    layers: list[tuple[Any, dict[str, Any], str]] = []
    for shown in images_inside(tissue.snapshot, placement):
        if shown.notice:
            show_warning(shown.notice)
        layers += layers_inside(tissue, shown, placement, visible=shown.visible)
    return [*layers, _points_data(tissue, placement, unit)]


def layers_inside(
    tissue: Tissue,
    shown: ShownImage,
    placement: Placement,
    *,
    visible: bool,
    channels: tuple[str, ...] | None = None,
) -> Iterator[LayerData]:
    """Yield the layers of some channels of an image inside; by default those shown at first."""
    return image_layers(
        shown.image,
        name=f"{tissue.name} · {shown.name}",
        offset=placement.offset_of(shown.section),
        unit=napari_unit(tissue.units),
        visible=visible,
        channels=channels,
        tag=(tissue.id, shown.name),
        key=INSIDE,
        deep=True,
    )


def _points_data(tissue: Tissue, placement: Placement, unit: str) -> tuple[Any, Any, str]:
    """Return the cells as a reader's points layer, coloured as the tissue says."""
    if tissue.coloring is None:
        tissue.coloring = _first_coloring(tissue)
    shading = shade(tissue, tissue.coloring)
    rgba = _of_points(shading, placement).rgba(
        placement.of_points(tissue.selection), placement.of_points(tissue.hidden)
    )
    attributes = {
        "name": tissue.name,
        "face_color": rgba,
        "size": placement.diameter,
        # A border would hide the cell's colour once cells are a few pixels wide; but a point that
        # would be smaller than the least size below is drawn as nothing but border.
        "border_width": 0,
        "border_color": rgba,
        "antialiasing": 1,
        "canvas_size_limits": (1.5, 10_000),
        "units": unit,
        "features": status_features(tissue, placement),
        "metadata": {TISSUE: tissue, PLACEMENT: placement},
    }
    return placement.points, attributes, "points"


def show(viewer: Viewer, tissue: Tissue) -> Points:
    """Add a tissue's layers to the viewer; returns that of its cells."""
    from napari.layers import Layer

    layers = [Layer.create(*data) for data in layer_data(tissue)]
    for layer in layers:
        viewer.add_layer(layer)
    return layers[-1]


def tissue_of(layer: Layer | None) -> Tissue | None:
    """Return the tissue whose cells a layer shows, if any."""
    return None if layer is None else tissue_of_metadata(layer.metadata)


def tissue_of_metadata(metadata: Any) -> Tissue | None:
    """Return the tissue that a layer's metadata carry, if any."""
    tissue = metadata.get(TISSUE) if metadata else None
    return tissue if isinstance(tissue, Tissue) else None


def status_features(tissue: Tissue, placement: Placement) -> Any:
    """Return what napari's status bar says about the cell under the cursor, one row a point."""
    import pandas as pd

    columns: dict[str, Any] = {"cell": placement.cells}
    keys = [tissue.clusters]
    if tissue.coloring is not None and tissue.coloring.kind in ("labels", "obs"):
        keys.append(tissue.coloring.name)
    for key in keys:
        if key in tissue.labels:
            columns[key] = placement.of_points(tissue.labels[key].categorical())
        elif key in tissue.snapshot.obs:
            columns[key] = placement.of_points(tissue.snapshot.obs[key].array)
    return pd.DataFrame(columns)


@dataclass
class _Shown:
    """A tissue that is on the canvas."""

    tissue: Tissue
    layer: Points
    placement: Placement
    shading: Shading
    painted: tuple[Any, ...] = ()


class TissueLayers:
    """Keeps a viewer's tissue layers as the session has them, and the session told of clicks.

    Parameters
    ----------
    session
        What is watched.
    viewer
        Held weakly: the viewer's window is what everything else hangs on.
    """

    def __init__(self, session: Session, viewer: Viewer) -> None:
        self.session = session
        self._viewer = weakref.ref(viewer)
        self._shown: dict[int, _Shown] = {}
        # A thumbnail costs a sixth of a painting: while colours follow the mouse there is none.
        self._repainted: set[int] = set()
        self._thumbnails = QTimer(singleShot=True, interval=_THUMBNAIL_MS)
        self._thumbnails.timeout.connect(self._renew_thumbnails)
        session.coloring_changed.connect(self._on_coloring)
        session.selection_changed.connect(self._on_selection)
        session.active_changed.connect(self._on_active)
        layers = viewer.layers
        layers.events.inserted.connect(self._on_inserted)
        layers.events.removed.connect(self._on_removed)
        layers.selection.events.active.connect(self._on_layer_selected)
        self.picking = Picking(session, viewer, self)
        self.outlines = OutlineLayers(session, viewer, self)
        for layer in list(layers):
            self._take_in(layer)

    def layer_of(self, tissue: Tissue) -> Points | None:
        """Return the points layer that shows a tissue's cells."""
        shown = self._shown.get(tissue.id)
        return None if shown is None else shown.layer

    def placement_of(self, tissue: Tissue) -> Placement:
        """Return where a shown tissue's cells lie on the canvas."""
        return self._shown[tissue.id].placement

    def colors_of(self, tissue: Tissue, cells: np.ndarray) -> np.ndarray:
        """Return (len(cells), 4) float32 RGBA: the colours that shown cells have on the canvas.

        ``cells`` have positions; the selection and hidden cells are respected.
        """
        shown = self._shown[tissue.id]
        rows = cells
        if not shown.placement.is_whole:
            rows = np.searchsorted(shown.placement.cells, cells)
        shading = Shading(shown.shading.index[rows], shown.shading.table, shown.shading.legend)
        chosen = tissue.selection[cells] if tissue.selection.any() else None
        return shading.rgba(chosen, tissue.hidden[cells], all_faded=chosen is not None)

    def legend_of(self, tissue: Tissue) -> Legend | None:
        """Return what the colours of a tissue's cells mean, if they are shown."""
        shown = self._shown.get(tissue.id)
        return None if shown is None else shown.shading.legend

    def from_the_top(self, viewer: Viewer) -> Iterator[tuple[Tissue, Points, Placement]]:
        """Yield the tissues in sight, as dots or outlines, the topmost first, with their layers."""
        for layer in reversed(viewer.layers):
            tissue = tissue_of(layer)
            shown = None if tissue is None else self._shown.get(tissue.id)
            if (
                shown is not None
                and shown.layer is layer
                and (layer.visible or self.outlines.is_visible(tissue))
            ):
                yield tissue, layer, shown.placement

    # ---- the viewer's layers

    def _on_inserted(self, event: Any) -> None:
        self._take_in(event.value)

    def _take_in(self, layer: Layer) -> None:
        """Notice a layer that shows a tissue; a copy of a shown one is just a copy."""
        tissue = tissue_of(layer)
        if tissue is None or tissue.id in self._shown:
            return
        placement = layer.metadata.get(PLACEMENT) or place(tissue.snapshot)
        shading = _of_points(shade(tissue, tissue.coloring), placement)
        self._shown[tissue.id] = _Shown(tissue, layer, placement, shading)
        viewer = self._viewer()
        viewer.canvas.overlays.scale_bar.visible = True
        if layer.ndim == 3:
            # A slice of a thick section shows next to none of its cells.
            viewer.dims.ndisplay = 3
        self.session.add_tissue(tissue)

    def _on_removed(self, event: Any) -> None:
        tissue = tissue_of(event.value)
        shown = None if tissue is None else self._shown.get(tissue.id)
        if shown is not None and shown.layer is event.value:
            del self._shown[tissue.id]
            if tissue in self.session.tissues:
                self.session.remove_tissue(tissue)

    def _on_layer_selected(self, event: Any) -> None:
        tissue = tissue_of(event.value)
        if tissue is not None and tissue.id in self._shown:
            self.session.activate(tissue)

    def _on_active(self, tissue: Tissue | None) -> None:
        viewer = self._viewer()
        if viewer is None or tissue is None or tissue.id not in self._shown:
            return
        layer = self._shown[tissue.id].layer
        if tissue_of(viewer.layers.selection.active) is not tissue:
            viewer.layers.selection.active = layer
        # What the docks speak of must be seen; napari shows the first layer and no later one.
        if len(self._shown) > 1 and not is_in_view(viewer, layer):
            viewer.fit_to_view(layers=[layer])

    # ---- painting

    def _on_coloring(self, tissue: Tissue) -> None:
        shown = self._shown.get(tissue.id)
        if shown is not None:
            shown.shading = _of_points(shade(tissue, tissue.coloring), shown.placement)
            self._paint(shown)
            shown.layer.features = status_features(tissue, shown.placement)

    def _on_selection(self, tissue: Tissue) -> None:
        if tissue.id in self._shown:
            self._paint(self._shown[tissue.id])

    def _paint(self, shown: _Shown) -> None:
        if len(shown.layer.data) != len(shown.placement.points):
            text = (
                f"The points of {shown.tissue.name} were edited, so that they are no longer its "
                "cells; undo that or open the tissue again."
            )
            self.session.message.emit("warning", text, "")
            return
        tissue, placement = shown.tissue, shown.placement
        wanted = (shown.shading, tissue.selection, tissue.hidden)
        if all(map(operator.is_, wanted, shown.painted)) and shown.painted:
            return  # colours and selection have changed together, which is told twice
        shown.painted = wanted
        masks = (placement.of_points(tissue.selection), placement.of_points(tissue.hidden))
        write_colors(shown.layer, shown.shading, *masks)
        self._repainted.add(tissue.id)
        self._thumbnails.start()
        self.outlines.paint(tissue)

    def _renew_thumbnails(self) -> None:
        for shown in map(self._shown.get, self._repainted):
            if shown is not None and shown.layer.visible:
                shown.layer.refresh(data_displayed=False, highlight=False, extent=False)
        self._repainted.clear()


def write_colors(
    layer: Points, shading: Shading, selection: np.ndarray, hidden: np.ndarray
) -> None:
    """Give a points layer its colours by the quickest way that napari's public names allow.

    Assigning ``face_color`` checks, compares and uploads the colours twice; filling the layer's
    own array and saying so once takes about half of that, and nothing of ours per point.
    """
    colors, border = layer.face_color, layer.border_color
    modes = {layer.face_color_mode, layer.border_color_mode}
    if modes == {"direct"} and colors.flags.writeable and border.flags.writeable:
        shading.rgba(selection, hidden, out=colors)
        border[:] = colors
        if layer.face_color is colors and not layer.visible:
            return  # cells are drawn as outlines; napari uploads the colours when it shows points
        if layer.face_color is colors:
            layer.events.face_color()
            return
    rgba = shading.rgba(selection, hidden)
    layer.border_color = rgba
    layer.face_color = rgba


def _of_points(shading: Shading, placement: Placement) -> Shading:
    """Return the shading of the cells that have a point."""
    return Shading(placement.of_points(shading.index), shading.table, shading.legend)


def _first_coloring(tissue: Tissue) -> Coloring | None:
    """Return what a tissue is coloured by at first: the niches it was saved with, or its types."""
    if tissue.clusters is not None:
        return Coloring("labels", tissue.clusters)
    key = tissue.type_key
    return None if key is None else Coloring("obs", key)


def napari_unit(unit: str) -> str:
    """Return a unit as napari knows it; one that it does not know is shown as pixels."""
    import pint

    registry = pint.get_application_registry()
    try:
        if registry.Unit(unit) != registry.Unit("pixel"):
            return unit
    except (pint.errors.PintError, ValueError, TypeError, AttributeError):
        pass
    # napari's scale bar would say "1.5 kpixel"; what counts as a plain number gets no prefix.
    if _PIXELS not in registry:
        registry.define(f"{_PIXELS} = 1 = pixels")
    return _PIXELS
