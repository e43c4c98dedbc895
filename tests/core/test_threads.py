"""Work in chunks, on several threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from napari_cellama.core import threads
from napari_cellama.core.events import CancelToken
from napari_cellama.core.threads import chunked
from napari_cellama.errors import Cancelled


@pytest.mark.parametrize("n", [0, 1, 10, 11, 95])
def test_chunks_cover_all_rows_in_order(n) -> None:
    parts = list(chunked(lambda rows: np.arange(n)[rows], n, 10))
    assert all(len(part) <= 10 for part in parts)
    np.testing.assert_array_equal(np.concatenate([*parts, []]), np.arange(n))


def test_several_chunks_are_worked_on_at_a_time(monkeypatch) -> None:
    monkeypatch.setattr(threads, "n_threads", lambda: 2)
    both = threading.Barrier(2, timeout=30)
    assert sorted(chunked(lambda rows: both.wait(), 4, 2)) == [0, 1]


def test_libraries_threads_are_not_multiplied_and_come_back() -> None:
    def most() -> int:
        return max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")

    before = most()
    assert set(chunked(lambda rows: most(), 40, 10)) == {1}
    assert most() == before


def test_a_cancelled_chunk_ends_all() -> None:
    cancel, begun = CancelToken(), []

    def work(rows: slice) -> None:
        begun.append(rows.start)
        cancel.cancel()

    with pytest.raises(Cancelled):
        list(chunked(work, 1_000_000, 10, cancel))
    assert len(begun) <= threads.n_threads()


def test_what_fails_in_a_chunk_is_raised() -> None:
    def work(rows: slice) -> None:
        if rows.start == 20:
            raise ValueError("this one")

    with pytest.raises(ValueError, match="this one"):
        list(chunked(work, 100, 10))
