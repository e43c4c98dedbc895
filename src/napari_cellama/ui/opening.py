"""Opening the images that tissues have on disk, in jobs, as soon as they are needed."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from napari_cellama.core.events import CancelToken
from napari_cellama.errors import UserError
from napari_cellama.io.attached import open_attached
from napari_cellama.ui.image_desk import Opened
from napari_cellama.ui.images import channels_at_first, limits_of
from napari_cellama.ui.workers import Ended, Failed, Job

if TYPE_CHECKING:
    from napari_cellama.ui.imaging import Imaging
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue


class Opening:
    """Opens what a tissue's images lack, and says what is amiss with them."""

    def __init__(self, session: Session, imaging: Imaging) -> None:
        self._session, self._imaging = weakref.proxy(session), weakref.proxy(imaging)
        session.images_changed.connect(self.open_missing)

    def cancel(self, tissue: Tissue) -> None:
        """Open no more images of a tissue."""
        self._session.jobs.cancel(_slot(tissue))

    def open_missing(self, tissue: Tissue) -> None:
        """Open, in a job, the images and contrasts that a tissue needs and that are not at hand."""
        imaging, jobs = self._imaging, self._session.jobs
        desk = imaging.desk_of(tissue)
        if (
            tissue.images
            and imaging.attached(tissue) is None
            and desk.chosen not in imaging.inside(tissue)
        ):
            desk.chosen = tissue.images[-1].name
        if jobs.current(_slot(tissue)) is not None:
            return  # it asks again when it is done
        missing = [one for one in tissue.images if imaging.lacks(tissue, one)]
        if not missing:
            return
        opened = {one.key: desk.opened.get(one.key) for one in missing}
        wanted = {one.key: desk.channels.get(one.name) for one in missing}

        def events(token: CancelToken) -> Iterator[Any]:
            for key, known in opened.items():
                token.check()
                one = next(one for one in missing if one.key == key)
                try:
                    image = open_attached(one) if known is None else known.image
                    channels = wanted[key]
                    channels = channels_at_first(image) if channels is None else channels
                    limits = limits_of(image, channels)
                except UserError as error:
                    yield key, str(error)
                    continue
                yield key, Opened(image, {**(known.limits if known else {}), **limits})

        def on_event(job: Job, event: Any) -> None:
            if isinstance(event, Failed):
                self._imaging.told.emit("error", event.sentence, event.details)
            elif isinstance(event, Ended):
                self._session.images_changed.emit(tissue)
            elif isinstance(event, tuple):
                self._take(tissue, *event)

        jobs.start(_slot(tissue), f"Opening images of {tissue.name}", events, on_event)

    def _take(self, tissue: Tissue, key: tuple[str, str], found: Opened | str) -> None:
        """Take an opened image, or why there is none, and say what is amiss."""
        imaging = self._imaging
        desk = imaging.desk_of(tissue)
        if isinstance(found, str):
            desk.problems[key] = found
            imaging.warned.emit(f"{found} The cells are shown without it.")
            return
        known = key in desk.opened
        desk.opened[key] = found
        attached = next((one for one in tissue.images if one.key == key), None)
        if attached is None or known:
            return
        notices = [*imaging.image_of(tissue, attached).notices, imaging.misfit_of(tissue, attached)]
        for text in filter(None, notices):
            imaging.warned.emit(text)


def _slot(tissue: Tissue) -> str:
    """Return the slot of the job that opens a tissue's images."""
    return f"images {tissue.id}"
