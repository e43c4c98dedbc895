import shutil

import anndata as ad
import h5py
import numpy as np
import pytest
import scipy.sparse as sp
import zarr

from napari_cellama.core.units import units_of
from napari_cellama.errors import UserError
from napari_cellama.io.readers import check_readable, is_anndata, read, read_light
from napari_cellama.io.writers import write


@pytest.fixture(params=[".h5ad", ".zarr"])
def path(request, tmp_path, full_adata):
    return write(full_adata, tmp_path / f"Schnitt 1 é{request.param}")


def test_reads_what_was_written(path, full_adata):
    adata = read(path)
    assert adata.shape == full_adata.shape
    np.testing.assert_array_equal(adata.X.toarray(), full_adata.X.toarray())


def test_light_reading_leaves_the_matrices(path, full_adata):
    light = read_light(path)
    assert light.adata.X is None
    assert not light.adata.layers
    assert list(light.adata.obsm) == ["spatial"]
    assert set(light.layers) == {"counts", "csc"}
    assert set(light.obsm) == {"spatial", "table"}
    assert light.has_raw
    assert light.has_x
    assert light.path == path
    assert list(light.adata.var_names) == list(full_adata.var_names)
    assert list(light.adata.obs_names) == list(full_adata.obs_names)
    assert light.adata.obs["celltype"].equals(full_adata.obs["celltype"])
    assert light.adata.uns["spatial"]["lib"]["images"]["hires"].shape == (4, 4, 3)
    np.testing.assert_array_equal(light.adata.obsm["spatial"], full_adata.obsm["spatial"])


def test_light_reading_of_a_broken_matrix_still_shows_the_cells(tmp_path, full_adata):
    path = write(full_adata, tmp_path / "a.h5ad")
    with h5py.File(path, "a") as file:
        del file["X/indices"]
    assert read_light(path).adata.n_obs == full_adata.n_obs
    with pytest.raises(UserError, match=r"a\.h5ad cannot be read as AnnData"):
        read(path)


def test_repeated_names_do_not_warn(tmp_path, full_adata, recwarn):
    full_adata.obs_names = ["same"] * full_adata.n_obs
    full_adata.obsm.pop("table")
    path = write(full_adata, tmp_path / "a.h5ad")
    recwarn.clear()
    assert read(path).n_obs == read_light(path).adata.n_obs == 12
    assert not [str(warning.message) for warning in recwarn]


def test_files_from_before_groups_are_read(tmp_path, recwarn):
    """anndata 0.6 kept tables as structured arrays, and categories in uns."""
    path = tmp_path / "old.h5ad"
    cells = [(b"c1", 0), (b"c2", 1), (b"c3", 0)]
    with h5py.File(path, "w") as file:
        file["X"] = np.eye(3, 2, dtype=np.float32)
        file["obs"] = np.array(cells, dtype=[("index", "S4"), ("type", "i1")])
        file["var"] = np.array([(b"g1",), (b"g2",)], dtype=[("index", "S4")])
        file["obsm"] = np.array([((0.0, 1.0),)] * 3, dtype=[("spatial", "f8", 2)])
        file["uns/type_categories"] = np.array([b"B", b"T"])
    light = read_light(path)
    assert list(light.adata.obs["type"]) == ["B", "T", "B"]
    assert light.adata.obsm["spatial"].shape == (3, 2)
    assert read(path).shape == (3, 2)
    assert not [str(warning.message) for warning in recwarn]


def broken(tmp_path, kind):
    path = tmp_path / "section.h5ad"
    match kind:
        case "missing":
            pass
        case "empty":
            path.touch()
        case "text":
            path.write_text("cell,x,y\n1,2,3\n")
        case "truncated":
            write(ad.AnnData(sp.eye(2000, format="csr")), path)
            whole = path.read_bytes()
            path.write_bytes(whole[: len(whole) // 2])
        case "other HDF5":
            with h5py.File(path, "w") as file:
                file["matrix"] = np.eye(3)
        case "plain folder":
            path = tmp_path / "folder"
            path.mkdir()
        case "other zarr":
            path = tmp_path / "image.zarr"
            zarr.open_group(path, mode="w").create_array("0", data=np.eye(3))
    return path


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("missing", r"There is no file .*section\.h5ad; check its name"),
        ("empty", r"section\.h5ad is empty"),
        ("text", r"section\.h5ad is not an HDF5 file"),
        ("truncated", r"section\.h5ad cannot be read as AnnData: the file is truncated"),
        ("other HDF5", r"section\.h5ad cannot be read as AnnData: "),
        ("plain folder", r"folder holds no cells that can be read"),
        ("other zarr", r"image\.zarr holds no AnnData"),
    ],
)
@pytest.mark.parametrize("reader", [read, read_light])
def test_refuses_with_one_sentence(tmp_path, kind, sentence, reader):
    with pytest.raises(UserError, match=sentence) as refusal:
        reader(broken(tmp_path, kind))
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).endswith(".")


def test_a_spatialdata_store_is_its_table(tmp_path, full_adata):
    store = tmp_path / "data.zarr"
    zarr.open_group(store, mode="w").attrs["spatialdata_attrs"] = {"version": "0.2"}
    (store / "tables").mkdir()
    table = write(full_adata, tmp_path / "t.zarr")
    shutil.move(table, store / "tables" / "cells")
    assert is_anndata(store)
    assert read(store).n_obs == full_adata.n_obs
    assert is_anndata(store / "tables" / "cells")
    assert read(store / "tables" / "cells").n_obs == full_adata.n_obs


def test_what_is_taken_for_anndata(tmp_path, path):
    assert is_anndata(path)
    # By its name, so that reading says in a sentence what is wrong with it.
    assert is_anndata(tmp_path / "not there.h5ad")
    assert not is_anndata(tmp_path)
    assert not is_anndata(tmp_path / "image.tif")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr_of_both_formats_and_unmarked_ones(tmp_path, full_adata, zarr_format):
    with ad.settings.override(zarr_write_format=zarr_format):
        path = write(full_adata, tmp_path / "a.zarr")
    assert is_anndata(path)
    group = zarr.open_group(path, mode="a", use_consolidated=False)
    assert group.metadata.zarr_format == zarr_format
    del group.attrs["encoding-type"]
    assert is_anndata(path)


def test_check_reads_next_to_nothing(tmp_path, monkeypatch, full_adata):
    path = write(full_adata, tmp_path / "a.h5ad")
    monkeypatch.setattr(h5py, "File", None)
    assert check_readable(str(path)) == path


@pytest.mark.parametrize(
    ("uns", "units"),
    [
        ({}, "pixel"),
        ({"cellama": {"units": "micrometre"}}, "µm"),
        ({"cellama": {"units": "um"}}, "µm"),
        ({"cellama": {"units": "px"}}, "pixel"),
        ({"cellama": {"units": "mm"}}, "mm"),
        ({"cellama": {"runs": {}}}, "pixel"),
        ({"spatial": {"lib": {"scalefactors": {"tissue_hires_scalef": 0.2}}}}, "pixel"),
    ],
)
def test_units(uns, units):
    assert units_of(ad.AnnData(np.eye(2), uns=uns)) == units
