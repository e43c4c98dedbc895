"""What tests do with images: write them, add them by the dock, click on them."""

from __future__ import annotations

import numpy as np
import tifffile
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_cellama.ui.images import IMAGE
from napari_cellama.ui.quality import SLOT

PATIENCE = 60_000


def wait(qtbot, session):
    """Wait until no image is being opened and nothing is being measured."""
    slots = ("image", f"images {session.active.id}", SLOT, "save")
    qtbot.waitUntil(lambda: not any(map(session.jobs.current, slots)), timeout=PATIENCE)
    QApplication.processEvents()


def add(dock, session, path, monkeypatch, qtbot):
    """Add an image by the dock's menu."""
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(path))
    (dock.images.add_folder if path.is_dir() else dock.images.add_file).trigger()
    wait(qtbot, session)


def choose(box, text):
    """Choose an item of a combo box by its keys."""
    box.setFocus()
    row = box.findText(text)
    assert row >= 0, [box.itemText(i) for i in range(box.count())]
    QTest.keyClick(box, Qt.Key.Key_Home)
    for _ in range(row):
        QTest.keyClick(box, Qt.Key.Key_Down)
    assert box.currentText() == text
    QTest.keyClick(box, Qt.Key.Key_Return)


def image_layers(viewer):
    return [layer for layer in viewer.layers if IMAGE in layer.metadata]


def write_photo(path, height=60, width=90, dtype=np.uint8):
    rng = np.random.default_rng(0)
    tifffile.imwrite(path, rng.integers(0, 200, (height, width)).astype(dtype))
    return path


def write_pyramid(path, planes, **stated):
    options = {"tile": (64, 64), "photometric": "minisblack"}
    with tifffile.TiffWriter(path) as file:
        file.write(planes, subifds=1, metadata={"axes": "CYX", **stated}, **options)
        file.write(planes[:, ::2, ::2], subfiletype=1, **options)
    return path


MICROMETRES = {
    "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm",
    "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm",
}  # fmt: skip
