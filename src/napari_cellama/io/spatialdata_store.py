"""A SpatialData store: its table, with the shapes, labels and images that go with it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_cellama.errors import UserError
from napari_cellama.io.boundary_files import to_global
from napari_cellama.io.tenx import texts

if TYPE_CHECKING:
    from anndata import AnnData

#: Which table is taken where a store has several that say whose cells they are.
_TABLE = "table"
#: What positions may differ by, as a share of the cells' spacing, and be the same ones.
_SAME = 0.5
#: Cells by which it is told in what coordinates they are.
_SAMPLE = 100


def is_store(folder: Path) -> bool:
    """Whether a folder is a SpatialData store with a table; a few look-ups."""
    return bool(tables(folder)) and any(
        (folder / kind).is_dir() for kind in ("images", "labels", "shapes", "points")
    ) | _is_marked(folder)


def tables(folder: Path) -> list[Path]:
    """Return the tables of a store, the one called "table" first."""
    inside = folder / "tables"
    if not inside.is_dir():
        return []
    found = [child for child in inside.iterdir() if child.is_dir()]
    return sorted(found, key=lambda child: (child.name != _TABLE, child.name))


def read_store(folder: Path, *, matrix: bool = True) -> AnnData:
    """Read a store's table, and say where its outlines and images lie.

    Positions are ``obsm['spatial']`` where they are those of the shapes or labels the table
    annotates; else the middles of these, in the coordinates "global". Images and outlines are
    brought to the same coordinates.

    Returns
    -------
    AnnData
        The table, with ``uns['cellama']['boundaries']`` and ``['images']``.
    """
    path = tables(folder)[0]
    adata = _table(path, matrix)
    element, ids = _annotated(adata)
    record = dict(adata.uns.get("cellama", {}))
    to_world = np.eye(2, 3)
    where = _element(folder, element) if element else None
    if where is not None:
        to_world = _frame(adata, folder, where, ids)
        entry: dict[str, Any] = {
            "path": str(folder.resolve()),
            "element": element,
            "section": "",
            "ids": ids,
            "to_spatial": _product(_inverse(to_world), to_global(where)),
        }
        record.setdefault("boundaries", {"cells": entry})
    if "spatial" not in adata.obsm:
        raise UserError(
            f"The cells in {path} have no positions: neither obsm['spatial'] nor shapes or labels "
            "that the table annotates."
        )
    images = _images(folder, to_world)
    if images:
        record.setdefault("images", images)
    adata.uns["cellama"] = record
    return adata


def _is_marked(folder: Path) -> bool:
    for name in ("zarr.json", ".zattrs"):
        try:
            content = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return "spatialdata_attrs" in content.get("attributes", content)
    return False


def _table(path: Path, matrix: bool) -> AnnData:
    from napari_cellama.io.readers import read_light, read_whole

    return read_whole(path) if matrix else read_light(path).adata


def _annotated(adata: AnnData) -> tuple[str, str]:
    """Return the element that most of the cells are in, and the column of their names there."""
    attributes = adata.uns.get("spatialdata_attrs", {})
    region_key, ids = (str(attributes.get(key, "")) for key in ("region_key", "instance_key"))
    if region_key in adata.obs and ids in adata.obs:
        regions = adata.obs[region_key].astype(str)
        return str(regions.mode().iloc[0]) if len(regions) else "", ids
    return "", ""


def _element(folder: Path, name: str) -> Any | None:
    """Return a store's shapes or labels of that name; ``None`` if it has neither."""
    import spatialdata

    for kind in ("shapes", "labels"):
        if (folder / kind / name).is_dir():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return getattr(spatialdata.read_zarr(folder, selection=(kind,)), kind)[name]
    return None


