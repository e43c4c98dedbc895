"""Embedding with pictures on the way: landmarks first, the others predicted until they are in.

Both modes begin alike: sentences of which there are few, the words alone, and the first landmarks
are embedded; a surrogate predicts the rest, and the first picture is painted. Fast mode doubles
the landmarks until that no longer helps. Exact mode embeds everything, painting now and then,
and ends with nothing predicted.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from napari_cellama.core.encoder import Encoder
from napari_cellama.core.events import CancelToken, Partial, Progress
from napari_cellama.core.fidelity import Fidelity
from napari_cellama.core.landmarks import choose_landmarks
from napari_cellama.core.mosaic import SMALL, Mosaic, Mosaics
from napari_cellama.core.pictures import Pictures
from napari_cellama.core.result import NicheResult, View
from napari_cellama.core.tissue import Tissue
from napari_cellama.core.vectors import EmbeddingCache, embed
from napari_cellama.recipe import AUTO, Recipe

#: Landmarks of the first picture.
FIRST = 500
#: By how much landmarks grow from picture to picture, in fast and in exact mode.
_FAST_GROWTH, _EXACT_GROWTH = 2, 4
#: Where R² grows by less than this when landmarks double, fast mode stops.
_GAIN = 0.01
#: "auto" is exact up to this many seconds, as told by at least so many sentences.
EXACT_SECONDS, _TIMED = 120.0, 200


@dataclass
class Source:
    """Where vectors come from, and how many have come.

    Attributes
    ----------
    encoder, cache, cancel
        As for :func:`~.vectors.embed`.
    done, cached, total
        Sentences that are there, that were there already, and that there will be.
    """

    encoder: Encoder
    cache: EmbeddingCache
    cancel: CancelToken
    done: int = 0
    cached: int = 0
    total: int = 0

    def fetch(self, texts: Sequence[str]) -> Generator[Progress, None, np.ndarray]:
        """Yield how far all is, and return the texts' vectors."""
        steps = embed(texts, self.encoder, self.cache, self.cancel)
        done, cached = self.done, self.cached
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return end.value
            self.done, self.cached = done + step.done, cached + step.cached
            total = max(self.total, self.done)
            yield replace(step, done=self.done, total=total, cached=self.cached)


@dataclass(frozen=True)
class Refined:
    """What came of it.

    Attributes
    ----------
    views
        With every vector, embedded or predicted.
    picture
        The last picture, where some are predicted.
    choice
        What "auto" decided by.
    """

    views: tuple[View, ...]
    picture: NicheResult | None = None
    choice: dict[str, Any] = field(default_factory=dict)

    @property
    def fidelity(self) -> Fidelity | None:
        """How true the predicted ones are; ``None`` where there are none."""
        return None if self.picture is None else self.picture.fidelity

    @property
    def mode(self) -> str:
        """The mode that "auto" became, or that it all came down to."""
        return "exact" if self.picture is None else "fast"

    @property
    def record(self) -> dict[str, Any]:
        """What provenance says of it."""
        known = {} if self.picture is None else {"fidelity": self.fidelity.as_dict()}
        return self.choice | known


