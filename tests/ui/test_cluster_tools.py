"""The Clusters dock's hands: buttons, keys, menus and the tree, as users work them."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.theme import get_theme
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication, QFileDialog, QInputDialog, QVBoxLayout, QWidget

from napari_cellama.recipe import Recipe
from napari_cellama.ui.actions import ACTIONS, BY_ID
from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.layers import show
from napari_cellama.ui.tissue import Tissue
from napari_cellama.ui.widgets.cluster_model import Column
from napari_cellama.ui.widgets.clusters import ClustersDock
from napari_cellama.ui.widgets.enrichment import SLOT
from napari_cellama.ui.widgets.label_sets import Comparison

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def adata(make_adata):
    """Return 120 cells with the embeddings of a run, which go with where the cells lie."""
    adata = make_adata()
    east = adata.obsm["spatial"][:, 0] > 50
    vectors = np.random.default_rng(0).normal(0, 0.2, (120, 6)).astype(np.float32)
    vectors[:, 0] += np.where(east, 1, -1)
    adata.obsm["X_cellama"] = vectors
    adata.uns["cellama"]["views"] = np.array(["genes"], object)
    return adata


@pytest.fixture
def opened(request, qapp, qtbot, adata):
    """Return (viewer, session, dock), in a real window where the test asks for it."""
    real = "make_napari_viewer" in request.fixturenames
    viewer = request.getfixturevalue("make_napari_viewer")(show=True) if real else ViewerModel()
    show(viewer, Tissue.from_adata(adata, "section"))
    session = session_of(viewer)
    dock, host = ClustersDock(viewer), QWidget()
    if real:
        viewer.window.add_dock_widget(dock, name="Clusters", area="right")
    else:
        qtbot.addWidget(host)
        QVBoxLayout(host).addWidget(dock)
        host.resize(400, 800)
        with qtbot.waitExposed(host):
            host.show()
    session.show_clusters("celltype")
    qtbot.waitUntil(lambda: session.jobs.current(SLOT) is None)
    yield viewer, session, dock
    session.close()


def rows(dock) -> list[str]:
    model = dock.table.model()
    return [model.index(row, Column.NAME).data() for row in range(model.rowCount())]


def press(qtbot, dock, key, keys=Qt.KeyboardModifier.NoModifier) -> None:
    qtbot.keyClick(dock.table, key, keys)


def click(qtbot, button) -> None:
    qtbot.mouseClick(button, LEFT)


def subclustered(qtbot, session, dock, name="T cell", parts=2) -> None:
    """Subcluster a cell type with the dock's buttons."""
    dock.tools.division.number.setValue(parts)
    dock.table.selectRow(rows(dock).index(name))
    click(qtbot, dock.tools.division.button)
    assert not dock.tools.division.button.isVisible()
    qtbot.waitUntil(lambda: session.jobs.current("subcluster") is None, timeout=30_000)


def test_a_cell_type_is_subclustered_with_one_click(qtbot, opened, adata):
    viewer, session, dock = opened
    subclustered(qtbot, session, dock)
    assert rows(dock)[:3] == ["T cell", "T cell.1", "T cell.2"]
    assert session.active.clusters == "celltype_edited"
    of_type = (adata.obs["celltype"] == "T cell").to_numpy()
    saved = session.active.assemble()
    found = saved.obs["celltype_edited"].astype(str)[of_type]
    assert set(found) == {"T cell.1", "T cell.2"}
    east = adata.obsm["spatial"][of_type, 0] > 50
    agree = np.mean((found == "T cell.1").to_numpy() == east)
    assert max(agree, 1 - agree) > 0.85
    assert "0001" in saved.uns["cellama"]["label_sets"]["celltype_edited"]["splits"]
    labels, layer = session.clusters, layers_of(viewer).layer_of(session.active)
    red = tuple(bytes.fromhex(labels.colors[1][1:]))
    cell = int(np.flatnonzero(labels.codes == 1)[0])
    np.testing.assert_allclose(layer.face_color[cell, :3] * 255, red, atol=1)
    click(qtbot, dock.tools.buttons["undo"])
    assert session.clusters.key == "celltype"
    assert "celltype_edited" not in session.active.assemble().obs
    click(qtbot, dock.tools.buttons["redo"])
    assert rows(dock)[:3] == ["T cell", "T cell.1", "T cell.2"]


