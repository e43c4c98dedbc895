"""From what a sentence says to its embedding, without the language model.

A sentence is described by its words twice over: which words it has, those in front weighing
more; and what they mean and where they stand, which is the words' own embeddings (each word
embedded alone, far cheaper than a sentence) weighted by slow waves along the sentence. Words of
like meaning so count alike, seen or not. On these features a Gaussian process, with a kernel
that is smooth (so that words act on each other) and a little linear, is fitted to the sentences
that were embedded exactly (Rasmussen & Williams 2006, Gaussian Processes for Machine Learning,
chapters 2 and 5).

What the fit would have said of each of its own sentences without having seen it follows from the
same solution (their equations 5.10 to 5.12), so that its truth is known at no further cost.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from napari_cellama.core.events import CancelToken
from napari_cellama.core.result import Words
from napari_cellama.core.threads import each_chunk

#: Waves along the sentence, and how much each weighs.
_WAVES = np.array([1.0, 0.7, 0.5, 0.35])
#: Dimensions of a word's meaning, and features in all, at most.
_MEANINGS, _FEATURES = 96, 768
#: The most used words that are told apart by name.
_NAMED = 4_000
#: The kernel is exp(-_NEAR d²) + _LINEAR (1 + x·y), of features of about unit length a kind.
_NEAR, _LINEAR = 0.05, 0.1
#: Noise that is tried, and the sentences that it is chosen on, at most.
_NOISES, _TRIED = 10.0 ** np.arange(-3, 0.1, 0.5), 800
#: Components of the embedding that are predicted for many sentences at most.
_COMPONENTS = 128
_CHUNK = 8_192


class Features:
    """Sentences as numbers, scaled to what the sentences that a fit knows are like.

    Parameters
    ----------
    contents
        The parts of all u sentences.
    meanings
        One (len(names), d) array a part: each word's embedding, 0 where it is not known.
    known
        (m,) the sentences of the fit.
    """

    def __init__(
        self, contents: Sequence[Words], meanings: Sequence[np.ndarray], known: np.ndarray
    ) -> None:
        pairs = zip(contents, meanings, strict=True)
        self._parts = [_Part(words, part, known) for words, part in pairs]
        raw = np.concatenate([part.raw(known) for part in self._parts], axis=1)
        axes = _main_axes(raw - raw.mean(axis=0), _FEATURES)
        self._mean = raw.mean(axis=0) @ axes
        ends = np.cumsum([part.width for part in self._parts])[:-1]
        for part, turn in zip(self._parts, np.split(axes, ends), strict=True):
            part.turn(turn)

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Return (len(rows), q) float32: the features of some sentences."""
        return sum(part.turned(rows) for part in self._parts) - self._mean


