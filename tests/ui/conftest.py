"""A real window on a virtual screen (pytest-xvfb), small tissues, and checks for leftovers."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import dask.threaded
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from napari import Viewer
from napari.layers import Points
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt, QThreadPool
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_cellama.ui import workers
from napari_cellama.ui.attach import session_of
from napari_cellama.ui.layers import show
from napari_cellama.ui.session import Session
from napari_cellama.ui.tissue import Tissue

TYPES = ("T cell", "B cell", "Fibroblast", "Endothelium")
COLORS = ("#e41a1c", "#377eb8", "#4daf4a", "#984ea3")
GENES = ("CD3E", "MS4A1", "COL1A1", "PECAM1", "ACTB", "GAPDH")


@pytest.fixture
def make_adata() -> Callable[..., ad.AnnData]:
    """Return a maker of small tissues: a jittered grid of cells, 10 units apart."""

    def make(
        n_obs: int = 120, *, n_dims: int = 2, seed: int = 0, sections: int = 1, units: str = "um"
    ) -> ad.AnnData:
        rng = np.random.default_rng(seed)
        side = int(np.ceil(np.sqrt(n_obs)))
        grid = np.stack(np.divmod(np.arange(n_obs), side)[::-1], axis=1) * 10.0
        coords = grid + rng.uniform(-1, 1, grid.shape)
        if n_dims == 3:
            coords = np.column_stack([coords, rng.uniform(0, 50, n_obs)])
        types = rng.integers(0, len(TYPES), n_obs)
        counts = rng.poisson(0.4, (n_obs, len(GENES)))
        counts[np.arange(n_obs), types] += 5
        obs = pd.DataFrame(
            {
                "celltype": pd.Categorical.from_codes(types, TYPES),
                "area": rng.uniform(20, 80, n_obs),
            },
            index=[f"cell{i}" for i in range(n_obs)],
        )
        if sections > 1:
            obs["sample"] = pd.Categorical(
                [f"section {i * sections // n_obs}" for i in range(n_obs)]
            )
        return ad.AnnData(
            sp.csr_matrix(counts.astype(np.float32)),
            obs=obs,
            var=pd.DataFrame(index=list(GENES)),
            uns={"celltype_colors": list(COLORS), "cellama": {"units": units}},
            obsm={"spatial": coords},
        )

    return make


@pytest.fixture
def adata(make_adata: Callable[..., ad.AnnData]) -> ad.AnnData:
    """Return 120 cells of four types in one section, in micrometres."""
    return make_adata()


@pytest.fixture
def tissue(adata: ad.AnnData) -> Tissue:
    """Return ``adata`` as an opened tissue that is not in any session yet."""
    return Tissue.from_adata(adata, "section")


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Viewer]) -> Viewer:
    """Return an empty viewer whose window is on the virtual screen."""
    return make_napari_viewer(show=True)


@pytest.fixture
def session(viewer: Viewer, tissue: Tissue) -> Session:
    """Return the viewer's session with ``tissue`` open, active and painted."""
    session = session_of(viewer)
    show(viewer, tissue)
    return session


@pytest.fixture
def shared_data() -> Path:
    """Return the folder of real sections, or skip where it is absent."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real sections are not at {folder}")
    return folder


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep unsaved work in a folder of the test's own."""
    monkeypatch.setenv("NAPARI_CELLAMA_STATE", str(tmp_path / "state"))


