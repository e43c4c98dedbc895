"""The cells' own quality metrics: counts, genes, shares, area and room around them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_cellama.core.events import CancelToken
from napari_cellama.core.graph import NeighborIndex
from napari_cellama.core.matrix import row_chunks

if TYPE_CHECKING:
    from anndata import AnnData

#: obs columns that say how large a cell is.
_AREAS = ("cell_area", "area", "Area", "volume", "nucleus_area")
#: How control probes are named on common platforms, in lower case.
_CONTROLS = (
    "negcontrol", "negprb", "negative", "blank", "systemcontrol", "unassignedcodeword",
    "deprecatedcodeword", "antisense", "falsecode",
)  # fmt: skip
#: Where our readers put the counts of probes that are no genes.
_BESIDE = "controls"
#: obs columns with counts of control probes, as Xenium's table of cells has them.
_CONTROL_COLUMNS = (
    "control_probe_counts", "genomic_control_counts", "control_codeword_counts",
    "unassigned_codeword_counts", "deprecated_codeword_counts",
)  # fmt: skip
#: Nearest cells whose mean distance is taken.
_NEAREST = 5


def cell_metrics(
    adata: AnnData,
    xy: np.ndarray,
    section: np.ndarray | None,
    n_top_genes: int,
    cancel: CancelToken,
) -> tuple[pd.DataFrame, list[str]]:
    """Return the cells' metrics, and what the user should know of them.

    Parameters
    ----------
    adata
        The data; only read. Counts are looked for in ``layers['counts']``, then X; those of
        control probes there too, else in ``obsm['controls']``, else in Xenium's columns of obs.
    xy
        (n, d) positions, NaN where there is none.
    section
        (n,) int codes; ``None`` where there is one section.
    n_top_genes
        How many genes a sentence asks for.
    cancel
        Checked between steps.

    Returns
    -------
    table
        One row a cell: total counts and genes (scanpy's ``calculate_qc_metrics``), the shares of
        mitochondrial and control counts in per cent where there are such genes, area where obs
        has it, the mean distance to the 5 nearest cells, the number of cells within twice its
        median, and the share of the sentence's genes that the cell has.
    notices
        One sentence each.
    """
    columns: dict[str, np.ndarray] = {}
    notices: list[str] = []
    matrix = adata.layers.get("counts", adata.X)
    if matrix is not None and matrix.shape[1]:
        counted, notices = _counts(adata, matrix, cancel)
        columns |= counted
        columns["qc_sentence_share"] = np.minimum(counted["qc_n_genes"] / n_top_genes, 1)
    else:
        notices.append("There is no expression, so counts and genes are not judged.")
    cancel.check()
    area = next((name for name in _AREAS if name in adata.obs), None)
    if area is not None and pd.api.types.is_numeric_dtype(adata.obs[area]):
        columns["qc_area"] = adata.obs[area].to_numpy(float)
    columns |= _room(xy, section, cancel)
    table = pd.DataFrame(columns, index=adata.obs_names)
    return table, notices


def _counts(
    adata: AnnData, matrix: object, cancel: CancelToken
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return what scanpy counts, chunk by chunk."""
    import scanpy as sc
    from anndata import AnnData

    names = pd.Series([str(name) for name in adata.var_names]).str
    var = pd.DataFrame(
        {
            "mito": names.upper().str.startswith("MT-"),
            "control": names.lower().str.startswith(_CONTROLS),
        }
    )
    kinds = [kind for kind in var if var[kind].any()]
    var.index = var.index.astype(str)
    parts, whole = [], True
    for start, stop, rows in row_chunks(matrix, 20_000_000):
        cancel.check()
        stored = rows.data if hasattr(rows, "indptr") else rows
        whole = whole and bool(np.all(np.mod(stored[:100_000], 1) == 0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cells = pd.DataFrame(index=pd.RangeIndex(start, stop).astype(str))
            part = AnnData(rows, obs=cells, var=var)
            found, _ = sc.pp.calculate_qc_metrics(part, qc_vars=kinds, percent_top=None)
        parts.append(found)
    found = pd.concat(parts)
    columns = {
        "qc_total_counts": found["total_counts"].to_numpy(float),
        "qc_n_genes": found["n_genes_by_counts"].to_numpy(float),
    }
    for kind in kinds:
        columns[f"qc_pct_{kind}"] = found[f"pct_counts_{kind}"].fillna(0).to_numpy(float)
    if "control" not in kinds and (beside := _controls_beside(adata)) is not None:
        total = columns["qc_total_counts"] + beside
        columns["qc_pct_control"] = 100 * beside / np.where(total > 0, total, 1)
    notices = []
    if not whole:
        notices.append(
            "X holds no whole numbers, so its totals are not counts; keep the counts in "
            "layers['counts'] for quality control."
        )
    return columns, notices


def _controls_beside(adata: AnnData) -> np.ndarray | None:
    """Return (n,) counts of control probes that are kept beside the genes, if there are any."""
    table = adata.obsm.get(_BESIDE)
    if table is not None:
        names = [str(name).lower() for name in getattr(table, "columns", ())]
        # Proteins, which are no controls, lie there too.
        chosen = np.array([name.startswith(_CONTROLS) or "blank" in name for name in names], bool)
        values = table.to_numpy(float)[:, chosen] if names else _dense(table)
        return values.sum(axis=1) if values.shape[1] else None
    there = [
        name
        for name in _CONTROL_COLUMNS
        if name in adata.obs and pd.api.types.is_numeric_dtype(adata.obs[name])
    ]
    return adata.obs[there].fillna(0).to_numpy(float).sum(axis=1) if there else None


def _dense(values: Any) -> np.ndarray:
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values, float)


def _room(xy: np.ndarray, section: np.ndarray | None, cancel: CancelToken) -> dict[str, np.ndarray]:
    """Return how far the nearest cells are, and how many lie around."""
    index = NeighborIndex(xy, section)
    n = min(_NEAREST, max(len(xy) - 1, 1))
    distance = index.nearest(n, cancel=cancel)[1]
    distance[~np.isfinite(distance)] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a cell without any neighbour
        near = np.nanmean(distance, axis=1)
    usual = np.nanmedian(near) if np.isfinite(near).any() else np.nan
    around = np.full(len(xy), np.nan)
    placed = np.flatnonzero(index.has_position)
    if np.isfinite(usual):
        around[placed] = index.count_within(2 * usual, placed)
    return {"qc_neighbor_distance": near, "qc_local_density": around}