class _Part:
    """The features of one part of the sentences: what each word adds at each place."""

    def __init__(self, words: Words, meanings: np.ndarray, known: np.ndarray) -> None:
        self._codes = words.codes
        length = words.codes.shape[1]
        uses = np.bincount(words.codes[words.codes >= 0], minlength=len(words.names))
        named = np.argsort(-uses, kind="stable")[: min(_NAMED, int((uses > 0).sum()))]
        self._n_words = len(named)
        # Words that are not told apart share the last place, as does the word that is not there.
        self._place = np.full(len(words.names) + 1, len(named))
        self._place[named] = np.arange(len(named))
        self._first = (1 - np.arange(length) / (2 * length)).astype(np.float32)
        at = (np.arange(length) + 0.5) / length
        waves = np.cos(np.pi * at[:, None] * np.arange(len(_WAVES))) * _WAVES
        self._waves = waves.astype(np.float32)
        self._meanings = _reduced(meanings[named], uses[named])
        self._scales = np.ones(2, np.float32)
        self._scales = np.array([_scale(block) for block in self._split(known)], np.float32)

    @property
    def width(self) -> int:
        """How many raw features there are."""
        return self._n_words + len(_WAVES) * self._meanings.shape[1]

    def raw(self, rows: np.ndarray) -> np.ndarray:
        """Return (len(rows), width) float32 features, those of names and those of meanings."""
        return np.concatenate(self._split(rows), axis=1)

    def turn(self, axes: np.ndarray) -> None:
        """Keep only the coordinates along (width, q) ``axes``."""
        by_name = axes[: self._n_words] * self._scales[0]
        by_sense = axes[self._n_words :] * self._scales[1]
        by_sense = by_sense.reshape(len(_WAVES), self._meanings.shape[1], -1)
        senses = np.einsum("gd,wdq->wgq", self._meanings, by_sense)
        table = self._first[:, None, None] * by_name + np.einsum("rw,wgq->rgq", self._waves, senses)
        table = np.pad(table, ((0, 0), (0, 1), (0, 0)))
        self._table = np.ascontiguousarray(table.reshape(-1, axes.shape[1]), np.float32)

    def turned(self, rows: np.ndarray) -> np.ndarray:
        """Return (len(rows), q) float32 coordinates along the axes."""
        places = self._place[self._codes[rows]]
        places = places + np.arange(places.shape[1]) * (self._n_words + 1)
        starts = np.arange(0, places.size + 1, places.shape[1])
        ones = np.ones(places.size, np.float32)
        shape = (len(rows), len(self._table))
        return sp.csr_matrix((ones, places.ravel(), starts), shape=shape) @ self._table

    def _split(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        places = self._place[self._codes[rows]]
        names = np.zeros((len(rows), self._n_words + 1), np.float32)
        for column, weight in zip(places.T, self._first, strict=True):
            names[np.arange(len(rows)), column] += weight
        meanings = np.pad(self._meanings, ((0, 1), (0, 0)))
        sense = sum(
            meanings[column][:, None] * wave[:, None]
            for column, wave in zip(places.T, self._waves, strict=True)
        )
        by_name, by_sense = self._scales
        return names[:, :-1] * by_name, sense.reshape(len(rows), -1) * by_sense


class Surrogate:
    """Predicts embeddings from features.

    Parameters
    ----------
    features
        Describes all sentences.
    known
        (m,) the sentences that were embedded exactly; at least 3 different ones.
    vectors
        (m, d) float32: their embeddings.

    Attributes
    ----------
    held_out
        (m, d) float32: what would be said of each of them by a fit to the others.
    """

    def __init__(self, features: Features, known: np.ndarray, vectors: np.ndarray) -> None:
        self._features = features
        self._places = features.of(known)
        self._mean = vectors.mean(axis=0)
        self._axes = _main_axes(vectors - self._mean, _COMPONENTS)
        target = ((vectors - self._mean) @ self._axes).astype(np.float64)
        kernel = _kernel(self._places, self._places).astype(np.float64)
        noise = _noise(kernel, target)
        weights, diagonal = _solved(kernel + noise * np.eye(len(kernel)), target)
        left_out = target - weights / diagonal[:, None]
        self._weights = weights.astype(np.float32)
        self.held_out = self._back(left_out.astype(np.float32))

    def predict(
        self, rows: np.ndarray, vectors: np.ndarray, cancel: CancelToken | None = None
    ) -> None:
        """Write the expected embeddings of some sentences into those ``rows`` of ``vectors``."""

        def part(chunk: slice) -> None:
            kernel = _kernel(self._features.of(rows[chunk]), self._places)
            vectors[rows[chunk]] = self._back(kernel @ self._weights)

        each_chunk(part, len(rows), _CHUNK, cancel)

    def _back(self, components: np.ndarray) -> np.ndarray:
        return components @ self._axes.T + self._mean


def _kernel(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return (n, m) float32: how alike sentences are."""
    product = one @ other.T
    kernel = product - np.square(one).sum(axis=1)[:, None] / 2
    kernel -= np.square(other).sum(axis=1) / 2
    kernel *= np.float32(2 * _NEAR)
    np.exp(kernel, out=kernel)
    product += 1
    product *= np.float32(_LINEAR)
    kernel += product
    return kernel


def _solved(matrix: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``inv(matrix) @ target`` and the inverse's diagonal, of a positive definite matrix.

    By its Cholesky factor, in a third of the time of the inverse.
    """
    from scipy.linalg import cho_solve, cholesky
    from scipy.linalg.lapack import dtrtri

    factor = cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
    weights = cho_solve((factor, True), target, check_finite=False)
    inverse, _ = dtrtri(factor, lower=1)
    return weights, np.square(inverse).sum(axis=0)


def _noise(kernel: np.ndarray, target: np.ndarray) -> float:
    """Return the noise with which sentences are best foretold from the others."""
    step = -(-len(kernel) // _TRIED)
    values, axes = np.linalg.eigh(kernel[::step, ::step])
    turned = axes.T @ target[::step]

    def error(noise: float) -> float:
        part = axes / (values + noise)
        return float(np.square((part @ turned) / (part * axes).sum(axis=1)[:, None]).sum())

    return float(min(_NOISES, key=error))


def _main_axes(centred: np.ndarray, n_most: int) -> np.ndarray:
    """Return (d, at most n_most) float32: the principal axes of (m, d) centred numbers."""
    n, width = centred.shape
    if width <= n:
        _, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64))
        return np.ascontiguousarray(axes[:, ::-1][:, :n_most], np.float32)
    values, axes = np.linalg.eigh((centred @ centred.T).astype(np.float64))
    some = np.flatnonzero(values > 1e-6 * max(values.max(), 1e-9))[::-1][:n_most]
    axes = centred.T @ (axes[:, some] / np.sqrt(values[some]))
    return np.ascontiguousarray(axes, np.float32)


def _reduced(meanings: np.ndarray, uses: np.ndarray) -> np.ndarray:
    """Return (g, at most 96) float32: words' embeddings, centred; 0 for those not known."""
    known = np.abs(meanings).sum(axis=1) > 0
    if not known.any():
        return np.zeros((len(meanings), 1), np.float32)
    weights = uses[known] / uses[known].sum()
    centred = np.zeros(meanings.shape, np.float32)
    centred[known] = meanings[known] - weights @ meanings[known]
    axes = _main_axes(centred[known] * np.sqrt(weights)[:, None].astype(np.float32), _MEANINGS)
    return centred @ axes if axes.shape[1] else centred[:, :1]


def _scale(block: np.ndarray) -> float:
    """Return what scales features to unit mean square around their mean; 0 where all are alike."""
    spread = float(np.square(block - block.mean(axis=0)).sum(axis=1).mean())
    return 1 / np.sqrt(spread) if spread > 1e-9 else 0.0
