"""Cells' outlines in files, as instruments and segmentation programs write them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_cellama.core.boundaries import Boundaries
from napari_cellama.core.label_outlines import boundaries_of_labels
from napari_cellama.errors import UserError, unknown_name
from napari_cellama.io.boundary_names import CellNames, by_label, by_place
from napari_cellama.io.images import open_images
from napari_cellama.io.tenx import texts

if TYPE_CHECKING:
    from napari_cellama.core.section_image import SectionImage

#: Columns that say whose outline it is, the surest first.
_IDS = ("cell_id", "EntityID", "cell", "instance_id", "label", "id", "ID", "name", "index")
#: What older MERSCOPE software calls its files of outlines.
FEATURES = "feature_data_*.hdf5"
_GEOMETRIES = ("Geometry", "geometry")
_WHAT = (
    "give Xenium's cell_boundaries.parquet, MERSCOPE's cell_boundaries.parquet, GeoJSON, a label "
    "image (TIFF, OME-Zarr) or a SpatialData store."
)


def read_boundaries(
    path: Path, names: CellNames, element: str = "", to_spatial: np.ndarray | None = None
) -> Boundaries:
    """Read the outlines of cells from a file or store.

    Parameters
    ----------
    path
        A table of corners (``cell_id, vertex_x, vertex_y``; parquet or csv), polygons (parquet
        with a geometry, GeoJSON), a label image, or a SpatialData store.
    names
        Says whose outline each is.
    element
        Which shapes or labels of a SpatialData store; by default the first.
    to_spatial
        (2, 3): takes the file's (x, y, 1) to the coordinates of ``obsm['spatial']``. Without,
        of a store its transformation to "global", of an image its pixel size, else nothing.

    Raises
    ------
    UserError
        When there is nothing, or something else, at ``path``, or nobody's outlines.
    """
    if not path.exists():
        raise UserError(f"The file of cell outlines {path} is not there any more.")
    with _readable_errors(path):
        if path.is_dir():
            found = _of_folder(path, names, element, to_spatial)
        elif path.suffix.lower() == ".parquet":
            found = _of_parquet(path, names, to_spatial)
        elif path.name.lower().endswith((".csv", ".csv.gz")):
            found = _of_corners(pd.read_csv(path, dtype={"cell_id": str}), names, to_spatial, path)
        elif path.suffix.lower() in (".geojson", ".json"):
            found = _of_geojson(path, names, to_spatial)
        else:
            found = _of_labels(open_images(path)[0], names, to_spatial)
    if not found.has_outline.any():
        raise UserError(
            f"None of the outlines in {path} belongs to one of the cells ({names.example()}); "
            "give the file of this section, or name the obs column that it calls cells by."
        )
    return found


@contextmanager
def _readable_errors(path: Path) -> Iterator[None]:
    """Turn what a broken file makes the libraries raise into one sentence."""
    try:
        yield
    except UserError:
        raise
    except MemoryError:
        raise UserError(f"The cell outlines in {path} do not fit into memory.") from None
    except Exception as error:
        reason = " ".join(str(error).split())[:160].rstrip(".") or type(error).__name__
        raise UserError(f"The cell outlines in {path} cannot be read: {reason}.") from error


# ---- tables


def _of_parquet(path: Path, names: CellNames, to_spatial: np.ndarray | None) -> Boundaries:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    geometry = next((column for column in _GEOMETRIES if column in schema.names), None)
    if geometry is None:
        wanted = ["cell_id", "vertex_x", "vertex_y", "label_id"]
        kept = [column for column in wanted if column in schema.names]
        kind = schema.field("cell_id").type if "cell_id" in kept else pa.int64()
        named = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        # Millions of corners share a few names: read as numbers with a list of names.
        table = pq.read_table(path, columns=kept, read_dictionary=["cell_id"] if named else None)
        return _of_corners(table.to_pandas(), names, to_spatial, path)
    kept = [c for c in (geometry, *_IDS, "ZIndex") if c in schema.names]
    table = pq.read_table(path, columns=kept).to_pandas(ignore_metadata=True)
    return _of_polygons(table, geometry, names, to_spatial)


def _of_corners(
    table: pd.DataFrame, names: CellNames, to_spatial: np.ndarray | None, path: Path
) -> Boundaries:
    """Make outlines of Xenium's long table: one row a corner."""
    missing = [c for c in ("cell_id", "vertex_x", "vertex_y") if c not in table]
    if missing:
        raise UserError(f"{path} has no column {missing[0]}, so it holds no cell outlines; {_WHAT}")
    codes, ids = pd.factorize(table["cell_id"])
    rows = np.append(names.rows(texts(ids)), -1)[codes]
    xy = _moved(table[["vertex_x", "vertex_y"]].to_numpy(float), to_spatial)
    parts = table["label_id"].to_numpy() if "label_id" in table else ()
    return Boundaries.from_table(rows, xy[:, 0], xy[:, 1], names.n_obs, parts)


