"""Images of the data lie under the cells they belong to, at every resolution."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from napari_cellama.ui.attach import session_of
from napari_cellama.ui.layers import layer_data, show
from napari_cellama.ui.tissue import Tissue


def with_image(adata, pixels, factor, library="lib", key="hires"):
    adata.uns["spatial"] = {
        library: {"images": {key: pixels}, "scalefactors": {f"tissue_{key}_scalef": factor}}
    }
    return adata


def test_images_lie_under_the_cells_they_belong_to(viewer, make_adata, canvas):
    adata = make_adata(100)
    # Each cell lies on a white pixel of its own on a dark image of a fifth of the resolution:
    # at its middle, and pixel k reaches from k to k + 1.
    adata.obsm["spatial"] += 2.5
    pixels = np.zeros((25, 25, 3), np.uint8)
    x, y = np.floor(adata.obsm["spatial"] * 0.2).astype(int).T
    inside = (x >= 0) & (y >= 0)
    pixels[y[inside], x[inside]] = 255
    tissue = Tissue.from_adata(with_image(adata, pixels, 0.2), "section")
    session_of(viewer)
    layer = show(viewer, tissue)
    image, points = viewer.layers
    assert points is layer, "the cells lie on top"
    assert image.units == points.units
    assert image.name == "section · hires"
    layer.visible = False
    cells = np.flatnonzero(inside)[::3]
    assert (canvas(viewer).colors(layer, cells) > 250).all()
    between = layer.data[cells] + [0, 5.0]
    values = [image.get_value(place, world=True) for place in between]
    assert max(np.max(value) for value in values) == 0


def test_every_resolution_is_there_and_the_highest_is_seen(tissue, make_adata):
    adata = make_adata(20)
    adata.uns["spatial"] = {
        "lib": {
            "images": {
                "hires": np.zeros((40, 40, 3)),
                "lowres": np.zeros((10, 10, 3), np.float32),
                "dapi": np.zeros((20, 20), np.uint16),
                "path": "somewhere.tif",
            },
            "scalefactors": {"tissue_hires_scalef": 0.4, "tissue_lowres_scalef": 0.1},
        }
    }
    *images, points = layer_data(Tissue.from_adata(adata, "s"))
    assert points[2] == "points"
    by_name = {attributes["name"]: attributes for _, attributes, _ in images}
    assert set(by_name) == {"s · hires", "s · lowres", "s · dapi"}
    assert [name for name, found in by_name.items() if found["visible"]] == ["s · hires"]
    np.testing.assert_allclose(np.diag(by_name["s · lowres"]["affine"]), [10, 10, 1])
    np.testing.assert_allclose(np.diag(by_name["s · dapi"]["affine"]), [1, 1, 1])
    assert not by_name["s · dapi"]["rgb"]


def test_each_sections_image_moves_with_it(make_adata):
    adata = make_adata(80, sections=2)
    adata.obsm["spatial"][40:] -= adata.obsm["spatial"][40:].min(axis=0)
    adata.uns["spatial"] = {
        f"section {i}": {
            "images": {"hires": np.zeros((10, 10, 3), np.uint8)},
            "scalefactors": {"tissue_hires_scalef": 0.1},
        }
        for i in range(2)
    }
    *images, (points, attributes, _) = layer_data(Tissue.from_adata(adata))
    # napari counts from the first pixel's centre, which lies half a pixel of 10 units inside.
    translates = [found["affine"][:2, 2] - 5 for _, found, _ in images]
    moved = points - adata.obsm["spatial"][attributes["features"]["cell"], ::-1]
    np.testing.assert_allclose(moved[0], translates[0])
    np.testing.assert_allclose(moved[-1], translates[1])
    assert translates[1].any()


def test_a_real_visium_image_fits_its_spots(shared_data, viewer, canvas):
    folder = shared_data / "visium_mini" / "spatial"
    if not folder.is_dir():
        pytest.skip(f"there is no Space Ranger folder at {folder}")
    adata, pixels, factor = read_visium(folder)
    tissue = Tissue.from_adata(with_image(adata, pixels, factor, "V1", "lowres"), "visium")
    session_of(viewer)
    layer = show(viewer, tissue)
    layer.visible = False
    on_image = adata.obsm["spatial"] * factor
    # Not those near a pixel's edge, where it is chance which of the two is drawn.
    cells = np.flatnonzero((np.abs(on_image % 1 - 0.5) < 0.4).all(axis=1))[::10]
    assert len(cells) >= 4
    viewer.scene.camera.zoom = 12 * factor
    for cell in cells:
        x, y = np.floor(on_image[cell]).astype(int)
        viewer.scene.camera.center = layer.data[cell]
        found = canvas(viewer).colors(layer, [cell])[0].astype(int)
        np.testing.assert_allclose(found, pixels[y, x, :3], atol=2)


def read_visium(folder):
    """Read a Space Ranger folder's spots and image as the format's documentation says."""
    import json

    from imageio.v3 import imread

    columns = ["barcode", "in_tissue", "row", "column", "y", "x"]
    spots = pd.read_csv(folder / "tissue_positions_list.csv", header=None, names=columns)
    spots = spots[spots["in_tissue"] == 1].set_index("barcode")
    factors = json.loads((folder / "scalefactors_json.json").read_text())
    adata = ad.AnnData(
        np.ones((len(spots), 1), np.float32), obsm={"spatial": spots[["x", "y"]].to_numpy(float)}
    )
    adata.obs_names = spots.index
    pixels = imread(folder / "tissue_lowres_image.png")
    return adata, pixels, factors["tissue_lowres_scalef"]
