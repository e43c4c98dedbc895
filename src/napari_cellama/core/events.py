"""What a run says while it goes on: frozen events, and the token that stops it."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from napari_cellama.errors import Cancelled

if TYPE_CHECKING:
    from napari_cellama.core.result import NicheResult

T = TypeVar("T")

#: What is done, as users read it: the stages of a run, and those of quality control.
Stage = Literal[
    "Reading",
    "Graph",
    "Sentences",
    "Model",
    "Embedding",
    "Context",
    "Clustering",
    "Cells",
    "Image",
    "Niches",
    "Report",
]
#: The stages of a run, in order.
STAGES: tuple[Stage, ...] = (
    "Reading",
    "Graph",
    "Sentences",
    "Model",
    "Embedding",
    "Context",
    "Clustering",
)


@dataclass(frozen=True)
class Progress:
    """A step of a stage is done.

    Attributes
    ----------
    stage
        What is being done; of a run, one of :data:`STAGES`.
    done, total
        How many units (``unit``, plural) of this stage are done, and of how many; a total of 0
        means that it is not known.
    note
        A short remark for people, e.g. the name of the GPU.
    cached
        How many of those done were there already and took no time, so that rates leave them out.
    """

    stage: Stage
    done: int = 0
    total: int = 0
    unit: str = ""
    note: str = ""
    cached: int = 0


@dataclass(frozen=True)
class Notice:
    """Something the user should know although the run goes on: one sentence."""

    text: str


@dataclass(frozen=True)
class Partial:
    """A picture on the way: a preliminary result, which says itself how true it is."""

    result: NicheResult


@dataclass(frozen=True)
class Finished:
    """The run's last event, with its result."""

    result: NicheResult


Event = Progress | Notice | Partial | Finished


class CancelToken:
    """Says that the user wants a run to stop; may be set from any thread."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the run to stop."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether the run has been asked to stop."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise :class:`~napari_cellama.errors.Cancelled` if the run should stop."""
        if self._event.is_set():
            raise Cancelled


def last_of(steps: Generator[Any, None, T]) -> T:
    """Let steps go through, and return what they end with."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
