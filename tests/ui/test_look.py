"""Looking at cells in the real window: on hover, on a click, and in the gallery."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest
import tifffile
from napari._qt.utils import QImg2array
from qtpy.QtCore import QEvent, QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

import napari_cellama as nc
from napari_cellama.core.image_choices import ImageChoices, read_choices
from napari_cellama.core.labels import LabelSet
from napari_cellama.io.attached import attach_image
from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.hovering import REST_MS
from napari_cellama.ui.judging import by_hand
from napari_cellama.ui.layers import show
from napari_cellama.ui.quality import SLOT
from napari_cellama.ui.tissue import Tissue
from napari_cellama.ui.widgets.gallery import SIDE
from napari_cellama.ui.widgets.qc import QCDock

LEFT = Qt.MouseButton.LeftButton
PATIENCE = 60_000
CELL = 61
#: Pixels of the image per unit of the coordinates.
ZOOM = 4
YELLOW = (255, 225, 25)


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


class Squares:
    """Outlines: a square of six units around every cell but the last ones."""

    def __init__(self, xy, last):
        self._xy, self._last = xy, last

    def polygons(self, cells):
        corners = np.array([[-3, -3], [3, -3], [3, 3], [-3, 3]])
        none = np.zeros((0, 2))
        return [self._xy[c] + corners if c < self._last else none for c in cells]


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


def pictured(qtbot, dock, session, cell):
    """Click a cell and return its picture, (h, w, 3), once it is there."""
    before = dock.look.view.picture.pixmap().cacheKey()
    session.pick_cell(cell)
    return next_picture(qtbot, dock, before)


def next_picture(qtbot, dock, before):
    label = dock.look.view.picture
    qtbot.waitUntil(
        lambda: not label.pixmap().isNull() and label.pixmap().cacheKey() != before,
        timeout=PATIENCE,
    )
    for slot in ("crop", "sentence"):
        qtbot.waitUntil(lambda s=slot: dock._session.jobs.current(s) is None, timeout=PATIENCE)
    return pixels_of(label.pixmap())


def pixels_of(pixmap):
    return QImg2array(pixmap.toImage())[..., :3]


def yellow(picture):
    """Return where a picture is as yellow as the cell's own outline."""
    return (np.abs(picture.astype(int) - YELLOW) < 40).all(axis=-1)


# ---- hovering