def _of_polygons(
    table: pd.DataFrame, geometry: str, names: CellNames, to_spatial: np.ndarray | None
) -> Boundaries:
    """Make outlines of a table of polygons, one plane of each cell where there are several."""
    import shapely

    found = ((column, texts(table[column])) for column in _IDS if column in table)
    column, ids = names.best(found)
    if column is not None and "ZIndex" in table:
        planes = table["ZIndex"].to_numpy()
        middle = np.median(np.unique(planes))
        order = np.argsort(np.abs(planes - middle), kind="stable")
        first = ~pd.Index(ids[order]).duplicated()
        table, ids = table.iloc[order[first]], ids[order[first]]
    shapes = table[geometry].to_numpy()
    if len(shapes) and isinstance(shapes[0], bytes):
        shapes = shapely.from_wkb(shapes, on_invalid="ignore")
    shapes = _moved_shapes(shapes, to_spatial)
    rows = by_place(shapes, names) if column is None else names.rows(ids)
    return Boundaries.from_shapes(shapes, rows, names.n_obs)


def _of_geojson(path: Path, names: CellNames, to_spatial: np.ndarray | None) -> Boundaries:
    import geopandas

    frame = geopandas.read_file(path)
    return _of_polygons(pd.DataFrame(frame), frame.geometry.name, names, to_spatial)


# ---- stores and images


def _of_folder(
    path: Path, names: CellNames, element: str, to_spatial: np.ndarray | None
) -> Boundaries:
    """Make outlines of a SpatialData's shapes or labels, or of an OME-Zarr of labels.

    Or of the files that older MERSCOPE software wrote, one a field of view.
    """
    if features := sorted(path.glob(FEATURES)):
        return _of_features(features, names, to_spatial)
    shapes = _names_in(path / "shapes")
    if element in shapes or (not element and shapes):
        import spatialdata

        frame = spatialdata.read_zarr(path, selection=("shapes",)).shapes[element or shapes[0]]
        return of_frame(frame, names, to_spatial)
    images = {image.name: image for image in open_images(path)}
    labels = _names_in(path / "labels")
    wanted = element or (labels or list(images))[0]
    if wanted not in images:
        raise unknown_name("shapes or labels", wanted, [*shapes, *images])
    if to_spatial is None and labels:
        to_spatial = _inverse(images[wanted].to_pixels)
    return _of_labels(images[wanted], names, to_spatial)


def _of_features(paths: list[Path], names: CellNames, to_spatial: np.ndarray | None) -> Boundaries:
    """Make outlines of MERSCOPE's files: a group a cell, in it one a plane, in it the parts."""
    import h5py

    rings, ids = [], []
    for path in paths:
        with h5py.File(path) as file:
            for cell, planes in file["featuredata"].items():
                found = _middle_plane(planes)
                rings += found
                ids += [cell] * len(found)
    lengths = [len(ring) for ring in rings]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    vertices = np.concatenate([np.empty((0, 2)), *rings])
    codes, known = pd.factorize(texts(np.array(ids, object)))
    rows = np.append(names.rows(known), -1)[codes]
    return Boundaries.from_rings(_moved(vertices, to_spatial), offsets, rows, names.n_obs)