def test_number_method_and_seed_are_the_users_own(qtbot, opened):
    _, session, dock = opened
    division = dock.tools.division
    click(qtbot, division.more)
    division.method.setFocus()
    for _ in range(2):
        qtbot.keyClick(division.method, Qt.Key.Key_Down)
    assert division.method.currentText() == "Gaussian mixture"
    division.seed.setFocus()
    division.seed.selectAll()
    qtbot.keyClicks(division.seed, "7")
    qtbot.keyClick(division.seed, Qt.Key.Key_Return)
    asked = []
    for parts in (2, 1):
        subclustered(qtbot, session, dock, parts=parts)
        splits = session.active.assemble().uns["cellama"]["label_sets"]["celltype_edited"]["splits"]
        ((_, split),) = splits.items()
        recipe = Recipe.from_json(split["recipe"])
        asked.append((recipe.n_clusters, recipe.clustering, recipe.seed))
        n_parts = sum(name.startswith("T cell.") for name in rows(dock))
        assert n_parts == split["n_parts"]
        if parts == 2:
            assert n_parts == 2
        click(qtbot, dock.tools.buttons["undo"])
    assert division.number.text() == "auto"
    assert asked == [(2, "gmm", 7), ("auto", "gmm", 7)]


def test_parts_are_folded_by_sign_and_by_key(qtbot, opened):
    _, session, dock = opened
    assert dock.title.text() == "4 clusters"
    subclustered(qtbot, session, dock)
    assert dock.title.text() == "5 clusters"  # the one that was divided is its parts now
    whole = rows(dock)
    table = dock.table
    index = table.model().index(0, Column.NAME)
    sign = table.visualRect(index).topLeft() + QPoint(8, 8)
    qtbot.mouseClick(table.viewport(), LEFT, pos=sign)
    assert rows(dock) == [whole[0], *whole[3:]]
    assert sorted(table.clusters_in_order()) == list(range(len(whole)))
    session.select(session.clusters.mask(1))
    assert [i.data() for i in table.selectionModel().selectedRows(Column.NAME)] == ["T cell"]
    table.setCurrentIndex(table.model().index(0, Column.NAME))  # folding made the other one void
    press(qtbot, dock, Qt.Key.Key_Right)
    assert rows(dock) == whole
    press(qtbot, dock, Qt.Key.Key_Left)
    assert len(rows(dock)) == len(whole) - 2


def test_a_folded_parent_that_is_renamed_or_duplicated_shows_what_is_selected(qtbot, opened):
    _, session, dock = opened
    subclustered(qtbot, session, dock)
    table = dock.table
    for act in (
        lambda: session.editing.rename(0, "T lymphocyte"),
        lambda: session.editing.duplicate_set("copy"),
    ):
        table.tree.fold(0, True)
        session.select(session.clusters.mask(1))
        act()
        folded = table.tree.is_folded(0)
        assert len(rows(dock)) == len(session.clusters.names) - 2 * folded
        shown = 0 if folded else 1
        names = [i.data() for i in table.selectionModel().selectedRows(Column.NAME)]
        assert names == [session.clusters.names[shown]]


def test_sorting_keeps_parts_below_their_parent(qtbot, opened):
    _, session, dock = opened
    subclustered(qtbot, session, dock)
    for order in (Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder):
        for column in (Column.NAME, Column.CELLS, Column.COLOR):
            dock.table.sortByColumn(column, order)
            at = rows(dock).index("T cell")
            assert set(rows(dock)[at + 1 : at + 3]) == {"T cell.1", "T cell.2"}


