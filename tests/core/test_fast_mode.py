"""Fast mode: what is predicted, how true it is said to be, and pictures that do not jump."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from core_tissues import HashEncoder, make_tissue
from sklearn.metrics import adjusted_rand_score

from napari_cellama.core import refinement
from napari_cellama.core.events import CancelToken, Finished, Notice, Partial, Progress
from napari_cellama.core.fidelity import Fidelity, explained
from napari_cellama.core.landmarks import choose_landmarks
from napari_cellama.core.matching import names_of_before, without_gaps
from napari_cellama.core.pipeline import run
from napari_cellama.core.result import View, Words
from napari_cellama.core.slots import side_by_side
from napari_cellama.core.surrogate import Features, Surrogate
from napari_cellama.errors import Cancelled
from napari_cellama.io.embedding_cache import CacheFolder
from napari_cellama.recipe import Recipe

EXACT = Recipe(n_clusters=3, mode="exact")
FAST = Recipe(n_clusters=3, mode="fast", n_landmarks=120)


class Noise(HashEncoder):
    """Gives every sentence a vector that nothing foretells."""

    def _vector(self, text):
        seed = list(text.encode())
        vector = np.random.default_rng(seed).normal(size=self.dim)
        return (vector / np.linalg.norm(vector)).astype(np.float32)


@pytest.fixture
def tissue():
    return make_tissue(400)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    """Paint the first picture from so few landmarks that these tissues have several."""
    monkeypatch.setattr(refinement, "FIRST", 60)
    monkeypatch.setattr(refinement, "_TIMED", 20)


def events_of(adata, recipe, encoder, **more):
    """Return the pictures' results, the notices and the final result."""
    events = list(run(adata, recipe, encoder=encoder, **more))
    pictures = [event.result for event in events if isinstance(event, Partial)]
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert isinstance(events[-1], Finished)
    return pictures, notices, events[-1].result


def colors_of(result):
    return np.array(result.colors)[np.asarray(result.labels.codes)]


# --- the run -----------------------------------------------------------------------------------


def test_fast_embeds_landmarks_only_and_finds_the_same(tissue) -> None:
    encoder, whole = HashEncoder(), HashEncoder()
    _, _, exact = events_of(tissue, EXACT, whole)
    pictures, notices, fast = events_of(tissue, FAST, encoder)
    assert len(encoder.embedded) < 0.6 * len(whole.embedded)
    agreement = adjusted_rand_score(exact.labels.codes, fast.labels.codes)
    assert agreement > 0.9
    assert len(pictures) == 2
    assert fast.fidelity == pictures[-1].fidelity
    assert fast.fidelity.r2 > pictures[0].fidelity.r2 > 0.3
    assert fast.fidelity.sentence in notices
    record = fast.provenance
    assert json.loads(record["recipe"])["mode"] == "fast"
    assert record["fidelity"]["r2"] == fast.fidelity.r2
    assert exact.fidelity is None
    assert json.loads(exact.provenance["recipe"])["mode"] == "exact"


def test_fast_says_what_is_true(tissue) -> None:
    """What is measured on held-out landmarks is what holds for the cells never embedded."""
    _, _, fast = events_of(tissue, FAST, HashEncoder())
    genes = fast.views[0]
    exact = np.stack([HashEncoder()._vector(text) for text in genes.sentences])
    missing = ~np.isclose(exact, genes.vectors, atol=1e-5).all(axis=1)
    assert missing.sum() > 200
    r2, cosine = explained(exact[missing], genes.vectors[missing])
    assert fast.fidelity.r2 == pytest.approx(r2, abs=0.1)
    assert fast.fidelity.cosine == pytest.approx(cosine, abs=0.1)


def test_same_seed_same_result_however_it_is_batched(tissue) -> None:
    one, _, first = events_of(tissue, FAST, HashEncoder())
    two, _, again = events_of(tissue.copy(), FAST, HashEncoder(batch=7))
    assert (first.labels == again.labels).all()
    assert first.colors == again.colors
    assert first.fidelity == again.fidelity
    assert [p.fidelity for p in one] == [p.fidelity for p in two]


def test_the_cache_changes_nothing_of_a_fast_run(tissue, tmp_path) -> None:
    """Not even where it has every sentence: the same recipe gives the same labels."""
    _, _, alone = events_of(tissue, FAST, HashEncoder())
    cache = CacheFolder(tmp_path, reserve=0)
    events_of(tissue, EXACT, HashEncoder(), cache=cache)
    encoder = HashEncoder()
    _, _, cached = events_of(tissue, FAST, encoder, cache=cache)
    assert (alone.labels == cached.labels).all()
    assert alone.fidelity == cached.fidelity
    words = {text for text in encoder.embedded if " " in text}
    assert not words


