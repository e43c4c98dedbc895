"""Running from the Niches dock: progress, Cancel, questions, errors."""

from __future__ import annotations

import threading

import pytest

from napari_cellama.core.events import Notice
from napari_cellama.errors import UserError
from niches_hands import click


def test_run_shows_progress_and_then_a_summary(dock, session, script, qtbot):
    click(qtbot, dock.foot.run_button)
    line = dock.foot.progress
    qtbot.waitUntil(lambda: line.text.text().startswith("Embedding · 60 of 120"))
    assert line.bar.isVisible()
    assert line.bar.value() == 500
    assert dock.foot.cancel_button.isEnabled()
    script.go.set()
    qtbot.waitUntil(lambda: line.text.text().startswith("3 niches in 119 cells · 1 left out"))
    assert not line.bar.isVisible()


def test_a_run_says_where_to_go_on(dock, viewer, session, script, qtbot):
    """Also to who has opened this dock alone."""
    assert not dock.foot.next_button.isVisible()
    script.go.set()
    click(qtbot, dock.foot.run_button)
    qtbot.waitUntil(dock.foot.next_button.isVisible)
    click(qtbot, dock.foot.next_button)
    clusters = viewer.window.dock_widgets["Clusters (CELLama)"]
    qtbot.waitUntil(lambda: not clusters.visibleRegion().isEmpty())
    assert clusters.model.rowCount() == 3
    qtbot.waitUntil(lambda: not dock.foot.cancel_button.isEnabled())
    assert session.clusters.key == "niche"
    assert script.recipes == [dock.form.recipe()]


def test_nothing_of_a_run_happens_on_the_main_thread(dock, session, script, qtbot):
    script.go.set()
    click(qtbot, dock.foot.run_button)
    qtbot.waitUntil(lambda: session.clusters is not None)
    assert script.threads
    assert threading.main_thread().ident not in script.threads


def test_cancel_stops_at_once_and_keeps_what_was_painted(dock, session, script, qtbot):
    script.go.set()
    click(qtbot, dock.foot.run_button)
    qtbot.waitUntil(lambda: session.clusters is not None)
    qtbot.waitUntil(lambda: session.running is None)
    painted = session.clusters
    script.go.clear()
    script.closed.clear()
    click(qtbot, dock.foot.run_button)
    qtbot.waitUntil(lambda: len(script.recipes) == 2)
    click(qtbot, dock.foot.cancel_button)
    qtbot.waitUntil(lambda: session.running is None, timeout=1000)
    assert script.closed.is_set()
    assert dock.foot.progress.text.text().startswith("Cancelled after")
    assert session.clusters is painted
    assert dock.foot.run_button.isEnabled()


def test_a_second_run_asks_before_it_replaces_the_first(dock, session, script, qtbot):
    click(qtbot, dock.foot.run_button)
    qtbot.waitUntil(lambda: len(script.recipes) == 1)
    first = session.running
    click(qtbot, dock.foot.run_button)
    assert dock.foot.question.isVisible()
    assert not dock.foot.run_button.isVisible()
    click(qtbot, dock.foot.no_button)
    assert session.running is first
    assert dock.foot.run_button.isVisible()
    dock.form.editors["key_added"].value = "second"
    click(qtbot, dock.foot.run_button)
    click(qtbot, dock.foot.yes_button)
    assert first.token.cancelled
    assert session.running is not first
    script.go.set()
    qtbot.waitUntil(lambda: session.running is None)
    assert list(session.active.results) == ["second"], "the stale result is dropped"


def test_the_question_goes_away_when_the_run_ends_by_itself(dock, session, script, qtbot):
    click(qtbot, dock.foot.run_button)
    qtbot.waitUntil(lambda: len(script.recipes) == 1)
    click(qtbot, dock.foot.run_button)
    script.go.set()
    qtbot.waitUntil(lambda: session.running is None)
    assert not dock.foot.question.isVisible()
    assert dock.foot.run_button.isEnabled()


class OutOfMemoryError(RuntimeError):
    """Like torch's: superqt's workers take a RuntimeError for a deleted widget."""


@pytest.mark.parametrize(
    ("error", "sentence", "details"),
    [
        (UserError("The column is empty; choose another."), "The column is empty", ""),
        (OutOfMemoryError("CUDA out of memory"), "There was not enough memory", "Traceback"),
        (MemoryError(), "There was not enough memory", "Traceback"),
        (KeyError("x"), "Something went wrong", "Traceback"),
    ],
)
def test_an_error_is_one_sentence_with_details(
    dock, session, script, qtbot, error, sentence, details
):
    script.error = error
    script.go.set()
    click(qtbot, dock.foot.run_button)
    message = dock.foot.message
    qtbot.waitUntil(message.isVisible)
    qtbot.waitUntil(lambda: session.running is None)
    assert message.sentence.text().startswith(sentence)
    assert message.sentence.text().count(".") <= 2
    assert message.property("level") == "error"
    assert message.more.isVisible() == bool(details)
    assert not message.details.isVisible()
    if details:
        click(qtbot, message.more)
        assert details in message.details.toPlainText()
        assert message.details.isVisible()
    assert not dock.foot.progress.bar.isVisible()
    script.error = None
    click(qtbot, dock.foot.run_button)
    qtbot.waitUntil(lambda: session.clusters is not None)
    assert not message.isVisible(), "the next run puts the old message away"


def test_warnings_are_collected(dock, session, script, qtbot):
    script.steps = [Notice("Two cells have no type."), Notice("One cell has no position.")]
    script.go.set()
    click(qtbot, dock.foot.run_button)
    qtbot.waitUntil(lambda: session.clusters is not None)
    message = dock.foot.message
    assert message.sentence.text().startswith("2 remarks")
    assert message.property("level") == "warning"
    click(qtbot, message.more)
    assert "One cell has no position." in message.details.toPlainText()
    click(qtbot, message.close_button)
    assert not message.isVisible()
