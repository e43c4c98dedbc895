"""What a cluster is: what surrounds it, its marker genes, where it lies, how certain it is."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from napari_cellama.core.borders import Contacts, borders
from napari_cellama.core.describe import contacts, enrichment
from napari_cellama.core.events import CancelToken
from napari_cellama.core.labels import LabelSet
from napari_cellama.core.matrix import check_values, expression, row_chunks
from napari_cellama.core.resolve import guess_cell_type_key, guess_library_key
from napari_cellama.core.tissue import obs_feature, obs_types, positions

if TYPE_CHECKING:
    from anndata import AnnData

#: With fewer cells, in the cluster or beside it, markers are chance; so they are for a gene that
#: fewer cells express.
MIN_CELLS = 10
#: Bins of a certainty from 0 to 1.
_BINS = 20


@dataclass(frozen=True)
class Surroundings:
    """What surrounds every cluster of a label set.

    Attributes
    ----------
    of
        What is counted around the clusters: the cell types' column, or "" for the clusters
        themselves where there are no cell types.
    enrichment
        A row a cluster with cells, a column a type: log2 of the type's share among the
        neighbours over its share among all clusters' (see
        :func:`~.describe.neighbor_enrichment`).
    counts
        How many neighbours that are.
    contacts
        Between all clusters, also those without cells.
    """

    of: str
    enrichment: pd.DataFrame
    counts: pd.DataFrame
    contacts: Contacts

    def table(self) -> pd.DataFrame:
        """Return ``cluster``, ``neighbor``, ``log2_enrichment``, ``count``: a row a pair."""
        rows, columns = self.enrichment.shape
        return pd.DataFrame(
            {
                "cluster": np.repeat(self.enrichment.index.to_numpy(object), columns),
                "neighbor": np.tile(self.enrichment.columns.to_numpy(object), rows),
                "log2_enrichment": self.enrichment.to_numpy().ravel(),
                "count": self.counts.to_numpy().ravel(),
            }
        )


@dataclass(frozen=True)
class Portrait:
    """What is known of a cluster, or of several taken as one.

    Attributes
    ----------
    chosen
        The clusters with cells that it is of.
    n_cells, share
        Its cells, and their share of the labelled ones.
    places
        ``section``, ``cells``, ``width``, ``height``: where it is and how far its cells reach,
        in the coordinates' unit; a row a section, the most cells first.
    n_sections
        How many sections there are.
    borders
        See :func:`~.borders.borders`.
    markers
        ``gene``, ``score``, ``log2_fold_change``, ``share`` and ``share_rest`` (of the cells
        that express it), ``p_adjusted``; the highest score first.
    why_no_markers
        Why there are none; "" if there are.
    certainty
        ``low``, ``high``, ``cells``, ``rest``: how many cells' certainty is in each bin; empty
        where it is not known.
    mean_certainty, mean_certainty_rest
        Their means; NaN where not known.
    """

    chosen: tuple[int, ...]
    n_cells: int
    share: float
    places: pd.DataFrame
    n_sections: int
    borders: pd.DataFrame
    markers: pd.DataFrame
    why_no_markers: str
    certainty: pd.DataFrame
    mean_certainty: float
    mean_certainty_rest: float


def surroundings(
    adata: AnnData,
    labels: LabelSet,
    graph: sp.spmatrix,
    cancel: CancelToken | None = None,
    type_key: str | None = None,
) -> Surroundings:
    """Count what surrounds the clusters of a label set.

    Parameters
    ----------
    adata
        Its obs is read, for the cell types.
    labels
        The clusters; those whose cells are all in their parts are left out.
    graph
        (n, n) spatial graph.
    cancel
        Checked between steps.
    type_key
        The obs column of the cell types; by default the likeliest one.
    """
    cancel = cancel or CancelToken()
    clusters = pd.Categorical.from_codes(labels.codes, categories=list(labels.names))
    key = type_key or guess_cell_type_key(adata.obs, adata.uns)
    types = clusters if key is None else obs_types(adata.obs, key)
    counts = contacts(clusters, types, graph)
    cancel.check()
    enriched = enrichment(counts, clusters, types)
    seen, full = counts.sum(axis=0) > 0, labels.sizes > 0
    counts = pd.DataFrame(counts, enriched.index, enriched.columns).astype(np.int64)
    return Surroundings(
        key or "",
        enriched.loc[full, seen],
        counts.loc[full, seen],
        Contacts.of(clusters, graph),
    )


def portraying(
    adata: AnnData,
    labels: LabelSet,
    chosen: tuple[int, ...],
    *,
    graph: sp.spmatrix,
    around: Surroundings | None = None,
    certainty: np.ndarray | None = None,
    cancel: CancelToken | None = None,
    type_key: str | None = None,
) -> Generator[Surroundings, None, Portrait]:
    """Find out what some clusters of a label set are.

    Parameters
    ----------
    adata
        Its obs, positions and X are read.
    labels
        The clusters.
    chosen
        Positions in ``labels.names``; a parent stands for its parts as well.
    graph
        (n, n) spatial graph.
    around
        The label set's surroundings, if they are known already.
    certainty
        (n,) in [0, 1], how certain each cell's niche is; NaN where it has none.
    cancel
        Checked between steps.
    type_key
        The obs column of the cell types; by default the likeliest one.

    Yields
    ------
    Surroundings
        Of the whole label set, as soon as they are known.

    Returns
    -------
    Portrait
    """
    cancel = cancel or CancelToken()
    around = around or surroundings(adata, labels, graph, cancel, type_key)
    yield around
    cancel.check()
    cells, others = labels.mask(*chosen), labels.codes >= 0
    others &= ~cells
    members = sorted({part for cluster in chosen for part in labels.family(cluster)})
    places, n_sections = where(adata, cells)
    found, why = markers(adata, cells, others, cancel)
    values = np.full(adata.n_obs, np.nan) if certainty is None else np.asarray(certainty, float)
    return Portrait(
        tuple(i for i in members if labels.sizes[i]),
        int(cells.sum()),
        float(cells.sum() / max(1, (labels.codes >= 0).sum())),
        places,
        n_sections,
        borders(around.contacts, list(labels.names), members),
        found,
        why,
        _binned(values[cells], values[others]),
        _mean(values[cells]),
        _mean(values[others]),
    )


def where(adata: AnnData, cells: np.ndarray) -> tuple[pd.DataFrame, int]:
    """Return where cells, (n,) bool, lie (see :class:`Portrait`) and how many sections there are.

    Cells without a position are counted but have no extent.
    """
    key = guess_library_key(adata.obs, adata.uns)
    coords = positions(adata)
    if key is None:
        codes, names = np.zeros(adata.n_obs, int), ("",)
    else:
        section = obs_feature(adata.obs, key)
        codes, names = section.codes, section.values
    rows = []
    for code in np.unique(codes[cells & (codes >= 0)]):
        inside = cells & (codes == code)
        placed = coords[inside & np.isfinite(coords).all(axis=1), :2]
        width, height = np.ptp(placed, axis=0) if len(placed) else (np.nan, np.nan)
        rows.append((names[code], int(inside.sum()), float(width), float(height)))
    table = pd.DataFrame(rows, columns=["section", "cells", "width", "height"])
    table = table.sort_values("cells", ascending=False, kind="stable", ignore_index=True)
    return table, len(names)


def markers(
    adata: AnnData, cells: np.ndarray, others: np.ndarray, cancel: CancelToken
) -> tuple[pd.DataFrame, str]:
    """Return the marker genes of cells against others, both (n,) bool, or why there are none.

    By scanpy's ``rank_genes_groups`` (t-test with overestimated variance, Benjamini-Hochberg) on
    X: counts are brought to the median depth and logged, other values taken as they are.
    """
    columns = ["gene", "score", "log2_fold_change", "share", "share_rest", "p_adjusted"]
    nothing = pd.DataFrame(columns=columns)
    for number, what in ((cells.sum(), "The cluster"), (others.sum(), "The rest")):
        if number < MIN_CELLS:
            return nothing, f"{what} has {number:,} cells; markers need at least {MIN_CELLS}."
    matrix, genes = expression(adata)
    values = _log_normal(matrix, cells | others, cancel)
    common = np.asarray((values > 0).sum(axis=0)).ravel() >= MIN_CELLS
    if not common.any():
        return nothing, f"No gene is expressed in {MIN_CELLS} cells or more."
    names = np.asarray(genes, str)[common]
    table = _ranked(values[:, common], cells[cells | others])
    cancel.check()
    table.insert(0, "gene", names[table.pop("row").to_numpy()])
    return table[columns], ""


def _ranked(values: np.ndarray | sp.csr_matrix, inside: np.ndarray) -> pd.DataFrame:
    """Return scanpy's ranking of the columns as rows, with ``row`` the column's number."""
    from anndata import AnnData

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what scanpy and numba say of other libraries
        import scanpy as sc

        group = pd.Categorical.from_codes(inside.astype(int), ["rest", "cluster"])
        obs = pd.DataFrame({"group": group}, index=np.arange(len(inside)).astype(str))
        small = AnnData(values, obs, pd.DataFrame(index=np.arange(values.shape[1]).astype(str)))
        small.uns["log1p"] = {"base": None}
        sc.tl.rank_genes_groups(
            small,
            "group",
            groups=["cluster"],
            reference="rest",
            method="t-test_overestim_var",
            use_raw=False,
            pts=True,
        )
        ranked = sc.get.rank_genes_groups_df(small, "cluster")
    called = {
        "names": "row",
        "scores": "score",
        "logfoldchanges": "log2_fold_change",
        "pct_nz_group": "share",
        "pct_nz_reference": "share_rest",
        "pvals_adj": "p_adjusted",
    }
    return ranked.rename(columns=called)[list(called.values())].astype({"row": int})


def _log_normal(
    matrix: object, kept: np.ndarray, cancel: CancelToken
) -> np.ndarray | sp.csr_matrix:
    """Return the kept rows as float32, logged and of equal depth if they are counts."""
    pieces = []
    for start, stop, rows in row_chunks(matrix):
        cancel.check()
        check_values(rows, start)
        pieces.append(rows[kept[start:stop]].astype(np.float32))
    sparse = sp.issparse(pieces[0])
    values = sp.vstack(pieces, "csr") if sparse else np.vstack(pieces)
    stored = values.data if sparse else values
    if not (np.all(stored >= 0) and np.all(stored == np.round(stored))):
        return values
    depth = np.asarray(values.sum(axis=1), np.float64).ravel()
    scale = np.median(depth[depth > 0]) / np.where(depth > 0, depth, 1) if depth.any() else depth
    if not sparse:
        return np.log1p(values * scale[:, None].astype(np.float32))
    values.data = np.log1p(values.data * np.repeat(scale, np.diff(values.indptr))).astype(
        np.float32
    )
    return values


def _binned(values: np.ndarray, rest: np.ndarray) -> pd.DataFrame:
    """Return how many certainties lie in each bin from 0 to 1; nothing where none is known."""
    columns = ["low", "high", "cells", "rest"]
    if not np.isfinite(values).any():
        return pd.DataFrame(columns=columns)
    edges = np.linspace(0, 1, _BINS + 1)
    counts = [np.histogram(some[np.isfinite(some)], edges)[0] for some in (values, rest)]
    return pd.DataFrame(dict(zip(columns, (edges[:-1], edges[1:], *counts), strict=True)))


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan
