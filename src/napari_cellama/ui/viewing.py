"""What is seen, selected and undone in the active tissue: what users steer of the session."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from psygnal import Signal

from napari_cellama.core.labels import LabelSet
from napari_cellama.core.qc_stored import FLAG
from napari_cellama.errors import UserError
from napari_cellama.ui.commands import State
from napari_cellama.ui.painting import check_coloring
from napari_cellama.ui.selection import How, Tool, combined, described
from napari_cellama.ui.tissue import Coloring, Shape, Tissue


class Viewing:
    """Colours, selection, clusters and history of the active tissue; a session is one.

    Events (psygnal signals; all on the main thread)

    ``coloring_changed(tissue)``, ``selection_changed(tissue)``
        The tissue is to be painted anew; selection alone, or colours and selection. The latter
        also tells of cells that were hidden or shown.
    ``labels_changed(tissue, key)``
        A label set appeared, went, or its names, colours or codes changed.
    ``clusters_changed(tissue)``
        The Clusters dock is to show another label set.
    ``history_changed(tissue)``
        There is something else to undo or redo.
    ``quality_changed(tissue)``
        Quality control has measured cells, or others fail: by their limits or by a hand's flags.
    ``images_changed(tissue)``
        It has other images, they lie or are shown elsewise, or others are measured or seen.
    ``cell_picked(tissue, cell)``
        A cell was clicked.
    ``shape_changed(tissue)``
        The tissue's cells are to be drawn in another way.
    ``boundaries_ready(tissue)``
        The outlines of the tissue's cells have been read.
    ``tool_changed()``
        Another tool is in hand, or it does something else with the selection.
    """

    coloring_changed = Signal(object)
    selection_changed = Signal(object)
    labels_changed = Signal(object, str)
    clusters_changed = Signal(object)
    history_changed = Signal(object)
    quality_changed = Signal(object)
    images_changed = Signal(object)
    cell_picked = Signal(object, int)
    shape_changed = Signal(object)
    boundaries_ready = Signal(object)
    tool_changed = Signal()
    view_asked = Signal(str)

    #: What the mouse does on the tissue, and what becomes of the selection where no key is held.
    tool: Tool = "pick"
    how: How = "replace"
    active: Tissue | None

    def need_tissue(self) -> Tissue:
        """Return the active tissue, or raise one sentence if there is none."""
        if self.active is None:
            raise UserError("No tissue is open; open one with File > Open or Open tissue….")
        return self.active

    # ---- looking

    def color_by(self, coloring: Coloring | None) -> None:
        """Colour the active tissue by a label set, an obs column or a gene.

        Raises
        ------
        UserError
            When there is no such column or gene, or the genes have not been read yet.
        """
        tissue = self.need_tissue()
        if coloring is not None:
            check_coloring(tissue, coloring)
        if coloring != tissue.coloring:  # limits are those of one column or gene
            tissue.scale = replace(tissue.scale, limits=None)
        tissue.coloring = coloring
        self.coloring_changed.emit(tissue)

    def draw_as(self, shape: Shape, tissue: Tissue | None = None) -> None:
        """Draw the cells of a tissue, by default the active one, in another way."""
        tissue = self.need_tissue() if tissue is None else tissue
        if shape != tissue.shape:
            tissue.shape = shape
            self.shape_changed.emit(tissue)

    def set_scale(self, **changes: Any) -> None:
        """Change how numbers become colours; the names are those of :class:`~.tissue.Scale`.

        Raises
        ------
        UserError
            When the limits are not in order, or the coloured gene is not in the layer.
        """
        tissue = self.need_tissue()
        before, tissue.scale = tissue.scale, replace(tissue.scale, **changes)
        limits = tissue.scale.limits
        try:
            if limits is not None and not limits[0] < limits[1]:
                raise UserError("The lower limit must be below the upper one.")
            if tissue.coloring is not None:
                check_coloring(tissue, tissue.coloring)
        except UserError:
            tissue.scale = before
            raise
        if tissue.scale != before:
            self.coloring_changed.emit(tissue)

    def select(self, mask: np.ndarray, how: How = "replace", name: str | None = None) -> None:
        """Select cells; none selected shows all alike.

        Parameters
        ----------
        mask
            (n,) bool: the cells that were chosen.
        how
            Whether they replace the selection, are added to it, taken from it, or only those
            that are in both stay.
        name
            The step's name in the history.
        """
        tissue = self.need_tissue()
        selection = combined(tissue.selection, mask, how)
        if not np.array_equal(tissue.selection, selection):
            after = replace(tissue.state, selection=selection)
            self.change(tissue, name or described(selection), after)

    def pick_cell(self, cell: int, how: How = "replace") -> None:
        """Note the clicked cell and select the cluster it lies in, if clusters are shown."""
        tissue = self.need_tissue()
        tissue.picked = int(cell)
        self.cell_picked.emit(tissue, tissue.picked)
        labels = self.clusters
        if labels is not None and (cluster := int(labels.codes[cell])) >= 0:
            verb = "Select" if how == "replace" else f"{how.capitalize()}"
            self.select(labels.mask(cluster), how, f"{verb} {labels.names[cluster]}")

    def take_tool(self, tool: Tool, how: How | None = None) -> None:
        """Take another tool into the hand, or let it do something else with the selection."""
        how = self.how if how is None else how
        if (tool, how) != (self.tool, self.how):
            self.tool, self.how = tool, how
            self.tool_changed.emit()

    # ---- undo

    def change(self, tissue: Tissue, name: str, after: State) -> None:
        """Bring a tissue into another state as a step that can be undone."""
        before = tissue.state
        tissue.history.record(name, before, after)
        self._bring(tissue, before, after)

    def undo(self) -> None:
        """Undo the active tissue's last step; nothing happens where there is none."""
        tissue = self.need_tissue()
        if tissue.history.undo_name is not None:
            before = tissue.state
            self._bring(tissue, before, tissue.history.undo(before))

    def redo(self) -> None:
        """Do again what was undone last; nothing happens where nothing was."""
        tissue = self.need_tissue()
        if tissue.history.redo_name is not None:
            before = tissue.state
            self._bring(tissue, before, tissue.history.redo(before))

    def _bring(self, tissue: Tissue, before: State, after: State) -> None:
        """Make a tissue's state another one and tell of what is different."""
        tissue.restore(after)
        keys = dict.fromkeys([*before.labels, *after.labels])
        changed = [key for key in keys if before.labels.get(key) is not after.labels.get(key)]
        shown = after.clusters in changed or before.clusters != after.clusters
        if changed:
            tissue.saved = False
        for key in changed:
            self.labels_changed.emit(tissue, key)
        if shown:
            self._recolor(tissue)
            self.clusters_changed.emit(tissue)
        measured = before.quality is not after.quality
        judged = measured or before.thresholds is not after.thresholds or FLAG in changed
        lost = after.quality is None and bool(tissue.coloring and tissue.coloring.is_quality)
        if lost:
            self._recolor(tissue)
        repaint = shown or lost
        if tissue.coloring is not None:
            repaint |= tissue.coloring.name in changed or (judged and tissue.coloring.is_quality)
        if repaint:
            self.coloring_changed.emit(tissue)
        if judged:
            tissue.saved = False
            self.quality_changed.emit(tissue)
        if before.images is not after.images or before.choices != after.choices:
            tissue.saved = False
            self.images_changed.emit(tissue)
        if before.selection is not after.selection or before.hidden is not after.hidden:
            self.selection_changed.emit(tissue)
        self.history_changed.emit(tissue)

    @staticmethod
    def _recolor(tissue: Tissue) -> None:
        """Colour a tissue by its clusters; where there are none, by nothing that is gone."""
        if tissue.clusters is not None:
            tissue.coloring = Coloring("labels", tissue.clusters)
        elif tissue.coloring is not None and tissue.coloring.kind in ("labels", "quality"):
            tissue.coloring = None

    # ---- label sets

    @property
    def clusters(self) -> LabelSet | None:
        """The label set that the Clusters dock shows."""
        tissue = self.active
        if tissue is None or tissue.clusters is None:
            return None
        return tissue.label_set(tissue.clusters)

    def show_clusters(self, key: str) -> None:
        """Show an obs column or a run's niches as clusters, and colour the tissue by them."""
        self._show(self.need_tissue(), key)

    def _show(self, tissue: Tissue, key: str) -> None:
        tissue.label_set(key)
        tissue.clusters = key
        tissue.coloring = Coloring("labels", key)
        self.clusters_changed.emit(tissue)
        self.coloring_changed.emit(tissue)
