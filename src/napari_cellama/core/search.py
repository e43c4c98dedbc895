"""Finding cells and niches by plain words, in the space of their sentences."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_cellama.core.events import CancelToken, Progress
from napari_cellama.core.search_space import Asked, SearchSpace
from napari_cellama.core.vectors import EmbeddingCache, NoCache, embed
from napari_cellama.errors import UserError

if TYPE_CHECKING:
    from napari_cellama.core.encoder import Encoder

#: Among how many of the best cells places are looked for.
_MOST_CANDIDATES = 20_000


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes
    ----------
    scores
        (n,) float32, higher is more alike; NaN for cells without a sentence.
    asked
        What was compared; empty when the example was cells.
    """

    scores: np.ndarray
    asked: tuple[Asked, ...] = ()

    @property
    def is_cosine(self) -> bool:
        """Whether the scores are cosines; of several comparisons they are mean z scores."""
        return len(self.asked) == 1


@dataclass(frozen=True)
class Place:
    """A spot where cells match best.

    Attributes
    ----------
    cell
        In its middle.
    score
        The mean score of the cell and its neighbours.
    """

    cell: int
    score: float


def searching(
    space: SearchSpace,
    asked: Sequence[Asked],
    encoder: Encoder,
    cache: EmbeddingCache | None = None,
    cancel: CancelToken | None = None,
) -> Generator[Progress, None, Found]:
    """Yield how far it is, and return how much each cell is like what was asked.

    Parameters
    ----------
    space
        What is searched.
    asked
        From :meth:`SearchSpace.ask`.
    encoder
        The model that embedded the space.
    cache
        Where sentences' vectors are kept; by default nowhere.
    cancel
        Checked between steps.

    Raises
    ------
    UserError
        When the model's vectors are not as long as the space's.
    """
    cancel = cancel or CancelToken()
    yield Progress("Model")
    sentences = [one.sentence for one in asked]
    vectors = yield from embed(sentences, encoder, cache or NoCache(), cancel)
    if vectors.shape[1] != space.views[0].vectors.shape[1]:
        raise UserError(
            f"The cells were embedded by another model than {space.model!r}, which their run "
            "names; run again to search."
        )
    scores = []
    for one, vector in zip(asked, vectors, strict=True):
        cancel.check()
        scores.append(space.similarity(one, vector))
    if len(scores) > 1:
        scores = [_standardized(score) for score in scores]
    return Found(np.mean(scores, axis=0, dtype=np.float32), tuple(asked))


def best_places(
    space: SearchSpace, scores: np.ndarray, coords: np.ndarray, apart: float, n_places: int = 8
) -> list[Place]:
    """Return where the neighbourhoods' mean scores are highest, best first.

    Parameters
    ----------
    space
        Says who is near whom.
    scores
        (n,) from a search.
    coords
        (n, d) where the cells are shown, sections side by side; NaN where a cell is nowhere.
    apart
        Two places are farther apart than this.
    n_places
        How many at most.
    """
    missing = np.isnan(scores) | np.isnan(coords).any(axis=1)
    around = space.graph @ np.where(missing, np.float32(0), scores)
    around[missing] = -np.inf
    count = min(_MOST_CANDIDATES, int((~missing).sum()))
    best = np.argpartition(-around, count - 1)[:count] if count else np.empty(0, np.int64)
    best = best[np.lexsort((best, -around[best]))]
    places: list[Place] = []
    while len(best) and len(places) < n_places:
        places.append(Place(int(best[0]), float(around[best[0]])))
        distance = np.linalg.norm(coords[best] - coords[best[0]], axis=1)
        best = best[distance > apart]
    return places


def _standardized(scores: np.ndarray) -> np.ndarray:
    """Return scores at mean 0 and standard deviation 1 over the cells that have one."""
    spread = float(np.nanstd(scores))
    return (scores - np.float32(np.nanmean(scores))) / np.float32(max(spread, 1e-6))
