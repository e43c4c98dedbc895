"""The Clusters dock in the real window, driven as a user drives it."""

from __future__ import annotations

import io
import re
import weakref
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from napari.components import ViewerModel
from napari.utils.colormaps import ensure_colormap
from qtpy.QtCore import QEvent, QPoint, Qt
from qtpy.QtGui import QColor, QImage
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QColorDialog,
    QComboBox,
    QFileDialog,
    QLineEdit,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_cellama.core.result import NicheResult, View
from napari_cellama.recipe import Recipe
from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.layers import show
from napari_cellama.ui.painting import FADED
from napari_cellama.ui.tissue import Coloring, Tissue
from napari_cellama.ui.widgets.cluster_model import Column
from napari_cellama.ui.widgets.cluster_table import wrapped
from napari_cellama.ui.widgets.clusters import ClustersDock
from napari_cellama.ui.widgets.enrichment import SLOT, top_types

LEFT = Qt.MouseButton.LeftButton
TAB = Qt.FocusPolicy.TabFocus
CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def real_window(make_napari_viewer):
    """Ask for napari's window; other tests do with a viewer that has none, which is quick."""
    return make_napari_viewer(show=True)


@pytest.fixture
def viewer(request, qapp):
    """Return an empty viewer, with a window where the test asks for it."""
    if "real_window" in request.fixturenames:
        return request.getfixturevalue("real_window")
    return ViewerModel()


@pytest.fixture
def add_dock(qtbot):
    """Return a maker of docks, in napari's window where there is one."""
    hosts = []

    def add(viewer) -> ClustersDock:
        dock = ClustersDock(viewer)
        if hasattr(viewer, "window"):
            viewer.window.add_dock_widget(dock, name="Clusters", area="right")
        else:
            host = QWidget()
            qtbot.addWidget(host)
            hosts.append(host)  # qtbot holds it weakly
            QVBoxLayout(host).addWidget(dock)
            host.resize(400, 720)
            with qtbot.waitExposed(host):
                host.show()
        QApplication.processEvents()
        return dock

    yield add
    hosts.clear()


@pytest.fixture
def dock(qtbot, viewer, session, add_dock):
    """Return the dock, with the cell types shown as clusters."""
    dock = add_dock(viewer)
    session.show_clusters("celltype")
    qtbot.waitUntil(lambda: session.jobs.current(SLOT) is None)
    yield dock
    session.close()


def place_of(dock: ClustersDock, row: int, column: Column = Column.NAME) -> QPoint:
    """Return where a row is to be clicked."""
    table = dock.table
    table.scrollTo(table.model().index(row, column))
    return table.visualRect(table.model().index(row, column)).center()


def click(qtbot, dock, row, *, keys=Qt.KeyboardModifier.NoModifier, column=Column.NAME):
    qtbot.mouseClick(dock.table.viewport(), LEFT, keys, place_of(dock, row, column))


def rows(dock: ClustersDock) -> list[str]:
    """Return the clusters' names as they stand in the table."""
    model = dock.table.model()
    return [model.index(row, Column.NAME).data() for row in range(model.rowCount())]


def selected(dock: ClustersDock) -> list[str]:
    indexes = dock.table.selectionModel().selectedRows(Column.NAME)
    return sorted(index.data() for index in indexes)


def type_name(qtbot, dock: ClustersDock, name: str) -> None:
    """Type into the editor that is open in the table."""
    editor = dock.table.findChild(QLineEdit)
    editor.clear()
    editor.insert(name)
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    QApplication.processEvents()  # Qt takes the text over only after the key


def search(qtbot, dock: ClustersDock, text: str) -> None:
    """Click into the colour field, type and press Enter, which Qt gives to the open list."""
    qtbot.mouseClick(dock.coloring, LEFT)
    qtbot.keyClicks(dock.coloring, text)
    qtbot.keyClick(dock.coloring.completer().popup(), Qt.Key.Key_Return)


def types_of(session) -> np.ndarray:
    return session.active.snapshot.obs["celltype"].astype(str).to_numpy()


def has_pixels(viewer, color: str) -> bool:
    """Whether the canvas has a colour, up to the edges' smoothing."""
    picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    wanted = np.array(QColor(color).getRgb()[:3])
    return bool((np.abs(picture - wanted).max(axis=-1) <= 3).sum() > 20)


# ---- rows