def _middle_plane(planes: Any) -> list[np.ndarray]:
    """Return the (k, 2) parts of a cell on the plane nearest to the middle that shows it."""
    numbers = [int(name.rpartition("_")[2]) for name in planes if name.startswith("zIndex_")]
    middle = float(np.median(numbers)) if numbers else 0.0
    for number in sorted(numbers, key=lambda number: abs(number - middle)):
        parts = planes[f"zIndex_{number}"]
        found = [
            np.asarray(parts[f"{part}/coordinates"], float).reshape(-1, 2)
            for part in parts
            if part.startswith("p_")
        ]
        if found:
            return found
    return []


def _names_in(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(child.name for child in folder.iterdir() if child.is_dir())


def of_frame(frame: Any, names: CellNames, to_spatial: np.ndarray | None = None) -> Boundaries:
    """Make outlines of a SpatialData's shapes (a GeoDataFrame): polygons, or circles."""
    import shapely

    if to_spatial is None:
        to_spatial = to_global(frame)
    geometry = frame.geometry.to_numpy()
    rows = names.rows(texts(frame.index))
    if (rows < 0).all():
        rows = by_place(_moved_shapes(geometry, to_spatial), names)
    if "radius" not in frame:
        return Boundaries.from_shapes(_moved_shapes(geometry, to_spatial), rows, names.n_obs)
    centers = shapely.get_coordinates(geometry)
    made = Boundaries.from_circles(centers, frame["radius"].to_numpy(float), rows, names.n_obs)
    return Boundaries(_moved(made.vertices, to_spatial).astype(np.float32), made.offsets)


def to_global(element: Any) -> np.ndarray:
    """Return (2, 3): what takes the (x, y, 1) of an element to SpatialData's "global"."""
    from spatialdata.transformations import get_transformation

    chosen = get_transformation(element, get_all=True)[system_of(element)]
    return chosen.to_affine_matrix(input_axes=("x", "y"), output_axes=("x", "y"))[:2]


def system_of(element: Any) -> str:
    """Return the coordinate system that an element is placed in: "global", else its first."""
    from spatialdata.transformations import get_transformation

    systems = get_transformation(element, get_all=True)
    return "global" if "global" in systems else next(iter(systems))


def _of_labels(image: SectionImage, names: CellNames, to_spatial: np.ndarray | None) -> Boundaries:
    if image.axes != "yx" or image.levels[0].dtype.kind not in "ui":
        raise UserError(
            f"The image {image.name!r} is no label image (one channel of whole numbers, one for "
            f"each cell); {_WHAT}"
        )
    if to_spatial is not None:
        image = replace(image, to_pixels=_inverse(to_spatial))
    elif not names.in_micrometres:
        # A pixel's size in micrometres says nothing of coordinates that are pixels.
        image = replace(image, to_pixels=np.eye(2, 3))
    return boundaries_of_labels(image, by_label(image, names), names.n_obs)


def _inverse(affine: np.ndarray) -> np.ndarray:
    return np.linalg.inv(np.vstack([affine, [0, 0, 1]]))[:2]


def _moved(xy: np.ndarray, by: np.ndarray | None) -> np.ndarray:
    return xy if by is None else xy @ by[:, :2].T + by[:, 2]


def _moved_shapes(shapes: np.ndarray, by: np.ndarray | None) -> np.ndarray:
    import shapely

    if by is None or np.array_equal(by, np.eye(2, 3)):
        return shapes
    return shapely.transform(shapes, lambda xy: _moved(xy, by))
