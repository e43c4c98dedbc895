"""How many sentences are longer than the model reads, and what of them it never sees."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from napari_cellama.core.encoder import Encoder
from napari_cellama.core.result import View
from napari_cellama.core.sentences import NEAREST_CELLS

#: How many sentences are counted in tokens, and how many of those that are cut are looked into.
_COUNTED, _LOOKED_INTO = 5_000, 200
#: Where a cell's description goes on with another of its parts.
_NEXT_PART = re.compile(r"(?<=\.) (?=Top gene|[^.]+? of this cell is )")


class Cut(NamedTuple):
    """What the model's token limit takes from the sentences.

    Attributes
    ----------
    share
        About what share of the sentences is cut at its end.
    parts
        What is lost, and in what share of those that are cut; the most frequent first.
    """

    share: float
    parts: dict[str, float]


def cut_short(views: Sequence[View], encoder: Encoder, limit: int) -> Cut:
    """Find out what the model's limit takes, from a sample of the views' sentences."""
    sentences = [text for view in views for text in view.sentences]
    counted = sentences[:: max(1, len(sentences) // _COUNTED)]
    surplus = encoder.count_tokens(counted) - limit
    rows = np.flatnonzero(surplus > 0)
    looked_into = rows[:: max(1, len(rows) // _LOOKED_INTO)]
    lost = Counter(
        part for row in looked_into for part in _lost(counted[row], int(surplus[row]), encoder)
    )
    parts = {part: count / len(looked_into) for part, count in lost.most_common()}
    return Cut(float((surplus > 0).mean()), parts)


def _lost(sentence: str, surplus: int, encoder: Encoder) -> list[str]:
    """Return which parts of a sentence lie among its last ``surplus`` tokens, the last first."""
    parts = _NEXT_PART.split(sentence)
    special = encoder.count_tokens([""])[0]
    lost: dict[str, None] = {}
    for part, tokens in zip(parts[::-1], encoder.count_tokens(parts[::-1]), strict=True):
        if surplus <= 0:
            break
        lost[_kind(part)] = None
        surplus -= int(tokens - special)
    return list(lost)


def _kind(part: str) -> str:
    if part.startswith("Top gene"):
        return "genes of lower rank"
    return "farther neighbours" if part.startswith(NEAREST_CELLS) else "what obs columns say"
