"""The Niches dock in the real window: its data and its form, driven as a user drives them."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from napari.utils.theme import get_theme
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QApplication,
    QFileDialog,
    QLabel,
    QLineEdit,
    QPushButton,
)
from superqt import QElidingLabel

from dock_hands import delete
from napari_cellama.core.graph import median_neighbor_count, median_neighbor_distance
from napari_cellama.recipe import Recipe
from napari_cellama.ui import format as fmt
from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.layers import show
from napari_cellama.ui.tissue import Tissue
from niches_hands import click, open_dock, preview_text, remark, type_number

# ---- the data


def test_without_a_tissue_it_says_what_to_do(viewer, qtbot):
    dock = open_dock(viewer, qtbot)
    assert dock.data.empty.isVisible()
    assert "Open tissue" in dock.data.empty.text()
    assert "Open Sample" in dock.data.empty.text()
    assert not dock.data.tissues.isVisible()
    for button in (dock.foot.run_button, dock.foot.cancel_button, dock.data.save_button):
        assert not button.isEnabled()
        assert button.toolTip()
    assert dock.foot.run_button.toolTip() == "Open a tissue first."


def test_it_shows_the_data_and_a_sensible_guess(dock):
    assert "120 cells · 6 genes" in dock.data.tissues.currentText()
    assert dock.form.editors["cell_type_key"].native.currentText() == "celltype (4)"
    assert dock.form.editors["library_key"].native.currentText() == "one section"
    recipe = dock.form.recipe()
    assert (recipe.cell_type_key, recipe.library_key) == ("celltype", None)
    assert dock.form.editors["device"].native.currentText().startswith("auto · ")
    assert dock.foot.run_button.isEnabled()


def test_the_guess_follows_the_tissue_that_is_chosen(dock, viewer, qtbot, make_adata):
    other = make_adata(90, sections=3)
    other.obs = other.obs.rename(columns={"celltype": "cell_class"})
    show(viewer, Tissue.from_adata(other, "other"))
    qtbot.waitUntil(lambda: dock.form.recipe().cell_type_key == "cell_class")
    assert dock.form.editors["library_key"].native.currentText() == "sample (3)"
    assert dock.data.tissues.currentText().startswith("other · 90 cells")
    dock.data.tissues.setFocus()
    qtbot.keyClick(dock.data.tissues, Qt.Key.Key_Up)
    qtbot.waitUntil(lambda: dock.form.recipe().cell_type_key == "celltype")
    assert session_of(viewer).active.n_obs == 120


def test_opening_a_file_from_the_dock(viewer, qtbot, make_adata, tmp_path, monkeypatch):
    path = tmp_path / "section.h5ad"
    make_adata(80).write_h5ad(path)
    dock = open_dock(viewer, qtbot)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: (str(path), ""))
    dock.data.open_button.menu().actions()[0].trigger()
    qtbot.waitUntil(lambda: "80 cells" in dock.data.tissues.currentText())
    qtbot.waitUntil(lambda: "Top genes" in preview_text(dock), timeout=20_000)
    qtbot.waitUntil(dock.foot.run_button.isEnabled)


def test_opening_a_zarr_folder_from_the_dock(viewer, qtbot, make_adata, tmp_path, monkeypatch):
    path = tmp_path / "section.zarr"
    make_adata(70).write_zarr(path)
    dock = open_dock(viewer, qtbot)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, **__: str(path))
    dock.data.open_button.menu().actions()[1].trigger()
    qtbot.waitUntil(lambda: "70 cells" in dock.data.tissues.currentText())
    qtbot.waitUntil(dock.foot.run_button.isEnabled, timeout=20_000)


def test_what_cannot_be_opened_is_one_sentence(viewer, qtbot, tmp_path, monkeypatch):
    path = tmp_path / "broken.h5ad"
    path.write_text("not HDF5")
    dock = open_dock(viewer, qtbot)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: (str(path), ""))
    dock.data.open_button.menu().actions()[0].trigger()
    assert dock.foot.message.isVisible()
    assert "broken.h5ad" in dock.foot.message.sentence.text()
    assert "Traceback" not in dock.foot.message.sentence.text()


def choose_in_dialog(qtbot, path):
    """Type a path into the save dialog that is about to open, and confirm."""

    def act():
        dialog = next(w for w in QApplication.topLevelWidgets() if isinstance(w, QFileDialog))
        edit = dialog.findChild(QLineEdit)
        edit.setText(str(path))
        qtbot.keyClick(edit, Qt.Key.Key_Return)

    QTimer.singleShot(300, act)


def test_saving_fills_the_file(dock, session, script, qtbot, tmp_path):
    script.go.set()
    click(qtbot, dock.foot.run_button)
    qtbot.waitUntil(lambda: session.clusters is not None)
    qtbot.waitUntil(lambda: session.running is None)
    choose_in_dialog(qtbot, tmp_path / "out")
    click(qtbot, dock.data.save_button)
    qtbot.waitUntil(lambda: "Saved" in dock.foot.message.sentence.text(), timeout=20_000)
    assert list(ad.read_h5ad(tmp_path / "out.h5ad").obs["niche"].cat.categories) == list("123")
    assert dock.data.save_button.isEnabled()


def test_writing_back_to_the_notebook(dock, session, script, qtbot, adata):
    script.go.set()
    click(qtbot, dock.foot.run_button)
    qtbot.waitUntil(lambda: session.clusters is not None)
    assert "niche" not in adata.obs
    click(qtbot, dock.data.write_button)
    assert list(adata.obs["niche"].cat.categories) == list("123")
    assert "Written to the AnnData" in dock.foot.message.sentence.text()


# ---- the form


def test_no_cell_types_is_a_choice(dock, qtbot):
    assert "celltype of this cell is Fibroblast" in preview_text(dock)
    combo = dock.form.editors["cell_type_key"].native
    combo.setFocus()
    qtbot.keyClick(combo, Qt.Key.Key_End)
    assert combo.currentText() == "none"
    assert dock.form.recipe().cell_type_key is None
    qtbot.waitUntil(lambda: preview_text(dock).startswith("Top genes are"))


def test_neighbours_say_how_far_or_how_many(dock, qtbot, adata):
    coords = adata.obsm["spatial"]
    far = fmt.distance(median_neighbor_distance(coords, 20), "µm")
    assert remark(dock, "radius") == f"about {far}"
    type_number(qtbot, dock.form.editors["n_neighbors"].native, 6)
    near = fmt.distance(median_neighbor_distance(coords, 6), "µm")
    qtbot.waitUntil(lambda: remark(dock, "radius") == f"about {near}")
    qtbot.keyClick(dock.form.editors["radius"].word.native, Qt.Key.Key_Down)
    radius = dock.form.recipe().radius
    assert radius == pytest.approx(median_neighbor_distance(coords, 6), rel=0.01)
    number = fmt.count(int(median_neighbor_count(coords, radius)), "cell")
    qtbot.waitUntil(lambda: remark(dock, "radius").endswith(f"about {number}"))


def test_the_preview_follows_clicks(dock, viewer, session, tissue, canvas, qtbot):
    assert dock.preview.remark.text().startswith("cell 0 · ")
    before = preview_text(dock)
    canvas(viewer).click(layers_of(viewer).layer_of(tissue), 57)
    qtbot.waitUntil(lambda: dock.preview.remark.text().startswith("cell 57 · "))
    assert preview_text(dock) != before
    assert "'cell57'" in dock.preview.remark.toolTip()


def test_before_any_click_the_preview_shows_a_cell_that_takes_part(dock, viewer, qtbot, make_adata):
    other = make_adata(90)
    other.obsm["spatial"][:5] = np.nan
    show(viewer, Tissue.from_adata(other, "other"))
    qtbot.waitUntil(lambda: dock.preview.remark.text().startswith("cell 5 · "), timeout=10_000)
    assert preview_text(dock).startswith("Top genes are")


def test_the_preview_follows_the_form_and_counts_tokens(dock, qtbot, adata):
    from napari_cellama.core.resolve import resolve
    from napari_cellama.core.sentences import sentence_of
    from napari_cellama.io.models import BUNDLED, TokenCounter, resolve_model

    type_number(qtbot, dock.form.editors["n_top_genes"].native, 2)
    qtbot.keyClicks(dock.form.editors["neighbors_in"].native, "written")
    dock.form.editors["obs_features"].menu.actions()[1].trigger()
    recipe = dock.form.recipe()
    assert (recipe.n_top_genes, recipe.neighbors_in) == (2, "sentence")
    assert recipe.obs_features == ("area",)
    ((_, sentence),) = sentence_of(adata, resolve(adata, recipe), 0)
    assert "area of this cell is" in sentence
    qtbot.waitUntil(lambda: preview_text(dock) == sentence)
    counter = TokenCounter(resolve_model(BUNDLED).path)
    (number,) = counter.count([sentence])
    assert dock.preview.remark.text() == f"cell 0 · {number} of {counter.limit} tokens"


def test_a_model_that_is_not_here_is_not_fetched_for_the_preview(dock, qtbot):
    dock.form.editors["model"].value = "someone/some-model"
    qtbot.waitUntil(lambda: "once the model is here" in dock.preview.remark.text())


def test_what_cannot_be_is_said_at_once(dock, qtbot):
    edit = dock.form.editors["key_added"].native
    dock.form.advanced.expand(animate=False)
    edit.setFocus()
    edit.selectAll()
    qtbot.keyClicks(edit, "a/b")
    assert not dock.foot.run_button.isEnabled()
    assert "key_added" in dock.foot.run_button.toolTip()
    assert "key_added" in preview_text(dock)
    edit.selectAll()
    qtbot.keyClicks(edit, "ab")
    assert dock.foot.run_button.isEnabled()


def test_a_recipe_goes_to_a_file_and_back(dock, qtbot, tmp_path, monkeypatch):
    path = tmp_path / "recipe.json"
    dock.form.editors["n_clusters"].value = 5
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, **__: (str(path), ""))
    dock.form.advanced.expand(animate=False)
    click(qtbot, dock.save_button)
    assert Recipe.from_file(path) == dock.form.recipe()
    dock.form.editors["n_clusters"].value = "auto"
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: (str(path), ""))
    click(qtbot, dock.load_button)
    assert dock.form.recipe().n_clusters == 5
    path.write_text("{")
    click(qtbot, dock.load_button)
    assert "not valid JSON" in dock.foot.message.sentence.text()


@pytest.mark.parametrize(("theme", "width"), [("dark", 1280), ("light", 1920)])
def test_nothing_is_cut_and_nothing_scrolls_sideways(dock, viewer, session, qtbot, theme, width):
    viewer.theme = theme
    viewer.window._qt_window.resize(width, 800)
    dock.form.advanced.expand(animate=False)
    dock.form.editors["model"].value = "someone/some-model"
    session.message.emit("error", "A sentence that is long enough for two lines. " * 2, "Why.")
    qtbot.wait(100)
    assert 340 <= dock.width() <= 420
    assert dock.form.width() == dock.scroll.viewport().width()
    texts = [*dock.findChildren(QLabel), *dock.findChildren(QPushButton)]
    shown = [text for text in texts if text.isVisible() and text.text()]
    assert len(shown) > 30
    for text in shown:
        if isinstance(text, QLabel) and text.wordWrap():
            assert text.height() >= text.heightForWidth(text.width()), text.text()
        elif not isinstance(text, QElidingLabel) and text.objectName() != "columns":
            assert text.width() >= text.minimumSizeHint().width(), text.text()
            assert text.height() >= text.minimumSizeHint().height(), text.text()


def test_the_dock_wears_napari_s_theme(dock, viewer, qtbot):
    sheets = []
    for theme in ("dark", "light"):
        viewer.theme = theme
        sheets.append(dock.styleSheet())
        assert get_theme(theme).current.as_rgb() in dock.styleSheet()
        assert "{{" not in dock.styleSheet()
    assert sheets[0] != sheets[1]


def test_a_dock_that_was_closed_hears_nothing_more(dock, viewer, session, qtbot):
    dock.foot.message.add("warning", "before")
    delete(viewer, dock)
    session.message.emit("error", "after", "")
    session.pick_cell(3)
    viewer.theme = "light"
    again = open_dock(viewer, qtbot)
    qtbot.waitUntil(lambda: again.preview.remark.text().startswith("cell 3 · "))
    assert not again.foot.message.isVisible()
