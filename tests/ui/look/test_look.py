"""Looking at a cell in the real window: on hover and on a click."""

from __future__ import annotations

import numpy as np
from napari._qt.utils import QImg2array
from qtpy.QtCore import QEvent, QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

import napari_cellama as nc
from dock_hands import delete
from look_hands import CELL, PATIENCE, ZOOM
from napari_cellama.core.image_choices import ImageChoices, read_choices
from napari_cellama.ui.attach import layers_of
from napari_cellama.ui.hovering import REST_MS
from napari_cellama.ui.layers import show
from napari_cellama.ui.quality import SLOT
from napari_cellama.ui.tissue import Tissue

LEFT = Qt.MouseButton.LeftButton

YELLOW = (255, 225, 25)


class Squares:
    """Outlines: a square of six units around every cell but the last ones."""

    def __init__(self, xy, last):
        self._xy, self._last = xy, last

    def polygons(self, cells):
        corners = np.array([[-3, -3], [3, -3], [3, 3], [-3, 3]])
        none = np.zeros((0, 2))
        return [self._xy[c] + corners if c < self._last else none for c in cells]


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
    delete(viewer, dock)
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
