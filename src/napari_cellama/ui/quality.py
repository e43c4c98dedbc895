"""Quality control of a session's tissues: the job that measures, and the limits users move."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from psygnal import Signal

from napari_cellama.core.events import CancelToken, Notice
from napari_cellama.core.qc_thresholds import BY_NAME, Limit, Thresholds
from napari_cellama.errors import UserError
from napari_cellama.ui.judging import by_hand, judgement_of
from napari_cellama.ui.tissue import Coloring, shallow_copy
from napari_cellama.ui.workers import Failed, Job

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_cellama.core.labels import LabelSet
    from napari_cellama.core.qc import QCResult
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue

#: The job's slot in the session.
SLOT = "quality"
#: How a tissue is coloured by what is wrong with its cells.
PAINTED = Coloring("quality", "Quality control")


class Quality:
    """Measures the session's active tissue, and keeps its limits.

    That other cells fail is the session's event ``quality_changed``.

    Events (psygnal signals; all on the main thread)

    ``moved(tissue)``
        A limit is on its way: other cells fail for now, and nothing is to be undone yet.
    ``told(job, event)``
        The job began, said how far it is, or at last Failed, Stopped or Ended.
    ``marked(tissue)``
        It is known which of the shown clusters are artefacts.
    """

    moved = Signal(object)
    marked = Signal(object)
    told = Signal(object, object)

    def __init__(self, session: Session) -> None:
        self._session = weakref.proxy(session)
        self._before: Thresholds | None = None
        self._asked: tuple[Any, Any, Any] = (None, None, None)
        self._artefacts: dict[str, str] = {}

    def why_not(self) -> str:
        """Say why the active tissue cannot be measured; "" if it can."""
        tissue = self._session.active
        if tissue is None:
            return "Open a tissue first."
        return "" if tissue.has_matrix else "The genes are still being read; try again in a moment."

    # ---- measuring

    def measure(self) -> Job:
        """Measure the cells of the active tissue and the pixels around them, as a job.

        Raises
        ------
        UserError
            When there is no tissue, or its genes are still being read.
        """
        if why := self.why_not():
            raise UserError(why)
        tissue = self._session.active
        snapshot, images_then = tissue.snapshot, tissue.images
        desk = self._session.imaging.desk_of(tissue)
        name, channels = self._session.imaging.to_measure(tissue)
        wanted = {"image": name or None, "channels": channels or None}

        def events(token: CancelToken) -> Iterator[Any]:
            from napari_cellama.core.qc import judge
            from napari_cellama.io.attached import all_images

            images, notices = all_images(snapshot)
            yield from map(Notice, notices)
            result = yield from judge(snapshot, images=images, cancel=token, **wanted)
            token.check()
            yield result

        def on_event(job: Job, event: Any) -> None:
            from napari_cellama.core.qc import QCResult

            if isinstance(event, QCResult):
                desk.measured = images_then
                self._take(tissue, event)
            else:
                self.told.emit(job, event)

        job = self._session.jobs.start(SLOT, f"Measuring {tissue.name}", events, on_event)
        self.told.emit(job, None)
        return job

    def cancel(self) -> None:
        """Stop measuring; what was measured before stays."""
        self._session.jobs.cancel(SLOT)

    def _take(self, tissue: Tissue, result: QCResult) -> None:
        """Take what was measured and paint what fails, if the tissue is still open."""
        if tissue not in self._session.tissues:
            return
        tissue.quality, tissue.saved = result, False
        if tissue is self._session.active:
            self._session.color_by(PAINTED)
        self._session.quality_changed.emit(tissue)

    # ---- limits

    def preview(self, limit: Limit) -> None:
        """Paint what would fail by a limit; :meth:`settle` makes it a step, or nothing does."""
        tissue = self._session.need_tissue()
        if self._before is None:
            self._before = tissue.thresholds
        tissue.thresholds = tissue.thresholds.replace(limit)
        self.paint()
        self.moved.emit(tissue)

    def settle(self, metric: str) -> None:
        """Make what was previewed of a metric a step that can be undone."""
        tissue = self._session.need_tissue()
        after, before = tissue.thresholds, self._before
        self._before = None
        if before is not None:
            tissue.thresholds = before
            self._change(tissue, f"Limit {BY_NAME[metric].label.lower()}", after)

    def set_limit(self, limit: Limit) -> None:
        """Set a metric's limit as a step, and paint what fails."""
        self.preview(limit)
        self.settle(limit.metric)

    def reset(self) -> None:
        """Go back to the default limits."""
        self._change(self._session.need_tissue(), "Reset the limits", Thresholds())
        self.paint()

    def load(self, path: str | Path) -> None:
        """Take the limits from a JSON file.

        Raises
        ------
        UserError
            When it cannot be read, or holds no limits.
        """
        tissue, limits = self._session.need_tissue(), Thresholds.from_file(path)
        self._change(tissue, f"Load limits from {Path(path).name}", limits)
        self.paint()

    def save(self, path: str | Path) -> Path:
        """Write the limits to a JSON file, for other sections and the command line.

        Raises
        ------
        UserError
            When it cannot be written there.
        """
        path = Path(path).expanduser()
        path = path if path.suffix else path.with_suffix(".json")
        try:
            path.write_text(self._session.need_tissue().thresholds.to_json(), encoding="utf-8")
        except OSError as error:
            raise UserError(f"The limits {path} were not written: {error.strerror}.") from error
        return path

    def _change(self, tissue: Tissue, name: str, after: Thresholds) -> None:
        if after != tissue.thresholds:
            self._session.change(tissue, name, replace(tissue.state, thresholds=after))

    # ---- looking

    def paint(self) -> None:
        """Colour the active tissue by what is wrong with its cells, if it was measured."""
        tissue = self._session.need_tissue()
        if tissue.quality is not None:
            self._session.color_by(PAINTED)

    def artefacts(self, tissue: Tissue | None) -> dict[str, str]:
        """Return the shown clusters that a fault explains, and that in words.

        They are worked out in a job: until it is done there is none, then ``marked`` is emitted.
        """
        if tissue is None or tissue.quality is None or tissue.clusters is None:
            return {}
        wanted = (tissue.quality, tissue.thresholds, tissue.label_set(tissue.clusters))
        if any(a is not b for a, b in zip(self._asked, wanted, strict=True)):
            self._asked, self._artefacts = wanted, {}
            self._look_for_artefacts(tissue, *wanted)
        return self._artefacts

    def _look_for_artefacts(
        self, tissue: Tissue, quality: QCResult, thresholds: Thresholds, labels: LabelSet
    ) -> None:
        def events(token: CancelToken) -> Iterator[Any]:
            found = quality.artefacts(labels.flat().categorical(), thresholds)
            token.check()
            yield found

        def on_event(job: Job, event: Any) -> None:
            if isinstance(event, dict):
                self._artefacts = event
                self.marked.emit(tissue)
            elif isinstance(event, Failed):
                self._session.message.emit("error", event.sentence, event.details)

        self._session.jobs.start("artefacts", "Looking for artefacts", events, on_event)


def to_run(tissue: Tissue) -> AnnData:
    """Return the snapshot with each cell's verdict, by which a run leaves out what fails."""
    from napari_cellama.core.qc_thresholds import reasons

    if tissue.quality is None:
        return tissue.snapshot
    adata, judgement = shallow_copy(tissue.snapshot), judgement_of(tissue)
    why = reasons(judgement.faults)
    for cell, reason in by_hand(tissue).items():
        why[cell] = reason
    adata.obs["qc_pass"] = ~judgement.fails
    adata.obs["qc_reason"] = pd.Categorical(why.astype(str))
    return adata
