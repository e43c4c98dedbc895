"""What is done with a run's results from Python: searching in them, and dividing clusters again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_cellama.core.events import last_of
from napari_cellama.errors import UserError, need_anndata, unknown_name

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData

    from napari_cellama.core.search_space import Of
    from napari_cellama.recipe import Recipe


def search(
    adata: AnnData, text: str, *, of: Of = "niches", raw: bool = False, device: str = "auto"
) -> np.ndarray:
    """Say how much each cell, or its niche, is like a description in plain words.

    The description is embedded by the model of the last run and compared with the embeddings
    that the run wrote into ``adata``. The documentation's page on searching says what can be
    found so, and how well.

    Parameters
    ----------
    adata
        With a run's results, see :func:`run`.
    text
        E.g. ``"oligodendrocytes next to endothelium"``. Genes are recognised by their names,
        neighbours by words such as "next to" and "near"; the rest is put into the sentences'
        own words.
    of
        "niches" compares neighbourhoods, "cells" single cells.
    raw
        Whether to compare the text as it is instead.
    device
        As in :class:`Recipe`.

    Returns
    -------
    numpy.ndarray
        (n,) float32, higher is more alike: cosines, or means of z scores where the text needs
        several comparisons; NaN for cells that were left out of the run.

    Raises
    ------
    UserError
        When there is no run to search in, or the text says nothing that can be compared.

    Examples
    --------
    >>> import napari_cellama as nc
    >>> adata.obs["white_matter"] = nc.search(adata, "white matter")  # doctest: +SKIP
    """
    from napari_cellama.api import NamedEncoder
    from napari_cellama.core.query import read_query
    from napari_cellama.core.search import searching
    from napari_cellama.core.search_space import SearchSpace
    from napari_cellama.io.embedding_cache import shared_cache

    need_anndata(adata, "search")
    if not isinstance(text, str):
        raise UserError(f"Describe in words what to look for; {text!r} is no text.")
    if of not in ("niches", "cells"):
        raise UserError(f"Search for 'niches' or 'cells', not for {of!r}.")
    space = SearchSpace.of_adata(adata)
    asked = space.ask(read_query(text, adata.var_names), of, raw=raw)
    return last_of(
        searching(space, asked, NamedEncoder(space.model, device), shared_cache())
    ).scores


def subcluster(
    adata: AnnData,
    clusters: str | int | Sequence[str | int],
    *,
    key: str = "niche",
    key_added: str | None = None,
    recipe: Recipe | None = None,
    **changes: Any,
) -> list[str]:
    """Divide some of the clusters again, by their cells' own surroundings.

    Picking a cell type divides it by what it lies among.

    Parameters
    ----------
    adata
        With the embeddings of an earlier :func:`run`.
    clusters
        One or several categories of ``obs[key]``, which are divided as one; 3 is "3".
    key
        A run's niches, or any obs column, e.g. of cell types.
    key_added
        The obs column for the outcome: the labels of ``key``, with the parts (3.1, 3.2, …) in
        place of what was divided. By default ``key`` itself where it was made here, and
        ``{key}_edited`` otherwise.
    recipe, **changes
        ``n_clusters``, ``clustering``, ``seed`` and the parameters of the context, as for
        :func:`run`.

    Returns
    -------
    list of str
        The parts' names, by falling size.

    Raises
    ------
    UserError
        When there is no such column or cluster, there are no embeddings, or the cells are too
        few.
    """
    from napari_cellama.api import make_recipe
    from napari_cellama.core.annotations import is_annotation, read_labels, write_labels
    from napari_cellama.core.label_edits import split
    from napari_cellama.core.slots import is_ours
    from napari_cellama.core.subclusters import embedded_views, stored_graph, subclusters

    need_anndata(adata, "subcluster")
    recipe = make_recipe(recipe, **changes)
    if key not in adata.obs:
        raise unknown_name("obs column", key, adata.obs.columns)
    labels = read_labels(adata, key)
    several = isinstance(clusters, Iterable) and not isinstance(clusters, str)
    named = [str(name) for name in (clusters if several else [clusters])]
    for name in named:
        if name not in labels.names:
            raise unknown_name(f"cluster in obs[{key!r}]", name, labels.names)
    ours = is_ours(adata, f"obs/{key}") or is_annotation(adata, key)
    key_added = key_added or (key if ours else f"{key}_edited")
    theirs = not (is_ours(adata, f"obs/{key_added}") or is_annotation(adata, key_added))
    if key_added in adata.obs and theirs:
        raise UserError(f"obs already has {key_added!r}, which was not made here; choose another.")
    cells = labels.mask(*(labels.names.index(name) for name in named))
    *_, divided = subclusters(embedded_views(adata), stored_graph(adata, recipe), cells, recipe)
    after = split(labels, cells, divided.parts, divided.record)
    write_labels(adata, replace(after, key=key_added, edited=True))
    return [str(name) for name in after.splits[-1]["parts"]]
