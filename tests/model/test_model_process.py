"""The child process, with fake encoders where only the process matters."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from fake_encoders import FakeProcess, NeverLoadedEncoder, UnloadableEncoder, vector

from napari_cellama.core import model_process
from napari_cellama.core.embedding import ModelError
from napari_cellama.core.events import CancelToken
from napari_cellama.errors import Cancelled, UserError

posix = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


@pytest.fixture
def process():
    process = FakeProcess()
    yield process
    process.close()


def embed(process, sentences, cancel=None):
    vectors = np.full((len(sentences), 8), np.nan, np.float32)
    seen = []
    for rows, batch in process.encode(sentences, cancel or CancelToken()):
        vectors[rows] = batch
        seen.extend(rows)
    assert sorted(seen) == list(range(len(sentences)))
    return vectors


def wait_until(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)


def is_running(pid):
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_answers_land_in_the_sentences_places(process):
    sentences = [f"{'x' * (i % 7)} sentence {i}" for i in range(300)] + ["", "twice", "twice"]
    expected = np.stack([vector(sentence) for sentence in sentences])
    np.testing.assert_array_equal(embed(process, sentences), expected)


def test_nothing_to_do_is_done(process):
    assert list(process.encode([], CancelToken())) == []


def test_names_in_any_script_survive_the_pipe(process):
    sentences = ["βIII-Tubulin", "神经元", "😀 ünïcode\nnew line\x00"]
    expected = np.stack([vector(sentence) for sentence in sentences])
    np.testing.assert_array_equal(embed(process, sentences), expected)


def test_what_a_library_prints_does_not_disturb(process):
    assert np.isfinite(embed(process, ["print", "other"])).all()


def test_info_and_notices_come_from_the_child(process):
    info = process.load(CancelToken())
    assert (info.model, info.dim) == ("fake", 8)
    assert process.notices == ["The GPU is out for lunch."]


def test_the_child_stays_warm(process):
    embed(process, ["a"])
    pid = process.pid
    embed(process, ["b"])
    assert process.pid == pid is not None


def test_cancel_keeps_what_came_and_the_child_and_drops_its_late_answers(process):
    cancel = CancelToken()
    batches = process.encode([f"slow {i}" for i in range(5000)], cancel)
    next(batches)
    pid = process.pid
    cancel.cancel()
    with pytest.raises(Cancelled):
        next(batches)
    sentences = ["after", "the cancel"]
    expected = np.stack([vector(sentence) for sentence in sentences])
    np.testing.assert_array_equal(embed(process, sentences), expected)
    assert process.pid == pid


def test_cancel_does_not_wait_for_the_child_and_a_stuck_child_is_replaced(
    process, tmp_path, monkeypatch
):
    monkeypatch.setattr(model_process, "GRACE", 0.3)
    cancel = CancelToken()
    hanging = tmp_path / "hanging"
    watcher = threading.Thread(
        target=lambda: (wait_until(hanging.exists, "the child hangs"), cancel.cancel())
    )
    watcher.start()
    with pytest.raises(Cancelled):
        embed(process, [f"hang {hanging}"], cancel)
    watcher.join()
    pid = process.pid
    assert np.isfinite(embed(process, ["fresh"])).all()
    assert process.pid != pid
    assert not is_running(pid)


def test_cancel_while_the_model_loads_leaves_it_loading():
    process = FakeProcess(NeverLoadedEncoder)
    cancel = CancelToken()
    threading.Timer(0.1, cancel.cancel).start()
    with pytest.raises(Cancelled):
        process.load(cancel)
    pid = process.pid
    cancelled = CancelToken()
    cancelled.cancel()
    with pytest.raises(Cancelled):
        process.load(cancelled)
    assert process.pid == pid is not None
    process.close()


def test_a_load_given_up_after_long_waiting_is_not_waited_for_again(monkeypatch):
    monkeypatch.setattr(model_process, "PATIENCE", 0.0)
    process = FakeProcess(NeverLoadedEncoder)
    cancel = CancelToken()
    threading.Timer(0.1, cancel.cancel).start()
    with pytest.raises(Cancelled):
        process.load(cancel)
    wait_until(lambda: process.pid is None, "the child is gone")
    process.close()


@posix
def test_a_killed_child_is_one_sentence_and_then_works_again(process):
    with pytest.raises(ModelError, match=r"ended unexpectedly \(signal 9.*Run starts it again\.$"):
        embed(process, ["fine", "die"])
    assert np.isfinite(embed(process, ["again"])).all()


@posix
def test_a_child_killed_from_outside_midway(process):
    batches = process.encode([f"slow {i}" for i in range(5000)], CancelToken())
    next(batches)
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(ModelError, match="signal 9"):
        list(batches)
    assert np.isfinite(embed(process, ["again"])).all()


@posix
def test_a_child_killed_while_idle_is_replaced_silently(process):
    embed(process, ["a"])
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: process.pid is None, "the death is noticed")
    assert np.isfinite(embed(process, ["b"])).all()


def test_an_exit_says_its_code_and_keeps_what_it_wrote(process):
    with pytest.raises(ModelError, match="exit code 3") as caught:
        embed(process, ["leave"])
    assert "a library gave up" in caught.value.details


def test_out_of_memory_comes_back_with_its_details_and_the_child_lives_on(process):
    with pytest.raises(model_process.ModelMemoryError, match=r"^No room even") as caught:
        embed(process, ["memory"])
    assert caught.value.details == "where it happened"
    pid = process.pid
    assert np.isfinite(embed(process, ["again"])).all()
    assert process.pid == pid


def test_a_fault_in_the_child_carries_its_traceback(process):
    with pytest.raises(ModelError, match="a fault in a library") as caught:
        embed(process, ["fail"])
    assert "ZeroDivisionError" in caught.value.details
    assert "fake_encoders.py" in caught.value.details


def test_a_model_that_cannot_be_loaded_says_why_each_time():
    process = FakeProcess(UnloadableEncoder)
    for _ in range(2):
        with pytest.raises(UserError, match=r"^This is no model\.$") as caught:
            process.load(CancelToken())
        assert "UserError" in caught.value.details
    process.close()


def test_two_threads_share_one_child(process):
    outcomes = {}

    def work(name):
        sentences = [f"{name} {i}" for i in range(400)]
        expected = np.stack([vector(sentence) for sentence in sentences])
        outcomes[name] = np.array_equal(embed(process, sentences), expected)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == {"a": True, "b": True, "c": True}


def test_a_second_thread_can_cancel_while_the_first_keeps_the_child_busy(process):
    first = process.encode([f"slow {i}" for i in range(5000)], CancelToken())
    next(first)
    cancel = CancelToken()
    threading.Timer(0.1, cancel.cancel).start()
    with pytest.raises(Cancelled):
        embed(process, ["slow other"] * 5000, cancel)
    assert len(next(first)[0]) == 1
    first.close()


def test_tokens_are_counted_by_the_child_where_there_is_no_tokenizer_file(process):
    np.testing.assert_array_equal(process.count_tokens(["ab", "abc"]), [2, 3])


def test_dropping_the_process_ends_its_child():
    process = FakeProcess()
    process.load(CancelToken())
    pid = process.pid
    del process
    wait_until(lambda: not is_running(pid), "the child is gone")


def test_shared_processes_are_one_per_model_and_few(tmp_path):
    one = model_process.shared(tmp_path / "one", device="cpu")
    assert model_process.shared(tmp_path / "one", device="cpu") is one
    assert model_process.shared(tmp_path / "one", device="cpu", dtype="float32") is not one
    for number in range(5):
        model_process.shared(tmp_path / str(number))
    assert model_process.shared(tmp_path / "one", device="cpu") is not one
    assert len(model_process._shared) <= model_process.MAX_WARM
    model_process.shutdown_all()


PARENT = """
import sys
sys.path.append({folder!r})
import threading, time
from fake_encoders import *
from napari_cellama.core.events import CancelToken
{body}
"""


def parent(body):
    code = PARENT.format(folder=str(Path(__file__).parent), body=body)
    return [sys.executable, "-c", code]


@posix
@pytest.mark.parametrize("state", ["loading", "busy", "idle"])
def test_the_child_ends_when_its_parent_is_killed(state, tmp_path):
    hanging = tmp_path / "hanging"
    start = {
        "loading": "process = FakeProcess(NeverLoadedEncoder); process._running(CancelToken())",
        "idle": "process = FakeProcess(); process.load(CancelToken())",
        "busy": "process = FakeProcess(); process.load(CancelToken())\n"
        f"work = process.encode(['hang {hanging}'], CancelToken())\n"
        "threading.Thread(target=next, args=(work,), daemon=True).start()\n"
        f"while not Path({str(hanging)!r}).exists(): time.sleep(0.02)",
    }[state]
    command = parent(f"{start}\nprint(process.pid, flush=True)\ntime.sleep(600)")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        child = int(running.stdout.readline())
        assert is_running(child)
        running.kill()
    wait_until(lambda: not is_running(child), "the child is gone")


def test_the_child_ends_with_a_parent_that_just_exits():
    command = parent("process = FakeProcess(); process.load(CancelToken()); print(process.pid)")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    wait_until(lambda: not is_running(int(done.stdout)), "the child is gone")


def test_a_script_without_a_main_guard_runs_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        PARENT.format(
            folder=str(Path(__file__).parent),
            body="print('started'); process = FakeProcess(); process.load(CancelToken())",
        )
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "started\n"
