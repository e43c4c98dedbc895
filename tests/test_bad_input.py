"""What cannot be used is refused in one sentence, and what is merely odd is run.

Each case goes through Python and through the command line.
"""

import os
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import napari_cellama as nc
from napari_cellama import api
from napari_cellama.cli import main
from small_sections import small_section

RECIPE = {"n_clusters": 2, "n_neighbors": 5, "n_sentence_neighbors": 4}
OPTIONS = [f"--{name.replace('_', '-')}={value}" for name, value in RECIPE.items()]


@pytest.fixture
def no_model(monkeypatch):
    """Fail if a refusal comes only after the model was asked for."""

    def load(self, cancel):
        raise AssertionError("the model was loaded for data that cannot be used")

    monkeypatch.setattr(api.NamedEncoder, "load", load)


def refused_by_command_line(arguments, capsys):
    """Run the command line; return its one line on standard error."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    # Progress is before it; what is wrong is the last line, and the only one of its kind.
    lines = [line for line in streams.err.splitlines() if line.startswith("napari-cellama: ")]
    assert len(lines) == 1
    assert streams.err.splitlines()[-1] == lines[0]
    assert "Traceback" not in streams.err
    return lines[0]


# ---- files


def not_hdf5(path):
    path.write_text("this is no HDF5")


def empty(path):
    path.touch()


def truncated(path):
    nc.write(ad.AnnData(sp.random(500, 200, 0.5, format="csr", rng=0)), path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def missing(path):
    pass


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (not_hdf5, "is not an HDF5 file"),
        (empty, "is empty"),
        (truncated, "is truncated"),
        (missing, "There is no file"),
    ],
)
@pytest.mark.usefixtures("no_model")
def test_unreadable_files(tmp_path, capsys, make, sentence):
    path = tmp_path / "in.h5ad"
    make(path)
    there = os.listdir(tmp_path)
    with pytest.raises(nc.UserError, match=sentence) as refusal:
        nc.read(path)
    line = refused_by_command_line(["run", path, tmp_path / "out.h5ad"], capsys)
    assert line == f"napari-cellama: {refusal.value}"
    assert os.listdir(tmp_path) == there


# ---- data


def no_positions(adata):
    del adata.obsm["spatial"]


def one_coordinate(adata):
    adata.obsm["spatial"] = adata.obsm["spatial"][:, :1]


def all_nan(adata):
    adata.obsm["spatial"] = np.full((adata.n_obs, 2), np.nan)


def no_genes(adata):
    return adata[:, :0].copy()


def no_cells(adata):
    return adata[:0].copy()


def one_cell(adata):
    return adata[:1].copy()


def nan_in_x(adata):
    adata.X.data[3] = np.nan


def nan_in_dense_x(adata):
    adata.X = adata.X.toarray()
    adata.X[3, 2] = np.nan


def no_x(adata):
    adata.X = None


def texts_in_x(adata):
    adata.X = np.full(adata.shape, "high", dtype=object)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (no_positions, r"no positions: obsm\['spatial'\] is missing"),
        (one_coordinate, "has 1 coordinate a cell"),
        (all_nan, "No cell has a position"),
        (no_genes, "no genes"),
        (no_cells, "no cells"),
        (one_cell, "one cell only"),
        (nan_in_x, "NaN"),
        (nan_in_dense_x, "NaN"),
        (no_x, "X"),
        (texts_in_x, "not numbers|numeric|numbers"),
    ],
)
@pytest.mark.usefixtures("no_model")
def test_unusable_data(tmp_path, capsys, change, sentence):
    adata = small_section()
    changed = change(adata)
    adata = adata if changed is None else changed
    slots = {name: list(getattr(adata, name)) for name in ("obs", "obsm", "obsp", "uns")}
    with pytest.raises(nc.UserError, match=sentence) as refusal:
        nc.run(adata, progress=False)
    assert "\n" not in str(refusal.value)
    assert {name: list(getattr(adata, name)) for name in slots} == slots
    adata.write_h5ad(tmp_path / "in.h5ad")
    line = refused_by_command_line(["run", tmp_path / "in.h5ad", tmp_path / "out.zarr"], capsys)
    assert line == f"napari-cellama: {refusal.value}"
    assert os.listdir(tmp_path) == ["in.h5ad"]


# ---- recipes


@pytest.mark.parametrize(
    ("changes", "options", "sentence"),
    [
        (
            {"cell_type_key": "cell_type"},
            ["--cell-type-key", "cell_type"],
            "no obs column named 'cell_type'; did you mean 'celltype'",
        ),
        ({"library_key": "slide"}, ["--library-key", "slide"], "no obs column named 'slide'"),
        (
            {"obs_features": ["celltyp"]},
            ["--obs-features", "celltyp"],
            "no obs column named 'celltyp'; did you mean 'celltype'",
        ),
        ({"layer": "counts"}, ["--layer", "counts"], "counts"),
        ({"n_clusters": 25}, ["--n-clusters", "25"], "25 niches cannot be found among 24 cells"),
        ({"n_clusters": 0}, ["--n-clusters", "0"], "n_clusters cannot be"),
        ({"radius": -1}, ["--radius=-1"], "radius cannot be"),
        ({"device": "tpu"}, ["--device", "tpu"], "device cannot be 'tpu'"),
        ({"neighbors_in": "air"}, ["--neighbors-in", "air"], "neighbors_in cannot be 'air'"),
        ({"key_added": "celltype"}, ["--key-added", "celltype"], "already has 'celltype'"),
    ],
)
@pytest.mark.usefixtures("no_model")
def test_unusable_recipes(tmp_path, capsys, changes, options, sentence):
    adata = small_section()
    with pytest.raises(nc.UserError, match=sentence):
        nc.run(adata, progress=False, **changes)
    assert list(adata.obs) == ["celltype"]
    path = nc.write(adata, tmp_path / "in.h5ad")
    line = refused_by_command_line(["run", path, tmp_path / "out.h5ad", *options], capsys)
    assert sentence.replace("\\", "") in line
    assert os.listdir(tmp_path) == ["in.h5ad"]


# ---- outputs


@pytest.mark.usefixtures("no_model")
def test_outputs_are_refused_before_the_work(tmp_path, capsys, monkeypatch):
    path = nc.write(small_section(), tmp_path / "in.h5ad")
    taken = nc.write(small_section(8), tmp_path / "taken.h5ad")
    for output, sentence in {
        taken: "taken.h5ad already exists; allow overwriting",
        path: "in.h5ad already exists",
        tmp_path / "missing" / "out.h5ad": "does not exist; create it first",
        tmp_path / "out.csv": "must end in .h5ad or .zarr",
        path / "out.h5ad": "is not a folder",
    }.items():
        assert sentence in refused_by_command_line(["run", path, output], capsys)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    line = refused_by_command_line(["run", path, tmp_path / "out.h5ad"], capsys)
    assert "is not writable for you" in line
    assert sorted(os.listdir(tmp_path)) == ["in.h5ad", "taken.h5ad"]
    assert nc.read(taken).n_obs == 8


# ---- odd, but usable


def some_nan_positions(adata):
    adata.obsm["spatial"][[2, 5]] = np.nan
    return [2, 5]


def zero_cells(adata):
    adata.X = adata.X.toarray()
    adata.X[[1, 7]] = 0
    return [1, 7]


def missing_types(adata):
    adata.obs.loc[["cell3", "cell4"], "celltype"] = None


def no_types(adata):
    del adata.obs["celltype"]


def repeated_names(adata):
    adata.obs_names = ["a", "a", *adata.obs_names[2:]]


def negative_values(adata):
    adata.X = adata.X.toarray() - 2.5


def csc(adata):
    adata.X = sp.csc_matrix(adata.X)


def dense(adata):
    adata.X = adata.X.toarray()


def integers(adata):
    adata.X = adata.X.toarray().astype(np.int64)


def three_dimensions(adata):
    z = np.arange(adata.n_obs)[:, None] * 1.0
    adata.obsm["spatial"] = np.hstack([adata.obsm["spatial"], z])


def one_place(adata):
    adata.obsm["spatial"][:] = 7.0


def foreign_names(adata):
    adata.obs_names = [f"細胞-{i}-é" for i in range(adata.n_obs)]
    adata.var_names = [f"Gène-{i}-µ" for i in range(adata.n_vars)]
    renamed = {name: f"{name} ☂" for name in adata.obs["celltype"].cat.categories}
    adata.obs["celltype"] = adata.obs["celltype"].cat.rename_categories(renamed)


def one_type(adata):
    adata.obs["celltype"] = pd.Categorical(["T cell"] * adata.n_obs)


def six_cells(adata):
    adata._inplace_subset_obs(np.arange(6))


def usual(adata):
    pass


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (usual, None),
        (some_nan_positions, "2 cells .*position"),
        (zero_cells, "2 cells .*expressed gene"),
        (missing_types, "2 cells .*cell type"),
        (no_types, None),
        (repeated_names, "name"),
        (negative_values, "negative|below zero|Negative"),
        (csc, None),
        (dense, None),
        (integers, None),
        (three_dimensions, None),
        (one_place, None),
        (foreign_names, None),
        (one_type, None),
        (six_cells, "only 6 cells|at most 5"),
    ],
)
def test_odd_data_are_run_with_every_row_kept(tmp_path, capsys, change, warning):
    adata = small_section(16)
    adata.obs["order"] = np.arange(adata.n_obs)
    left_out = change(adata) or []
    recipe = {**RECIPE, "n_neighbors": 20} if change is six_cells else RECIPE
    path = nc.write(adata, tmp_path / "Schnitt 1 é.h5ad")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = nc.run(adata, progress=False, **recipe)
    said = [str(w.message) for w in caught if w.filename == __file__]
    if warning is not None:
        assert any(pd.Series(said).str.contains(warning)), said
    niche = adata.obs["niche"]
    assert list(np.flatnonzero(niche.isna())) == left_out
    # Six cells are all each other's neighbours, so that there is only one niche among them.
    n_niches = 1 if change is six_cells else 2
    assert list(result.labels.categories) == ["1", "2"][:n_niches]

    # The same recipe from the command line gives the same file.
    options = [f"--{name.replace('_', '-')}={value}" for name, value in recipe.items()]
    output = tmp_path / "Ausgabe é.h5ad"
    assert main(["run", str(path), str(output), *options]) == 0
    streams = capsys.readouterr()
    for sentence in result.notices:
        assert f"Note: {sentence}" in streams.err
    n_in = adata.n_obs - len(left_out)
    rest = f" ({len(left_out)} left out)" if left_out else ""
    niches = "1 niche" if n_niches == 1 else "2 niches"
    assert streams.out == f"{niches} in {n_in} cells{rest}; written to {output}\n"
    back, before = nc.read(output), nc.read(path)
    assert list(back.obs["order"]) == list(range(adata.n_obs))
    assert list(back.obs_names) == list(before.obs_names)
    assert list(back.obs["niche"].astype(object).fillna("")) == list(
        niche.astype(object).fillna("")
    )
    np.testing.assert_array_equal(to_dense(back.X), to_dense(before.X))
    np.testing.assert_array_equal(back.obsm["spatial"], before.obsm["spatial"])
    np.testing.assert_array_equal(back.obsm["X_niche"], adata.obsm["X_niche"])


def to_dense(matrix):
    return matrix.toarray() if sp.issparse(matrix) else np.asarray(matrix)
