"""Nothing is embedded twice: the pipeline with a cache."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from core_tissues import HashEncoder, finish, make_tissue
from scipy.sparse import csr_matrix

from napari_cellama.core.events import CancelToken, Progress
from napari_cellama.core.pipeline import run
from napari_cellama.core.vectors import NoCache, embed
from napari_cellama.errors import Cancelled
from napari_cellama.io.embedding_cache import CacheFolder
from napari_cellama.recipe import Recipe

RECIPE = Recipe(n_clusters=3, n_neighbors=8)


@pytest.fixture
def cache(tmp_path):
    return CacheFolder(tmp_path / "cache", reserve=0)


@pytest.fixture
def tissue():
    return make_tissue()


def embedded(adata, recipe, cache):
    """Run, and return the result, what was embedded, and the embedding stage's last event."""
    encoder = HashEncoder()
    result, events = finish(adata, recipe, encoder, cache=cache)
    steps = [event for event in events if isinstance(event, Progress)]
    last = [event for event in steps if event.stage == "Embedding"][-1]
    assert last.done == last.total
    return result, encoder.embedded, last


def vectors_of(*given):
    steps = embed(*given, CancelToken())
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_the_same_run_again_embeds_nothing_and_finds_the_same(tissue, cache):
    first, made, last = embedded(tissue, RECIPE, cache)
    assert (len(made), last.cached) == (last.total, 0)
    second, made, last = embedded(tissue, RECIPE, cache)
    assert (made, last.cached) == ([], last.total)
    np.testing.assert_array_equal(first.representation, second.representation)
    np.testing.assert_array_equal(first.labels.codes, second.labels.codes)


@pytest.mark.parametrize(
    "change",
    [
        {"n_neighbors": 15},
        {"radius": 40.0},
        {"n_hops": 1},
        {"n_clusters": 5},
        {"clustering": "gmm"},
        {"seed": 3},
        {"n_components": 5},
    ],
)
def test_what_is_not_in_the_sentence_embeds_nothing(tissue, cache, change):
    embedded(tissue, RECIPE, cache)
    _, made, last = embedded(tissue, RECIPE.replace(**change), cache)
    assert made == []
    assert last.cached == last.total


def test_only_sentences_that_changed_are_embedded(tissue, cache):
    embedded(tissue, RECIPE, cache)
    counts = tissue.X.toarray()
    counts[7] = counts[8]
    counts[9, 5:] = 0
    tissue.X = csr_matrix(counts)
    _, made, last = embedded(tissue, RECIPE, cache)
    assert 1 <= len(made) <= 2
    assert last.cached == last.total - len(made)


def test_a_cancelled_run_goes_on_where_it_stopped(tissue, cache):
    cancel, encoder = CancelToken(), HashEncoder(batch=50)
    events = run(tissue, RECIPE, encoder=encoder, cache=cache, cancel=cancel)
    done = 0
    while done < 150:
        event = next(events)
        done = event.done if getattr(event, "stage", "") == "Embedding" else 0
    cancel.cancel()
    with pytest.raises(Cancelled):
        next(events)
    _, made, last = embedded(tissue, RECIPE, cache)
    assert last.cached >= done >= 150
    assert len(made) == last.total - last.cached > 0


def test_progress_begins_with_what_the_cache_has(tissue, cache):
    embedded(tissue, RECIPE, cache)
    encoder = HashEncoder()
    _, events = finish(tissue, RECIPE.replace(n_top_genes=4), encoder, cache=cache)
    steps = [event for event in events if getattr(event, "stage", "") == "Embedding"][1:]
    assert steps[0].done == steps[0].cached > 0
    assert len({step.cached for step in steps}) == 1
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert steps[-1].done - steps[-1].cached == len(encoder.embedded)


def test_what_the_cache_has_to_say_is_a_notice(tissue, tmp_path):
    (tmp_path / "file").touch()
    cache = CacheFolder(tmp_path / "file", reserve=0)
    result, made, _ = embedded(tissue, RECIPE, cache)
    assert made
    assert sum("The embedding cache in" in text for text in result.notices) == 1


def test_equal_sentences_are_embedded_once():
    encoder = HashEncoder()
    vectors = vectors_of(["b c", "a", "b c", "a a", "a"], encoder, NoCache())
    assert sorted(encoder.embedded) == ["a", "a a", "b c"]
    np.testing.assert_array_equal(vectors[[0, 1]], vectors[[2, 4]])
    assert not np.allclose(vectors[0], vectors[1])


def test_nothing_to_embed(cache):
    assert vectors_of([], HashEncoder(), cache).shape == (0, HashEncoder.dim)


def test_an_encoder_that_leaves_sentences_out_is_a_fault():
    class Forgetful(HashEncoder):
        def encode(self, sentences, cancel):
            yield from super().encode(sentences[1:], cancel)

    with pytest.raises(RuntimeError, match=r"left out 1 of 3 sentences"):
        vectors_of(["a", "b", "c"], Forgetful(), NoCache())


def test_a_device_that_fails_midway_mixes_no_precisions(cache):
    """What came before is kept as bfloat16, the rest as float32, and each is found as such."""

    class Failing(HashEncoder):
        """Gives float32's vectors a sign of their own, and moves before its third batch."""

        def load(self, cancel):
            return replace(super().load(cancel), dtype="float32" if self.notices else "bfloat16")

        def encode(self, sentences, cancel):
            for number, (rows, vectors) in enumerate(super().encode(sentences, cancel)):
                if number == 2 and not self.notices:
                    self.notices.append("The device failed.")
                yield rows, -vectors if self.notices else vectors

    sentences = [f"word{i}" for i in range(40)]
    true = vectors_of(sentences, HashEncoder(), NoCache())
    encoder = Failing(batch=10)
    mixed = vectors_of(sentences, encoder, cache)
    sign = np.sign((mixed * true).sum(axis=1))
    assert (sign > 0).sum() == 20
    for dtype, expected in (("bfloat16", 1), ("float32", -1)):
        info = replace(HashEncoder().load(CancelToken()), dtype=dtype)
        found = list(cache.find(info, sentences, CancelToken()))
        rows = np.concatenate([rows for rows, _ in found])
        assert sorted(rows) == np.flatnonzero(sign == expected).tolist()
        np.testing.assert_array_equal(np.concatenate([batch for _, batch in found]), mixed[rows])
