"""A run from Python: the same generator as in the window, in one call."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellama.core.events import (
    CancelToken,
    Event,
    Finished,
    Notice,
    Partial,
    Progress,
    last_of,
)
from napari_cellama.errors import UserError, need_anndata
from napari_cellama.recipe import Recipe

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure

    from napari_cellama.core.encoder import EncoderInfo
    from napari_cellama.core.model_process import ModelProcess
    from napari_cellama.core.result import NicheResult


def run(
    adata: AnnData, recipe: Recipe | None = None, *, progress: bool = True, **changes: Any
) -> NicheResult:
    """Find the niches of a section and write them into ``adata``.

    Parameters
    ----------
    adata
        Cells with positions in ``obsm['spatial']``. Only the slots of the result are added: see
        the documentation's table of slots.
    recipe
        Every parameter of the run; the defaults if none is given.
    progress
        Whether to show progress: a bar on a terminal and in a notebook, one line a stage
        elsewhere.
    **changes
        Parameters of the recipe to change for this run, e.g. ``n_clusters=7``.

    Returns
    -------
    NicheResult
        What was found, as it was written into ``adata``.

    Raises
    ------
    UserError
        When the data or a parameter cannot be used, in one sentence; ``adata`` is then unchanged.

    Warns
    -----
    UserWarning
        About what the run had to leave out or change, one sentence each.

    Examples
    --------
    >>> import napari_cellama as nc
    >>> adata = nc.sample.tissue(2000)  # doctest: +SKIP
    >>> nc.run(adata, cell_type_key="cell_type", n_clusters=6)  # doctest: +SKIP
    """
    from napari_cellama.progress import ProgressReport

    need_anndata(adata, "run")
    recipe = make_recipe(recipe, **changes)
    with ProgressReport(progress) as report:

        def on_event(event: Event) -> None:
            if isinstance(event, Progress):
                report.show(event)
            elif isinstance(event, Notice):
                # Up from here, find_niches and run to the line that called run.
                warnings.warn(event.text, UserWarning, stacklevel=4)
            elif isinstance(event, Partial):
                report.picture(event)

        result = find_niches(adata, recipe, on_event)
    for text in _ownership_notices(adata):
        warnings.warn(text, UserWarning, stacklevel=2)
    with warnings.catch_warnings():
        # What becomes of a view is said above, in words that say what it means here.
        warnings.filterwarnings("ignore", message="Trying to modify attribute")
        result.apply(adata)
    return result


def make_recipe(recipe: Recipe | None = None, **changes: Any) -> Recipe:
    """Return the recipe with the changes, or the defaults with them.

    Raises
    ------
    UserError
        When ``recipe`` is something else, or a change is not allowed.
    """
    if recipe is None:
        return Recipe(**changes)
    if not isinstance(recipe, Recipe):
        raise UserError(
            f"The recipe is a {type(recipe).__name__}; give a Recipe, as in "
            "run(adata, Recipe(n_clusters=7)), or name parameters, as in run(adata, n_clusters=7)."
        )
    return recipe.replace(**changes) if changes else recipe


def find_niches(
    adata: AnnData,
    recipe: Recipe,
    on_event: Callable[[Event], None],
    cancel: CancelToken | None = None,
) -> NicheResult:
    """Run the pipeline to its end, handing each event on; nothing is written to ``adata``.

    Parameters
    ----------
    adata, recipe
        As for :func:`run`.
    on_event
        Called with every event but the last.
    cancel
        Stops the run when it is set.

    Returns
    -------
    NicheResult
        Of the last event.
    """
    for event in run_events(adata, recipe, cancel=cancel):
        if isinstance(event, Finished):
            return event.result
        on_event(event)
    raise AssertionError("the pipeline ended without a result")


def run_events(
    adata: AnnData,
    recipe: Recipe,
    *,
    cancel: CancelToken | None = None,
    earlier: Sequence[NicheResult] = (),
) -> Iterator[Event]:
    """Iterate a run on the shared model process, as window, Python and command line all do.

    Parameters
    ----------
    adata, recipe, cancel, earlier
        As for :func:`napari_cellama.core.pipeline.run`.

    Yields
    ------
    Event
        As from :func:`napari_cellama.core.pipeline.run`.
    """
    from napari_cellama.core import pipeline
    from napari_cellama.io.embedding_cache import shared_cache

    encoder = NamedEncoder(recipe.model, recipe.device, recipe.dtype)
    options = {"encoder": encoder, "cache": shared_cache(), "cancel": cancel, "earlier": earlier}
    yield from pipeline.run(adata, recipe, **options)


class NamedEncoder:
    """The warm model process for a model's name, found when it is first needed.

    So that unusable data are refused before a model is looked for or downloaded.

    Parameters
    ----------
    model, device, dtype
        As in :class:`Recipe`.
    """

    def __init__(self, model: str, device: str = "auto", dtype: str = "auto") -> None:
        self._options = {"name": model, "device": device, "dtype": dtype}
        self._process: ModelProcess | None = None

    @property
    def notices(self) -> list[str]:
        """What the user should know of the model, one sentence each."""
        return [] if self._process is None else self._process.notices

    def start(self) -> None:
        """Let the model load in its process, if it needs no download."""
        from napari_cellama.io.models import available_models

        if self._options["name"] in available_models():
            with contextlib.suppress(UserError):  # load says it, after what is wrong with the data
                self._ready().start()

    def load(self, cancel: CancelToken) -> EncoderInfo:
        """Find the model, make it ready, and say what it is.

        Raises
        ------
        UserError
            When there is no such model or device.
        """
        return self._ready().load(cancel)

    def encode(
        self, sentences: Sequence[str], cancel: CancelToken
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (rows, vectors) as batches finish; see :class:`~.core.encoder.Encoder`."""
        return self._ready().encode(sentences, cancel)

    def count_tokens(self, sentences: Sequence[str]) -> np.ndarray:
        """Return (len(sentences),) int64: each sentence's length in tokens, uncut."""
        return self._ready().count_tokens(sentences)

    def _ready(self) -> ModelProcess:
        if self._process is None:
            from napari_cellama.core.model_process import shared
            from napari_cellama.io.models import resolve_model

            folder = resolve_model(self._options["name"])
            self._process = shared(
                folder.path, weights_sha256=folder.weights_sha256, **self._options
            )
        return self._process