def test_exact_ends_as_it_would_without_pictures(tissue, monkeypatch) -> None:
    pictures, _, painted = events_of(tissue, EXACT, HashEncoder())
    assert len(pictures) >= 2
    exact_counts = [picture.fidelity.n_exact for picture in pictures]
    assert exact_counts == sorted(exact_counts)
    monkeypatch.setattr(refinement, "FIRST", 10_000)
    none, _, plain = events_of(tissue, EXACT, HashEncoder())
    assert none == []
    assert (painted.labels == plain.labels).all()
    # Only which niche has which colour is up to what was on screen before.
    assert sorted(painted.colors) == sorted(plain.colors)
    assert (colors_of(painted) == colors_of(pictures[-1])).mean() > 0.8
    np.testing.assert_array_equal(painted.representation, plain.representation)
    for one, other in zip(painted.views, plain.views, strict=True):
        np.testing.assert_array_equal(one.vectors, other.vectors)
        assert one.scatter is None


def test_progress_ends_where_it_said(tissue) -> None:
    for recipe in (EXACT, FAST):
        events = list(run(tissue, recipe, encoder=HashEncoder()))
        steps = [e for e in events if isinstance(e, Progress) and e.stage == "Embedding"][1:]
        assert [step.done for step in steps] == sorted(step.done for step in steps)
        assert all(step.done <= step.total for step in steps)
        if recipe is EXACT:
            assert steps[-1].done == steps[-1].total


def test_auto_is_exact_where_that_is_quick_and_fast_where_not(tissue, monkeypatch) -> None:
    auto = Recipe(n_clusters=3, n_landmarks=120)
    _, notices, quick = events_of(tissue, auto, HashEncoder())
    assert json.loads(quick.provenance["recipe"])["mode"] == "exact"
    assert quick.fidelity is None
    assert notices == []
    monkeypatch.setattr(refinement, "EXACT_SECONDS", 1e-9)
    _, notices, slow = events_of(tissue, auto, HashEncoder())
    resolved = Recipe.from_json(slow.provenance["recipe"])
    assert resolved.mode == "fast"
    assert json.loads(slow.provenance["recipe_asked"])["mode"] == "auto"
    chosen = slow.provenance["mode_chosen"]
    assert chosen["sentences_per_second"] > 0
    assert chosen["sentences_missing"] > 0
    assert any("more than two minutes" in text for text in notices)
    # On any machine, the resolved recipe gives the same.
    monkeypatch.setattr(refinement, "EXACT_SECONDS", 120)
    _, _, again = events_of(tissue, resolved, HashEncoder())
    assert (again.labels == slow.labels).all()


def test_auto_embeds_nothing_the_second_time(tissue, tmp_path, monkeypatch) -> None:
    cache = CacheFolder(tmp_path, reserve=0)
    monkeypatch.setattr(refinement, "EXACT_SECONDS", 1e-9)
    auto = Recipe(n_clusters=3, n_landmarks=120)
    _, _, first = events_of(tissue, auto, HashEncoder(), cache=cache)
    encoder = HashEncoder()
    _, _, second = events_of(tissue, auto.replace(n_neighbors=12), encoder, cache=cache)
    assert encoder.embedded == []
    assert first.provenance["mode_chosen"].keys() == second.provenance["mode_chosen"].keys()
    assert second.fidelity is not None


def test_auto_counts_what_the_cache_has(tissue, tmp_path, monkeypatch) -> None:
    cache = CacheFolder(tmp_path, reserve=0)
    events_of(tissue, EXACT, HashEncoder(), cache=cache)
    monkeypatch.setattr(refinement, "EXACT_SECONDS", 1e-9)
    encoder = HashEncoder()
    _, _, result = events_of(tissue, Recipe(n_clusters=3), encoder, cache=cache)
    assert result.fidelity is None
    assert not any(text.startswith("Top") for text in encoder.embedded)


def test_what_is_cached_is_painted_at_once(tissue, tmp_path) -> None:
    cache, encoder = CacheFolder(tmp_path, reserve=0), HashEncoder()
    _, _, first = events_of(tissue, EXACT, HashEncoder(), cache=cache)
    pictures, _, again = events_of(tissue, EXACT.replace(n_neighbors=15), encoder, cache=cache)
    assert pictures == []
    assert encoder.embedded == []
    for one, other in zip(first.views, again.views, strict=True):
        np.testing.assert_array_equal(one.vectors, other.vectors)


