"""The gallery of cells' pictures in the real window, worked through by keys."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

import napari_cellama as nc
from look_hands import CELL, PATIENCE
from napari_cellama.core.labels import LabelSet
from napari_cellama.ui.judging import by_hand
from napari_cellama.ui.quality import SLOT
from napari_cellama.ui.widgets.gallery import SIDE

LEFT = Qt.MouseButton.LeftButton


def test_a_gallery_of_a_cluster_is_judged_by_keys(viewer, stained, open_dock, qtbot):
    dock, session = open_dock(stained)
    tissue, look = session.active, dock.look
    codes = np.arange(tissue.n_obs) % 3
    names, shades = ("a", "b", "c"), ("#1f77b4", "#2ca02c", "#d62728")
    tissue.labels["niche"] = LabelSet("niche", codes.astype(np.int32), names, shades)
    session.show_clusters("niche")
    texts = [look.whom.itemText(i) for i in range(look.whom.count()) if look.whom.itemData(i)]
    assert texts == ["All cells", "Selected cells", *(f"Cluster {name} (40)" for name in names)]
    look.whom.setCurrentIndex(look.whom.findText("Cluster b (40)"))
    dock.scroll.ensureWidgetVisible(look.show_button)
    qtbot.mouseClick(look.show_button, LEFT)
    crops = look.gallery.crops
    assert sorted(crops.cells) == np.flatnonzero(codes == 1).tolist()
    qtbot.waitUntil(lambda: len(crops.pictures) == 40, timeout=PATIENCE)
    first, _, third, fourth = (int(cell) for cell in crops.cells[:4])
    look.reason.setEditText("two cells")
    qtbot.keyClick(look.gallery, Qt.Key.Key_F)
    qtbot.keyClick(look.gallery, Qt.Key.Key_N)
    qtbot.keyClick(look.gallery, Qt.Key.Key_A)
    assert by_hand(tissue) == {first: "two cells", third: ""}
    assert look.gallery.cell == fourth
    qtbot.mouseClick(look.fly_button, LEFT)
    centre = np.asarray(viewer.scene.camera.center)[-2:]
    np.testing.assert_allclose(centre, stained.obsm["spatial"][fourth][::-1], rtol=1e-5)
    look.whom.setCurrentIndex(look.whom.findText("Flag: two cells (1)"))
    qtbot.mouseClick(look.show_button, LEFT)
    assert crops.cells.tolist() == [first]
    look.whom.setCurrentIndex(look.whom.findText("Judged by hand"))
    qtbot.mouseClick(look.show_button, LEFT)
    assert sorted(crops.cells) == sorted([first, third])
    session.undo()
    session.undo()
    assert by_hand(tissue) == {}
    assert look.whom.findText("Flag: two cells (1)") == -1
    assert look.whom.currentText() == "All cells"


@pytest.mark.parametrize(("width", "n"), [(378, 4), (318, 3), (260, 2), (120, 1)])
def test_pictures_fill_the_width_evenly(stained, open_dock, qtbot, width, n):
    dock, _ = open_dock(stained)
    gallery = dock.look.gallery
    dock.scroll.ensureWidgetVisible(dock.look.show_button)
    qtbot.mouseClick(dock.look.show_button, LEFT)
    gallery.setFixedWidth(width)
    places = [gallery.crops.index(row) for row in range(n + 1)]

    def spread():
        *row, below = [gallery.visualRect(place) for place in places]
        steps = np.diff([place.left() for place in row])
        assert below.top() > row[0].top() == row[-1].top()
        assert n == 1 or len(set(steps)) == 1
        assert 0 <= gallery.viewport().width() - row[-1].right() < SIDE / 2

    qtbot.waitUntil(lambda: gallery.width() == width)
    qtbot.waitUntil(lambda: spread() is None, timeout=PATIENCE)


def test_what_is_in_sight_is_cut_first_and_a_sentence_gives_way(stained, open_dock, qtbot):
    dock, _ = open_dock(stained)
    look, going, asked = dock.look, threading.Semaphore(12), []
    cut = dock.album.cut

    def one_by_one(tissue, side, ratio):
        if side != SIDE:
            return cut(tissue, side, ratio)

        def slowly(cells):
            def noted():
                for cell in cells:
                    going.acquire(timeout=PATIENCE / 1000)
                    asked.append(cell)
                    yield cell

            return cut(tissue, side, ratio)(noted())

        return slowly

    dock.scroll.ensureWidgetVisible(look.show_button)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dock.album, "cut", one_by_one)
        qtbot.mouseClick(look.show_button, LEFT)
    crops, bar = look.gallery.crops, look.gallery.verticalScrollBar()
    qtbot.waitUntil(lambda: len(asked) == 12, timeout=PATIENCE)
    assert asked == crops.cells[:12].tolist()
    qtbot.waitUntil(lambda: not look.view.picture.pixmap().isNull(), timeout=PATIENCE)
    bar.setValue(bar.maximum())
    first = look.gallery.indexAt(QPoint(6, 6)).row()
    assert first > 40
    QTest.qWait(200)
    assert look.view.sentence.text() == ""  # it may take long, and the gallery is wanted first
    going.release(1000)
    qtbot.waitUntil(lambda: len(crops.pictures) == 120, timeout=PATIENCE)
    # One cell was taken before the bar was moved, and waited.
    rows = [crops.cells.tolist().index(cell) for cell in asked]
    assert rows[13 : 133 - first] == list(range(first, 120))
    assert sorted(rows) == list(range(120))
    qtbot.waitUntil(lambda: "Top gene" in look.view.sentence.text(), timeout=PATIENCE)


def test_a_gallery_comes_in_the_order_of_a_metric(stained, open_dock, qtbot):
    dock, session = open_dock(stained)
    look = dock.look
    orders = [look.how.itemData(i) for i in range(look.how.count())]
    assert orders == ["at random"]
    qtbot.mouseClick(dock.measure_button, LEFT)
    qtbot.waitUntil(lambda: session.jobs.current(SLOT) is None, timeout=PATIENCE)
    QApplication.processEvents()
    counts = session.active.quality.table["qc_total_counts"].to_numpy()
    look.whom.setCurrentIndex(look.whom.findData("All cells"))
    for text, order in (("lowest total counts", counts), ("highest total counts", -counts)):
        look.how.setCurrentIndex(look.how.findText(text))
        dock.scroll.ensureWidgetVisible(look.show_button)
        qtbot.mouseClick(look.show_button, LEFT)
        shown = look.gallery.crops.cells
        np.testing.assert_array_equal(shown, np.argsort(order, kind="stable"))
    session.select(counts > np.median(counts))
    look.whom.setCurrentIndex(look.whom.findData("Selected cells"))
    qtbot.mouseClick(look.show_button, LEFT)
    assert set(look.gallery.crops.cells) == set(np.flatnonzero(session.active.selection))


def test_data_opened_with_clusters_and_quality_offer_a_gallery_at_once(
    stained, open_dock, qtbot, tmp_path
):
    """The first choices have lines between them, which an empty box took for the chosen one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what the image lacks
        nc.qc(stained, progress=False)
    path = nc.write(stained, tmp_path / "judged.h5ad")
    dock, session = open_dock(nc.read(path))
    session.show_clusters("celltype")
    look = dock.look
    assert look.whom.currentText() == "Failing cells"
    assert look.how.currentText() == "at random"
    look.whom.setCurrentIndex(look.whom.findData("All cells"))
    dock.scroll.ensureWidgetVisible(look.show_button)
    qtbot.mouseClick(look.show_button, LEFT)
    assert look.gallery.crops.rowCount() == session.active.n_obs


