"""The command line: ``napari-cellama run | demo | open | recipe | cache | qc``.

Exit codes: 0 done; 1 a fault of this program; 2 bad usage or unusable input, with one line on
standard error; 130 cancelled, 143 terminated, with nothing written.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, Union, get_args, get_origin

import typer

from napari_cellama.cli_qc import qc
from napari_cellama.core.events import Event, Notice, Partial, Progress
from napari_cellama.errors import Cancelled, UserError
from napari_cellama.recipe import Recipe

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_cellama.core.result import NicheResult
    from napari_cellama.progress import ProgressReport

app = typer.Typer(
    help="Find the niches of a spatial transcriptomics section with sentences and a language "
    "model.",
    pretty_exceptions_enable=False,
    add_completion=False,
)

# Paths are checked by the readers and writers, whose sentences say more than the parser's.
_INPUT = typer.Argument(
    metavar="IN",
    help="The section: .h5ad, .zarr, or the output folder of Visium, Xenium or MERSCOPE.",
    readable=False,
)
_OUTPUT = typer.Argument(
    metavar="OUT", help="Where to write all of it: .h5ad or .zarr.", readable=False
)
_QUIET = typer.Option("--quiet", "-q", help="Say nothing but errors.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    arguments
        Those of the process by default.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    try:
        code = app(args=arguments, prog_name="napari-cellama", standalone_mode=False)
    except UserError as error:
        return _refuse(str(error))
    except (Cancelled, KeyboardInterrupt, typer.Abort):
        code = 130
    except Exception as error:
        # What typer's parser raises; its class has moved between versions, its method has not.
        if not hasattr(error, "format_message"):
            raise
        return _refuse(f"{error.format_message().rstrip('.')}. See napari-cellama --help.")
    if code == 130:
        print("Cancelled; nothing was written.", file=sys.stderr)
    return code if isinstance(code, int) else 0


def _refuse(sentence: str) -> int:
    """Print the one line that says what is wrong."""
    print("napari-cellama: " + " ".join(sentence.split()), file=sys.stderr)
    return 2


def _terminate(number: int, frame: Any) -> NoReturn:
    """End as a job scheduler wants it, but clean up behind us."""
    raise SystemExit(128 + number)


# ---- options from the recipe


def _recipe_options() -> list[inspect.Parameter]:
    """Return one keyword parameter for each of the recipe's fields, in their order."""
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=_option(name, field),
        )
        for name, field in Recipe.model_fields.items()
        if isinstance(field.json_schema_extra, dict)
    ]


def _option(name: str, field: Any) -> Any:
    """Return the annotation from which typer makes a field's option.

    Values are passed on as text and checked by the recipe, so that the command line and Python
    refuse the same things in the same words.
    """
    kebab = name.replace("_", "-")
    default = "none" if field.default in (None, ()) else str(field.default)
    kind: Any = str
    flag, metavar = f"--{kebab}", _metavar(field.annotation)
    if field.annotation is bool:
        kind, metavar = bool, None
        flag, default = f"--{kebab}/--no-{kebab}", "yes" if field.default else "no"
    elif get_origin(field.annotation) is tuple:
        kind, metavar = list[str], "TEXT, repeatable"
    panel = f"Recipe: {field.json_schema_extra['group']}"
    option = typer.Option(
        flag,
        help=field.description,
        metavar=metavar,
        rich_help_panel=panel,
        show_default=default,
    )
    return Annotated[kind | None, option]


def _metavar(annotation: Any) -> str:
    """Say what an option takes, e.g. ``INTEGER|auto``."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "|".join(str(value) for value in parts)
    if origin is Annotated:
        return _metavar(parts[0])
    if origin in (Union, UnionType):
        return "|".join(_metavar(part) for part in parts if part is not NoneType)
    return {int: "INTEGER", float: "NUMBER"}.get(annotation, "TEXT")


def _with_recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option for each of the recipe's fields, collected in ``**changes``."""
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    parameters = [*own, *_recipe_options()]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


# ---- commands


@app.callback(invoke_without_command=True)
def _common(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from napari_cellama import __version__

        print(__version__)
        raise typer.Exit


@app.command()
@_with_recipe_options
def run(
    input: Annotated[Path, _INPUT],
    output: Annotated[Path, _OUTPUT],
    *,
    recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json", readable=False, help="A recipe; options given here override it."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT if it exists.")
    ] = False,
    quiet: Annotated[bool, _QUIET] = False,
    **changes: Any,
) -> None:
    """Find the niches of a section and write it with them."""
    from napari_cellama.io.readers import check_readable, read
    from napari_cellama.io.writers import check_storable, check_writable, write

    # An empty list is an option that was not given, as None is for the others.
    given = {name: value for name, value in changes.items() if value not in (None, [])}
    base = Recipe.from_file(recipe) if recipe else Recipe()
    chosen = base.replace(**given)
    check_readable(input)
    check_writable(output, overwrite)
    _check_model(chosen)
    with _report(quiet) as report:
        report.stage("Reading", note=input.name)
        adata = read(input)
        check_storable(adata, output)
        result = _find(adata, chosen, report)
        result.apply(adata)
        write(adata, output, overwrite=overwrite)
    if not quiet:
        print(f"{_summary(result)}; written to {output}")


