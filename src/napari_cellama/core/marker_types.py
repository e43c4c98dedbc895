"""Cell types for data that have none: clusters of expression, named by their marker genes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from napari_cellama.core.events import CancelToken
from napari_cellama.core.matrix import check_values, row_chunks
from napari_cellama.core.threads import one_thread

#: Cells that types are learnt from, and genes they are learnt on, at most.
_LEARNT_CELLS = 30_000
_LEARNT_GENES = 2_000
_COMPONENTS = 30
#: As many types as this find niches best (docs/methods.md).
N_TYPES = 30
#: Starts of k-means, fewer where there are many cells.
_STARTS, _STARTED_CELLS = range(5, 26), 150_000
_MARKERS = 2


def find_types(
    matrix: Any,
    genes: np.ndarray,
    usable: np.ndarray,
    n_types: int = N_TYPES,
    seed: int = 0,
    cancel: CancelToken | None = None,
) -> pd.Categorical:
    """Group cells by expression and name each group by the genes that mark it.

    k-means on the principal components of log-normalised expression; learnt on a sample of the
    cells and then applied to all.

    Parameters
    ----------
    matrix
        (n, g) expression of any kind that :func:`~.matrix.row_chunks` takes; counts are
        normalised and logged, other values taken as they are.
    genes
        (g,) names.
    usable
        (n,) bool: the cells to type.
    n_types
        How many types to look for.
    seed
        The same seed gives the same types.
    cancel
        Checked between chunks.

    Returns
    -------
    pandas.Categorical
        (n,) names like ``"Gad2 Crhbp"``; missing where a cell is not usable or expresses nothing.
    """
    sample = _sample(matrix, usable, cancel)
    codes = np.full(len(usable), -1, np.int64)
    if not sample.shape[0]:
        return pd.Categorical.from_codes(codes, [])
    typing = _Typing(sample, n_types, seed)
    for start, _, rows in _checked_chunks(matrix, cancel):
        expressing = np.flatnonzero(_totals(rows) > 0)
        cells = expressing[usable[start + expressing]]
        if len(cells):
            codes[start + cells] = typing.types_of(rows[cells])
    return pd.Categorical.from_codes(codes, typing.names(genes))


def _sample(matrix: Any, usable: np.ndarray, cancel: CancelToken | None) -> sp.csr_matrix:
    """Return the rows of evenly drawn cells that are usable and express something."""
    drawn = np.zeros(len(usable), bool)
    candidates = np.flatnonzero(usable)
    drawn[candidates[:: max(1, -(-len(candidates) // _LEARNT_CELLS))]] = True
    rows = [
        sp.csr_matrix(rows[drawn[start:stop] & (_totals(rows) > 0)])
        for start, stop, rows in _checked_chunks(matrix, cancel)
    ]
    return sp.vstack(rows, format="csr")


class _Typing:
    """Types learnt from a sample of cells."""

    def __init__(self, sample: sp.csr_matrix, n_types: int, seed: int) -> None:
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA

        self._log = _LogNormal(sample)
        self._values = self._log(sample)
        variance = self._values.var(axis=0)
        self._genes = np.argsort(-variance, kind="stable")[:_LEARNT_GENES]
        self._groups = None
        self._codes = np.zeros(len(self._values), np.int64)
        if variance.max() > 0:  # else all cells are of one type
            varying = self._values[:, self._genes]
            with one_thread():
                n_components = min(_COMPONENTS, *varying.shape)
                self._axes = PCA(n_components, svd_solver="covariance_eigh").fit(varying)
                places = self._axes.transform(varying)
                n_types = min(n_types, len(np.unique(places, axis=0)))
                starts = np.clip(_STARTED_CELLS // len(places), _STARTS[0], _STARTS[-1])
                self._groups = KMeans(n_types, n_init=int(starts), random_state=seed).fit(places)
            self._codes = self._groups.labels_

    def types_of(self, rows: np.ndarray | sp.csr_matrix) -> np.ndarray:
        """Return the cells' types as codes."""
        if self._groups is None:
            return np.zeros(rows.shape[0], np.int64)
        with one_thread():
            places = self._axes.transform(self._log(rows)[:, self._genes])
            return self._groups.predict(places)

    def names(self, genes: np.ndarray) -> list[str]:
        """Name each type by the genes that exceed the tissue's mean most; no two alike."""
        overall, spread = self._values.mean(axis=0), self._values.std(axis=0) + 1e-6
        names: list[str] = []
        for code in range(int(self._codes.max()) + 1):
            excess = (self._values[self._codes == code].mean(axis=0) - overall) / spread
            markers = [str(gene) for gene in genes[np.argsort(-excess, kind="stable")]]
            length = min(_MARKERS, len(markers))
            while " ".join(markers[:length]) in names and length < len(markers):
                length += 1
            name = " ".join(markers[:length])
            names.append(name if name not in names else f"{name} {code + 1}")
        return names


class _LogNormal:
    """Normalises counts to the sample's median depth and logs them; leaves other values."""

    def __init__(self, sample: sp.csr_matrix) -> None:
        stored = sample.data
        self.counts = bool(np.all(stored >= 0) and np.all(stored == np.round(stored)))
        self.depth = float(np.median(_totals(sample)))

    def __call__(self, rows: np.ndarray | sp.csr_matrix) -> np.ndarray:
        values = rows.toarray() if sp.issparse(rows) else np.asarray(rows)
        values = values.astype(np.float32)
        if not self.counts:
            return values
        return np.log1p(values * (self.depth / values.sum(axis=1, keepdims=True)))


def _totals(rows: np.ndarray | sp.csr_matrix) -> np.ndarray:
    """Return the sums of the rows' positive values."""
    if sp.issparse(rows):
        return np.asarray(rows.maximum(0).sum(axis=1), np.float64).ravel()
    return np.maximum(rows, 0).sum(axis=1, dtype=np.float64)


def _checked_chunks(
    matrix: Any, cancel: CancelToken | None
) -> Iterator[tuple[int, int, np.ndarray | sp.csr_matrix]]:
    """Yield the matrix's chunks, refusing values that are no numbers."""
    for start, stop, rows in row_chunks(matrix):
        if cancel is not None:
            cancel.check()
        check_values(rows, start)
        yield start, stop, rows
