"""Jobs: computed off the main thread, heard on it, and never lost."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import pytest

from napari_cellama.core.events import Notice, Progress
from napari_cellama.errors import Cancelled, UserError
from napari_cellama.recipe import Recipe
from napari_cellama.ui.attach import session_of
from napari_cellama.ui.workers import Ended, Failed, Jobs, Stopped


class OutOfMemoryError(RuntimeError):
    """Like torch's: a RuntimeError, which superqt takes for a deleted widget."""


class Listener:
    """Notes a job's events and the threads that they were said and heard in."""

    def __init__(self, qtbot):
        self.events, self.heard_in, self._qtbot = [], set(), qtbot

    def __call__(self, job, event):
        self.events.append(event)
        self.heard_in.add(threading.current_thread())

    def wait(self):
        last = Ended | Failed | Stopped
        self._qtbot.waitUntil(lambda: isinstance(self.events[-1] if self.events else None, last))
        return self.events[-1]


@pytest.fixture
def listener(qtbot):
    return Listener(qtbot)


@pytest.fixture
def jobs(qtbot):
    jobs = Jobs()
    yield jobs
    jobs.close()


def test_jobs_run_off_the_main_thread_and_are_heard_on_it(jobs, listener):
    ran_in = set()

    def events(token):
        for i in range(5):
            ran_in.add(threading.current_thread())
            yield i

    jobs.start("slot", "a job", events, listener)
    assert isinstance(listener.wait(), Ended)
    assert listener.events[:-1] == [0, 1, 2, 3, 4]
    assert threading.main_thread() not in ran_in
    assert listener.heard_in == {threading.main_thread()}
    assert jobs.current("slot") is None


