"""Quality control from Python: the same generator as in the window, in one call."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pandas as pd

from napari_cellama.core.events import CancelToken, Notice, Progress
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
        ``uns['cellama']['qc']`` are written.
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
    with ProgressReport(progress) as shown:

        def on_event(event: Progress | Notice) -> None:
            if isinstance(event, Progress):
                shown.show(event)
            else:
                warnings.warn(event.text, UserWarning, stacklevel=4)

        result = find_faults(adata, on_event, image=image, channels=channels)
    result.apply(adata, limits)
    if report is not None:
        write_report(adata, result, limits, report)
    return result


def as_thresholds(thresholds: Thresholds | str | Path | None) -> Thresholds:
    """Return thresholds, read from a file where a path is given."""
    if thresholds is None:
        return Thresholds()
    return thresholds if isinstance(thresholds, Thresholds) else Thresholds.from_file(thresholds)


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
    from napari_cellama.cell_pictures import crops_of
    from napari_cellama.figures.qc_report import qc_report

    path = Path(path).expanduser()
    labels, crop_of = niches_of(adata), crops_of(adata, result)
    text = qc_report(adata, result, thresholds, title=title, labels=labels, crop_of=crop_of)
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
