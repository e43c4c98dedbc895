"""Cells on images, and the QC dock whose part Look shows them."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from look_hands import CELL, PATIENCE, ZOOM
from napari_cellama.io.attached import attach_image
from napari_cellama.ui.attach import session_of
from napari_cellama.ui.layers import show
from napari_cellama.ui.tissue import Tissue
from napari_cellama.ui.widgets.qc import QCDock


@pytest.fixture
def stained(adata):
    """Return cells on an image that is pink, and blue around one cell."""
    side = 110 * ZOOM
    pixels = np.full((side, side, 3), (230, 170, 200), np.uint8)
    x, y = (adata.obsm["spatial"][CELL] * ZOOM).astype(int)
    pixels[y - 8 : y + 8, x - 8 : x + 8] = (40, 40, 160)
    adata.uns["spatial"] = {
        "lib": {"images": {"hires": pixels}, "scalefactors": {"tissue_hires_scalef": float(ZOOM)}}
    }
    return adata


@pytest.fixture
def shining(adata, tmp_path):
    """Return cells on an image of four channels on disk, one of which shines around one cell."""
    side = 110 * ZOOM
    planes = np.random.default_rng(0).integers(0, 40, (4, side, side), np.uint16)
    x, y = (adata.obsm["spatial"][CELL] * ZOOM).astype(int)
    planes[:, :60, :60] = 4000  # so that noise stays dark
    planes[0, y - 20 : y + 20, x - 20 : x + 20] = 4000
    planes[3, y - 20 : y + 20, x - 20 : x + 20] = 4000
    colors = {"Name": ["DAPI", "CD3", "CD20", "A & B"], "Color": [65535, 16711935, -1, -16776961]}
    path = tmp_path / "scan.ome.tif"
    options = {"tile": (64, 64), "photometric": "minisblack", "compression": "zlib"}
    tifffile.imwrite(path, planes, metadata={"axes": "CYX", "Channel": colors}, **options)
    attach_image(adata, path, pixel_size=1 / ZOOM)
    return adata


@pytest.fixture
def open_dock(viewer, qtbot):
    def open_it(adata, outlines=None):
        tissue = Tissue.from_adata(adata, "section")
        if outlines is not None:
            tissue.boundaries = outlines
        show(viewer, tissue)
        dock = QCDock(viewer)
        viewer.window.add_dock_widget(dock, name="QC", area="right")
        qtbot.waitUntil(dock.isVisible)
        dock.look_fold.expand()
        session = session_of(viewer)
        opened.append(session)
        qtbot.waitUntil(lambda: session.jobs.current("channels") is None, timeout=PATIENCE)
        return dock, session

    opened = []
    yield open_it
    qtbot.wait(300)  # whoever waits before asking has then asked
    for session in opened:
        for slot in ("crop", "gallery", "hover", "channels", "sentence"):
            qtbot.waitUntil(lambda s=session, j=slot: s.jobs.current(j) is None, timeout=PATIENCE)
