"""Threads: one where results must repeat to the last digit, all where work is in pieces."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from napari_cellama.core.events import CancelToken

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

S = TypeVar("S")
T = TypeVar("T")
#: How many things a thread are begun before they are asked for.
_AHEAD = 3


def one_thread() -> AbstractContextManager:
    """Keep to one thread: with several, the order of sums, so their last digit, is chance."""
    return _libraries().limit(limits=1)


@cache
def _libraries() -> ThreadpoolController:
    """Return what controls the threads of the libraries that core computes with.

    To look for them takes milliseconds, and only those that are loaded are found.
    """
    import sklearn.cluster  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def n_threads() -> int:
    """Return how many processors this process may use, as its affinity and container say."""
    from joblib import cpu_count

    return cpu_count()


def chunked(
    work: Callable[[slice], T], n: int, size: int, cancel: CancelToken | None = None
) -> Iterator[T]:
    """Work on rows in chunks, several at a time.

    Each chunk is one thread's, the libraries' own threads included, so that what comes of it
    does not depend on how many there are. It pays where much of the work lets other threads go
    on: numpy's and scipy's loops do.

    Parameters
    ----------
    work
        Called with a chunk's rows, in any thread.
    n
        How many rows there are.
    size
        How many a chunk has.
    cancel
        Checked before each chunk.

    Yields
    ------
    T
        What comes of the chunks, in their order.
    """

    def one(start: int) -> T:
        if cancel is not None:
            cancel.check()
        return work(slice(start, min(start + size, n)))

    starts = range(0, n, size)
    if len(starts) < 2:
        yield from map(one, starts)
        return
    with one_thread(), ThreadPoolExecutor(min(n_threads(), len(starts))) as pool:
        try:
            yield from pool.map(one, starts)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def each_chunk(
    work: Callable[[slice], None], n: int, size: int, cancel: CancelToken | None = None
) -> None:
    """Do :func:`chunked` work of which nothing comes but what it writes."""
    for _ in chunked(work, n, size, cancel):
        pass


def in_turn(work: Callable[[S], T], items: Iterable[S], threads: int) -> Iterator[T]:
    """Work on one thing after the other, several at a time, never far ahead of who takes them.

    Parameters
    ----------
    work
        Called with each thing, in any thread.
    items
        Taken on the caller's thread, a few before what comes of them is asked for: they may depend
        on what was seen until then.
    threads
        How many at a time.

    Yields
    ------
    T
        What comes of the things, in their order.
    """
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > _AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
