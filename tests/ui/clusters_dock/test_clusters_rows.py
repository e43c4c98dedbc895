"""The Clusters dock's rows: what they say, how high they are, how they are sorted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import (
    QApplication,
    QScrollArea,
)

from clusters_hands import click, niche_result, rows, selected
from napari_cellama.recipe import Recipe
from napari_cellama.ui.attach import session_of
from napari_cellama.ui.layers import show
from napari_cellama.ui.tissue import Tissue
from napari_cellama.ui.widgets.cluster_model import Column
from napari_cellama.ui.widgets.cluster_table import wrapped
from napari_cellama.ui.widgets.enrichment import SLOT, top_types

LEFT = Qt.MouseButton.LeftButton


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


# ---- many clusters


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
