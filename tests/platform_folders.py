"""Small output folders with the files and columns that the platforms' own software writes."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import geopandas
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
import shapely
import tifffile

SIDE, STEP = 6, 20.0  # cells along each side, and micrometres between them
N = SIDE**2
PIXEL = 0.5  # micrometres
GENES = ("CD3E", "MS4A1", "COL1A1", "PECAM1")
CONTROLS = ("NegControlProbe_00042", "BLANK_0006")


def centers() -> np.ndarray:
    """Return (N, 2): x and y of the cells in micrometres."""
    row, column = np.divmod(np.arange(N), SIDE)
    return np.column_stack([column * STEP + 15.0, row * STEP + 25.0])


def outline(center: np.ndarray, radius: float = 8.0) -> np.ndarray:
    """Return (k, 2): a closed ring around a cell."""
    turn = np.linspace(0, 2 * np.pi, 13)
    return center + radius * np.column_stack([np.cos(turn), np.sin(turn)])


def counts(n_columns: int) -> np.ndarray:
    return np.random.default_rng(0).poisson(2, (N, n_columns)).astype(np.float32)


def morphology() -> np.ndarray:
    """Return (2, height, width) uint16: bright where cells are."""
    image = np.full((2, 320, 320), 100, np.uint16)
    for number, (x, y) in enumerate(centers() / PIXEL):
        image[:, int(y) - 4 : int(y) + 4, int(x) - 4 : int(x) + 4] = 1000 + number
    return image


def write_pyramid(path: Path, planes: np.ndarray, **stated: object) -> None:
    options = {"tile": (64, 64), "photometric": "minisblack"}
    with tifffile.TiffWriter(path) as file:
        file.write(planes, subifds=1, metadata={"axes": "CYX", **stated}, **options)
        file.write(planes[..., ::2, ::2], subfiletype=1, **options)


def write_h5(path: Path, values: np.ndarray, barcodes: list[str], names: list[str]) -> None:
    """Write a feature-barcode matrix as Space Ranger and Xenium do."""
    kinds = ["Gene Expression" if name in GENES else "Negative Control Probe" for name in names]
    stored = sp.csr_matrix(values)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array(barcodes, "S")
        group["data"], group["indices"] = stored.data.astype(np.int32), stored.indices
        group["indptr"], group["shape"] = stored.indptr, np.array(values.T.shape, np.int32)
        features = group.create_group("features")
        features["id"] = np.array([f"ENSG{i:05d}" for i in range(len(names))], "S")
        features["name"] = np.array(names, "S")
        features["feature_type"] = np.array(kinds, "S")
        features["genome"] = np.array(["GRCh38"] * len(names), "S")


def xenium(folder: Path, *, suffix: str = ".parquet") -> list[str]:
    """Write a Xenium output folder; returns the cells' names."""
    folder.mkdir()
    names = [f"aaaa{chr(97 + i // 26)}{chr(97 + i % 26)}cd-1" for i in range(N)]
    stated = {"pixel_size": PIXEL, "run_name": "test", "analysis_sw_version": "xenium-2.0.0.10"}
    (folder / "experiment.xenium").write_text(json.dumps(stated))
    columns = [*GENES, *CONTROLS]
    write_h5(folder / "cell_feature_matrix.h5", counts(len(columns)), names, columns)
    xy = centers()
    cells = pd.DataFrame(
        {
            "cell_id": names,
            "x_centroid": xy[:, 0],
            "y_centroid": xy[:, 1],
            "transcript_counts": 10,
            "cell_area": 200.0,
        }
    )
    _table(cells, folder / f"cells{suffix}")
    corners = [
        pd.DataFrame(outline(xy[i]), columns=["vertex_x", "vertex_y"]).assign(cell_id=names[i])
        for i in reversed(range(N - 1))  # the last cell has none
    ]
    _table(pd.concat(corners, ignore_index=True), folder / f"cell_boundaries{suffix}")
    (folder / "morphology_focus").mkdir()
    write_pyramid(
        folder / "morphology_focus" / "morphology_focus_0000.ome.tif",
        morphology(),
        Channel={"Name": ["DAPI", "ATP1A1"]},
    )
    return names


