"""Each cell's genes from the most expressed down, for all cells at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from napari_cellama.core.events import CancelToken
from napari_cellama.core.matrix import check_values, row_chunks


def gene_ranking(
    matrix: Any,
    n_top_genes: int,
    name_zero_genes: bool = False,
    cancel: CancelToken | None = None,
) -> tuple[np.ndarray, bool]:
    """Rank every cell's genes; see :func:`top_genes`, and refuse values that cannot be ranked.

    Returns
    -------
    ranking
        (n, n_top_genes) int32 gene numbers, -1 where a cell expresses fewer.
    negative
        Whether the matrix has negative values.
    """
    width = min(n_top_genes, matrix.shape[1])
    ranking = np.full((matrix.shape[0], width), -1, np.int32)
    negative = False
    for start, stop, rows in row_chunks(matrix):
        if cancel is not None:
            cancel.check()
        negative |= check_values(rows, start)
        ranking[start:stop] = top_genes(rows, width, name_zero_genes)
    return ranking, negative


def top_genes(
    rows: np.ndarray | sp.csr_matrix, n_top_genes: int, name_zero_genes: bool = False
) -> np.ndarray:
    """Return each cell's genes of highest value, ties in gene order.

    Parameters
    ----------
    rows
        (m, g), dense or CSR without repeated entries.
    n_top_genes
        How many to return at most.
    name_zero_genes
        Rank genes of zero and negative value, too.

    Returns
    -------
    numpy.ndarray
        (m, min(n_top_genes, g)) int32 gene numbers, highest first; -1 where there are no more.
    """
    # A value and its gene are packed into one integer whose order is the ranking's, so that one
    # partial sort over machine words ranks them with ties already broken.
    width = min(n_top_genes, rows.shape[1])
    if name_zero_genes:
        rows = rows.toarray() if sp.issparse(rows) else rows
        keys = _packed(_ordered_bits(rows), np.arange(rows.shape[1]))
    elif sp.issparse(rows):
        keys = _padded_keys(rows)
    else:
        keys = _packed(_ordered_bits(rows), np.arange(rows.shape[1]))
        keys[rows <= 0] = 0
    if keys.shape[1] < width:
        keys = np.pad(keys, ((0, 0), (0, width - keys.shape[1])))
    if keys.shape[1] > width:
        keys = np.partition(keys, keys.shape[1] - width, axis=1)[:, -width:]
    keys = np.sort(keys, axis=1)[:, ::-1]
    genes = np.uint64(0xFFFFFFFF) - (keys & np.uint64(0xFFFFFFFF))
    return np.where(keys == 0, -1, genes.astype(np.int64)).astype(np.int32)


def _padded_keys(rows: sp.csr_matrix) -> np.ndarray:
    """Return (m, w) packed keys of the positive values, left-aligned, filled up with 0."""
    lengths = np.diff(rows.indptr)
    keys = np.zeros((rows.shape[0], int(lengths.max(initial=0))), np.uint64)
    packed = _packed(_ordered_bits(rows.data), rows.indices)
    packed[rows.data <= 0] = 0
    filled = np.arange(keys.shape[1]) < lengths[:, None]
    keys[filled] = packed
    return keys


def _packed(bits: np.ndarray, genes: np.ndarray) -> np.ndarray:
    """Pack value bits (high) and gene numbers (low, earlier genes larger) into uint64; never 0."""
    low = np.uint64(0xFFFFFFFF) - genes.astype(np.uint64)
    return (bits.astype(np.uint64) << np.uint64(32)) | low


def _ordered_bits(values: np.ndarray) -> np.ndarray:
    """Map numbers to uint32 that sort in the same order and are equal only where they are."""
    with np.errstate(over="ignore"):
        single = values.astype(np.float32) + np.float32(0)  # turns -0.0 into 0.0
    exact = values.dtype.kind == "b" or values.dtype == np.float32 or values.dtype.itemsize <= 2
    if not exact and not np.array_equal(single.astype(values.dtype), values):
        # Single precision would make ties where there are none, so the values' ranks stand in.
        ranks = np.unique(values, return_inverse=True)[1]
        return ranks.reshape(values.shape).astype(np.uint32)
    bits = single.view(np.uint32)
    return bits ^ np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))
