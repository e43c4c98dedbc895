"""The map's own process: the same map, ended at once, and never left behind."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from core_tissues import finished

from napari_cellama.core.events import CancelToken
from napari_cellama.core.umap import laying_out
from napari_cellama.core.umap_process import laying_out_apart
from napari_cellama.errors import Cancelled, UserError

#: Starting the process takes seconds on a busy machine.
PATIENCE_S = 120


@pytest.fixture
def features():
    features = np.random.default_rng(0).normal(size=(90, 4)).astype(np.float32)
    features[3] = np.nan
    return features


def test_the_map_is_the_same_as_in_this_process(features, children):
    told, places = finished(laying_out_apart(features, seed=2, n_learnt=60))
    expected_told, expected = finished(laying_out(features, seed=2, n_learnt=60))
    np.testing.assert_array_equal(places, expected)
    for step, same in zip(told, expected_told, strict=True):
        assert (step.done, step.total) == (same.done, same.total)
        np.testing.assert_array_equal(step.cells, same.cells)
        np.testing.assert_array_equal(step.places, same.places)
    assert children[0].poll() is not None


def test_a_cancelled_map_ends_its_process(features, children):
    token = CancelToken()
    steps = laying_out_apart(np.repeat(features, 300, axis=0), cancel=token)
    assert next(steps).done == 0  # it learns now, which takes long
    assert children[0].poll() is None
    threading.Timer(0.2, token.cancel).start()
    with pytest.raises(Cancelled):
        next(steps)
    assert children[0].poll() is not None


def test_a_dropped_map_ends_its_process(features, children):
    steps = laying_out_apart(np.repeat(features, 300, axis=0))
    next(steps)
    steps.close()
    assert children[0].poll() is not None


def test_what_is_refused_there_is_refused_here(children):
    with pytest.raises(UserError, match="at least 4 cells"):
        next(laying_out_apart(np.zeros((3, 2), np.float32)))
    assert children[0].poll() is not None


def test_a_process_that_dies_is_told_of(features, children):
    steps = laying_out_apart(np.repeat(features, 300, axis=0))
    next(steps)
    children[0].kill()
    with pytest.raises(RuntimeError, match="ended unexpectedly"):
        next(steps)


def test_the_process_ends_with_its_parent():
    """Kill a parent while its child learns: the child goes by itself."""
    code = """
import numpy as np, os
from napari_cellama.core import umap_process
class Child(umap_process._Child):
    def __init__(self, order):
        super().__init__(order)
        print(self.process.pid, flush=True)
umap_process._Child = Child
steps = umap_process.laying_out_apart(np.random.default_rng(0).normal(size=(20_000, 8)))
next(steps)
os._exit(9)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=PATIENCE_S)
    assert out.returncode == 9
    pid = int(out.stdout)
    until = time.monotonic() + PATIENCE_S
    while _runs(pid):
        assert time.monotonic() < until, "the map's process outlived its parent"
        time.sleep(0.05)


def _runs(pid):
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
