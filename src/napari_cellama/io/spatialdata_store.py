"""A SpatialData store: its table, with the shapes, labels and images that go with it."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_cellama.errors import UserError
from napari_cellama.io.boundary_files import system_of, to_global
from napari_cellama.io.tenx import texts

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_cellama.core.section_image import SectionImage

#: Which table is taken where a store has several that say whose cells they are.
_TABLE = "table"
#: What positions may differ by, as a share of the cells' spacing, and be the same ones.
_SAME = 0.5
#: The column that tells regions apart, and what share of one lies over another where they need it.
_SECTION, _OVERLAP = "section", 0.1
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
    brought to the same coordinates. Where the table annotates several elements that lie over each
    other and no column says what section a cell is of, ``obs['section']`` becomes its element.

    Returns
    -------
    AnnData
        The table, with ``uns['cellama']['boundaries']`` and ``['images']``.
    """
    path = tables(folder)[0]
    adata = _table(path, matrix)
    record = dict(adata.uns.get("cellama", {}))
    regions = _regions(adata, folder)
    _settle(adata, folder, regions)
    if regions:
        record.setdefault("boundaries", _outlines(folder, regions))
    if "spatial" not in adata.obsm:
        raise UserError(
            f"The cells in {path} have no positions: neither obsm['spatial'] nor shapes or labels "
            "that the table annotates."
        )
    _tell_sections(adata, regions)
    images = _images(adata, folder, regions)
    if images:
        record.setdefault("images", images)
    adata.uns["cellama"] = record
    return adata


@dataclass
class _Region:
    """An element of a store, and the cells that the table has of it.

    Attributes
    ----------
    name, element
        The shapes or labels.
    column
        The obs column that says of which element a cell is.
    ids
        The obs column that says what the element calls a cell.
    cells
        (m,) which cells they are.
    to_world
        (2, 3): takes these cells' coordinates to those of the store.
    """

    name: str
    element: Any
    column: str
    ids: str
    cells: np.ndarray
    to_world: np.ndarray = field(default_factory=lambda: np.eye(2, 3))


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


def _regions(adata: AnnData, folder: Path) -> list[_Region]:
    """Return the elements that a table annotates and the store has, that of most cells first."""
    attributes = adata.uns.get("spatialdata_attrs", {})
    column, ids = (str(attributes.get(key, "")) for key in ("region_key", "instance_key"))
    if column not in adata.obs or ids not in adata.obs:
        return []
    of = adata.obs[column].astype(str).to_numpy()
    found = []
    for name in adata.obs[column].astype(str).value_counts().index:
        element = _element(folder, name)
        if element is not None:
            found.append(_Region(name, element, column, ids, np.flatnonzero(of == name)))
    return found


def _settle(adata: AnnData, folder: Path, regions: list[_Region]) -> None:
    """Find out in which coordinates the cells of each region are; give them some if need be."""
    given = adata.obsm.get("spatial")
    given = None if given is None else np.asarray(given, float)[:, :2]
    positions = np.full((adata.n_obs, 2), np.nan) if given is None else given.copy()
    changed = False
    for region in regions:
        own = None if given is None else given[region.cells]
        ids = adata.obs[region.ids].iloc[region.cells]
        region.to_world, moved = _frame(own, folder, region.element, ids)
        if moved is not None:
            positions[region.cells], changed = moved, True
    if changed:
        if given is not None:
            adata.obsm["spatial_table"] = adata.obsm["spatial"]
        adata.obsm["spatial"] = positions


def _outlines(folder: Path, regions: list[_Region]) -> dict[str, dict[str, Any]]:
    """Return where the outlines of each region's cells lie, as attached ones are kept."""
    found = {}
    for region in regions:
        several = len(regions) > 1
        found[f"cells {region.name}" if several else "cells"] = {
            "path": str(folder.resolve()),
            "element": region.name,
            "section": region.name if several else "",
            "column": region.column if several else "",
            "ids": region.ids,
            "to_spatial": _product(_inverse(region.to_world), to_global(region.element)),
        }
    return found


