"""The one painter: what a tissue is coloured by, to one RGBA a cell and a legend.

Tissue and embedding canvases are painted by these functions, so that a cell has the same colour
in both. Arrays in, arrays out; layers are :mod:`napari_cellama.ui.layers`' business.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_cellama.errors import UserError, unknown_name
from napari_cellama.ui.judging import judgement_of
from napari_cellama.ui.tissue import Coloring, Scale

if TYPE_CHECKING:
    from napari_cellama.core.labels import LabelSet
    from napari_cellama.ui.tissue import Tissue

#: Cells that have no label or value.
UNKNOWN = (0.5, 0.5, 0.5, 1.0)
#: Cells beside the selection: grey, and see-through so that an image below stays readable.
FADED = (0.5, 0.5, 0.5, 0.35)
#: Cells that were hidden.
INVISIBLE = (0.0, 0.0, 0.0, 0.0)
#: All cells, where nothing was chosen to colour them by.
PLAIN = (0.75, 0.75, 0.75, 1.0)
_SHADES = 256
#: Where gene symbols are kept when var_names are accession numbers.
_SYMBOL_COLUMNS = ("gene_symbols", "gene_symbol", "gene_name", "gene_names", "feature_name")


@dataclass(frozen=True)
class Legend:
    """What the colours mean, for a dock or a figure to show.

    Attributes
    ----------
    kind
        "plain" (nothing is told apart), "categorical" or "continuous".
    title
        The column or gene.
    names, colors, counts
        One a category: its name, ``#rrggbb`` and number of cells; empty where continuous.
    limits
        The values at the ends of the colour map; values beyond have the end's colour.
    colormap
        The colour map's name, in matplotlib and napari alike.
    n_unknown
        How many cells are grey because they have no label or value.
    """

    kind: Literal["plain", "categorical", "continuous"]
    title: str = ""
    names: tuple[str, ...] = ()
    colors: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    limits: tuple[float, float] = (0.0, 1.0)
    colormap: str = "viridis"
    n_unknown: int = 0


@dataclass(frozen=True)
class Shading:
    """Which colour every cell has, before any selection.

    Attributes
    ----------
    index
        (n,) integer rows of ``table``.
    table
        (k, 4) float32 RGBA; the last row is for cells without a label or value.
    legend
        What the rows mean.
    """

    index: np.ndarray
    table: np.ndarray
    legend: Legend

    def rgba(
        self,
        selection: np.ndarray | None = None,
        hidden: np.ndarray | None = None,
        out: np.ndarray | None = None,
        *,
        all_faded: bool = False,
    ) -> Any:
        """Return (n, 4) float32 RGBA, with the cells beside the selection faded.

        Parameters
        ----------
        selection
            (n,) bool; ``None`` or no cell selected shows all alike.
        hidden
            (n,) bool: cells that are not to be seen.
        out
            An (n, 4) array to write into instead.
        all_faded
            Fade all cells where none is selected, since some are elsewhere.
        """
        index = self.index
        table = np.vstack([self.table, np.float32([FADED, INVISIBLE])])
        faded, invisible = (np.array(len(table) - i, index.dtype) for i in (2, 1))
        if selection is not None and (all_faded or selection.any()):
            index = np.where(selection, index, faded)
        if hidden is not None and hidden.any():
            index = np.where(hidden, invisible, index)
        if out is not None:
            table = table.astype(out.dtype)
        return np.take(table, index, axis=0, out=out, mode="clip")


@dataclass(frozen=True)
class Painted:
    """One colour a cell, and what the colours mean."""

    rgba: np.ndarray
    legend: Legend


def paint(
    tissue: Tissue,
    coloring: Coloring | None,
    selection: np.ndarray | None = None,
    *,
    hidden: np.ndarray | None = None,
    layer: str | None = None,
) -> Painted:
    """Colour every cell of a tissue.

    Parameters
    ----------
    tissue
        Only read.
    coloring
        As :class:`~.tissue.Coloring` says; ``None`` for one plain colour.
    selection
        (n,) bool: the cells that keep their colours while the others fade.
    hidden
        (n,) bool: cells that are not to be seen.
    layer
        The matrix that a gene is read from: a name in layers, "raw", or ``None`` for X.

    Returns
    -------
    Painted
        (n, 4) float32 RGBA in the cells' order, and the legend.

    Raises
    ------
    UserError
        As for :func:`check_coloring`.
    """
    shading = shade(tissue, coloring, layer=layer)
    return Painted(shading.rgba(selection, hidden), shading.legend)


def shade(tissue: Tissue, coloring: Coloring | None, *, layer: str | None = None) -> Shading:
    """Look up every cell's colour; :func:`paint` without the selection."""
    if coloring is None:
        index = np.zeros(tissue.n_obs, np.uint8)
        return Shading(index, np.float32([PLAIN, UNKNOWN]), Legend("plain"))
    values = values_of(tissue, coloring, layer=layer)
    if values is None:
        return _shade_labels(labels_of(tissue, coloring), coloring.name)
    return _shade_values(values, coloring.name, tissue.scale)