def test_a_row_has_swatch_name_size_share_and_neighbours(dock, session):
    sizes = session.active.snapshot.obs["celltype"].value_counts()
    model = dock.model
    assert rows(dock) == list(session.clusters.names)
    for row, name in enumerate(session.clusters.names):
        assert model.index(row, Column.CELLS).data() == f"{sizes[name]:,}"
        tip = model.index(row, Column.CELLS).data(Qt.ItemDataRole.ToolTipRole)
        assert f"({sizes[name] / sizes.sum():.1%})" in tip
        color = model.index(row, Column.COLOR).data(Qt.ItemDataRole.DecorationRole)
        assert color.name() == session.clusters.colors[row]
        assert 1 <= len(model.neighbors(row)) <= 3


def test_a_run_brings_its_own_neighbours(qtbot, dock, session):
    session.take_result(session.active, niche_result(session.active))
    assert rows(dock) == ["1", "2", "3"]
    assert session.jobs.current(SLOT) is None  # they are in the result
    assert dock.model.neighbors(0) == ["Fibroblast", "T cell"]
    assert "Fibroblast (8.0×), T cell (2.0×)" in dock.enrichment.tip(0)
    assert dock.model.index(1, Column.NEIGHBORS).data() == "—"


def niche_result(tissue: Tissue, key: str = "niche") -> NicheResult:
    """Return what a run would, three bands of cells, the last twenty left out."""
    n = tissue.n_obs
    codes = np.arange(n) * 3 // n
    codes[-20:] = -1
    composition = pd.DataFrame(
        [[1.0, -1.0, 3.0, 0.0], [0.0] * 4, [0.5, 2.0, 0.1, 0.2]],
        index=["1", "2", "3"],
        columns=["T cell", "B cell", "Fibroblast", "Endothelium"],
    )
    nothing = sp.csr_matrix((n, n))
    return NicheResult(
        key=key,
        labels=pd.Categorical.from_codes(codes, ["1", "2", "3"]),
        colors=("#ff0000", "#00ff00", "#0000ff"),
        confidence=np.ones(n, np.float32),
        representation=np.zeros((n, 2), np.float32),
        views=(View("genes", ("Top gene is CD3E.",), np.zeros(n, np.int64), np.ones((1, 2))),),
        connectivities=nothing,
        distances=nothing,
        composition=composition,
        left_out=np.where(codes < 0, "no position", "").astype(object),
    )


def test_neighbours_of_a_column_are_those_on_the_tissue(make_adata):
    """Two halves of a tissue, each of one type, are each other's only at the border."""
    from napari_cellama.ui.widgets.enrichment import neighbors_of

    adata = make_adata(200)
    left = adata.obsm["spatial"][:, 0] < np.median(adata.obsm["spatial"][:, 0])
    adata.obs["celltype"] = pd.Categorical(np.where(left, "T cell", "B cell"))
    adata.obs["half"] = pd.Categorical(np.where(left, "west", "east"))
    labels = Tissue.from_adata(adata).label_set("half")
    top = dict(zip(labels.names, top_types(neighbors_of(adata, labels, "celltype")), strict=True))
    assert [name for name, _ in top["west"]] == ["T cell"]
    assert [name for name, _ in top["east"]] == ["B cell"]
    assert 1.5 < top["west"][0][1] < 2


@pytest.mark.parametrize("name", ["leiden", "my numbers"])
def test_numbers_that_a_run_took_for_cell_types_are_cell_types(
    qtbot, viewer, add_dock, make_adata, name
):
    adata = make_adata()
    left = adata.obsm["spatial"][:, 0] < np.median(adata.obsm["spatial"][:, 0])
    adata.obs = pd.DataFrame(
        {name: np.where(left, 3, 4), "half": pd.Categorical(np.where(left, "west", "east"))},
        index=adata.obs_names,
    )
    show(viewer, Tissue.from_adata(adata, "section"))
    session = session_of(viewer)
    dock = add_dock(viewer)
    result = niche_result(session.active)
    recipe = Recipe(cell_type_key=name).to_json()
    session.take_result(session.active, replace(result, provenance={"recipe": recipe}))
    session.show_clusters("half")
    qtbot.waitUntil(lambda: session.jobs.current(SLOT) is None)
    west = session.clusters.names.index("west")
    assert [name for name, _ in dock.enrichment.top(west)] == ["3"]


