"""The attached images on the canvas: their layers below the cells, and the landmarks above all."""

from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_warning

from napari_cellama.ui.image_tiles import draw_overview, slot_of, tiles_of
from napari_cellama.ui.images import IMAGE, image_layers, world_of
from napari_cellama.ui.inside_layers import InsideLayers
from napari_cellama.ui.layers import napari_unit
from napari_cellama.ui.panel import insert_unselected

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Layer

    from napari_cellama.io.attached import Attached
    from napari_cellama.ui.layers import TissueLayers
    from napari_cellama.ui.marks import Place
    from napari_cellama.ui.placement import Placement
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue


class ImageLayers:
    """Keeps a viewer's layers of attached images as the session has them.

    Parameters
    ----------
    session
        What is watched; holds this as long as it lives.
    viewer
        Held weakly.
    layers
        Say where tissues lie.
    """

    def __init__(self, session: Session, viewer: Viewer, layers: TissueLayers) -> None:
        from napari_cellama.ui.marks import Pins

        self._session, self._layers = weakref.proxy(session), weakref.proxy(layers)
        self._viewer = weakref.ref(viewer)
        #: The layers that were added; one that the user has deleted does not come again.
        self._made: set[tuple[Any, ...]] = set()
        self._inside = InsideLayers(session)
        self.pins = Pins()
        viewer.scene.overlays["cellama_pins"] = self.pins
        for signal in (session.images_changed, session.active_changed, session.tool_changed):
            signal.connect(self._on_changed)
        session.imaging.placed.connect(self._on_placed)
        session.imaging.warned.connect(show_warning)
        session.tissues_changed.connect(self._forget_closed)
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removed.connect(self._on_removed)
        for layer in list(viewer.layers):
            self._take_in(layer)
        layers.images = self

    def _on_changed(self, tissue: Tissue | None = None) -> None:
        if tissue is not None and tissue in self._session.tissues:
            self.sync(tissue)
        self._draw_pins()

    def layers_of(self, tissue: Tissue, name: str | None = None) -> dict[str, Layer]:
        """Return the layers of a tissue's attached images, or of one, by image and channel."""
        viewer = self._viewer()
        tags = {layer.metadata.get(IMAGE): layer for layer in viewer.layers}
        return {
            tag: layer
            for tag, layer in tags.items()
            if tag is not None and tag[0] == tissue.id and name in (None, tag[1])
        }

    def sync(self, tissue: Tissue) -> None:
        """Add, move and remove layers until they are as the session has it."""
        points = self._layers.layer_of(tissue)
        if points is None:
            return
        viewer, placement = self._viewer(), self._layers.placement_of(tissue)
        for layers, others in self._inside.changes(tissue, viewer, placement):
            self._add(tissue, layers, first=not others, others=others)
        here, wanted = self.layers_of(tissue), set()
        for attached in tissue.images:
            wanted |= self._sync_one(tissue, attached, placement, here)
        for tag, layer in here.items():
            if tag not in wanted:
                viewer.layers.remove(layer)
        self._made = {tag for tag in self._made if tag[0] != tissue.id} | wanted
        if set(here) != set(self.layers_of(tissue)):
            self._layers.outlines.paint(tissue)  # over an image they are paler inside
        # What the docks speak of stays the active layer.
        if viewer.layers.selection.active is not points and tissue is self._session.active:
            active = viewer.layers.selection.active
            if active is None or active.metadata.get(IMAGE) is not None:
                viewer.layers.selection.active = points

    def _sync_one(
        self, tissue: Tissue, attached: Attached, placement: Placement, here: dict[Any, Layer]
    ) -> set[tuple[Any, ...]]:
        """Bring one image's layers to where it lies; returns the tags of those it is to have."""
        imaging = self._session.imaging
        image = imaging.image_of(tissue, attached)
        if image is None:
            return set()
        limits = imaging.limits_of(tissue, attached)
        channels = imaging.channels_of(tissue, attached)
        ready = tuple(name for name in channels if image.rgb or name in limits)
        affine = world_of(image, placement.offset_of(attached.section))
        if image.rgb:
            ready = image.channels if channels else ()
        tags = {(tissue.id, attached.name, "" if image.rgb else name) for name in ready}
        for tag in tags & set(here):
            if not np.allclose(here[tag].affine.affine_matrix[-3:, -3:], affine, rtol=1e-12):
                here[tag].affine = affine
        missing = tags - set(here) - self._made
        if missing:
            wanted = image.channels if image.rgb else tuple(tag[2] for tag in missing)
            self._add(
                tissue,
                image_layers(
                    image,
                    name=f"{tissue.name} · {attached.name}",
                    offset=placement.offset_of(attached.section),
                    unit=napari_unit(tissue.units),
                    channels=wanted,
                    limits=limits,
                    tag=(tissue.id, attached.name),
                    deep=True,
                ),
                first=not tags & set(here),
            )
        return tags

    def _add(
        self, tissue: Tissue, layers: Any, first: bool, others: list[Layer] | None = None
    ) -> None:
        """Put layers below the cells; the first of fluorescence covers what lies below it."""
        from napari.layers import Layer

        viewer = self._viewer()
        if others is None:
            others = [layer for layer in self.layers_of(tissue).values() if not layer.rgb]
        for data, attributes, kind in layers:
            if (others or not first) and attributes.get("blending") == "opaque":
                attributes["blending"] = "additive"
            layer = Layer.create(data, attributes, kind)
            cells = (self._layers.layer_of(tissue), self._layers.outlines.layer_of(tissue))
            lowest = min(viewer.layers.index(one) for one in cells if one in viewer.layers)
            insert_unselected(viewer, lowest, layer)

    # ---- large images

    def _on_inserted(self, event: Any) -> None:
        self._take_in(event.value)

    def _take_in(self, layer: Layer) -> None:
        """Read, in the background, all of an image that has no coarse levels of its own."""
        if (tiles := tiles_of(layer)) is not None:
            tiles.drawn.connect(partial(_refresh, weakref.ref(layer)))
            draw_overview(self._session, layer, tiles)

    def _on_removed(self, event: Any) -> None:
        """Read no more of an image whose layer is gone."""
        if (tiles := tiles_of(event.value)) is not None:
            tiles.close()
            self._session.jobs.cancel(slot_of(event.value))

    def _forget_closed(self) -> None:
        """Take away the images of tissues that were closed."""
        viewer = self._viewer()
        if viewer is None:
            return
        open_ones = {tissue.id for tissue in self._session.tissues}
        for layer in list(viewer.layers):
            tag = layer.metadata.get(IMAGE)
            if tag is not None and tag[0] not in open_ones:
                viewer.layers.remove(layer)
        self._made = {tag for tag in self._made if tag[0] in open_ones}
        self._inside.forget_closed(open_ones)

    def _on_placed(self, tissue: Tissue, attached: Attached) -> None:
        """Show an image that was added beside the cells together with them."""
        layers = [*self.layers_of(tissue, attached.name).values(), self._layers.layer_of(tissue)]
        if attached.how == "none" and None not in layers:
            self._viewer().fit_to_view(layers=layers)

    # ---- landmarks

    def _draw_pins(self) -> None:
        """Draw the landmarks of the chosen image while somebody works on them."""
        on_image, on_cells = self._places()
        if self.pins.on_image != on_image:
            self.pins.on_image = on_image
        if self.pins.on_cells != on_cells:
            self.pins.on_cells = on_cells

    def _places(self) -> tuple[tuple[Place, ...], tuple[Place, ...]]:
        """Return where in the world the landmarks are, on the image and among the cells."""
        tissue, imaging = self._session.active, self._session.imaging
        attached = imaging.attached(tissue)
        seen = imaging.pins_shown or self._session.tool == "landmark"
        points = None if tissue is None else self._layers.layer_of(tissue)
        if attached is None or not seen or points is None:
            return (), ()
        offset = np.array(self._layers.placement_of(tissue).offset_of(attached.section))
        pixels, pixel = attached.pixels, imaging.desk_of(tissue).pixel
        if pixel is not None:
            pixels = np.vstack([pixels, pixel])
        linear, shift = attached.to_pixels[:, :2], attached.to_pixels[:, 2]
        on_image = np.linalg.solve(linear, (pixels - shift).T).T[:, ::-1] + offset
        on_cells = attached.positions[:, ::-1] + offset
        return _as_places(on_image), _as_places(on_cells)


def _refresh(layer: weakref.ref[Layer]) -> None:
    """Show what was drawn of a layer, unless it is gone."""
    if (there := layer()) is not None:
        there.refresh(thumbnail=False, extent=False, highlight=False)


def _as_places(yx: np.ndarray) -> tuple[Place, ...]:
    return tuple((float(y), float(x)) for y, x in yx)
