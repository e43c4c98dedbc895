"""A tissue's cells on a map: painted as on the tissue, named, picked and selected there."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_cellama.ui import format as fmt
from napari_cellama.ui.widgets.listen import listen
from napari_cellama.ui.widgets.map_keys import MapKeys

if TYPE_CHECKING:
    from napari_cellama.ui.layers import TissueLayers
    from napari_cellama.ui.layouts import Layout
    from napari_cellama.ui.map_canvas import MapCanvas
    from napari_cellama.ui.selection import How
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue


class CellMap(QObject):
    """Ties the points of a canvas to the cells of the active tissue.

    ``named(str)`` tells of the cell under the mouse; "" where there is none.

    Parameters
    ----------
    session
        Holds the selection.
    layers
        Know the cells' colours.
    canvas
        Draws the points.

    Attributes
    ----------
    layout
        The map that is shown; ``None`` where there is none.
    cells
        (m,) int64: the cell of each point, ascending.
    """

    named = Signal(str)

    def __init__(self, session: Session, layers: TissueLayers, canvas: MapCanvas) -> None:
        super().__init__(canvas.widget)
        self._session, self._layers, self._canvas = session, layers, canvas
        self._tissue: weakref.ref[Tissue] | None = None
        self.layout: Layout | None = None
        self.cells = np.zeros(0, np.int64)
        self._keys = MapKeys(canvas, session, self._select_in_view)
        canvas.clicked.connect(self._on_clicked)
        canvas.hovered.connect(self._on_hovered)
        canvas.lassoed.connect(self._on_lasso)
        canvas.renewed.connect(self._on_renewed)
        listen(self, session.coloring_changed, self._paint)
        listen(self, session.selection_changed, self._paint)

    # ---- what is shown

    def show(self, tissue: Tissue | None, layout: Layout | None) -> None:
        """Show a map of a tissue's cells; one that has grown stays where the user moved it."""
        known = None if self._tissue is None else self._tissue()
        before, self.layout = self.layout, layout
        self._tissue = None if tissue is None else weakref.ref(tissue)
        if known is tissue and _same(layout, before):
            return
        if layout is not None:
            drawn = np.isfinite(layout.places).all(axis=1)
            # The painter knows the colours of cells that have a place on the tissue.
            drawn[np.setdiff1d(np.arange(len(drawn)), self._layers.placement_of(tissue).cells)] = 0
            self.cells = np.flatnonzero(drawn)
            grown = known is tissue and before is not None and before.name == layout.name
            self._canvas.set_points(layout.places[self.cells], keep_view=grown)
        self._paint(tissue)

    def _on_renewed(self) -> None:
        self._paint(self._session.active)

    def _paint(self, tissue: Tissue | None) -> None:
        if tissue is None or self.layout is None or tissue is not self._session.active:
            return
        rgba = self._layers.colors_of(tissue, self.cells)
        self._canvas.paint(rgba, tissue.selection[self.cells])

    # ---- what the user does

    def _on_clicked(self, point: int | None) -> None:
        if self._is_seen(point):
            self._session.pick_cell(int(self.cells[point]))

    def _select_in_view(self, how: How) -> None:
        self._select(self._canvas.in_view(), how)

    def _on_lasso(self, inside: np.ndarray, how: How) -> None:
        self._select(inside, self._session.how if how == "replace" else how)

    def _select(self, inside: np.ndarray, how: How) -> None:
        tissue = self._session.active
        mask = np.zeros(tissue.n_obs, bool)
        mask[self.cells[inside]] = True
        mask &= ~tissue.hidden
        self._session.select(mask, how)

    def _on_hovered(self, point: int | None) -> None:
        self.named.emit(self._name_of(point) if self._is_seen(point) else "")

    def _name_of(self, point: int) -> str:
        """Return a point's cell, what it is by the tissue's colours, and its cluster."""
        tissue, cell = self._session.active, int(self.cells[point])
        parts = [str(tissue.snapshot.obs_names[cell])]
        coloring = tissue.coloring
        for key in dict.fromkeys([coloring.name if coloring else None, tissue.clusters]):
            if key in tissue.labels and tissue.labels[key].codes[cell] >= 0:
                parts.append(tissue.labels[key].names[tissue.labels[key].codes[cell]])
        return fmt.joined(*dict.fromkeys(parts))

    def _is_seen(self, point: int | None) -> bool:
        """Whether there is a point and its cell is not hidden."""
        if point is None or self.layout is None:
            return False
        return not self._session.active.hidden[self.cells[point]]


def _same(one: Layout | None, other: Layout | None) -> bool:
    """Whether two layouts are the same places."""
    if one is None or other is None:
        return one is other
    return one.places is other.places
