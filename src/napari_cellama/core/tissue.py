"""What sentences and graphs are made of: who takes part, where, in which section, of what type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_cellama.core.events import CancelToken
from napari_cellama.core.graph import NeighborIndex
from napari_cellama.core.marker_types import find_types
from napari_cellama.core.matrix import expression
from napari_cellama.errors import UserError, unknown_name

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_cellama.recipe import Recipe

NO_POSITION = "no position"
NO_GENE = "no expressed gene"
FAILED_QC = "quality control"
#: How sentences call cell types that no column gives.
FOUND_TYPE = "celltype"


@dataclass(frozen=True)
class Feature:
    """One obs column as codes and texts; code -1 is a missing value."""

    name: str
    codes: np.ndarray
    values: tuple[str, ...]

    def of(self, cells: np.ndarray) -> Feature:
        """Return the feature of these cells only."""
        return Feature(self.name, self.codes[cells], self.values)


@dataclass(frozen=True)
class Tissue:
    """A data set's cells as a run sees them; built once, asked often, never changed.

    Attributes
    ----------
    neighbors
        Who is near whom within a section.
    naming
        The same for the neighbours that sentences name; it differs from ``neighbors`` only
        where the recipe lets sentences look across sections.
    types
        (n,) the cells' types.
    features
        What the sentences say from obs.
    left_out
        (n,) object: "" or why a cell takes no part, as far as it is known without the genes.
    library
        The sections' names; ``None`` where there is one.
    types_found
        Whether ``types`` were found in the expression rather than read from obs.
    """

    neighbors: NeighborIndex
    naming: NeighborIndex
    types: pd.Categorical
    features: tuple[Feature, ...]
    left_out: np.ndarray
    library: Feature | None = None
    types_found: bool = False
    notices: tuple[str, ...] = ()

    def section_name(self, code: int) -> str:
        """Return the name of one of ``neighbors``' sections; "" where there is but one."""
        if self.library is None:
            return ""
        named = self.library.codes[np.argmax(self.neighbors.section == code)]
        return self.library.values[named] if named >= 0 else "unknown"

    def small_sections(self, n_neighbors: int) -> list[tuple[str, int]]:
        """Return (name, number of cells) of sections too small for so many neighbours."""
        sizes = self.neighbors.section_sizes
        small = np.flatnonzero((sizes > 0) & (sizes <= n_neighbors))
        return [(self.section_name(code), int(sizes[code])) for code in small]

    def named_types(self, nearest: np.ndarray, n_neighbors: int) -> np.ndarray:
        """Return the types of some cells' nearest cells, nearest first, missing types skipped.

        Parameters
        ----------
        nearest
            (m, at least ``n_neighbors``) cells, nearest first; -1 where there are no more.
        n_neighbors
            How many to name.

        Returns
        -------
        numpy.ndarray
            (m, n_neighbors) int32 codes of ``types``, -1 where there are no more.
        """
        codes = np.append(self.types.codes, -1).astype(np.int32)[nearest[:, :n_neighbors]]
        if (codes < 0).any():
            order = np.argsort(codes < 0, axis=1, kind="stable")
            codes = np.take_along_axis(codes, order, axis=1)
        return codes


def n_searched(recipe: Recipe) -> int:
    """Return how many nearest cells a run looks for, whatever it needs them for.

    Among equally near cells, which ones are found may depend on how many are looked for; so the
    graph, all sentences and a single one look for as many.
    """
    return max(recipe.n_neighbors, recipe.n_sentence_neighbors)


def read_tissue(adata: AnnData, recipe: Recipe, cancel: CancelToken | None = None) -> Tissue:
    """Read everything from the data that the sentences and the graph are made of.

    Quick where there are cell types, since nothing of the expression is read then; else they
    are found in it (see :func:`~.marker_types.find_types`).

    Parameters
    ----------
    adata
        The data; only read.
    recipe
        The resolved recipe (see :func:`~.resolve.resolve`).
    cancel
        Checked while cell types are found.

    Raises
    ------
    UserError
        When there are no usable positions, a column does not exist, or cell types are to be
        found in a matrix that cannot be used.
    """
    coords = positions(adata)
    left_out = np.full(adata.n_obs, "", object)
    if recipe.leave_out_failed:
        left_out[_failed_qc(adata.obs)] = FAILED_QC
    left_out[~np.isfinite(coords).all(axis=1)] = NO_POSITION
    coords[left_out != ""] = np.nan
    library = None if recipe.library_key is None else obs_feature(adata.obs, recipe.library_key)
    neighbors = NeighborIndex(coords, None if library is None else library.codes)
    naming = neighbors
    if recipe.neighbors_across_sections and library is not None:
        naming = NeighborIndex(coords)
    types, notices = _types(adata, recipe, left_out, cancel)
    features = [obs_feature(adata.obs, name) for name in recipe.obs_features]
    if recipe.neighbors_in == "graph":
        own = recipe.cell_type_key or FOUND_TYPE
        features = [feature for feature in features if feature.name != own]
        codes, names = types.codes.astype(np.int32), tuple(types.categories)
        features.insert(0, Feature(own, codes, names))
    return Tissue(
        neighbors=neighbors,
        naming=naming,
        types=types,
        features=tuple(features),
        left_out=left_out,
        library=library,
        types_found=recipe.cell_type_key is None,
        notices=notices,
    )


