"""Large images without coarse levels: what is looked at is read and averaged in a thread."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_warning

from napari_cellama.core.overview import TILE, Overview
from napari_cellama.ui.background_tiles import BackgroundTiles, LevelView
from napari_cellama.ui.workers import Failed

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_cellama.core.events import CancelToken
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.workers import Job

#: Seconds between two looks at an overview that is being drawn.
_LOOK = 0.5


class ImageTiles(BackgroundTiles):
    """Shows an image's coarsest level and those below it as far as they have been read.

    Parameters
    ----------
    overview
        What reads and averages.
    name
        What users call the image.
    rgb
        Whether channels are a pixel's colours; else there is one.
    """

    KEPT = 48 * 2**20

    def __init__(self, overview: Overview, name: str, *, rgb: bool) -> None:
        depth = overview.kept.shape[2] if rgb else 0
        super().__init__(overview.shapes, TILE, depth, overview.dtype)
        self.overview, self._name, self._told = overview, name, False
        self.drawn.connect(self.tell)

    def tell(self) -> None:
        """Say once that some pixels cannot be read."""
        if self.overview.problem and not self._told:
            self._told = True
            show_warning(f"{self.overview.problem} Where that is, it is black.")

    def _draw(self, key: tuple[int, int, int]) -> np.ndarray:
        return self.overview.tile(*key)

    def _stand_in(self, level: int, rows: slice, columns: slice) -> np.ndarray:
        return self.overview.stand_in(level, rows, columns)

    def _shown(self, kept: np.ndarray, out: np.ndarray, *, whole: bool) -> None:
        out[...] = kept if self._pixel else kept[..., 0]

    def _has_tiles(self, level: int) -> bool:
        return level < self.overview.kept_level


def tiles_of(layer: Any) -> ImageTiles | None:
    """Return what a layer's pixels are read by, where it has no coarse levels of its own."""
    last = layer.data[-1] if getattr(layer, "multiscale", False) else None
    tiles = last.tiles if isinstance(last, LevelView) else None
    return tiles if isinstance(tiles, ImageTiles) else None


def draw_overview(session: Session, layer: Image, tiles: ImageTiles) -> Job:
    """Read all of an image in the background, once, for views from afar; shows what there is."""
    from napari_cellama.core.events import Progress

    def events(token: CancelToken) -> Iterator[Any]:
        looked = time.perf_counter()
        for share in tiles.overview.draw():
            token.check()
            if share == 1 or time.perf_counter() - looked > _LOOK:
                yield Progress("Image", round(100 * share), 100, "%", layer.name)
                looked = time.perf_counter()

    def on_event(job: Job, event: Any) -> None:
        if isinstance(event, Failed):
            session.message.emit("error", event.sentence, event.details)
        elif isinstance(event, Progress):
            tiles.tell()
            tiles.renew()
            layer.refresh(extent=False, highlight=False)

    return session.jobs.start(slot_of(layer), f"Reading {layer.name}", events, on_event)


def slot_of(layer: Image) -> str:
    """Return the slot of the job that reads a layer's image."""
    return f"overview {id(layer)}"
