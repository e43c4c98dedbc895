"""The layers of images of ``uns['spatial']``: which channels of them are shown."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from napari_cellama.ui.images import INSIDE, channels_at_first, images_inside
from napari_cellama.ui.layers import layers_inside

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Layer

    from napari_cellama.ui.images import LayerData
    from napari_cellama.ui.placement import Placement
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue


class InsideLayers:
    """Brings the channels of images inside to those that were chosen.

    They have layers from the beginning, by :func:`~.layers.layer_data`; those that the user
    deletes stay away.

    Parameters
    ----------
    session
        Knows what was chosen.
    """

    def __init__(self, session: Session) -> None:
        self._session = weakref.proxy(session)
        self._chosen: dict[tuple[int, str], tuple[str, ...]] = {}

    def changes(
        self, tissue: Tissue, viewer: Viewer, placement: Placement
    ) -> Iterator[tuple[Iterable[LayerData], list[Layer]]]:
        """Take layers away, and yield those to add with the ones that the image has."""
        imaging = self._session.imaging
        chosen = imaging.desk_of(tissue).channels
        if not set(chosen) & set(imaging.inside(tissue)):
            return
        for shown in images_inside(tissue.snapshot, placement):
            tag, image = (tissue.id, shown.name), shown.image
            wanted = chosen.get(image.name)
            before = self._chosen.get(tag, channels_at_first(image))
            if wanted is None or wanted == before or image.rgb:
                continue
            self._chosen[tag] = wanted
            own = layers_of(viewer, tag)
            visible = any(map(_is_visible, own.values())) if own else shown.visible
            for channel in set(own) - set(wanted):
                viewer.layers.remove(own.pop(channel))
            missing = tuple(c for c in wanted if c not in own and c not in before)
            layers = layers_inside(tissue, shown, placement, visible=visible, channels=missing)
            yield layers, list(own.values())

    def forget_closed(self, open_ones: set[int]) -> None:
        """Forget what was chosen of tissues that are no longer open."""
        self._chosen = {tag: seen for tag, seen in self._chosen.items() if tag[0] in open_ones}


def layers_of(viewer: Viewer, image: tuple[int, str]) -> dict[str, Layer]:
    """Return an image's layers by channel; ``image`` is its tissue's id and its name."""
    tags = {layer.metadata.get(INSIDE): layer for layer in viewer.layers}
    return {tag[2]: layer for tag, layer in tags.items() if tag is not None and tag[:2] == image}


def _is_visible(layer: Any) -> bool:
    return bool(layer.visible)