def positions(adata: AnnData) -> np.ndarray:
    """Return a copy of obsm['spatial'] as (n, 2 or 3) float64.

    Raises
    ------
    UserError
        When it is absent, is not two or three numbers a cell, or no cell has a position.
    """
    if "spatial" not in adata.obsm:
        there = ", ".join(map(str, adata.obsm)) or "nothing"
        raise UserError(
            "The data have no positions: obsm['spatial'] is missing (obsm has "
            f"{there}); store the coordinates there as (x, y)."
        )
    stored = adata.obsm["spatial"]
    stored = stored.to_numpy() if isinstance(stored, pd.DataFrame) else stored
    stored = stored.toarray() if hasattr(stored, "toarray") else np.asarray(stored)
    try:
        coords = stored.astype(np.float64)
    except (TypeError, ValueError):
        raise UserError("The positions in obsm['spatial'] are not numbers.") from None
    if coords.ndim != 2 or coords.shape[1] not in (2, 3):
        found = 1 if coords.ndim == 1 else coords.shape[1]
        plural = "" if found == 1 else "s"
        raise UserError(
            f"obsm['spatial'] has {found} coordinate{plural} a cell; two (x, y) or three "
            "(x, y, z) are needed."
        )
    if not np.isfinite(coords).all(axis=1).any():
        raise UserError("No cell has a position: every row of obsm['spatial'] has a NaN.")
    return coords


def obs_feature(obs: pd.DataFrame, name: str) -> Feature:
    """Read an obs column as codes and texts.

    Raises
    ------
    UserError
        When there is no such column, with the close matches.
    """
    if name not in obs.columns:
        raise unknown_name("obs column", name, obs.columns)
    column = obs[name]
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes, values = column.cat.codes.to_numpy(), column.cat.categories
    else:
        codes, values = pd.factorize(column)
        if values.dtype.kind == "f" and np.isfinite(values).all() and not (values % 1).any():
            values = values.astype(np.int64)  # whole numbers with gaps: 3, not 3.0
    return Feature(name, codes.astype(np.int32), tuple(str(value) for value in values))


def obs_types(obs: pd.DataFrame, name: str) -> pd.Categorical:
    """Read an obs column as cell types, categories as texts and in their own order."""
    feature = obs_feature(obs, name)
    values = [*feature.values, None]
    categories = list(dict.fromkeys(feature.values))
    return pd.Categorical([values[code] for code in feature.codes], categories=categories)


def _types(
    adata: AnnData, recipe: Recipe, left_out: np.ndarray, cancel: CancelToken | None
) -> tuple[pd.Categorical, tuple[str, ...]]:
    """Return the cell types and what to say of them."""
    if recipe.cell_type_key is None:
        matrix, genes = expression(adata, recipe.layer)
        # Not by the recipe's seed: another seed should ask the model for no other sentences.
        types = find_types(matrix, genes, left_out == "", cancel=cancel)
        found = len(types.categories)
        return types, (
            f"There are no cell types; {found} found in the expression and named by their marker "
            "genes stand in.",
        )
    types = obs_types(adata.obs, recipe.cell_type_key)
    missing = int(((types.codes < 0) & (left_out == "")).sum())
    if not missing:
        return types, ()
    cells = "1 cell has" if missing == 1 else f"{missing:,} cells have"
    return types, (f"{cells} no cell type; the sentences of cells near them skip them.",)


def _failed_qc(obs: pd.DataFrame) -> np.ndarray:
    """Return (n,) bool: cells that quality control took out, not an earlier run of ours."""
    if "qc_pass" not in obs:
        return np.zeros(len(obs), bool)
    failed = obs["qc_pass"].isin([False]).to_numpy(bool)  # a missing value is no failure
    if "qc_reason" in obs:
        failed &= ~obs["qc_reason"].isin((NO_POSITION, NO_GENE)).to_numpy(bool)
    return failed
