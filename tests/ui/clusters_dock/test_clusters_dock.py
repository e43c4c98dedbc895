"""The Clusters dock: its labels and colours, its tooltips, theme and end."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
from napari.utils.colormaps import ensure_colormap
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QColorDialog,
    QComboBox,
    QLineEdit,
)

from clusters_hands import click, has_pixels, niche_result, rows
from dock_hands import delete
from napari_cellama.ui.attach import layers_of
from napari_cellama.ui.layers import show
from napari_cellama.ui.tissue import Coloring, Tissue
from napari_cellama.ui.widgets.cluster_model import Column
from napari_cellama.ui.widgets.clusters import ClustersDock
from napari_cellama.ui.widgets.enrichment import SLOT

LEFT = Qt.MouseButton.LeftButton

TAB = Qt.FocusPolicy.TabFocus


def search(qtbot, dock: ClustersDock, text: str) -> None:
    """Click into the colour field, type and press Enter, which Qt gives to the open list."""
    qtbot.mouseClick(dock.coloring, LEFT)
    qtbot.keyClicks(dock.coloring, text)
    qtbot.keyClick(dock.coloring.completer().popup(), Qt.Key.Key_Return)


# ---- colours


@pytest.mark.parametrize("way", ["click", "key"])
def test_another_colour_is_chosen_for_a_cluster(
    real_window, qtbot, viewer, dock, session, monkeypatch, way
):
    session.take_result(session.active, niche_result(session.active))
    asked = []

    def choose(color, parent, title):
        asked.append((color.name(), title))
        return QColor("#ffff00")

    monkeypatch.setattr(QColorDialog, "getColor", choose)
    assert not has_pixels(viewer, "#ffff00")
    if way == "click":
        click(qtbot, dock, 1, column=Column.COLOR)
    else:
        click(qtbot, dock, 1)
        qtbot.keyClick(dock.table, Qt.Key.Key_C)
    assert asked == [("#00ff00", "Colour of 2")]
    assert session.clusters.colors == ("#ff0000", "#ffff00", "#0000ff")
    swatch = dock.model.index(1, Column.COLOR).data(Qt.ItemDataRole.DecorationRole)
    assert swatch.name() == "#ffff00"
    assert has_pixels(viewer, "#ffff00")
    assert list(session.active.assemble().uns["niche_colors"])[1] == "#ffff00"


def test_a_colour_dialog_that_is_closed_changes_nothing(qtbot, dock, session, monkeypatch):
    before = session.clusters
    monkeypatch.setattr(QColorDialog, "getColor", lambda *_: QColor())
    click(qtbot, dock, 1, column=Column.COLOR)
    assert session.clusters is before


def test_coloring_by_a_gene_and_back(real_window, qtbot, viewer, dock, session):
    search(qtbot, dock, "ms4")
    assert session.active.coloring == Coloring("gene", "MS4A1")
    assert dock.coloring.text() == "MS4A1"
    assert dock.legend.bar.isVisible()
    counts = session.active.snapshot[:, "MS4A1"].X.toarray().ravel()
    low, high = np.percentile(counts, [1, 99])
    shown = (float(dock.legend.low.text()), float(dock.legend.high.text()))
    assert shown == pytest.approx((low, high), rel=0.01)
    colors = layers_of(viewer).layer_of(session.active).face_color
    most = ensure_colormap("viridis").map(np.array([1.0]))[0]
    np.testing.assert_allclose(colors[counts.argmax()], most, atol=0.01)
    assert dock.reset_button.isEnabled()
    qtbot.mouseClick(dock.reset_button, LEFT)
    assert session.active.coloring == Coloring("labels", "celltype")
    assert not dock.legend.isVisible()
    assert not dock.reset_button.isEnabled()


def test_coloring_by_columns(qtbot, dock, session):
    session.take_result(session.active, niche_result(session.active))
    session.color_by(Coloring("obs", "area"))
    assert dock.legend.bar.isVisible()
    session.color_by(Coloring("obs", "celltype"))
    assert dock.legend.swatches.isVisible()
    assert dock.legend.swatches.model().rowCount() == 4
    session.color_by(Coloring("labels", "niche"))
    assert not dock.legend.isVisible()  # the table is the legend


def test_a_gene_before_the_genes_are_read_is_refused_in_a_sentence(qtbot, dock, session):
    session.active.has_matrix = False
    search(qtbot, dock, "CD3E")
    assert "still being read" in dock.foot.message.sentence.text()
    assert dock.coloring.text() == "celltype"
    session.active.has_matrix = True


# ---- labels


def test_labels_are_runs_first_then_columns(dock, session):
    session.take_result(session.active, niche_result(session.active))
    texts = [dock.labels.itemText(i) for i in range(dock.labels.count())]
    assert texts == ["niche", "celltype"]
    assert dock.labels.currentText() == "niche"


def test_choosing_labels_shows_them(qtbot, dock, session):
    session.take_result(session.active, niche_result(session.active))
    dock.labels.setFocus()
    qtbot.keyClick(dock.labels, Qt.Key.Key_Down)
    assert session.active.clusters == "celltype"
    assert session.active.coloring == Coloring("labels", "celltype")
    assert dock.model.rowCount() == 4


def test_nothing_is_chosen_at_first_and_the_dock_says_what_to_do(viewer, add_dock, session):
    dock = add_dock(viewer)
    assert dock.labels.currentIndex() == -1
    assert dock.empty.isVisible()
    assert "Run in the Niches dock" in dock.empty.text()
    assert not dock.foot.copy_button.isEnabled()
    assert "choose some under Labels" in dock.foot.copy_button.toolTip()
    assert dock.foot.figure_button.isEnabled()


def test_without_a_tissue_the_dock_says_what_to_do(viewer, add_dock):
    dock = add_dock(viewer)
    assert "No tissue is open" in dock.empty.text()
    for button in (dock.foot.figure_button, dock.foot.copy_button, dock.foot.save_button):
        assert not button.isEnabled()
        assert button.toolTip() == "Open a tissue first."
    assert not dock.labels.isEnabled()
    assert not dock.labels_menu.isEnabled()
    assert dock.labels_menu.toolTip() == "Open a tissue first."
    assert not dock.coloring.isEnabled()


def test_another_tissue_brings_its_own_clusters(viewer, dock, session, make_adata):
    click_free = Tissue.from_adata(make_adata(40, seed=3), "other")
    first = session.active
    show(viewer, click_free)
    assert session.active is click_free
    assert dock.empty.isVisible()
    session.activate(first)
    assert rows(dock) == list(session.clusters.names)
    viewer.layers.remove(layers_of(viewer).layer_of(first))
    assert session.active is click_free
    viewer.layers.remove(layers_of(viewer).layer_of(click_free))
    assert dock.model.rowCount() == 0
    assert "No tissue is open" in dock.empty.text()


# ---- taking things along


def test_a_new_run_keeps_what_was_made_of_the_one_before(dock, session):
    session.take_result(session.active, niche_result(session.active))
    session.editing.rename(0, "margin")
    session.take_result(session.active, niche_result(session.active))
    assert session.clusters.names == ("1", "2", "3")
    assert session.active.labels["niche_edited"].names == ("margin", "2", "3")
    assert "'niche_edited' under Labels" in dock.foot.message.sentence.text()
    texts = [dock.labels.itemText(i) for i in range(dock.labels.count())]
    assert texts == ["niche", "niche_edited", "celltype"]
    assert session.active.history.undo_name is None
    session.take_result(session.active, niche_result(session.active))
    assert "niche_edited_2" not in session.active.labels


# ---- the dock itself


def test_every_control_has_a_tooltip_and_a_place_in_the_tab_order(qtbot, dock):
    controls = [
        widget
        for widget in dock.findChildren(QAbstractButton)
        + dock.findChildren(QComboBox)
        + dock.findChildren(QLineEdit)
        if widget.isVisible() and not isinstance(widget.parent(), QAbstractSpinBox)
    ]
    assert len(controls) >= 6
    for control in controls:
        assert control.toolTip(), control
    order, widget = [], dock.labels
    for _ in range(200):
        stops = widget.isEnabled() and widget.focusPolicy() & TAB
        if widget.isVisibleTo(dock) and stops and not isinstance(widget.parent(), QAbstractSpinBox):
            order.append(widget)
        widget = widget.nextInFocusChain()
        if widget is dock.labels or not dock.isAncestorOf(widget):
            break
    foot, tools = dock.foot, dock.tools
    expected = [dock.labels, dock.labels_menu, dock.coloring, dock.help_button]
    expected += [tools.buttons["lasso"], tools.buttons["rectangle"], tools.how]
    expected += [tools.division.number, tools.division.more, dock.table]
    expected += [foot.figure_button, foot.copy_button, foot.save_button]
    assert order == expected


@pytest.mark.parametrize("width", [340, 420])
def test_nothing_is_cut_at_the_narrowest_and_the_widest(real_window, qtbot, dock, session, width):
    session.color_by(Coloring("gene", "CD3E"))
    session.select(np.arange(120) < 50)
    session.editing.hide()
    session.select(np.arange(120) > 60)
    dock.tools.division.more.setChecked(True)
    dock.setFixedWidth(width)
    QApplication.processEvents()
    assert dock.minimumSizeHint().width() <= 340
    assert dock.table.horizontalScrollBar().maximum() == 0
    foot = [dock.foot.figure_button, dock.foot.copy_button, dock.foot.save_button]
    tools = [*dock.tools.buttons.values(), dock.tools.division.button]
    for button in (*foot, *tools):
        needed = button.fontMetrics().horizontalAdvance(button.text())
        assert button.width() >= needed + (4 if button.objectName() == "link" else 8)
        assert button.mapTo(dock, QPoint(button.width(), 0)).x() <= width


def test_the_theme_is_followed(real_window, qtbot, viewer, dock):
    def background():
        image = dock.table.grab().toImage()
        return image.pixelColor(image.width() // 2, image.height() - 5).lightness()

    viewer.theme = "dark"
    QApplication.processEvents()
    dark = background()
    viewer.theme = "light"
    QApplication.processEvents()
    assert background() > dark + 80


def test_a_closed_dock_is_gone_and_the_session_goes_on(
    real_window, qtbot, viewer, add_dock, session, is_gone
):
    dock = add_dock(viewer)
    session.show_clusters("celltype")
    qtbot.waitUntil(lambda: session.jobs.current(SLOT) is None)
    table = weakref.ref(dock.table)
    delete(viewer, dock)
    del dock
    assert is_gone(table)
    session.pick_cell(3)
    session.editing.rename(0, "another")
    assert session.active.selection.any()