@pytest.fixture(autouse=True)
def _nothing_is_left(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Fail a test that leaves jobs, threads or windows of its own behind."""
    if "qtbot" not in request.fixturenames and "make_napari_viewer" not in request.fixturenames:
        yield
        return
    request.getfixturevalue("qapp")
    # napari searches every object for leaks, several times a test: spare it what outlived earlier
    # tests and their search, libraries above all. (A job sets objects aside as well, and would
    # bring these back.)
    gc.collect()
    gc.freeze()
    monkeypatch.setattr(workers, "gc", SimpleNamespace(freeze=int, unfreeze=int))
    threads = set(threading.enumerate())
    windows = {id(widget) for widget in QApplication.topLevelWidgets()}
    yield
    QThreadPool.globalInstance().waitForDone(20_000)
    QApplication.processEvents()
    assert QThreadPool.globalInstance().activeThreadCount() == 0, "a job outlived its test"
    # dask reads the images that napari shows on threads that it keeps.
    kept = getattr(dask.threaded.default_pool, "_threads", set())
    new = [t for t in set(threading.enumerate()) - threads - kept if not t.daemon]
    assert not [thread for thread in new if "napari" not in thread.name], f"threads left: {new}"
    ours = [
        widget
        for widget in QApplication.topLevelWidgets()
        if id(widget) not in windows and type(widget).__module__.startswith("napari_cellama")
    ]
    assert not ours, f"windows left: {ours}"


@pytest.fixture
def is_gone() -> Callable[[weakref.ref], bool]:
    """Return a check that an object has been collected."""

    def check(reference: weakref.ref) -> bool:
        for _ in range(3):
            QApplication.processEvents()
            gc.collect()
        return reference() is None

    return check


@pytest.fixture
def canvas() -> type[Canvas]:
    """Return the helper that looks at and clicks on a viewer's canvas."""
    return Canvas


class Canvas:
    """A viewer's canvas as a user sees it: what colour is where, and the mouse over it."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.native = viewer.window._qt_viewer.canvas.native

    def pixel_of(self, layer: Points, point: int) -> tuple[int, int]:
        """Return the (row, column) of the canvas pixel on which a point's centre lies."""
        world = np.asarray(layer.data_to_world(layer.data[point]))[-2:]
        centre = np.asarray(self.viewer.scene.camera.center)[-2:]
        size = np.array([self.native.height(), self.native.width()])
        row, column = (world - centre) * self.viewer.scene.camera.zoom + size / 2
        return int(row), int(column)

    def settle(self) -> None:
        """Let napari draw what is due."""
        for _ in range(5):
            QApplication.processEvents()

    def colors(self, layer: Points, points: np.ndarray) -> np.ndarray:
        """Return (k, 3) uint8: what is drawn where the points' centres are."""
        self.settle()
        picture = self.viewer.screenshot(canvas_only=True, flash=False)
        return np.array([picture[self.pixel_of(layer, point)][:3] for point in points])

    def click(
        self,
        layer: Points,
        point: int,
        *,
        drag: int = 0,
        keys: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier,
    ) -> None:
        """Press and release the left button on a point, moving the mouse between if asked."""
        row, column = self.pixel_of(layer, point)
        self.click_at(row, column, drag=drag, keys=keys)

    def click_at(
        self,
        row: int,
        column: int,
        *,
        drag: int = 0,
        keys: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier,
    ) -> None:
        """Press and release the left button at a canvas pixel."""
        self.settle()
        start, button = QPoint(column, row), Qt.MouseButton.LeftButton
        QTest.mouseMove(self.native, start)
        QTest.mousePress(self.native, button, keys, start)
        for step in range(1, 5 if drag else 0):
            # QTest's own moves carry no pressed button, so that vispy takes them for hovering.
            self._move_pressed(start + QPoint(drag * step // 4, 0))
            QTest.qWait(20)  # vispy leaves out moves that follow each other faster
        QTest.mouseRelease(self.native, button, keys, start + QPoint(drag, 0))
        self.settle()

    def drag(
        self,
        path: list[tuple[int, int]],
        keys: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier,
    ) -> None:
        """Press the left button, move along (row, column) canvas pixels, and release."""
        self.settle()
        points, button = [QPoint(column, row) for row, column in path], Qt.MouseButton.LeftButton
        QTest.mouseMove(self.native, points[0])
        QTest.mousePress(self.native, button, keys, points[0])
        for point in points[1:]:
            for _ in range(2):  # of moves that come while it draws, napari keeps the last
                self._move_pressed(point, keys)
                QTest.qWait(30)
                self.settle()
        QTest.mouseRelease(self.native, button, keys, points[-1])
        self.settle()

    def _move_pressed(
        self,
        position: QPoint,
        keys: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier,
    ) -> None:
        where = QPointF(position)
        event = QMouseEvent(
            QEvent.Type.MouseMove,
            where,
            QPointF(self.native.mapToGlobal(position)),
            Qt.MouseButton.NoButton,
            Qt.MouseButton.LeftButton,
            keys,
        )
        QApplication.sendEvent(self.native, event)


def rgb_of(color: str) -> tuple[int, ...]:
    """Return the (r, g, b) of ``#rrggbb``."""
    return tuple(bytes.fromhex(color[1:]))
