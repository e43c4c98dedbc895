"""The Search dock in the real window, driven as a user drives it."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_cellama import api
from napari_cellama.errors import UserError
from napari_cellama.recipe import Recipe
from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.layers import show
from napari_cellama.ui.painting import FADED, paint
from napari_cellama.ui.searching import NOTHING_TO_SEARCH, SLOT
from napari_cellama.ui.tissue import Coloring, Tissue
from napari_cellama.ui.widgets.rows import REMARK_ROLE
from napari_cellama.ui.widgets.search import SearchDock
from search_hands import click, done, is_type, type_query
from small_sections import WordEncoder

LEFT = Qt.MouseButton.LeftButton


# ---- before there is something to search


def test_without_a_tissue_it_says_what_to_do(viewer, qtbot):
    dock = SearchDock(viewer)
    viewer.window.add_dock_widget(dock, name="Search", area="right")
    qtbot.waitUntil(dock.isVisible)
    assert "Open one with File > Open" in dock.empty.text()
    assert not dock.search_button.isEnabled()
    assert dock.search_button.toolTip() == "Open a tissue first."


def test_without_a_run_it_says_what_to_do(dock, session):
    assert dock.empty.isVisible()
    assert dock.empty.text() == NOTHING_TO_SEARCH
    for button in (dock.search_button, dock.by_cell, dock.by_selection):
        assert not button.isEnabled()
        assert button.toolTip() == NOTHING_TO_SEARCH
    with pytest.raises(UserError, match="Press Run"):
        session.searching.search("B cell", "cells")


# ---- words


def test_typing_paints_the_tissue_by_similarity(ready, session, viewer, qtbot):
    ready.of.setCurrentText("Single cells")
    type_query(qtbot, ready, "B cell")
    done(qtbot, session)
    tissue = session.active
    assert tissue.coloring == Coloring("score", "B cell")
    scores = tissue.scores["B cell"]
    assert scores[is_type(session, "B cell")].min() > scores[~is_type(session, "B cell")].max()
    layer = layers_of(viewer).layer_of(tissue)
    painted = paint(tissue, tissue.coloring)
    np.testing.assert_allclose(layer.face_color, painted.rgba, atol=1e-6)
    assert ready.found.isVisible()
    assert not ready.empty.isVisible()
    assert ready.found.legend.isVisible()
    assert "celltype of this cell is B cell." in ready.found.asked.text()
    assert "(cell)" in ready.found.asked.text()


def test_a_selection_stays_and_the_dock_says_that_others_are_grey(ready, session, viewer, qtbot):
    chosen = is_type(session, "T cell")
    session.select(chosen)
    type_query(qtbot, ready, "B cell")
    done(qtbot, session)
    np.testing.assert_array_equal(session.active.selection, chosen)
    assert ready.found.within.isVisible()
    qtbot.keyClick(viewer.window._qt_viewer.canvas.native, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: not session.active.selection.any())
    assert not ready.found.within.isVisible()


def test_neighbourhoods_are_compared_unless_cells_are_asked_for(ready, session, qtbot):
    type_query(qtbot, ready, "B cell")
    done(qtbot, session)
    assert "(neighbourhood)" in ready.found.asked.text()
    scores = session.active.scores["B cell"]
    assert np.unique(scores).size > 50  # every neighbourhood has its own mixture


def test_the_text_can_be_compared_as_typed(ready, session, viewer, qtbot):
    ready.of.setCurrentText("Single cells")
    type_query(qtbot, ready, "B cell")
    done(qtbot, session)
    tissue = session.active
    written, colors = tissue.scores["B cell"], layers_of(viewer).layer_of(tissue).face_color.copy()
    click(qtbot, ready.raw)
    click(qtbot, ready.search_button)
    done(qtbot, session)
    assert "“B cell” (cell)" in ready.found.asked.text()
    typed = WordEncoder()._vector("B cell")
    views, scores = tissue.results["niche"].views, []
    for asked in session.searching.last(tissue).found.asked:
        assert (asked.sentence, asked.around) == ("B cell", False)
        view = views[asked.view]
        cosine = view.vectors[view.index] @ (typed / np.linalg.norm(typed))
        scores.append((cosine - cosine.mean()) / cosine.std())
    np.testing.assert_allclose(tissue.scores["B cell"], np.mean(scores, axis=0), atol=1e-3)
    assert not np.allclose(tissue.scores["B cell"], written, atol=0.01)
    # The same words under the same name, and yet the tissue is painted anew.
    painted = paint(tissue, tissue.coloring).rgba
    np.testing.assert_allclose(layers_of(viewer).layer_of(tissue).face_color, painted, atol=1e-6)
    assert not np.allclose(painted, colors, atol=0.01)
    click(qtbot, ready.raw)
    click(qtbot, ready.search_button)
    done(qtbot, session)
    np.testing.assert_allclose(tissue.scores["B cell"], written, atol=1e-6)


def test_genes_and_neighbours_are_recognised(ready, session, qtbot):
    ready.of.setCurrentText("Single cells")
    type_query(qtbot, ready, "CD3E T cell next to Endothelium")
    done(qtbot, session)
    text = ready.found.asked.text()
    assert "Top gene is CD3E." in text
    assert "celltype of this cell is T cell.” (cell)" in text
    assert "celltype of this cell is Endothelium.” (neighbourhood)" in text
    assert text.startswith("Mean z score")


def test_nothing_typed_is_refused_in_a_sentence(ready, session, qtbot):
    click(qtbot, ready.search_button)
    assert ready.message.isVisible()
    assert ready.message.sentence.text().startswith("Type what to look for")
    assert session.jobs.current(SLOT) is None


def test_queries_are_offered_again(ready, session, qtbot):
    for text in ("B cell", "T cell", "B cell"):
        type_query(qtbot, ready, text)
        done(qtbot, session)
    assert [ready.query.itemText(i) for i in range(ready.query.count())] == ["B cell", "T cell"]
    assert ready.query.currentText() == "B cell"
    session.color_by(Coloring("obs", "celltype"))
    assert not ready.found.legend.isVisible()
    ready.query.setFocus()
    qtbot.keyClick(ready.query, Qt.Key.Key_Down)  # the one before
    ready.query.activated.emit(1)
    done(qtbot, session)
    assert session.active.coloring == Coloring("score", "T cell")


def test_a_search_can_be_cancelled(ready, session, qtbot, monkeypatch):
    at_work, go_on = threading.Event(), threading.Event()

    class Slow(WordEncoder):
        def encode(self, sentences, cancel):
            at_work.set()
            go_on.wait(10)
            cancel.check()
            yield from super().encode(sentences, cancel)

    monkeypatch.setattr(api, "NamedEncoder", Slow)
    before = session.active.coloring
    type_query(qtbot, ready, "what no sentence says")
    qtbot.waitUntil(at_work.is_set)
    qtbot.waitUntil(ready.progress.isVisible)
    click(qtbot, ready.cancel_button)
    go_on.set()
    done(qtbot, session)
    assert session.active.coloring == before
    assert session.searching.last(session.active) is None
    assert not ready.cancel_button.isEnabled()
    assert not ready.progress.isVisible()


def test_a_failure_is_one_sentence(ready, session, qtbot, monkeypatch):
    class Broken(WordEncoder):
        def load(self, cancel):
            raise UserError("There is no such model.")

    monkeypatch.setattr(api, "NamedEncoder", Broken)
    type_query(qtbot, ready, "B cell")
    done(qtbot, session)
    assert ready.message.sentence.text() == "There is no such model."
    assert ready.search_button.isEnabled()


# ---- what comes of it


def test_the_threshold_selects(ready, session, viewer, qtbot):
    ready.of.setCurrentText("Single cells")
    type_query(qtbot, ready, "B cell")
    done(qtbot, session)
    tissue, threshold = session.active, ready.found.threshold
    assert not tissue.selection.any()
    click(qtbot, threshold.button)
    scores = tissue.scores["B cell"]
    np.testing.assert_array_equal(tissue.selection, scores >= np.float32(threshold.value))
    assert threshold.count.text().startswith(f"{tissue.selection.sum()} cells at ")
    colors = layers_of(viewer).layer_of(tissue).face_color
    rest = ~tissue.selection
    np.testing.assert_allclose(colors[rest], np.tile(FADED, (rest.sum(), 1)), atol=1e-6)
    threshold.slider.setFocus()
    qtbot.keyClick(threshold.slider, Qt.Key.Key_Home)
    qtbot.waitUntil(lambda: tissue.selection.all())
    assert threshold.count.text().startswith("120 cells")


def test_what_the_threshold_selects_becomes_a_cluster_that_is_saved(ready, session, viewer, qtbot):
    session.show_clusters("celltype")
    ready.of.setCurrentText("Single cells")
    type_query(qtbot, ready, "B cell")
    done(qtbot, session)
    click(qtbot, ready.found.threshold.button)
    chosen = session.active.selection.copy()
    native = viewer.window._qt_viewer.canvas.native
    qtbot.keyClick(native, Qt.Key.Key_K)
    labels = session.clusters
    saved = session.active.assemble().obs[labels.key].astype(str).to_numpy()
    new = set(saved[chosen])
    assert len(new) == 1
    assert not new & set(saved[~chosen])
    for _ in range(2):
        qtbot.keyClick(native, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not session.active.selection.any()
    assert session.clusters.key == "celltype"


def test_the_threshold_leaves_hidden_cells_alone(ready, session, qtbot):
    session.show_clusters("celltype")
    session.select(np.arange(120) % 2 == 0)
    session.editing.hide()
    ready.of.setCurrentText("Single cells")
    type_query(qtbot, ready, "B cell")
    done(qtbot, session)
    tissue, threshold = session.active, ready.found.threshold
    reached = tissue.scores["B cell"] >= np.float32(threshold.value)
    assert (reached & tissue.hidden).any()
    assert threshold.count.text().startswith(f"{(reached & ~tissue.hidden).sum()} cells at ")
    click(qtbot, threshold.button)
    np.testing.assert_array_equal(tissue.selection, reached & ~tissue.hidden)
    n_hidden = (reached & tissue.hidden).sum()
    assert f"{n_hidden} hidden cell" in ready.message.sentence.text()


def test_the_count_of_the_threshold_follows_what_is_hidden(ready, session, qtbot):
    type_query(qtbot, ready, "B cell")
    done(qtbot, session)
    tissue, threshold = session.active, ready.found.threshold
    threshold.slider.setValue(0)

    def says(n):
        assert threshold.count.text().startswith(f"{n} cells at ")
        click(qtbot, threshold.button)
        assert tissue.n_selected == n

    says(120)
    session.show_clusters("celltype")
    session.select(np.arange(120) < 30)
    session.editing.hide()
    says(90)
    session.editing.show_hidden()
    says(120)
    while not tissue.hidden.any():
        session.undo()
    says(90)


def test_a_slider_that_was_moved_does_nothing_to_another_tissue(
    ready, session, viewer, make_adata, qtbot
):
    type_query(qtbot, ready, "B cell")
    done(qtbot, session)
    other = Tissue.from_adata(make_adata(60), "other")
    qtbot.keyClick(ready.found.threshold.slider, Qt.Key.Key_Home)
    show(viewer, other)  # before the slider has rested
    qtbot.wait(200)
    assert session.active is other
    assert not other.selection.any()


def test_a_click_on_a_place_flies_there(ready, session, viewer, qtbot):
    ready.of.setCurrentText("Single cells")
    type_query(qtbot, ready, "B cell")
    done(qtbot, session)
    places = ready.found.places
    search = session.searching.last(session.active)
    assert places.count() == len(search.spots) > 0
    item = places.item(places.count() - 1)
    assert item.data(REMARK_ROLE) == f"{search.spots[-1].score:.2f}"
    qtbot.mouseClick(places.viewport(), LEFT, pos=places.visualItemRect(item).center())
    layer = layers_of(viewer).layer_of(session.active)
    target = layer.data_to_world(layer.data[search.spots[-1].cell])
    np.testing.assert_allclose(viewer.scene.camera.center[-2:], target[-2:])


def test_what_was_saved_can_be_searched(viewer, make_adata, qtbot):
    adata = make_adata()
    recipe = Recipe(cell_type_key="celltype", n_clusters=2, n_neighbors=6)
    api.find_niches(adata, recipe, lambda event: None).apply(adata)
    session = session_of(viewer)
    show(viewer, Tissue.from_adata(adata, "saved"))
    dock = SearchDock(viewer)
    viewer.window.add_dock_widget(dock, name="Search", area="right")
    qtbot.waitUntil(dock.isVisible)
    type_query(qtbot, dock, "Fibroblast")
    done(qtbot, session)
    assert session.active.coloring == Coloring("score", "Fibroblast")


def test_what_was_found_stays_with_its_tissue(ready, session, viewer, make_adata, qtbot):
    type_query(qtbot, ready, "B cell")
    done(qtbot, session)
    first = session.active
    show(viewer, Tissue.from_adata(make_adata(60), "other"))
    assert session.active is not first
    assert not ready.found.isVisible()
    session.activate(first)
    assert ready.found.isVisible()
    assert ready.found.title.text() == "B cell"


def test_scores_that_are_gone_are_refused_in_a_sentence(session):
    with pytest.raises(UserError, match="search for it again"):
        session.color_by(Coloring("score", "never"))