def labels_of(tissue: Tissue, coloring: Coloring) -> LabelSet:
    """Return the label set that a colouring by categories shows."""
    if coloring.is_quality:
        return judgement_of(tissue).labels
    return tissue.label_set(coloring.name)


def legend_of(tissue: Tissue, coloring: Coloring | None, *, layer: str | None = None) -> Legend:
    """Return what the colours mean, without painting."""
    return shade(tissue, coloring, layer=layer).legend


def values_of(tissue: Tissue, coloring: Coloring, *, layer: str | None = None) -> np.ndarray | None:
    """Return (n,) float32 numbers where the colouring is continuous, ``None`` where it is not."""
    check_coloring(tissue, coloring, layer=layer)
    if coloring.kind == "gene":
        return gene_values(tissue, coloring.name, layer=layer or tissue.scale.layer)
    if coloring.kind == "score":
        return tissue.scores[coloring.name]
    if coloring.kind == "obs" and _is_continuous(tissue, coloring.name):
        column = tissue.column(coloring.name)
        return column.to_numpy(np.float32, na_value=np.nan)
    return None


def check_coloring(tissue: Tissue, coloring: Coloring, *, layer: str | None = None) -> None:
    """Raise one sentence if a tissue cannot be coloured so.

    Raises
    ------
    UserError
        When there is no such label set, obs column, gene or layer, with the close matches; or
        when the genes have not been read yet.
    """
    obs = tissue.snapshot.obs
    if coloring.kind == "gene":
        if not tissue.has_matrix:
            raise UserError("The genes are still being read; try again in a moment.")
        _gene_column(tissue, coloring.name, layer or tissue.scale.layer)
    elif coloring.kind == "score":
        if coloring.name not in tissue.scores:
            raise UserError(f"What was found for {coloring.name!r} is gone; search for it again.")
    elif coloring.is_quality:
        if tissue.quality is None:
            raise UserError("Press Measure in the QC dock first; then cells that fail are painted.")
    elif tissue.column(coloring.name) is None and coloring.name not in tissue.labels:
        kind = "label set or obs column" if coloring.kind == "labels" else "obs column"
        known = dict.fromkeys([*tissue.labels, *tissue.confidences, *obs.columns])
        raise unknown_name(kind, coloring.name, known)


def gene_values(tissue: Tissue, gene: str, *, layer: str | None = None) -> np.ndarray:
    """Return (n,) float32: a gene's value in every cell.

    Parameters
    ----------
    gene
        Its name among the variables, or its symbol in a familiar column of var.
    layer
        A name in layers, "raw", or ``None`` for X.
    """
    matrix, column = _gene_column(tissue, gene, layer)
    if getattr(matrix, "format", None) == "csr" and hasattr(matrix, "indptr"):
        return _csr_column(matrix, column)
    values = matrix[:, [column]]
    values = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
    return values.astype(np.float32).ravel()


