"""Space Ranger's output folder of a Visium or Visium HD section."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_cellama.errors import UserError
from napari_cellama.io.tenx import read_counts, texts

if TYPE_CHECKING:
    from anndata import AnnData

COUNTS = "filtered_feature_bc_matrix.h5"
_POSITIONS = ("tissue_positions.parquet", "tissue_positions.csv", "tissue_positions_list.csv")
_COLUMNS = ["barcode", "in_tissue", "array_row", "array_col", "y", "x"]


def is_visium(folder: Path) -> bool:
    """Whether a folder is what Space Ranger wrote of a section (of HD, one size of bins)."""
    return _counts_file(folder) is not None and _positions_file(folder) is not None


def read_visium(folder: Path, *, matrix: bool = True) -> AnnData:
    """Read a section by squidpy's convention.

    Returns
    -------
    AnnData
        ``obsm['spatial']``: x and y in pixels of the full-resolution image.
        ``uns['spatial'][library]``: images "hires" and "lowres" as far as they are there, and the
        scale factors.
    """
    counts, positions = _counts_file(folder), _positions_file(folder)
    if counts is None or positions is None:
        raise UserError(f"{folder} is no complete output of Space Ranger; give the whole folder.")
    adata = read_counts(counts, matrix=matrix)
    table = _positions(positions).reindex(adata.obs_names)
    if table["x"].isna().all():
        raise UserError(
            f"None of the spots in {counts} is named in {positions}; the two are of different "
            "sections."
        )
    for column in ("in_tissue", "array_row", "array_col"):
        whole = table[column].notna().all()
        adata.obs[column] = table[column].astype(np.int64) if whole else table[column]
    adata.obsm["spatial"] = table[["x", "y"]].to_numpy(float)
    # Of HD's bins the folder is called by their size, the section by the folder above.
    library = _library(folder)
    adata.uns["spatial"] = {library: _pictures(folder / "spatial")}
    adata.uns["cellama"] = {"units": "pixel"}
    return adata


def _library(folder: Path) -> str:
    name = folder.resolve().name
    return folder.resolve().parent.name if name in ("outs", "output") else name


def _counts_file(folder: Path) -> Path | None:
    if (folder / COUNTS).is_file():
        return folder / COUNTS
    # Downloads have the sample's name before it.
    return next(iter(sorted(folder.glob(f"*_{COUNTS}"))), None)


def _positions_file(folder: Path) -> Path | None:
    paths = (folder / "spatial" / name for name in _POSITIONS)
    return next((path for path in paths if path.is_file()), None)


def _positions(path: Path) -> pd.DataFrame:
    """Return the positions by barcode; older files have no line of names."""
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
    else:
        with path.open(encoding="utf-8") as file:
            named = file.readline().split(",")[0].strip().lower() == "barcode"
        table = pd.read_csv(path, header=0 if named else None)
    if table.shape[1] != len(_COLUMNS):
        raise UserError(
            f"{path} has {table.shape[1]} columns where Space Ranger writes {len(_COLUMNS)}; "
            "give the folder as it was written."
        )
    table.columns = _COLUMNS
    table.index = texts(table.pop("barcode"))
    return table[~table.index.duplicated()]


def _pictures(folder: Path) -> dict[str, Any]:
    from PIL import Image

    images = {}
    for name in ("hires", "lowres"):
        paths = (folder / f"tissue_{name}_image{suffix}" for suffix in (".png", ".jpg"))
        path = next((path for path in paths if path.is_file()), None)
        if path is not None:
            with Image.open(path) as picture:
                images[name] = np.asarray(picture.convert("RGB"))
    factors = folder / "scalefactors_json.json"
    stated = json.loads(factors.read_text(encoding="utf-8")) if factors.is_file() else {}
    return {"images": images, "scalefactors": stated, "metadata": {}}
