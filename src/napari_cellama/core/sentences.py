"""Cells in words: CELLama's sentences, written for all cells at once or for one.

A sentence is put together from up to three parts, each kept once however many cells share it:

- genes: ``Top genes are A, B, and C.`` (one gene: ``Top gene is A.``), ranked by value, ties in
  gene order. Genes that are not expressed (zero or negative) are not named.
- features: ``{column} of this cell is {value}.`` for each obs feature; a missing value is called
  unknown.
- niche: ``nearest_cells of this cell is T1,T2,….``, the types of the nearest cells from nearest to
  farthest. Cells of missing type are skipped; where none has a type, the value is unknown.

`neighbors_in` decides what becomes of the parts. "graph": genes and features are views, each
embedded on its own, and the cell type is the first of the features. "both": the niche part is a
view in the cell type's stead. "sentence": all parts in one sentence, CELLama's own form.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellama.core.events import CancelToken
from napari_cellama.core.matrix import expression, row_of
from napari_cellama.core.ranking import gene_ranking, top_genes
from napari_cellama.core.result import View, Words
from napari_cellama.core.tissue import Tissue, n_searched, obs_feature, read_tissue

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_cellama.recipe import Recipe

UNKNOWN = "unknown"
#: The name under which CELLama's sentences speak of the neighbours.
NEAREST_CELLS = "nearest_cells"
#: Sentences that are written at a time.
_CHUNK_TEXTS = 4_096


def cell_sentences(
    adata: AnnData,
    n_top_genes: int = 30,
    obs_features: Sequence[str] = (),
    *,
    layer: str | None = None,
    name_zero_genes: bool = False,
) -> np.ndarray:
    """Describe every cell by its top genes and by what obs says of it.

    The text is CELLama's (Choi et al. 2024, bioRxiv 2024.05.08.593094).

    Parameters
    ----------
    adata
        The data.
    n_top_genes
        How many genes to name.
    obs_features
        Columns of ``obs`` to add, in this order; ``nearest_cells`` if there is such a column.
    layer
        The matrix that ranks the genes: a name in ``layers``, ``"raw"``, or ``None`` for X.
    name_zero_genes
        Fill up with genes that are not expressed, as the original does.

    Returns
    -------
    numpy.ndarray
        (n,) object array of str; without the genes' part where a cell expresses none.

    Raises
    ------
    UserError
        When a column or layer does not exist or the matrix cannot be used.
    """
    matrix, genes = expression(adata, layer)
    parts = [genes_view(gene_ranking(matrix, n_top_genes, name_zero_genes)[0], genes)]
    # One name alone would be taken for several names of a letter each.
    named = (obs_features,) if isinstance(obs_features, str) else obs_features
    features = [obs_feature(adata.obs, name) for name in named]
    if features:
        parts.append(features_view(features))
    return joined_texts(parts)


def build_views(
    adata: AnnData,
    recipe: Recipe,
    tissue: Tissue,
    ranking: np.ndarray | None = None,
    nearest: np.ndarray | None = None,
    cancel: CancelToken | None = None,
) -> tuple[View, ...]:
    """Write every cell's sentences, each different one once.

    Parameters
    ----------
    adata
        The data; only read.
    recipe
        The resolved recipe.
    tissue
        Who takes part, where, and of what type; from :func:`~.tissue.read_tissue`.
    ranking
        From :func:`gene_ranking`, if it is at hand.
    nearest
        (n, :func:`~.tissue.n_searched`) what ``tissue.naming`` finds, if it is at hand.
    cancel
        Checked between chunks of cells.

    Returns
    -------
    tuple of View
        ("genes"[, "features"], "niche"), ("genes"[, "features"]) or ("cell"), by
        ``neighbors_in``. The index is -1 for cells without a position or any expressed gene.

    Raises
    ------
    UserError
        When the matrix cannot be used.
    """
    matrix, names = expression(adata, recipe.layer)
    if ranking is None:
        ranking, _ = gene_ranking(matrix, recipe.n_top_genes, recipe.name_zero_genes, cancel)
    parts = [genes_view(ranking, names, tissue.left_out == "")]
    kept = parts[0].index >= 0
    if tissue.features:
        parts.append(features_view(tissue.features, kept))
    if recipe.neighbors_in != "graph":
        parts.append(niche_view(tissue, recipe, kept, nearest, cancel))
    if recipe.neighbors_in == "sentence":
        return (joined_view(_in_order(parts, recipe), "cell"),)
    return tuple(parts)


def sentence_of(
    adata: AnnData, recipe: Recipe, cell: int, tissue: Tissue | None = None
) -> tuple[tuple[str, str], ...]:
    """Write one cell's sentences, as :func:`build_views` would.

    Parameters
    ----------
    adata, recipe
        As for :func:`build_views`.
    cell
        The cell's row.
    tissue
        From :func:`~.tissue.read_tissue`; keep it, and every call takes a few milliseconds
        however many cells there are. Read anew when ``None``.

    Returns
    -------
    tuple of (view name, text)
        Empty for a cell that is left out.
    """
    if tissue is None:
        tissue = read_tissue(adata, recipe)
    if tissue.left_out[cell]:
        return ()
    matrix, names = expression(adata, recipe.layer)
    row = row_of(matrix, cell)[None, :]
    parts = [genes_view(top_genes(row, recipe.n_top_genes, recipe.name_zero_genes), names)]
    if parts[0].index[0] < 0:
        return ()
    cells = np.array([cell])
    if tissue.features:
        parts.append(features_view([feature.of(cells) for feature in tissue.features]))
    if recipe.neighbors_in != "graph":
        nearest, _ = tissue.naming.nearest(n_searched(recipe), cells)
        named = tissue.named_types(nearest, recipe.n_sentence_neighbors)
        parts.append(_niche_view(named, tissue.types.categories))
    if recipe.neighbors_in == "sentence":
        parts = [joined_view(_in_order(parts, recipe), "cell")]
    return tuple((part.name, part.sentences[0]) for part in parts)


def _in_order(parts: list[View], recipe: Recipe) -> list[View]:
    """Return the parts as one sentence has them: CELLama's order, or the niche first."""
    if recipe.niche_first:
        return sorted(parts, key=lambda part: part.name != "niche")
    return parts


