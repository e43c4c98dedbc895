"""Which instrument wrote a folder, and its cells as an AnnData."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellama.io.merscope import is_merscope, read_merscope
from napari_cellama.io.spatialdata_store import is_store, read_store
from napari_cellama.io.visium import is_visium, read_visium
from napari_cellama.io.xenium import is_xenium, read_xenium

if TYPE_CHECKING:
    from anndata import AnnData

#: What users call a platform; whether a folder is its output; and what reads it.
_PLATFORMS: tuple[tuple[str, Callable[[Path], bool], Callable[..., AnnData]], ...] = (
    ("Xenium", is_xenium, read_xenium),
    ("MERSCOPE", is_merscope, read_merscope),
    ("Visium", is_visium, read_visium),
    ("SpatialData", is_store, read_store),
)
#: Folders that people choose instead of the one inside, or the other way round.
_INSIDE = ("outs",)


def platform_of(folder: Path) -> str | None:
    """Return the platform whose output a folder is; a few look-ups of names, no reading."""
    return next((name for name, fits, _ in _PLATFORMS if fits(folder)), None)


def inner_folder(folder: Path) -> Path:
    """Return the folder inside that holds the output, where the one above was given."""
    for name in _INSIDE:
        if platform_of(folder) is None and platform_of(folder / name) is not None:
            return folder / name
    return folder


def read_platform(folder: Path, *, matrix: bool = True) -> AnnData:
    """Read a platform's output folder.

    Parameters
    ----------
    folder
        For which :func:`platform_of` names a platform.
    matrix
        Whether to read the counts; without, ``X`` is ``None`` and reading is quick.
    """
    reader = next(read for _, fits, read in _PLATFORMS if fits(folder))
    return reader(folder, matrix=matrix)
