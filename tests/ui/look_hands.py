"""The cell, the scale and the patience that tests of cells' pictures share."""

from __future__ import annotations

PATIENCE = 60_000

CELL = 61

#: Pixels of the image per unit of the coordinates.
ZOOM = 4