def merscope(folder: Path) -> list[str]:
    """Write a MERSCOPE output folder; returns the cells' names, of 19 digits."""
    (folder / "images").mkdir(parents=True)
    names = [str(1112223334445556000 + i) for i in range(N)]
    xy = centers() - 5000  # stages count from anywhere
    metadata = {"fov": 0, "volume": 400.0, "center_x": xy[:, 0], "center_y": xy[:, 1]}
    index = pd.Index(names, name="EntityID")
    pd.DataFrame(metadata, index=index).to_csv(folder / "cell_metadata.csv")
    table = pd.DataFrame(counts(5), index=pd.Index(names, name="cell"))
    table.columns = [*GENES, "Blank-1"]
    table.iloc[::-1].to_csv(folder / "cell_by_gene.csv")
    rows = [
        {
            "ID": i,
            "EntityID": int(names[i]),
            "ZIndex": z,
            "Geometry": shapely.MultiPolygon([shapely.Polygon(outline(xy[i], 4.0 + z))]),
        }
        for z in range(3)
        for i in range(N)
    ]
    frame = geopandas.GeoDataFrame(rows, geometry="Geometry")
    frame.to_parquet(folder / "cell_boundaries.parquet")
    # x' = (x + 5000) / pixel
    matrix = np.array([[1 / PIXEL, 0, 5000 / PIXEL], [0, 1 / PIXEL, 5000 / PIXEL], [0, 0, 1]])
    np.savetxt(folder / "images" / "micron_to_mosaic_pixel_transform.csv", matrix)
    for z in range(3):
        path = folder / "images" / f"mosaic_DAPI_z{z}.tif"
        tifffile.imwrite(path, morphology()[0] + z, tile=(64, 64))
    return names


def merscope_features(folder: Path) -> None:
    """Write outlines as MERSCOPE did before parquet: a file a field of view, planes in each cell.

    The first cell is on the last plane alone, the last cell on none; each has a speck beside it.
    """
    (folder / "cell_boundaries").mkdir()
    xy = centers() - 5000
    for view in range(2):
        path = folder / "cell_boundaries" / f"feature_data_{view}.hdf5"
        with h5py.File(path, "w") as file:
            for i in range(view, N, 2):
                cell = file.create_group(f"featuredata/{1112223334445556000 + i}")
                for z in range(3):
                    plane = cell.create_group(f"zIndex_{z}")
                    if i == N - 1 or (i == 0 and z < 2):
                        continue
                    speck = outline(xy[i] + 7, 0.5)
                    for part, ring in enumerate((speck, outline(xy[i], 4.0 + z))):
                        plane[f"p_{part}/coordinates"] = ring[None]


