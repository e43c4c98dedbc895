"""What niches are made of: which cell types are found next to their cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp


def neighbor_enrichment(
    labels: pd.Categorical, cell_types: pd.Categorical, connectivities: sp.spmatrix
) -> pd.DataFrame:
    """Compare the cell types next to each niche's cells with those of the whole tissue.

    Parameters
    ----------
    labels
        (n,) niches; missing where a cell has none.
    cell_types
        (n,) types; missing where unknown.
    connectivities
        (n, n) spatial graph: a stored (i, j) makes j a neighbour of i.

    Returns
    -------
    pandas.DataFrame
        One row a niche, one column a type: log2 of the type's share among the neighbours of the
        niche's cells over its share among the neighbours of all cells with a niche. One
        neighbour of average make-up is added to each niche, so that rare types stay finite.
    """
    niches, types = one_hot(labels), one_hot(cell_types)
    neighbors = connectivities.tocsr().astype(bool).astype(np.float64)
    counts = np.asarray((niches.T @ neighbors @ types).todense())
    total = counts.sum()
    share = counts.sum(axis=0) / total if total else np.zeros(counts.shape[1])
    seen = share > 0
    enrichment = np.zeros(counts.shape)
    pseudo = (counts + share) / (counts.sum(axis=1, keepdims=True) + 1)
    enrichment[:, seen] = np.log2(pseudo[:, seen] / share[seen])
    return pd.DataFrame(
        enrichment,
        index=pd.Index(labels.categories.astype(str), name="niche"),
        columns=pd.Index(cell_types.categories.astype(str), name="cell type"),
    )


def top_enriched(row: pd.Series, n: int = 3) -> list[str]:
    """Return the names of a row's most enriched types, highest first; only enriched ones."""
    enriched = row[row > 0].sort_values(ascending=False, kind="stable")
    return [str(name) for name in enriched.index[:n]]


def one_hot(values: pd.Categorical) -> sp.csr_matrix:
    """Return (n, categories) float64 indicators; an empty row where a value is missing."""
    rows = np.flatnonzero(values.codes >= 0)
    return sp.csr_matrix(
        (np.ones(len(rows)), (rows, values.codes[rows])),
        shape=(len(values), len(values.categories)),
    )
