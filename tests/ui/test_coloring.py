"""Choosing what the tissue is coloured by, and reading what the colours mean."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QVBoxLayout, QWidget

from napari_cellama.ui.painting import Legend, legend_of
from napari_cellama.ui.tissue import Coloring, Tissue
from napari_cellama.ui.widgets.coloring import ChoiceModel, ColoringField, choices_of
from napari_cellama.ui.widgets.legend import LegendView, limits_text, number
from napari_cellama.ui.widgets.rows import REMARK_ROLE


@pytest.fixture
def host(qtbot):
    """Return a window to put a widget in."""
    host = QWidget()
    qtbot.addWidget(host)
    QVBoxLayout(host)
    host.resize(320, 320)
    return host


@pytest.fixture
def field(qtbot, host, tissue):
    field = ColoringField(host)
    host.layout().addWidget(field)
    field.choices.set_choices(choices_of(tissue))
    with qtbot.waitExposed(host):
        host.show()
    return field


@pytest.fixture
def chosen(field):
    chosen: list[Coloring] = []
    field.chosen.connect(chosen.append)
    return chosen


def names(model: ChoiceModel) -> list[str]:
    return [model.index(row).data() for row in range(model.rowCount())]


# ---- what there is to choose


def test_clusters_come_first_then_columns_then_genes(tissue: Tissue):
    tissue.label_set("celltype")
    tissue.clusters = "celltype"
    genes = list(tissue.snapshot.var_names)
    choices = choices_of(tissue)
    assert list(choices) == ["labels", "obs", "gene"]
    assert choices == {"labels": ["celltype"], "obs": ["area"], "gene": genes}


def test_without_a_tissue_there_is_nothing_to_choose():
    assert choices_of(None) == {}


def test_a_column_that_names_cells_is_not_offered(make_adata):
    adata = make_adata()
    adata.obs["barcode"] = [f"AAAC{i}" for i in range(adata.n_obs)]
    adata.obs["fine"] = pd.Series(["a", "b"] * (adata.n_obs // 2), adata.obs_names, dtype=object)
    adata.obs["kept"] = True
    assert choices_of(Tissue.from_adata(adata))["obs"] == ["celltype", "area", "fine", "kept"]


def test_a_repeated_gene_is_offered_once(make_adata):
    adata = make_adata()
    adata.var_names = ["CD3E", "CD3E", *adata.var_names[2:]]
    assert choices_of(Tissue.from_adata(adata))["gene"].count("CD3E") == 1


# ---- searching


def test_search_finds_parts_of_names_in_any_case_and_beginnings_first(field):
    field.choices.search("a")
    assert names(field.choices) == ["area", "ACTB", "MS4A1", "COL1A1", "PECAM1", "GAPDH"]
    field.choices.search("pecam")
    assert names(field.choices) == ["PECAM1"]
    assert field.choices.index(0).data(REMARK_ROLE) == "gene"


def test_an_exact_name_comes_before_longer_ones(qtbot):
    model = ChoiceModel(None)
    model.set_choices({"gene": ["CD45", "CD4", "xCD4"]})
    model.search("cd4")
    assert names(model) == ["CD4", "CD45", "xCD4"]


def test_of_many_names_some_are_listed_and_all_are_searched(qtbot):
    model = ChoiceModel(None)
    model.set_choices({"obs": ["area"], "gene": [f"GENE{i:05d}" for i in range(30_000)]})
    assert model.rowCount() == 201
    last = model.index(200)
    assert last.data() == "… 29,801 more: type part of a name"
    assert not model.flags(last) & Qt.ItemFlag.ItemIsSelectable
    assert model.choice(200) is None
    model.search("29999")
    assert names(model) == ["GENE29999"]
    assert model.choice(0) == Coloring("gene", "GENE29999")


# ---- the field


def test_typing_and_enter_take_the_first_found(qtbot, field, chosen):
    field.setFocus()
    qtbot.keyClicks(field, "actb")
    qtbot.keyClick(field, Qt.Key.Key_Return)
    assert chosen == [Coloring("gene", "ACTB")]


def test_a_click_opens_everything_and_the_keys_choose(qtbot, field, chosen):
    field.show_coloring(Coloring("obs", "area"))
    qtbot.mouseClick(field, Qt.MouseButton.LeftButton)
    popup = field.completer().popup()
    assert popup.isVisible()
    assert field.choices.rowCount() == 8
    qtbot.keyClick(popup, Qt.Key.Key_Down)
    qtbot.keyClick(popup, Qt.Key.Key_Down)
    qtbot.keyClick(popup, Qt.Key.Key_Down)
    qtbot.keyClick(popup, Qt.Key.Key_Return)
    assert chosen == [Coloring("gene", "CD3E")]


def test_the_down_key_opens_everything(qtbot, field):
    field.setFocus()
    qtbot.keyClick(field, Qt.Key.Key_Down)
    assert field.completer().popup().isVisible()
    field.completer().popup().hide()


def test_a_name_that_is_not_there_is_refused_in_words(qtbot, field, chosen):
    refused: list[str] = []
    field.refused.connect(refused.append)
    field.setFocus()
    qtbot.keyClicks(field, "zebra")
    qtbot.keyClick(field, Qt.Key.Key_Return)
    assert chosen == []
    assert "'zebra'" in refused[0]


def test_escape_brings_the_present_colouring_back(qtbot, field):
    field.show_coloring(Coloring("gene", "CD3E"))
    field.setText("something")
    qtbot.keyClick(field, Qt.Key.Key_Escape)
    assert field.text() == "CD3E"
    assert "CD3E (gene)" in field.toolTip()


# ---- the legend


@pytest.fixture
def legend_view(qtbot, host):
    view = LegendView(host)
    host.layout().addWidget(view)
    with qtbot.waitExposed(host):
        host.show()
    return view


def test_a_categorical_legend_has_swatches_and_counts(tissue, legend_view):
    tissue.snapshot.obs.loc[tissue.snapshot.obs_names[:7], "celltype"] = np.nan
    legend_view.show_legend(legend_of(tissue, Coloring("obs", "celltype")))
    model = legend_view.swatches.model()
    rows = [
        (index.data(), index.data(Qt.ItemDataRole.DecorationRole).name(), index.data(REMARK_ROLE))
        for index in map(model.index, range(model.rowCount()))
    ]
    counts = tissue.snapshot.obs["celltype"].value_counts()
    assert rows[0] == ("T cell", "#e41a1c", f"{counts['T cell']}")
    assert rows[-1] == ("without a label", "#808080", "7")
    assert legend_view.swatches.isVisible()
    assert not legend_view.bar.isVisible()


def test_a_continuous_legend_has_a_bar_and_its_limits(legend_view):
    legend = Legend("continuous", "area", limits=(0.25, 12345.6), n_unknown=3)
    legend_view.show_legend(legend)
    assert (legend_view.low.text(), legend_view.high.text()) == ("0.25", "12,346")
    assert legend_view.unknown.text() == "3 cells without a value, in grey"
    image = legend_view.bar.grab().toImage()
    left, right = image.pixelColor(4, 7), image.pixelColor(image.width() - 5, 7)
    assert left.blue() > left.green()  # viridis begins dark violet
    assert right.green() > right.blue()  # and ends yellow


@pytest.mark.parametrize(
    ("limits", "texts"),
    [
        ((0.62, 0.8741), ("0.620", "0.874")),
        ((-1.634, 1.9), ("−1.63", "1.90")),
        ((0, 0.5), ("0", "0.5")),
        ((3, 12), ("3", "12")),
        ((1e-9, 2.5), ("1e−09", "2.5")),
    ],
)
def test_both_ends_of_the_bar_are_written_alike(limits, texts):
    assert limits_text(*limits) == texts


def test_a_long_legend_scrolls(qtbot, legend_view):
    n = 60
    legend_view.show_legend(
        Legend(
            "categorical",
            "many",
            names=tuple(f"type {i}" for i in range(n)),
            colors=("#112233",) * n,
            counts=(1,) * n,
        )
    )
    assert legend_view.swatches.height() < 220
    qtbot.waitUntil(lambda: legend_view.swatches.verticalScrollBar().maximum() > 0)
    assert legend_view.swatches.horizontalScrollBar().maximum() == 0


def test_nothing_to_tell_apart_shows_nothing(legend_view):
    legend_view.show_legend(Legend("plain"))
    assert not legend_view.isVisible()


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.01234, "0.0123"), (12.5, "12.5"), (123456.0, "123,456")]
)
def test_numbers_of_any_size(value, text):
    assert number(value) == text


def test_a_legend_is_copied(tissue, legend_view, qtbot):
    legend_view.show_legend(legend_of(tissue, Coloring("obs", "celltype")))
    (copy,) = legend_view.swatches.actions()
    copy.trigger()
    table = pd.read_csv(io.StringIO(QApplication.clipboard().text()))
    assert list(table.columns) == ["name", "color", "cells"]
    counts = tissue.snapshot.obs["celltype"].value_counts()
    assert dict(zip(table["name"], table["cells"], strict=True)) == counts.to_dict()
