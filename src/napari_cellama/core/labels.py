"""A label set: named, coloured clusters of cells, which may be parts of one another."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellama.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class LabelSet:
    """A named partition of n cells into clusters, as the Clusters dock edits it.

    Clusters form a tree: one that was split stays as the parent of its parts and keeps the cells
    that went into none of them. A parent comes right before its parts.

    Attributes
    ----------
    key
        The obs column that it is saved as.
    codes
        (n,) int32 positions in ``names``; -1 for cells without a label.
    names, colors
        One name and one ``#rrggbb`` a cluster.
    parents
        The position of each cluster's parent, -1 where it is part of no other; may be left out
        where all are such.
    edited
        Whether somebody has changed it since it was read or found.
    splits
        How clusters were divided, one record a time, the oldest first.
    """

    key: str
    codes: np.ndarray
    names: tuple[str, ...]
    colors: tuple[str, ...]
    parents: tuple[int, ...] = ()
    edited: bool = False
    splits: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if not self.parents:
            object.__setattr__(self, "parents", (-1,) * len(self.names))

    @classmethod
    def from_column(cls, key: str, column: pd.Series, colors: tuple[str, ...]) -> LabelSet:
        """Return the labels of an obs column, with the given colours, one a category."""
        import pandas as pd

        categories = pd.Categorical(column)
        return cls(
            key,
            np.asarray(categories.codes, np.int32),
            tuple(str(name) for name in categories.categories),
            colors,
        )

    # ---- cells

    @cached_property
    def sizes(self) -> np.ndarray:
        """(number of clusters,) int64: how many cells each has, those of its parts left out."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))

    @cached_property
    def totals(self) -> np.ndarray:
        """(number of clusters,) int64: how many cells each has, with those of its parts."""
        totals = self.sizes.copy()
        for cluster in range(len(self.names) - 1, -1, -1):  # parts come after their parent
            if self.parents[cluster] >= 0:
                totals[self.parents[cluster]] += totals[cluster]
        return totals

    def mask(self, *clusters: int) -> np.ndarray:
        """Return (n,) bool: which cells lie in any of the clusters or their parts."""
        chosen = np.zeros(len(self.names) + 1, bool)
        for cluster in clusters:
            chosen[self.family(cluster)] = True
        return chosen[self.codes]  # -1 is the last, which nobody chooses

    # ---- the tree

    def family(self, cluster: int) -> list[int]:
        """Return a cluster and all its parts, in order."""
        members = {cluster}
        for other in range(cluster + 1, len(self.names)):
            if self.parents[other] not in members:
                break
            members.add(other)
        return sorted(members)

    def parts(self, cluster: int) -> list[int]:
        """Return the direct parts of a cluster; of -1, the clusters that are part of no other."""
        return [i for i, parent in enumerate(self.parents) if parent == cluster]

    def ancestors(self, cluster: int) -> list[int]:
        """Return what a cluster is part of, the nearest first."""
        found = []
        while (cluster := self.parents[cluster]) >= 0:
            found.append(cluster)
        return found

    @cached_property
    def is_group(self) -> tuple[bool, ...]:
        """Whether each cluster has parts."""
        with_parts = set(self.parents)
        return tuple(i in with_parts for i in range(len(self.names)))

    def flat(self) -> LabelSet:
        """Return the clusters that are stored: without those whose cells are all in their parts."""
        kept = [i for i, group in enumerate(self.is_group) if not group or self.sizes[i]]
        if len(kept) == len(self.names):
            return self
        place = np.full(len(self.names) + 1, -1, np.int32)
        place[kept] = np.arange(len(kept), dtype=np.int32)
        return LabelSet(
            self.key,
            place[self.codes],
            tuple(self.names[i] for i in kept),
            tuple(self.colors[i] for i in kept),
            edited=self.edited,
            splits=self.splits,
        )

    def categorical(self) -> pd.Categorical:
        """Return the labels as obs stores them; see :meth:`flat`."""
        import pandas as pd

        flat = self.flat()
        return pd.Categorical.from_codes(flat.codes, categories=list(flat.names))

    # ---- names and colours

    def renamed(self, cluster: int, name: str) -> LabelSet:
        """Return a copy in which one cluster has another name.

        Raises
        ------
        UserError
            When the name is empty or another cluster has it.
        """
        name = name.strip()
        if not name:
            raise UserError("A cluster's name cannot be empty.")
        if name in self.names and self.names.index(name) != cluster:
            raise UserError(f"Another cluster is already named {name!r}; choose another name.")
        names = tuple(name if i == cluster else old for i, old in enumerate(self.names))
        return replace(self, names=names)

    def recolored(self, cluster: int, color: str) -> LabelSet:
        """Return a copy in which one cluster has another colour.

        Raises
        ------
        UserError
            When the colour is not ``#rrggbb``.
        """
        if not re.fullmatch("#[0-9a-fA-F]{6}", color):
            raise UserError(f"{color!r} is not a colour; write it as #rrggbb, e.g. #1f77b4.")
        colors = tuple(color if i == cluster else old for i, old in enumerate(self.colors))
        return replace(self, colors=colors)

    def free_name(self, name: str) -> str:
        """Return ``name``, or the first of ``name 2``, ``name 3``, … that no cluster has."""
        number, free = 1, name
        while free in self.names:
            number += 1
            free = f"{name} {number}"
        return free


