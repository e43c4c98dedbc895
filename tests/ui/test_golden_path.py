"""The golden path in the real window, from the menu to the saved file, driven as a user does.

The same script takes the README's pictures: ``make screenshots``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from napari import Viewer
from napari._app_model import get_app_model
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QApplication, QFileDialog, QLabel, QLineEdit, QMenu, QTabBar, QWidget

from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.painting import paint
from napari_cellama.ui.widgets.clusters import ClustersDock
from napari_cellama.ui.widgets.niches import NichesDock

N_CELLS = 600
#: The embedding of 600 cells' sentences on two cores, and the whole section for the pictures.
RUN_TIMEOUT_MS = 300_000


@pytest.fixture
def pictures(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return where screenshots go."""
    chosen = request.config.getoption("--screenshots")
    folder = Path(chosen) if chosen else tmp_path / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def section(request: pytest.FixtureRequest, shared_data: Path, tmp_path: Path) -> Path:
    """Return the osmFISH section, cut to the 600 cells around its middle unless for pictures."""
    adata = ad.read_h5ad(shared_data / "osmfish_somatosensory_cortex.h5ad")
    if not request.config.getoption("--screenshots"):
        coords = adata.obsm["spatial"]
        from_middle = np.linalg.norm(coords - np.median(coords, axis=0), axis=1)
        adata = adata[np.sort(np.argsort(from_middle)[:N_CELLS])].copy()
    path = tmp_path / "osmFISH cortex.h5ad"
    adata.write_h5ad(path)
    return path


@pytest.fixture
def n_niches(request: pytest.FixtureRequest) -> int:
    """Return how many niches to ask for: the whole section has 11 regions."""
    return 11 if request.config.getoption("--screenshots") else 6


class Hands:
    """What a user does to the window, with the mouse, the keys and the menus."""

    def __init__(self, viewer: Viewer, qtbot, pictures: Path) -> None:
        self.viewer, self.qtbot, self.pictures = viewer, qtbot, pictures

    @property
    def window(self) -> QWidget:
        return self.viewer.window._qt_window

    @property
    def canvas(self) -> QWidget:
        return self.viewer.window._qt_viewer.canvas.native

    def command(self, name: str) -> None:
        """Choose an entry of napari's own menus."""
        get_app_model().commands.execute_command(name).result()

    def menu(self, menu: QMenu, *titles: str) -> None:
        """Choose an entry of a menu by its titles."""
        menu.aboutToShow.emit()
        for title in titles:
            entries = {_plain(action.text()): action for action in menu.actions()}
            found = next((a for text, a in entries.items() if text.startswith(title)), None)
            assert found is not None, f"no {title!r} among {list(entries)}"
            if found.menu() is None:
                found.trigger()
            else:
                menu = found.menu()
                menu.aboutToShow.emit()

    def tab(self, title: str) -> None:
        """Click the tab of a dock."""
        for bar in self.window.findChildren(QTabBar):
            for i in range(bar.count()):
                if bar.tabText(i) == title:
                    where = bar.tabRect(i).center()
                    self.qtbot.mouseClick(bar, Qt.MouseButton.LeftButton, pos=where)
                    return
        raise AssertionError(f"there is no tab {title!r}")

    def press(self, button: QWidget) -> None:
        """Click a button that is there and enabled."""
        assert button.isVisible()
        assert button.isEnabled(), button.toolTip()
        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    def type_number(self, spin_box: QWidget, number: int) -> None:
        """Type a number over what a spin box says."""
        spin_box.setFocus()
        spin_box.selectAll()
        self.qtbot.keyClicks(spin_box, str(number))
        self.qtbot.keyClick(spin_box, Qt.Key.Key_Tab)

    def pixel_of(self, cell: int) -> QPoint:
        """Return where a cell lies on the canvas, in widget coordinates."""
        tissue = session_of(self.viewer).active
        layers = layers_of(self.viewer)
        layer, placement = layers.layer_of(tissue), layers.placement_of(tissue)
        point = int(np.flatnonzero(placement.cells == cell)[0])
        y, x = layer.data_to_world(layer.data[point])[-2:]
        center = np.asarray(self.viewer.scene.camera.center)[-2:]
        height, width = self.canvas.height(), self.canvas.width()
        dy, dx = (np.array([y, x]) - center) * self.viewer.scene.camera.zoom
        return QPoint(round(width / 2 + dx), round(height / 2 + dy))

    def sees_all(self) -> bool:
        """Whether every cell lies on the canvas."""
        layer = layers_of(self.viewer).layer_of(session_of(self.viewer).active)
        low, high = np.asarray(layer.extent.world)[:, -2:]
        size = np.array([self.canvas.height(), self.canvas.width()]) / self.viewer.scene.camera.zoom
        center = np.asarray(self.viewer.scene.camera.center)[-2:]
        return bool((low >= center - size / 2).all() and (high <= center + size / 2).all())

    def click_cell(self, cell: int) -> None:
        """Click a cell on the tissue."""
        where = self.pixel_of(cell)
        native = self.canvas
        self.qtbot.mouseMove(native, where)
        self.qtbot.mousePress(native, Qt.MouseButton.LeftButton, pos=where)
        self.qtbot.mouseRelease(native, Qt.MouseButton.LeftButton, pos=where)

    def picture(self, name: str) -> None:
        """Keep a picture of the whole window."""
        self.settle()
        path = self.pictures / f"{name}.png"
        assert self.window.grab().save(str(path))
        assert path.stat().st_size > 10_000

    def settle(self) -> None:
        """Let the window draw."""
        for _ in range(3):
            self.qtbot.wait(60)
            QApplication.processEvents()


