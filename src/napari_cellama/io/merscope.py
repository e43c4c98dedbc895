"""MERSCOPE's output folder of a region."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_cellama.errors import UserError
from napari_cellama.io.boundary_files import FEATURES
from napari_cellama.io.tenx import texts

if TYPE_CHECKING:
    from anndata import AnnData

COUNTS, CELLS = "cell_by_gene.csv", "cell_metadata.csv"
#: The outlines, as the instrument or Vizgen's post-processing tool calls them.
_OUTLINES = (
    "cell_boundaries.parquet",
    "cellpose_micron_space.parquet",
    "cellpose2_micron_space.parquet",
    "watershed_micron_space.parquet",
)
#: The folder of outlines as older software wrote them.
_FEATURES = "cell_boundaries"
_MOSAIC = re.compile(r"mosaic_(.+)_z(\d+)\.tiff?$")
_TRANSFORM = "micron_to_mosaic_pixel_transform.csv"


def is_merscope(folder: Path) -> bool:
    """Whether a folder is MERSCOPE's output of a region."""
    return (folder / COUNTS).is_file() and (folder / CELLS).is_file()


def read_merscope(folder: Path, *, matrix: bool = True) -> AnnData:
    """Read cells, genes and where the images and outlines lie.

    Returns
    -------
    AnnData
        The cells of ``cell_metadata.csv``; ``obsm['spatial']``: x and y in micrometres.
        ``obsm['controls']``: counts of the blank barcodes. ``uns['cellama']``: the unit, and the
        paths of images and outlines.
    """
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    folder = folder.resolve()
    # Names of 19 digits are no numbers: as floats, neighbours would be the same.
    cells = pd.read_csv(folder / CELLS, index_col=0, dtype={0: str})
    cells.index = pd.Index(texts(cells.index), dtype=object)
    if not {"center_x", "center_y"} <= set(cells.columns):
        raise UserError(f"{folder / CELLS} has no columns center_x and center_y; give another.")
    header = pd.read_csv(folder / COUNTS, index_col=0, nrows=0).columns.astype(str)
    blank = header.str.lower().str.contains("blank")
    adata = AnnData(obs=cells, var=pd.DataFrame(index=pd.Index(header[~blank], dtype=object)))
    if matrix:
        counts = _counts(folder / COUNTS, cells.index)
        adata.X = csr_matrix(counts[:, ~blank])
        if blank.any():
            adata.obsm["controls"] = pd.DataFrame(
                counts[:, blank], index=adata.obs_names, columns=list(header[blank])
            )
    adata.obsm["spatial"] = cells[["center_x", "center_y"]].to_numpy(float)
    adata.obs = adata.obs.drop(columns=["center_x", "center_y"])
    adata.uns["cellama"] = {"units": "µm", "images": _images(folder / "images")}
    outlines = next((folder / name for name in _OUTLINES if (folder / name).is_file()), None)
    if outlines is None and any((folder / _FEATURES).glob(FEATURES)):
        outlines = folder / _FEATURES
    if outlines is not None:
        entry = {"path": str(outlines), "section": "", "ids": ""}
        adata.uns["cellama"]["boundaries"] = {"cells": entry}
    return adata


def _counts(path: Path, cells: pd.Index) -> np.ndarray:
    """Return (cells, columns) float32; a cell that was counted nowhere has none."""
    counts = pd.read_csv(path, index_col=0, dtype={0: str})
    rows = pd.Index(texts(counts.index), dtype=object).get_indexer(cells)
    if len(cells) and (rows < 0).all():
        raise UserError(
            f"None of the cells in {path.parent / CELLS} is in {path}; the two are of different "
            "regions."
        )
    values = np.zeros((len(cells), counts.shape[1]), np.float32)
    values[rows >= 0] = counts.to_numpy(np.float32)[rows[rows >= 0]]
    return values


def _images(folder: Path) -> dict[str, dict[str, object]]:
    """Return where the stains' mosaics lie, one plane of each: the middle one."""
    found: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.glob("mosaic_*")):
        if match := _MOSAIC.match(path.name):
            found.setdefault(match[1], {})[int(match[2])] = path
    transform = folder / _TRANSFORM
    if not found or not transform.is_file():
        return {}
    to_pixels = np.loadtxt(transform)[:2]
    images = {}
    for planes in found.values():
        path = planes[sorted(planes)[len(planes) // 2]]
        images[path.stem] = {
            "path": str(path),
            "section": "",
            "to_pixels": to_pixels,
            "residuals": np.empty(0),
        }
    return images