def _tell_sections(adata: AnnData, regions: list[_Region]) -> None:
    """Tell regions apart that lie over each other: cells of two are no neighbours."""
    from napari_cellama.core.resolve import guess_library_key

    if len(regions) < 2 or guess_library_key(adata.obs, adata.uns) or _SECTION in adata.obs:
        return
    xy = np.asarray(adata.obsm["spatial"], float)[:, :2]
    boxes = [
        (np.nanmin(xy[region.cells], axis=0), np.nanmax(xy[region.cells], axis=0))
        for region in regions
        if np.isfinite(xy[region.cells]).all(axis=1).any()
    ]
    for number, (low, high) in enumerate(boxes):
        for other_low, other_high in boxes[:number]:
            common = np.minimum(high, other_high) - np.maximum(low, other_low)
            least = min(np.prod(high - low), np.prod(other_high - other_low))
            if (common > 0).all() and np.prod(common) > _OVERLAP * least:
                adata.obs[_SECTION] = pd.Categorical(adata.obs[regions[0].column].astype(str))
                return


def _element(folder: Path, name: str) -> Any | None:
    """Return a store's shapes or labels of that name; ``None`` if it has neither."""
    import spatialdata

    for kind in ("shapes", "labels"):
        if (folder / kind / name).is_dir():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return getattr(spatialdata.read_zarr(folder, selection=(kind,)), kind)[name]
    return None


def _frame(
    given: np.ndarray | None, folder: Path, element: Any, ids: pd.Series
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return (2, 3): what takes cells' coordinates to "global"; and these, where they are new."""
    to_world = to_global(element)
    shapes = hasattr(element, "geometry")
    if given is not None and not shapes:
        found = _frame_of_labels(folder, element, given, ids.to_numpy())
        if found is not None:
            return found, None
    middles = _middles(element, texts(ids)) if shapes else _label_middles(element, ids.to_numpy())
    in_world = middles @ to_world[:, :2].T + to_world[:, 2]
    if given is not None:
        for own, frame in ((middles, to_world), (in_world, np.eye(2, 3))):
            if _are_same(given, own):
                return frame, None
    return np.eye(2, 3), in_world


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

    found = get_centroids(element, coordinate_system=system_of(element)).compute()
    return found.reindex(ids)[["x", "y"]].to_numpy(float)


def _images(adata: AnnData, folder: Path, regions: list[_Region]) -> dict[str, dict[str, Any]]:
    """Return where the store's images lie in the coordinates of the cells that they show."""
    from napari_cellama.core.resolve import guess_library_key
    from napari_cellama.io.images import open_images

    inside = folder / "images"
    names = {child.name for child in inside.iterdir()} if inside.is_dir() else set()
    opened = [image for image in open_images(folder) if image.name in names] if names else []
    systems = _systems(folder) if len(regions) > 1 and opened else {}
    key = guess_library_key(adata.obs, adata.uns)
    found = {}
    for image in opened:
        region = _shown(adata, image, regions, systems)
        shown = region or (regions[0] if regions else None)
        to_world = np.eye(2, 3) if shown is None else shown.to_world
        of = {str(value) for value in adata.obs[key].iloc[region.cells]} if key and region else ()
        found[image.name] = {
            "path": str(folder.resolve()),
            "section": next(iter(of)) if len(of) == 1 and len(regions) > 1 else "",
            "to_pixels": _product(image.to_pixels, to_world),
            "residuals": np.empty(0),
        }
    return found


def _shown(
    adata: AnnData, image: SectionImage, regions: list[_Region], systems: dict[str, str]
) -> _Region | None:
    """Return the one region that an image shows: by its coordinates, and the cells on it."""
    from napari_cellama.core.spatial_images import FITS, share_inside

    same = [r for r in regions if systems.get(image.name) == system_of(r.element)] or regions
    if len(same) < 2:
        return same[0] if same else None
    xy = np.asarray(adata.obsm["spatial"], float)[:, :2]
    fitting = []
    for region in same:
        placed = replace(image, to_pixels=_product(image.to_pixels, region.to_world))
        if share_inside(placed, xy[region.cells]) >= FITS:
            fitting.append(region)
    return fitting[0] if len(fitting) == 1 else None


def _systems(folder: Path) -> dict[str, str]:
    """Return the coordinates that each of a store's images is placed in."""
    import spatialdata

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = spatialdata.read_zarr(folder, selection=("images",)).images
    return {str(name): system_of(element) for name, element in images.items()}


def _product(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return (2, 3): first the one affine, then the other."""
    return (np.vstack([second, [0, 0, 1]]) @ np.vstack([first, [0, 0, 1]]))[:2]


def _inverse(affine: np.ndarray) -> np.ndarray:
    return np.linalg.inv(np.vstack([affine, [0, 0, 1]]))[:2]
