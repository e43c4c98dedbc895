"""What "auto" means for the data at hand, and what is refused before anything is computed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_cellama.core.matrix import expression
from napari_cellama.core.slots import stored_recipe
from napari_cellama.core.tissue import obs_feature, positions
from napari_cellama.errors import UserError, need_anndata, unknown_name
from napari_cellama.recipe import AUTO, Recipe

if TYPE_CHECKING:
    from anndata import AnnData

#: Column names that mean cell types, most telling first, compared without case and punctuation.
_TYPE_NAMES = (
    "celltype",
    "celltypes",
    "cellsubtype",
    "celltypefine",
    "celltypemajor",
    "celltypeminor",
    "celltypecoarse",
    "cellclass",
    "cellannotation",
    "annotation",
    "annotations",
    "predictedcelltype",
    "cellontology",
    "subclass",
    "class",
    "cluster",
    "clusters",
    "leiden",
    "louvain",
    "seuratclusters",
)
#: Column names that mean sections.
_SECTION_NAMES = (
    "libraryid",
    "library",
    "sectionid",
    "section",
    "sliceid",
    "slice",
    "slideid",
    "slide",
    "sampleid",
    "sample",
    "bregma",
    "batch",
)
#: Column names that are categories of something other than cell types.
_OTHER_NAMES = re.compile(
    r"niche|region|domain|layer|sample|batch|slide|slice|section|library|donor|patient|mouse|"
    r"animal|fov|^qc|_id$|barcode|sex|condition|treatment|phase|array_",
    re.IGNORECASE,
)
#: More categories than this are names of cells, not of types.
_MOST_TYPES = 200
_MOST_SECTIONS = 1_000
#: Rows that tell what kind of values a column has.
_GLANCED_ROWS = 5_000


def resolve(adata: AnnData, recipe: Recipe) -> Recipe:
    """Return the recipe with the columns that "auto" means filled in, or refuse.

    ``n_clusters`` and ``device`` stay "auto": they are decided during the run.

    Parameters
    ----------
    adata
        The data; only read, and nothing of X but its shape and type.
    recipe
        What the user asks for.

    Raises
    ------
    UserError
        When the data or the recipe cannot be used: too few cells, no genes, no positions, an
        unknown column or layer, more niches than cells.
    """
    need_anndata(adata, "run")
    _refuse_size(adata, recipe)
    expression(adata, recipe.layer)
    positions(adata)
    cell_type_key, library_key = recipe.cell_type_key, recipe.library_key
    if cell_type_key == AUTO and AUTO not in adata.obs:
        cell_type_key = guess_cell_type_key(adata.obs, adata.uns)
    if library_key == AUTO and AUTO not in adata.obs:
        library_key = guess_library_key(adata.obs, adata.uns)
    for name in (cell_type_key, library_key, *recipe.obs_features):
        if name is not None and name not in adata.obs:
            raise unknown_name("obs column", name, adata.obs.columns)
    _refuse_type_column(adata.obs, cell_type_key)
    if recipe.use_existing_graph and "spatial_connectivities" not in adata.obsp:
        raise UserError(
            "There is no graph in obsp['spatial_connectivities'] to use; build one (e.g. with "
            "squidpy) or untick 'Use existing graph'."
        )
    return recipe.replace(cell_type_key=cell_type_key, library_key=library_key)


def guess_cell_type_key(obs: pd.DataFrame, uns: Mapping[str, Any] | None = None) -> str | None:
    """Return the column most likely to hold cell types.

    That is the one that the last run in ``uns`` took, else one of a familiar name, else the
    likeliest.
    """
    if (key := _of_last_run(uns or {})) in obs:
        return key
    names = [name for name in map(str, obs.columns) if name in obs]
    # Counting values takes time on long columns: only those that are in question are counted.
    for name in sorted(names, key=_familiarity):
        if _familiarity(name) == len(_TYPE_NAMES):
            break
        if _holds_types(obs[name]):
            return name
    likely = (
        name
        for name in names
        if isinstance(obs[name].dtype, pd.CategoricalDtype)
        and 1 < len(obs[name].cat.categories) <= _MOST_TYPES
        and not _OTHER_NAMES.search(name)
    )
    return next(likely, None)


def cell_type_columns(obs: pd.DataFrame) -> list[str]:
    """Return the columns that could hold cell types: texts, categories or whole numbers, few."""
    names = [name for name in map(str, obs.columns) if name in obs]
    return [name for name in names if _holds_types(obs[name])]


def _of_last_run(uns: Mapping[str, Any]) -> str | None:
    """Return the cell-type column that the last run stored in ``uns`` took, if there is one."""
    try:
        recipe = stored_recipe(uns)
    except UserError:
        return None
    return None if recipe is None else recipe.cell_type_key


def _holds_types(column: pd.Series) -> bool:
    """Whether a column's values could be cell types, whatever its name."""
    if _is_categories(column):
        return n_values(column, _MOST_TYPES) <= _MOST_TYPES
    if not pd.api.types.is_integer_dtype(column):
        return False
    # Clusters' numbers come again and again; counts and places in a grid do less.
    most = max(2, min(_MOST_TYPES, len(column) // 10))
    return n_values(column, most) <= most


def guess_library_key(obs: pd.DataFrame, uns: Mapping[str, Any] | None = None) -> str | None:
    """Return the column most likely to say which section a cell lies in, or ``None``.

    A column whose values name the entries of ``uns['spatial']`` (squidpy's convention) comes
    first, then familiar names. A column of a single value says nothing and is not returned.
    """
    spatial = (uns or {}).get("spatial")
    images = {str(name) for name in spatial} if isinstance(spatial, Mapping) else set()
    most = max(2, min(_MOST_SECTIONS, len(obs) // 10))
    columns = [
        name
        for name in map(str, obs.columns)
        if name in obs
        and (_is_categories(obs[name]) or pd.api.types.is_integer_dtype(obs[name]))
        and 1 < n_values(obs[name], most) <= most
    ]
    for name in columns:
        if images and set(obs_feature(obs, name).values) == images:
            return name
    for known in _SECTION_NAMES:
        for name in columns:
            if _plain(name) == _plain(known):
                return name
    return None


def n_values(column: pd.Series, most: int) -> int:
    """Count a column's different values; give up at once where there are clearly more than most.

    Categories are counted whether they occur or not.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        return len(column.cat.categories)
    few = column.iloc[:_GLANCED_ROWS].nunique()
    return few if few > most or len(column) <= _GLANCED_ROWS else column.nunique()


def _is_categories(column: pd.Series) -> bool:
    """Whether a column holds categories or texts."""
    return isinstance(column.dtype, pd.CategoricalDtype) or bool(
        pd.api.types.is_string_dtype(column.iloc[:_GLANCED_ROWS].dropna())
    )


def _plain(name: str) -> str:
    """Return a name without case and punctuation."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _familiarity(name: str) -> int:
    """Return the rank of a column's name among those that mean cell types."""
    plain = _plain(name)
    return _TYPE_NAMES.index(plain) if plain in _TYPE_NAMES else len(_TYPE_NAMES)


def _refuse_size(adata: AnnData, recipe: Recipe) -> None:
    """Refuse data without enough cells, and more niches than cells."""
    if adata.n_obs == 0:
        raise UserError("The data have no cells.")
    if adata.n_obs == 1:
        raise UserError("The data have one cell only; niches need at least two.")
    if recipe.n_clusters != AUTO:
        refuse_more_niches(recipe.n_clusters, adata.n_obs)


def refuse_more_niches(n_clusters: int, n_cells: int) -> None:
    """Refuse to find more niches than there are cells to find them among."""
    if n_clusters > n_cells:
        raise UserError(
            f"{n_clusters:,} niches cannot be found among {n_cells:,} cells; ask for fewer."
        )


def _refuse_type_column(obs: pd.DataFrame, name: str | None) -> None:
    """Refuse a column of measurements as cell types."""
    if name is None or not pd.api.types.is_float_dtype(obs[name]):
        return
    values = obs[name].dropna()
    if (values % 1 != 0).any():
        raise UserError(
            f"The obs column {name!r} holds measurements (e.g. {values.iloc[0]:g}), not cell "
            "types; choose a column of categories, or none."
        )
