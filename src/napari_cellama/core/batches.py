"""Which sentences a language model embeds together, and their tokens, found ahead of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import nn

#: Tokens a batch. On a CPU a batch must not last long, so that Cancel is heard in time.
CPU_BATCH, GPU_BATCH = 4096, 65536
#: A model of this many parameters does a full batch; larger ones take smaller batches on a CPU.
CPU_BATCH_PARAMETERS = 25e6
#: Less than this is slow on any core.
LEAST_BATCH = 1024
#: Sentences that are read at a time, and how many times that ahead of the model.
_CHUNK, _CHUNKS_AHEAD = 4096, 2


def batch_tokens(model: nn.Module, device: str) -> int:
    """Return tokens a batch; from the model's size, not the clock, so that runs repeat."""
    if device != "cpu":
        return GPU_BATCH
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return max(1, min(CPU_BATCH, int(CPU_BATCH * CPU_BATCH_PARAMETERS / max(parameters, 1))))


def batch_end(lengths: np.ndarray, start: int, budget: int) -> int:
    """Return where a batch ends that begins at ``start``.

    Parameters
    ----------
    lengths
        (n,) int64, the sentences' tokens, descending.
    start
        The batch's first sentence.
    budget
        Tokens that a batch may have, padding included; one sentence always goes.

    Returns
    -------
    int
        After all sentences of the first one's length that fit, which need no padding; or after
        a quarter of the budget, where there are fewer, as small batches are slow.
    """
    longest = int(lengths[start])
    same = int(np.searchsorted(-lengths, -longest, side="right"))
    most, enough = (start + max(1, part // longest) for part in (budget, budget // 4))
    return min(most, max(same, enough), len(lengths))


@dataclass(frozen=True)
class Batch:
    """Sentences that are embedded together, the longest first.

    Attributes
    ----------
    rows
        (n,) int64, where they stand among all.
    sentences
        Their n texts.
    lengths
        (n,) int64, their tokens.
    ids
        Their token ids; ``None`` where the model reads texts.
    features
        What the model is given, made of the ids.
    """

    rows: np.ndarray
    sentences: list[str]
    lengths: np.ndarray
    ids: list[list[int]] | None = None
    features: dict[str, Any] | None = None

    @property
    def tokens(self) -> int:
        """How many there are, padding included."""
        return len(self.rows) * int(self.lengths[0])

    def take(self, places: np.ndarray) -> Batch:
        """Return some of the sentences, without features."""
        return Batch(
            self.rows[places],
            [self.sentences[place] for place in places],
            self.lengths[places],
            None if self.ids is None else [self.ids[place] for place in places],
        )


class Batches:
    """Cuts sentences into batches on a thread of its own, ahead of the model that takes them.

    Parameters
    ----------
    sentences
        All of them.
    read
        Returns texts' (n,) int64 lengths of at least 1, and their ids if the model takes those.
    build
        Makes a batch's features of its ids.
    budget
        Returns how many tokens a batch may have now; it may become smaller.
    """

    def __init__(
        self,
        sentences: Sequence[str],
        read: Callable[[list[str]], tuple[np.ndarray, list[list[int]] | None]],
        build: Callable[[list[list[int]]], dict[str, Any]],
        budget: Callable[[], int],
    ) -> None:
        self._sentences, self._read, self._build, self._budget = sentences, read, build, budget
        order = np.argsort([-len(text) for text in sentences], kind="stable")
        self._chunks = iter(order[i : i + _CHUNK] for i in range(0, len(order), _CHUNK))
        self._thread = ThreadPoolExecutor(1, "tokens")
        self._coming: deque[Future[list[Batch]]] = deque()
        self._ready: deque[Batch] = deque()
        self._look_ahead()

    def next(self) -> Batch | None:
        """Return another batch, or ``None`` when there are no more."""
        while not self._ready and self._coming:
            self._ready.extend(self._coming.popleft().result())
            self._look_ahead()
        if not self._ready:
            return None
        batch = self._ready.popleft()
        if len(batch.rows) > 1 and batch.tokens > self._budget():  # cut when it was larger
            self.give_back([batch])
            batch = self._ready.popleft()
        return batch

    def give_back(self, batches: Sequence[Batch]) -> None:
        """Take batches again, to be cut anew as the budget is now and returned first."""
        parts = [part for batch in batches for part in self._cut(batch)]
        self._ready.extendleft(reversed(parts))

    def close(self) -> None:
        """Stop reading ahead."""
        self._thread.shutdown(cancel_futures=True)

    def _look_ahead(self) -> None:
        while len(self._coming) < _CHUNKS_AHEAD and (rows := next(self._chunks, None)) is not None:
            self._coming.append(self._thread.submit(self._batches_of, rows))

    def _batches_of(self, rows: np.ndarray) -> list[Batch]:
        texts = [self._sentences[row] for row in rows]
        lengths, ids = self._read(texts)
        return list(self._cut(Batch(rows, texts, lengths, ids)))

    def _cut(self, batch: Batch) -> Iterator[Batch]:
        """Yield parts of a batch that are within the budget."""
        order = np.argsort(-batch.lengths, kind="stable")
        lengths, start = batch.lengths[order], 0
        while start < len(order):
            end = batch_end(lengths, start, self._budget())
            part = batch.take(order[start:end])
            features = None if part.ids is None else self._build(part.ids)
            yield Batch(part.rows, part.sentences, part.lengths, part.ids, features)
            start = end