def _gene_column(tissue: Tissue, gene: str, layer: str | None) -> tuple[Any, int]:
    """Return the matrix and the column of a gene in it."""
    from napari_cellama.core.matrix import expression

    matrix, names = expression(tissue.snapshot, layer)
    found = np.flatnonzero(names == gene)
    if not len(found) and layer != "raw":
        var = tissue.snapshot.var
        for column in (c for c in _SYMBOL_COLUMNS if c in var):
            found = np.flatnonzero(var[column].astype(str).to_numpy() == gene)
            if len(found):
                break
    if not len(found):
        raise unknown_name("gene", gene, names)
    return matrix, int(found[0])


def _csr_column(matrix: Any, column: int) -> np.ndarray:
    """Return a column of a CSR matrix: one pass over the indices, a block at a time.

    scipy's own column slice takes several times as long at a million cells.
    """
    values = np.zeros(matrix.shape[0], np.float32)
    block = 1 << 22
    for start in range(0, len(matrix.indices), block):
        hits = start + np.flatnonzero(matrix.indices[start : start + block] == column)
        rows = np.searchsorted(matrix.indptr, hits, side="right") - 1
        np.add.at(values, rows, matrix.data[hits])
    return values


def _is_continuous(tissue: Tissue, name: str) -> bool:
    """Whether an obs column holds numbers rather than categories."""
    column = tissue.column(name)
    if column is None or name in tissue.labels:
        return False
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return is_numeric_dtype(column) and not is_bool_dtype(column)


def _shade_labels(labels: LabelSet, name: str) -> Shading:
    """Give each category its colour."""
    labels = labels.flat()
    n_names = len(labels.names)
    table = np.vstack([_rgba_of(labels.colors), np.float32([UNKNOWN])])
    # -1 becomes the last row; small integers make the look-up twice as fast.
    index = labels.codes.astype(np.uint8 if n_names < 253 else np.uint32)
    np.minimum(index, n_names, out=index)
    legend = Legend(
        "categorical",
        name,
        names=labels.names,
        colors=labels.colors,
        counts=tuple(int(size) for size in labels.sizes),
        n_unknown=int((labels.codes < 0).sum()),
    )
    return Shading(index, table, legend)


def _shade_values(values: np.ndarray, name: str, scale: Scale) -> Shading:
    """Give each value its shade of the colour map, between the limits."""
    known = np.isfinite(values)
    low, high = scale.limits or _limits(values if known.all() else values[known], scale.clip)
    scaled = (values - np.float32(low)) * np.float32(_SHADES / (high - low))
    np.clip(scaled, 0, _SHADES - 1, out=scaled)
    scaled[~known] = _SHADES
    n_unknown = int(len(values) - known.sum())
    legend = Legend(
        "continuous", name, limits=(low, high), colormap=scale.colormap, n_unknown=n_unknown
    )
    return Shading(scaled.astype(np.uint16), _colormap_table(scale.colormap), legend)


def _limits(values: np.ndarray, clip: float = 1.0) -> tuple[float, float]:
    """Return where a colour map begins and ends: ``clip`` percent are cut at either end."""
    if not len(values):
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(values, [clip, 100 - clip]))
    if low == high:  # e.g. a gene that fewer than 1% of the cells express
        low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else (low, low + 1.0)


@lru_cache(maxsize=8)
def _colormap_table(name: str) -> np.ndarray:
    """Return (257, 4) float32: a colour map's shades, then the colour of unknown values."""
    from napari.utils.colormaps import ensure_colormap

    shades = ensure_colormap(name).map(np.linspace(0, 1, _SHADES))
    return np.vstack([shades, [UNKNOWN]]).astype(np.float32)


def _rgba_of(colors: tuple[str, ...]) -> np.ndarray:
    """Return (k, 4) float32 of ``#rrggbb`` colours."""
    levels = [list(bytes.fromhex(color.lstrip("#"))) for color in colors]
    rgb = np.array(levels, np.float32).reshape(-1, 3) / 255
    return np.column_stack([rgb, np.ones(len(rgb), np.float32)])
