"""What a run found: one immutable value, and how it is written into an AnnData."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import scipy.sparse as sp
    from anndata import AnnData

    from napari_cellama.core.fidelity import Fidelity, HeldOut


class Words(NamedTuple):
    """The words that vary in a part of u sentences, in the sentence's order.

    Attributes
    ----------
    codes
        (u, k) integers: positions in ``names``, -1 where there is no more.
    names
        What the codes stand for: genes, cell types, or a feature's values.
    """

    codes: np.ndarray
    names: Sequence[str]


@dataclass(frozen=True)
class View:
    """One sentence a cell, each different sentence kept once.

    Attributes
    ----------
    name
        The view's name in ``uns['cellama']['views']``: "genes", "niche", or "cell" where
        everything is written into one sentence.
    sentences
        The different sentences, of length u.
    index
        (n,) int64: which of them each cell has; -1 for cells that are left out.
    vectors
        (u, d) float32 unit-length embeddings; ``None`` until embedded. Those that are predicted
        (see :mod:`~.surrogate`) are as long as they are sure.
    contents
        What the sentences are made of, part by part; each part's codes have u rows.
    scatter
        (d, d) float32: the covariance, over the cells, of what predicted vectors lack of exact
        ones; ``None`` where all are exact.
    """

    name: str
    sentences: tuple[str, ...]
    index: np.ndarray
    vectors: np.ndarray | None = None
    contents: tuple[Words, ...] = ()
    scatter: np.ndarray | None = None

    def dense(self) -> np.ndarray:
        """Return (n, d) float32: each cell's embedding, NaN where it has none."""
        if self.vectors is None:
            raise ValueError(f"View {self.name!r} has not been embedded.")
        out = np.full((len(self.index), self.vectors.shape[1]), np.nan, np.float32)
        has = self.index >= 0
        out[has] = self.vectors[self.index[has]]
        return out


@dataclass(frozen=True)
class NicheResult:
    """The outcome of one run, for n cells in the data's order. Never changed after the run.

    Attributes
    ----------
    key
        The recipe's ``key_added``.
    labels
        (n,) categorical of "1", "2", … by falling size; NaN where a cell was left out.
    colors
        One ``#rrggbb`` a category.
    confidence
        (n,) float32 in [0, 1]; NaN where a cell was left out.
    representation
        (n, p) float32: what was clustered; NaN rows where a cell was left out.
    views
        The sentences and their embeddings.
    connectivities, distances
        (n, n) CSR: the graph that was averaged over, squidpy's convention.
    composition
        One row a niche, one column a cell type: log2 enrichment of the type among the niche's
        cells' neighbours against the whole tissue; empty without cell types.
    left_out
        (n,) object: "" or why a cell has no label, e.g. "no position".
    types
        (n,) the cells' types, given or found in the expression; ``None`` where not known.
    notices
        What the user was told during the run.
    provenance
        h5ad-serialisable: the resolved recipe as JSON, versions, model, device, timings.
    fingerprint
        Of the cells' names in order (core.slots.fingerprint), so that a result is not applied
        to other data; "" where that is not checked.
    fidelity
        How true the predicted embeddings are; ``None`` where all are exact.
    held_out
        What that was measured on.
    """

    key: str
    labels: pd.Categorical
    colors: tuple[str, ...]
    confidence: np.ndarray
    representation: np.ndarray
    views: tuple[View, ...]
    connectivities: sp.csr_matrix
    distances: sp.csr_matrix
    composition: pd.DataFrame
    left_out: np.ndarray
    types: pd.Categorical | None = None
    notices: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    fidelity: Fidelity | None = None
    held_out: HeldOut | None = None

    @property
    def n_obs(self) -> int:
        """The number of cells."""
        return len(self.labels)

    def apply(self, adata: AnnData) -> list[str]:
        """Write the result into ``adata``'s documented slots; see core.slots.apply_result."""
        from napari_cellama.core.slots import apply_result

        return apply_result(self, adata)