@pytest.fixture
def hands(viewer: Viewer, qtbot, pictures: Path) -> Iterator[Hands]:
    """Return a user at an empty window of a laptop's size."""
    hands = Hands(viewer, qtbot, pictures)
    hands.window.resize(1280, 800)
    hands.window.activateWindow()
    hands.settle()
    yield hands
    hands.viewer = None  # so that nothing of ours keeps the window


def said(widget: QWidget) -> str:
    """Return what a user can read in a widget."""
    labels = [label for label in widget.findChildren(QLabel) if label.isVisible()]
    return re.sub(r"<[^>]*>|\u200b", "", " ".join(label.text() for label in labels))


def _plain(text: str) -> str:
    return text.replace("&", "")


def _answer(monkeypatch: pytest.MonkeyPatch, method: str, path: Path) -> None:
    """Have the user answer a file dialog with a path."""
    answers: dict[str, Callable] = {
        "getOpenFileNames": lambda *args, **kwargs: ([str(path)], ""),
        "getOpenFileName": lambda *args, **kwargs: (str(path), ""),
        "getSaveFileName": lambda *args, filter="", **kwargs: (str(path), _anndata_of(filter)),
    }
    monkeypatch.setattr(QFileDialog, method, answers[method])


def _anndata_of(filters: str) -> str:
    """Return the file type that a user who wants an AnnData chooses."""
    return next(part for part in filters.split(";;") if "h5ad" in part)


def _name_file(path: Path) -> None:
    """Name a file in the dialog that is open, and accept."""
    dialog = QApplication.activeModalWidget()
    dialog.findChild(QLineEdit, "fileNameEdit").setText(str(path))
    dialog.accept()


def _dock(hands: Hands, kind: type[QWidget]) -> QWidget:
    return hands.window.findChild(kind)


