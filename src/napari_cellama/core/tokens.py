"""Sentences to token ids, word by word where the tokenizer allows it.

All sentences of a tissue are made of a few thousand words, so that their ids can be looked up
instead of being found anew in every text, which is what holds a GPU up. That is right where what
becomes of a word does not depend on its neighbours: BERT's tokenizers change text letter by
letter, always part it at spaces and punctuation, and look at each part alone
(:func:`is_word_by_word` says which do). Others read the whole text, on all cores.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: Words that are remembered at most; a column of numbers can have one a cell.
_MOST_WORDS = 500_000


def token_source(tokenizer: Tokenizer, limit: int) -> WordTokens | TextTokens:
    """Return the quickest way to a tokenizer's ids.

    Parameters
    ----------
    tokenizer
        Left as it is.
    limit
        Tokens a sentence, special ones included; the end of longer ones is cut.
    """
    spec = json.loads(tokenizer.to_str())
    return (WordTokens if is_word_by_word(spec) else TextTokens)(spec, limit)


def is_word_by_word(spec: dict[str, Any]) -> bool:
    """Whether a tokenizer makes the same of a text as of its words between spaces and commas.

    Parameters
    ----------
    spec
        The content of a ``tokenizer.json``.
    """
    normalizer = spec.get("normalizer") or {"type": "Sequence", "normalizers": []}
    steps = normalizer["normalizers"] if normalizer["type"] == "Sequence" else [normalizer]
    # Each of these changes letters one by one, whatever stands beside them.
    letterwise = {step["type"] for step in steps} <= {"BertNormalizer", "Lowercase"}
    added = [(token["content"], token["normalized"]) for token in spec.get("added_tokens", [])]
    return (
        spec["model"].get("type") == "WordPiece"
        and letterwise
        and (spec.get("pre_tokenizer") or {}).get("type") == "BertPreTokenizer"
        # Found in the text before it is parted, but only within a word.
        and not any(normalized or set(content) & {" ", ","} for content, normalized in added)
        and _frame(spec) is not None
    )


class WordTokens:
    """Puts sentences' ids together from those of their words.

    Parameters
    ----------
    spec
        Of a tokenizer that is :func:`word by word <is_word_by_word>`.
    limit
        Tokens a sentence, special ones included.
    """

    def __init__(self, spec: dict[str, Any], limit: int) -> None:
        self._words = _Words(_tokenizer(spec))
        self._before, self._after = _frame(spec)
        self._room = max(0, limit - len(self._before) - len(self._after))

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return each text's token ids, special ones included, cut at the limit."""
        if len(self._words) > _MOST_WORDS:
            self._words.clear()
        find, before, after, room = self._words.__getitem__, self._before, self._after, self._room
        return [
            [
                *before,
                *list(chain.from_iterable(map(find, text.replace(",", " , ").split(" "))))[:room],
                *after,
            ]
            for text in texts
        ]


class TextTokens:
    """Has the tokenizer read every text, on all cores.

    Parameters
    ----------
    spec
        The content of any ``tokenizer.json``.
    limit
        Tokens a sentence, special ones included.
    """

    def __init__(self, spec: dict[str, Any], limit: int) -> None:
        self._tokenizer = _tokenizer(spec)
        if limit < 2**31 - 1:
            self._tokenizer.enable_truncation(limit)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return each text's token ids, special ones included, cut at the limit."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]


def padded(ids: Sequence[list[int]], filler: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, longest) int64 ids filled up at their end, and where there are any, as int64."""
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
    filled = np.full(mask.shape, filler, np.int64)
    filled[mask] = np.fromiter(chain.from_iterable(ids), np.int64, int(lengths.sum()))
    return filled, mask.astype(np.int64)


class _Words(dict):
    """Each word's ids; a new one is given to the tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def __missing__(self, word: str) -> list[int]:
        found = self._tokenizer.encode(word, add_special_tokens=False).ids
        self[word] = found
        return found


def _tokenizer(spec: dict[str, Any]) -> Tokenizer:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(json.dumps(spec))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _frame(spec: dict[str, Any]) -> tuple[list[int], list[int]] | None:
    """Return the special ids before and after a sentence's own; ``None`` where it is not so."""
    processor = spec.get("post_processor") or {"type": None}
    if processor["type"] == "BertProcessing":
        return [processor["cls"][1]], [processor["sep"][1]]
    if processor["type"] != "TemplateProcessing":
        return None
    frame: tuple[list[int], list[int]] = ([], [])
    n_texts = 0
    for part in processor["single"]:
        if "Sequence" in part:
            n_texts += 1
        else:
            frame[n_texts > 0].extend(
                processor["special_tokens"][part["SpecialToken"]["id"]]["ids"]
            )
    return frame if n_texts == 1 else None
