"""Token ids that are put together from words are the tokenizer's."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from napari_cellama.core.tokens import (
    TextTokens,
    WordTokens,
    is_word_by_word,
    padded,
    token_source,
)
from napari_cellama.io.models import BUNDLED, resolve_model

LIMIT = 40


def spec_of(**changes):
    path = resolve_model(BUNDLED).path / "tokenizer.json"
    return {**json.loads(path.read_text(encoding="utf-8")), **changes}


CASED = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True}
CASED |= {"strip_accents": False, "lowercase": False}
FRAME = {"type": "BertProcessing", "sep": ["[SEP]", 102], "cls": ["[CLS]", 101]}
SPECS = {
    "bundled": spec_of(),
    "cased": spec_of(normalizer=CASED, post_processor=FRAME),
    "lower first": spec_of(
        normalizer={"type": "Sequence", "normalizers": [{"type": "Lowercase"}, CASED]}
    ),
    "as it is": spec_of(normalizer=None),
}
SOURCES = {name: (WordTokens(spec, LIMIT), TextTokens(spec, LIMIT)) for name, spec in SPECS.items()}

anything = st.text(max_size=30)
odd = st.text(
    alphabet="aZ9 ,.-_'[]/+\t\n\x00\x1c\u00a0\u200b\u0301\u0345ςΣİßéﬁ한神😀\u2028", max_size=30
)
special = st.sampled_from(["[MASK]", "[CLS]x", "a[SEP]", "MT-CO1", "HLA-DRA", "Gm4,2", "x" * 120])
names = st.one_of(anything, odd, special)
genes = st.lists(names, min_size=1, max_size=12)


@st.composite
def sentences(draw):
    """A template of ours with any names in it."""
    listed = ", ".join(draw(genes))
    types = ",".join(draw(genes))
    template = draw(
        st.one_of(
            st.sampled_from(
                [
                    "Top genes are {genes}, and MBP. celltype of this cell is {types}.",
                    "nearest_cells of this cell is {types}.",
                    "{genes}{types}",
                ]
            ),
            st.tuples(odd, odd).map(lambda parts: parts[0] + "{genes}" + parts[1] + "{types}"),
        )
    )
    return template.replace("{genes}", listed).replace("{types}", types)


@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=100, deadline=None, derandomize=True)
@given(texts=st.lists(sentences(), max_size=4))
@example(texts=["", " ", ",", "a ,b", ", \u0301a", "ΟΔΥΣΣΕΥΣ ΑΣ,Σ", "[MASK] [MASK],[MASK ]"])
@example(texts=["GENE " * 500])
def test_words_make_the_sentence_for_any_names_and_templates(name, texts):
    words, whole = SOURCES[name]
    assert is_word_by_word(SPECS[name])
    assert words.ids(texts) == whole.ids(texts)


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"type": "BPE"}},
        {"model": {"type": "Unigram"}},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"pre_tokenizer": None},
        {"normalizer": {"type": "Replace"}},
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}]}},
        {"post_processor": None},
        {"post_processor": {"type": "RobertaProcessing"}},
        {"added_tokens": [{"content": "top genes", "normalized": False}]},
        {"added_tokens": [{"content": "gene", "normalized": True}]},
    ],
)
def test_other_tokenizers_read_the_whole_text(change):
    assert not is_word_by_word({**spec_of(), **change})


def test_the_source_is_chosen_by_the_tokenizer(bundled):
    from tokenizers import Tokenizer, normalizers

    tokenizer = Tokenizer.from_file(str(bundled.path / "tokenizer.json"))
    assert isinstance(token_source(tokenizer, 256), WordTokens)
    tokenizer.normalizer = normalizers.NFC()
    other = token_source(tokenizer, 2**31 - 1)
    assert isinstance(other, TextTokens)
    assert len(other.ids(["a " * 700])[0]) == 702


def test_words_are_forgotten_before_they_are_too_many(monkeypatch):
    from napari_cellama.core import tokens

    monkeypatch.setattr(tokens, "_MOST_WORDS", 10)
    source = WordTokens(spec_of(), 256)
    for number in range(40):
        source.ids([f"value{number}"])
    assert len(source._words) <= 11


def test_padding():
    ids, mask = padded([[1, 2, 3], [], [4]], 9)
    np.testing.assert_array_equal(ids, [[1, 2, 3], [9, 9, 9], [4, 9, 9]])
    np.testing.assert_array_equal(mask, [[1, 1, 1], [0, 0, 0], [1, 0, 0]])
    assert ids.dtype == mask.dtype == np.int64
    assert padded([], 0)[0].shape == (0, 0)
