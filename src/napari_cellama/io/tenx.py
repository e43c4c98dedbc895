"""10x Genomics' files that Space Ranger and Xenium share, read with or without their matrix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_cellama.errors import UserError

if TYPE_CHECKING:
    from anndata import AnnData

GENES = "Gene Expression"


def read_counts(path: Path, *, matrix: bool = True) -> AnnData:
    """Read a feature-barcode matrix (HDF5, version 3) as cells by genes.

    Parameters
    ----------
    path
        The ``.h5`` file.
    matrix
        Whether to read the counts; without, X is ``None``.

    Returns
    -------
    AnnData
        Genes alone; the counts of control probes are in ``obsm['controls']``, a table.
    """
    import h5py
    from anndata import AnnData
    from anndata.utils import make_index_unique
    from scipy.sparse import csr_matrix

    with h5py.File(path, "r") as file:
        if "matrix/features/name" not in file:
            raise UserError(
                f"{path} is no feature-barcode matrix of Space Ranger 1 or Xenium or later; "
                "give the .h5 that the instrument's software wrote."
            )
        group = file["matrix"]
        features: dict[str, np.ndarray] = {
            "gene_ids": _texts(group["features/id"]),
            "feature_types": _texts(group["features/feature_type"]),
        }
        names = _texts(group["features/name"])
        barcodes = _texts(group["barcodes"])
        counts = None
        if matrix:
            parts = (group[name][:] for name in ("data", "indices", "indptr"))
            data, indices, indptr = parts
            # Stored by cell: columns of (features, cells) are rows of (cells, features).
            shape = (len(barcodes), len(names))
            counts = csr_matrix((data.astype(np.float32), indices, indptr), shape=shape)
            counts.sort_indices()
    genes = features["feature_types"] == GENES
    var = pd.DataFrame(features, index=pd.Index(names, dtype=object))[genes]
    # Symbols repeat; scanpy's readers leave that to the user, who sees the same gene twice.
    var.index = make_index_unique(var.index)
    adata = AnnData(
        X=None if counts is None else counts[:, np.flatnonzero(genes)],
        obs=pd.DataFrame(index=pd.Index(barcodes, dtype=object)),
        var=var,
    )
    if counts is not None and not genes.all():
        controls = counts[:, np.flatnonzero(~genes)].toarray()
        columns = make_index_unique(pd.Index(names[~genes], dtype=object))
        adata.obsm["controls"] = pd.DataFrame(controls, index=adata.obs_names, columns=columns)
    return adata


def read_table(folder: Path, stem: str, **options: Any) -> pd.DataFrame | None:
    """Read a table that lies in a folder as parquet or csv; ``None`` if there is none.

    Parameters
    ----------
    folder, stem
        Where, and the file's name before its suffix.
    **options
        For ``pandas.read_csv``.
    """
    path = table_path(folder, stem)
    if path is None:
        return None
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    return pd.read_csv(path, **options)


def table_path(folder: Path, stem: str) -> Path | None:
    """Return where a table lies, if it is there."""
    paths = (folder / f"{stem}{suffix}" for suffix in (".parquet", ".csv.gz", ".csv"))
    return next((path for path in paths if path.is_file()), None)


def texts(values: Any) -> np.ndarray:
    """Return names as they are written, whether stored as bytes, texts or numbers."""
    values = np.asarray(values)
    if values.dtype == object and pd.api.types.infer_dtype(values, skipna=False) == "string":
        return values
    if values.dtype == object and len(values) and isinstance(values[0], bytes):
        values = np.array([value.decode() for value in values], object)
    return values.astype(str).astype(object)


def _texts(stored: Any) -> np.ndarray:
    return np.array([value.decode() for value in stored[:]], object)