def test_merge_new_hide_isolate_and_their_undo(qtbot, opened):
    _, session, dock = opened
    buttons, tissue = dock.tools.buttons, session.active
    dock.table.selectRow(0)
    assert not buttons["merge"].isEnabled()
    assert "two or more whole clusters" in buttons["merge"].toolTip()
    session.select(session.clusters.mask(0, 1))
    click(qtbot, buttons["merge"])
    assert len(rows(dock)) == 3
    assert buttons["undo"].toolTip().startswith("Undo: Merge T cell, B cell (Ctrl+Z")
    session.select(np.arange(120) < 10)
    click(qtbot, buttons["new"])
    assert rows(dock)[-1] == "New cluster"
    assert list(tissue.assemble().obs["celltype_edited"][:10]) == ["New cluster"] * 10
    click(qtbot, buttons["isolate"])
    assert tissue.hidden.sum() == 110
    click(qtbot, buttons["isolate"])
    assert not tissue.hidden.any()
    click(qtbot, buttons["hide"])
    assert tissue.hidden.sum() == 10
    assert not buttons["hide"].isEnabled()
    assert "No cell is selected" in buttons["hide"].toolTip()
    assert dock.foot.count.text() == "120 cells, none selected · 10 hidden"
    click(qtbot, dock.foot.hidden_button)
    assert not tissue.hidden.any()
    assert not dock.foot.hidden_button.isVisible()
    for _ in range(10):
        press(qtbot, dock, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert session.clusters.key == "celltype"
    assert not buttons["undo"].isEnabled()
    assert buttons["undo"].toolTip() == "There is nothing to undo."


def test_cells_are_assigned_from_the_menu(qtbot, opened):
    _, session, dock = opened
    session.select(np.arange(120) < 10)
    menu = dock.tools.assign_button.menu()
    menu.aboutToShow.emit()
    names = [action.text() for action in menu.actions() if action.text()]
    assert names == [*session.clusters.names, "No cluster"]
    menu.actions()[2].trigger()
    assert set(session.active.assemble().obs["celltype_edited"][:10]) == {names[2]}
    session.select(session.active.selection & False)
    assert not dock.tools.assign_button.isEnabled()


def test_clusters_are_moved_by_key(qtbot, opened):
    _, session, dock = opened
    before = rows(dock)
    dock.table.setCurrentIndex(dock.table.model().index(0, Column.NAME))
    press(qtbot, dock, Qt.Key.Key_Down, Qt.KeyboardModifier.AltModifier)
    assert rows(dock) == [before[1], before[0], *before[2:]]
    assert list(session.active.assemble().obs["celltype_edited"].cat.categories) == rows(dock)


def test_next_and_previous_go_round(qtbot, opened):
    _, session, dock = opened
    names = list(session.clusters.names)
    seen = []
    for _ in range(5):
        press(qtbot, dock, Qt.Key.Key_N)
        seen.append(session.active.history.undo_name)
    assert seen == [f"Select {name}" for name in [*names, names[0]]]
    press(qtbot, dock, Qt.Key.Key_N, Qt.KeyboardModifier.ShiftModifier)
    assert session.active.history.undo_name == f"Select {names[-1]}"


def test_flags_are_set_taken_away_and_saved(qtbot, opened):
    _, session, dock = opened
    session.select(np.arange(120) < 10)
    press(qtbot, dock, Qt.Key.Key_F)
    assert (session.active.assemble().obs["flag"] == "flagged").sum() == 10
    assert session.clusters.key == "celltype"
    assert "flag" in [dock.labels.itemText(i) for i in range(dock.labels.count())]
    press(qtbot, dock, Qt.Key.Key_F)
    assert (session.active.assemble().obs["flag"] == "flagged").sum() == 0
    session.undo()
    assert (session.active.assemble().obs["flag"] == "flagged").sum() == 10


def test_tools_are_taken_by_button_and_put_away_by_escape(qtbot, opened):
    _, session, dock = opened
    buttons = dock.tools.buttons
    click(qtbot, buttons["lasso"])
    assert session.tool == "lasso"
    assert buttons["lasso"].isChecked()
    dock.tools.how.setFocus()
    qtbot.keyClick(dock.tools.how, Qt.Key.Key_Down)
    assert session.how == "add"
    press(qtbot, dock, Qt.Key.Key_R)
    assert buttons["rectangle"].isChecked()
    assert not buttons["lasso"].isChecked()
    press(qtbot, dock, Qt.Key.Key_Escape)
    assert session.tool == "pick"
    assert not buttons["rectangle"].isChecked()


def test_keys_work_on_the_tissue(make_napari_viewer, qtbot, opened):
    viewer, session, _ = opened
    canvas = viewer.window._qt_viewer.canvas.native
    canvas.setFocus()
    qtbot.keyClick(canvas, Qt.Key.Key_N)
    assert session.active.n_selected == session.clusters.sizes[0]
    qtbot.keyClick(canvas, Qt.Key.Key_L)
    assert session.tool == "lasso"
    qtbot.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert session.active.n_selected == 0
    said = []
    session.message.connect(lambda *message: said.append(message[1]))
    qtbot.keyClick(canvas, Qt.Key.Key_I)
    assert "No cell is selected" in said[0]


def test_every_action_says_what_it_does_and_no_key_is_twice(opened):
    _, session, _ = opened
    keys = [action.key for action in ACTIONS if action.key]
    assert len(set(keys)) == len(keys)
    taken_by_points = set("APSZ12345V")
    assert not taken_by_points & {key for key in keys if len(key) == 1}
    for action in ACTIONS:
        assert action.text
        assert action.hint(session)


def test_help_lists_every_key(qtbot, opened):
    viewer, _, dock = opened
    shown = dock.help_button.show_keys()
    for action in ACTIONS:
        assert f"<b>{action.key_text}</b>" in shown.text()
    # In the theme's colours: the desktop's would leave white letters on white.
    image = shown.grab().toImage()
    lights = {image.pixelColor(x, y).lightness() for x in range(200) for y in range(60)}
    assert max(lights) - min(lights) > 120
    assert image.pixelColor(3, 3).lightness() < 100
    assert get_theme(viewer.theme).background.as_rgb_tuple()[0] < 100
    shown.close()


def test_subclustering_without_embeddings_says_what_to_do(qtbot, opened):
    _, session, dock = opened
    del session.active.snapshot.obsm["X_cellama"]
    dock.table.selectRow(0)
    button = dock.tools.division.button
    assert not button.isEnabled()
    assert "press Run in the Niches dock first" in button.toolTip()


def test_a_subclustering_is_cancelled(qtbot, opened):
    _, session, dock = opened
    dock.table.selectRow(0)
    click(qtbot, dock.tools.division.button)
    click(qtbot, dock.tools.division.cancel_button)
    qtbot.waitUntil(lambda: session.jobs.current("subcluster") is None, timeout=30_000)
    assert dock.tools.division.button.isVisible()


def test_label_sets_are_duplicated_renamed_compared_and_deleted(
    qtbot, opened, monkeypatch, tmp_path
):
    _, session, dock = opened
    menu = dock.labels_menu.menu()

    def entry(text):
        menu.aboutToShow.emit()
        return next(action for action in menu.actions() if action.text() == text)

    assert not entry("Delete").isEnabled()
    assert "column of the opened data" in entry("Delete").toolTip()
    entry("Duplicate").trigger()
    assert session.clusters.key == "celltype_copy"
    monkeypatch.setattr(QInputDialog, "getText", lambda *_, **__: ("mine", True))
    entry("Rename…").trigger()
    assert session.clusters.key == "mine"
    session.select(session.clusters.mask(0, 1))
    session.editing.merge([0, 1])
    assert "mine" in session.active.assemble().obs
    dock.labels_menu.compare("celltype")
    found = lambda: dock.window().findChildren(Comparison)  # noqa: E731
    qtbot.waitUntil(lambda: bool(found()), timeout=30_000)
    comparison = found()[0]
    assert "Adjusted Rand index 0." in comparison.summary.text()
    assert "Rows: mine; columns: celltype" in comparison.summary.text()
    assert (comparison.table.rowCount(), comparison.table.columnCount()) == (3, 4)
    shades = [[comparison.table.item(i, j).background().color().alpha() for j in range(4)]
              for i in range(3)]  # fmt: skip
    assert [np.count_nonzero(row) for row in shades] == [2, 1, 1]
    assert shades[1][2] > max(shades[0])
    header = comparison.table.horizontalHeader()
    wanted = [header.sectionSizeHint(column) for column in range(4)]
    assert all(header.sectionSize(column) >= wanted[column] for column in range(4))
    for kind in ("SVG (*.svg)", "PNG (*.png)"):
        chosen = str(tmp_path / "both"), kind
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, chosen=chosen: chosen)
        click(qtbot, comparison.save_button)
        assert comparison.said.text().startswith("Figure saved to ")
    text = (tmp_path / "both.svg").read_text()
    assert "adjusted Rand index 0." in text
    assert "celltype" in text
    assert (tmp_path / "both.png").stat().st_size > 2_000
    taken = str(tmp_path / "none" / "both.png"), "PNG (*.png)"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: taken)
    click(qtbot, comparison.save_button)
    assert "both.png" in comparison.said.text()
    assert not comparison.said.text().startswith("Figure saved")
    comparison.close()
    QApplication.processEvents()
    entry("Delete").trigger()
    assert "mine" not in session.active.labels
    assert BY_ID["undo"].why_not(session) == ""


