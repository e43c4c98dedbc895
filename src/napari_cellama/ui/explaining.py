"""What the sentence inspector asks about a clicked cell, answered in a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_cellama.core.events import CancelToken, last_of
from napari_cellama.core.explain import Explained, explaining, take_apart
from napari_cellama.core.similar import similar_cells
from napari_cellama.core.slots import recipe_of, stored_recipe
from napari_cellama.core.tissue import Tissue as ReadTissue
from napari_cellama.core.tissue import read_tissue
from napari_cellama.errors import UserError
from napari_cellama.recipe import Recipe
from napari_cellama.ui.searchable import Searchable, make_searchable

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_cellama.core.result import NicheResult

#: How many of the nearest cells are named.
N_NEAREST = 8


@dataclass(frozen=True)
class Answer:
    """A cell's sentence in parts, and the cells that are most like it.

    Attributes
    ----------
    explained
        The parts.
    why
        Why the cell has no sentence; "" if it has.
    nearest
        (cell, cosine) of the most similar other cells.
    result, searchable
        What was searched, for the next question.
    """

    explained: Explained
    why: str
    nearest: tuple[tuple[int, float], ...]
    result: NicheResult | None
    searchable: Searchable | None


class Explainer:
    """Explains one cell after the other; what it read of a tissue it keeps for the next one."""

    def __init__(self) -> None:
        self._read: tuple[AnnData, Recipe, ReadTissue] | None = None

    def explain(
        self,
        adata: AnnData,
        cell: int,
        result: NicheResult | None,
        searchable: Searchable | None,
        cancel: CancelToken,
    ) -> Answer:
        """Take a cell's sentence apart and find the cells that are most like it.

        Parameters
        ----------
        adata
            The snapshot.
        cell
            The cell's row.
        result
            The run whose sentences are meant; ``None`` for the one that was saved.
        searchable
            What is ready of it, if anything.
        cancel
            Checked between steps.
        """
        from napari_cellama.api import NamedEncoder
        from napari_cellama.io.embedding_cache import shared_cache

        recipe = _recipe(adata) if result is None else recipe_of(result)
        tissue = self._tissue(adata, recipe, cancel)
        parts = take_apart(adata, recipe, tissue, cell)
        if not parts.sentences:
            why = tissue.left_out[cell] or "no expressed gene"
            return Answer(parts, str(why), (), result, searchable)
        encoder = NamedEncoder(recipe.model, recipe.device, recipe.dtype)
        parts = last_of(explaining(parts, encoder, shared_cache(), cancel))
        searchable = searchable or make_searchable(adata, result)
        scores = similar_cells(searchable.space, np.arange(adata.n_obs) == cell).scores
        scores[cell] = np.nan
        known = int(np.isfinite(scores).sum())
        best = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")
        nearest = tuple((int(i), float(scores[i])) for i in best[: min(N_NEAREST, known)])
        return Answer(parts, "", nearest, result, searchable)

    def _tissue(self, adata: AnnData, recipe: Recipe, cancel: CancelToken) -> ReadTissue:
        if self._read is None or self._read[0] is not adata or self._read[1] != recipe:
            self._read = (adata, recipe, read_tissue(adata, recipe, cancel))
        return self._read[2]


def _recipe(adata: AnnData) -> Recipe:
    """Return the recipe of the run that was saved with the data."""
    recipe = stored_recipe(adata.uns)
    if recipe is None:
        raise UserError("No run was saved with these data.")
    return recipe