def embed_sentences(
    sentences: Sequence[str],
    *,
    model: str = "all-MiniLM-L6-v2",
    device: str = "auto",
    dtype: str = "auto",
) -> np.ndarray:
    """Embed sentences with a sentence transformer, in a process of its own.

    Parameters
    ----------
    sentences
        Any texts; equal ones are embedded once, and none that the cache still has.
    model, device, dtype
        As in :class:`Recipe`.

    Returns
    -------
    numpy.ndarray
        (n, d) float32, rows of unit length.

    Raises
    ------
    UserError
        When the input is one text instead of several, or there is no such model or device.
    """
    from napari_cellama.core.vectors import embed
    from napari_cellama.io.embedding_cache import shared_cache

    if isinstance(sentences, str) or not all(isinstance(text, str) for text in sentences):
        raise UserError('Give a list of texts, as in embed_sentences(["Top gene is CD3E."]).')
    encoder = NamedEncoder(model, device, dtype)
    return last_of(embed(sentences, encoder, shared_cache(), CancelToken()))


def plot_overview(
    adata: AnnData,
    *,
    key: str = "niche",
    cell_type_key: str | None = "auto",
    path: str | Path | None = None,
) -> Figure:
    """Draw the tissue by cell type and by niche, and what each niche is made of.

    Parameters
    ----------
    adata
        With positions, and labels in ``obs[key]``.
    key
        The obs column of the niches.
    cell_type_key
        The obs column of the cell types; "auto" takes that of the run that made the niches, or
        a column with a familiar name; ``None`` leaves them out.
    path
        Also save it there: .png, .svg or .pdf.

    Returns
    -------
    matplotlib.figure.Figure
        Not registered with pyplot; display it in a notebook by naming it.
    """
    from napari_cellama.figures import overview_figure, save_figure

    figure = overview_figure(adata, key=key, cell_type_key=cell_type_key)
    if path is not None:
        save_figure(figure, path)
    return figure


def _ownership_notices(adata: AnnData) -> list[str]:
    """Say where results go when ``adata`` does not own what it shows."""
    notices = []
    if adata.is_view:
        notices.append(
            "This AnnData is a view; it becomes a copy of its own to take the niches, and the "
            "AnnData that it was cut from does not get them."
        )
    if adata.isbacked:
        notices.append(
            "This AnnData is backed by a file; the niches are in memory only until you save it "
            "with napari_cellama.write()."
        )
    return notices