def test_what_was_measured_can_be_measured_again(adata, open_dock, qtbot, tmp_path):
    """The metrics of the file and the new ones are both tables, which no "==" compares."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that there is no image
        nc.qc(adata, progress=False)
    dock, session = open_dock(nc.read(nc.write(adata, tmp_path / "measured.h5ad")))
    before = session.active.quality
    assert before is not None
    dock.scroll.ensureWidgetVisible(dock.measure_button)
    qtbot.mouseClick(dock.measure_button, LEFT)
    qtbot.waitUntil(lambda: session.active.quality is not before, timeout=PATIENCE)
    qtbot.waitUntil(lambda: session.jobs.current(SLOT) is None, timeout=PATIENCE)
    assert dock.look.whom.currentText() == "Failing cells"


def test_an_image_that_is_gone_is_said_in_the_dock(shining, open_dock, qtbot, tmp_path):
    dock, session = open_dock(shining)
    (tmp_path / "scan.ome.tif").unlink()
    session.active.snapshot.uns["cellama"] = {
        **session.active.snapshot.uns["cellama"],
        "images": dict(session.active.snapshot.uns["cellama"]["images"]),
    }
    session.pick_cell(CELL)
    text = dock.look.view.text
    qtbot.waitUntil(lambda: "There is no image" in text.text(), timeout=PATIENCE)
