"""The selection: one mask a tissue, and what can be done to it."""

from __future__ import annotations

from typing import Literal

import numpy as np

#: How newly chosen cells and the selection become the new selection.
How = Literal["replace", "add", "subtract", "intersect"]

#: What the mouse does on the tissue: it picks or selects cells, or sets landmarks of an image.
Tool = Literal["pick", "lasso", "rectangle", "landmark"]

HOWS: tuple[How, ...] = ("replace", "add", "subtract", "intersect")


def combined(selection: np.ndarray, chosen: np.ndarray, how: How = "replace") -> np.ndarray:
    """Return (n,) bool: a new array of what is selected after cells, (n,) bool, were chosen."""
    chosen = np.asarray(chosen, bool)
    if how == "add":
        return selection | chosen
    if how == "subtract":
        return selection & ~chosen
    if how == "intersect":
        return selection & chosen
    return chosen.copy()


def described(selection: np.ndarray) -> str:
    """Return the step's name in the history, e.g. "Select 1,203 cells"."""
    number = int(np.count_nonzero(selection))
    if not number:
        return "Select nothing"
    return f"Select {number:,} {'cell' if number == 1 else 'cells'}"
