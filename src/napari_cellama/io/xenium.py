"""Xenium's output folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_cellama.errors import UserError
from napari_cellama.io.images import open_images
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

#: What follows an image's name in that of its alignment, and in its own.
_ALIGNMENT = "alignment.csv"
_SUFFIXES = (".ome.tif", ".ome.tiff", ".tif", ".tiff")


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
    """Return where images lie and how large their pixels are, as attached images are kept."""
    specs = folder / SPECS
    stated = json.loads(specs.read_text(encoding="utf-8")) if specs.is_file() else {}
    size = float(stated.get("pixel_size", 0.2125))
    to_morphology = np.array([[1 / size, 0.0, 0.0], [0.0, 1 / size, 0.0]])
    found = {_stem(path): (path, to_morphology) for path in _morphology(folder.resolve())}
    for path, matrix in _aligned(folder.resolve()):
        to_pixels = np.linalg.inv(matrix) @ np.vstack([to_morphology, [0, 0, 1]])
        found[_stem(path)] = (path, to_pixels[:2])
    return {
        name: {"path": str(path), "section": "", "to_pixels": affine, "residuals": np.empty(0)}
        for name, (path, affine) in found.items()
    }


def _morphology(folder: Path) -> list[Path]:
    """Return the files of the instrument's own image.

    Of several channels' files each names the others, so that the first is all of them; where it is
    one channel only, all are needed.
    """
    found = next((p for pattern in _IMAGES if (p := sorted(folder.glob(pattern)))), [])
    if len(found) > 1:
        try:
            (first,) = open_images(found[0])
        except UserError:
            return found[:1]  # which says so when it is to be shown
        return found if first.n_channels == 1 else found[:1]
    return found


def _aligned(folder: Path) -> Iterator[tuple[Path, np.ndarray]]:
    """Yield the images that Xenium Explorer has aligned, with what takes their pixels (x, y, 1)
    to those of the morphology image.
    """
    for path in sorted(folder.glob(f"*{_ALIGNMENT}")):
        stem = path.name.removesuffix(_ALIGNMENT)
        images = (folder / f"{stem}{suffix}" for suffix in _SUFFIXES)
        image = next((image for image in images if image.is_file()), None)
        if image is None:
            continue
        try:
            matrix = np.loadtxt(path, delimiter=",", ndmin=2)
        except ValueError:
            matrix = np.empty((0, 0))
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or not np.linalg.det(matrix):
            raise UserError(
                f"{path} holds no 3 x 3 matrix that places {image.name}; export it from Xenium "
                "Explorer again, or take it away."
            )
        yield image, matrix


def _stem(path: Path) -> str:
    """Return what an image is called."""
    suffix = next((s for s in _SUFFIXES if path.name.endswith(s)), path.suffix)
    return path.name.removesuffix(suffix)
