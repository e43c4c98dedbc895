"""The images of a session's tissues: added, shown, chosen for quality control, removed.

Which images a tissue has and where they lie is part of its state, so that it can be undone; what
is here besides is what no file needs: the opened pixels, and what the docks are about.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_cellama.core.events import CancelToken
from napari_cellama.core.spatial_images import FITS, share_inside
from napari_cellama.errors import unknown_name
from napari_cellama.io.attached import Attached, by_file
from napari_cellama.io.images import open_images, states_size
from napari_cellama.ui.aligning import Aligning
from napari_cellama.ui.image_desk import BEST, Desks, Opened, cells_of
from napari_cellama.ui.images import channels_at_first, limits_of
from napari_cellama.ui.opening import Opening
from napari_cellama.ui.placement import Placement, place
from napari_cellama.ui.workers import Failed, Job

if TYPE_CHECKING:
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue

#: The slot of the job that opens what the user adds.
SLOT = "image"


class Imaging(Desks):
    """Adds images to the active tissue; :class:`~.aligning.Aligning` brings them to their place.

    That images have come, moved or gone is the session's event ``images_changed``.

    Events (psygnal signals; all on the main thread)

    ``told(level, sentence, details)``
        About what the user has asked for.
    ``warned(sentence)``
        About an image of a tissue that is being opened.
    ``placed(tissue, attached)``
        An image was added, which the user will want to see.
    """

    told = Signal(str, str, str)
    warned = Signal(str)
    placed = Signal(object, object)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = weakref.proxy(session)
        self.aligning = Aligning(session, self)
        self.opening = Opening(session, self)
        #: Whether landmarks are drawn although none is being set.
        self.pins_shown = False
        session.active_changed.connect(self.put_away)

    def forget(self, tissue: Tissue) -> None:
        """Let go of a closed tissue's images."""
        self.opening.cancel(tissue)
        self._desks.pop(tissue, None)

    # ---- adding and removing

    def add(self, path: str | Path) -> Job:
        """Open an image on disk, as a job, and add it to the active tissue.

        Of a store with several images one is offered to be chosen.

        Raises
        ------
        UserError
            When no tissue is open.
        """
        tissue = self._session.need_tissue()
        path = Path(path).expanduser()

        def events(token: CancelToken) -> Iterator[Any]:
            images = open_images(path)
            token.check()
            placement = place(tissue.snapshot)
            if len(images) > 1:
                yield images, placement, {}
            else:
                yield images, placement, limits_of(images[0], channels_at_first(images[0]))

        def on_event(job: Job, event: Any) -> None:
            if isinstance(event, Failed):
                self.told.emit("error", event.sentence, event.details)
            elif isinstance(event, tuple) and tissue in self._session.tissues:
                images, placement, limits = event
                desk = self.desk_of(tissue)
                desk.offered = (str(path.resolve()), images if len(images) > 1 else [])
                if len(images) == 1:
                    self._attach(tissue, Opened(images[0], dict(limits)), placement)
            self._session.images_changed.emit(tissue)

        job = self._session.jobs.start(SLOT, f"Opening {path.name}", events, on_event)
        self._session.images_changed.emit(tissue)
        return job

    def take(self, number: int) -> None:
        """Add one of the images that a store offers."""
        tissue = self._session.need_tissue()
        desk = self.desk_of(tissue)
        self._attach(tissue, Opened(desk.offered[1][number]), place(tissue.snapshot))
        desk.offered = ("", [])
        self._session.images_changed.emit(tissue)

    def _attach(self, tissue: Tissue, opened: Opened, placement: Placement) -> None:
        """Add an opened image, aligned where that is known, else where it can be seen."""
        desk, image = self.desk_of(tissue), opened.image
        taken = {one.name for one in tissue.images} | set(self.inside(tissue))
        name, number = image.name, 2
        while name in taken:
            name, number = f"{image.name} {number}", number + 1
        section = next(iter(placement.offsets), "")
        attached = Attached(name, desk.offered[0], image.name, section)
        to_pixels = by_file(image, tissue.units)
        if tissue.units == "µm":
            known = states_size(image)
        else:
            there = replace(image, to_pixels=to_pixels)
            known = share_inside(there, cells_of(tissue, attached)) >= FITS
        if known:
            attached = replace(attached, to_pixels=to_pixels, how="file")
        else:
            to_pixels = self.aligning.put_beside(tissue, image, placement, section)
            attached = replace(attached, to_pixels=to_pixels, how="none")
        desk.opened[attached.key] = opened
        desk.problems.pop(attached.key, None)
        desk.chosen, desk.pixel = name, None
        self._change(tissue, f"Add image {name}", (*tissue.images, attached))
        self.placed.emit(tissue, attached)

    def remove(self, name: str) -> None:
        """Take an attached image away; its file stays."""
        tissue = self._session.need_tissue()
        others = tuple(one for one in tissue.images if one.name != name)
        desk = self.desk_of(tissue)
        choices = tissue.choices
        if choices.measure == name:
            choices = replace(choices, measure=BEST, measure_channels=())
        if choices.cut_from == name:
            choices = replace(choices, cut_from=BEST)
        if desk.chosen == name:
            desk.chosen = others[-1].name if others else ""
            self.put_away()
        after = replace(tissue.state, images=others, choices=choices)
        self._session.change(tissue, f"Remove image {name}", after)

    def choose(self, name: str) -> None:
        """Make an image the one that the dock is about."""
        tissue = self._session.need_tissue()
        desk = self.desk_of(tissue)
        if name != desk.chosen:
            desk.chosen, desk.pixel = name, None
            self.put_away()
            self._session.images_changed.emit(tissue)

    def show_channels(self, name: str, channels: tuple[str, ...]) -> None:
        """Show these channels of an image, and no others."""
        tissue = self._session.need_tissue()
        self.desk_of(tissue).channels[name] = channels
        self._session.images_changed.emit(tissue)

    def measure_by(self, name: str, channels: tuple[str, ...] = ()) -> None:
        """Choose the image, and the channels of it, that quality control reads from now on."""
        listed = f" ({', '.join(channels)})" if channels else ""
        step = f"Measure on {name or 'the best image'}{listed}"
        self._choose(step, measure=name, measure_channels=channels)

    def cut_from(self, name: str) -> None:
        """Choose the image that cells' pictures are cut from; "" for the one that was measured."""
        self._choose(f"Pictures from {name or 'the best image'}", cut_from=name)

    def cut_channels(self, channels: tuple[str, ...]) -> None:
        """Choose the channels that cells' pictures show; none for the first three."""
        listed = ", ".join(channels) or "the first channels"
        self._choose(f"Show {listed} in pictures", cut_channels=channels)

    def _choose(self, step: str, **choices: Any) -> None:
        """Choose as a step that can be undone."""
        tissue = self._session.need_tissue()
        after = replace(tissue.choices, **choices)
        if after != tissue.choices:
            self._session.change(tissue, step, replace(tissue.state, choices=after))

    # ---- changing

    def replace(self, tissue: Tissue, step: str, attached: Attached, **changes: Any) -> None:
        """Change an attached image as a step that can be undone."""
        after = replace(attached, **changes)
        images = tuple(after if one is attached else one for one in tissue.images)
        self._change(tissue, step, images)

    def _change(self, tissue: Tissue, step: str, images: tuple[Attached, ...]) -> None:
        self._session.change(tissue, step, replace(tissue.state, images=images))

    def need(self, name: str | None = None) -> tuple[Tissue, Attached]:
        """Return the active tissue and one of its attached images, by default the chosen one.

        Raises
        ------
        UserError
            When there is none of that name.
        """
        tissue = self._session.need_tissue()
        name = self.desk_of(tissue).chosen if name is None else name
        attached = self.attached(tissue, name)
        if attached is None:
            raise unknown_name("attached image", name, [one.name for one in tissue.images])
        return tissue, attached

    def show_pins(self, on: bool) -> None:
        """Draw the landmarks also while none is being set, or no longer."""
        self.pins_shown = on
        if (tissue := self._session.active) is not None:
            self._session.images_changed.emit(tissue)

    def put_away(self, *_: Any) -> None:
        """Set no landmarks any more."""
        for desk in self._desks.values():
            desk.pixel = None
        if self._session.tool == "landmark":
            self._session.take_tool("pick")
