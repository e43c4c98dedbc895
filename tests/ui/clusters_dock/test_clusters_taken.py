"""Tables and figures that are taken along from the Clusters dock."""

from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage
from qtpy.QtWidgets import (
    QApplication,
    QFileDialog,
)

from clusters_hands import niche_result
from napari_cellama.ui.attach import session_of
from napari_cellama.ui.layers import show
from napari_cellama.ui.tissue import Coloring, Tissue
from napari_cellama.ui.widgets.cluster_model import Column

LEFT = Qt.MouseButton.LeftButton


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


def test_closing_the_dialogs_does_nothing(qtbot, dock, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: ("", ""))
    qtbot.mouseClick(dock.foot.figure_button, LEFT)
    qtbot.mouseClick(dock.foot.save_button, LEFT)
    assert dock.foot.figure_button.isEnabled()
    assert not dock.foot.message.isVisible()
