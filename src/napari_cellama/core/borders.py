"""Which clusters border on which: contacts in the spatial graph against chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp

from napari_cellama.core.describe import contacts


@dataclass(frozen=True)
class Contacts:
    """How often cells of each cluster have cells of each other one as neighbours.

    What squidpy's ``gr.nhood_enrichment`` counts. Where squidpy shuffles the labels a thousand
    times for the mean and spread that chance gives, both are computed here, exactly: the counts'
    moments under all permutations of the labels depend only on the clusters' sizes and a few
    sums over the graph (as for join counts, Cliff and Ord 1981).

    Attributes
    ----------
    counts
        (k, k): pairs (cell of the row's cluster, its neighbour in the column's cluster).
    sizes
        (k,) the clusters' cells.
    pairs, mutual, forks, joins, chains
        Of ordered pairs of the graph's pairs: all of them once; those whose reverse is there;
        those that share the cell; the neighbour; or one's cell is the other's neighbour.
    """

    counts: np.ndarray
    sizes: np.ndarray
    pairs: float
    mutual: float
    forks: float
    joins: float
    chains: float

    @classmethod
    def of(cls, labels: pd.Categorical, connectivities: sp.spmatrix) -> Contacts:
        """Count the contacts of clusters.

        Parameters
        ----------
        labels
            (n,) clusters; cells without one take no part.
        connectivities
            (n, n) spatial graph: a stored (i, j) makes j a neighbour of i.
        """
        known = np.flatnonzero(labels.codes >= 0)
        graph = sp.csr_matrix(connectivities)[known][:, known].astype(bool).astype(np.float64)
        graph.setdiag(0)
        graph.eliminate_zeros()
        member = labels[known]
        outward, inward = graph.sum(axis=1).A1, graph.sum(axis=0).A1
        pairs, mutual = float(graph.nnz), float(graph.multiply(graph.T).sum())
        return cls(
            contacts(member, member, graph),
            np.bincount(member.codes, minlength=len(member.categories)).astype(np.float64),
            pairs,
            mutual,
            float((outward**2).sum()) - pairs,
            float((inward**2).sum()) - pairs,
            2 * (float((outward * inward).sum()) - mutual),
        )

    def merged(self, clusters: list[int]) -> Contacts:
        """Return the same contacts with several clusters taken as one, which comes first."""
        others = [i for i in range(len(self.sizes)) if i not in clusters]
        groups = np.zeros((len(others) + 1, len(self.sizes)))
        groups[0, clusters] = 1
        groups[np.arange(1, len(others) + 1), others] = 1
        sums = self.pairs, self.mutual, self.forks, self.joins, self.chains
        return Contacts(groups @ self.counts @ groups.T, groups @ self.sizes, *sums)

    def expected(self) -> np.ndarray:
        """Return (k, k): the counts' mean over all permutations of the labels."""
        n = self.sizes.sum()
        other = self.sizes[None] - np.eye(len(self.sizes))
        return self.pairs * self.sizes[:, None] * other / max(1.0, n * (n - 1))

    def z_scores(self) -> np.ndarray:
        """Return (k, k): by how many standard deviations the counts exceed chance; 0 where none."""
        size, n = self.sizes, self.sizes.sum()
        same = np.eye(len(size), dtype=bool)
        a, b = size[:, None], size[None]
        two = np.where(same, a * (a - 1), a * b)
        # Three or four different cells of which the first and others are of a or of b.
        more_of_b = np.where(same, a * (a - 1) * (a - 2), a * b * (b - 1))
        more_of_a = np.where(same, a * (a - 1) * (a - 2), a * (a - 1) * b)
        four = np.where(same, two * (a - 2) * (a - 3), a * (a - 1) * b * (b - 1))
        apart = self.pairs**2 - self.pairs - self.mutual - self.forks - self.joins - self.chains
        n2, n3 = max(1.0, n * (n - 1)), max(1.0, n * (n - 1) * (n - 2))
        n4 = max(1.0, n3 * (n - 3))
        square = (self.pairs + np.where(same, self.mutual, 0)) * two / n2
        square = square + (self.forks * more_of_b + self.joins * more_of_a) / n3
        square = square + np.where(same, self.chains * more_of_a, 0) / n3 + apart * four / n4
        expected = self.expected()
        variance = np.maximum(square - expected**2, 0)
        spread = np.sqrt(np.where(variance > 1e-9 * (1 + expected**2), variance, np.inf))
        return (self.counts - expected) / spread


def borders(contacts: Contacts, names: list[str], chosen: list[int]) -> pd.DataFrame:
    """Say which clusters the cells of some have as neighbours, more or less often than by chance.

    Parameters
    ----------
    contacts
        Of all clusters.
    names
        (k,) what they are called.
    chosen
        The clusters, taken as one.

    Returns
    -------
    pandas.DataFrame
        A row for each other cluster with cells, the one most above chance first: ``cluster``,
        ``contacts``, ``share`` (of the contacts with other clusters, 0 to 1), ``log2_ratio`` (of
        the contacts to those there would be if the contacts with other clusters were spread over
        them by their sizes, one added to both), ``z_score`` (squidpy's, against all contacts, so
        that clusters which keep together have negative ones).
    """
    merged = contacts.merged(chosen)
    counts = merged.counts[0, 1:]
    expected = counts.sum() * merged.sizes[1:] / max(1.0, merged.sizes[1:].sum())
    others = [name for i, name in enumerate(names) if i not in chosen]
    table = pd.DataFrame(
        {
            "cluster": others,
            "contacts": counts.astype(np.int64),
            "share": counts / max(1.0, counts.sum()),
            "log2_ratio": np.log2((counts + 1) / (expected + 1)),
            "z_score": merged.z_scores()[0, 1:],
        }
    )
    table = table[merged.sizes[1:] > 0]
    return table.sort_values("log2_ratio", ascending=False, kind="stable", ignore_index=True)
