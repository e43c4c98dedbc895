"""The run: one generator from data and recipe to niches, whoever iterates it."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from napari_cellama.core import notices
from napari_cellama.core.earlier import predictions_of, taken_over
from napari_cellama.core.encoder import Encoder
from napari_cellama.core.events import CancelToken, Event, Finished, Notice, Progress, Stage
from napari_cellama.core.finding import Finder, number_asked
from napari_cellama.core.graph import graph_of_neighbors, radius_graph
from napari_cellama.core.lengths import cut_short
from napari_cellama.core.matrix import expression
from napari_cellama.core.pictures import Pictures
from napari_cellama.core.provenance import provenance
from napari_cellama.core.ranking import gene_ranking
from napari_cellama.core.refinement import Refined, Refinement, Source, is_worthwhile
from napari_cellama.core.resolve import refuse_more_niches, resolve
from napari_cellama.core.result import NicheResult, View
from napari_cellama.core.sentences import build_views
from napari_cellama.core.slots import fingerprint, refuse_taken
from napari_cellama.core.tissue import NO_GENE, Tissue, n_searched, read_tissue
from napari_cellama.core.vectors import EmbeddingCache, NoCache, embed
from napari_cellama.errors import UserError
from napari_cellama.recipe import AUTO, Recipe

if TYPE_CHECKING:
    from anndata import AnnData


def run(
    adata: AnnData,
    recipe: Recipe,
    *,
    encoder: Encoder,
    cache: EmbeddingCache | None = None,
    cancel: CancelToken | None = None,
    earlier: Sequence[NicheResult] = (),
) -> Iterator[Event]:
    """Find niches, telling of every step.

    Parameters
    ----------
    adata
        The data; only read.
    recipe
        Every parameter of the run.
    encoder
        Embeds the sentences; made ready when it is needed.
    cache
        Where vectors are looked for first and kept as they are made; by default nowhere.
    cancel
        Checked between steps and batches.
    earlier
        Results of the same data that are still in memory: what they predicted is not predicted
        again. They change nothing of the result.

    Yields
    ------
    Event
        :class:`~.events.Progress`, :class:`~.events.Notice`, where embedding or clustering
        takes long :class:`~.events.Partial`, and last :class:`~.events.Finished` with the result.

    Raises
    ------
    UserError
        When the data or the recipe cannot be used.
    Cancelled
        When the token says so.
    """
    journal, cache = _Journal(cancel or CancelToken()), cache or NoCache()
    yield journal.enter("Reading")
    resolved = resolve(adata, recipe)
    refuse_taken(adata, resolved.key_added)
    tissue = read_tissue(adata, resolved, journal.cancel)
    encoder.start()  # the data can be used, so the model will be needed
    cells = fingerprint(adata)
    yield from journal.tell(notices.about_data(adata, resolved, tissue))

    yield journal.enter("Graph")
    connectivities, distances, nearest = _graph(adata, resolved, tissue, journal.cancel)
    yield from journal.tell(notices.about_neighbors(resolved, tissue))

    yield journal.enter("Sentences")
    views, negative = _sentences(adata, resolved, tissue, nearest, journal.cancel)
    left_out = _left_out(tissue, views)
    _refuse_too_few(left_out, resolved)
    yield from journal.tell(notices.about_genes(negative) + notices.about_left_out(left_out))

    yield journal.enter("Model")
    heard, heard_of_cache = list(encoder.notices), len(cache.notices)
    info = encoder.load(journal.cancel)
    yield Progress("Model", 1, 1, note=f"{info.model} on {info.device_name}")
    cut = cut_short(views, encoder, info.max_seq_length)
    yield from journal.tell(notices.about_cut(cut, info))

    yield journal.enter("Embedding")
    finder = Finder(resolved, tissue, connectivities, distances, left_out, cells, journal.cancel)
    record = provenance(recipe, resolved, info, tissue, views) | {"share_cut": cut.share}
    pictures = Pictures(finder, record)
    known = predictions_of(earlier, finder, record)
    if known is not None:
        refined = yield from taken_over(known, finder, pictures)
    else:
        refined = yield from _embedded(views, finder, encoder, cache, pictures)
    info = encoder.load(journal.cancel)  # what it ran on in the end
    told = [*_since(heard, encoder.notices), *cache.notices[heard_of_cache:]]
    yield from journal.tell(told + notices.about_fidelity(refined.fidelity, recipe))

    yield journal.enter("Context")
    if refined.picture is None:
        space = yield from finder.place(refined.views)
    else:
        space = refined.picture.representation

    yield journal.enter("Clustering")
    if refined.picture is None:
        yield from pictures.first_look(refined.views, space)
    found, resolved, choice = finder.group(space)
    asked, n_found = number_asked(recipe), int(found.codes.max()) + 1
    yield from journal.tell(notices.about_clusters(asked, n_found))
    result = pictures.color(finder.result(refined.views, space, found))
    journal.leave()
    record |= {
        "recipe": resolved.replace(mode=refined.mode).to_json(),
        "encoder": info.as_dict(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": journal.seconds,
        "notices": np.array(journal.notices, object),
        **refined.record,
        **choice,
    }
    yield Finished(
        replace(
            result,
            notices=tuple(journal.notices),
            provenance=record,
            fidelity=refined.fidelity,
            held_out=None if refined.picture is None else refined.picture.held_out,
        )
    )


class _Journal:
    """Keeps what a run told and how long its stages took."""

    def __init__(self, cancel: CancelToken) -> None:
        self.cancel = cancel
        self.notices: list[str] = []
        self.seconds: dict[str, float] = {}
        self._stage: Stage | None = None
        self._since = 0.0

    def enter(self, stage: Stage) -> Progress:
        """Begin a stage, unless the run is cancelled, and return the event that says so."""
        self.cancel.check()
        self.leave()
        self._stage, self._since = stage, time.perf_counter()
        return Progress(stage)

    def leave(self) -> None:
        """End the stage that is on, if any."""
        if self._stage is not None:
            self.seconds[self._stage] = round(time.perf_counter() - self._since, 4)

    def tell(self, texts: list[str]) -> Iterator[Notice]:
        """Yield notices and remember them for the result."""
        self.notices += texts
        yield from map(Notice, texts)


def _graph(
    adata: AnnData, recipe: Recipe, tissue: Tissue, cancel: CancelToken
) -> tuple[sp.csr_matrix, sp.csr_matrix, np.ndarray | None]:
    """Return the graph to average over, and the nearest cells where one search finds both."""
    if recipe.use_existing_graph:
        connectivities = sp.csr_matrix(adata.obsp["spatial_connectivities"])
        distances = adata.obsp.get("spatial_distances")
        empty = connectivities.shape
        return connectivities, sp.csr_matrix(empty if distances is None else distances), None
    if recipe.radius is not None:
        return *radius_graph(tissue.neighbors, recipe.radius), None
    nearest, distance = tissue.neighbors.nearest(n_searched(recipe), cancel=cancel)
    near = slice(recipe.n_neighbors)
    graph = graph_of_neighbors(nearest[:, near], distance[:, near])
    return *graph, nearest if tissue.naming is tissue.neighbors else None


def _sentences(
    adata: AnnData, recipe: Recipe, tissue: Tissue, nearest: np.ndarray | None, cancel: CancelToken
) -> tuple[tuple[View, ...], bool]:
    """Return the views, not embedded yet, and whether the matrix has negative values."""
    matrix, _ = expression(adata, recipe.layer)
    ranking, negative = gene_ranking(matrix, recipe.n_top_genes, recipe.name_zero_genes, cancel)
    return build_views(adata, recipe, tissue, ranking, nearest, cancel), negative


def _left_out(tissue: Tissue, views: tuple[View, ...]) -> np.ndarray:
    """Return (n,) object: "" or why a cell gets no niche."""
    left_out = tissue.left_out.copy()
    left_out[(left_out == "") & (views[0].index < 0)] = NO_GENE
    return left_out


def _refuse_too_few(left_out: np.ndarray, recipe: Recipe) -> None:
    """Refuse to go on with fewer cells than niches, or hardly any."""
    n_kept = int((left_out == "").sum())
    if n_kept < 2:
        reasons = ", ".join(sorted(set(left_out) - {""}))
        raise UserError(
            f"Only {n_kept} of {len(left_out):,} cells can be described (the others: {reasons}); "
            "niches need at least two."
        )
    if recipe.n_clusters != AUTO:
        refuse_more_niches(recipe.n_clusters, n_kept)


def _since(heard: list[str], notices: list[str]) -> list[str]:
    """Return what is new; an encoder that had to start anew has forgotten what it said before."""
    known = len(heard) if notices[: len(heard)] == heard else 0
    return notices[known:]


def _embedded(
    views: tuple[View, ...],
    finder: Finder,
    encoder: Encoder,
    cache: EmbeddingCache,
    pictures: Pictures,
) -> Generator[Event, None, Refined]:
    """Embed all views' sentences, yield how far it is and pictures, and return the views."""
    if is_worthwhile(views, finder.recipe):
        source = Source(encoder, cache, finder.cancel)
        work = Refinement(views, finder.tissue, finder.recipe, source, pictures)
        return (yield from work.steps())
    sentences = [text for view in views for text in view.sentences]
    vectors = yield from embed(sentences, encoder, cache, finder.cancel)
    ends = np.cumsum([len(view.sentences) for view in views])[:-1]
    parts = np.split(vectors, ends)
    whole = [replace(view, vectors=part) for view, part in zip(views, parts, strict=True)]
    return Refined(tuple(whole))
