"""Sentences to vectors: from the cache where they are kept, from the encoder where not."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Protocol

import numpy as np

from napari_cellama.core.encoder import Encoder, EncoderInfo
from napari_cellama.core.events import CancelToken, Progress


class EmbeddingCache(Protocol):
    """Keeps vectors beyond a run; where and how is its own affair.

    It never raises for what is wrong with its storage: what cannot be read is not found, what
    cannot be written is not kept, and ``notices`` says so.
    """

    @property
    def notices(self) -> list[str]:
        """What the user should know, one sentence each, so far."""
        ...

    def find(
        self, info: EncoderInfo, sentences: Sequence[str], cancel: CancelToken
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (rows, vectors) of the sentences that are kept for this model and precision.

        ``rows`` are int64 positions in ``sentences``, each at most once; ``vectors`` is
        (len(rows), dim) float32, to the bit what was given to :meth:`keep`.
        """
        ...

    def keep(self, info: EncoderInfo, sentences: Sequence[str], vectors: np.ndarray) -> None:
        """Keep (len(sentences), dim) float32 vectors."""
        ...

    def rate(self, info: EncoderInfo) -> float | None:
        """Return the sentences a second that :meth:`keep_rate` was told of this device last."""
        ...

    def keep_rate(self, info: EncoderInfo, per_second: float) -> None:
        """Keep how many sentences a second this model embedded on this device."""
        ...


class NoCache:
    """An :class:`EmbeddingCache` that keeps nothing."""

    notices: tuple[str, ...] = ()

    def find(
        self, info: EncoderInfo, sentences: Sequence[str], cancel: CancelToken
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Find nothing."""
        return iter(())

    def keep(self, info: EncoderInfo, sentences: Sequence[str], vectors: np.ndarray) -> None:
        """Forget them."""

    def rate(self, info: EncoderInfo) -> float | None:
        """Know none."""
        return None

    def keep_rate(self, info: EncoderInfo, per_second: float) -> None:
        """Forget it."""


def embed(
    sentences: Sequence[str], encoder: Encoder, cache: EmbeddingCache, cancel: CancelToken
) -> Generator[Progress, None, np.ndarray]:
    """Yield how far it is, and return the sentences' vectors.

    Each batch is kept as soon as it is there, so that a run that is cancelled or dies goes on
    where it stopped. Equal sentences are embedded once.

    Parameters
    ----------
    sentences
        Any texts.
    encoder
        Embeds what the cache does not have.
    cache
        Asked first, and given every new vector.
    cancel
        Checked between batches.

    Returns
    -------
    numpy.ndarray
        (len(sentences), dim) float32, rows of unit length.

    Raises
    ------
    Cancelled
        When the token says so.
    """
    different, index = _different(sentences)
    info = encoder.load(cancel)
    vectors = np.empty((len(different), info.dim), np.float32)
    missing = np.ones(len(different), bool)
    for rows, found in cache.find(info, different, cancel):
        vectors[rows], missing[rows] = found, False
    # Counted in sentences as they were given, which is what the run's other figures count.
    uses = np.bincount(index, minlength=len(different))
    cached = done = int(uses[~missing].sum())
    yield Progress("Embedding", done, len(index), "sentences", info.device_name, cached)
    while missing.any():
        info = encoder.load(cancel)
        left, heard = np.flatnonzero(missing), list(encoder.notices)
        for rows, batch in encoder.encode([different[row] for row in left], cancel):
            cancel.check()
            if list(encoder.notices) != heard:
                # A device that fails says so. What comes from the next one can have another
                # precision, so this batch is not kept under the old one but made again.
                break
            rows = left[rows]
            vectors[rows], missing[rows] = batch, False
            cache.keep(info, [different[row] for row in rows], batch)
            done += int(uses[rows].sum())
            yield Progress("Embedding", done, len(index), "sentences", info.device_name, cached)
        else:
            if missing.any():
                raise RuntimeError(
                    f"The encoder left out {missing.sum()} of {len(left)} sentences."
                )
    return vectors if len(different) == len(index) else vectors[index]


def _different(sentences: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the different sentences in order of appearance, and each sentence's place there."""
    place: dict[str, int] = {}
    index = np.fromiter(
        (place.setdefault(text, len(place)) for text in sentences), np.int64, len(sentences)
    )
    return list(place), index
