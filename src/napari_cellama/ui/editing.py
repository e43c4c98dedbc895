"""What a hand does to the shown clusters and to label sets: every method is one undoable step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_cellama.core import label_edits
from napari_cellama.core.labels import LabelSet
from napari_cellama.core.qc_stored import ACCEPTED, FLAG, FLAGGED
from napari_cellama.errors import UserError
from napari_cellama.ui import format as fmt

if TYPE_CHECKING:
    from napari_cellama.core.subclusters import Divided
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue

_RED, _GREEN = "#d62728", "#2ca02c"


class Editing:
    """Edits the active tissue's clusters and label sets through its session.

    Edits of a column of the user's own go to a label set beside it, which is then shown.
    All methods raise :class:`UserError` where there is nothing to edit or it cannot be done.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    # ---- clusters

    def rename(self, cluster: int, name: str) -> None:
        """Give a cluster another name."""
        labels = self._labels()
        after = labels.renamed(cluster, name)
        self._edit(f"Rename {labels.names[cluster]} to {after.names[cluster]}", after)

    def recolor(self, cluster: int, color: str) -> None:
        """Give a cluster another colour (``#rrggbb``)."""
        labels = self._labels()
        self._edit(f"Recolour {labels.names[cluster]}", labels.recolored(cluster, color))

    def merge(self, clusters: Sequence[int]) -> None:
        """Make one cluster of several; the largest gives it its name and colour."""
        labels = self._labels()
        after = label_edits.merged(labels, clusters)
        named = [labels.names[i] for i in sorted(clusters)]
        listed = ", ".join(named) if len(named) <= 3 else f"{len(named)} clusters"
        self._edit(f"Merge {listed}", after)

    def move(self, cluster: int, steps: int) -> None:
        """Move a cluster down (or, by a negative number of steps, up) in the own order."""
        labels = self._labels()
        where = "down" if steps > 0 else "up"
        after = label_edits.moved(labels, cluster, steps)
        self._edit(f"Move {labels.names[cluster]} {where}", after)

    def keep_order(self, order: Sequence[int]) -> None:
        """Make another order of all clusters their own."""
        labels = self._labels()
        if list(order) != list(range(len(labels.names))):
            self._edit("Reorder the clusters", label_edits.in_order(labels, order))

    def new_cluster(self) -> int:
        """Put the selected cells into a new cluster; returns its position."""
        labels, cells = self._labels(), self._selected()
        after = label_edits.with_cluster(labels, cells)
        number = fmt.count(int(cells.sum()), "cell")
        self._edit(f"Make {after.names[-1]} of {number}", after)
        return len(after.names) - 1

    def assign(self, cluster: int) -> None:
        """Put the selected cells into a cluster; -1 takes their label away."""
        labels, cells = self._labels(), self._selected()
        where = labels.names[cluster] if cluster >= 0 else "no cluster"
        number = fmt.count(int(cells.sum()), "cell")
        after = label_edits.assigned(labels, cells, cluster)
        self._edit(f"Assign {number} to {where}", after)

    def divide(self, divided: Divided) -> None:
        """Take what a subclustering of cells found: parts of the cluster that they lie in."""
        labels = self._labels()
        after = label_edits.split(labels, divided.cells, divided.parts, divided.record)
        parent, number = after.splits[-1]["parent"], divided.n_parts
        self._edit(f"Subcluster {parent} into {number}", after)

    def _edit(self, name: str, labels: LabelSet) -> None:
        """Take the edited clusters as a step, unless nothing has changed."""
        tissue = self._session.need_tissue()
        if labels is self._session.clusters:
            return
        key = labels.key
        if not tissue.is_ours(key):
            key = free_key(f"{key}_edited", tissue)
            text = f"Your column {labels.key!r} stays as it is; the changes go to {key!r}."
            self._session.message.emit("info", text, "")
        self._put(name, replace(labels, key=key, edited=True))

    def _put(self, name: str, labels: LabelSet) -> None:
        """Make a label set the shown one as a step."""
        tissue = self._session.need_tissue()
        state = tissue.state
        sets = {**state.labels, labels.key: labels}
        self._session.change(tissue, name, replace(state, labels=sets, clusters=labels.key))

    def flag(self) -> None:
        """Flag the selected cells; where all are flagged already, take their flags away.

        Flags are a label set beside the others, so that they are coloured, undone and saved as
        these are; what is shown stays.
        """
        tissue, cells = self._session.need_tissue(), self._selected()
        flags = self._flags(tissue)
        flagged = flags.names.index(FLAGGED)
        away = bool((flags.codes[cells] == flagged).all())
        name = f"{'Unflag' if away else 'Flag'} {fmt.count(int(cells.sum()), 'cell')}"
        self._put_flags(name, tissue, flags, cells, -1 if away else flagged)

    def mark(self, cells: np.ndarray, why: str) -> None:
        """Flag cells, (n,) bool, for a reason, or accept them whatever the limits of QC say."""
        tissue = self._session.need_tissue()
        flags, why = self._flags(tissue), why.strip() or FLAGGED
        if why not in flags.names:
            color = _GREEN if why == ACCEPTED else _RED
            names, colors = (*flags.names, why), (*flags.colors, color)
            flags = replace(flags, names=names, colors=colors, parents=(*flags.parents, -1))
        number = fmt.count(int(cells.sum()), "cell")
        name = f"Accept {number}" if why == ACCEPTED else f"Flag {number} as {why}"
        self._put_flags(name, tissue, flags, cells, flags.names.index(why))

    @staticmethod
    def _flags(tissue: Tissue) -> LabelSet:
        """Return the flags; without any where none was set yet."""
        flags = tissue.labels.get(FLAG)
        if flags is None and FLAG in tissue.snapshot.obs:
            flags = tissue.label_set(FLAG)
        if flags is None or FLAGGED not in flags.names:
            nothing = np.full(tissue.n_obs, -1, np.int32)
            return LabelSet(FLAG, nothing, (FLAGGED,), (_RED,))
        return flags

    def _put_flags(
        self, name: str, tissue: Tissue, flags: LabelSet, cells: np.ndarray, code: int
    ) -> None:
        codes = flags.codes.copy()
        codes[cells] = code
        state = tissue.state
        sets = {**state.labels, FLAG: replace(flags, codes=codes, edited=True)}
        self._session.change(tissue, name, replace(state, labels=sets))

    # ---- what is seen

    def hide(self) -> None:
        """Draw the selected cells no longer, and select nothing."""
        tissue, cells = self._session.need_tissue(), self._selected()
        number = fmt.count(int(cells.sum()), "cell")
        after = replace(
            tissue.state, hidden=tissue.hidden | cells, selection=np.zeros(tissue.n_obs, bool)
        )
        self._session.change(tissue, f"Hide {number}", after)

    def isolate(self) -> None:
        """Draw the selected cells only; a second time, all cells again."""
        tissue, cells = self._session.need_tissue(), self._selected()
        if np.array_equal(tissue.hidden, ~cells):
            self.show_hidden()
            return
        number = fmt.count(int(cells.sum()), "cell")
        self._session.change(tissue, f"Isolate {number}", replace(tissue.state, hidden=~cells))

    def show_hidden(self) -> None:
        """Draw all cells again."""
        tissue = self._session.need_tissue()
        if tissue.hidden.any():
            after = replace(tissue.state, hidden=np.zeros(tissue.n_obs, bool))
            self._session.change(tissue, "Show hidden cells", after)

    # ---- label sets

    def duplicate_set(self, key: str | None = None) -> str:
        """Put a copy of the shown label set beside it, under a name of its own, and show it."""
        tissue, labels = self._session.need_tissue(), self._labels()
        key = free_key(f"{labels.key}_copy", tissue) if key is None else _allowed(key, tissue)
        copy = replace(labels, key=key, edited=True)
        self._put(f"Duplicate {labels.key} as {key}", copy)
        return key

    def rename_set(self, name: str) -> None:
        """Give the shown label set another name, which is the obs column it is saved as."""
        tissue, labels = self._session.need_tissue(), self._labels()
        if name.strip() == labels.key:
            return
        refuse_fixed_set(tissue, labels.key)
        name = _allowed(name, tissue)
        state = tissue.state
        sets = {
            name if key == labels.key else key: replace(one, key=name) if one is labels else one
            for key, one in state.labels.items()
        }
        after = replace(state, labels=sets, clusters=name)
        self._session.change(tissue, f"Rename {labels.key} to {name}", after)

    def delete_set(self) -> None:
        """Let the shown label set go, and show the one before it, if there is one."""
        tissue, labels = self._session.need_tissue(), self._labels()
        refuse_fixed_set(tissue, labels.key)
        state = tissue.state
        sets = {key: one for key, one in state.labels.items() if key != labels.key}
        shown = next(reversed(sets), None)
        after = replace(state, labels=sets, clusters=shown)
        self._session.change(tissue, f"Delete {labels.key}", after)

    # ---- guards

    def _labels(self) -> LabelSet:
        self._session.need_tissue()
        labels = self._session.clusters
        if labels is None:
            raise UserError("No clusters are shown; choose some under Labels.")
        return labels

    def _selected(self) -> np.ndarray:
        tissue = self._session.need_tissue()
        if not tissue.selection.any():
            raise UserError("No cell is selected; click a cluster or draw a lasso first.")
        return tissue.selection


def free_key(key: str, tissue: Tissue) -> str:
    """Return ``key``, or the first of ``key_2``, ``key_3``, … that is not taken."""
    taken = set(tissue.snapshot.obs.columns) | set(tissue.labels)
    number, free = 1, key
    while free in taken:
        number += 1
        free = f"{key}_{number}"
    return free


def refuse_fixed_set(tissue: Tissue, key: str) -> None:
    """Refuse to rename or delete a label set that is not only in this session.

    Raises
    ------
    UserError
        Saying whose it is.
    """
    if key in tissue.results:
        raise UserError(f"{key!r} belongs to the run that found it; duplicate it instead.")
    if key in tissue.snapshot.obs:
        raise UserError(f"{key!r} is a column of the opened data; duplicate it instead.")


def _allowed(key: str, tissue: Tissue) -> str:
    """Return a label set's new name, or refuse it."""
    key = key.strip()
    if not key or "/" in key:
        raise UserError("A label set is saved as an obs column; its name needs text without '/'.")
    if key in tissue.snapshot.obs or key in tissue.labels:
        raise UserError(f"There is already a column or label set {key!r}; choose another name.")
    return key