def test_without_cell_types_there_is_a_dash(qtbot, viewer, add_dock, make_adata):
    adata = make_adata()
    adata.obs = pd.DataFrame({"region": pd.Categorical(["a", "b"] * 60)}, index=adata.obs_names)
    show(viewer, Tissue.from_adata(adata, "section"))
    session = session_of(viewer)
    dock = add_dock(viewer)
    session.show_clusters("region")
    qtbot.waitUntil(lambda: session.jobs.current(SLOT) is None)
    assert dock.model.index(0, Column.NEIGHBORS).data() == "—"
    assert "The tissue has no cell types." in dock.enrichment.tip(0)


def test_cells_without_a_label_are_said_and_belong_to_no_row(qtbot, dock, session):
    session.take_result(session.active, niche_result(session.active))
    assert dock.title.text() == "3 clusters · 20 cells without a label"
    assert dock.model.sizes.sum() == 100
    click(qtbot, dock, 2)
    assert session.active.selection.sum() == 20
    assert not session.active.selection[-20:].any()


def test_a_long_summary_does_not_push_the_buttons_out_of_the_dock(qtbot, dock, session):
    session.take_result(session.active, niche_result(session.active))
    area = dock.findChild(QScrollArea)
    dock.parentWidget().resize(dock.minimumWidth(), 720)
    qtbot.waitUntil(lambda: dock.width() <= dock.minimumWidth() + 20)
    QApplication.processEvents()
    assert dock.title.text() == "3 clusters · 20 cells without a label"
    assert area.widget().width() <= area.viewport().width()


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


# ---- many clusters


@pytest.fixture
def many(viewer, make_adata, qtbot, add_dock):
    """Return the dock with sixty clusters of different sizes."""
    adata = make_adata(1830)
    sizes = np.arange(1, 61)
    names = [f"niche {i} between the follicle and the capsule" for i in sizes]
    adata.obs["many"] = pd.Categorical(np.repeat(names, sizes), categories=names)
    show(viewer, Tissue.from_adata(adata, "section"))
    session = session_of(viewer)
    dock = add_dock(viewer)
    session.show_clusters("many")
    qtbot.waitUntil(lambda: session.jobs.current(SLOT) is None)
    yield dock
    session.close()


def test_sixty_clusters_are_sixty_rows_of_sixty_colours(qtbot, many):
    session = many.foot._session
    assert many.table.model().rowCount() == 60
    assert len(set(session.clusters.colors)) == 60
    assert many.table.horizontalScrollBar().maximum() == 0
    click(qtbot, many, 59)
    assert session.active.selection.sum() == 60
    session.pick_cell(0)
    row = many.table.selectionModel().selectedRows()[0]
    assert many.table.viewport().rect().intersects(many.table.visualRect(row))


def test_rows_are_as_high_as_their_text_beside_a_scroll_bar(qtbot, viewer, add_dock, make_adata):
    """The bar takes of the width, so that more names take two lines."""
    adata = make_adata(400)
    names = ["a", "b cell", "c cells of a kind", "d cells that are named at length"]
    types = pd.Categorical.from_codes(np.arange(400) % 4, names)
    adata.obs["celltype"] = types
    adata.obs["many"] = pd.Categorical([f"n{i % 12}" for i in range(400)])
    show(viewer, Tissue.from_adata(adata, "section"))
    session, dock = session_of(viewer), add_dock(viewer)
    table = dock.table
    for width in range(340, 480, 4):  # names just fit at some width
        dock.window().resize(width, 640)
        session.show_clusters("celltype")
        session.show_clusters("many")
        qtbot.waitUntil(lambda: session.jobs.current(SLOT) is None)
        qtbot.wait(5)
        heights = [(table.rowHeight(row), table.sizeHintForRow(row)) for row in range(12)]
        assert all(there >= wanted for there, wanted in heights), (width, heights)
    session.close()


