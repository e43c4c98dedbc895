"""What the Niches dock asks about a tissue; everything here runs in a worker's thread."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_cellama.recipe import AUTO, Recipe
from napari_cellama.ui import format as fmt

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_cellama.core.events import CancelToken
    from napari_cellama.core.tissue import Tissue


_NONE = ("none", None)


@dataclass(frozen=True)
class Offer:
    """Texts and values that a field may be chosen from, and what is chosen at first."""

    choices: list[tuple[str, Any]]
    first: Any = None


def column_offers(adata: AnnData) -> Mapping[str, Offer]:
    """Return what the form offers for a tissue's columns and layers, by the Recipe's hints."""
    from pandas.api.types import is_integer_dtype

    from napari_cellama.core.matrix import layer_names
    from napari_cellama.core.resolve import (
        cell_type_columns,
        guess_cell_type_key,
        guess_library_key,
    )

    obs = adata.obs
    types = cell_type_columns(obs)
    whole = [str(name) for name in obs if is_integer_dtype(obs[name])]
    texts = {name: f"{name} ({obs[name].nunique():,})" for name in [*types, *whole]}
    guessed = guess_cell_type_key(obs, adata.uns)
    types.sort(key=lambda name: name != guessed)
    return {
        "cell_type_column": Offer([*((texts[name], name) for name in types), _NONE], guessed),
        "obs_column": Offer(
            [("one section", None), *((text, name) for name, text in texts.items())],
            guess_library_key(obs, adata.uns),
        ),
        "obs_columns": Offer([(texts.get(str(name), str(name)), str(name)) for name in obs], ()),
        "layer": Offer([("X", None), *((name, name) for name in layer_names(adata))]),
    }


def model_offers() -> Mapping[str, Offer]:
    """Return what the form offers for models and devices."""
    from napari_cellama.core.devices import cpu_name, describe_device, gpu_names, has_mps
    from napari_cellama.io.models import available_models

    found = describe_device().partition("; ")[0]
    short = found.removeprefix("CPU (").removesuffix(")") if found == cpu_name() else found
    devices: list[tuple[str, Any]] = [(f"auto · {short}", AUTO)]
    devices += [(f"{name} · cuda:{i}", f"cuda:{i}") for i, name in enumerate(gpu_names())]
    if len(gpu_names()) > 1:
        devices.append((f"all: {describe_device('cuda')} · cuda", "cuda"))
    if has_mps():
        devices.append((describe_device("mps"), "mps"))
    devices.append((cpu_name(), "cpu"))
    models = [(name, name) for name in available_models()]
    return {"model": Offer(models), "device": Offer(devices, AUTO)}


def device_advice() -> str:
    """Say what would make an idle GPU usable; empty where there is nothing to mend."""
    from napari_cellama.core.devices import describe_device

    advice = describe_device().partition("; ")[2]
    return advice[:1].upper() + advice[1:]


@dataclass(frozen=True)
class Reach:
    """What a choice of neighbours means on a tissue: a text, and the distance behind it."""

    text: str
    distance: float = math.nan


def reach(adata: AnnData, recipe: Recipe) -> Reach:
    """Say how far away the neighbours are, or how many lie within the radius.

    Raises
    ------
    UserError
        When there are no positions, or no such section column.
    """
    from napari_cellama.core.graph import median_neighbor_count, median_neighbor_distance
    from napari_cellama.core.resolve import guess_library_key
    from napari_cellama.core.tissue import obs_feature, positions
    from napari_cellama.core.units import units_of

    coords, unit = positions(adata), units_of(adata)
    key = recipe.library_key
    if key == AUTO and AUTO not in adata.obs:
        key = guess_library_key(adata.obs, adata.uns)
    library = None if key is None else obs_feature(adata.obs, key).codes
    if recipe.radius is not None:
        number = median_neighbor_count(coords, recipe.radius, library)
        found = "no cell has a position" if math.isnan(number) else fmt.count(int(number), "cell")
        return Reach(f"{fmt.distance(recipe.radius, unit)} · about {found}")
    distance = median_neighbor_distance(coords, recipe.n_neighbors, library)
    if math.isnan(distance):
        return Reach("No section has so many cells; all there are will be taken.")
    return Reach(f"about {fmt.distance(distance, unit)}", distance)


@dataclass(frozen=True)
class CellText:
    """A cell's sentences, one a view, with their lengths where they could be counted."""

    cell: int
    name: str
    sentences: tuple[tuple[str, str], ...]
    tokens: tuple[int, ...] = ()
    limit: int = 0
    left_out: str = ""


class CellWriter:
    """Writes one cell's sentences; remembers what many cells and recipes share."""

    def __init__(self) -> None:
        self._tissue: tuple[Any, AnnData | None, Tissue | None] = (None, None, None)
        self._counter: tuple[str | None, Any] = (None, None)

    def forget(self) -> None:
        """Let go of the tissue, e.g. because another one is shown."""
        self._tissue = (None, None, None)

    def write(
        self, adata: AnnData, recipe: Recipe, cell: int | None, token: CancelToken
    ) -> CellText:
        """Return a cell's sentences under a recipe, as the run would write them.

        Where no cell was chosen, they are the first's that is not left out.

        Raises
        ------
        UserError
            When the run would refuse the recipe or the data.
        """
        from napari_cellama.core.resolve import resolve
        from napari_cellama.core.sentences import sentence_of

        resolved = resolve(adata, recipe)
        token.check()
        tissue = self._read(adata, resolved)
        token.check()
        if cell is None:
            cell = int((tissue.left_out == "").argmax())
        sentences = sentence_of(adata, resolved, cell, tissue)
        tokens, limit = self._count(recipe.model, [text for _, text in sentences])
        left_out = "" if sentences else tissue.left_out[cell] or "no expressed gene"
        name = str(adata.obs_names[cell])
        return CellText(cell, name, sentences, tokens, limit, left_out)

    def _read(self, adata: AnnData, resolved: Recipe) -> Tissue:
        """Return the cells as a run sees them, read anew only when it matters."""
        from napari_cellama.core.tissue import read_tissue

        # Whatever a cell's sentence may come from, except what changes with every click of a
        # spin box and is not read there.
        key = resolved.model_dump(
            exclude={"n_neighbors", "radius", "n_top_genes", "n_clusters", "n_sentence_neighbors"}
        )
        known, data, tissue = self._tissue
        if tissue is None or data is not adata or known != key:
            tissue = read_tissue(adata, resolved)
            self._tissue = (key, adata, tissue)
        return tissue

    def _count(self, model: str, sentences: list[str]) -> tuple[tuple[int, ...], int]:
        """Count tokens with a model that is here; nothing is downloaded for it."""
        from napari_cellama.io.models import TokenCounter, available_models, resolve_model

        known, counter = self._counter
        if known != model:
            here = model in available_models() or Path(model).expanduser().is_dir()
            counter = TokenCounter(resolve_model(model).path) if here else None
            self._counter = (model, counter)
        if counter is None or not sentences:
            return (), 0
        return tuple(int(number) for number in counter.count(sentences)), counter.limit
