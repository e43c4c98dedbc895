"""One thread where results must repeat to the last digit."""

from __future__ import annotations

from contextlib import AbstractContextManager


def one_thread() -> AbstractContextManager:
    """Keep to one thread: with several, the order of sums, so their last digit, is chance."""
    # Only libraries that are loaded already can be kept to one thread.
    import sklearn.cluster  # noqa: F401
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1)
