"""Whose outline is whose: by the cells' names, or by where they lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_cellama.io.tenx import texts

if TYPE_CHECKING:
    from napari_cellama.core.section_image import SectionImage

#: Columns of obs that files of outlines call cells by, after the names of obs themselves.
_COLUMNS = ("cell_id", "EntityID", "instance_id", "label_id", "cell_label", "label")
#: Pixels along the side of a part of a label image that is read at once.
_TILE = 2048


@dataclass(frozen=True, eq=False)
class CellNames:
    """What the cells of one section may be called, and where they lie.

    Attributes
    ----------
    obs
        The table of all cells.
    xy
        (n, 2) their positions.
    cells
        (m,) which of them are of the section.
    column
        The obs column that says what they are called; "" finds out.
    in_micrometres
        Whether positions are micrometres.
    """

    obs: pd.DataFrame
    xy: np.ndarray
    cells: np.ndarray
    column: str = ""
    in_micrometres: bool = False

    @property
    def n_obs(self) -> int:
        """The number of all cells."""
        return len(self.obs)

    @cached_property
    def _indices(self) -> list[pd.Index]:
        if self.column:
            return [self._index(self.obs[self.column])]
        columns = [self.obs[name] for name in _COLUMNS if name in self.obs]
        return [self._index(values) for values in (self.obs.index, *columns)]

    def _index(self, values: Any) -> pd.Index:
        values = np.asarray(values)[self.cells]
        if values.dtype.kind == "f" and np.isfinite(values).all():
            values = values.astype(np.int64)  # which a gap elsewhere has made decimal
        return pd.Index(texts(values), dtype=object)

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Return (k,) the cells that are called so; -1 for none. Of equal names the first."""
        best = np.full(len(ids), -1)
        for index in self._indices:
            if len(ids) == len(index) and (index.to_numpy() == ids).all() and index.is_unique:
                return self.cells
            unique = index[~index.duplicated()]
            first = np.flatnonzero(~index.duplicated())
            found = unique.get_indexer(pd.Index(ids, dtype=object))
            rows = np.where(found >= 0, np.append(self.cells[first], -1)[found], -1)
            if (rows >= 0).sum() > (best >= 0).sum():
                best = rows
        return best

    def best(self, columns: Iterable[tuple[str, np.ndarray]]) -> tuple[str | None, np.ndarray]:
        """Return of some columns of names the one that calls most cells, ``None`` if none does."""
        chosen: tuple[str | None, np.ndarray] = (None, np.empty(0, object))
        most = 0
        for name, ids in columns:
            n = (self.rows(ids) >= 0).sum()
            if n > most:
                chosen, most = (name, ids), n
        return chosen

    def example(self) -> str:
        """Say what the first cell is called."""
        return (
            f"the first is called {self._indices[0][0]!r}" if len(self.cells) else "there are none"
        )


def by_place(shapes: np.ndarray, names: CellNames) -> np.ndarray:
    """Return (k,) the cell that lies in each shape; -1 for none."""
    import shapely

    rows = np.full(len(shapes), -1)
    placed = names.cells[np.isfinite(names.xy[names.cells]).all(axis=1)]
    tree = shapely.STRtree(shapes)
    cell, shape = tree.query(shapely.points(names.xy[placed]), predicate="within")
    rows[shape[::-1]] = placed[cell[::-1]]
    return rows


def by_label(image: SectionImage, names: CellNames) -> Callable[[np.ndarray], np.ndarray]:
    """Return what tells whose label a number is: by name where names are such numbers.

    Else a label is that of the cell that lies on it.
    """
    placed = names.cells[np.isfinite(names.xy[names.cells]).all(axis=1)]
    labels = labels_under(image, names.xy[placed])
    named = names.rows(texts(labels))
    # Names that are numbers may count something else; then cells do not lie on their own.
    if labels.any() and (named == placed)[labels > 0].mean() > 0.5:
        return lambda ids: names.rows(texts(ids))
    order = np.argsort(labels, kind="stable")
    known, first = np.unique(labels[order], return_index=True)
    owners = np.where(known > 0, placed[order[first]], -1)

    def rows(ids: np.ndarray) -> np.ndarray:
        at = np.searchsorted(known, ids)
        return np.where(np.isin(ids, known), np.append(owners, -1)[at], -1)

    return rows


def labels_under(image: SectionImage, xy: np.ndarray) -> np.ndarray:
    """Return (k,) int64: the label at each position, 0 off the image."""
    places = np.floor(image.locate(xy)).astype(np.int64)
    labels = np.zeros(len(xy), np.int64)
    inside = np.flatnonzero(((places >= 0) & (places < image.shape)).all(axis=1))
    tile = places[inside] // _TILE
    order = np.lexsort(tile.T)
    inside, tile = inside[order], tile[order]
    for members in np.split(inside, np.flatnonzero((np.diff(tile, axis=0) != 0).any(axis=1)) + 1):
        if len(members):
            low, high = places[members].min(axis=0), places[members].max(axis=0) + 1
            part = image.read(slice(low[0], high[0]), slice(low[1], high[1]))[..., 0]
            row, column = (places[members] - low).T
            labels[members] = part[row, column]
    return labels