def test_rows_are_sorted_by_any_column(qtbot, many):
    header = many.table.horizontalHeader()

    def click_header(column):
        place = QPoint(header.sectionPosition(column) + 8, header.height() // 2)
        qtbot.mouseClick(header.viewport(), LEFT, pos=place)

    own = rows(many)
    click_header(Column.NAME)
    assert rows(many) == own  # "niche 10" after "niche 9"
    click_header(Column.NAME)
    assert rows(many) == own[::-1]
    click_header(Column.CELLS)
    assert rows(many) in (own, own[::-1])
    largest_first = next(a for a in many.table.actions() if a.text() == "Sort by cells")
    many.table.horizontalHeader().setSortIndicator(Column.NAME, Qt.SortOrder.AscendingOrder)
    largest_first.trigger()
    assert rows(many) == own[::-1]
    next(a for a in many.table.actions() if a.text() == "Sort by neighbours").trigger()
    shown = [many.model.index(c, Column.NEIGHBORS).data() for c in many.table.clusters_in_order()]
    assert shown == sorted(shown, key=str.casefold)
    next(a for a in many.table.actions() if a.text() == "Sort by own order").trigger()
    assert rows(many) == own


def test_sorting_does_not_change_which_clusters_are_selected(qtbot, many):
    click(qtbot, many, 3)
    before = selected(many)
    many.table.sortByColumn(Column.CELLS, Qt.SortOrder.DescendingOrder)
    assert selected(many) == before
    click(qtbot, many, 0)
    assert many.foot._session.active.selection.sum() == 60


def test_names_are_elided_but_told_whole(qtbot):
    from qtpy.QtGui import QFont, QFontMetrics

    metrics = QFontMetrics(QFont())
    names = ["Pyramidal L2-3", "Inhibitory interneuron of the internal capsule", "Pia"]
    whole = metrics.horizontalAdvance(", ".join(names))
    assert wrapped(names, whole, metrics) == [", ".join(names)]
    lines = wrapped(names, whole // 3, metrics)
    assert len(lines) == 2
    assert all(metrics.horizontalAdvance(line) <= whole // 3 + 4 for line in lines)
    assert "Pyramidal L2-3," in lines[0]
    assert "Pia" in lines[1]
    assert wrapped([], 100, metrics) == ["—"]


# ---- taking things along


def test_copy_table_puts_csv_on_the_clipboard(qtbot, dock, session):
    session.take_result(session.active, niche_result(session.active))
    session.editing.rename(0, 'margin, "outer"')
    dock.table.sortByColumn(Column.COLOR, Qt.SortOrder.DescendingOrder)
    qtbot.mouseClick(dock.foot.copy_button, LEFT)
    table = pd.read_csv(io.StringIO(QApplication.clipboard().text()), dtype={"cluster": str})
    assert list(table["cluster"]) == ["3", "2", 'margin, "outer"']
    assert list(table["cells"]) == [20, 40, 40]
    assert list(table["share"]) == [0.2, 0.4, 0.4]
    assert list(table["color"]) == ["#0000ff", "#00ff00", "#ff0000"]
    assert list(table.loc[2, ["neighbor_1", "neighbor_2"]]) == ["Fibroblast", "T cell"]
    assert table.loc[2, "enrichment_1"] == 8
    assert pd.isna(table.loc[1, "neighbor_1"])
    assert dock.foot.message.sentence.text() == "Copied the table: 3 clusters, as CSV."


def test_save_table_writes_the_same(qtbot, dock, monkeypatch, tmp_path):
    path = tmp_path / "clusters.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    qtbot.mouseClick(dock.foot.save_button, LEFT)
    qtbot.mouseClick(dock.foot.copy_button, LEFT)
    assert path.read_text() == QApplication.clipboard().text()
    assert [file.name for file in tmp_path.iterdir()] == ["clusters.csv"]


def test_a_table_that_cannot_be_written_is_said_in_a_sentence(qtbot, dock, monkeypatch, tmp_path):
    path = tmp_path / "not there" / "clusters.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    qtbot.mouseClick(dock.foot.save_button, LEFT)
    assert "was not written" in dock.foot.message.sentence.text()


def save_figure(qtbot, dock, monkeypatch, path, chosen="PNG (*.png)") -> None:
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), chosen))
    qtbot.mouseClick(dock.foot.figure_button, LEFT)
    assert not dock.foot.figure_button.isEnabled()
    assert dock.foot.figure_button.toolTip() == "The figure is being drawn."
    qtbot.waitUntil(dock.foot.figure_button.isEnabled, timeout=30_000)


def svg_texts(path) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)", path.read_text(encoding="utf-8"))


