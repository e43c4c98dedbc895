import errno
import os
import subprocess

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from napari_cellama.errors import UserError
from napari_cellama.io import writers
from napari_cellama.io.readers import read
from napari_cellama.io.writers import check_writable, write

SUFFIXES = (".h5ad", ".zarr")
suffixes = pytest.mark.parametrize("suffix", SUFFIXES)


def assert_same(left, right):
    """Compare every slot; string columns with gaps come back categorical."""
    for slot in ("obs", "var"):
        pd.testing.assert_frame_equal(
            getattr(left, slot).drop(columns="gaps", errors="ignore"),
            getattr(right, slot).drop(columns="gaps", errors="ignore"),
        )
    for slot in ("obsm", "varm", "obsp", "varp", "layers"):
        ours, theirs = getattr(left, slot), getattr(right, slot)
        assert set(ours) == set(theirs)
        for key in ours:
            assert type(ours[key]) is type(theirs[key])
            np.testing.assert_array_equal(dense(ours[key]), dense(theirs[key]))
            assert dense(ours[key]).dtype == dense(theirs[key]).dtype
    np.testing.assert_array_equal(dense(left.X), dense(right.X))
    assert type(left.X) is type(right.X)
    np.testing.assert_array_equal(dense(left.raw.X), dense(right.raw.X))
    pd.testing.assert_frame_equal(left.raw.var, right.raw.var)


def dense(array):
    return array.toarray() if sp.issparse(array) else np.asarray(array)


@suffixes
def test_everything_survives(tmp_path, full_adata, suffix):
    before = full_adata.copy()
    path = write(full_adata, tmp_path / f"out{suffix}")
    back = read(path)
    assert_same(back, full_adata)
    assert list(back.obs["gaps"].astype(object).fillna("?")) == ["a", "?", "b"] * 4
    odd = back.uns["odd"]
    assert (odd["none"], odd["empty"], odd["deep"]) == (None, {}, {"ü": 1.5})
    assert list(odd["list"]) == ["a", "b"]
    assert list(back.uns["celltype_colors"]) == ["#ff0000", "#00ff00"]
    # The one that was written has not changed.
    pd.testing.assert_frame_equal(full_adata.obs, before.obs)
    assert os.listdir(tmp_path) == [path.name]


def test_column_names_with_a_slash(tmp_path, full_adata, recwarn):
    full_adata.obs["µm² / Fläche"] = 1.5
    assert "µm² / Fläche" in read(write(full_adata, tmp_path / "a.h5ad")).obs
    assert not [str(warning.message) for warning in recwarn]
    with pytest.raises(UserError, match=r"obs\['µm² / Fläche'\] cannot be written: there, '/'"):
        write(full_adata, tmp_path / "a.zarr")


@suffixes
def test_onto_the_very_file_it_came_from(tmp_path, full_adata, suffix):
    path = write(full_adata, tmp_path / f"a{suffix}")
    adata = read(path)
    adata.obs["new"] = 1
    write(adata, path, overwrite=True)
    assert "new" in read(path).obs
    assert os.listdir(tmp_path) == [path.name]


def test_backed_data_are_written_also_onto_their_own_file(tmp_path, full_adata):
    path = write(full_adata, tmp_path / "a.h5ad")
    backed = ad.io.read_h5ad(path, backed="r")
    backed.obs["new"] = 1
    write(backed, tmp_path / "b.h5ad")
    write(backed, path, overwrite=True)
    for name in ("a.h5ad", "b.h5ad"):
        back = read(tmp_path / name)
        assert "new" in back.obs
        np.testing.assert_array_equal(dense(back.X), dense(full_adata.X))
    assert backed.X[:].shape == full_adata.shape
    backed.file.close()


def test_a_view_is_written_and_stays_a_view(tmp_path, full_adata):
    view = full_adata[3:7]
    write(view, tmp_path / "a.h5ad")
    assert view.is_view
    assert list(read(tmp_path / "a.h5ad").obs_names) == list(full_adata.obs_names[3:7])


def test_a_link_keeps_pointing(tmp_path, full_adata):
    (tmp_path / "real").mkdir()
    target = write(full_adata, tmp_path / "real" / "a.h5ad")
    link = tmp_path / "link.h5ad"
    link.symlink_to(target)
    full_adata.obs["new"] = 1
    write(full_adata, link, overwrite=True)
    assert link.is_symlink()
    assert "new" in read(target).obs


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_permissions_of_what_is_replaced_are_kept(tmp_path, full_adata):
    path = write(full_adata, tmp_path / "a.h5ad")
    path.chmod(0o664)
    write(full_adata, path, overwrite=True)
    assert path.stat().st_mode & 0o777 == 0o664


@suffixes
def test_existing_output_needs_overwrite(tmp_path, full_adata, suffix):
    path = write(full_adata[:5], tmp_path / f"a{suffix}")
    with pytest.raises(UserError, match="already exists"):
        write(full_adata, path)
    assert read(path).n_obs == 5