@pytest.mark.parametrize("change", [{"n_neighbors": 12}, {"n_clusters": 4}, {"n_hops": 1}])
def test_what_was_predicted_before_is_not_predicted_again(tissue, change) -> None:
    _, _, first = events_of(tissue, FAST, HashEncoder())
    recipe, encoder = FAST.replace(**change), HashEncoder()
    pictures, _, again = events_of(tissue, recipe, encoder, earlier=(first,))
    assert encoder.embedded == []
    assert len(pictures) == 1
    assert again.views[0].vectors is first.views[0].vectors
    fresh = events_of(tissue, recipe, HashEncoder())[2]
    assert (again.labels == fresh.labels).all()
    assert again.fidelity == fresh.fidelity
    np.testing.assert_array_equal(again.confidence, fresh.confidence)
    third = events_of(tissue, FAST, encoder, earlier=(again,))[2]
    assert encoder.embedded == []
    assert (third.labels == first.labels).all()


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"n_landmarks": 100}, {"n_top_genes": 5}, {"mode": "exact"}]
)
def test_other_predictions_are_made_anew(tissue, change) -> None:
    _, _, first = events_of(tissue, FAST, HashEncoder())
    encoder = HashEncoder()
    events_of(tissue, FAST.replace(**change), encoder, earlier=(first,))
    assert encoder.embedded


def test_a_picture_on_the_way_gives_no_predictions(tissue) -> None:
    pictures, _, _ = events_of(tissue, FAST, HashEncoder())
    encoder = HashEncoder()
    events_of(tissue, FAST, encoder, earlier=pictures)
    assert encoder.embedded


def test_a_poor_prediction_says_so_and_names_exact(tissue) -> None:
    _, notices, result = events_of(tissue, FAST, Noise())
    assert result.fidelity.verdict == "poor"
    assert result.fidelity.r2 < 0.2
    assert any("poor" in text and "'exact'" in text for text in notices)


def test_fast_stops_when_more_landmarks_do_not_help(tissue) -> None:
    pictures, _, result = events_of(tissue, FAST.replace(n_landmarks=300), Noise())
    assert len(pictures) == 2  # the second showed no gain
    assert result.fidelity.n_exact < 200


@pytest.mark.parametrize("neighbors_in", ["graph", "sentence", "both"])
@pytest.mark.parametrize("cell_type_key", ["celltype", None])
def test_fast_runs_with_every_kind_of_sentence(tissue, neighbors_in, cell_type_key) -> None:
    recipe = FAST.replace(neighbors_in=neighbors_in, cell_type_key=cell_type_key)
    tissue.obsm["spatial"][5] = np.nan
    pictures, _, result = events_of(tissue, recipe, HashEncoder())
    assert pictures
    assert result.left_out[5] == "no position"
    assert result.labels.codes[5] == -1
    assert np.isfinite(result.representation[result.left_out == ""]).all()
    lengths = np.linalg.norm(side_by_side(result.views), axis=1)
    np.testing.assert_allclose(np.delete(lengths, 5), 1, atol=1e-5)


def test_cancel_during_refinement_stops_at_once(tissue) -> None:
    token, encoder = CancelToken(), HashEncoder()
    events = run(tissue, EXACT, encoder=encoder, cancel=token)
    picture = next(event for event in events if isinstance(event, Partial))
    token.cancel()
    embedded = len(encoder.embedded)
    with pytest.raises(Cancelled):
        list(events)
    assert len(encoder.embedded) <= embedded + encoder.batch
    # What was painted is marked as what it is, and can be kept.
    result = picture.result
    result.apply(tissue)
    stored = tissue.uns["cellama"]["runs"]["niche"]
    assert stored["preliminary"]
    assert stored["fidelity"]["verdict"] in ("good", "fair", "poor")
    assert "picture on the way" in stored["notices"][0]


def test_pictures_keep_names_and_colours(tissue) -> None:
    pictures, _, result = events_of(tissue, FAST, HashEncoder())
    for before, after in pairwise(pictures):
        same = np.asarray(before.labels.codes) == np.asarray(after.labels.codes)
        assert same.mean() > 0.8
        assert before.colors == after.colors
    assert (colors_of(result) == colors_of(pictures[-1])).mean() > 0.8
    sizes = result.labels.value_counts()
    assert sizes.is_monotonic_decreasing
    truth = pd.crosstab(tissue.obs["region"], result.labels)
    assert (truth.max(axis=1) / truth.sum(axis=1) > 0.8).all()


# --- its parts ---------------------------------------------------------------------------------


def test_names_follow_the_cells() -> None:
    before = np.array([0, 0, 0, 1, 1, 2, 2, -1])
    now = np.array([2, 2, 2, 0, 0, 1, 1, 0])
    assert names_of_before(now, before).tolist() == [1, 2, 0]
    more = np.array([1, 1, 3, 0, 0, 2, 2, 0])
    assert names_of_before(more, before).tolist() == [1, 0, 2, 3]
    fewer = np.array([0, 0, 0, 0, 0, 1, 1, 0])
    assert names_of_before(fewer, before).tolist() == [0, 2]
    assert without_gaps(np.array([0, 2])).tolist() == [0, 1]