def genes_view(ranking: np.ndarray, names: np.ndarray, kept: np.ndarray | None = None) -> View:
    """Write a ranking (n, k; -1 where there are no more genes) as sentences.

    Cells that are not ``kept`` (n, bool; all by default) or express no gene get none.
    """
    described = ranking[:, 0] >= 0
    rows, index = _distinct(ranking, described if kept is None else described & kept)
    texts = tuple(
        f"Top genes are {', '.join(named[:-1])}, and {named[-1]}."
        if len(named) > 1
        else f"Top gene is {named[0]}."
        for named in _named(rows, names)
    )
    return View("genes", texts, index, contents=(Words(rows, names),))


def features_view(features: Sequence[Any], kept: np.ndarray | None = None) -> View:
    """Write what obs says of the cells, all features in one sentence after the other.

    Parameters
    ----------
    features
        :class:`~.tissue.Feature` objects of n cells each.
    kept
        (n,) bool: the cells that are described; all by default.
    """
    codes = np.stack([feature.codes for feature in features], axis=1)
    rows, index = _distinct(codes, np.ones(len(codes), bool) if kept is None else kept)
    texts = []
    for row in rows.tolist():
        values = [
            feature.values[code] if code >= 0 else UNKNOWN
            for feature, code in zip(features, row, strict=True)
        ]
        texts.append(
            " ".join(
                f"{feature.name} of this cell is {value}."
                for feature, value in zip(features, values, strict=True)
            )
        )
    contents = [Words(rows[:, [i]], feature.values) for i, feature in enumerate(features)]
    return View("features", tuple(texts), index, contents=tuple(contents))


