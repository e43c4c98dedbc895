"""How long a 40,000 x 40,000 image takes to open, and how much memory.

    python benchmarks/open_pyramid.py
    xvfb-run -a python benchmarks/open_pyramid.py

Writes an OME-TIFF and an OME-Zarr of 40,000 x 40,000 pixels in seven levels, and TIFFs of as many
in one level only, as MERSCOPE's mosaics are: in tiles, and in compressed strips. Opens each in a
process of its own and reads what napari would: the coarsest level, and a screen of the finest. With
a display each is then added in a real window, as the QC dock does it, to a section of 20,000 cells,
until the canvas has drawn it; and the canvas zooms in to the finest level. Of one level the others
are made in the background meanwhile. Memory is the peak above what the process held before.

What must hold: each is opened, and its first views read, within 2 s and 500 MiB; and in the window
it is drawn no more than 2 s later than an image of 64 x 64 pixels, the window's first, and 500 MiB
suffice until all has been read.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from rates import judge

SIDE, LEVELS, TILE = 40_000, 7, 1024
#: Pixels of a quarter of a micrometre, as a plain TIFF says it.
QUARTER = {"resolution": (40_000, 40_000), "resolutionunit": 3}
#: Megabytes: 500 MiB.
MOST = 500 * 2**20 / 1e6


def write(folder: Path) -> list[Path]:
    """Write the two pyramids: tiles of noise, the same again and again."""
    import tifffile
    import zarr

    tile = np.random.default_rng(0).integers(0, 255, (TILE, TILE), dtype=np.uint8)
    sides = [SIDE // 2**level for level in range(LEVELS)]
    tiff = folder / "big.ome.tif"
    with tifffile.TiffWriter(tiff, bigtiff=True) as file:
        for level, side in enumerate(sides):
            extra = {"subifds": LEVELS - 1} if level == 0 else {"subfiletype": 1}
            file.write(
                (tile for _ in range((-(-side // TILE)) ** 2)),
                shape=(side, side), dtype="uint8", tile=(TILE, TILE), photometric="minisblack",
                metadata={"axes": "YX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
                if level == 0 else None, **extra,
            )  # fmt: skip
    store = folder / "big.ome.zarr"
    group = zarr.open_group(store, mode="w")
    datasets = []
    for level, side in enumerate(sides):
        array = group.create_array(str(level), shape=(side, side), chunks=(TILE, TILE), dtype="u1")
        array[: 2 * TILE, : 2 * TILE] = np.tile(tile, (2, 2))[:side, :side]
        scale = {"type": "scale", "scale": [0.25 * 2**level] * 2}
        datasets.append({"path": str(level), "coordinateTransformations": [scale]})
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    return [tiff, store, *write_flat(folder, tile)]


def write_flat(folder: Path, tile: np.ndarray) -> list[Path]:
    """Write images of one level: in tiles, and in strips that are compressed."""
    import tifffile

    tiled, strips = folder / "tiles.tif", folder / "strips.tif"
    options = {"shape": (SIDE, SIDE), "dtype": "uint8", "photometric": "minisblack"}
    with tifffile.TiffWriter(tiled, bigtiff=True) as file:
        tiles = (tile for _ in range((-(-SIDE // TILE)) ** 2))
        file.write(
            tiles, tile=(TILE, TILE), resolution=(40_000, 40_000), resolutionunit=3, **options
        )
    whole = np.memmap(folder / "whole", np.uint8, "w+", shape=(SIDE, SIDE))
    rows = np.tile(tile // 16 * 16, (1, -(-SIDE // TILE)))[:, :SIDE]
    for top in range(0, SIDE, TILE):
        whole[top : top + TILE] = rows[: SIDE - top]
    with tifffile.TiffWriter(strips, bigtiff=True) as file:
        file.write(
            whole, rowsperstrip=8, compression="deflate", compressionargs={"level": 1},
            photometric="minisblack", **QUARTER,
        )  # fmt: skip
    (folder / "whole").unlink()
    return [tiled, strips]


def measure(path: str) -> None:
    """Open one and say what it took."""
    import dask.array  # noqa: F401 - what the window has loaded anyway
    import tifffile  # noqa: F401
    import zarr  # noqa: F401

    from napari_cellama.core.overview import Overview, needs_overview
    from napari_cellama.io.images import open_images
    from napari_cellama.ui.images import limits_of

    reset_peak()
    before = memory("VmRSS")
    start = time.perf_counter()
    (image,) = open_images(path)
    opened = time.perf_counter() - start
    if needs_overview(image):
        limits_of(image, image.channels)
        Overview(image, (0,)).tile(0, 0, 0)
    else:
        image.read(slice(0, SIDE), slice(0, SIDE), len(image.levels) - 1)
    image.read(slice(0, 1200), slice(0, 1600))
    seconds = time.perf_counter() - start
    held = memory("VmHWM") - before
    whole = SIDE**2 / 1e6
    text = (
        f"{Path(path).name:<14} opened in {opened:.2f} s, with two views read {seconds:.2f} s; "
        f"{held:.0f} MB more than before ({before:.0f} MB), {held / whole:.1%} of its pixels"
    )
    raise SystemExit(judge((seconds <= 2 and held <= MOST, text)))


def measure_window(path: str) -> None:
    """Add one to a section in a window and say what it took."""
    import anndata as ad
    import napari
    import tifffile

    from napari_cellama.ui.attach import session_of
    from napari_cellama.ui.layers import show
    from napari_cellama.ui.tissue import Tissue

    xy = np.random.default_rng(0).uniform(0, SIDE / 4, (20_000, 2))
    adata = ad.AnnData(
        np.ones((len(xy), 2), np.float32),
        obsm={"spatial": xy}, uns={"cellama": {"units": "µm"}},
    )  # fmt: skip
    viewer = napari.Viewer()
    session = session_of(viewer)
    show(viewer, Tissue.from_adata(adata, "section"))
    viewer.screenshot(canvas_only=True, flash=False)
    small = Path(path).with_name("small.tif")
    tifffile.imwrite(small, np.zeros((64, 64), np.uint8))
    first = add(viewer, session, small)[0]  # napari's own share, and what it does but once
    reset_peak()
    before = memory("VmRSS")
    opened, stood = add(viewer, session, Path(path))
    held = memory("VmHWM") - before
    start = time.perf_counter()
    viewer.scene.camera.zoom = 4
    viewer.screenshot(canvas_only=True, flash=False)
    near = time.perf_counter() - start
    finished, late = finish(viewer, session)
    held = memory("VmHWM") - before
    text = (
        f"{Path(path).name:<14} added in the window and drawn in {opened:.2f} s, {held:.0f} MB "
        f"more than before ({before:.0f} MB); from near after another {near:.2f} s, "
        f"{memory('VmHWM') - before:.0f} MB; the window stood still for {stood:.2f} s at most "
        f"(64 x 64 pixels, the window's first image: {first:.2f} s)"
    )
    if finished:
        text += (
            f"; all read after another {finished:.1f} s, {held:.0f} MB, the window at a stand for "
            f"{late:.2f} s at most"
        )
    code = judge((opened - first <= 2 and held <= MOST, text))
    viewer.close()
    raise SystemExit(code)


def finish(viewer, session) -> tuple[float, float]:
    """Wait until all that is read in the background is read; the seconds, and the longest stall."""
    from qtpy.QtWidgets import QApplication

    from napari_cellama.ui.image_tiles import slot_of

    start = last = time.perf_counter()
    longest = 0.0
    while any(session.jobs.current(slot_of(layer)) for layer in viewer.layers):
        QApplication.processEvents()
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
        time.sleep(0.002)
    return (time.perf_counter() - start, longest) if longest else (0.0, 0.0)


def add(viewer, session, path: Path) -> tuple[float, float]:
    """Add an image as the dock does, and draw it; returns the seconds, and the longest stall."""
    from qtpy.QtWidgets import QApplication

    n_layers, start = len(viewer.layers), time.perf_counter()
    session.imaging.add(path)
    longest, last = 0.0, start
    while session.jobs.current("image") is not None:
        QApplication.processEvents()
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
        time.sleep(0.002)
    viewer.screenshot(canvas_only=True, flash=False)
    assert len(viewer.layers) == n_layers + 1
    return time.perf_counter() - start, longest


def memory(which: str) -> float:
    """Return the process's memory in MB: VmRSS now, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(which))


def reset_peak() -> None:
    """Let the peak begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    if len(sys.argv) > 2:
        return measure_window(sys.argv[1])
    if len(sys.argv) > 1:
        return measure(sys.argv[1])
    print(f"{SIDE:,} x {SIDE:,} pixels, {LEVELS} levels, {os.cpu_count()} cores")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for path in write(Path(folder)):
            failed |= subprocess.run([sys.executable, __file__, str(path)]).returncode
            if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
                window = [sys.executable, __file__, str(path), "window"]
                failed |= subprocess.run(window).returncode
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
