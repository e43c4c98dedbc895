"""The pages say what is so: generated ones are up to date, and Python on the others runs."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import warnings
from pathlib import Path

import geopandas
import napari
import numpy as np
import pytest
import shapely
import skimage.io
import spatialdata as sd
import tifffile
from spatialdata.models import Labels2DModel

import napari_cellama as nc
from napari_cellama import api
from small_sections import WordEncoder, small_section

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """Return the page's fenced blocks of a language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)


def having(language: str) -> list[Path]:
    return [page for page in PAGES if blocks(page, language)]


@pytest.mark.parametrize("name", ["recipe_page.py", "keys_page.py"])
def test_generated_page_is_up_to_date(name: str) -> None:
    script = ROOT / "scripts" / name
    assert subprocess.run([sys.executable, script, "--check"]).returncode == 0, "run `make docs`"


def test_the_pages_link_to_what_is_there() -> None:
    for page in PAGES:
        links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8"))
        missing = [link for link in links if not (page.parent / link).exists()]
        assert not missing, f"{page.name} links to {missing}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder, now the current one, with the files that the pages speak of."""
    monkeypatch.setattr(api, "NamedEncoder", WordEncoder)
    monkeypatch.setenv("NAPARI_CELLAMA_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    nc.write(small_section(300), "section.h5ad")
    (tmp_path / "sections").mkdir()
    for number in (1, 2):
        nc.write(small_section(60, seed=number), tmp_path / "sections" / f"slice{number}.h5ad")
    (tmp_path / "sections" / "broken.h5ad").write_text("this is no HDF5")
    return tmp_path


@pytest.fixture
def found(folder: Path) -> dict[str, object]:
    """Return the names that the pages take for known: a section with its niches, landmarks."""
    adata = nc.read("section.h5ad")
    adata.uns["cellama"] = {"units": "µm"}
    nc.run(adata, cell_type_key="celltype", n_clusters=4, progress=False)
    nc.write(adata, "section.h5ad", overwrite=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries about each other
        files_of(adata, folder)
    places = np.array([[5.0, 5.0], [95.0, 5.0], [5.0, 95.0]])
    return {"nc": nc, "adata": adata, "xy": places, "columns_rows": places * 4}


def files_of(adata, folder: Path) -> None:
    """Write images and outlines of the cells, under the names that the pages give them."""
    shapes = [shapely.Point(xy).buffer(1.0) for xy in adata.obsm["spatial"]]
    pixels = [shapely.Point(xy / 0.2125).buffer(4.0) for xy in adata.obsm["spatial"]]
    named = {"id": list(adata.obs_names)}
    (folder / "cells.geojson").write_text(
        geopandas.GeoDataFrame(named, geometry=pixels).to_json(), encoding="utf-8"
    )
    corners = geopandas.GeoDataFrame(named, geometry=shapes).get_coordinates()
    corners.columns = ["vertex_x", "vertex_y"]
    corners["cell_id"] = adata.obs_names[corners.index]
    corners.reset_index(drop=True).to_parquet(folder / "cell_boundaries.parquet")
    labels = np.zeros((100, 100), np.uint16)
    x, y = adata.obsm["spatial"].astype(int).T
    for down, right in np.ndindex(3, 3):
        rows, columns = np.clip(y + down - 1, 0, 99), np.clip(x + right - 1, 0, 99)
        labels[rows, columns] = np.arange(1, adata.n_obs + 1)
    tifffile.imwrite(folder / "labels.tif", labels)
    store = sd.SpatialData(labels={"cell_labels": Labels2DModel.parse(labels, dims=("y", "x"))})
    store.write(folder / "store.zarr")
    picture = np.random.default_rng(0).integers(0, 255, (440, 440, 3), np.uint8)
    stated = {"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
    tifffile.imwrite(folder / "scan.ome.tif", picture, metadata=stated)
    skimage.io.imsave(folder / "scan.png", picture)


@pytest.mark.parametrize("page", having("python"), ids=lambda page: page.name)
def test_python_on_the_pages_runs(page: Path, found: dict[str, object], qtbot) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)  # what these few cells lack
        for block in blocks(page, "python"):
            exec(compile(block, str(page), "exec"), found)
    for viewer in list(napari.viewer.Viewer._instances):
        viewer.close()


#: Does what the installed command does, but embeds with a model that costs nothing.
_COMMAND = """#!{python}
import sys
sys.path.insert(0, {tests!r})
from napari_cellama import api, cli
from small_sections import WordEncoder
api.NamedEncoder = WordEncoder
sys.exit(cli.main())
"""


@pytest.fixture
def shell(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Return what runs lines in a shell that knows the command, without a display."""
    (folder / "bin").mkdir()
    command = folder / "bin" / "napari-cellama"
    command.write_text(_COMMAND.format(python=sys.executable, tests=str(ROOT / "tests")))
    command.chmod(command.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")

    def run(lines: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-c", lines], capture_output=True, text=True, check=False)

    return run


@pytest.mark.skipif(shutil.which("bash") is None, reason="the page's lines are for a shell")
def test_a_batch_goes_on_after_a_broken_file_and_where_it_ended(shell, folder: Path) -> None:
    batch = next(block for block in blocks(ROOT / "README.md", "sh") if "for f in" in block)
    (folder / "recipe.json").write_text(nc.Recipe(n_clusters=2).to_json(), encoding="utf-8")
    (folder / "sections" / "slice2.h5ad").unlink()  # one is enough: each starts an interpreter
    assert "Traceback" not in shell(batch).stderr
    # The broken one is named, the other is there.
    assert (folder / "failed.txt").read_text() == "sections/broken.h5ad\n"
    (made,) = (folder / "niches").iterdir()
    assert made.name == "slice1.h5ad"
    assert "niche" in nc.read(made).obs
    # Once more, what is there is not made again.
    before = made.stat().st_mtime_ns
    shell(batch)
    assert (folder / "failed.txt").read_text() == 2 * "sections/broken.h5ad\n"
    assert made.stat().st_mtime_ns == before
