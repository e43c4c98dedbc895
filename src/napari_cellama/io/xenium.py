"""Xenium's output folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_cellama.errors import UserError
from napari_cellama.io.tenx import read_counts, read_table, table_path, texts

if TYPE_CHECKING:
    from anndata import AnnData

SPECS = "experiment.xenium"
COUNTS = "cell_feature_matrix.h5"
#: Where morphology images lie, by version of the instrument's software, the newest first.
_IMAGES = (
    "morphology_focus/*.ome.tif",
    "morphology_focus.ome.tif",
    "morphology_mip.ome.tif",
    "morphology.ome.tif",
)


def is_xenium(folder: Path) -> bool:
    """Whether a folder is Xenium's output."""
    return (folder / SPECS).is_file() or (
        (folder / COUNTS).is_file() and table_path(folder, "cells") is not None
    )


def read_xenium(folder: Path, *, matrix: bool = True) -> AnnData:
    """Read cells, genes and where the images and outlines lie.

    Returns
    -------
    AnnData
        ``obsm['spatial']``: x and y in micrometres. ``obsm['controls']``: counts of the control
        probes. ``uns['cellama']``: the unit, and the paths of image and outlines.
    """
    counts = folder / COUNTS
    cells = read_table(folder, "cells")
    if not counts.is_file() or cells is None:
        missing = COUNTS if not counts.is_file() else "cells.parquet"
        raise UserError(f"{folder} has no {missing}; give the whole folder that Xenium wrote.")
    adata = read_counts(counts, matrix=matrix)
    cells.index = texts(cells["cell_id"])
    table = cells[~cells.index.duplicated()].reindex(adata.obs_names)
    if table["x_centroid"].isna().all():
        raise UserError(
            f"None of the cells in {counts} is in the table of cells beside it; the two are of "
            "different runs."
        )
    adata.obsm["spatial"] = table[["x_centroid", "y_centroid"]].to_numpy(float)
    kept = table.drop(columns=["cell_id", "x_centroid", "y_centroid"])
    adata.obs = pd.concat([adata.obs, kept], axis=1)
    adata.uns["cellama"] = {"units": "µm", "images": _images(folder)}
    outlines = {
        name: {"path": str(path), "section": "", "ids": ""}
        for name, stem in (("cells", "cell_boundaries"), ("nuclei", "nucleus_boundaries"))
        if (path := table_path(folder.resolve(), stem)) is not None
    }
    if outlines:
        adata.uns["cellama"]["boundaries"] = outlines
    return adata


def _images(folder: Path) -> dict[str, dict[str, object]]:
    """Return where the image lies and how large its pixels are, as attached images are kept."""
    specs = folder / SPECS
    stated = json.loads(specs.read_text(encoding="utf-8")) if specs.is_file() else {}
    size = float(stated.get("pixel_size", 0.2125))
    found = (path for pattern in _IMAGES for path in sorted(folder.resolve().glob(pattern)))
    path = next(found, None)
    if path is None:
        return {}
    # Of several channels' files each names the others, so that the first is all of them.
    name = path.name.removesuffix(".ome.tif")
    to_pixels = np.array([[1 / size, 0.0, 0.0], [0.0, 1 / size, 0.0]])
    entry = {"path": str(path), "section": "", "to_pixels": to_pixels, "residuals": np.empty(0)}
    return {name: entry}
