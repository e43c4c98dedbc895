"""What a run records about itself, so that it can be judged and repeated."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari_cellama.core.encoder import EncoderInfo
    from napari_cellama.core.result import View
    from napari_cellama.core.tissue import Tissue
    from napari_cellama.recipe import Recipe

_PACKAGES = (
    "napari-cellama",
    "anndata",
    "numpy",
    "scipy",
    "scikit-learn",
    "sentence-transformers",
    "torch",
)


def provenance(
    asked: Recipe,
    resolved: Recipe,
    info: EncoderInfo,
    tissue: Tissue,
    views: Sequence[View],
) -> dict[str, Any]:
    """Return what is known of a run before it embeds, of plain values that h5ad and zarr hold.

    Parameters
    ----------
    asked, resolved
        The recipe as the user gave it, and with every "auto" decided.
    info
        What embedded the sentences.
    tissue, views
        What the run read; hashed.
    """
    return {
        "recipe": resolved.to_json(),
        "recipe_asked": asked.to_json(),
        "seed": resolved.seed,
        "versions": {name: _version(name) for name in _PACKAGES},
        "encoder": info.as_dict(),
        "data_sha256": data_hash(tissue, views),
        "cell_types_found": tissue.types_found,
        "n_sentences": {view.name: len(view.sentences) for view in views},
        "views": np.array([view.name for view in views], object),
    }


def data_hash(tissue: Tissue, views: Sequence[View]) -> str:
    """Return the SHA-256 of all that a run reads of the data: positions, sections, sentences."""
    digest = hashlib.sha256()
    digest.update(np.ascontiguousarray(tissue.neighbors.coords))
    digest.update(np.ascontiguousarray(tissue.neighbors.section))
    for view in views:
        digest.update(np.ascontiguousarray(view.index))
        digest.update("\n".join(view.sentences).encode())
    return digest.hexdigest()


def _version(package: str) -> str:
    """Return an installed package's version; "" where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