def spatialdata_store(path: Path, kind: str, *, positions: str = "none") -> list[str]:
    """Write a SpatialData store whose table annotates polygons, circles or labels.

    ``positions``: whether the table has them in the elements' own units, in "global", or not.
    Global are the image's pixels, as spatialdata-io has it of Xenium.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries about each other
        return _spatialdata_store(path, kind, positions)


def _spatialdata_store(path: Path, kind: str, positions: str) -> list[str]:
    import spatialdata as sd
    from anndata import AnnData
    from spatialdata.models import Image2DModel, Labels2DModel, ShapesModel, TableModel
    from spatialdata.transformations import Identity, Scale

    xy, names = centers(), [f"c{i}" for i in range(N)]
    to_pixels = {"global": Scale([1 / PIXEL, 1 / PIXEL], axes=("x", "y"))}
    elements: dict[str, dict[str, object]] = {"shapes": {}, "labels": {}, "images": {}}
    instances: list[object] = list(names)
    if kind == "polygons":
        frame = geopandas.GeoDataFrame(geometry=[shapely.Polygon(outline(c)) for c in xy])
        frame.index = names
        elements["shapes"]["cells"] = ShapesModel.parse(frame, transformations=to_pixels)
    elif kind == "circles":
        elements["shapes"]["cells"] = ShapesModel.parse(
            xy, geometry=0, radius=8.0, index=pd.Index(names), transformations=to_pixels
        )
    else:
        labels = np.zeros((320, 320), np.uint32)
        y, x = np.mgrid[:320, :320] + 0.5
        for i, (cx, cy) in enumerate(xy / PIXEL):
            labels[(x - cx) ** 2 + (y - cy) ** 2 <= (8 / PIXEL) ** 2] = 100 + i
        elements["labels"]["cells"] = Labels2DModel.parse(
            labels, dims=("y", "x"), transformations={"global": Identity()}
        )
        instances = [100 + i for i in range(N)]
        frame = geopandas.GeoDataFrame(geometry=[shapely.Polygon(outline(c, 3)) for c in xy])
        elements["shapes"]["nuclei"] = ShapesModel.parse(frame, transformations=to_pixels)
    elements["images"]["morphology"] = Image2DModel.parse(
        morphology(), dims=("c", "y", "x"), c_coords=["DAPI", "CD3"], scale_factors=[2]
    )
    table = AnnData(
        sp.csr_matrix(counts(4)),
        obs=pd.DataFrame(
            {"region": pd.Categorical(["cells"] * N), "instance": instances}, index=names
        ),
        var=pd.DataFrame(index=list(GENES)),
    )
    if positions != "none":
        table.obsm["spatial"] = xy if positions == "own" else xy / PIXEL
    table = TableModel.parse(table, region="cells", region_key="region", instance_key="instance")
    sd.SpatialData(**elements, tables={"table": table}).write(path)
    return names


def spatialdata_regions(
    path: Path, kinds: tuple[str, ...], *, overlap: bool, lost: int | None = None
) -> list[str]:
    """Write a SpatialData store whose table annotates one element of each kind, in one order.

    Both call their cells by the same numbers. ``overlap``: each has coordinates of its own, with
    an image in them; else they lie beside each other. ``lost``: whose element is left out.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries about each other
        return _spatialdata_regions(path, kinds, overlap, lost)


def _spatialdata_regions(
    path: Path, kinds: tuple[str, ...], overlap: bool, lost: int | None
) -> list[str]:
    import spatialdata as sd
    from anndata import AnnData
    from spatialdata.models import Image2DModel, Labels2DModel, ShapesModel, TableModel
    from spatialdata.transformations import Translation

    xy, tables = centers(), []
    elements: dict[str, dict[str, object]] = {"shapes": {}, "labels": {}, "images": {}}
    for number, kind in enumerate(kinds):
        name = f"{kind}_{number}"
        shift = Translation([0 if overlap else 500 * number, 0], axes=("x", "y"))
        places = {f"slide_{number}" if overlap else "global": shift}
        tables.append(pd.DataFrame({"region": name, "instance": 100 + np.arange(N)}))
        if number == lost:
            continue
        if kind == "polygons":
            ring = [shapely.Polygon(outline(c, 4 + number)) for c in xy]
            frame = geopandas.GeoDataFrame(geometry=ring, index=100 + np.arange(N))
            elements["shapes"][name] = ShapesModel.parse(frame, transformations=places)
        else:
            labels = np.zeros((200, 200), np.uint32)
            y, x = np.mgrid[:200, :200] + 0.5
            for i, (cx, cy) in enumerate(xy):
                labels[(x - cx) ** 2 + (y - cy) ** 2 <= 6**2] = 100 + i
            elements["labels"][name] = Labels2DModel.parse(
                labels, dims=("y", "x"), transformations=places
            )
        elements["images"][f"image_{number}"] = Image2DModel.parse(
            np.full((1, 200, 200), 10 + number, np.uint16), dims=("c", "y", "x"),
            transformations=places,
        )  # fmt: skip
    obs = pd.concat(tables, ignore_index=True)
    obs["region"] = obs["region"].astype("category")
    obs.index = [f"c{i}" for i in range(len(obs))]
    table = AnnData(
        sp.csr_matrix(np.vstack([counts(4)] * len(kinds))),
        obs=obs, var=pd.DataFrame(index=list(GENES)),
    )  # fmt: skip
    regions = list(obs["region"].cat.categories)
    table = TableModel.parse(table, region=regions, region_key="region", instance_key="instance")
    sd.SpatialData(**elements, tables={"table": table}).write(path)
    return list(obs["region"].astype(str))


def _table(frame: pd.DataFrame, path: Path) -> None:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
