"""The matrix that ranks the genes: which one, whether it is usable, and its rows in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from napari_cellama.errors import UserError, unknown_name

if TYPE_CHECKING:
    from anndata import AnnData

#: About how many stored values a chunk of rows holds: few enough to stay in a processor's cache
#: through several passes, and many enough to read a file in large pieces.
CHUNK_VALUES = 1_000_000


def layer_names(adata: AnnData) -> tuple[str, ...]:
    """Return what ``Recipe.layer`` may name: the layers, and 'raw' if there is one."""
    raw = ("raw",) if adata.raw is not None else ()
    return (*map(str, adata.layers), *raw)


def expression(adata: AnnData, layer: str | None = None) -> tuple[Any, np.ndarray]:
    """Return the matrix that a recipe's ``layer`` means, and its gene names.

    Parameters
    ----------
    adata
        The data; its matrices may be CSR, CSC, dense or backed by a file.
    layer
        A name in ``layers``, ``"raw"``, or ``None`` for X.

    Returns
    -------
    matrix
        (n, g), as it is stored.
    genes
        (g,) object array of str.

    Raises
    ------
    UserError
        When there is no such layer, no matrix, no gene, or the values are not numbers.
    """
    source, genes = f"layer {layer!r}", adata.var_names
    if layer is None:
        source, matrix = "X", adata.X
    elif layer in adata.layers:
        matrix = adata.layers[layer]
    elif layer == "raw" and adata.raw is not None:
        source, matrix, genes = "raw", adata.raw.X, adata.raw.var_names
    else:
        raise unknown_name("layer", layer, layer_names(adata))
    if matrix is None or matrix.shape[1] == 0:
        raise UserError(
            f"There are no genes in {source}, so that no cell can be described; "
            "choose a layer that has some, or another file."
        )
    if matrix.dtype.kind not in "biuf":
        raise UserError(
            f"The values in {source} are not numbers (their type is {matrix.dtype}); "
            "convert them or choose another layer."
        )
    return matrix, np.array([str(name) for name in genes], object)


def row_chunks(
    matrix: Any, chunk_values: int = CHUNK_VALUES
) -> Iterator[tuple[int, int, np.ndarray | sp.csr_matrix]]:
    """Yield (start, stop, rows) over a matrix of any kind, ``rows`` dense or CSR in memory.

    Parameters
    ----------
    matrix
        ndarray, any scipy sparse matrix or array, or a backed anndata or HDF5 data set.
    chunk_values
        About how many stored values to hold at a time.
    """
    matrix = _rows_first(matrix)
    n_obs, n_vars = matrix.shape
    stored = getattr(matrix, "nnz", None) if sp.issparse(matrix) else None
    per_row = max(1, n_vars if stored is None else stored // max(1, n_obs))
    step = max(1, chunk_values // per_row)
    for start in range(0, n_obs, step):
        stop = min(start + step, n_obs)
        rows = matrix[start:stop]
        if sp.issparse(rows):
            rows = _canonical(sp.csr_matrix(rows))
        else:
            rows = np.asarray(rows.compute() if hasattr(rows, "compute") else rows)
        yield start, stop, rows


def check_values(rows: np.ndarray | sp.csr_matrix, start: int = 0) -> bool:
    """Refuse NaN and infinite values; say whether any is negative.

    Parameters
    ----------
    rows
        A chunk from :func:`row_chunks`.
    start
        The first row's number, for the message.

    Raises
    ------
    UserError
        Naming the first row that has such a value.
    """
    values = rows.data if sp.issparse(rows) else rows
    if values.size == 0:
        return False
    if values.dtype.kind == "f" and not np.isfinite(_sum_of_extremes(values)):
        bad = ~np.isfinite(values)
        if sp.issparse(rows):
            where = np.searchsorted(rows.indptr, np.argmax(bad), side="right") - 1
        else:
            where = np.argmax(bad.any(axis=1))
        raise UserError(
            f"The matrix has values that are NaN or infinite (first in cell number "
            f"{start + int(where) + 1:,}), so that genes cannot be ranked; replace them, e.g. by "
            "zero, or choose another layer."
        )
    return bool(values.dtype.kind != "b" and values.min() < 0)


def row_of(matrix: Any, row: int) -> np.ndarray:
    """Return one row as a dense (g,) array, reading no more of the matrix than it must."""
    if sp.issparse(matrix) and matrix.format == "csc":
        stored = np.flatnonzero(matrix.indices == row)  # four times faster than slicing
        values = np.zeros(matrix.shape[1], matrix.dtype)
        np.add.at(values, np.searchsorted(matrix.indptr, stored, "right") - 1, matrix.data[stored])
        return values
    values = matrix[row : row + 1]
    if sp.issparse(values):
        return np.asarray(values.todense()).ravel()
    return np.asarray(values.compute() if hasattr(values, "compute") else values).ravel()


def _rows_first(matrix: Any) -> Any:
    """Return a matrix whose rows are cheap to slice."""
    if sp.issparse(matrix):
        return matrix.tocsr()
    if getattr(matrix, "format", None) == "csc":  # backed by a file, column by column
        return matrix.to_memory().tocsr()
    return matrix


def _canonical(rows: sp.csr_matrix) -> sp.csr_matrix:
    """Return rows in which every gene is stored at most once."""
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    return rows


def _sum_of_extremes(values: np.ndarray) -> float:
    """Return a number that is finite only if all values are: cheaper than looking at each."""
    with np.errstate(invalid="ignore", over="ignore"):
        return float(values.max()) - float(values.min())
