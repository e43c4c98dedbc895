"""Label sets made by hand: their documented places in an AnnData, and back.

``obs[key]`` and ``uns[key_colors]`` hold the clusters as scanpy keeps them;
``uns['cellama']['label_sets'][key]`` holds what those two cannot: the clusters that were split,
what is part of what, and how they were divided.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellama.core.labels import LabelSet
from napari_cellama.core.palette import colors_of
from napari_cellama.core.slots import UNS

if TYPE_CHECKING:
    from anndata import AnnData

_RECORDS = "label_sets"


def write_labels(adata: AnnData, labels: LabelSet) -> list[str]:
    """Write a label set into its slots; returns their names, as ``"obs/niche"``."""
    flat, key = labels.flat(), labels.key
    adata.obs[key] = flat.categorical()
    adata.uns[f"{key}_colors"] = list(flat.colors)
    written = [f"obs/{key}", f"uns/{key}_colors"]
    records = {name: tree for name, tree in _records(adata).items() if name != key}
    if labels.edited or any(labels.is_group):
        records[key] = {
            "names": np.array(labels.names, object),
            "colors": np.array(labels.colors, object),
            "parents": np.array(labels.parents, np.int64),
            "splits": {f"{i:04d}": dict(split) for i, split in enumerate(labels.splits, 1)},
        }
    if records or is_annotation(adata, key):
        adata.uns[UNS] = {**adata.uns.get(UNS, {}), _RECORDS: records}
        written.append(f"uns/{UNS}")
    return written


def read_labels(adata: AnnData, key: str) -> LabelSet:
    """Return an obs column as a label set, with the tree of its clusters where one was kept."""
    column = adata.obs[key]
    flat = LabelSet.from_column(key, column, colors_of(column, adata.uns))
    record = _records(adata).get(key)
    if record is None:
        return flat
    names = tuple(str(name) for name in record["names"])
    colors = tuple(str(color) for color in record["colors"])
    parents = tuple(int(parent) for parent in record["parents"])
    if not set(flat.names) <= set(names):  # the column was changed elsewhere since
        return flat
    place = np.array([*(names.index(name) for name in flat.names), -1], np.int32)
    splits = record.get("splits", {})
    kept = tuple(splits[number] for number in sorted(splits))
    return LabelSet(key, place[flat.codes], names, colors, parents, edited=True, splits=kept)


def is_annotation(adata: AnnData, key: str) -> bool:
    """Whether an obs column is a label set that was made or edited here."""
    return key in _records(adata)


def _records(adata: AnnData) -> Mapping[str, Any]:
    record = adata.uns.get(UNS, {})
    return record.get(_RECORDS, {}) if isinstance(record, Mapping) else {}
