"""What napari finds in the manifest, and that it works from napari's own menus and dialogs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from napari.utils.notifications import notification_manager
from npe2 import PluginManager, PluginManifest
from qtpy.QtCore import QEventLoop, QMimeData, QPointF, Qt, QTimer, QUrl
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QApplication, QDialogButtonBox, QRadioButton

import napari_cellama
from napari_cellama.errors import UserError
from napari_cellama.io import readers
from napari_cellama.ui import contributions, launch
from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.layers import show
from napari_cellama.ui.panel import main_window, our_docks
from napari_cellama.ui.tissue import Coloring, Tissue
from napari_cellama.ui.widgets.embedding import EmbeddingDock
from napari_cellama.ui.widgets.search import SearchDock

NAMES = ("Niches", "Clusters", "Search", "QC", "Understand")
TITLES = [f"{name} (CELLama)" for name in NAMES]
PLUGIN = "napari-cellama"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=[".h5ad", ".zarr"])
def path(request, adata, tmp_path):
    """Return the small section on disk, in both formats."""
    path = tmp_path / f"section{request.param}"
    adata.write_h5ad(path) if request.param == ".h5ad" else adata.write_zarr(path)
    return path


def trigger(menu, text):
    """Choose an entry of a menu or one of its submenus by its text."""
    menu.aboutToShow.emit()
    for action in menu.actions():
        if action.menu() is not None and trigger(action.menu(), text):
            return True
        if action.text() == text:
            action.trigger()
            return True
    return False


# ---- the manifest


def test_the_manifest_is_valid_and_everything_in_it_can_be_imported():
    manifest = PluginManifest.from_file(ROOT / "napari.yaml")
    manifest.validate_imports()
    assert manifest.display_name == "CELLama"
    assert {widget.display_name for widget in manifest.contributions.widgets} == {
        "Niches",
        "Clusters",
        "Search",
        "QC",
        "Understand",
        "Embedding",
    }


def test_the_manifest_at_the_top_is_a_link_to_the_packages():
    assert (ROOT / "napari.yaml").is_symlink()
    inside = Path(napari_cellama.__file__).parent / "napari.yaml"
    assert (ROOT / "napari.yaml").resolve() == inside.resolve()


def test_napari_finds_the_installed_plugin():
    manager = PluginManager.instance()
    manager.discover()
    assert PLUGIN in manager


def test_the_windows_modules_import_nothing_heavy():
    heavy = ("torch", "sentence_transformers", "scanpy", "squidpy", "sklearn", "matplotlib.pyplot")
    code = (
        "import sys\n"
        "import napari_cellama.ui.launch, napari_cellama.ui.contributions\n"
        "import napari_cellama.ui.attach\n"
        "import napari_cellama.ui.widgets.niches, napari_cellama.ui.widgets.clusters\n"
        "import napari_cellama.ui.widgets.search\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- reading


def test_a_file_is_opened_and_its_genes_follow(viewer, path, adata, qtbot, monkeypatch):
    session, looked, really_read = session_of(viewer), threading.Event(), readers.read

    def read(*given):
        # napari's progress bar lets events in while it opens a file: a quick job would be done.
        looked.wait(20)
        return really_read(*given)

    monkeypatch.setattr(readers, "read", read)
    with qtbot.waitSignal(_qt(session.matrix_ready, qtbot), timeout=20_000):
        (layer,) = viewer.open(path, plugin=PLUGIN)
        tissue = session.active
        assert not tissue.has_matrix, "the reader reads no genes on the main thread"
        assert tissue.snapshot.X is None
        looked.set()
    assert layer.name == tissue.name == "section"
    np.testing.assert_array_equal(layer.data, adata.obsm["spatial"][:, ::-1])
    assert tissue.has_matrix
    np.testing.assert_array_equal(tissue.snapshot.X.toarray(), adata.X.toarray())
    assert viewer.layers == [layer]


def test_naparis_dialog_offers_us_for_zarr_and_opens_with_us(viewer, adata, tmp_path, qtbot):
    path = tmp_path / "section.zarr"
    adata.write_zarr(path)
    session = session_of(viewer)
    offered = []

    def choose():
        dialog = QApplication.activeModalWidget()
        buttons = dialog.findChildren(QRadioButton)
        offered.extend(button.text() for button in buttons)
        next(button for button in buttons if button.text() == "CELLama").click()
        dialog.findChild(QDialogButtonBox).button(QDialogButtonBox.StandardButton.Ok).click()

    QTimer.singleShot(200, choose)
    # What File > Open and dropping a file on the window call.
    viewer.window._qt_viewer._qt_open([str(path)], stack=False)
    assert len(offered) == 2, "napari's own reader claims .zarr too"
    assert [tissue.name for tissue in session.tissues] == ["section"]
    qtbot.waitUntil(lambda: session.active.has_matrix, timeout=20_000)


def test_a_preference_for_us_spares_the_dialog(viewer, adata, tmp_path, qtbot):
    from napari.settings import get_settings

    path = tmp_path / "section.zarr"
    adata.write_zarr(path)
    session = session_of(viewer)
    # napari ends a folder's path with a separator before it looks for a pattern that fits.
    get_settings().plugins.extension2reader = {f"*.zarr{os.sep}": PLUGIN}
    viewer.open(path, plugin=None)
    assert [tissue.name for tissue in session.tissues] == ["section"]
    qtbot.waitUntil(lambda: session.active.has_matrix, timeout=20_000)


def test_other_files_are_left_to_other_plugins(tmp_path):
    import zarr

    image = tmp_path / "image.zarr"
    zarr.open_group(image, mode="w").attrs["multiscales"] = []
    assert contributions.get_reader(str(image)) is None
    assert contributions.get_reader(str(tmp_path / "picture.tif")) is None
    assert contributions.get_reader([str(tmp_path / "a.h5ad"), str(tmp_path / "b.h5ad")]) is None


def test_a_broken_file_is_refused_with_one_sentence(viewer, tmp_path):
    path = tmp_path / "broken.h5ad"
    path.write_bytes(b"no HDF5")
    with pytest.raises(UserError, match="is not an HDF5 file"):
        viewer.open(path, plugin=PLUGIN)
    with pytest.raises(ValueError, match="is not an HDF5 file"):
        viewer.window._qt_viewer._qt_open([str(path)], stack=False)
    assert len(viewer.layers) == 0


@pytest.mark.parametrize("content", ["text", "no positions"])
def test_a_broken_file_that_is_dropped_is_said_in_one_sentence(
    viewer, session, adata, tmp_path, qtbot, content
):
    path = tmp_path / "broken.h5ad"
    path.write_text("this is no HDF5")
    if content == "no positions":
        del adata.obsm["spatial"]
        adata.write_h5ad(path)
    before, loop = len(notification_manager.records), QEventLoop()
    data, where = QMimeData(), QPointF(20, 20)
    data.setUrls([QUrl.fromLocalFile(str(path))])
    none, button = Qt.KeyboardModifier.NoModifier, Qt.MouseButton.LeftButton
    drop = QDropEvent(where, Qt.DropAction.CopyAction, data, button, none)
    # As a user's hand does it, while the window is at work.
    QTimer.singleShot(0, lambda: viewer.window._qt_viewer.dropEvent(drop))
    QTimer.singleShot(200, loop.quit)
    loop.exec()
    said = [note.message for note in notification_manager.records[before:]]
    assert len(said) == 1
    assert {"text": "is not an HDF5 file", "no positions": "no positions"}[content] in said[0]
    assert "\n" not in said[0]
    assert session.tissues[-1].name == "section", "what was open stays"


def test_a_file_with_niches_opens_in_their_colours(viewer, adata, tmp_path):
    adata.obs["niche"] = pd.Categorical(["a", "b"] * (adata.n_obs // 2))
    adata.uns["cellama"]["runs"] = {"niche": {}}
    adata.write_h5ad(tmp_path / "section.h5ad")
    viewer.open(tmp_path / "section.h5ad", plugin=PLUGIN)
    assert session_of(viewer).active.coloring == Coloring("labels", "niche")
    assert len(np.unique(viewer.layers[-1].face_color, axis=0)) == 2


def test_a_section_without_positions_is_refused_with_one_sentence(viewer, adata, tmp_path):
    del adata.obsm["spatial"]
    adata.write_h5ad(tmp_path / "section.h5ad")
    with pytest.raises(UserError, match=r"obsm\['spatial'\] is missing"):
        viewer.open(tmp_path / "section.h5ad", plugin=PLUGIN)
    assert len(viewer.layers) == 0


def test_a_table_of_a_spatialdata_store_is_named_after_the_store():
    assert contributions._name_of(Path("a/kidney.zarr/tables/table")) == "kidney table"


def test_closing_the_window_while_genes_are_read_leaves_nothing(make_napari_viewer, adata, path):
    viewer = make_napari_viewer(show=True)
    session = session_of(viewer)
    viewer.open(path, plugin=PLUGIN)
    job = session.jobs.current(f"matrix {session.active.id}")
    viewer.close()
    assert job is None or job.token.cancelled


# ---- writing


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_naparis_save_writes_the_section_with_its_edits(viewer, session, tissue, tmp_path, suffix):
    session.show_clusters("celltype")
    session.editing.rename(0, "T lymphocyte")
    path = tmp_path / f"out{suffix}"
    assert not tissue.saved
    written = layers_of(viewer).layer_of(tissue).save(str(path))
    assert [Path(item) for item in written] == [path]
    assert tissue.saved
    read = napari_cellama.read(path)
    assert "T lymphocyte" in set(read.obs["celltype_edited"])
    assert set(read.obs["celltype"]) == set(tissue.snapshot.obs["celltype"])
    np.testing.assert_array_equal(read.X.toarray(), tissue.snapshot.X.toarray())


def test_images_beside_the_cells_do_not_hinder_saving(viewer, session, tissue, tmp_path):
    viewer.add_image(np.zeros((4, 4)))
    viewer.layers.select_all()
    viewer.layers.save(str(tmp_path / "out.h5ad"), selected=True)
    assert ad.read_h5ad(tmp_path / "out.h5ad").n_obs == tissue.n_obs


def test_saving_waits_for_the_genes_and_refuses_other_layers(viewer, adata, tmp_path):
    tissue = Tissue.from_adata(adata)
    layer = show(viewer, tissue)
    tissue.has_matrix = False
    with pytest.raises(contributions.NotSaved, match="still being read"):
        layer.save(str(tmp_path / "out.h5ad"))
    other = viewer.add_points(np.zeros((1, 2)))
    with pytest.raises(contributions.NotSaved, match="None of the selected layers"):
        contributions.write_layers(str(tmp_path / "out.h5ad"), [other.as_layer_data_tuple()])
    assert not list(tmp_path.iterdir())


# ---- sample data


def test_the_sample_tissue_opens_from_naparis_menu(viewer, monkeypatch, qtbot):
    from napari_cellama import sample

    real, threads = sample.tissue, []

    def small():
        import threading

        threads.append(threading.current_thread())
        return real(600)

    monkeypatch.setattr(sample, "tissue", small)
    session = session_of(viewer)
    assert trigger(viewer.window.file_menu, "Sample tissue (20,000 cells, made here)")
    assert session.active.name == "sample tissue"
    assert session.active.units == "µm"
    assert session.active.has_matrix
    import threading

    assert threads
    assert threads[0] is not threading.main_thread()
    names = [layer.name for layer in viewer.layers]
    assert names == ["sample tissue · dapi", "sample tissue · hires", "sample tissue"]
    assert [layer.visible for layer in viewer.layers] == [False, True, True]


@pytest.mark.parametrize("name", ["merfish", "seqfish", "slideseqv2", "visium_hne"])
def test_published_sections_are_fetched_off_the_main_thread(
    viewer, adata, tmp_path, monkeypatch, qtbot, name
):
    import threading

    from napari_cellama.io import samples

    adata.write_h5ad(tmp_path / "downloaded.h5ad")
    asked = []

    def fetch(sample, progress):
        asked.append((sample, threading.current_thread() is threading.main_thread()))
        progress(1, 2)
        return tmp_path / "downloaded.h5ad"

    monkeypatch.setattr(samples, "fetch_sample", fetch)
    session = session_of(viewer)
    viewer.open_sample(PLUGIN, name)
    assert asked == [(name, False)]
    assert session.active.name == name
    qtbot.waitUntil(lambda: session.active.has_matrix, timeout=20_000)


def test_without_a_network_a_sample_says_so_in_one_sentence(viewer, tmp_path, monkeypatch):
    import requests

    from napari_cellama.io import samples

    def no_network(*args, **kwargs):
        raise requests.exceptions.ConnectionError("HTTPSConnectionPool(host='a.b')")

    monkeypatch.setattr(samples, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(requests, "get", no_network)
    with pytest.raises(UserError, match="connect to the internet"):
        viewer.open_sample(PLUGIN, "merfish")
    assert len(viewer.layers) == 0


# ---- docks and windows


def test_docks_opened_from_the_menu_are_tabs_of_one_panel(viewer, session, qtbot):
    assert trigger(viewer.window.plugins_menu, "Niches (CELLama)")
    QApplication.processEvents()
    assert trigger(viewer.window.plugins_menu, "Clusters (CELLama)")
    window = main_window(viewer)
    qtbot.waitUntil(lambda: len(our_docks(window)) == 2)
    first, second = our_docks(window)
    qtbot.waitUntil(lambda: second in window.tabifiedDockWidgets(first))
    assert {dock.windowTitle() for dock in our_docks(window)} == {"Niches", "Clusters"}
    viewer.window.add_plugin_dock_widget(PLUGIN, "Search")  # as in a notebook
    qtbot.waitUntil(lambda: "Search" in {dock.windowTitle() for dock in our_docks(window)})


def test_a_dock_that_the_tab_key_comes_to_is_brought_to_the_front(viewer, session, qtbot):
    launch.open_docks(viewer)
    window = main_window(viewer)
    docks = {dock.windowTitle().split()[0]: dock for dock in our_docks(window)}
    seen = lambda name: not docks[name].visibleRegion().isEmpty()  # noqa: E731
    window.activateWindow()
    qtbot.waitUntil(lambda: seen("Niches") and not seen("Search"))
    docks["Search"].findChild(SearchDock).query.setFocus(Qt.FocusReason.TabFocusReason)
    qtbot.waitUntil(lambda: seen("Search") and not seen("Niches"))


def test_the_command_opens_the_docks_once(viewer, session, qtbot):
    launch.open_docks(viewer)
    launch.open_docks(viewer)
    assert list(viewer.window.dock_widgets) == TITLES
    assert trigger(viewer.window.layers_menu, "Find niches among cells (CELLama)")
    assert list(viewer.window.dock_widgets) == TITLES


@pytest.mark.parametrize(("width", "height", "share"), [(1280, 800, 0.46), (1920, 1080, 0.60)])
def test_the_tissue_keeps_its_share_of_the_window(viewer, session, qtbot, width, height, share):
    viewer.window.resize(width, height)
    QApplication.processEvents()
    launch.open_docks(viewer)
    qtbot.wait(100)
    window = main_window(viewer)
    assert (window.width(), window.height()) == (width, height)
    canvas = viewer.window._qt_viewer.canvas.native
    assert canvas.width() >= share * width
    shown = next(dock for dock in our_docks(window) if not dock.visibleRegion().isEmpty())
    assert 340 <= shown.width() <= 420
    assert canvas.height() >= 0.9 * height
    # The controls of pyramids, and the map, do not take the tissue's room.
    viewer.window.add_dock_widget(EmbeddingDock(viewer), name="Embedding", area="left")
    levels, units = [np.zeros((4096 >> k,) * 2, np.uint8) for k in range(3)], viewer.layers[0].units
    viewer.add_image(levels, multiscale=True, units=units)
    viewer.add_labels([level.astype(np.int32) for level in levels], multiscale=True, units=units)
    qtbot.wait(100)
    assert (window.width(), window.height()) == (width, height)
    assert canvas.width() >= share * width


def test_view_opens_a_window_on_the_data_and_writes_nothing(adata, opened):
    before = {slot: list(getattr(adata, slot)) for slot in ("obs", "obsm", "uns", "layers")}
    viewer = opened(launch.view(adata, name="my section"))
    session = session_of(viewer)
    assert "my section" in viewer.title
    assert session.active.snapshot.X is adata.X, "the matrix is shared, not copied"
    assert session.active.owner is adata
    assert len(our_docks(main_window(viewer))) == len(TITLES)
    assert {slot: list(getattr(adata, slot)) for slot in before} == before


def test_view_refuses_what_is_no_section(adata):
    with pytest.raises(UserError, match="not a str"):
        launch.view("section.h5ad")
    del adata.obsm["spatial"]
    with pytest.raises(UserError, match="no positions"):
        launch.view(adata)


def test_a_path_is_opened_in_a_window_of_its_own(path, opened, qtbot):
    viewer = opened(launch.open_path(path, docks=False, block=False))
    session = session_of(viewer)
    assert session.active.source == path
    assert "section" in viewer.title
    qtbot.waitUntil(lambda: session.active.has_matrix, timeout=20_000)


@pytest.fixture
def opened(make_napari_viewer, monkeypatch):
    """Return a function that has a window, which the code under test opened, closed afterwards."""
    import napari

    # The fixture's own factory makes viewers whose leftovers it checks.
    monkeypatch.setattr(napari, "Viewer", lambda **kwargs: make_napari_viewer(show=True, **kwargs))
    return lambda viewer: viewer


def _qt(signal, qtbot):
    """Turn a psygnal signal into one that pytest-qt can wait for."""
    from qtpy.QtCore import QObject, Signal

    class Relay(QObject):
        heard = Signal()

    relay = Relay(qtbot._request.getfixturevalue("qapp"))
    signal.connect(lambda *_: relay.heard.emit())
    return relay.heard
