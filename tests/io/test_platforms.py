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


def test_xenium_channels_in_files_of_their_own_and_a_stain_aligned_in_the_explorer(tmp_path):
    folder = tmp_path / "outs"
    make.xenium(folder)
    shutil.rmtree(folder / "morphology_focus")
    (folder / "morphology_focus").mkdir()
    for number, name in enumerate(("dapi", "atp1a1")):
        plane = make.morphology()[number]
        path = folder / "morphology_focus" / f"ch{number:04}_{name}.ome.tif"
        tifffile.imwrite(path, plane, metadata={"axes": "YX"})
    # The stain lies on its side, at twice the size and somewhere else.
    stain = np.zeros((700, 900), np.uint16)
    stain[30:670, 50:690] = np.kron(make.morphology()[0].T, np.ones((2, 2), np.uint16))
    tifffile.imwrite(folder / "run_he_image.ome.tif", stain, metadata={"axes": "YX"})
    matrix = np.array([[0, 0.5, -15], [0.5, 0, -25], [0, 0, 1]])
    np.savetxt(folder / "run_he_imagealignment.csv", matrix, delimiter=",")
    np.savetxt(folder / "other_alignment.csv", np.eye(2), delimiter=",")  # of no image
    adata = read(folder)
    assert list(adata.uns["cellama"]["images"]) == [
        "ch0000_dapi", "ch0001_atp1a1", "run_he_image"
    ]  # fmt: skip
    for name in adata.uns["cellama"]["images"]:
        bright(adata, name)
    agree(folder)
    (folder / "run_he_imagealignment.csv").write_text("1,0,0\n0,1\n")
    with pytest.raises(UserError, match=r"no 3 x 3 matrix that places run_he_image.ome.tif"):
        read(folder)


def test_outlines_as_older_merscope_software_wrote_them(tmp_path):
    folder = tmp_path / "region_0"
    names = make.merscope(folder)
    (folder / "cell_boundaries.parquet").unlink()
    make.merscope_features(folder)
    adata = read(folder)
    boundaries, notices = boundaries_of(adata)
    assert not notices
    assert np.flatnonzero(~boundaries.has_outline).tolist() == [make.N - 1]
    inside(adata, boundaries)
    width = boundaries.boxes[:-1, 2] - boundaries.boxes[:-1, 0]
    # The middle plane of three, but for the first cell, which is on the last alone.
    np.testing.assert_allclose(width, [12.0] + [10.0] * (make.N - 2), atol=1e-3)
    path = folder / "cell_boundaries" / "feature_data_1.hdf5"
    path.write_bytes(b"no such file")
    boundaries, notices = boundaries_of(read(folder))
    assert boundaries is None
    assert len(notices) == 1
    assert "cell_boundaries cannot be read" in notices[0]
    assert len(names) == make.N


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


@pytest.mark.parametrize("kinds", [("polygons", "polygons"), ("labels", "polygons")])
def test_every_region_of_a_spatialdata_store_has_its_outlines(tmp_path, kinds):
    store = tmp_path / "slides.zarr"
    regions = np.array(make.spatialdata_regions(store, kinds, overlap=False))
    adata = read(store)
    second = regions != regions[0]
    assert second.sum() == make.N
    middles = make.centers() + np.array([500, 0])
    np.testing.assert_allclose(adata.obsm["spatial"][second], middles, atol=0.3)
    assert "section" not in adata.obs  # they lie beside each other
    boundaries, notices = boundaries_of(adata)
    assert not notices
    assert boundaries.has_outline.all()
    inside(adata, boundaries)
    # The same number is another cell in each: the first region's are of another size.
    size = np.sqrt(boundaries.areas / np.pi)
    np.testing.assert_allclose(size[second], 5, atol=0.3)
    np.testing.assert_allclose(size[~second], 6 if kinds[0] == "labels" else 4, atol=0.3)
    nc.write(adata, tmp_path / "saved.h5ad")
    again, _ = boundaries_of(read(tmp_path / "saved.h5ad"))
    np.testing.assert_array_equal(again.offsets, boundaries.offsets)
    # Some of the cells keep theirs, whichever section they are of.
    part, _ = boundaries_of(adata[::3].copy())
    np.testing.assert_allclose(part.areas, boundaries.areas[::3])


def test_regions_that_lie_over_each_other_are_sections_with_an_image_each(tmp_path):
    store = tmp_path / "slides.zarr"
    regions = make.spatialdata_regions(store, ("polygons", "labels"), overlap=True)
    adata = read(store)
    assert list(adata.obs["section"]) == regions
    first, second = dict.fromkeys(regions)
    images, _ = all_images(adata)
    assert {name: image.name for name, (image,) in images.items()} == {
        first: "image_0",
        second: "image_1",
    }
    boundaries, _ = boundaries_of(adata)
    assert boundaries.has_outline.all()
    inside(adata, boundaries)


def test_a_region_whose_element_is_gone_leaves_the_others_theirs(tmp_path):
    store = tmp_path / "slides.zarr"
    kinds = ("polygons", "polygons")
    regions = np.array(make.spatialdata_regions(store, kinds, overlap=False, lost=1))
    adata = read(store)
    assert np.isnan(adata.obsm["spatial"][regions == regions[-1]]).all()
    boundaries, notices = boundaries_of(adata)
    assert not notices
    np.testing.assert_array_equal(boundaries.has_outline, regions == regions[0])


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
