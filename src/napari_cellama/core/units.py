"""In what unit a section's coordinates are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anndata import AnnData

#: What is shown where nothing says more.
PIXEL = "pixel"

_MICROMETRE = {"um", "µm", "μm", "micron", "microns", "micrometer", "micrometre", "micrometers"}


def units_of(adata: AnnData) -> str:
    """Return the unit of ``obsm['spatial']`` as people read it: "µm", "pixel" or another name.

    What ``uns['cellama']['units']`` says counts; without it, it is "pixel": Visium's coordinates
    (``uns['spatial']``) are pixels of the full-resolution image, and an AnnData that says
    nothing could be in anything.
    """
    ours = adata.uns.get("cellama", {})
    stated = ours.get("units") if hasattr(ours, "get") else None
    if not isinstance(stated, str) or not stated.strip():
        return PIXEL
    stated = stated.strip()
    if stated.lower() in _MICROMETRE:
        return "µm"
    return PIXEL if stated.lower() in ("px", "pixels") else stated