@pytest.mark.parametrize("error", [OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_running_out_of_memory_is_reported(jobs, listener, error):
    def events(token):
        yield 1
        raise error

    jobs.start("slot", "a job", events, listener)
    failed = listener.wait()
    assert isinstance(failed, Failed)
    assert "not enough memory" in failed.sentence
    assert type(error).__name__ in failed.details


def test_a_users_mistake_is_said_as_it_is_and_a_bug_with_its_traceback(jobs, listener, qtbot):
    def mistaken(token):
        raise UserError("There is no column 'x'.")
        yield

    def broken(token):
        yield {}["key"]

    jobs.start("slot", "a job", mistaken, listener)
    assert listener.wait() == Failed("There is no column 'x'.", "")
    second = Listener(qtbot)
    jobs.start("slot", "a job", broken, second)
    failed = second.wait()
    assert "KeyError" in failed.sentence
    assert "broken" in failed.details


def test_the_generator_is_closed_in_its_own_thread(jobs, listener):
    closed_in = []

    def events(token):
        try:
            while True:
                token.check()
                yield 1
        finally:
            closed_in.append(threading.current_thread())

    jobs.start("slot", "a job", events, listener)
    listener._qtbot.waitUntil(lambda: len(listener.events) > 3)
    jobs.cancel("slot")
    assert isinstance(listener.wait(), Stopped)
    assert len(closed_in) == 1
    assert closed_in[0] is not threading.main_thread()


def test_a_newer_job_of_a_slot_makes_the_older_ones_events_stale(jobs, listener, qtbot):
    go_on = threading.Event()

    def old(token):
        yield "old"
        go_on.wait(10)
        yield "stale"  # whether or not it was cancelled: its generator does not look

    def new(token):
        yield "new"

    old_job = jobs.start("slot", "old", old, listener)
    qtbot.waitUntil(lambda: listener.events == ["old"])
    newer = Listener(qtbot)
    jobs.start("slot", "new", new, newer)
    assert old_job.token.cancelled
    go_on.set()
    assert isinstance(newer.wait(), Ended)
    qtbot.wait(100)
    assert listener.events == ["old"]
    assert newer.events == ["new", Ended()]


def test_jobs_of_different_slots_go_on_side_by_side(jobs, qtbot):
    first, second = Listener(qtbot), Listener(qtbot)
    met = threading.Barrier(2, timeout=10)

    def events(token):
        met.wait()
        yield 1

    jobs.start("first", "first", events, first)
    jobs.start("second", "second", events, second)
    assert isinstance(first.wait(), Ended)
    assert isinstance(second.wait(), Ended)


def test_after_closing_nothing_is_heard(jobs, listener, qtbot):
    started, go_on = threading.Event(), threading.Event()

    def events(token):
        started.set()
        go_on.wait(10)
        yield 1

    job = jobs.start("slot", "a job", events, listener)
    assert started.wait(10)
    jobs.close()
    go_on.set()
    qtbot.wait(100)
    assert job.token.cancelled
    assert listener.events == []


def test_what_a_job_held_is_let_go_of_when_it_is_done(viewer, jobs, listener, qtbot):
    class Large:
        pass

    computed_with, heard_with = Large(), Large()
    references = [weakref.ref(computed_with), weakref.ref(heard_with)]

    def start(computed_with, heard_with):
        def events(token):
            yield type(computed_with).__name__

        def on_event(job, event, heard_with=heard_with):
            listener(job, event)

        # napari keeps its worker until the window closes.
        jobs.start("slot", "a job", events, on_event)

    start(computed_with, heard_with)
    del computed_with, heard_with
    listener.wait()
    qtbot.wait(50)
    gc.collect()
    assert [reference() for reference in references] == [None, None]


# ---- in a session


@pytest.fixture
def run_events(monkeypatch):
    """Put a stand-in for the pipeline behind Session.run; returns where to put the generator."""
    import napari_cellama.api as api

    def put(generator):
        monkeypatch.setattr(
            api, "run_events", lambda adata, recipe, cancel, earlier: generator(cancel)
        )

    return put


def test_a_run_says_its_events_through_the_session(session, run_events, listener):
    def events(cancel):
        yield Progress("Graph", 1, 2)
        yield Notice("Three cells have no type.")
        raise UserError("No.")

    run_events(events)
    said = []
    session.message.connect(lambda level, sentence, details: said.append((level, sentence)))
    session.job_event.connect(listener)
    job = session.run(Recipe())
    assert session.running is job
    assert listener.wait() == Failed("No.", "")
    assert listener.events[0] == Progress("Graph", 1, 2)
    assert said == [("warning", "Three cells have no type."), ("error", "No.")]
    assert session.running is None


def test_cancelling_a_run_keeps_the_painting(session, tissue, run_events, listener):
    def events(cancel):
        while True:
            cancel.check()
            time.sleep(0.01)
            yield Progress("Embedding")

    run_events(events)
    session.show_clusters("celltype")
    coloring = tissue.coloring
    session.job_event.connect(listener)
    session.run(Recipe())
    listener._qtbot.waitUntil(lambda: len(listener.events) > 0)
    session.cancel()
    assert isinstance(listener.wait(), Stopped)
    assert tissue.coloring is coloring
    assert session.running is None


def test_closing_the_window_stops_the_run(make_napari_viewer, tissue, run_events, qtbot):
    from napari_cellama.ui.layers import show

    stopped = threading.Event()

    def events(cancel):
        try:
            while True:
                cancel.check()
                time.sleep(0.01)
                yield Progress("Embedding")
        except Cancelled:
            stopped.set()
            raise

    run_events(events)
    viewer = make_napari_viewer(show=True)
    session = session_of(viewer)
    show(viewer, tissue)
    heard = []
    session.job_event.connect(lambda job, event: heard.append(event))
    job = session.run(Recipe())
    qtbot.waitUntil(lambda: len(heard) > 0)
    viewer.close()
    assert job.token.cancelled
    assert stopped.wait(5)
    qtbot.wait(50)
    count = len(heard)
    qtbot.wait(50)
    assert len(heard) == count, "a closed session hears nothing more"


def test_closing_the_window_itself_stops_the_run_too(make_napari_viewer, tissue, run_events, qtbot):
    from napari_cellama.ui.layers import show
    from napari_cellama.ui.panel import main_window

    def events(cancel):
        while True:
            cancel.check()
            time.sleep(0.01)
            yield Progress("Embedding")

    run_events(events)
    viewer = make_napari_viewer(show=True)
    session = session_of(viewer)
    show(viewer, tissue)
    job = session.run(Recipe())
    main_window(viewer).close()
    qtbot.waitUntil(lambda: job.token.cancelled)
    del viewer.window._qt_window  # which is gone, so the fixture must not close it again
