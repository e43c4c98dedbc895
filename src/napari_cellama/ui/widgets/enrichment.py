"""Which cell types surround each of the shown clusters: a run's own table, or one made in a job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from qtpy.compat import isalive
from qtpy.QtCore import QObject, Signal

from napari_cellama.core.events import CancelToken
from napari_cellama.ui.widgets.listen import listen
from napari_cellama.ui.workers import Failed, Job

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_cellama.core.labels import LabelSet
    from napari_cellama.ui.session import Session

#: The job's slot in the session.
SLOT = "enrichment"
#: How many cell types a row names.
N_NAMED = 3

#: A cell type and how many times as frequent it is as in the whole tissue.
Named = tuple[str, float]


class Enrichment(QObject):
    """The neighbours of the session's clusters, known as long as the clusters have these cells."""

    changed = Signal()

    def __init__(self, session: Session, parent: QObject) -> None:
        super().__init__(parent)
        self._session = session
        self._codes: np.ndarray | None = None
        self._top: list[list[Named]] = []
        self._why = ""
        listen(self, session.clusters_changed, self.update)
        listen(self, session.active_changed, self.update)
        self.update()

    def top(self, cluster: int) -> list[Named]:
        """Return the cell types most enriched among a cluster's neighbours, at most three."""
        return self._top[cluster] if cluster < len(self._top) else []

    def tip(self, cluster: int) -> str:
        """Return the enriched types with their enrichment, or why there are none."""
        top = self.top(cluster)
        if not top:
            return self._why or "No cell type is more frequent near it than elsewhere."
        listed = ", ".join(f"{name} ({times:.1f}×)" for name, times in top)
        return f"More frequent near it than elsewhere: {listed}"

    def update(self, *_: Any) -> None:
        """Find the neighbours of the clusters that are shown now, if they are not at hand."""
        labels = self._session.clusters
        codes = None if labels is None else labels.codes
        if codes is self._codes:
            return
        self._session.jobs.cancel(SLOT)
        self._codes, self._top, self._why = codes, [], ""
        if labels is not None:
            self._find(labels)
        self.changed.emit()

    def _find(self, labels: LabelSet) -> None:
        tissue = self._session.active
        result = tissue.results.get(labels.key)
        if result is not None and np.array_equal(result.labels.codes, labels.codes):
            self._top = top_types(result.composition)
            self._why = "" if result.composition.size else "The run had no cell types."
            return
        self._why = "The neighbours are being counted…"
        snapshot, type_key = tissue.snapshot, tissue.type_key

        def events(token: CancelToken) -> Iterator[Any]:
            yield top_types(neighbors_of(snapshot, labels, type_key))

        def on_event(job: Job, event: Any) -> None:
            if isinstance(event, Failed):
                self._take(labels, [], event.sentence)
            elif isinstance(event, list):
                self._take(labels, event, "" if event else "The tissue has no cell types.")

        title = f"Counting the neighbours of {labels.key}"
        self._session.jobs.start(SLOT, title, events, on_event)

    def _take(self, labels: LabelSet, top: list[list[Named]], why: str) -> None:
        # The dock may be gone by the time that its neighbours are counted.
        if isalive(self) and labels.codes is self._codes:
            self._top, self._why = top, why
            self.changed.emit()


def neighbors_of(adata: AnnData, labels: LabelSet, key: str | None) -> pd.DataFrame:
    """Compare the cell types near each cluster with those of the whole tissue.

    Parameters
    ----------
    adata
        The snapshot: obs, uns and positions are read.
    labels
        The clusters.
    key
        The obs column of the cell types, if there is one.

    Returns
    -------
    pandas.DataFrame
        As :func:`~napari_cellama.core.describe.neighbor_enrichment`; empty without cell types.
    """
    from napari_cellama.core.describe import neighbor_enrichment
    from napari_cellama.core.graph import spatial_graph
    from napari_cellama.core.resolve import guess_library_key
    from napari_cellama.core.tissue import obs_feature, obs_types, positions

    if key is None:
        return pd.DataFrame()
    section = guess_library_key(adata.obs, adata.uns)
    library = None if section is None else obs_feature(adata.obs, section).codes
    connectivities, _ = spatial_graph(positions(adata), library=library)
    clusters = pd.Categorical.from_codes(labels.codes, categories=list(labels.names))
    return neighbor_enrichment(clusters, obs_types(adata.obs, key), connectivities)


def top_types(composition: pd.DataFrame) -> list[list[Named]]:
    """Return each row's most enriched cell types with how many times as frequent they are."""
    values = composition.to_numpy(float)
    order = np.argsort(-values, axis=1, kind="stable")[:, :N_NAMED] if values.size else ()
    return [
        [(str(composition.columns[i]), float(2 ** row[i])) for i in best if row[i] > 0]
        for row, best in zip(values, order, strict=False)
    ]
