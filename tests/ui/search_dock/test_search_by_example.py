"""What is like a cell or a selection is found, in this tissue and in others."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from qtpy.QtCore import Qt

from napari_cellama import api
from napari_cellama.core.search import Place
from napari_cellama.recipe import Recipe
from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.layers import show
from napari_cellama.ui.painting import paint
from napari_cellama.ui.searchable import name_of
from napari_cellama.ui.tissue import Coloring, Tissue
from napari_cellama.ui.widgets.search import SearchDock
from search_hands import click, done, is_type, type_query

LEFT = Qt.MouseButton.LeftButton


def names_of(session):
    return [spot.name for spot in session.searching.last(session.active).spots]


def test_what_is_like_the_clicked_cell_is_found(ready, session, viewer, canvas, qtbot):
    assert not ready.by_cell.isEnabled()
    assert ready.by_cell.toolTip() == "Click a cell on the tissue first."
    viewer.reset_view()
    canvas(viewer).click(layers_of(viewer).layer_of(session.active), 17)
    assert session.active.picked == 17
    ready.of.setCurrentText("Single cells")
    click(qtbot, ready.by_cell)
    done(qtbot, session)
    scores = session.active.scores["Like cell cell17"]
    assert scores[17] == pytest.approx(1, abs=1e-5)
    kind = session.active.snapshot.obs["celltype"].iloc[17]
    same = is_type(session, kind)
    assert scores[same].mean() > scores[~same].mean()


def test_what_is_like_the_selection_is_found_in_other_sections(
    viewer, make_adata, qtbot, monkeypatch
):
    adata = make_adata(200, sections=2)
    session = session_of(viewer)
    show(viewer, Tissue.from_adata(adata, "two"))
    dock = SearchDock(viewer)
    viewer.window.add_dock_widget(dock, name="Search", area="right")
    recipe = Recipe(cell_type_key="celltype", n_clusters=2, n_neighbors=6)
    session.take_result(session.active, api.find_niches(adata, recipe, lambda event: None))
    assert dock.by_selection.toolTip() == "Select some cells first."
    first = (adata.obs["sample"] == "section 0").to_numpy()
    session.select(first & (adata.obs["celltype"] == "T cell").to_numpy())
    dock.of.setCurrentText("Single cells")
    click(qtbot, dock.by_selection)
    done(qtbot, session)
    scores = next(iter(session.active.scores.values()))
    alike = (adata.obs["celltype"] == "T cell").to_numpy()
    other = ~first
    assert scores[alike & other].mean() > scores[~alike & other].mean()
    dock.of.setCurrentText("Neighbourhoods")
    session.select(np.arange(200) == 3)
    click(qtbot, dock.by_selection)
    done(qtbot, session)
    assert list(session.active.scores)[-1] == "Like 1 selected cell"
    assert session.active.scores["Like 1 selected cell"].max() == pytest.approx(1)
    assert any("section" in name for name in names_of(session))


@pytest.fixture
def three(ready, viewer, session, make_adata):
    """Return the dock with two more tissues: one embedded and saved before, one not."""
    first = session.active
    recipe = Recipe(cell_type_key="celltype", n_clusters=2, n_neighbors=6)
    saved = make_adata(90, seed=3)
    saved.obsm["spatial"] += 10_000
    api.find_niches(saved, recipe, lambda event: None).apply(saved)
    show(viewer, Tissue.from_adata(saved, "liver"))
    show(viewer, Tissue.from_adata(make_adata(50, seed=4), "spleen"))
    session.activate(first)
    return ready


@pytest.mark.parametrize("of", ["Single cells", "Neighbourhoods"])
def test_the_like_is_found_in_all_open_tissues(three, session, viewer, qtbot, of):
    first, liver, spleen = session.tissues
    session.select(is_type(session, "T cell"))
    three.of.setCurrentText(of)
    assert "all open tissues" in three.by_selection.toolTip()
    click(qtbot, three.by_selection)
    done(qtbot, session)
    title = f"Like {first.n_selected} selected cells of section"
    for tissue in (first, liver):
        assert tissue.coloring == Coloring("score", title)
        painted = paint(tissue, tissue.coloring, tissue.selection)
        layer = layers_of(viewer).layer_of(tissue)
        np.testing.assert_allclose(layer.face_color, painted.rgba, atol=1e-6)
    assert first.scale.limits == liver.scale.limits is not None
    alike = (liver.snapshot.obs["celltype"] == "T cell").to_numpy()
    scores = liver.scores[title]
    assert np.isfinite(scores).all()
    if of == "Single cells":  # types lie at random here, so that no neighbourhood is theirs
        assert scores[alike].mean() > scores[~alike].mean()
    assert spleen.coloring == Coloring("obs", "celltype")
    said = three.found.asked.text()
    assert "in 2 tissues" in said
    assert "Not searched: spleen: its cells have no embeddings; press Run for it" in said


def test_a_click_on_a_place_in_another_tissue_goes_there(three, session, viewer, qtbot):
    first, liver, _ = session.tissues
    three.of.setCurrentText("Single cells")
    session.select(is_type(session, "T cell"))
    click(qtbot, three.by_selection)
    done(qtbot, session)
    spots = session.searching.last(first).spots
    assert {spot.tissue for spot in spots} == {first.id, liver.id}
    assert [spot.score for spot in spots] == sorted((s.score for s in spots), reverse=True)
    row = next(i for i, spot in enumerate(spots) if spot.tissue == liver.id)
    places = three.found.places
    assert places.item(row).text().split("  ")[1].startswith("liver · ")
    layer = layers_of(viewer).layer_of(liver)
    layer.visible = False
    qtbot.mouseClick(places.viewport(), LEFT, pos=places.visualItemRect(places.item(row)).center())
    assert session.active is liver
    assert layer.visible
    target = layer.data_to_world(layer.data[spots[row].cell])
    np.testing.assert_allclose(viewer.scene.camera.center[-2:], target[-2:])
    # The list stays, so that the next place is one key away.
    assert places.count() == len(spots)
    back = next(i for i, spot in enumerate(spots) if spot.tissue == first.id)
    places.setCurrentRow(back)
    qtbot.keyClick(places, Qt.Key.Key_Return)
    assert session.active is first


def test_a_place_in_a_closed_tissue_is_said_to_be_gone(three, session, viewer, qtbot):
    first, liver, _ = session.tissues
    session.select(is_type(session, "T cell"))
    click(qtbot, three.by_selection)
    done(qtbot, session)
    row = [spot.tissue for spot in session.searching.last(first).spots].index(liver.id)
    viewer.layers.remove(layers_of(viewer).layer_of(liver))
    three.found.places.setCurrentRow(row)
    qtbot.keyClick(three.found.places, Qt.Key.Key_Return)
    assert "was closed" in three.message.sentence.text()
    assert session.active is first


def test_a_tissue_of_another_model_is_left_out(three, session, qtbot):
    first, liver, _ = session.tissues
    run = liver.snapshot.uns["cellama"]["runs"]["niche"]
    run["recipe"] = Recipe.from_json(str(run["recipe"])).replace(model="another").to_json()
    before = liver.coloring
    session.select(is_type(session, "T cell"))
    click(qtbot, three.by_selection)
    done(qtbot, session)
    assert liver.coloring == before
    assert "liver: its cells were embedded by another model" in three.found.asked.text()
    assert "in 2 tissues" not in three.found.asked.text()
    assert first.coloring.kind == "score"


def test_words_are_looked_for_in_the_active_tissue_only(three, session, qtbot):
    _, liver, _ = session.tissues
    before = liver.coloring
    type_query(qtbot, three, "B cell")
    done(qtbot, session)
    assert session.active.coloring == Coloring("score", "B cell")
    assert liver.coloring == before


def test_a_place_is_named_by_what_is_there(make_adata):
    adata = make_adata(40, sections=2)
    adata.obs["celltype"] = pd.Categorical(["T cell"] * 20 + [None] * 20, ["T cell", "B cell"])
    adata.obs.loc["cell5", "sample"] = np.nan
    near = sp.block_diag([np.ones((20, 20)), np.ones((20, 20))], format="csr")
    space = SimpleNamespace(graph=near)
    named = [name_of(adata, space, Place(cell, 1.0)) for cell in (5, 3, 30)]
    # Neither types that are elsewhere nor what a cell lacks.
    assert named == ["T cell", "section 0 · T cell", "section 1"]
