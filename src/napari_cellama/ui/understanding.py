"""What is known of the clusters: made in a job, kept as long as their label set is the same."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from napari_cellama.core.events import CancelToken, last_of
from napari_cellama.core.labels import LabelSet
from napari_cellama.core.subclusters import stored_graph
from napari_cellama.core.understand import Portrait, Surroundings, portraying
from napari_cellama.recipe import Recipe

if TYPE_CHECKING:
    from napari_cellama.ui.tissue import Tissue


@dataclass(frozen=True)
class Told:
    """What was found out of some clusters.

    It has no reference to their label set, with which it is to go.

    Attributes
    ----------
    key, names, colors
        Their label set's.
    around
        What surrounds all its clusters.
    portrait
        What the clusters are.
    certainty
        The obs column that says how certain they are; "" where none does.
    """

    key: str
    names: tuple[str, ...]
    colors: tuple[str, ...]
    around: Surroundings
    portrait: Portrait
    certainty: str


@dataclass
class _Known:
    """What is known of a label set, and the run or data that it was made of."""

    source: Any
    told: dict[tuple[int, ...], Told] = field(default_factory=dict)


class Portraits:
    """Makes portraits of clusters and keeps them.

    A label set is never changed but replaced, so whatever is known of one holds until it is gone
    (or a new run has made another graph), also when an edit is undone.
    """

    def __init__(self) -> None:
        self._known: weakref.WeakKeyDictionary[LabelSet, _Known] = weakref.WeakKeyDictionary()
        self._graph: tuple[Any, sp.csr_matrix] | None = None

    def get(self, tissue: Tissue, labels: LabelSet, chosen: tuple[int, ...]) -> Told | None:
        """Return what is known of some clusters, if they have been asked about."""
        return self._of(tissue, labels).told.get(chosen)

    def question(
        self, tissue: Tissue, labels: LabelSet, chosen: tuple[int, ...]
    ) -> Callable[[CancelToken], Told]:
        """Return what finds out about some clusters, in a thread."""
        known, snapshot = self._of(tissue, labels), tissue.snapshot
        around = next((told.around for told in known.told.values()), None)
        certainty, values = certainty_of(tissue, labels.key)
        type_key = tissue.type_key

        def find(token: CancelToken) -> Told:
            steps = portraying(
                snapshot,
                labels,
                chosen,
                graph=self._graph_of(snapshot, known.source),
                around=around,
                certainty=values,
                cancel=token,
                type_key=type_key,
            )
            surroundings = next(steps)
            named = labels.key, labels.names, labels.colors
            told = Told(*named, surroundings, last_of(steps), certainty)
            known.told[chosen] = told
            return told

        return find

    def _of(self, tissue: Tissue, labels: LabelSet) -> _Known:
        result = tissue.results.get(labels.key) or next(reversed(tissue.results.values()), None)
        source = tissue.snapshot if result is None else result
        known = self._known.get(labels)
        if known is None or known.source is not source:
            self._known[labels] = known = _Known(source)
        return known

    def _graph_of(self, snapshot: Any, source: Any) -> sp.csr_matrix:
        if source is not snapshot:
            return source.connectivities
        if self._graph is None or self._graph[0] is not snapshot:
            self._graph = snapshot, stored_graph(snapshot, Recipe())
        return self._graph[1]


def certainty_of(tissue: Tissue, key: str) -> tuple[str, np.ndarray | None]:
    """Return the obs column that says how certain each cell's niche is, and its values.

    That of the label set's own run, else of the last run.
    """
    saved = [str(run) for run in tissue.snapshot.uns.get("cellama", {}).get("runs", {})]
    for run in (key, *reversed(tissue.results), *reversed(saved)):
        name = f"{run}_confidence"
        column = tissue.column(name)
        if column is not None and column.dtype.kind == "f":
            return name, column.to_numpy(float)
    return "", None