def niche_view(
    tissue: Tissue,
    recipe: Recipe,
    kept: np.ndarray,
    nearest: np.ndarray | None = None,
    cancel: CancelToken | None = None,
) -> View:
    """Write the types of every kept cell's nearest cells as sentences."""
    width = recipe.n_sentence_neighbors
    named = np.full((len(kept), width), -1, np.int32)
    if nearest is None:
        nearest, _ = tissue.naming.nearest(n_searched(recipe), np.flatnonzero(kept), cancel)
    else:
        nearest = nearest[kept]
    named[kept] = tissue.named_types(nearest, width)
    return _niche_view(named, tissue.types.categories, kept)


def _niche_view(named: np.ndarray, types: Sequence[str], kept: np.ndarray | None = None) -> View:
    """Write (n, k) codes of types, -1 where none is named, as sentences."""
    rows, index = _distinct(named, np.ones(len(named), bool) if kept is None else kept)
    names = np.array(list(map(str, types)), object)
    texts = tuple(
        f"{NEAREST_CELLS} of this cell is {','.join(near) or UNKNOWN}."
        for near in _named(rows, names)
    )
    return View("niche", texts, index, contents=(Words(rows, types),))


def _named(rows: np.ndarray, names: np.ndarray) -> Iterator[list[str]]:
    """Yield the names that each row's codes stand for, up to the first that is -1."""
    names = np.append(names, "")
    counts = (rows >= 0).sum(axis=1)
    for start in range(0, len(rows), _CHUNK_TEXTS):
        chunk = slice(start, start + _CHUNK_TEXTS)
        for row, count in zip(names[rows[chunk]].tolist(), counts[chunk].tolist(), strict=True):
            yield row[:count]


def joined_view(parts: Sequence[View], name: str) -> View:
    """Join the parts' sentences, by a space, into one sentence a cell."""
    codes = np.stack([part.index for part in parts], axis=1)
    rows, index = _distinct(codes, (codes >= 0).any(axis=1))
    texts = [
        " ".join(part.sentences[i] for part, i in zip(parts, row, strict=True) if i >= 0)
        for row in rows.tolist()
    ]
    contents = [
        Words(np.vstack([words.codes, np.full_like(words.codes[:1], -1)])[row], words.names)
        for part, row in zip(parts, rows.T, strict=True)
        for words in part.contents
    ]
    return View(name, tuple(texts), index, contents=tuple(contents))


def joined_texts(parts: Sequence[View]) -> np.ndarray:
    """Return (n,) object: each cell's sentences joined by a space, "" where it has none."""
    view = joined_view(parts, "cell")
    return np.array([*view.sentences, ""], object)[view.index]


def _distinct(codes: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the different rows among those kept, in order of first appearance.

    Returns
    -------
    rows
        (u, k): the different rows.
    index
        (n,) int64: which of them each row is; -1 where it is not kept.
    """
    import pandas as pd

    cells = np.flatnonzero(kept)
    index = np.full(len(codes), -1, np.int64)
    chosen = np.ascontiguousarray(codes[cells], np.int64)
    odd = np.random.default_rng(0).integers(0, 2**63, chosen.shape[1], np.uint64) | np.uint64(1)
    hashes = np.zeros(len(chosen), np.uint64)
    for column, factor in zip(chosen.T, odd, strict=True):
        hashes = (hashes ^ (column + 2).astype(np.uint64)) * factor
        hashes ^= hashes >> np.uint64(29)
    found, _ = pd.factorize(hashes)
    first = np.full(int(found.max(initial=-1)) + 1, len(chosen), np.int64)
    np.minimum.at(first, found, np.arange(len(chosen)))
    if not np.array_equal(chosen[first[found]], chosen):  # two rows share a hash
        _, first, found = np.unique(chosen, axis=0, return_index=True, return_inverse=True)
    index[cells] = found
    return codes[cells][first], index
