"""Views whose sentences are embedded in part: what is known, and the rest foretold from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from napari_cellama.core.events import CancelToken
from napari_cellama.core.fidelity import HeldOut, explained
from napari_cellama.core.landmarks import Landmarks
from napari_cellama.core.result import View
from napari_cellama.core.surrogate import Features, Surrogate

#: A view of so many sentences is embedded whole.
SMALL = 100
#: The most used words of a view that are embedded alone.
_WORDS = 2_000
#: Vectors that are moved at a time.
_CHUNK = 65_536


class Mosaic:
    """One view's sentences, some embedded, the others not yet.

    Attributes
    ----------
    view
        Not embedded.
    known
        (u,) bool: the sentences that are.
    """

    def __init__(self, view: View) -> None:
        self.view = view
        self.known = np.zeros(len(view.sentences), bool)
        # As they came: an array for all would be memory for those that never come.
        self._blocks: list[np.ndarray] = []
        self._place = np.zeros(len(self.known), np.int64)

    @property
    def is_small(self) -> bool:
        """Whether it has so few sentences that none needs to be predicted."""
        return len(self.known) <= SMALL

    def wanted(self, cells: np.ndarray | None = None) -> np.ndarray:
        """Return the sentences, of some cells or of all, that are not known yet."""
        if cells is None:
            return np.flatnonzero(~self.known)
        rows = np.unique(self.view.index[cells])
        return rows[~self.known[rows]]

    def sample(self, cells: np.ndarray) -> View:
        """Return the view of some cells alone, all of whose sentences are known."""
        rows, index = np.unique(self.view.index[cells], return_inverse=True)
        return View(self.view.name, (), index.ravel(), self.vectors(rows))

    def learn(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Take in some sentences' vectors."""
        self._place[rows] = sum(map(len, self._blocks)) + np.arange(len(rows))
        self._blocks.append(vectors)
        self.known[rows] = True

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Return (len(rows), d) float32: the vectors of sentences that are known."""
        found = np.empty((len(rows), self._blocks[0].shape[1]), np.float32)
        place, start, first = self._place[rows], 0, 0
        order = np.argsort(place, kind="stable")
        for block in self._blocks:
            last = int(np.searchsorted(place, start + len(block), sorter=order))
            for begin in range(first, last, _CHUNK):
                some = order[begin : min(begin + _CHUNK, last)]
                found[some] = block[place[some] - start]
            start, first = start + len(block), last
        return found


class Foretold:
    """One view's surrogate, and what it says."""

    def __init__(self, mosaic: Mosaic) -> None:
        self._mosaic = mosaic
        self._used: list[np.ndarray] = []
        self.words: list[str] = []
        for part in mosaic.view.contents:
            uses = np.bincount(part.codes[part.codes >= 0], minlength=len(part.names))
            most = np.argsort(-uses, kind="stable")[:_WORDS]
            self._used.append(most[uses[most] > 0])
            self.words += [str(part.names[code]) for code in self._used[-1].tolist()]

    def learn_words(self, vectors: np.ndarray) -> None:
        """Take in the words' embeddings."""
        parts = np.split(vectors, np.cumsum([len(used) for used in self._used])[:-1])
        self._meanings = []
        for words, used, part in zip(self._mosaic.view.contents, self._used, parts, strict=True):
            meanings = np.zeros((len(words.names), vectors.shape[1]), np.float32)
            meanings[used] = part
            self._meanings.append(meanings)

    def fit(self, landmarks: Landmarks, n: int) -> None:
        """Fit the surrogate to the first ``n`` landmarks."""
        rows, first = np.unique(self._mosaic.view.index[landmarks.cells[:n]], return_index=True)
        self._rows, self._drawn = rows, landmarks.drawn[first]
        self._vectors = self._mosaic.vectors(rows)
        features = Features(self._mosaic.view.contents, self._meanings, rows)
        self._surrogate = Surrogate(features, rows, self._vectors)

    def measured(self) -> tuple[float, float]:
        """Return R² and cosine on the sentences that chance drew, each held out."""
        drawn = self._drawn
        return explained(self._vectors[drawn], self._surrogate.held_out[drawn])

    def view(self, cancel: CancelToken) -> View:
        """Return the view with every vector, embedded or predicted."""
        mosaic = self._mosaic
        index, known = mosaic.view.index, np.flatnonzero(mosaic.known)
        if len(known) == len(mosaic.known):
            return replace(mosaic.view, vectors=mosaic.vectors(known))
        vectors = np.empty((len(mosaic.known), self._vectors.shape[1]), np.float32)
        vectors[known] = mosaic.vectors(known)
        self._surrogate.predict(mosaic.wanted(), vectors, cancel)
        share = 1 - mosaic.known[index[index >= 0]].mean()
        return replace(mosaic.view, vectors=vectors, scatter=self._scatter() * np.float32(share))

    def left_out(self, cells: np.ndarray) -> View:
        """Return the view of some landmarks alone, as foretold without each of them."""
        rows, index = np.unique(self._mosaic.view.index[cells], return_inverse=True)
        vectors = self._surrogate.held_out[np.searchsorted(self._rows, rows)]
        name = self._mosaic.view.name
        return View(name, (), index.ravel(), vectors, scatter=self._scatter())

    def _scatter(self) -> np.ndarray:
        """Return (d, d) float32: the covariance of what predictions lack."""
        lack = (self._vectors - self._surrogate.held_out)[self._drawn]
        return lack.T @ lack / np.float32(len(lack))