def test_from_the_menu_to_the_saved_file(
    section: Path,
    hands: Hands,
    qtbot,
    n_niches: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = ad.read_h5ad(section)
    session = session_of(hands.viewer)
    had_torch = "torch" in sys.modules  # other tests of this process embed in it

    # File > Open: the cells appear, coloured by type; the genes follow.
    _answer(monkeypatch, "getOpenFileNames", section)
    hands.command("napari.window.file.open_files_dialog")
    tissue = session.active
    qtbot.waitUntil(lambda: tissue.has_matrix, timeout=30_000)
    assert tissue.n_obs == original.n_obs
    assert tissue.coloring.name == "celltype"
    hands.picture("1-file-open")

    # Plugins > CELLama > Niches; a click on a cell shows its sentence.
    hands.menu(hands.viewer.window.plugins_menu, "CELLama", "Niches")
    niches = _dock(hands, NichesDock)
    qtbot.waitUntil(lambda: "Top gene" in said(niches.preview), timeout=20_000)
    first = said(niches.preview)
    assert hands.sees_all(), "the tissue is cut off where the dock took its room"
    hands.click_cell(original.n_obs // 2)
    assert tissue.picked == original.n_obs // 2
    qtbot.waitUntil(lambda: said(niches.preview) != first, timeout=10_000)
    assert "celltype of this cell is" in said(niches.preview)
    qtbot.waitUntil(lambda: "256 tokens" in said(niches.preview), timeout=20_000)
    hands.picture("2-niches-dock")

    # How many niches, and Run.
    number = niches.form.editors["n_clusters"]
    number.word.native.setFocus()
    qtbot.keyClick(number.word.native, Qt.Key.Key_Down)
    hands.type_number(number.number.native, n_niches)
    assert niches.form.recipe().n_clusters == n_niches
    hands.press(niches.foot.run_button)
    qtbot.waitUntil(lambda: "Embedding" in said(niches.foot), timeout=60_000)
    qtbot.waitUntil(lambda: "left" in said(niches.foot), timeout=60_000)
    hands.picture("3-running")
    qtbot.waitUntil(lambda: session.running is None, timeout=RUN_TIMEOUT_MS)
    assert f"{n_niches} niches in" in said(niches.foot)
    assert had_torch or "torch" not in sys.modules, "the window's process must not import torch"
    hands.picture("4-painted")
    _check_canvas(hands, session)

    # Plugins > CELLama > Clusters: a row, a cell, a name.
    hands.menu(hands.viewer.window.plugins_menu, "CELLama", "Clusters")
    clusters = _dock(hands, ClustersDock)
    hands.settle()
    table = clusters.table
    row = table.model().index(1, 1)
    table.scrollTo(row)
    center = table.visualRect(row).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=center)
    assert tissue.selection.sum() == session.clusters.sizes[1]
    hands.picture("5-one-niche")
    qtbot.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=center)
    editor = table.viewport().findChild(QLineEdit)
    editor.selectAll()
    qtbot.keyClicks(editor, "the second")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: session.clusters.names[1] == "the second", timeout=2_000)
    qtbot.keyClick(table, Qt.Key.Key_Escape)
    assert not tissue.selection.any()
    hands.picture("6-clusters")

    # Colour by a gene.
    gene = str(original.var_names[0])
    clusters.coloring.setFocus()
    clusters.coloring.selectAll()
    qtbot.keyClicks(clusters.coloring, gene)
    qtbot.keyClick(clusters.coloring.completer().popup(), Qt.Key.Key_Down)
    qtbot.keyClick(clusters.coloring.completer().popup(), Qt.Key.Key_Return)
    assert tissue.coloring.name == gene
    hands.picture("7-gene")
    hands.press(clusters.reset_button)

    # Save…, and File > Save Selected Layer(s).
    saved = tmp_path / "saved.h5ad"
    hands.tab("Niches")
    QTimer.singleShot(300, lambda: _name_file(saved))
    hands.press(niches.data.save_button)
    qtbot.waitUntil(saved.exists, timeout=60_000)
    qtbot.waitUntil(lambda: session.jobs.current("save") is None, timeout=60_000)
    _check_saved(saved, original, n_niches)

    exported = tmp_path / "exported.zarr"
    _answer(monkeypatch, "getSaveFileName", exported)
    hands.command("napari.window.file.save_layers_dialog.selected")
    _check_saved(exported, original, n_niches)


def _check_canvas(hands: Hands, session) -> None:
    """At 50 known cells that no other covers, the canvas has the cell's colour."""
    tissue = session.active
    hands.settle()
    image = hands.canvas.grabFramebuffer()
    scale = image.width() / hands.canvas.width()
    expected = paint(tissue, tissue.coloring).rgba
    layers = layers_of(hands.viewer)
    points, diameter = layers.layer_of(tissue).data, layers.placement_of(tissue).diameter
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    clear = np.flatnonzero(apart.min(axis=1) > diameter) if len(points) <= 2000 else []
    cells = np.asarray(clear)[:50]
    if len(points) <= 2000:
        assert len(cells) == 50
    for cell in cells:
        where = hands.pixel_of(int(cell))
        found = QColor(image.pixel(int(where.x() * scale), int(where.y() * scale))).getRgb()[:3]
        assert np.allclose(found, expected[cell, :3] * 255, atol=3), f"cell {cell}"


def _check_saved(path: Path, original: ad.AnnData, n_niches: int) -> None:
    """Everything original is intact, and every slot is filled."""
    result = ad.read_zarr(path) if path.suffix == ".zarr" else ad.read_h5ad(path)
    assert (result.X != original.X).nnz == 0
    assert result.obs_names.equals(original.obs_names)
    for column in original.obs:
        assert (result.obs[column] == original.obs[column]).all()
    assert np.array_equal(result.obsm["spatial"], original.obsm["spatial"])
    assert len(result.obs["niche"].cat.categories) == n_niches
    assert "the second" in set(result.obs["niche"])
    assert len(result.uns["niche_colors"]) == n_niches
    assert {"niche_confidence", "cell_sentence", "qc_pass", "qc_reason"} <= set(result.obs)
    assert {"X_cellama", "X_niche"} <= set(result.obsm)
    assert {"spatial_connectivities", "spatial_distances"} <= set(result.obsp)
    assert "cellama" in result.uns
