"""What niches are made of: which cell types are found next to their cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp

#: Rows of the graph that are counted at a time.
_CHUNK = 65_536


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
    return enrichment(contacts(labels, cell_types, connectivities), labels, cell_types)


def enrichment(
    counts: np.ndarray, labels: pd.Categorical, cell_types: pd.Categorical
) -> pd.DataFrame:
    """Return what :func:`neighbor_enrichment` does, of the :func:`contacts` of both."""
    total = counts.sum()
    share = counts.sum(axis=0) / total if total else np.zeros(counts.shape[1])
    seen = share > 0
    log2 = np.zeros(counts.shape)
    pseudo = (counts + share) / (counts.sum(axis=1, keepdims=True) + 1)
    log2[:, seen] = np.log2(pseudo[:, seen] / share[seen])
    return pd.DataFrame(
        log2,
        index=pd.Index(labels.categories.astype(str), name="niche"),
        columns=pd.Index(cell_types.categories.astype(str), name="cell type"),
    )


def contacts(
    groups: pd.Categorical,
    neighbor_groups: pd.Categorical,
    connectivities: sp.spmatrix,
    weighted: bool = False,
) -> np.ndarray:
    """Count the neighbours, by their group, of each group's cells.

    Parameters
    ----------
    groups, neighbor_groups
        (n,) what cells and what their neighbours are counted by; missing ones do not count.
    connectivities
        (n, n) spatial graph: an (i, j) that is not 0 makes j a neighbour of i.
    weighted
        Whether a neighbour counts by its weight in the graph, or as one.

    Returns
    -------
    numpy.ndarray
        (groups, neighbour groups) float64.
    """
    graph = connectivities.tocsr()
    one, other = np.int64(groups.codes), np.int64(neighbor_groups.codes)
    # The first row and column are those of the cells without a group.
    width = len(neighbor_groups.categories) + 1
    counts = np.zeros((len(groups.categories) + 1) * width)
    for start in range(0, len(one), _CHUNK):
        ends = graph.indptr[start : start + _CHUNK + 1]
        entries = slice(ends[0], ends[-1])
        row = np.repeat(one[start : start + _CHUNK], np.diff(ends)) + 1
        place = row * width + other[graph.indices[entries]] + 1
        values = graph.data[entries]
        values = values if weighted else values != 0
        counts += np.bincount(place, values, len(counts))
    return counts.reshape(-1, width)[1:, 1:]
