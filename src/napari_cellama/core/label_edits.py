"""What a hand does to a label set: merge, assign, add, split, move. Labels in, labels out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from napari_cellama.core.labels import LabelSet, arranged
from napari_cellama.core.palette import distinct_palette, shades
from napari_cellama.errors import UserError


def merged(labels: LabelSet, clusters: Sequence[int]) -> LabelSet:
    """Return the labels with some clusters, and their parts, as one.

    The largest gives it name, colour and place. Where the clusters are all that a parent was
    split into, they become that parent again.

    Raises
    ------
    UserError
        When there are fewer than two.
    """
    members = sorted({i for cluster in clusters for i in labels.family(cluster)})
    if len(members) < 2:
        raise UserError("Select two or more clusters to merge them.")
    heads = [i for i in members if not set(labels.ancestors(i)) & set(members)]
    kept = heads[int(np.argmax(labels.totals[heads]))]
    parent = labels.parents[kept]
    if parent >= 0 and not labels.sizes[parent] and set(heads) == set(labels.parts(parent)):
        kept, members = parent, [parent, *members]
    codes = labels.codes.copy()
    codes[_among(labels, members)] = kept
    gone = {i for i in members if i != kept}
    return _without_emptied(labels, replace(labels, codes=codes), gone)


def assigned(labels: LabelSet, cells: np.ndarray, cluster: int) -> LabelSet:
    """Return the labels with some cells in another cluster; -1 takes their label away.

    Parameters
    ----------
    labels
        The label set.
    cells
        (n,) bool.
    cluster
        Where they go. A cluster that loses its last cell goes.
    """
    codes = labels.codes.copy()
    codes[cells] = cluster
    gone = set(range(len(labels.names))) - {cluster}
    return _without_emptied(labels, replace(labels, codes=codes), gone)


def with_cluster(labels: LabelSet, cells: np.ndarray, name: str = "New cluster") -> LabelSet:
    """Return the labels with some cells, (n,) bool, in a new cluster, which comes last."""
    last = len(labels.names)
    added = replace(
        labels,
        names=(*labels.names, labels.free_name(name)),
        colors=(*labels.colors, _unused_color(labels.colors)),
        parents=(*labels.parents, -1),
    )
    return assigned(added, cells, last)


def split(
    labels: LabelSet,
    cells: np.ndarray,
    parts: np.ndarray,
    record: Mapping[str, Any] | None = None,
) -> LabelSet:
    """Return the labels with some cells as parts of the cluster that they lie in.

    The parts are named after that cluster (3.1, 3.2, …) and have shades of its colour. Cells of
    several clusters that are parts of one become parts of that one; otherwise they first become
    a cluster of their own.

    Parameters
    ----------
    labels
        The label set.
    cells
        (n,) bool: what was clustered again.
    parts
        (cells.sum(),) codes 0, 1, … of the parts; -1 where a cell goes into none.
    record
        How they were found, to be kept with the labels.
    """
    parent = _common_parent(labels, cells)
    before = labels
    if parent < 0:
        whole = _names_of_whole(labels, cells)
        name = " + ".join(whole) if 1 < len(whole) <= 3 else "Selection"
        labels = with_cluster(labels, cells, name)
        parent, before = len(labels.names) - 1, labels
    n_parts = int(parts.max(initial=-1)) + 1
    at = labels.family(parent)[-1] + 1
    names = _part_names(labels, parent, n_parts, cells)
    shift = np.arange(len(labels.names) + 1, dtype=np.int32)
    shift[at:] += n_parts
    shift[-1] = -1
    codes = shift[labels.codes]
    taken = np.flatnonzero(cells)[parts >= 0]
    codes[taken] = at + parts[parts >= 0]

    def moved(old: int) -> int:
        return old + n_parts if old >= at else old

    parents = [moved(old) for old in labels.parents]
    divided = replace(
        labels,
        codes=codes,
        names=(*labels.names[:at], *names, *labels.names[at:]),
        colors=(
            *labels.colors[:at],
            *shades(labels.colors[parent], n_parts),
            *labels.colors[at:],
        ),
        parents=(*parents[:at], *([parent] * n_parts), *parents[at:]),
        splits=(*labels.splits, _split_record(labels.names[parent], names, record)),
    )
    had_cells = np.flatnonzero(before.totals)
    gone = {moved(int(i)) for i in had_cells} - {parent}
    kept = [i for i in range(len(divided.names)) if i not in gone or divided.totals[i]]
    return divided if len(kept) == len(divided.names) else arranged(divided, kept)


def moved(labels: LabelSet, cluster: int, steps: int) -> LabelSet:
    """Return the labels with a cluster some steps down (or up) among those beside it.

    Its parts go with it; it stays a part of what it is part of.
    """
    beside = labels.parts(labels.parents[cluster])
    place = beside.index(cluster)
    target = min(max(place + steps, 0), len(beside) - 1)
    if target == place:
        return labels
    beside.insert(target, beside.pop(place))
    return _ordered(labels, labels.parents[cluster], beside)


def in_order(labels: LabelSet, order: Sequence[int]) -> LabelSet:
    """Return the labels with all clusters in another order, each parent before its parts."""
    return arranged(labels, list(order))


def _ordered(labels: LabelSet, parent: int, parts: Sequence[int]) -> LabelSet:
    """Return the labels with the parts of one parent (-1: the topmost) in another order."""

    def walk(cluster: int) -> list[int]:
        below = parts if cluster == parent else labels.parts(cluster)
        found = [] if cluster < 0 else [cluster]
        return found + [i for part in below for i in walk(part)]

    return arranged(labels, walk(-1))


def _among(labels: LabelSet, clusters: Sequence[int]) -> np.ndarray:
    """Return (n,) bool: the cells of exactly these clusters."""
    chosen = np.zeros(len(labels.names) + 1, bool)
    chosen[list(clusters)] = True
    return chosen[labels.codes]


def _without_emptied(before: LabelSet, after: LabelSet, may_go: set[int]) -> LabelSet:
    """Drop the clusters that an edit has emptied; those without cells before are the user's."""
    had_cells = np.append(before.totals > 0, np.zeros(len(after.names) - len(before.names), bool))
    kept = [
        i for i in range(len(after.names)) if i not in may_go or after.totals[i] or not had_cells[i]
    ]
    return after if len(kept) == len(after.names) else arranged(after, kept)


