"""Quality control from Python: the same generator as in the window, in one call."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pandas as pd

from napari_cellama.core.events import CancelToken, Notice, Progress
from napari_cellama.core.qc_stored import stored_by_hand
from napari_cellama.core.qc_thresholds import Thresholds
from napari_cellama.errors import UserError, need_anndata

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_cellama.core.qc import QCResult


def qc(
    adata: AnnData,
    thresholds: Thresholds | str | Path | None = None,
    *,
    image: str | None = None,
    channels: tuple[str, ...] | None = None,
    report: str | Path | None = None,
    progress: bool = True,
) -> QCResult:
    """Judge the cells of a section and write flags, reasons and metrics into ``adata``.

    Parameters
    ----------
    adata
        Cells with positions in ``obsm['spatial']``, and images in ``uns['spatial']`` if there
        are any. Nothing is deleted; ``obs['qc_pass']``, ``obs['qc_reason']``, ``obs['qc_…']`` and
        ``uns['cellama']['qc']`` are written. Cells that were judged by hand stay so.
    thresholds
        The limits, or a JSON file of them; the defaults if none are given.
    image
        Which image to read, e.g. "hires"; "none" reads none. By default the finest coloured one
        that the cells lie on.
    channels
        Names of the channels to measure.
    report
        Also write an HTML report there, with its pictures inside.
    progress
        Whether to show progress.

    Returns
    -------
    QCResult
        The metrics; ``result.artefacts(labels, thresholds)`` says which niches are faults.

    Raises
    ------
    UserError
        When the data, the thresholds or the image cannot be used; ``adata`` is then unchanged.

    Warns
    -----
    UserWarning
        About what could not be judged, one sentence each.
    """
    from napari_cellama.progress import ProgressReport

    limits = as_thresholds(thresholds)
    if report is not None:
        check_report(report)
    with ProgressReport(progress) as shown:

        def on_event(event: Progress | Notice) -> None:
            if isinstance(event, Progress):
                shown.show(event)
            else:
                warnings.warn(event.text, UserWarning, stacklevel=4)

        result = find_faults(adata, on_event, image=image, channels=channels)
        if thresholds is not None:
            say_lacking(limits, result, on_event)
    result.apply(adata, limits, stored_by_hand(adata))
    if report is not None:
        write_report(adata, result, limits, report)
    return result


def as_thresholds(thresholds: Thresholds | str | Path | None) -> Thresholds:
    """Return thresholds, read from a file where a path is given."""
    if thresholds is None:
        return Thresholds()
    return thresholds if isinstance(thresholds, Thresholds) else Thresholds.from_file(thresholds)


def say_lacking(limits: Thresholds, result: QCResult, on_event: Callable[[Notice], None]) -> None:
    """Tell of limits, others than the defaults, that judge nothing: there is no such metric."""
    usual = Thresholds().limits
    given = Thresholds(limits=tuple(limit for limit in limits.limits if limit not in usual))
    if lacking := given.lacking(result.table):
        on_event(Notice(f"These data have no {lacking}, so those limits are not used."))


def check_report(path: str | Path) -> None:
    """Refuse a report that could not be written, or would replace what is no report.

    Raises
    ------
    UserError
        When its folder is not there, or its name does not end in .html.
    """
    page = Path(path).expanduser()
    if page.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"The report {page} must end in .html.")
    if not page.parent.is_dir():
        raise UserError(f"There is no folder {page.parent} for the report; make it first.")
    if page.is_dir():
        raise UserError(f"The report {page} is a folder; give another name.")


def find_faults(
    adata: AnnData,
    on_event: Callable[[Progress | Notice], None],
    cancel: CancelToken | None = None,
    **options: Any,
) -> QCResult:
    """Run :func:`napari_cellama.core.qc.judge` to its end, handing each event on."""
    from napari_cellama.core.qc import judge
    from napari_cellama.io.attached import all_images

    need_anndata(adata, "qc")
    images, notices = all_images(adata)
    for text in notices:
        on_event(Notice(text))
    steps = judge(adata, images=images, cancel=cancel, **options)
    while True:
        try:
            on_event(next(steps))
        except StopIteration as end:
            return end.value


def write_report(
    adata: AnnData,
    result: QCResult,
    thresholds: Thresholds,
    path: str | Path,
    *,
    title: str = "section",
) -> Path:
    """Write the report of a quality control as one HTML file.

    Raises
    ------
    UserError
        When it cannot be written there.
    """
    check_report(path)
    return save_report(report_text(adata, result, thresholds, title=title), path)


def report_text(
    adata: AnnData, result: QCResult, thresholds: Thresholds, *, title: str = "section"
) -> str:
    """Return the report of a quality control as the text of one HTML file."""
    from napari_cellama.cell_pictures import crops_of
    from napari_cellama.figures.qc_report import qc_report

    return qc_report(
        adata,
        result,
        thresholds,
        title=title,
        labels=niches_of(adata),
        crop_of=crops_of(adata, result),
        by_hand=stored_by_hand(adata),
    )


def save_report(text: str, path: str | Path) -> Path:
    """Write the text of a report; the file appears whole or not at all."""
    path = Path(path).expanduser()
    temporary = path.with_name(f".{path.name[:100]}.{uuid4().hex[:8]}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"The report {path} was not written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def niches_of(adata: AnnData) -> pd.Categorical | None:
    """Return the niches of the last run that an AnnData carries, if there are any."""
    key = adata.uns.get("cellama", {}).get("last_run")
    return pd.Categorical(adata.obs[key]) if key in adata.obs else None