def test_a_figure_has_legend_and_scale_bar(qtbot, dock, session, monkeypatch, tmp_path):
    path = tmp_path / "tissue.svg"
    save_figure(qtbot, dock, monkeypatch, path)
    texts = svg_texts(path)
    assert set(session.clusters.names) <= set(texts)
    assert any(re.fullmatch(r"[125]0* µm", text) for text in texts), texts
    assert f"Figure saved to {path}" in dock.foot.message.sentence.text()


def test_a_figure_of_a_gene_has_its_name_and_limits(qtbot, dock, session, monkeypatch, tmp_path):
    session.color_by(Coloring("gene", "CD3E"))
    path = tmp_path / "gene.svg"
    save_figure(qtbot, dock, monkeypatch, path)
    texts = svg_texts(path)
    assert "CD3E" in texts
    assert "0" in texts
    assert any(text.endswith("µm") for text in texts)


def test_figures_are_real_files_of_their_kind(real_window, qtbot, dock, monkeypatch, tmp_path):
    png, pdf = tmp_path / "tissue", tmp_path / "tissue.pdf"
    save_figure(qtbot, dock, monkeypatch, png)  # the chosen kind's ending is added
    image = QImage(str(tmp_path / "tissue.png"))
    assert image.width() > 600
    pixels = {
        image.pixelColor(x, y).name()
        for x in range(0, image.width(), 3)
        for y in range(0, image.height(), 3)
    }
    assert {"#e41a1c", "#377eb8", "#4daf4a", "#984ea3"} <= pixels
    save_figure(qtbot, dock, monkeypatch, pdf, "PDF (*.pdf)")
    assert pdf.read_bytes().startswith(b"%PDF-")
    assert pdf.read_bytes().rstrip().endswith(b"%%EOF")


def test_a_figure_shows_the_selection(qtbot, dock, session, monkeypatch, tmp_path):
    session.select(session.clusters.mask(session.clusters.names.index("T cell")))
    path = tmp_path / "chosen.png"
    save_figure(qtbot, dock, monkeypatch, path)
    image = QImage(str(path))
    width = image.width() * 6 // 10  # left of the legend
    pixels = {
        image.pixelColor(x, y).name()
        for x in range(0, width, 3)
        for y in range(0, image.height(), 3)
    }
    assert "#e41a1c" in pixels
    assert "#377eb8" not in pixels


def test_a_figure_without_colours(qtbot, dock, session, monkeypatch, tmp_path):
    session.color_by(None)
    save_figure(qtbot, dock, monkeypatch, tmp_path / "plain.svg")
    assert "cells" in svg_texts(tmp_path / "plain.svg")


def test_a_figure_of_cells_without_position_or_label(
    qtbot, viewer, make_adata, add_dock, monkeypatch, tmp_path
):
    adata = make_adata()
    adata.obsm["spatial"][:7] = np.nan
    adata.obs.loc[adata.obs_names[5:20], "celltype"] = np.nan
    show(viewer, Tissue.from_adata(adata, "section"))
    session, dock = session_of(viewer), add_dock(viewer)
    session.show_clusters("celltype")
    assert dock.title.text() == "4 clusters · 15 cells without a label"
    save_figure(qtbot, dock, monkeypatch, tmp_path / "gaps.svg")
    assert "not labelled" in svg_texts(tmp_path / "gaps.svg")
    session.color_by(Coloring("gene", "CD3E"))
    save_figure(qtbot, dock, monkeypatch, tmp_path / "gene.svg")
    assert "CD3E" in svg_texts(tmp_path / "gene.svg")
    session.close()


def test_a_figure_of_an_unknown_kind_is_refused_in_a_sentence(qtbot, dock, monkeypatch, tmp_path):
    save_figure(qtbot, dock, monkeypatch, tmp_path / "tissue.bmp")
    assert "must end in .png, .svg or .pdf" in dock.foot.message.sentence.text()
    assert not list(tmp_path.iterdir())


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


def test_closing_the_dialogs_does_nothing(qtbot, dock, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: ("", ""))
    qtbot.mouseClick(dock.foot.figure_button, LEFT)
    qtbot.mouseClick(dock.foot.save_button, LEFT)
    assert dock.foot.figure_button.isEnabled()
    assert not dock.foot.message.isVisible()


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
    viewer.window.remove_dock_widget(dock)
    dock.deleteLater()
    QApplication.sendPostedEvents(dock, QEvent.Type.DeferredDelete.value)
    del dock
    assert is_gone(table)
    session.pick_cell(3)
    session.editing.rename(0, "another")
    assert session.active.selection.any()
