"""Groups become niches: named, coloured, described. And another number of them, if asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from napari_cellama.core.clustering import cluster, confidence
from napari_cellama.core.consensus import Grouping
from napari_cellama.core.describe import neighbor_enrichment
from napari_cellama.core.events import CancelToken, Event, Finished, Progress
from napari_cellama.core.palette import niche_colors
from napari_cellama.core.resolve import refuse_more_niches
from napari_cellama.core.result import NicheResult
from napari_cellama.core.slots import recipe_of
from napari_cellama.recipe import Recipe


def as_niches(
    found: Grouping,
    space: np.ndarray,
    left_out: np.ndarray,
    types: pd.Categorical | None,
    connectivities: sp.csr_matrix,
) -> dict[str, Any]:
    """Return what a :class:`~.result.NicheResult` says of the niches themselves.

    Parameters
    ----------
    found
        The groups of the cells that were kept.
    space
        (n, p) niche space.
    left_out
        (n,) object: "" for the cells that were kept.
    types
        (n,) cell types, if any are known.
    connectivities
        (n, n) spatial graph.

    Returns
    -------
    dict
        ``labels``, ``colors``, ``confidence`` and ``composition``.
    """
    kept = np.asarray(left_out == "")
    codes, sure = np.full(len(kept), -1, np.int64), np.full(len(kept), np.nan, np.float32)
    codes[kept], sure[kept] = found.codes, confidence(space[kept], found)
    labels = pd.Categorical.from_codes(codes, [str(i + 1) for i in range(found.codes.max() + 1)])
    known = types is not None
    return {
        "labels": labels,
        "colors": niche_colors(labels, connectivities),
        "confidence": sure,
        "composition": neighbor_enrichment(labels, types, connectivities)
        if known
        else pd.DataFrame(),
    }


def regroup(
    result: NicheResult, n_clusters: int, *, cancel: CancelToken | None = None
) -> Iterator[Event]:
    """Find another number of niches without describing or embedding any cell again.

    The niches are those that a whole run of the same recipe with this number would find. What
    the first run found of how stable each number is stays with the result.

    Parameters
    ----------
    result
        Of a run.
    n_clusters
        How many niches.
    cancel
        Checked between runs of k-means.

    Yields
    ------
    Event
        :class:`~.events.Progress`, and last :class:`~.events.Finished` with the new result.

    Raises
    ------
    UserError
        When there are fewer cells than niches.
    Cancelled
        When the token says so.
    """
    cancel, start = cancel or CancelToken(), time.perf_counter()
    cancel.check()
    yield Progress("Clustering")
    kept = np.asarray(result.left_out == "")
    refuse_more_niches(n_clusters, int(kept.sum()))
    recipe = recipe_of(result).replace(n_clusters=n_clusters)
    features = result.representation[kept]
    found = cluster(features, recipe.clustering, n_clusters, recipe.seed, recipe.n_runs, cancel)
    niches = as_niches(
        found, result.representation, result.left_out, result.types, result.connectivities
    )
    yield Finished(replace(result, **niches, provenance=_record(result, recipe, start)))


def _record(result: NicheResult, recipe: Recipe, start: float) -> dict[str, Any]:
    """Return the result's provenance with the recipe that finds the new niches."""
    record = dict(result.provenance)
    if "recipe_asked" in record:
        asked = Recipe.from_json(record["recipe_asked"]).replace(n_clusters=recipe.n_clusters)
        record["recipe_asked"] = asked.to_json()
    took = round(time.perf_counter() - start, 4)
    record["seconds"] = {**record.get("seconds", {}), "Clustering": took}
    return {**record, "recipe": recipe.to_json()}
