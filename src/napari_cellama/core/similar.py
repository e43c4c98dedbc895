"""Finding cells and niches by example, in the example's own tissue and in others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_cellama.core.context import along, averaged, principal_axes
from napari_cellama.core.events import CancelToken
from napari_cellama.core.search import Found
from napari_cellama.core.search_space import Of, SearchSpace
from napari_cellama.errors import UserError

#: On how many cells the way into a niche space is fitted; there are some hundred numbers to fit.
_FITTED_ON = 20_000


@dataclass(frozen=True)
class Example:
    """Some cells of a tissue, for which the like is looked for there and in other tissues.

    Attributes
    ----------
    space
        Of the tissue.
    cells
        (n,) bool.
    of
        "cells" compares cells, "niches" neighbourhoods.
    """

    space: SearchSpace
    cells: np.ndarray
    of: Of

    def at_home(self) -> Found:
        """Return how much each cell of the example's own tissue is like it."""
        return (similar_cells if self.of == "cells" else similar_niches)(self.space, self.cells)

    def why_not_in(self, other: SearchSpace) -> str:
        """Say why the like cannot be found in another tissue; "" if it can."""
        if other.model != self.space.model:
            return f"its cells were embedded by another model, {other.model!r}"
        if self._order_in(other) is None:
            names = " and ".join(view.name for view in other.views)
            return f"its sentences are of another kind ({names})"
        return ""

    def elsewhere(self, other: SearchSpace, cancel: CancelToken | None = None) -> Found:
        """Return how much each cell of another tissue is like the example.

        By the same measure as at home. Single cells: the cosine to the example's mean embedding.
        Niches: the other tissue's neighbourhoods are placed in the example's niche space, and the
        yardstick is the example's own tissue (1 at the example's middle, 0 at the distance that a
        typical cell of its tissue has).

        Parameters
        ----------
        other
            Of the other tissue; :meth:`why_not_in` says whether it can be compared.
        cancel
            Checked between chunks.

        Raises
        ------
        UserError
            When the tissues cannot be compared.
        """
        if why := self.why_not_in(other):
            raise UserError(f"The other tissue cannot be searched: {why}.")
        order = self._order_in(other)
        example = _described(self.space, self.cells)
        if self.of == "cells":
            return Found(_mean_cosine(other, order, _mean_vectors(self.space, example)))
        place = self.space.representation
        middle, typical = _yardstick(place, example)
        apart = np.linalg.norm(_placed_in(self.space, other, order, cancel) - middle, axis=1)
        return Found((1 - apart / typical).astype(np.float32))

    def _order_in(self, other: SearchSpace) -> list[int] | None:
        """Return where the other tissue has each view; ``None`` where it lacks one."""
        theirs = {view.name: number for number, view in enumerate(other.views)}
        order = []
        for view in self.space.views:
            number = theirs.get(view.name)
            if number is None or other.views[number].vectors.shape[1] != view.vectors.shape[1]:
                return None
            order.append(number)
        return order if len(theirs) == len(order) else None


def similar_cells(space: SearchSpace, cells: np.ndarray) -> Found:
    """Return how much each cell is like some cells, by the cosine to their mean embedding.

    Parameters
    ----------
    space
        What is searched.
    cells
        (n,) bool: the example.

    Raises
    ------
    UserError
        When none of the example's cells has a sentence.
    """
    vectors = _mean_vectors(space, _described(space, cells))
    return Found(_mean_cosine(space, list(range(len(space.views))), vectors))


def similar_niches(space: SearchSpace, cells: np.ndarray) -> Found:
    """Return how much each cell's niche is like that of some cells.

    By the distance in niche space from the example's middle: 1 there, 0 at the distance of a
    typical (median) cell, negative beyond.

    Parameters
    ----------
    space
        What is searched.
    cells
        (n,) bool: the example.

    Raises
    ------
    UserError
        When none of the example's cells has a sentence.
    """
    place = space.representation
    middle, typical = _yardstick(place, _described(space, cells))
    apart = np.linalg.norm(place - middle, axis=1)
    return Found((1 - apart / typical).astype(np.float32))


def _described(space: SearchSpace, cells: np.ndarray) -> np.ndarray:
    """Return the example's cells that have sentences."""
    example = np.asarray(cells, bool) & space.described
    if not example.any():
        raise UserError("The example has no embedding: its cells were left out of the run.")
    return example


def _mean_vectors(space: SearchSpace, example: np.ndarray) -> list[np.ndarray]:
    """Return the example's mean direction in each view."""
    vectors = []
    for view in space.views:
        uses = np.bincount(view.index[example], minlength=len(view.vectors))
        mean = (uses @ view.vectors / uses.sum()).astype(np.float32)
        vectors.append(mean / np.linalg.norm(mean))
    return vectors


def _mean_cosine(space: SearchSpace, order: list[int], vectors: list[np.ndarray]) -> np.ndarray:
    """Return (n,) float32: the mean over the views of the cells' cosines to a vector."""
    scores = np.zeros(len(space.described), np.float32)
    for number, vector in zip(order, vectors, strict=True):
        scores += space.own(number, vector)
    return scores / np.float32(len(order))


def _yardstick(place: np.ndarray, example: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the example's middle in niche space, and how far a typical cell is from it."""
    middle = place[example].mean(axis=0)
    typical = float(np.nanmedian(np.linalg.norm(place - middle, axis=1)))
    return middle, max(typical, 1e-12)


def _placed_in(
    home: SearchSpace, other: SearchSpace, order: list[int], cancel: CancelToken | None
) -> np.ndarray:
    """Return (n, p) float32: where another tissue's cells lie in a tissue's niche space.

    A place in niche space is a linear function of the principal components averaged over the
    neighbourhood (see :func:`~.context.placing`). It is found again by least squares, at home, and
    applied to the other tissue's averages along the same axes.
    """
    n_components, n_hops = home.placed_by
    axes = [principal_axes(view, home.described, n_components, cancel)[:2] for view in home.views]
    here = _averages(home, list(range(len(axes))), axes, n_hops, cancel)
    known = np.flatnonzero(home.described & np.isfinite(home.representation).all(axis=1))
    if len(known) > _FITTED_ON:
        known = np.random.default_rng(0).choice(known, _FITTED_ON, replace=False)
    fit, *_ = np.linalg.lstsq(_with_one(here[known]), home.representation[known], rcond=1e-6)
    there = _averages(other, order, axes, other.placed_by[1] if n_hops else 0, cancel)
    placed = (_with_one(there) @ fit.astype(np.float32)).astype(np.float32)
    placed[~other.described] = np.nan
    return placed


def _averages(
    space: SearchSpace,
    order: list[int],
    axes: list[tuple[np.ndarray, np.ndarray]],
    n_hops: int,
    cancel: CancelToken | None,
) -> np.ndarray:
    """Return (n, c) float32: the cells' components along given axes, averaged over neighbours."""
    parts = []
    for number, (mean, axis) in zip(order, axes, strict=True):
        view = space.views[number]
        parts.append(along(axis, view.vectors, mean, cancel)[np.maximum(view.index, 0)])
    values = np.concatenate(parts, axis=1)
    values[~space.described] = 0
    for _ in range(n_hops):
        values = averaged(space.graph, values, cancel)
    return values


def _with_one(values: np.ndarray) -> np.ndarray:
    return np.column_stack([values, np.ones(len(values), np.float32)])
