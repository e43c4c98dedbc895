"""What the foot of a dock says while it waits."""

from __future__ import annotations

from napari_cellama.core.events import Progress
from napari_cellama.ui.widgets import progress
from napari_cellama.ui.widgets.progress import Pace, ProgressLine


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_rate_and_time_left_come_once_they_are_no_guess():
    clock = Clock()
    pace = Pace(clock)
    assert pace.line(Progress("Embedding", 0, 48_310)) == "Embedding · 0 of 48,310"
    clock.now += 0.1
    assert pace.line(Progress("Embedding", 512, 48_310)) == "Embedding · 512 of 48,310"
    clock.now += 9.9
    line = pace.line(Progress("Embedding", 40_000, 48_310))
    assert line == "Embedding · 40,000 of 48,310 · 4,000/s · 2 s left"


def test_the_rate_is_that_of_the_last_seconds():
    clock = Clock()
    pace = Pace(clock)
    for second in range(60):
        done = second * 10 if second < 30 else 300 + (second - 30) * 100
        clock.now = float(second)
        line = pace.line(Progress("Embedding", done, 10_000))
    assert "· 100/s ·" in line


def test_each_stage_has_a_rate_of_its_own():
    clock = Clock()
    pace = Pace(clock)
    pace.line(Progress("Sentences", 0, 1000))
    clock.now += 5
    assert "200/s" in pace.line(Progress("Sentences", 1000, 1000))
    assert pace.line(Progress("Embedding", 0, 100)) == "Embedding · 0 of 100"


def test_a_stage_without_a_total_says_its_name_and_its_remark():
    line = Pace(Clock()).line(Progress("Model", note="NVIDIA H200"))
    assert line == "Starting the language model · NVIDIA H200"


def test_steps_that_come_fast_are_shown_now_and_then(qtbot):
    line = ProgressLine()
    qtbot.addWidget(line)
    line.begin("Starting")
    shown = []
    line.bar.valueChanged.connect(shown.append)
    for done in range(100):
        line.show_progress(Progress("Embedding", done, 100))
    assert line.text.text() == "Embedding · 0 of 100"
    qtbot.waitUntil(lambda: line.text.text().startswith("Embedding · 99 of 100"))
    assert shown == [0, 990]


def test_a_stage_is_shown_at_once_and_nothing_after_the_end(qtbot):
    line = ProgressLine()
    qtbot.addWidget(line)
    line.begin("Starting")
    line.show_progress(Progress("Sentences", 1, 100))
    line.show_progress(Progress("Sentences", 2, 100))
    line.show_progress(Progress("Embedding", 0, 100))
    assert line.text.text() == "Embedding · 0 of 100"
    line.show_progress(Progress("Embedding", 50, 100))
    line.end("Done")
    qtbot.wait(2 * progress._EVERY_MS)
    assert line.text.text() == "Done"
