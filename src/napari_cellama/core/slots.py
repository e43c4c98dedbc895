"""A result's documented places in an AnnData: what is written where, and what is left alone.

What an earlier run wrote is overwritten by a run of the same ``key_added``; what anybody else
wrote never is. ``uns['cellama']['runs'][key]['slots']`` lists what a run wrote, so that the two
can be told apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_cellama.core.sentences import joined_texts
from napari_cellama.errors import UserError
from napari_cellama.recipe import Recipe

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_cellama.core.result import NicheResult, View

UNS = "cellama"
#: How ``uns['spatial_neighbors']['params']`` says that the graph is ours.
GRAPH_SOURCE = "napari-cellama"
#: Above this many cells "auto" does not store the dense embedding.
MOST_CELLS_STORED = 2_000_000
#: Names that cannot be a run's key, since their slots are other things'.
_RESERVED = ("spatial", "cellama", "cell_sentence", "qc_pass", "qc_reason")
#: Cells whose embedding is put together at a time.
_CHUNK = 8_192


def apply_result(result: NicheResult, adata: AnnData) -> list[str]:
    """Write a result into an AnnData's slots; everything else stays as it is.

    Written are ``obs[key]``, ``uns[key_colors]``, ``obs[key_confidence]``, ``obsm[X_key]``, the
    graph in ``obsp`` with ``uns['spatial_neighbors']``, ``obs['qc_pass']`` and
    ``obs['qc_reason']`` where there are none yet, ``uns['cellama']``, and, unless the recipe
    says otherwise, ``obs['cell_sentence']`` ("" where a cell was left out) and
    ``obsm['X_cellama']``. These two hold the last run's. Where a name is taken by something
    that is not ours, the slot's name starts with the key instead: ``niche_connectivities``,
    ``niche_distances``, ``niche_neighbors``, ``niche_sentence``, ``X_niche_cellama``.

    Parameters
    ----------
    result
        A finished run's.
    adata
        The data it was computed from, cells in the same order.

    Returns
    -------
    list of str
        What was written, as ``"obs/niche"``.

    Raises
    ------
    UserError
        When the cells are not those of the run, or a name of the key's is taken.
    """
    _refuse_other_cells(result, adata)
    key, recipe = result.key, recipe_of(result)
    refuse_taken(adata, key)
    names = slot_names(adata, key)
    written = [
        _put(adata, f"obs/{key}", result.labels),
        _put(adata, f"uns/{key}_colors", np.array(result.colors, object)),
        _put(adata, f"obs/{key}_confidence", result.confidence),
        _put(adata, f"obsm/X_{key}", result.representation),
    ]
    if recipe.store_sentences:
        written.append(_put(adata, names["sentence"], joined_texts(result.views)))
    if stores_embedding(recipe, result.n_obs):
        written.append(_put(adata, names["embedding"], side_by_side(result.views)))
    if not recipe.use_existing_graph:
        written += _put_graph(result, adata, names)
    written += _put_quality(result, adata)
    _put_provenance(result, adata, written)
    return [*written, f"uns/{UNS}"]


def refuse_taken(adata: AnnData, key: str) -> None:
    """Refuse to write niches over what no earlier run wrote, or where other slots have theirs.

    Raises
    ------
    UserError
        Saying what is taken.
    """
    advice = "give the niches another name ('Store as' under Advanced, or key_added)."
    if key in _RESERVED:
        raise UserError(f"Niches cannot be stored as {key!r}, which has another meaning; {advice}")
    for slot in (f"obs/{key}", f"obs/{key}_confidence", f"obsm/X_{key}"):
        place, name = slot.split("/", 1)
        if name in getattr(adata, place) and not is_ours(adata, slot):
            raise UserError(f"{place} already has {name!r}, which no run here wrote; {advice}")


def slot_names(adata: AnnData, key: str) -> dict[str, str]:
    """Return the slots' names, avoiding those that are taken by something that is not ours.

    Returns
    -------
    dict
        ``sentence``, ``embedding``, ``connectivities``, ``distances`` and ``neighbors``, each as
        ``"obs/cell_sentence"``.
    """
    own_graph = graph_is_ours(adata) or not (
        "spatial_connectivities" in adata.obsp
        or "spatial_distances" in adata.obsp
        or "spatial_neighbors" in adata.uns
    )
    prefix = "spatial" if own_graph else key
    return {
        "sentence": _free(adata, "obs/cell_sentence", f"obs/{key}_sentence"),
        "embedding": _free(adata, "obsm/X_cellama", f"obsm/X_{key}_cellama"),
        "connectivities": f"obsp/{prefix}_connectivities",
        "distances": f"obsp/{prefix}_distances",
        "neighbors": f"uns/{prefix}_neighbors",
    }


def is_ours(adata: AnnData, slot: str) -> bool:
    """Whether an earlier run wrote the slot, named as ``"obs/niche"``."""
    runs = adata.uns.get(UNS, {}).get("runs", {})
    return any(slot in list(run.get("slots", ())) for run in runs.values())


def graph_is_ours(adata: AnnData) -> bool:
    """Whether ``obsp['spatial_connectivities']`` is a graph that a run here wrote."""
    neighbors = adata.uns.get("spatial_neighbors")
    params = neighbors.get("params", {}) if isinstance(neighbors, Mapping) else {}
    return isinstance(params, Mapping) and params.get("source") == GRAPH_SOURCE


def stores_embedding(recipe: Recipe, n_obs: int) -> bool:
    """Whether the dense embedding is to be written."""
    if recipe.store_embedding == "auto":
        return n_obs <= MOST_CELLS_STORED
    return recipe.store_embedding == "yes"


def side_by_side(views: tuple[View, ...]) -> np.ndarray:
    """Return (n, d x views) float32: unit rows whose cosines are the means of the views' cosines.

    NaN where a cell was left out.
    """
    width, scale = views[0].vectors.shape[1], np.float32(1 / np.sqrt(len(views)))
    joined = np.empty((len(views[0].index), width * len(views)), np.float32)
    for number, view in enumerate(views):
        block = joined[:, number * width : (number + 1) * width]
        for start in range(0, len(joined), _CHUNK):
            index = view.index[start : start + _CHUNK]
            rows = view.vectors[index]
            if view.scatter is not None:  # predicted vectors are shorter than exact ones
                rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
            block[start : start + _CHUNK] = rows * scale
        block[view.index < 0] = np.nan
    return joined


def taken_apart(stored: np.ndarray, names: Sequence[str]) -> tuple[View, ...]:
    """Return the views that :func:`side_by_side` joined, one sentence a cell.

    Parameters
    ----------
    stored
        (n, d) float32 ``obsm['X_cellama']``; NaN where a cell was left out.
    names
        The views', in their order.
    """
    from napari_cellama.core.result import View

    known = np.isfinite(stored).all(axis=1)
    index = np.where(known, np.cumsum(known) - 1, -1)
    blocks = np.split(stored[known] * np.float32(np.sqrt(len(names))), len(names), axis=1)
    return tuple(
        View(str(name), (), index, np.ascontiguousarray(block))
        for name, block in zip(names, blocks, strict=True)
    )


def fingerprint(adata: AnnData) -> str:
    """Return a short text that changes when cells are added, removed, renamed or reordered."""
    hashes = pd.util.hash_array(adata.obs_names.to_numpy(object), categorize=False)
    return hashlib.sha256(hashes.tobytes()).hexdigest()[:16]


def recipe_of(result: NicheResult) -> Recipe:
    """Return the resolved recipe that a result was made with."""
    text = result.provenance.get("recipe")
    return Recipe(key_added=result.key) if text is None else Recipe.from_json(text)


def stored_recipe(uns: Mapping[str, Any]) -> Recipe | None:
    """Return the recipe of the last run that was saved in ``uns``, if there was one.

    Raises
    ------
    UserError
        When it is of another version, whose run can still be looked at.
    """
    record = uns.get(UNS)
    runs = record.get("runs", {}) if isinstance(record, Mapping) else {}
    run = runs.get(record.get("last_run")) if runs else None
    return None if run is None else Recipe.from_json(str(run["recipe"]))


def _refuse_other_cells(result: NicheResult, adata: AnnData) -> None:
    """Refuse data whose cells are not those of the run, in its order."""
    if adata.n_obs != result.n_obs:
        raise UserError(
            f"The result is for {result.n_obs:,} cells, but the data have {adata.n_obs:,}; they "
            "were changed since. Run again."
        )
    if result.fingerprint and fingerprint(adata) != result.fingerprint:
        raise UserError(
            "The data's cells are not those of the run, or in another order; they were changed "
            "since. Run again."
        )


def _free(adata: AnnData, preferred: str, otherwise: str) -> str:
    """Return the preferred slot unless it is taken by something that is not ours."""
    place, name = preferred.split("/", 1)
    taken = name in getattr(adata, place) and not is_ours(adata, preferred)
    return otherwise if taken else preferred


def _put(adata: AnnData, slot: str, value: Any) -> str:
    """Write one slot and return its name."""
    place, name = slot.split("/", 1)
    getattr(adata, place)[name] = value
    return slot


def _put_graph(result: NicheResult, adata: AnnData, names: dict[str, str]) -> list[str]:
    """Write the graph as squidpy would, marked as ours."""
    recipe = recipe_of(result)
    params: dict[str, Any] = {"coord_type": "generic", "transform": "none", "source": GRAPH_SOURCE}
    if recipe.radius is None:
        params["n_neighbors"] = recipe.n_neighbors
    else:
        params["radius"] = recipe.radius
    neighbors = {
        "connectivities_key": names["connectivities"].split("/", 1)[1],
        "distances_key": names["distances"].split("/", 1)[1],
        "params": params,
    }
    return [
        _put(adata, names["connectivities"], result.connectivities),
        _put(adata, names["distances"], result.distances),
        _put(adata, names["neighbors"], neighbors),
    ]


def _put_quality(result: NicheResult, adata: AnnData) -> list[str]:
    """Flag the cells left out, unless quality control has its say already."""
    slots = ("qc_pass", "qc_reason")
    if any(name in adata.obs and not is_ours(adata, f"obs/{name}") for name in slots):
        return []
    reason = pd.Categorical(result.left_out.astype(str))
    return [
        _put(adata, "obs/qc_pass", result.left_out == ""),
        _put(adata, "obs/qc_reason", reason),
    ]


def _put_provenance(result: NicheResult, adata: AnnData, written: list[str]) -> None:
    """Add the run to ``uns['cellama']``, keeping what is there."""
    record = dict(adata.uns.get(UNS, {}))
    runs = dict(record.get("runs", {}))
    runs[result.key] = {**result.provenance, "slots": np.array(written, object)}
    record["runs"] = runs
    record["views"] = np.array([view.name for view in result.views], object)
    record["last_run"] = result.key
    adata.uns[UNS] = record
