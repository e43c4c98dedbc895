"""What takes long, as jobs of a session: reading a file's matrix, running, saving.

Each function starts a generator in a thread and hands its events, on the main thread, to the
session, which alone decides what becomes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_cellama.core.events import CancelToken, Finished, Notice, Partial
from napari_cellama.ui.quality import to_run
from napari_cellama.ui.workers import Ended, Failed, Job

if TYPE_CHECKING:
    from napari_cellama.core.result import NicheResult
    from napari_cellama.recipe import Recipe
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue


def read_matrix(session: Session, tissue: Tissue) -> Job:
    """Read the whole file in the background; positions and obs are on screen meanwhile."""

    def events(token: CancelToken) -> Iterator[Any]:
        from napari_cellama.io.readers import read

        adata = read(tissue.source)
        token.check()
        yield adata

    def on_event(job: Job, event: Any) -> None:
        if isinstance(event, Failed):
            session.message.emit("error", event.sentence, event.details)
        elif hasattr(event, "n_obs"):
            session.take_matrix(tissue, event)

    slot = f"matrix {tissue.id}"
    return session.jobs.start(slot, f"Reading {tissue.name}", events, on_event)


def run(session: Session, tissue: Tissue, recipe: Recipe) -> Job:
    """Find niches in a tissue's snapshot, without the cells that failed quality control."""
    snapshot, earlier = to_run(tissue), tuple(tissue.results.values())

    def events(token: CancelToken) -> Iterator[Any]:
        from napari_cellama.api import run_events

        return run_events(snapshot, recipe, cancel=token, earlier=earlier)

    return _start_run(session, tissue, "Finding niches", events)


def regroup(session: Session, tissue: Tissue, result: NicheResult, n_clusters: int) -> Job:
    """Find another number of niches in a result's niche space, as a run."""

    def events(token: CancelToken) -> Iterator[Any]:
        from napari_cellama.core.niches import regroup

        return regroup(result, n_clusters, cancel=token)

    return _start_run(session, tissue, f"Finding {n_clusters} niches", events)


def _start_run(
    session: Session, tissue: Tissue, title: str, events: Callable[[CancelToken], Iterator[Any]]
) -> Job:
    """Start what ends with niches; the older run, if any, becomes stale."""
    pictures, shown = 0, ""

    def on_event(job: Job, event: Any) -> None:
        nonlocal pictures, shown
        if isinstance(event, Partial | Finished):
            session.take_result(tissue, event.result, again=pictures > 0)
            pictures += 1
            fidelity = event.result.fidelity
            shown = "" if fidelity is None else fidelity.sentence  # which a line of its own says
        elif isinstance(event, Notice) and event.text != shown:
            session.message.emit("warning", event.text, "")
        elif isinstance(event, Failed):
            session.message.emit("error", event.sentence, event.details)
        session.job_event.emit(job, event)

    job = session.jobs.start("run", title, events, on_event)
    session.job_started.emit(job)
    return job


def save(session: Session, tissue: Tissue, path: str | Path, overwrite: bool) -> Job:
    """Write a tissue with everything in its slots to .h5ad or .zarr."""
    adata = tissue.assemble()

    def events(token: CancelToken) -> Iterator[Any]:
        from napari_cellama.io.writers import write

        write(adata, path, overwrite=overwrite)
        return iter(())

    def on_event(job: Job, event: Any) -> None:
        if isinstance(event, Failed):
            session.message.emit("error", event.sentence, event.details)
        elif isinstance(event, Ended):
            tissue.saved = True
            session.tissue_saved.emit(tissue)
            session.message.emit("info", f"Saved to {path}.", "")
        session.job_event.emit(job, event)

    job = session.jobs.start("save", f"Saving {Path(path).name}", events, on_event)
    session.job_started.emit(job)
    return job