def test_refuses_places_early(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.h5ad").mkdir()
    (tmp_path / "stuff.zarr").mkdir()
    (tmp_path / "stuff.zarr" / "thesis.txt").touch()
    for name, sentence in {
        "a.csv": r"must end in \.h5ad or \.zarr",
        "missing/a.h5ad": "does not exist; create it first",
        "file/a.h5ad": "is not a folder",
        "folder.h5ad": "a folder of that name is in the way",
        "stuff.zarr": "holds something other than an AnnData",
    }.items():
        with pytest.raises(UserError, match=sentence):
            check_writable(tmp_path / name, overwrite=True)


def test_a_folder_without_permission(tmp_path, full_adata, monkeypatch):
    if os.geteuid() == 0:  # root may write anywhere, so the system's answer is put on
        monkeypatch.setattr(writers.os, "access", lambda path, mode: False)
    else:
        tmp_path.chmod(0o555)
    with pytest.raises(UserError, match="is not writable for you"):
        write(full_adata, tmp_path / "a.h5ad")
    assert not os.listdir(tmp_path)


@suffixes
@pytest.mark.parametrize("existed", [False, True])
@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota is used up"),
        (errno.EIO, "was not written: Input/output error"),
    ],
)
def test_failing_disk_leaves_what_was_there(
    tmp_path, full_adata, monkeypatch, suffix, existed, number, sentence
):
    path = tmp_path / f"a{suffix}"
    if existed:
        write(full_adata[:5], path)
    real = ad.io.write_elem

    def failing(group, key, value, **options):
        real(group, key, value, **options)
        if key == "obs":
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(ad.io, "write_elem", failing)
    with pytest.raises(UserError, match=sentence):
        write(full_adata, path, overwrite=True)
    assert os.listdir(tmp_path) == ([path.name] if existed else [])
    if existed:
        assert read(path).n_obs == 5


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a small disk"
)
@suffixes
def test_a_disk_that_is_really_full(tmp_path, suffix):
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let a small disk be mounted")
    try:
        small = ad.AnnData(np.ones((10, 3), np.float32))
        path = write(small, tmp_path / f"a{suffix}")
        random = np.random.default_rng(0).random((1000, 1000))
        with pytest.raises(UserError, match="the disk is full"):
            write(ad.AnnData(random), path, overwrite=True)
        assert os.listdir(tmp_path) == [path.name]
        assert read(path).n_obs == 10
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@suffixes
def test_interrupting_leaves_no_trace(tmp_path, full_adata, monkeypatch, suffix):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(writers, "_replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(full_adata, tmp_path / f"a{suffix}")
    assert not os.listdir(tmp_path)


def test_a_failing_swap_of_folders_brings_the_old_one_back(tmp_path, full_adata, monkeypatch):
    path = write(full_adata[:5], tmp_path / "a.zarr")
    real = os.rename

    def rename(source, target):
        if str(source).endswith(".tmp"):
            raise OSError(errno.EACCES, "Permission denied")
        real(source, target)

    monkeypatch.setattr(writers.os, "rename", rename)
    with pytest.raises(UserError, match="Permission denied"):
        write(full_adata, path, overwrite=True)
    assert os.listdir(tmp_path) == ["a.zarr"]
    assert read(path).n_obs == 5


def put(adata, place, value):
    slot, _, key = place.partition("/")
    getattr(adata, slot)[key] = value


@suffixes
@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("obs/mixed", ["a", 1] * 6, r"obs\['mixed'\] cannot be written"),
        ("obs/kinds", pd.Categorical(["a", 1] * 6), r"obs\['kinds'\] cannot be written"),
        ("uns/list", ["a", 1], r"uns\['list'\] cannot be written: not all it holds is text"),
        ("obs/when", pd.to_datetime(["2020-01-01"] * 12), r"obs\['when'\] cannot be written"),
        ("uns/set", {1, 2}, r"uns\['set'\] cannot be written"),
        ("uns/pair", {"a": {("x", "y"): 1}}, r"uns\['pair'\]\['a'\]\[\('x', 'y'\)\] cannot be"),
        ("uns/number", {5: 1}, r"uns\['number'\]\[5\] cannot be written: its name is of type int"),
        ("uns/deep", {"er": {"thing": object()}}, r"uns\['deep'\]\['er'\]\['thing'\] cannot be"),
        ("uns/a/b", 1, r"uns\['a/b'\] cannot be written: there, '/' separates"),
        ("uns/holes", np.array(["a", None], object), r"uns\['holes'\] cannot be written"),
    ],
)
def test_nothing_is_lost_silently(tmp_path, full_adata, suffix, place, value, sentence):
    put(full_adata, place, value)
    with pytest.raises(UserError, match=sentence) as refusal:
        write(full_adata, tmp_path / f"a{suffix}")
    assert "\n" not in str(refusal.value)
    assert not os.listdir(tmp_path)