def _frame(adata: AnnData, folder: Path, element: Any, ids: str) -> np.ndarray:
    """Return (2, 3): what takes the cells' coordinates to "global"; gives them some if need be."""
    to_world = to_global(element)
    given = adata.obsm.get("spatial")
    given = None if given is None else np.asarray(given, float)[:, :2]
    shapes = hasattr(element, "geometry")
    if given is not None and not shapes:
        found = _frame_of_labels(folder, element, given, adata.obs[ids].to_numpy())
        if found is not None:
            return found
    middles = (
        _middles(element, texts(adata.obs[ids]))
        if shapes
        else _label_middles(element, adata.obs[ids].to_numpy())
    )
    in_world = middles @ to_world[:, :2].T + to_world[:, 2]
    if given is not None:
        for own, frame in ((middles, to_world), (in_world, np.eye(2, 3))):
            if _are_same(given, own):
                return frame
        adata.obsm["spatial_table"] = adata.obsm["spatial"]
    adata.obsm["spatial"] = in_world
    return np.eye(2, 3)


def _frame_of_labels(
    folder: Path, element: Any, given: np.ndarray, ids: np.ndarray
) -> np.ndarray | None:
    """Return which of the store's coordinates put cells on their own labels; a sample is read."""
    import spatialdata

    from napari_cellama.core.section_image import SectionImage
    from napari_cellama.io.boundary_names import labels_under
    from napari_cellama.io.images import spatialdata_levels

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store = spatialdata.read_zarr(folder, selection=("shapes", "labels", "images"))
    frames = [np.eye(2, 3)]
    for kind in (store.shapes, store.labels, store.images):
        for other in kind.values():
            frame = to_global(other)
            if not any(np.allclose(frame, known) for known in frames):
                frames.append(frame)
    placed = np.flatnonzero(np.isfinite(given).all(axis=1))
    sample = np.random.default_rng(0).permutation(placed)[:_SAMPLE]
    levels = tuple(level.data for level in spatialdata_levels(element))
    shares = []
    for frame in frames:
        to_pixels = _product(_inverse(to_global(element)), frame)
        image = SectionImage("labels", levels, "yx", to_pixels)
        shares.append(float((labels_under(image, given[sample]) == ids[sample]).mean()))
    best = int(np.argmax(shares))
    return frames[best] if shares[best] > 0.5 else None


def _are_same(given: np.ndarray, own: np.ndarray) -> bool:
    from napari_cellama.core.graph import median_neighbor_distance

    both = np.isfinite(given).all(axis=1) & np.isfinite(own).all(axis=1)
    if both.sum() < 2:
        return False
    apart = np.linalg.norm(given[both] - own[both], axis=1)
    spacing = median_neighbor_distance(own[both], 1, None)
    return bool(np.median(apart) <= _SAME * spacing)


def _middles(element: Any, ids: np.ndarray) -> np.ndarray:
    """Return (n, 2): the middles of the cells' shapes, in the shapes' own coordinates."""
    import shapely

    index = pd.Index(texts(element.index), dtype=object)
    first = ~index.duplicated()
    rows = index[first].get_indexer(pd.Index(ids, dtype=object))
    middles = shapely.get_coordinates(shapely.centroid(element.geometry.to_numpy()))
    return np.vstack([middles[first], [np.nan, np.nan]])[rows]


def _label_middles(element: Any, ids: np.ndarray) -> np.ndarray:
    """Return (n, 2): the middles of the cells' labels, by spatialdata, which reads them lazily."""
    from spatialdata import get_centroids

    found = get_centroids(element).compute()
    return found.reindex(ids)[["x", "y"]].to_numpy(float)


def _images(folder: Path, to_world: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return where the store's images lie in the cells' coordinates."""
    from napari_cellama.io.images import open_images

    names = folder / "images"
    names = {child.name for child in names.iterdir()} if names.is_dir() else set()
    found = open_images(folder) if names else []
    return {
        image.name: {
            "path": str(folder.resolve()),
            "section": "",
            "to_pixels": _product(image.to_pixels, to_world),
            "residuals": np.empty(0),
        }
        for image in found
        if image.name in names
    }


def _product(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return (2, 3): first the one affine, then the other."""
    return (np.vstack([second, [0, 0, 1]]) @ np.vstack([first, [0, 0, 1]]))[:2]


def _inverse(affine: np.ndarray) -> np.ndarray:
    return np.linalg.inv(np.vstack([affine, [0, 0, 1]]))[:2]