@app.command()
def demo(
    *,
    headless: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            readable=False,
            help="Write result.h5ad and overview.png there; no window.",
        ),
    ] = None,
    n_cells: Annotated[
        int, typer.Option(min=600, help="How many cells the sample tissue has.")
    ] = 2000,
    quiet: Annotated[bool, _QUIET] = False,
) -> None:
    """Make the sample tissue, run everything on the bundled model, and show it."""
    from napari_cellama.io.writers import check_writable

    if headless is None and not _has_display():
        headless = Path("demo")
        print("There is no display, so the pictures and the data go into ./demo.", file=sys.stderr)
    if headless is not None:
        _make_folder(headless)
        check_writable(headless / "result.h5ad", overwrite=True)
    with _report(quiet) as report:
        adata, result = _run_sample(n_cells, report)
    if headless is None:
        _show(adata)
        return
    _write_demo(adata, headless)
    if not quiet:
        written = f"{headless / 'result.h5ad'} and {headless / 'overview.png'}"
        print(f"{_summary(result)}; written to {written}")


@app.command("open")
def open_section(input: Annotated[Path, _INPUT]) -> None:
    """Open a section in napari, with the docks."""
    from napari_cellama.io.readers import check_readable

    check_readable(input)
    _need_display()
    from napari_cellama.ui.launch import open_path

    open_path(input)


@app.command("recipe")
def print_recipe() -> None:
    """Print the default recipe as JSON, to be edited and given to run --recipe."""
    print(Recipe().to_json())


@app.command()
def cache(
    action: Annotated[
        Literal["show", "clear"], typer.Argument(help="What to do with it.")
    ] = "show",
) -> None:
    """Show where embeddings are kept and how much that is, or delete them."""
    from napari_cellama.io.embedding_cache import shared_cache

    kept = shared_cache()
    if action == "clear":
        freed = kept.clear()
        print(f"{_megabytes(freed)} deleted in {kept.folder}")
    usage = kept.usage()
    if action == "show" or usage.n_pieces:
        files = "file" if usage.n_pieces == 1 else "files"
        print(
            f"{_megabytes(usage.n_bytes)} of at most {_megabytes(usage.limit)} in "
            f"{usage.n_pieces:,} {files} in {usage.folder}"
        )


app.command("qc")(qc)


# ---- what commands share


def _report(quiet: bool) -> ProgressReport:
    from napari_cellama.progress import ProgressReport

    return ProgressReport(enabled=not quiet)


def _check_model(recipe: Recipe) -> None:
    """Refuse a model or device that is not there, before a large file is read."""
    from napari_cellama.core.devices import refuse_absent
    from napari_cellama.io.models import resolve_model

    refuse_absent(recipe.device)
    resolve_model(recipe.model)


def _find(adata: AnnData, recipe: Recipe, report: ProgressReport) -> NicheResult:
    """Run the pipeline and report on it."""
    from napari_cellama.api import find_niches

    def on_event(event: Event) -> None:
        if isinstance(event, Progress):
            report.show(event)
        elif isinstance(event, Notice):
            report.message(f"Note: {event.text}")
        elif isinstance(event, Partial):
            report.picture(event)

    return find_niches(adata, recipe, on_event)


def _summary(result: NicheResult) -> str:
    """Return e.g. "7 niches in 4,839 cells"."""
    n_niches = len(result.labels.categories)
    left_out = int((result.labels.codes < 0).sum())
    text = f"{n_niches} niche{'s' * (n_niches != 1)} in {result.n_obs - left_out:,} cells"
    text += f" ({left_out:,} left out)" if left_out else ""
    return text if result.fidelity is None else f"{text}, approximate ({result.fidelity.verdict})"


def _megabytes(n_bytes: int) -> str:
    """Return e.g. "1,234.5 MB"."""
    return f"{n_bytes / 1e6:,.1f} MB"


def _run_sample(n_cells: int, report: ProgressReport) -> tuple[AnnData, NicheResult]:
    """Make the sample tissue and fill its slots."""
    from napari_cellama.sample import tissue

    report.stage("Reading", note=f"sample tissue of {n_cells:,} cells")
    adata = tissue(n_cells)
    result = _find(adata, Recipe(cell_type_key="cell_type"), report)
    result.apply(adata)
    return adata, result


def _write_demo(adata: AnnData, folder: Path) -> None:
    from napari_cellama.api import plot_overview
    from napari_cellama.io.writers import write

    write(adata, folder / "result.h5ad", overwrite=True)
    plot_overview(adata, cell_type_key="cell_type", path=folder / "overview.png")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The folder {folder} cannot be made: {error.strerror}.") from None


def _show(adata: AnnData) -> None:
    """Open the window on the niches and stay until it is closed."""
    import napari

    from napari_cellama.ui.attach import session_of
    from napari_cellama.ui.launch import view

    session_of(view(adata, name="sample tissue")).show_clusters("niche")
    napari.run()


def _has_display() -> bool:
    """Whether a window can be opened."""
    if sys.platform in ("win32", "darwin"):
        return True
    offscreen = os.environ.get("QT_QPA_PLATFORM") == "offscreen"
    return offscreen or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _need_display() -> None:
    if not _has_display():
        raise UserError(
            "There is no display to open a window on; log in with one (ssh -X, a desktop), or "
            "use napari-cellama run."
        )


if __name__ == "__main__":
    sys.exit(main())
