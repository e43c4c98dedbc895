"""Platforms' folders open as they are: genes, positions in their unit, images and outlines."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import tifffile
from scipy.ndimage import maximum_filter

import napari_cellama as nc
import platform_folders as make
from napari_cellama.core.units import units_of
from napari_cellama.errors import UserError
from napari_cellama.io.attached import all_images
from napari_cellama.io.boundaries import boundaries_of
from napari_cellama.io.readers import is_anndata, read, read_light

VISIUM = Path(__file__).resolve().parents[3] / "shared" / "data" / "visium_mini"


def agree(path: Path) -> None:
    """Check that what is drawn first is what comes later, but for the counts."""
    light, whole = read_light(path).adata, read(path)
    assert light.X is None
    assert list(light.obs_names) == list(whole.obs_names)
    assert list(light.var_names) == list(whole.var_names)
    np.testing.assert_array_equal(light.obsm["spatial"], whole.obsm["spatial"])
    assert set(light.uns["cellama"]) == set(whole.uns["cellama"])


def inside(adata, boundaries) -> None:
    """Check that each cell lies in the middle of its own outline."""
    some = boundaries.has_outline
    middles = (boundaries.boxes[:, :2] + boundaries.boxes[:, 2:]) / 2
    np.testing.assert_allclose(middles[some], adata.obsm["spatial"][some], atol=0.6)


def bright(adata, name: str) -> None:
    """Check that each cell lies on its own bright spot of an image."""
    images, notices = all_images(adata)
    assert not notices
    image = next(image for found in images.values() for image in found if image.name == name)
    for cell, (row, column) in enumerate(image.locate(adata.obsm["spatial"]).astype(int)):
        pixel = image.read(slice(row, row + 1), slice(column, column + 1))[0, 0, 0]
        assert int(pixel) - 1000 == pytest.approx(cell, abs=2)


def test_a_real_visium_folder():
    if not VISIUM.is_dir():
        pytest.skip(f"the real Space Ranger folder is not at {VISIUM}")
    assert is_anndata(VISIUM)
    adata = read(VISIUM)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = sc.read_10x_h5(VISIUM / "filtered_feature_bc_matrix.h5")
    assert abs(adata.X - theirs.X).sum() == 0
    assert adata.obsm["spatial"][adata.obs_names.get_loc("AAACAAGTATCTCCCA-1")].tolist() == [
        9811,
        8513,
    ]
    assert adata.obs.loc["AAACACCAATAACTGC-1"].tolist() == [1, 59, 19]
    assert units_of(adata) == "pixel"
    agree(VISIUM)
    # The spots lie on tissue, which is darker and more coloured than the glass around it.
    lowres = next(i for i in all_images(adata)[0]["visium_mini"] if i.name == "lowres")
    picture = lowres.read(slice(0, 600), slice(0, 600)).astype(int)
    row, column = lowres.locate(adata.obsm["spatial"]).astype(int).T
    # Muscle is red; glass and the gaps between fibres, narrower than a spot, are grey.
    colored = maximum_filter(np.ptp(picture, axis=2), 5) > 25
    assert colored[row, column].mean() > 0.98
    assert colored[row, np.minimum(column + 120, 599)].mean() < 0.9
    assert colored[np.maximum(row - 120, 0), column].mean() < 0.9


def test_a_visium_folder_as_newer_software_writes_it(tmp_path):
    folder = tmp_path / "sample 1" / "outs"
    (folder / "spatial").mkdir(parents=True)
    barcodes = ["AC-1", "GT-1", "TT-1"]
    names = ["CD3E", "CD3E", "MS4A1"]
    make.write_h5(folder / "filtered_feature_bc_matrix.h5", np.eye(3), barcodes, names)
    (folder / "spatial" / "tissue_positions.csv").write_text(
        "barcode,in_tissue,array_row,array_col,pxl_row_in_fullres,pxl_col_in_fullres\n"
        "TT-1,1,2,2,30,300\nAC-1,1,0,0,10,100\nGT-1,1,1,1,20,200\nAA-1,0,9,9,90,900\n"
    )
    for path in (folder, tmp_path / "sample 1"):
        adata = read(path)
        assert adata.obsm["spatial"].tolist() == [[100, 10], [200, 20], [300, 30]]
        assert list(adata.var_names) == ["CD3E", "CD3E-1", "MS4A1"]
        assert list(adata.uns["spatial"]) == ["sample 1"]
        agree(path)
    (folder / "spatial" / "tissue_positions.csv").write_text("AA-1,1,2,2,30,300\n")
    with pytest.raises(UserError, match=r"None of the spots .* different sections"):
        read(folder)


@pytest.mark.parametrize("suffix", [".parquet", ".csv.gz"])
def test_a_xenium_folder(tmp_path, suffix):
    folder = tmp_path / "output-XETG"
    names = make.xenium(folder, suffix=suffix)
    assert is_anndata(folder)
    adata = read(folder)
    assert list(adata.obs_names) == names
    assert list(adata.var_names) == list(make.GENES)
    np.testing.assert_array_equal(adata.X.toarray(), make.counts(6)[:, :4])
    assert list(adata.obsm["controls"]) == list(make.CONTROLS)
    judged, counts = nc.qc(adata.copy(), image="none", progress=False), make.counts(6)
    share = 100 * counts[:, 4:].sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
    np.testing.assert_allclose(judged.table["qc_pct_control"], share, rtol=1e-5)
    np.testing.assert_allclose(adata.obsm["spatial"], make.centers())
    assert units_of(adata) == "µm"
    agree(folder)
    bright(adata, "morphology_focus_0000")
    boundaries, notices = boundaries_of(adata)
    assert not notices
    assert boundaries.has_outline.sum() == make.N - 1
    inside(adata, boundaries)


def test_a_merscope_folder(tmp_path):
    folder = tmp_path / "region_0"
    names = make.merscope(folder)
    adata = read(folder)
    assert list(adata.obs_names) == names
    assert list(adata.var_names) == list(make.GENES)
    np.testing.assert_array_equal(adata.X.toarray(), make.counts(5)[:, :4])
    assert list(adata.obsm["controls"]) == ["Blank-1"]
    assert units_of(adata) == "µm"
    agree(folder)
    bright(adata, "mosaic_DAPI_z1")
    boundaries, _ = boundaries_of(adata)
    inside(adata, boundaries)
    # Of several planes the middle one is taken.
    np.testing.assert_allclose(boundaries.boxes[:, 2] - boundaries.boxes[:, 0], 10, atol=1e-3)


@pytest.mark.parametrize("kind", ["polygons", "circles", "labels"])
@pytest.mark.parametrize("positions", ["none", "own", "global"])
def test_a_spatialdata_store(tmp_path, kind, positions):
    store = tmp_path / "section.zarr"
    names = make.spatialdata_store(store, kind, positions=positions)
    assert is_anndata(store)
    adata = read(store)
    assert list(adata.obs_names) == names
    wanted = make.centers() if positions == "own" else make.centers() / make.PIXEL
    np.testing.assert_allclose(adata.obsm["spatial"], wanted, atol=0.3)
    agree(store)
    bright(adata, "morphology")
    boundaries, notices = boundaries_of(adata)
    assert not notices
    assert boundaries.has_outline.all()
    inside(adata, boundaries)
    radius = 8 if positions == "own" else 8 / make.PIXEL
    np.testing.assert_allclose(boundaries.areas, np.pi * radius**2, rtol=0.07)


def test_a_saved_section_finds_its_outlines_again_and_does_without(tmp_path):
    make.xenium(tmp_path / "xenium")
    nc.write(read(tmp_path / "xenium"), tmp_path / "saved.h5ad")
    adata = read(tmp_path / "saved.h5ad")
    assert boundaries_of(adata)[0].has_outline.sum() == make.N - 1
    shutil.rmtree(tmp_path / "xenium")
    boundaries, notices = boundaries_of(adata)
    assert boundaries is None
    assert len(notices) == 1
    assert "is not there any more. The cells are shown without outlines." in notices[0]


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("cell_feature_matrix.h5", "has no cell_feature_matrix.h5; give the whole folder"),
        ("cells.parquet", "has no cells.parquet; give the whole folder"),
    ],
)
def test_an_incomplete_folder_is_refused_in_a_sentence(tmp_path, missing, sentence):
    make.xenium(tmp_path / "x")
    (tmp_path / "x" / missing).unlink()
    with pytest.raises(UserError, match=sentence):
        read(tmp_path / "x")


def test_files_of_two_runs_are_refused(tmp_path):
    make.merscope(tmp_path / "m")
    table = pd.read_csv(tmp_path / "m" / "cell_by_gene.csv", dtype=str)
    table["cell"] = "9" + table["cell"]
    table.to_csv(tmp_path / "m" / "cell_by_gene.csv", index=False)
    with pytest.raises(UserError, match="the two are of different regions"):
        read(tmp_path / "m")


def test_folders_of_others_are_left_to_others(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "cells.csv").write_text("a,b\n")
    for path in (tmp_path, tmp_path / "pictures"):
        assert not is_anndata(path)
    with pytest.raises(UserError, match="holds no cells that can be read"):
        read(tmp_path / "pictures")


def _frame(kind: str, xy: np.ndarray, names: list[str]):
    import geopandas
    import shapely

    shapes = [shapely.Polygon(make.outline(center)) for center in xy]
    return geopandas.GeoDataFrame({"id": names} if kind == "named" else {}, geometry=shapes)


@pytest.mark.parametrize("kind", ["named", "nameless"])
@pytest.mark.parametrize("suffix", [".geojson", ".parquet"])
def test_outlines_of_ones_own(tmp_path, kind, suffix):
    adata = section()
    frame = _frame(kind, make.centers()[::-1] / make.PIXEL, list(adata.obs_names[::-1]))
    path = tmp_path / f"cells{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    else:
        path.write_text(frame.to_json())
    given = nc.attach_boundaries(adata, path, pixel_size=make.PIXEL)
    assert given.has_outline.all()
    inside(adata, given)
    nc.write(adata, tmp_path / "saved.h5ad")
    again, notices = boundaries_of(read(tmp_path / "saved.h5ad"))
    assert not notices
    np.testing.assert_array_equal(again.vertices, given.vertices)


def section():
    """Return the cells of the folders as an AnnData that knows of no files."""
    from anndata import AnnData

    obs = pd.DataFrame(index=[f"cell {i}" for i in range(make.N)])
    uns = {"cellama": {"units": "µm"}}
    return AnnData(make.counts(4), obs=obs, obsm={"spatial": make.centers()}, uns=uns)


def test_a_label_tiff_of_ones_own(tmp_path):
    labels = np.zeros((320, 320), np.uint16)
    for number, (x, y) in enumerate(make.centers() / make.PIXEL):
        labels[int(y) - 6 : int(y) + 6, int(x) - 8 : int(x) + 8] = 500 - number
    tifffile.imwrite(tmp_path / "labels.tif", labels)
    adata = section()
    found = nc.attach_boundaries(adata, tmp_path / "labels.tif", pixel_size=make.PIXEL)
    inside(adata, found)
    np.testing.assert_allclose(found.areas, 12 * 16 * make.PIXEL**2, rtol=0.02)


@pytest.mark.parametrize(
    ("name", "content", "options", "sentence"),
    [
        ("none.parquet", None, {}, "is not there any more"),
        ("a.csv", "cell_id,x,y\na,1,2\n", {}, "has no column vertex_x, so it holds"),
        ("b.csv", "cell_id,vertex_x,vertex_y\nq,1,2\nq,3,2\nq,3,4", {}, "None of the outlines"),
        ("c.geojson", "{", {}, "cannot be read"),
        ("d.csv", "", {"ids": "nam"}, "no obs column named 'nam'"),
        ("e.csv", "", {"pixel_size": -1}, "Give a pixel_size above 0"),
        ("f.csv", "", {"section": "S9"}, "No cell is of a section called 'S9'"),
    ],
)  # fmt: skip
def test_bad_outlines_are_refused_and_change_nothing(tmp_path, name, content, options, sentence):
    adata = section()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=sentence):
        nc.attach_boundaries(adata, tmp_path / name, **options)
    assert "boundaries" not in adata.uns["cellama"]