def test_a_cell_under_the_resting_mouse_is_shown(viewer, stained, open_dock, canvas, qtbot):
    dock, session = open_dock(stained)
    seen, tip = canvas(viewer), dock.hovering.tip
    seen.settle()
    assert dock.hovering.canvas is seen.native
    layer = layers_of(viewer).layer_of(session.active)
    row, column = seen.pixel_of(layer, CELL)
    QTest.mouseMove(seen.native, QPoint(2, 2))
    QTest.qWait(30)
    QTest.mouseMove(seen.native, QPoint(column, row))
    assert not tip.isVisible()
    qtbot.waitUntil(tip.isVisible, timeout=PATIENCE)
    assert tip.text.text().startswith(str(stained.obs_names[CELL]))
    assert "Top genes are" in tip.text.text()
    picture = pixels_of(tip.picture.pixmap())
    middle = picture[len(picture) // 2, len(picture) // 2]
    assert (np.abs(middle.astype(int) - (40, 40, 160)) < 30).all()
    assert tip.geometry().right() < seen.native.width()
    assert tip.geometry().bottom() < seen.native.height()
    assert session.active.picked is None  # it was not clicked
    QTest.mouseMove(seen.native, QPoint(column + 30, row + 5))
    QTest.qWait(30)
    assert not tip.isVisible()
    qtbot.waitUntil(tip.isVisible, timeout=PATIENCE)
    QApplication.sendEvent(seen.native, QEvent(QEvent.Type.Leave))
    assert not tip.isVisible()


def test_it_can_be_switched_off(viewer, stained, open_dock, canvas, qtbot):
    dock, session = open_dock(stained)
    seen = canvas(viewer)
    seen.settle()
    row, column = seen.pixel_of(layers_of(viewer).layer_of(session.active), CELL)
    box = dock.look.view.hover
    dock.scroll.ensureWidgetVisible(box)
    qtbot.mouseClick(box, LEFT, pos=QPoint(8, box.height() // 2))
    assert not box.isChecked()
    QTest.mouseMove(seen.native, QPoint(2, 2))
    QTest.qWait(30)
    QTest.mouseMove(seen.native, QPoint(column, row))
    QTest.qWait(2 * REST_MS)
    assert session.jobs.current("hover") is None
    assert not dock.hovering.tip.isVisible()


def test_without_an_image_nothing_pops_up_and_the_dock_says_why(
    viewer, adata, open_dock, canvas, qtbot
):
    dock, session = open_dock(adata)
    seen = canvas(viewer)
    seen.settle()
    row, column = seen.pixel_of(layers_of(viewer).layer_of(session.active), CELL)
    QTest.mouseMove(seen.native, QPoint(column, row))
    QTest.qWait(2 * REST_MS)
    qtbot.waitUntil(lambda: session.jobs.current("hover") is None, timeout=PATIENCE)
    assert not dock.hovering.tip.isVisible()
    session.pick_cell(CELL)
    text = dock.look.view.text
    qtbot.waitUntil(lambda: "There is no image" in text.text(), timeout=PATIENCE)
    sentence = dock.look.view.sentence
    qtbot.waitUntil(lambda: "Top genes are" in sentence.text(), timeout=PATIENCE)


def test_a_closed_dock_lets_go_of_the_mouse(viewer, stained, open_dock, qtbot):
    before = list(viewer.mouse_move_callbacks)
    dock, _ = open_dock(stained)
    assert len(viewer.mouse_move_callbacks) == len(before) + 1
    viewer.window.remove_dock_widget(dock)
    dock.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    QApplication.processEvents()
    assert list(viewer.mouse_move_callbacks) == before


# ---- one cell


def test_a_cell_has_its_metrics_and_its_sentence_beside_it(stained, open_dock, qtbot):
    dock, session = open_dock(stained)
    assert not dock.look.view.picture.isVisible()
    pictured(qtbot, dock, session, CELL)
    view = dock.look.view
    assert view.text.text().startswith(f"{stained.obs_names[CELL]} · ")
    assert "Genes" not in view.text.text()  # nothing was measured yet
    assert view.sentence.text().startswith("Top genes are")
    qtbot.mouseClick(dock.measure_button, LEFT)
    qtbot.waitUntil(lambda: session.jobs.current(SLOT) is None, timeout=PATIENCE)
    QApplication.processEvents()
    row = session.active.quality.table.iloc[CELL]
    assert f"Genes {row['qc_n_genes']:.0f}" in view.text.text()
    assert view.text.text().splitlines()[1].startswith(("passes", "fails"))
    assert dock.scroll.horizontalScrollBar().maximum() == 0


def test_outlines_are_drawn_where_they_are(stained, open_dock, qtbot):
    xy = stained.obsm["spatial"]
    dock, session = open_dock(stained, Squares(xy, stained.n_obs))
    picture = pictured(qtbot, dock, session, CELL)
    view = dock.look.view
    # The square's sides are three units away; the picture is so many half windows wide.
    side = len(picture)
    pictures = dock.album.opened(session.active)()
    away = 3 / (dock.album.look.n_windows * pictures.window) * side
    found = yellow(picture)
    middle = side / 2
    for step in (-away, away):
        assert found[round(middle), round(middle + step) - 2 : round(middle + step) + 3].any()
        assert found[round(middle + step) - 2 : round(middle + step) + 3, round(middle)].any()
    corner = round(middle + away)
    assert found[corner - 3 : corner + 3, corner - 3 : corner + 3].any()
    assert not found[round(middle) - 3 : round(middle) + 3, round(middle) - 3 :][:, :6].any()
    before = view.picture.pixmap().cacheKey()
    dock.scroll.ensureWidgetVisible(view.marked)
    qtbot.mouseClick(view.marked, LEFT, pos=QPoint(8, view.marked.height() // 2))
    plain = next_picture(qtbot, dock, before)
    assert not yellow(plain).any()
    near = np.argsort(np.linalg.norm(xy - xy[CELL], axis=1))[1]
    x, y = (xy[near] - xy[CELL] + (3, 0)) / (8 * pictures.window) * side + middle
    change = np.abs(picture.astype(int) - plain).max(axis=-1)
    assert change[round(y), round(x) - 2 : round(x) + 3].max() > 30
    x, y = (xy[near] - xy[CELL]) / (8 * pictures.window) * side + middle
    assert change[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3].max() == 0


def test_without_outlines_a_ring_and_dots_stand_for_them(stained, open_dock, qtbot):
    dock, session = open_dock(stained)
    picture = pictured(qtbot, dock, session, CELL)
    found, side = yellow(picture), len(picture)
    rows, columns = np.nonzero(found)
    radius = np.hypot(rows + 0.5 - side / 2, columns + 0.5 - side / 2)
    assert np.ptp(radius) < 4
    assert (picture.min(axis=-1) > 205).sum() > 20  # the dots


def test_channels_are_chosen_by_name(shining, open_dock, qtbot):
    dock, session = open_dock(shining)
    view = dock.look.view
    button = view.channels
    assert button.isVisible()
    assert button.chosen() == ("DAPI", "CD3", "CD20")
    view.marked.setChecked(False)
    picture = pictured(qtbot, dock, session, CELL)
    middle = len(picture) // 2
    assert picture[middle, middle].tolist()[2] > 200
    assert picture[middle, middle].tolist()[0] < 60
    menu, before = button.menu(), view.picture.pixmap().cacheKey()
    menu.popup(button.mapToGlobal(QPoint(0, button.height())))
    qtbot.waitUntil(menu.isVisible)
    names = [action.data() for action in menu.actions()]
    assert names == ["DAPI", "CD3", "CD20", "A & B"]
    for name in ("DAPI", "CD20", "A & B"):
        action = menu.actions()[names.index(name)]
        qtbot.mouseMove(menu, menu.actionGeometry(action).center())
        qtbot.mouseClick(menu, LEFT, pos=menu.actionGeometry(action).center())
        assert menu.isVisible()  # for the next tick
    menu.close()
    assert button.chosen() == ("CD3", "A & B")
    assert session.active.history.undo_name == "Show CD3, A & B in pictures"

    def is_red():
        red, _, blue = pixels_of(view.picture.pixmap())[middle, middle].tolist()
        return red > 200 and blue < 60

    next_picture(qtbot, dock, before)
    qtbot.waitUntil(is_red, timeout=PATIENCE)
    assert "A && B" in button.text()
    kept = ImageChoices(cut_channels=("CD3", "A & B"))
    assert session.active.choices == kept
    assert read_choices(session.active.assemble()) == kept
    session.undo()
    assert button.chosen() == ("CD3",)


def test_the_image_of_the_pictures_is_chosen_undone_and_kept(
    viewer, stained, open_dock, qtbot, tmp_path
):
    green = np.zeros_like(stained.uns["spatial"]["lib"]["images"]["hires"]) + np.uint8([0, 200, 0])
    entry = stained.uns["spatial"]["lib"]
    entry["images"]["green"] = green
    entry["scalefactors"]["tissue_green_scalef"] = float(ZOOM)
    dock, session = open_dock(stained)
    view = dock.look.view
    view.marked.setChecked(False)
    box = view.image_box
    qtbot.waitUntil(box.isVisible, timeout=PATIENCE)
    texts = [box.itemData(i, Qt.ItemDataRole.ToolTipRole) for i in range(box.count())]
    assert texts[0].startswith("Pictures from the image")
    assert set(texts[1:]) == {"Pictures from hires", "Pictures from green"}

    def choose(name):
        before = view.picture.pixmap().cacheKey()
        box.setCurrentIndex(box.findData(name))
        box.activated.emit(box.currentIndex())  # as the list does when it is clicked
        return next_picture(qtbot, dock, before)

    def is_green(picture):
        at = len(picture) // 2  # as near as a screen of 16 bits comes
        return bool((np.abs(picture[at, at].astype(int) - (0, 200, 0)) < 12).all())

    pictured(qtbot, dock, session, CELL)
    assert is_green(choose("green"))
    assert session.active.history.undo_name == "Pictures from green"
    assert not is_green(choose("hires"))
    before = view.picture.pixmap().cacheKey()
    session.undo()
    assert is_green(next_picture(qtbot, dock, before))
    path = tmp_path / "kept.h5ad"
    session.save(path)
    qtbot.waitUntil(lambda: session.jobs.current("save") is None, timeout=PATIENCE)
    show(viewer, Tissue.from_adata(nc.read(path), "again"))
    assert session.active.name == "again"
    qtbot.waitUntil(lambda: box.currentData() == "green", timeout=PATIENCE)
    assert is_green(pictured(qtbot, dock, session, CELL))


def test_an_image_in_colours_has_no_channels_to_choose(stained, open_dock):
    dock, _ = open_dock(stained)
    assert not dock.look.view.channels.isVisible()


def test_a_picture_shows_more_or_less_of_the_image(stained, open_dock, qtbot):
    dock, session = open_dock(stained)
    dock.look.view.marked.setChecked(False)

    def blue(picture):
        return (picture[..., 0] < 100).mean()

    usual, view = blue(pictured(qtbot, dock, session, CELL)), dock.look.view
    for name, larger in (("Near", True), ("Far", False)):
        before = view.picture.pixmap().cacheKey()
        view.width_box.setCurrentText(name)
        assert (blue(next_picture(qtbot, dock, before)) > usual) == larger


# ---- the gallery


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