def _common_parent(labels: LabelSet, cells: np.ndarray) -> int:
    """Return the smallest cluster that holds all the cells; -1 where none does."""
    homes = np.unique(labels.codes[cells])
    if not len(homes) or homes[0] < 0:
        return -1
    lines = [[int(home), *labels.ancestors(int(home))] for home in homes]
    common = set(lines[0]).intersection(*lines[1:])
    return next((cluster for cluster in lines[0] if cluster in common), -1)


def _names_of_whole(labels: LabelSet, cells: np.ndarray) -> list[str]:
    """Return the names of the clusters that the cells make up; none where they do not."""
    chosen = labels.codes[cells]
    if (chosen < 0).any():
        return []
    counts = np.bincount(chosen, minlength=len(labels.names))
    hit = np.flatnonzero(counts)
    whole = (counts[hit] == labels.sizes[hit]).all()
    return [labels.names[i] for i in hit] if whole else []


def _part_names(labels: LabelSet, parent: int, number: int, cells: np.ndarray) -> list[str]:
    """Return names for new parts: 3.1, 3.2, … without those of clusters that keep some cells."""
    staying = replace(labels, codes=np.where(cells, -1, labels.codes)).totals
    goes = (staying == 0) & (labels.totals > 0)
    goes[parent] = False
    taken = {name for name, gone in zip(labels.names, goes, strict=True) if not gone}
    names, i = [], 0
    while len(names) < number:
        i += 1
        if (name := f"{labels.names[parent]}.{i}") not in taken:
            names.append(name)
    return names


def _split_record(
    parent: str, parts: Sequence[str], record: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    return {**(record or {}), "parent": parent, "parts": np.array(parts, object)}


def _unused_color(colors: Sequence[str]) -> str:
    """Return the first colour of the palette that is not among the given ones."""
    palette = distinct_palette(len(colors) + 1)
    taken = {color.lower() for color in colors}
    return next((color for color in palette if color not in taken), palette[-1])
