"""Explore tissue niches in napari with sentences and a language model.

Everything listed in ``__all__`` is imported when it is first used, so that importing this package
costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_cellama import sample
    from napari_cellama.api import embed_sentences, plot_overview, run
    from napari_cellama.core.qc_thresholds import Thresholds
    from napari_cellama.core.sentences import cell_sentences
    from napari_cellama.errors import UserError
    from napari_cellama.explore_api import search, subcluster
    from napari_cellama.io.attached import attach_image
    from napari_cellama.io.boundaries import attach_boundaries
    from napari_cellama.io.readers import read
    from napari_cellama.io.writers import write
    from napari_cellama.qc_api import qc
    from napari_cellama.recipe import Recipe
    from napari_cellama.ui.launch import view

    __version__: str

__all__ = [
    "Recipe",
    "Thresholds",
    "UserError",
    "__version__",
    "attach_boundaries",
    "attach_image",
    "cell_sentences",
    "embed_sentences",
    "plot_overview",
    "qc",
    "read",
    "run",
    "sample",
    "search",
    "subcluster",
    "view",
    "write",
]

_HOMES = {
    "Recipe": "napari_cellama.recipe",
    "Thresholds": "napari_cellama.core.qc_thresholds",
    "UserError": "napari_cellama.errors",
    "attach_boundaries": "napari_cellama.io.boundaries",
    "attach_image": "napari_cellama.io.attached",
    "cell_sentences": "napari_cellama.core.sentences",
    "embed_sentences": "napari_cellama.api",
    "plot_overview": "napari_cellama.api",
    "qc": "napari_cellama.qc_api",
    "read": "napari_cellama.io.readers",
    "run": "napari_cellama.api",
    "search": "napari_cellama.explore_api",
    "subcluster": "napari_cellama.explore_api",
    "view": "napari_cellama.ui.launch",
    "write": "napari_cellama.io.writers",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "sample":
        return import_module("napari_cellama.sample")
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("napari-cellama")
    else:
        value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
