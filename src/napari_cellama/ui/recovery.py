"""Keeps what is made by hand on disk until it is saved, and offers it after a crash."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_cellama.core.events import CancelToken
from napari_cellama.core.slots import fingerprint
from napari_cellama.io import recovery as files
from napari_cellama.ui.workers import Ended, Failed, Job

if TYPE_CHECKING:
    from napari_cellama.core.qc import QCResult
    from napari_cellama.io.recovery import Work
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue

#: After the first change that is not on disk yet, everything is written in this time.
PAUSE_MS = 5_000


class Recovery:
    """Watches a session's tissues; what is not saved is written soon after it was made.

    ``offered()``: there is, or is no longer, work to be offered for the active tissue.

    Parameters
    ----------
    session
        Whose tissues are watched.
    """

    offered = Signal()

    def __init__(self, session: Session) -> None:
        self._session = session
        self._keys: dict[int, str] = {}
        self._offers: dict[int, Path] = {}
        self._changed: set[int] = set()
        #: What was measured of tissues and is kept, or needs not be; missing while it is written.
        self._measured: dict[int, QCResult | None] = {}
        # One after the other: what was written last must be the last that was made.
        self._writer = ThreadPoolExecutor(1, "napari-cellama recovery")
        self._timer = QTimer(singleShot=True)
        self._timer.timeout.connect(self.write_now)
        session.history_changed.connect(self._on_change)
        session.active_changed.connect(self._on_active)
        session.tissue_saved.connect(self._on_saved)
        session.quality_changed.connect(self._on_measured)

    def close(self) -> None:
        """Write what is not written yet, as the window closes; a selection would not be missed.

        It is offered to the next window on the tissue, of this process or another.
        """
        with suppress(RuntimeError):  # at the program's end Qt may be gone already
            self._timer.stop()
        for tissue in self._session.tissues:
            self.let_go(tissue)
        self._writer.shutdown()  # what was begun is written to its end

    def let_go(self, tissue: Tissue) -> None:
        """Write what is not written yet of a tissue that is closed; napari closes them first."""
        if tissue.id not in self._keys:
            return
        if tissue.id in self._changed and not tissue.saved:
            self._submit(tissue)
        self._changed.discard(tissue.id)
        give_up = files.remove_work if tissue.saved else files.leave_behind
        self._in_order(partial(give_up, files.own_path(self._keys.pop(tissue.id))))

    # ---- offering

    @property
    def offer(self) -> str:
        """What to ask the user of the active tissue; "" where there is nothing to ask."""
        tissue = self._session.active
        path = None if tissue is None else self._offers.get(tissue.id)
        if path is None or not path.exists():
            return ""
        when = files.written_at(path).strftime("%d %b, %H:%M")
        return f"Work on this tissue from {when} was not saved. Restore it?"

    def restore(self) -> None:
        """Bring the offered work back as a step that can be undone."""
        tissue = self._session.need_tissue()
        path = self._offers.pop(tissue.id)
        work = files.read_work(path, tissue.n_obs)
        if work is None:
            files.remove_work(path)
            self._session.message.emit("error", "The work that was kept cannot be read.", "")
        else:
            measured = files.read_measured(files.measured_path(path), tissue.snapshot.obs_names)
            self._take(tissue, work, measured)
            self._write(tissue, and_remove=path)
        self.offered.emit()

    def discard(self) -> None:
        """Throw the offered work away."""
        tissue = self._session.need_tissue()
        files.remove_work(self._offers.pop(tissue.id))
        self.offered.emit()

    def _take(self, tissue: Tissue, work: Work, measured: QCResult | None) -> None:
        state = tissue.state
        labels = {**state.labels, **work.labels}
        known = work.clusters in labels or work.clusters in tissue.snapshot.obs
        after = replace(
            state,
            labels=labels,
            clusters=work.clusters if known else state.clusters,
            selection=work.selection,
            hidden=work.hidden,
            thresholds=work.thresholds or state.thresholds,
            images=state.images if work.images is None else work.images,
            choices=work.choices or state.choices,
            quality=state.quality if measured is None else measured,
        )
        self._session.change(tissue, "Restore unsaved work", after)

    def _on_active(self, tissue: Tissue | None) -> None:
        """Look for work on a tissue that is seen for the first time."""
        if tissue is not None and tissue.id not in self._keys:
            key = files.data_key(
                fingerprint(tissue.snapshot), tissue.n_obs, tissue.source, tissue.name
            )
            self._keys[tissue.id] = key
            self._measured[tissue.id] = tissue.quality  # which it came with
            if found := files.left_behind(key):
                self._offers[tissue.id] = found[0]
        self.offered.emit()

    # ---- keeping

    def _on_change(self, tissue: Tissue) -> None:
        self._changed.add(tissue.id)
        if not self._timer.isActive():  # not started anew, so that it comes to an end
            self._timer.start(PAUSE_MS)

    def _on_measured(self, tissue: Tissue) -> None:
        """Keep what has been measured; that limits were moved is a change of its own."""
        if not self._is_kept(tissue):
            self._on_change(tissue)

    def _is_kept(self, tissue: Tissue) -> bool:
        """Return whether what was measured is on disk or needs not be."""
        kept = self._measured
        return tissue.id in kept and kept[tissue.id] is tissue.quality

    def write_now(self) -> None:
        """Write what has changed."""
        for tissue in self._session.tissues:
            if tissue.id in self._changed:
                self._write(tissue)
        self._changed.clear()

    def _write(self, tissue: Tissue, and_remove: Path | None = None) -> None:
        """Write a tissue's work in a job, and then remove what it replaces."""
        measured = tissue.quality
        written = self._submit(tissue, and_remove)

        def events(token: CancelToken) -> Iterator[Any]:
            written.result()
            return iter(())

        def on_event(job: Job, event: Any) -> None:
            if isinstance(event, Failed):
                self._session.message.emit("warning", event.sentence, event.details)
            elif isinstance(event, Ended):
                self._measured[tissue.id] = measured

        self._session.jobs.start(f"recovery {tissue.id}", "Keeping your work", events, on_event)

    def _submit(self, tissue: Tissue, and_remove: Path | None = None) -> Future[None]:
        """Have a tissue's work, as it is now, written by the writer."""
        path = files.own_path(self._keys[tissue.id])
        labels = {key: one for key, one in tissue.labels.items() if one.edited}
        masks = tissue.selection, tissue.hidden
        work = files.Work(labels, tissue.clusters, *masks, *tissue.changed_quality)
        measured, beside = tissue.quality, files.measured_path(path)
        known = self._is_kept(tissue)
        if not known:
            self._measured.pop(tissue.id, None)

        def write() -> None:
            if not known and measured is None:
                beside.unlink(missing_ok=True)
            elif not known:
                files.write_measured(beside, measured)
            if work.is_empty and not beside.exists():
                path.unlink(missing_ok=True)
            else:
                files.write_work(path, work)
            if and_remove is not None and and_remove != path:
                files.remove_work(and_remove)

        return self._in_order(write)

    def _on_saved(self, tissue: Tissue) -> None:
        """Forget what is in a file of the user's now."""
        self._changed.discard(tissue.id)
        self._measured[tissue.id] = tissue.quality
        if key := self._keys.get(tissue.id):
            self._in_order(partial(files.remove_work, files.own_path(key)))

    def _in_order(self, act: Callable[[], None]) -> Future[None]:
        """Have the writer do something, or do it here at the program's end, when it has stopped."""
        with suppress(RuntimeError):
            return self._writer.submit(act)
        done: Future[None] = Future()
        try:
            done.set_result(act())
        except OSError as error:
            done.set_exception(error)
        return done
