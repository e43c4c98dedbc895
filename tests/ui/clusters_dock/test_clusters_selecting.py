"""Selecting and renaming in the Clusters dock, driven as a user drives it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QApplication,
    QLineEdit,
)

from clusters_hands import click, has_pixels, niche_result, place_of, rows, selected
from napari_cellama.ui.attach import layers_of
from napari_cellama.ui.painting import FADED
from napari_cellama.ui.widgets.clusters import ClustersDock

LEFT = Qt.MouseButton.LeftButton

CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


def type_name(qtbot, dock: ClustersDock, name: str) -> None:
    """Type into the editor that is open in the table."""
    editor = dock.table.findChild(QLineEdit)
    editor.clear()
    editor.insert(name)
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    QApplication.processEvents()  # Qt takes the text over only after the key


def types_of(session) -> np.ndarray:
    return session.active.snapshot.obs["celltype"].astype(str).to_numpy()


# ---- selecting


def test_a_click_highlights_the_cluster_and_fades_the_rest(
    real_window, qtbot, viewer, dock, session
):
    assert has_pixels(viewer, "#e41a1c")
    assert has_pixels(viewer, "#377eb8")
    row = rows(dock).index("T cell")
    click(qtbot, dock, row)
    chosen = types_of(session) == "T cell"
    assert np.array_equal(session.active.selection, chosen)
    colors = layers_of(viewer).layer_of(session.active).face_color
    red = QColor(session.clusters.colors[session.clusters.names.index("T cell")]).getRgbF()
    np.testing.assert_allclose(colors[chosen], np.broadcast_to(red, (chosen.sum(), 4)), atol=0.01)
    np.testing.assert_allclose(colors[~chosen], np.broadcast_to(FADED, ((~chosen).sum(), 4)))
    assert has_pixels(viewer, "#e41a1c")
    assert not has_pixels(viewer, "#377eb8")
    assert dock.foot.count.text() == f"{chosen.sum()} of 120 cells selected"


def test_drawing_a_selected_row_makes_qt_complain_of_nothing(
    real_window, qtbot, qtlog, dock, session
):
    click(qtbot, dock, 1)
    dock.grab()
    assert [record.message for record in qtlog.records if "QPainter" in record.message] == []


def test_ctrl_and_shift_take_several_rows(qtbot, dock, session):
    click(qtbot, dock, 0)
    click(qtbot, dock, 2, keys=CTRL)
    names = [session.clusters.names[i] for i in (0, 2)]
    assert np.array_equal(session.active.selection, np.isin(types_of(session), names))
    click(qtbot, dock, 1)
    click(qtbot, dock, 3, keys=SHIFT)
    assert np.array_equal(
        session.active.selection, np.isin(types_of(session), session.clusters.names[1:])
    )


def test_clicking_again_or_escape_shows_all_alike(qtbot, dock, session):
    click(qtbot, dock, 1)
    assert session.active.selection.any()
    click(qtbot, dock, 1)
    assert not session.active.selection.any()
    assert selected(dock) == []
    click(qtbot, dock, 1)
    qtbot.keyClick(dock.table, Qt.Key.Key_Escape)
    assert not session.active.selection.any()
    click(qtbot, dock, 1)
    qtbot.mouseClick(dock.foot.clear_button, LEFT)
    assert not session.active.selection.any()
    assert selected(dock) == []
    assert dock.foot.count.text() == "120 cells, none selected"


def test_the_arrow_keys_move_the_highlight(qtbot, dock, session):
    click(qtbot, dock, 0)
    qtbot.keyClick(dock.table, Qt.Key.Key_Down)
    second = session.clusters.names[1]
    assert selected(dock) == [second]
    assert np.array_equal(session.active.selection, types_of(session) == second)
    qtbot.keyClick(dock.table, Qt.Key.Key_Up)
    assert selected(dock) == [session.clusters.names[0]]


def test_a_picked_cell_selects_its_row(dock, session):
    changes = []
    session.selection_changed.connect(changes.append)
    session.pick_cell(5)
    assert selected(dock) == [types_of(session)[5]]
    assert len(changes) == 1  # the row's selection does not come back as another change


def test_a_click_on_the_tissue_selects_the_row(real_window, qtbot, viewer, dock, session):
    viewer.reset_view()
    qtbot.wait(50)
    cell = 44
    layer = layers_of(viewer).layer_of(session.active)
    canvas = viewer.window._qt_viewer.canvas.native
    middle = np.array([canvas.height(), canvas.width()]) / 2
    offset = (
        layer.data[cell] - np.array(viewer.scene.camera.center[-2:])
    ) * viewer.scene.camera.zoom
    y, x = (middle + offset).round().astype(int)
    qtbot.mouseMove(canvas, QPoint(int(x), int(y)))
    qtbot.mouseClick(canvas, LEFT, pos=QPoint(int(x), int(y)))
    assert session.active.picked == cell
    assert selected(dock) == [types_of(session)[cell]]


def test_a_selection_that_is_no_clusters_sum_selects_no_row(qtbot, dock, session):
    click(qtbot, dock, 0)
    some = np.arange(120) < 50
    session.select(some)
    assert selected(dock) == []
    assert np.array_equal(session.active.selection, some)


def test_two_clusters_selected_elsewhere_are_two_rows(dock, session):
    session.select(session.clusters.mask(0, 3))
    assert selected(dock) == sorted(session.clusters.names[i] for i in (0, 3))


def test_a_cluster_without_cells_cannot_stay_selected(qtbot, dock, session):
    snapshot = session.active.snapshot
    snapshot.obs["odd"] = pd.Categorical(["a", "b"] * 60, categories=["a", "b", "nobody"])
    session.show_clusters("odd")
    click(qtbot, dock, rows(dock).index("nobody"))
    assert selected(dock) == []
    assert not session.active.selection.any()


# ---- names


def test_a_name_is_edited_by_double_click(real_window, qtbot, dock, session):
    session.take_result(session.active, niche_result(session.active))
    place = place_of(dock, 0)
    qtbot.mouseClick(dock.table.viewport(), LEFT, pos=place)
    qtbot.mouseDClick(dock.table.viewport(), LEFT, pos=place)
    type_name(qtbot, dock, "tumour margin")
    assert session.clusters.names == ("tumour margin", "2", "3")
    assert rows(dock) == ["tumour margin", "2", "3"]
    assert selected(dock) == ["tumour margin"]
    saved = session.active.assemble()
    assert list(saved.obs["niche"].cat.categories) == ["tumour margin", "2", "3"]
    assert saved.obs["niche"].isna().sum() == 20
    assert dock.model.neighbors(0) == ["Fibroblast", "T cell"]


def test_a_name_is_edited_by_key(qtbot, dock, session):
    session.take_result(session.active, niche_result(session.active))
    click(qtbot, dock, 1)
    qtbot.keyClick(dock.table, Qt.Key.Key_F2)
    type_name(qtbot, dock, "Randzone ü")
    assert session.clusters.names == ("1", "Randzone ü", "3")


@pytest.mark.parametrize(("name", "said"), [("2", "already named '2'"), ("   ", "cannot be empty")])
def test_a_name_that_cannot_be_is_refused_in_a_sentence(qtbot, dock, session, name, said):
    session.take_result(session.active, niche_result(session.active))
    click(qtbot, dock, 0)
    qtbot.keyClick(dock.table, Qt.Key.Key_F2)
    type_name(qtbot, dock, name)
    assert session.clusters.names == ("1", "2", "3")
    assert said in dock.foot.message.sentence.text()
    assert dock.foot.message.isVisible()


def test_renaming_a_column_of_the_users_leaves_theirs(qtbot, dock, session):
    before = list(session.active.snapshot.obs["celltype"])
    row = rows(dock).index("B cell")
    click(qtbot, dock, row)
    qtbot.keyClick(dock.table, Qt.Key.Key_F2)
    type_name(qtbot, dock, "Plasma cell")
    assert session.active.clusters == "celltype_edited"
    assert dock.labels.currentText() == "celltype_edited"
    assert "'celltype' stays as it is" in dock.foot.message.sentence.text()
    saved = session.active.assemble()
    assert list(saved.obs["celltype"]) == before
    edited = saved.obs["celltype_edited"].astype(str)
    assert list(edited) == [name.replace("B cell", "Plasma cell") for name in before]
    assert saved.uns["celltype_edited_colors"] == list(session.clusters.colors)