def made_up_of(labels: LabelSet, cells: np.ndarray) -> list[int]:
    """Return the clusters whose cells, (n,) bool, these are; none where they are no such sum.

    A parent stands for its parts where all of them are among them.
    """
    chosen = labels.codes[cells]
    if not len(chosen):
        return []
    counts = np.bincount(chosen[chosen >= 0], minlength=len(labels.names))
    full = counts == labels.sizes
    if counts[full].sum() != len(chosen):
        return []
    found: list[int] = []
    covered: set[int] = set()
    for cluster in range(len(labels.names)):
        family = labels.family(cluster)
        if cluster not in covered and labels.totals[cluster] and full[family].all():
            found.append(cluster)
            covered.update(family)
    return found


def same_cells(labels: LabelSet, some: Sequence[int], others: Sequence[int]) -> bool:
    """Whether some clusters and others are the same cells."""

    def with_cells(clusters: Sequence[int]) -> set[int]:
        members = {i for cluster in clusters for i in labels.family(cluster)}
        return {i for i in members if labels.sizes[i]}

    return with_cells(some) == with_cells(others)


def compared(one: LabelSet, other: LabelSet) -> tuple[pd.DataFrame, float]:
    """Compare two label sets of the same cells.

    Returns
    -------
    table
        One row a cluster of ``one``, one column a cluster of ``other``: how many cells have
        both labels.
    agreement
        Their adjusted Rand index over the cells that have both labels; NaN where none has.
    """
    import pandas as pd
    from sklearn.metrics import adjusted_rand_score

    one, other = one.flat(), other.flat()
    both = (one.codes >= 0) & (other.codes >= 0)
    rows, columns = one.codes[both].astype(np.int64), other.codes[both]
    shape = len(one.names), len(other.names)
    counts = np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1])
    table = pd.DataFrame(
        counts.reshape(shape),
        index=pd.Index(one.names, name=one.key),
        columns=pd.Index(other.names, name=other.key),
    )
    return table, float(adjusted_rand_score(rows, columns)) if both.any() else float("nan")


def arranged(labels: LabelSet, order: Sequence[int], codes: np.ndarray | None = None) -> LabelSet:
    """Return the labels with only these clusters, in this order.

    Parameters
    ----------
    labels
        The label set.
    order
        Positions of the clusters that stay, each parent before its parts. A part of one that
        goes becomes a part of what that was part of.
    codes
        (n,) the cells' clusters, as old positions, if they are not those of ``labels``. Cells
        of a cluster that goes lose their label.
    """
    place = np.full(len(labels.names) + 1, -1, np.int32)
    place[list(order)] = np.arange(len(order), dtype=np.int32)

    def parent_of(cluster: int) -> int:
        return next((int(place[i]) for i in labels.ancestors(cluster) if place[i] >= 0), -1)

    return replace(
        labels,
        codes=place[labels.codes if codes is None else codes],
        names=tuple(labels.names[i] for i in order),
        colors=tuple(labels.colors[i] for i in order),
        parents=tuple(parent_of(i) for i in order),
    )
