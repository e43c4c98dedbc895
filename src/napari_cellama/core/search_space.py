"""The space that is searched: the embedded sentences of the cells, and who is near whom.

A query is embedded like a sentence and compared by cosine: with the cells' own embeddings, or
with the niches', which are the cells' embeddings averaged over their spatial neighbours. Since an
average of dot products is the dot product of the average, only one number a cell is carried over
the graph, however long the embeddings are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import scipy.sparse as sp

from napari_cellama.core.context import averaged
from napari_cellama.core.graph import row_normalized
from napari_cellama.core.query import Query, sentence_for
from napari_cellama.core.result import View
from napari_cellama.core.slots import UNS, recipe_of, slot_names, taken_apart
from napari_cellama.core.tissue import FOUND_TYPE
from napari_cellama.errors import UserError
from napari_cellama.recipe import Recipe

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_cellama.core.result import NicheResult

#: What is looked for: single cells, or neighbourhoods.
Of = Literal["niches", "cells"]
#: Components by which averages' lengths are known; what they leave out averages away.
_LENGTH_COMPONENTS = 64


@dataclass(frozen=True)
class Asked:
    """One comparison of a search.

    Attributes
    ----------
    view
        Position of the view that is compared.
    sentence
        What its embeddings are compared with.
    around
        Whether those of the neighbourhood are, averaged, or the cell's own.
    """

    view: int
    sentence: str
    around: bool


@dataclass(eq=False)
class SearchSpace:
    """The embedded sentences of n cells and who is near whom; built once, searched often.

    Attributes
    ----------
    views
        With vectors.
    graph
        (n, n) from :func:`~.graph.row_normalized`, among the cells with sentences.
    n_hops
        How often niches are averaged.
    feature
        How sentences call what a cell is; ``None`` where they do not say it.
    representation
        (n, p) the cells' places in niche space, for finding similar niches.
    model
        The language model's name.
    placed_by
        Principal components a view, and hops, that ``representation`` was made with.
    """

    views: tuple[View, ...]
    graph: sp.csr_matrix
    n_hops: int
    feature: str | None
    representation: np.ndarray
    model: str
    placed_by: tuple[int, int] = (30, 2)
    _lengths: dict[int, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of_result(cls, result: NicheResult) -> SearchSpace:
        """Search in what a run has just made."""
        return cls.make(
            result.views, result.connectivities, result.representation, recipe_of(result)
        )

    @classmethod
    def of_adata(cls, adata: AnnData) -> SearchSpace:
        """Search in what the last run wrote into an AnnData.

        Raises
        ------
        UserError
            When no run has been written to it, or its embeddings were not kept.
        """
        record = adata.uns.get(UNS, {})
        run = record.get("runs", {}).get(record.get("last_run"))
        if run is None:
            raise UserError(
                "There is nothing to search yet: the cells have no embeddings. Find niches first "
                "(Run in the Niches dock, or run(adata))."
            )
        recipe, names = Recipe.from_json(str(run["recipe"])), slot_names(adata, record["last_run"])
        key, graph = names["embedding"].split("/")[1], names["connectivities"].split("/")[1]
        if recipe.use_existing_graph:
            graph = "spatial_connectivities"
        place = f"X_{recipe.key_added}"
        lost = [f"obsm[{name!r}]" for name in (key, place) if name not in adata.obsm]
        lost += [] if graph in adata.obsp else [f"obsp[{graph!r}]"]
        if lost:
            raise UserError(f"{lost[0]} was not kept in these data; run again to search.")
        views = taken_apart(np.asarray(adata.obsm[key], np.float32), list(record["views"]))
        representation = np.asarray(adata.obsm[place], np.float32)
        return cls.make(views, adata.obsp[graph], representation, recipe)

    @classmethod
    def make(
        cls,
        views: tuple[View, ...],
        connectivities: sp.spmatrix,
        representation: np.ndarray,
        recipe: Recipe,
    ) -> SearchSpace:
        """Search among any embedded views, with a spatial graph and what made them."""
        described = np.all([view.index >= 0 for view in views], axis=0)
        graph = connectivities.tocsr()
        if not described.all():
            there = sp.diags_array(described.astype(np.float32), format="csr")
            graph = sp.csr_matrix(there @ graph @ there)
            graph.eliminate_zeros()
        feature = recipe.obs_features[0] if recipe.obs_features else None
        if recipe.neighbors_in == "graph":
            feature = recipe.cell_type_key or FOUND_TYPE
        return cls(
            views,
            row_normalized(graph),
            max(1, recipe.n_hops),
            feature,
            representation,
            recipe.model,
            (recipe.n_components, 0 if recipe.neighbors_in == "sentence" else recipe.n_hops),
        )

    @property
    def described(self) -> np.ndarray:
        """(n,) bool: the cells that have sentences."""
        return np.all([view.index >= 0 for view in self.views], axis=0)

    # ---- comparing

    def similarity(self, asked: Asked, vector: np.ndarray) -> np.ndarray:
        """Return (n,) float32: each cell's cosine to a unit vector; NaN where it has none."""
        own = self.own(asked.view, vector)
        if not asked.around:
            return own
        return self._averaged(own) / self._length(asked.view)

    def prepare(self) -> None:
        """Do once what every search needs: how long the averaged embeddings are."""
        for number in range(len(self.views)):
            self._length(number)

    def own(self, number: int, vector: np.ndarray) -> np.ndarray:
        """Return (n,) float32: a vector's products with the cells' own embeddings in a view."""
        view = self.views[number]
        return np.append(view.vectors @ vector, np.float32(np.nan))[view.index]

    def _averaged(self, values: np.ndarray) -> np.ndarray:
        """Carry values over the graph, leaving out the cells that have none."""
        missing = np.isnan(values)
        values = np.where(missing, np.float32(0), values)
        for _ in range(self.n_hops):
            values = self.graph @ values
        values[missing] = np.nan
        return values

    def _length(self, number: int) -> np.ndarray:
        """Return (n,) float32: the length of each niche's averaged embedding."""
        if number not in self._lengths:
            view = self.views[number]
            values = _in_main_directions(view)[np.maximum(view.index, 0)]
            values[view.index < 0] = 0
            for _ in range(self.n_hops):
                values = averaged(self.graph, values)
            length = np.sqrt(np.einsum("ij,ij->i", values, values))
            self._lengths[number] = np.maximum(length, np.float32(1e-6))
        return self._lengths[number]

    # ---- what a query is compared with

    def ask(self, query: Query, of: Of = "niches", *, raw: bool = False) -> tuple[Asked, ...]:
        """Decide which sentences stand for a query.

        Parameters
        ----------
        query
            From :func:`~.query.read_query`.
        of
            "niches" compares with the neighbourhoods, "cells" with the cells, and with their
            neighbourhoods only what the query says of neighbours.
        raw
            Compare the text as it was typed with every view.

        Raises
        ------
        UserError
            When the query is empty, or says nothing that the views speak of.
        """
        if not query.text:
            raise UserError("Type what to look for, e.g. a cell type, or one next to another.")
        around = of == "niches"
        if raw:
            return tuple(Asked(i, query.text, around) for i in range(len(self.views)))
        names = [view.name for view in self.views]
        asked = []
        for number, name in enumerate(names):
            if sentence := sentence_for(name, query, self.feature):
                asked.append(Asked(number, sentence, around))
        if query.near and "features" in names:
            # No sentence speaks of the neighbours, but their own sentences do.
            near = Query(query.near, own=query.near)
            number = names.index("features")
            asked.append(Asked(number, sentence_for("features", near, self.feature), True))
        if not asked:
            raise UserError(
                f"These cells' sentences speak of {' and '.join(names)} only, and {query.text!r} "
                "says nothing of that; search for the text as it is instead."
            )
        return tuple(asked)


def _in_main_directions(view: View) -> np.ndarray:
    """Return (u, c) float32: the sentences' vectors in the directions that hold their lengths.

    The leading axes of the vectors' second moment over the cells, without centring, so that the
    averages' lengths stay as they are but for what lies in other directions.
    """
    uses = np.bincount(view.index[view.index >= 0], minlength=len(view.vectors))
    moment = (view.vectors * uses[:, None].astype(np.float32)).T @ view.vectors
    _, axes = np.linalg.eigh(moment.astype(np.float64))
    return view.vectors @ axes[:, -_LENGTH_COMPONENTS:].astype(np.float32)
