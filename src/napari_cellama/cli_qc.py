"""The command ``napari-cellama qc``: judge a section's cells, flag them and report."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from napari_cellama.core.events import CancelToken, Notice, Progress
from napari_cellama.errors import UserError


def qc(
    input: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            help="The section: .h5ad, .zarr, or the output folder of Visium, Xenium or MERSCOPE.",
            readable=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="Where to write all of it: .h5ad or .zarr.", readable=False
        ),
    ],
    *,
    thresholds: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", readable=False, help="The limits; else the defaults."),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(help="The image to read, e.g. hires; 'none' reads none."),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A channel to measure; repeatable."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html", readable=False, help="The report; else beside OUT as OUT.qc.html."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT and the report if they exist.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Flag cells of poor quality, write them with their reasons, and report on it in HTML."""
    from napari_cellama import qc_api
    from napari_cellama.core.qc_stored import stored_by_hand
    from napari_cellama.io.readers import check_readable, read
    from napari_cellama.io.writers import check_storable, check_writable, write
    from napari_cellama.progress import ProgressReport

    limits = qc_api.as_thresholds(thresholds)
    page = report or output.with_name(f"{output.name}.qc.html")
    check_readable(input)
    check_writable(output, overwrite)
    _check_page(page, input, output, thresholds, overwrite)
    with interruptible() as token, ProgressReport(enabled=not quiet) as shown:

        def on_event(event: Progress | Notice) -> None:
            if isinstance(event, Progress):
                shown.show(event)
            else:
                shown.message(f"Note: {event.text}")

        shown.stage("Reading", note=input.name)
        adata = read(input)
        check_storable(adata, output)
        options = {"image": image, "channels": tuple(channel) if channel else None}
        result = qc_api.find_faults(adata, on_event, token, **options)
        if thresholds is not None:
            qc_api.say_lacking(limits, result, on_event)
        result.apply(adata, limits, stored_by_hand(adata))
        # Made before OUT is there: a batch that was stopped takes that for done.
        shown.stage("Report", note=page.name)
        text = qc_api.report_text(adata, result, limits, title=input.stem)
        token.check()
        write(adata, output, overwrite=overwrite)
        qc_api.save_report(text, page)
    if not quiet:
        failed = int((~adata.obs["qc_pass"]).sum())
        share = failed / max(adata.n_obs, 1)
        print(
            f"{failed:,} of {adata.n_obs:,} cells ({share:.1%}) fail; written to {output}, "
            f"report in {page}"
        )


@contextmanager
def interruptible() -> Iterator[CancelToken]:
    """Yield a token that Ctrl-C sets, beside interrupting what runs.

    Python drops an interruption that comes while it tidies up; the token still knows of it.
    """
    token = CancelToken()
    if threading.current_thread() is not threading.main_thread():
        yield token
        return

    def stop(number: int, frame: Any) -> NoReturn:
        token.cancel()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield token
    finally:
        signal.signal(signal.SIGINT, before)


def _check_page(
    page: Path, input: Path, output: Path, thresholds: Path | None, overwrite: bool
) -> None:
    """Refuse a report that could not be written, or is another file, before the work."""
    from napari_cellama.qc_api import check_report

    place = page.resolve()
    for other in filter(None, (input, output, thresholds)):
        if other.resolve() == place:
            raise UserError(f"The report would replace {other}; give another name.")
    if output.resolve() in place.parents:
        raise UserError(f"The report {page} would lie inside {output}; give another place.")
    check_report(page)
    if page.exists() and not overwrite:
        raise UserError(f"The report {page} exists already; give another name or --overwrite.")
