"""A gallery of 200 crops: how soon it is there, and how long the event loop stands still meanwhile.

    python benchmarks/gallery.py

The pictures are cut from a 20,000 x 20,000 two-channel pyramid on disk (OME-TIFF, tiled), through
the same model as in the QC dock. Beside it the naive way in the same run: all crops on the main
thread, from the finest level. Runs without a screen (QT_QPA_PLATFORM=offscreen).
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np

N_CELLS, WIDTH = 200, 120.0  # pixels of the image that a picture is wide


def write_image(path: Path, side: int) -> None:
    """Write a pyramid of noise with structure, tile by tile."""
    import tifffile

    rng = np.random.default_rng(0)
    tile = rng.integers(0, 4000, (2, 1024, 1024), np.uint16)
    n_levels = 5
    options = {"tile": (512, 512), "photometric": "minisblack"}
    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as file:
        for level in range(n_levels):
            here = side >> level
            times = -(-here // 1024)
            pixels = np.tile(tile, (1, times, times))[:, :here, :here]
            if level == 0:
                file.write(pixels, subifds=n_levels - 1, metadata={"axes": "CYX"}, **options)
            else:
                file.write(pixels, subfiletype=1, **options)


def in_gallery(crop_of, cells: np.ndarray) -> tuple[float, float, float]:
    """Return seconds until all pictures are there, until the first, and the longest stall."""
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QApplication

    from napari_cellama.ui.session import Session
    from napari_cellama.ui.widgets.gallery import Gallery

    app, session = QApplication.instance() or QApplication([]), Session()
    gallery = Gallery(session, None)
    gallery.resize(320, 300)
    gallery.show()
    app.processEvents()
    beats: list[float] = []
    timer = QTimer(interval=5)
    timer.timeout.connect(lambda: beats.append(time.perf_counter()))
    timer.start()
    start, first = time.perf_counter(), float("nan")
    gallery.crops.show_cells(cells, crop_of, str)
    bar = gallery.verticalScrollBar()
    while len(gallery.crops.pictures) < len(cells) and time.perf_counter() - start < 60:
        app.processEvents()
        if np.isnan(first) and gallery.crops.pictures:
            first = time.perf_counter() - start
        time.sleep(0.001)
    took = time.perf_counter() - start
    for value in range(0, bar.maximum(), 40):  # scroll through what is there
        bar.setValue(value)
        app.processEvents()
    timer.stop()
    stall = float(np.diff([start, *beats]).max())
    session.close()
    gallery.close()
    return took, first, stall


def main() -> None:
    """Print the times, and their ratio to the naive way."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--side", type=int, default=20_000)
    side = parser.parse_args().side
    from napari_cellama.core.crops import crop, viewing
    from napari_cellama.io.images import open_images

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.ome.tif"
        write_image(path, side)
        image = open_images(path)[0]
        middle = np.linalg.inv(np.vstack([image.to_pixels, [0, 0, 1]]))
        rng = np.random.default_rng(1)
        pixels = rng.uniform(WIDTH, side - WIDTH, (N_CELLS, 2))
        xy = np.column_stack([pixels, np.ones(N_CELLS)]) @ middle[:2].T
        width = WIDTH * image.pixel_size
        view = viewing(image)
        took, first, stall = in_gallery(
            lambda cell: crop(view, xy[cell], width, 96), np.arange(N_CELLS)
        )
        start = time.perf_counter()
        for place in xy:
            crop(view, place, width, 96)
        naive = time.perf_counter() - start
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    print(f"image of {side:,} x {side:,}, 2 channels; {N_CELLS} crops of 96 pixels")
    print(f"gallery: first picture {first:.2f} s, all {took:.2f} s (target 1 s)")
    print(f"longest stall of the event loop {1000 * stall:.0f} ms (target 100 ms)")
    print(f"all on the main thread: one stall of {naive:.2f} s, {naive / stall:.0f} times as long")


if __name__ == "__main__":
    main()