class Refinement:
    """Embeds a run's views and paints pictures on the way.

    Parameters
    ----------
    views
        Not embedded yet.
    tissue
        Where the cells are and of what type.
    recipe
        The resolved recipe; its mode may be "auto".
    source
        Gives vectors.
    pictures
        Paints.
    """

    def __init__(
        self,
        views: tuple[View, ...],
        tissue: Tissue,
        recipe: Recipe,
        source: Source,
        pictures: Pictures,
    ) -> None:
        self._recipe, self._tissue = recipe, tissue
        self._source, self._pictures = source, pictures
        self._mosaics = Mosaics(views)
        kept = np.all([view.index >= 0 for view in views], axis=0)
        kinds = np.int64(tissue.types.codes) + 1 + tissue.neighbors.section * 1_000_000
        strata = np.where(kept, kinds, -1)
        large = [mosaic.view for mosaic in self._mosaics.large]
        most = recipe.n_landmarks
        self._choose = lambda: choose_landmarks(large, strata, most, recipe.seed)
        self._per_second: float | None = None
        self._found: list[list[tuple[np.ndarray, np.ndarray]]] = []
        self.mode, self._choice = recipe.mode, {}

    def steps(self) -> Generator[Progress | Partial, None, Refined]:
        """Yield progress and pictures, and return the views."""
        if self.mode != "fast":
            missing = self._look_up()
            if self.mode == "exact" or missing <= 2 * FIRST:
                self._take_found()
            if missing <= 2 * FIRST:
                yield from self._fetch_rest(0)
                return Refined(self._views())
        self._landmarks = self._choose()
        self._expect()
        yield from self._fetch_small()
        n, r2 = 0, -np.inf
        while n < len(self._landmarks.cells):
            n = min(self._growth * n or FIRST, len(self._landmarks.cells))
            yield from self._fetch_landmarks(n)
            if self._mosaics.is_complete:
                break
            self._mosaics.fit(self._landmarks, n)
            picture = None  # the views of one picture are enough at a time
            picture = self._picture(n)
            fidelity = picture.fidelity
            yield Partial(picture)
            if self.mode == AUTO:
                yield from self._decide()
            if self.mode == "fast" and fidelity.r2 - r2 < _GAIN:
                break
            r2 = fidelity.r2
        if self.mode == "fast" and not self._mosaics.is_complete:
            return Refined(picture.views, picture, self._choice)
        yield from self._fetch_rest(n)
        return Refined(self._views(), choice=self._choice)

    @property
    def _growth(self) -> int:
        return _EXACT_GROWTH if self.mode == "exact" else _FAST_GROWTH

    # ---- fetching

    def _expect(self) -> None:
        """Say how many sentences there will be, as far as that is known."""
        sizes = [len(mosaic.known) for mosaic in self._mosaics.each]
        if self.mode != "exact":
            most = self._recipe.n_landmarks
            sizes = [size if size <= SMALL else min(size, most) for size in sizes]
        self._source.total = sum(sizes) + sum(map(len, self._mosaics.words))

    def _fetch_small(self) -> Generator[Progress, None, None]:
        """Embed the views of few sentences, and the words that the others are made of."""
        small = [(mosaic, mosaic.wanted()) for mosaic in self._mosaics.each if mosaic.is_small]
        yield from self._fetch(small)
        meanings = []
        for words in self._mosaics.words:
            meanings.append((yield from self._source.fetch(words)))
        self._mosaics.learn_words(meanings)

    def _fetch_landmarks(self, n: int) -> Generator[Progress, None, None]:
        source, start = self._source, time.perf_counter()
        before = source.done - source.cached
        cells = self._landmarks.cells[:n]
        yield from self._fetch([(mosaic, mosaic.wanted(cells)) for mosaic in self._mosaics.large])
        embedded = source.done - source.cached - before
        if embedded >= _TIMED:
            self._per_second = embedded / (time.perf_counter() - start)

    def _look_up(self) -> int:
        """Ask the cache for everything, and return how many sentences it does not have."""
        source, missing = self._source, 0
        info = source.encoder.load(source.cancel)
        self._found = []
        for mosaic in self._mosaics.each:
            parts = list(source.cache.find(info, mosaic.view.sentences, source.cancel))
            self._found.append(parts)
            missing += len(mosaic.known) - sum(len(rows) for rows, _ in parts)
        return missing

    def _take_found(self) -> None:
        """Take in what the cache has, which fast mode must not, or it would change the result."""
        self.mode = "exact"
        self._expect()
        for mosaic, parts in zip(self._mosaics.each, self._found, strict=True):
            for rows, vectors in parts:
                if mosaic.known[rows].any():  # landmarks
                    new = ~mosaic.known[rows]
                    rows, vectors = rows[new], vectors[new]
                mosaic.learn(rows, vectors)
                self._source.done += len(rows)
                self._source.cached += len(rows)

    def _fetch_rest(self, n: int) -> Generator[Progress | Partial, None, None]:
        """Embed what is left, in portions that grow, with a picture after each but the last."""
        source, rng = self._source, np.random.default_rng(self._recipe.seed)
        yield Progress("Embedding", source.done, source.total, "sentences", cached=source.cached)
        left = [(mosaic, rng.permutation(mosaic.wanted())) for mosaic in self._mosaics.each]
        while any(len(rows) for _, rows in left):
            n_left = sum(len(rows) for _, rows in left)
            portion = (_EXACT_GROWTH - 1) * self._mosaics.n_known
            # A picture of nearly everything would only put off the end.
            share = 1.0 if n_left < 2 * portion or not n else portion / n_left
            ends = [int(np.ceil(share * len(rows))) for _, rows in left]
            parts = [(mosaic, rows[:end]) for (mosaic, rows), end in zip(left, ends, strict=True)]
            yield from self._fetch(parts)
            left = [(mosaic, rows[end:]) for (mosaic, rows), end in zip(left, ends, strict=True)]
            if not self._mosaics.is_complete:
                yield Partial(self._picture(n))

    def _fetch(self, parts: list[tuple[Mosaic, np.ndarray]]) -> Generator[Progress, None, None]:
        """Embed some sentences of each of some views."""
        texts = [mosaic.view.sentences[row] for mosaic, rows in parts for row in rows.tolist()]
        if not texts:
            return
        vectors = yield from self._source.fetch(texts)
        ends = np.cumsum([len(rows) for _, rows in parts])[:-1]
        for (mosaic, rows), part in zip(parts, np.split(vectors, ends), strict=True):
            mosaic.learn(rows, part)

    # ---- deciding

    def _decide(self) -> Generator[Progress, None, None]:
        """Turn "auto" into exact where this machine does it in two minutes, else into fast."""
        source = self._source
        texts = [
            mosaic.view.sentences[row]
            for mosaic, parts in zip(self._mosaics.each, self._found, strict=True)
            for row in np.setdiff1d(mosaic.wanted(), _rows_of(parts)).tolist()
        ]
        missing, info = len(texts), source.encoder.load(source.cancel)
        if self._per_second is None:  # all landmarks were there already
            self._per_second = source.cache.rate(info)
        if self._per_second is None and missing > _TIMED:
            start, before = time.perf_counter(), source.done - source.cached
            yield from source.fetch(texts[:: len(texts) // _TIMED])
            embedded = source.done - source.cached - before
            if embedded:
                self._per_second = embedded / (time.perf_counter() - start)
        if self._per_second is not None:
            source.cache.keep_rate(info, self._per_second)
        rate = float(f"{self._per_second or np.inf:.2g}")
        self._choice = {"mode_chosen": {"sentences_missing": missing, "sentences_per_second": rate}}
        if missing / rate <= EXACT_SECONDS:
            self._take_found()
        else:
            self.mode = "fast"
        self._found.clear()

    # ---- painting

    def _views(self) -> tuple[View, ...]:
        return self._mosaics.views(self._source.cancel)

    def _picture(self, n: int) -> NicheResult:
        """Return the picture from ``n`` landmarks, with how true it is."""
        views = self._views()
        space = self._pictures.place(views)
        return self._pictures.paint(views, space, self._mosaics.held_out(self._landmarks, n))


def is_worthwhile(views: tuple[View, ...], recipe: Recipe) -> bool:
    """Whether there are so many sentences that not all are embedded, or pictures come first."""
    largest = max(len(view.sentences) for view in views)
    return largest > (recipe.n_landmarks if recipe.mode == "fast" else 2 * FIRST)


def _rows_of(parts: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the rows that a cache found."""
    return np.concatenate([np.zeros(0, np.int64), *(rows for rows, _ in parts)])
