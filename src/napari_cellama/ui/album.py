"""Pictures of cells for every view on them: opened once a tissue, in the job that asks first."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_cellama.cell_pictures import CellPictures, PictureLook, open_pictures
from napari_cellama.core.slots import recipe_of, stored_recipe
from napari_cellama.core.stored import THREADS
from napari_cellama.core.threads import in_turn
from napari_cellama.errors import UserError
from napari_cellama.recipe import Recipe
from napari_cellama.ui.widgets.lookups import CellWriter
from napari_cellama.ui.widgets.marking import drawn

if TYPE_CHECKING:
    from qtpy.QtGui import QImage

    from napari_cellama.core.events import CancelToken
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue

#: Cuts the pictures of some cells, in a job; tells with each which cell it is of.
Cut = Callable[[Iterable[int]], "Iterator[tuple[int, QImage]]"]


@dataclass(frozen=True)
class Portrait:
    """A cell's picture.

    Attributes
    ----------
    cell
        Its row.
    picture
        ``None`` where there is no image.
    why_not
        Why there is no picture; "" if there is one, or no image.
    """

    cell: int
    picture: QImage | None
    why_not: str = ""


class Album:
    """Cuts pictures of the session's tissues, as the user wants to see them.

    Events (psygnal signals; on the main thread)

    ``changed()``
        Pictures look otherwise from now on.
    """

    changed = Signal()

    def __init__(self, session: Session) -> None:
        self._session = weakref.proxy(session)
        self._look = PictureLook()
        self._opened: tuple[tuple[Any, ...], _Opened] | None = None
        self._writer = CellWriter()

    @property
    def look(self) -> PictureLook:
        """What pictures show."""
        return self._look

    @look.setter
    def look(self, look: PictureLook) -> None:
        if look != self._look:
            self._look = look
            self.changed.emit()

    def opened(self, tissue: Tissue) -> _Opened:
        """Return what opens a tissue's images; call it in a job."""
        uns, quality = tissue.snapshot.uns, tissue.quality
        attached = uns.get("cellama", {}).get("images")
        boundaries, image = tissue.boundaries, tissue.choices.cut_from
        key = (tissue.snapshot, quality, uns.get("spatial"), attached, boundaries, image)
        known = self._opened
        if known is None or any(a is not b for a, b in zip(known[0], key, strict=True)):
            self._opened = known = (key, _Opened(tissue.snapshot, quality, boundaries, image))
        return known[1]

    def choices(self, tissue: Tissue) -> Callable[[], tuple[tuple[str, ...], tuple[str, ...]]]:
        """Return what says, in a job, which images and channels of them one can choose."""
        look, opened = self._look_at(tissue), self.opened(tissue)

        def ask() -> tuple[tuple[str, ...], tuple[str, ...]]:
            pictures = opened()
            if pictures is None:
                return (), ()
            pictures.prepare(look)
            return pictures.offered, pictures.channels

        return ask

    def cut(self, tissue: Tissue, side: int, ratio: float) -> Cut:
        """Return what cuts pictures of a tissue's cells in a job, ``side`` screen pixels wide."""
        look, opened = self._look_at(tissue), self.opened(tissue)
        return lambda cells: _cut(opened, cells, look, side, ratio)

    def portrait(
        self, tissue: Tissue, cell: int, side: int, ratio: float
    ) -> Callable[[CancelToken], Portrait]:
        """Return what makes a cell's picture in a job."""
        look, opened = self._look_at(tissue), self.opened(tissue)
        size = round(side * ratio)

        def make(token: CancelToken) -> Portrait:
            try:
                pictures = opened()
                if pictures is None:
                    return Portrait(cell, None)
                picture = pictures.picture(cell, look, size)
                marks = pictures.marks(cell, look, size) if look.marked else None
                return Portrait(cell, drawn(picture, marks, ratio))
            except UserError as error:
                return Portrait(cell, None, str(error))

        return make

    def _look_at(self, tissue: Tissue) -> PictureLook:
        return replace(self._look, channels=tissue.choices.cut_channels or None)

    def sentence(self, tissue: Tissue, cell: int) -> Callable[[CancelToken], str]:
        """Return what writes a cell's sentence in a job; "" where it cannot be written."""
        adata, has_matrix = tissue.snapshot, tissue.has_matrix
        result = tissue.results.get(tissue.clusters) or next(
            reversed(tissue.results.values()), None
        )

        def write(token: CancelToken) -> str:
            if not has_matrix:
                return ""
            try:
                recipe = stored_recipe(adata.uns) if result is None else recipe_of(result)
                written = self._writer.write(adata, recipe or Recipe(), cell, token)
            except UserError:
                return ""  # the Niches dock says what a run would stumble over
            return " ".join(text for _, text in written.sentences)

        return write


class _Opened:
    """Opens images on first use, in whichever job that is."""

    def __init__(self, *what: Any) -> None:
        self._what, self._lock = what, threading.Lock()
        self._found: tuple[CellPictures | None] | None = None

    def __call__(self) -> CellPictures | None:
        with self._lock:
            if self._found is None:
                self._found = (open_pictures(*self._what),)
            return self._found[0]


def _cut(
    opened: _Opened, cells: Iterable[int], look: PictureLook, side: int, ratio: float
) -> Iterator[tuple[int, QImage]]:
    pictures, size = opened(), round(side * ratio)
    if pictures is None:
        deque(cells, maxlen=0)  # asked for, and in vain
        return

    def make(cell: int) -> tuple[int, QImage]:
        picture = pictures.picture(cell, look, size, alone=False)
        marks = pictures.marks(cell, look, size) if look.marked else None
        return cell, drawn(picture, marks, ratio)

    yield from in_turn(make, cells, THREADS)