def test_two_windows_of_one_process_keep_to_themselves(make_napari_viewer, qtbot, adata):
    windows = []
    for name in ("one", "other"):
        viewer = make_napari_viewer(show=name == "one")
        show(viewer, Tissue.from_adata(adata.copy(), name))
        session, dock = session_of(viewer), ClustersDock(viewer)
        viewer.window.add_dock_widget(dock, name="Clusters", area="right")
        session.show_clusters("celltype")
        qtbot.waitUntil(lambda session=session: session.jobs.current(SLOT) is None)
        windows.append((viewer, session, dock))
    (first, one, its_dock), (second, other, dock) = windows
    assert one is not other
    its_dock.table.selectRow(0)
    click(qtbot, its_dock.tools.buttons["hide"])
    assert one.active.hidden.any()
    assert not other.active.hidden.any()
    assert not other.active.history.names
    assert (layers_of(second).layer_of(other.active).face_color[:, 3] > 0).all()
    click(qtbot, its_dock.tools.buttons["undo"])
    for session, its in ((one, its_dock), (other, dock)):
        its.tools.division.number.setValue(2)
        its.table.selectRow(rows(its).index("T cell"))
        click(qtbot, its.tools.division.button)
        assert session.jobs.current("subcluster") is not None
    first.close()
    qtbot.waitUntil(lambda: other.jobs.current("subcluster") is None, timeout=30_000)
    assert rows(dock)[:3] == ["T cell", "T cell.1", "T cell.2"]
    second.theme = "light"
    click(qtbot, dock.tools.buttons["undo"])
    assert other.clusters.key == "celltype"
