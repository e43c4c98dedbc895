"""Which cells are embedded exactly where the rest is predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from napari_cellama.core.result import View

#: Cells among which those that cover expression are looked for, and dimensions they are seen in.
_CANDIDATES, _DIMENSIONS = 20_000, 64
#: How many are chosen before distances are looked at again.
_ROUND = 25


class Landmarks(NamedTuple):
    """Cells in the order in which they are embedded.

    Attributes
    ----------
    cells
        (m,) int64.
    drawn
        (m,) bool: drawn by chance alone, as one cell in two is, so that what holds for these
        holds for the tissue. The others are there to cover it.
    """

    cells: np.ndarray
    drawn: np.ndarray


def choose_landmarks(
    views: Sequence[View], strata: np.ndarray, n_landmarks: int, seed: int = 0
) -> Landmarks:
    """Choose cells that stand for all others.

    One in two is drawn by chance. The others cover the tissue: first one cell of each stratum,
    then cells far from those before them in what their sentences say, by the draw of k-means++
    (Arthur & Vassilvitskii 2007, SODA:1027-1035).

    Parameters
    ----------
    views
        With contents; not embedded yet.
    strata
        (n,) integers: cells of one type in one section share a number; -1 for cells left out.
    n_landmarks
        How many; all cells that take part where there are fewer.
    seed
        The same seed gives the same cells, and fewer are the first of more.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(np.flatnonzero(strata >= 0))
    # A list of its own, so that how many are asked for changes nothing of the order.
    covering = _covering(views, strata, shuffled, n_landmarks // 2 + 1, rng)
    n_total = min(n_landmarks, len(shuffled))
    chance, other = iter(shuffled.tolist()), iter(covering)
    cells: dict[int, bool] = {}
    while len(cells) < n_total:
        by_chance = len(cells) % 2 == 0
        cell = next(chance if by_chance else other, None)
        if cell is None:
            cell, by_chance = next(chance), True
        cells.setdefault(cell, by_chance)
    return Landmarks(np.fromiter(cells, np.int64), np.fromiter(cells.values(), bool))


def _covering(
    views: Sequence[View],
    strata: np.ndarray,
    shuffled: np.ndarray,
    n_cells: int,
    rng: np.random.Generator,
) -> list[int]:
    """Return cells of all strata, largest stratum first, then cells far from each other."""
    _, first, sizes = np.unique(strata[shuffled], return_index=True, return_counts=True)
    chosen = shuffled[first[np.argsort(-sizes, kind="stable")]].tolist()
    candidates = np.concatenate([chosen, shuffled[:_CANDIDATES]]).astype(np.int64)
    places = _sketch(views, candidates, rng)
    nearest = np.full(len(candidates), np.inf, np.float32)
    newest = np.arange(len(chosen))
    while len(chosen) < n_cells:
        for start in range(0, len(newest), _ROUND):
            centres = places[newest[start : start + _ROUND]]
            apart = np.square(places).sum(axis=1)[:, None] - 2 * places @ centres.T
            apart += np.square(centres).sum(axis=1)
            np.minimum(nearest, apart.min(axis=1), out=nearest)
        far = np.maximum(nearest, 0)
        far[far < 1e-5] = 0
        if not (far > 0).any():
            break
        some = min(_ROUND, int((far > 0).sum()))
        newest = rng.choice(len(far), some, replace=False, p=far / far.sum(dtype=np.float64))
        chosen += candidates[newest].tolist()
    return chosen


def _sketch(views: Sequence[View], cells: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return (len(cells), 64) float32: random projections of what sentences say, first words most.

    Each view, and each part of a view, weighs the same.
    """
    places = np.zeros((len(cells), _DIMENSIONS), np.float32)
    for view in views:
        for words in view.contents:
            codes = words.codes[view.index[cells]]
            random = rng.normal(size=(len(words.names) + 1, _DIMENSIONS)).astype(np.float32)
            random[-1] = 0
            weights = 1 - np.arange(codes.shape[1]) / (2 * codes.shape[1])
            weights /= np.linalg.norm(weights) * np.sqrt(_DIMENSIONS)
            for column, weight in zip(codes.T, weights, strict=True):
                places += random[column] * np.float32(weight)
    return places
