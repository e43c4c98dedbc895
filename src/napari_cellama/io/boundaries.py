"""The outlines that belong to an AnnData's cells but lie in files of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellama.core.boundaries import Boundaries
from napari_cellama.core.units import units_of
from napari_cellama.errors import UserError, unknown_name
from napari_cellama.io.boundary_files import read_boundaries
from napari_cellama.io.boundary_names import CellNames
from napari_cellama.io.tenx import texts

if TYPE_CHECKING:
    from anndata import AnnData

_UNS, _BOUNDARIES = "cellama", "boundaries"
#: What outlines are called that are not those of nuclei or anything else.
CELLS = "cells"


def attach_boundaries(
    adata: AnnData,
    path: str | Path,
    *,
    name: str = CELLS,
    element: str = "",
    section: str = "",
    ids: str = "",
    pixel_size: float | None = None,
    to_spatial: np.ndarray | None = None,
) -> Boundaries:
    """Say that a file on disk holds these cells' outlines.

    The outlines stay there: ``uns['cellama']['boundaries']`` keeps the path, so that they are
    found again whenever the data are opened.

    Parameters
    ----------
    adata
        The cells, with positions in ``obsm['spatial']``.
    path
        A long table of corners (Xenium: ``cell_id, vertex_x, vertex_y``; parquet or csv),
        polygons (MERSCOPE's parquet, GeoParquet, GeoJSON), a label image (TIFF, OME-TIFF,
        OME-Zarr), or a SpatialData store.
    name
        What they are outlines of; the canvas shows "cells".
    element
        Which shapes or labels of a SpatialData store; by default the first shapes.
    section
        Which section they belong to, where there are several.
    ids
        The obs column that says what the file calls the cells by. By default it is found out,
        and where the file's names are no cell's, an outline is that of the cell inside.
    pixel_size
        How large one unit of the file is in the coordinates' unit.
    to_spatial
        (2, 3) instead: takes the file's (x, y, 1) to the coordinates. With neither, SpatialData's
        transformation to "global" counts, and a label image's pixel size where coordinates are in
        micrometres; else the file has the coordinates' own unit.

    Returns
    -------
    Boundaries
        One outline a cell, where it has one.

    Raises
    ------
    UserError
        When the file cannot be read or no outline belongs to a cell; ``adata`` is then unchanged.
    """
    if "spatial" not in adata.obsm:
        raise UserError("The cells have no positions in obsm['spatial'], so outlines fit nowhere.")
    if pixel_size is not None:
        if not pixel_size > 0 or to_spatial is not None:
            raise UserError("Give a pixel_size above 0, or to_spatial, and not both.")
        to_spatial = np.array([[pixel_size, 0, 0], [0, pixel_size, 0]], float)
    entry: dict[str, Any] = {
        "path": str(Path(path).expanduser().resolve()),
        "element": element,
        "section": section,
        "ids": ids,
    }
    if to_spatial is not None:
        entry["to_spatial"] = np.asarray(to_spatial, float).reshape(2, 3)
    found = _read(adata, entry)
    record = dict(adata.uns.get(_UNS, {}))
    key = f"{name} {section}".strip()
    record[_BOUNDARIES] = {**record.get(_BOUNDARIES, {}), key: entry}
    adata.uns[_UNS] = record
    return found


def boundaries_of(adata: AnnData, name: str = CELLS) -> tuple[Boundaries | None, list[str]]:
    """Read the outlines that belong to an AnnData.

    Parameters
    ----------
    adata
        The cells.
    name
        What they are outlines of: "cells", or what :func:`attach_boundaries` was told.

    Returns
    -------
    boundaries
        One outline a cell, of all sections; ``None`` where there are none.
    notices
        One sentence for each file that is not there any more or cannot be read.
    """
    vertices, offsets, rows, notices = [], [np.zeros(1, np.int64)], [], []
    for entry in _entries(adata, name):
        try:
            found = _read(adata, entry)
        except UserError as error:
            notices.append(f"{error} The cells are shown without outlines.")
            continue
        vertices.append(found.vertices)
        offsets.append(found.offsets[1:] + offsets[-1][-1])
        rows.append(np.arange(len(found)))
    if not vertices:
        return None, notices
    if len(vertices) == 1:
        return found, notices
    merged = np.concatenate(vertices), np.concatenate(offsets), np.concatenate(rows)
    return Boundaries.from_rings(*merged, adata.n_obs), notices


def _entries(adata: AnnData, name: str) -> list[Mapping[str, Any]]:
    record = adata.uns.get(_UNS, {})
    stored = record.get(_BOUNDARIES, {}) if isinstance(record, Mapping) else {}
    if not isinstance(stored, Mapping):
        return []
    return [
        entry
        for key, entry in stored.items()
        if (key == name or key.startswith(f"{name} ")) and isinstance(entry, Mapping)
    ]


def _read(adata: AnnData, entry: Mapping[str, Any]) -> Boundaries:
    if "vertices" in entry:
        return _inside(adata, entry)
    from napari_cellama.core.resolve import guess_library_key

    section, ids = str(entry.get("section", "")), str(entry.get("ids", ""))
    if ids and ids not in adata.obs:
        raise unknown_name("obs column", ids, adata.obs.columns)
    cells = np.arange(adata.n_obs)
    if section:
        key = str(entry.get("column", "")) or guess_library_key(adata.obs, adata.uns)
        if key is not None and key not in adata.obs:
            raise unknown_name("obs column", key, adata.obs.columns)
        named = None if key is None else (adata.obs[key].astype(str) == section).to_numpy()
        if named is None or not named.any():
            raise UserError(
                f"No cell is of a section called {section!r}, whose outlines these are."
            )
        cells = cells[named]
    xy = np.asarray(adata.obsm["spatial"], float)[:, :2]
    names = CellNames(adata.obs, xy, cells, ids, units_of(adata) == "µm")
    to_spatial = entry.get("to_spatial")
    if to_spatial is not None:
        to_spatial = np.asarray(to_spatial, float).reshape(2, 3)
    return read_boundaries(
        Path(str(entry.get("path", ""))), names, str(entry.get("element", "")), to_spatial
    )


def _inside(adata: AnnData, entry: Mapping[str, Any]) -> Boundaries:
    """Return outlines that are in the AnnData itself, whichever of its cells are left."""
    try:
        vertices, offsets = np.asarray(entry["vertices"]), np.asarray(entry["offsets"])
        names = texts(entry["names"])
        if len(names) != len(offsets) - 1:
            raise ValueError("as many names as outlines are needed")
        cells = CellNames(adata.obs, np.empty((adata.n_obs, 2)), np.arange(adata.n_obs))
        rows = cells.rows(names)
        return Boundaries.from_rings(vertices, offsets, rows, adata.n_obs)
    except (KeyError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"The cell outlines in uns['cellama']['boundaries'] are damaged: {reason}."
        ) from None
