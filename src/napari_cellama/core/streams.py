"""Several batches at a time on a processor, each on cores of its own.

A batch on all cores has them wait for each other after each of its several hundred steps, and for
Python between them; batches that share nothing do not. Two cores embed so a tenth more, and a
fifth more where other programs want them, too.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

T = TypeVar("T")

#: Batches at a time: each takes memory, and Cancel waits for them.
MOST_STREAMS = 4


class Streams:
    """Threads that share this process's cores.

    Parameters
    ----------
    most
        How many at most; there are as many as divide PyTorch's threads evenly.

    Attributes
    ----------
    number
        How many there are.
    """

    def __init__(self, most: int = MOST_STREAMS) -> None:
        import torch

        cores = torch.get_num_threads()
        self.number = _share(cores, most)
        self._pool = ThreadPoolExecutor(self.number, "embedding")
        if self.number == 1:
            return
        # PyTorch keeps the number by thread, and gives a thread that first asks what was set last.
        together = Barrier(self.number)

        def begin() -> None:
            torch.get_num_threads()
            torch.set_num_threads(cores // self.number)
            together.wait()

        for waiting in [self._pool.submit(begin) for _ in range(self.number)]:
            waiting.result()
        torch.set_num_threads(cores)

    def start(self, work: Callable[[], T]) -> Callable[[], T]:
        """Begin work in the next thread that is free, and return what waits for its outcome."""
        return self._pool.submit(work).result


def _share(cores: int, most: int) -> int:
    """Return how many streams share cores evenly."""
    import torch

    # Other ways of PyTorch's to use cores cannot be divided once they are in use.
    if "backend: OpenMP" not in torch.__config__.parallel_info():
        return 1
    return next(number for number in range(min(most, cores), 0, -1) if cores % number == 0)