def gene_views(n: int = 500, n_genes: int = 40, seed: int = 0) -> View:
    rng = np.random.default_rng(seed)
    codes = np.argsort(rng.random((n, n_genes)) * np.linspace(1, 2, n_genes), axis=1)[:, :8]
    codes[::50, 5:] = -1
    names = [f"Gene{i}" for i in range(n_genes)]
    return View("genes", (), np.arange(n), contents=(Words(codes.astype(np.int32), names),))


def test_landmarks_are_seeded_nested_and_cover_rare_cells() -> None:
    view = gene_views()
    strata = np.zeros(500, np.int64)
    strata[[77, 123]] = [1, 2]  # one cell of each of two rare types
    strata[200:210] = -1
    few, more = (choose_landmarks([view], strata, n, 3) for n in (40, 120))
    assert few.cells.tolist() == more.cells[:40].tolist()
    assert {77, 123} <= set(few.cells.tolist())
    assert len(set(more.cells.tolist())) == 120
    assert (strata[more.cells] >= 0).all()
    assert 50 <= more.drawn.sum() <= 70
    assert choose_landmarks([view], strata, 40, 4).cells.tolist() != few.cells.tolist()
    assert (
        sorted(choose_landmarks([view], strata, 9_999, 0).cells)
        == np.flatnonzero(strata >= 0).tolist()
    )


def embeddings(view: View, meanings: np.ndarray) -> np.ndarray:
    """Return vectors made of what the words mean, the first most, and of their pairs."""
    words = view.contents[0]
    effect = np.vstack([meanings, np.zeros_like(meanings[:1])])
    weights = np.linspace(1, 0.3, words.codes.shape[1])
    vectors = np.einsum("nrd,r->nd", effect[words.codes], weights)
    vectors += 0.3 * effect[words.codes[:, 0]] * effect[words.codes[:, 1]]
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def meanings_of(n_words: int) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(n_words, 24)).astype(np.float32)


def test_the_surrogate_beats_a_plain_ridge_and_knows_how_well_it_does() -> None:
    from sklearn.linear_model import RidgeCV

    view, meanings = gene_views(900, 150), meanings_of(150)
    vectors, known, rest = embeddings(view, meanings), np.arange(150), np.arange(150, 900)
    surrogate = Surrogate(Features(view.contents, [meanings], known), known, vectors[known])
    foretold = np.zeros_like(vectors)
    surrogate.predict(rest, foretold)
    r2, _ = explained(vectors[rest], foretold[rest])
    plain = np.zeros((900, 151))
    for place, column in enumerate(view.contents[0].codes.T):
        plain[np.arange(900), column] += 1 - place / 16
    ridge = RidgeCV(np.logspace(-3, 3, 7)).fit(plain[known, :-1], vectors[known])
    assert r2 > explained(vectors[rest], ridge.predict(plain[rest, :-1]))[0] + 0.05
    held_out, _ = explained(vectors[known], surrogate.held_out)
    assert held_out == pytest.approx(r2, abs=0.05)


def test_held_out_is_a_fit_without_the_sentence() -> None:
    view = gene_views(60)
    vectors, known = embeddings(view, meanings_of(40)), np.arange(60)
    features = Features(view.contents, [np.zeros((40, 24), np.float32)], known)
    whole = Surrogate(features, known, vectors)
    others = np.delete(known, 7)
    without = Surrogate(features, others, vectors[others])
    # The mean and the noise are those of all, which moves it a little.
    foretold, fitted = np.zeros_like(vectors), np.zeros_like(vectors)
    without.predict(known[7:8], foretold)
    whole.predict(known[7:8], fitted)
    np.testing.assert_allclose(foretold[7], whole.held_out[7], atol=0.05)
    assert np.abs(whole.held_out[7] - fitted[7]).max() > 0.01


def test_verdicts() -> None:
    def of(r2, agreement, own=1.0):
        return Fidelity(r2, 0.9, agreement, own, 250, 500, 9_500)

    assert of(0.9, 0.95).verdict == "good"
    assert of(0.9, 0.6).verdict == "fair"
    assert of(0.5, 0.95).verdict == "fair"
    assert of(0.1, 0.95).verdict == "poor"
    assert of(0.9, 0.1).verdict == "poor"
    assert of(0.9, 0.6, own=0.7).verdict == "good"
    assert "9,500 predicted with R² 0.90" in of(0.9, 0.95).sentence