class Mosaics:
    """All views of a run.

    Attributes
    ----------
    each
        One a view, in the views' order.
    large
        Those that have so many sentences that some may be predicted.
    """

    def __init__(self, views: tuple[View, ...]) -> None:
        self.each = [Mosaic(view) for view in views]
        self.large = [mosaic for mosaic in self.each if not mosaic.is_small]
        self._foretold = [Foretold(mosaic) for mosaic in self.large]

    @property
    def is_complete(self) -> bool:
        """Whether every sentence is embedded."""
        return all(mosaic.known.all() for mosaic in self.each)

    @property
    def n_known(self) -> int:
        """How many sentences are embedded."""
        return sum(int(mosaic.known.sum()) for mosaic in self.each)

    @property
    def words(self) -> list[list[str]]:
        """The words that each large view is made of, which surrogates need embedded."""
        return [foretold.words for foretold in self._foretold]

    def learn_words(self, vectors: Sequence[np.ndarray]) -> None:
        """Take in the embeddings of each large view's words."""
        for foretold, some in zip(self._foretold, vectors, strict=True):
            foretold.learn_words(some)

    def fit(self, landmarks: Landmarks, n: int) -> None:
        """Fit surrogates to the first ``n`` landmarks."""
        for foretold in self._foretold:
            foretold.fit(landmarks, n)

    def views(self, cancel: CancelToken) -> tuple[View, ...]:
        """Return the views with what is embedded, and foretold where that is lacking."""
        foretold = iter(self._foretold)
        return tuple(
            replace(mosaic.view, vectors=mosaic.vectors(np.arange(len(mosaic.known))))
            if mosaic.is_small
            else next(foretold).view(cancel)
            for mosaic in self.each
        )

    def held_out(self, landmarks: Landmarks, n: int) -> HeldOut:
        """Return what the first ``n`` landmarks tell of how true the predictions are."""
        cells = landmarks.cells[:n][landmarks.drawn[:n]]
        foretold = iter(self._foretold)
        exact = tuple(mosaic.sample(cells) for mosaic in self.each)
        predicted = tuple(
            view if mosaic.is_small else next(foretold).left_out(cells)
            for mosaic, view in zip(self.each, exact, strict=True)
        )
        measured = min(foretold.measured() for foretold in self._foretold)
        n_predicted = sum(len(mosaic.known) for mosaic in self.each) - self.n_known
        return HeldOut(cells, exact, predicted, *measured, self.n_known, n_predicted)
