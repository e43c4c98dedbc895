"""The Understand dock in the real window, driven as a user drives it."""

from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QDockWidget

from napari_cellama import api
from napari_cellama.recipe import Recipe
from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.layers import show
from napari_cellama.ui.panel import main_window
from napari_cellama.ui.tissue import Tissue
from napari_cellama.ui.widgets.cell_text import about
from napari_cellama.ui.widgets.rows import REMARK_ROLE
from napari_cellama.ui.widgets.understand import UnderstandDock
from small_sections import WordEncoder

LEFT = Qt.MouseButton.LeftButton
RECIPE = Recipe(cell_type_key="celltype", n_clusters=2, n_neighbors=6, neighbors_in="both")


@pytest.fixture(autouse=True)
def words(monkeypatch):
    """Embed with a model that costs nothing."""
    monkeypatch.setattr(api, "NamedEncoder", WordEncoder)


@pytest.fixture
def dock(viewer, session, qtbot):
    dock = UnderstandDock(viewer)
    viewer.window.add_dock_widget(dock, name="Understand", area="right")
    qtbot.waitUntil(dock.isVisible)
    return dock.inspector


@pytest.fixture
def ready(dock, session):
    """Return the dock after a run on the tissue."""
    run(session)
    return dock


def run(session, recipe=RECIPE):
    tissue = session.active
    session.take_result(tissue, api.find_niches(tissue.snapshot, recipe, lambda event: None))


def pick(viewer, session, canvas, qtbot, dock, cell):
    viewer.reset_view()
    canvas(viewer).click(layers_of(viewer).layer_of(session.active), cell)
    qtbot.waitUntil(lambda: dock.shown.isVisible() and answered(dock) == cell, timeout=20_000)


def answered(dock):
    return None if dock._answer is None else dock._answer.explained.cell


def column(dock, number):
    return [dock.table.item(row, number).text() for row in range(dock.table.rowCount())]


def test_it_says_what_to_do_first(dock, session):
    assert "Press Run in the Niches dock first" in dock.empty.text()
    assert not dock.shown.isVisible()
    run(session)
    assert dock.empty.text().startswith("Click a cell on the tissue")


def test_a_click_takes_the_cells_sentence_apart(ready, viewer, session, canvas, qtbot):
    pick(viewer, session, canvas, qtbot, ready, 17)
    tissue = session.active
    kind = tissue.snapshot.obs["celltype"].iloc[17]
    niche = session.clusters.names[session.clusters.codes[17]]
    assert ready.title.text() == f"cell17 · {kind} · niche {niche}"
    written = dict(zip(("genes", "niche"), _sentences(tissue, 17), strict=True))
    plain = re.sub("<small>.*?</small>", "", ready.sentence.text())
    plain = re.sub("<[^>]*>", " ", plain).replace("\u200b", "")
    for text in written.values():
        assert re.sub(r"\W", "", text) in re.sub(r"\W", "", plain)
    moved = [float(text) for text in column(ready, 2)]
    assert moved == sorted(moved, reverse=True)
    parts = column(ready, 0)
    assert len([part for part in parts if part.startswith("next to ")]) == 10
    row = tissue.snapshot.X[17].toarray().ravel()
    values = dict(zip(parts, column(ready, 1), strict=True))
    for gene in np.array(tissue.snapshot.var_names)[row > 0]:
        assert float(values[gene]) == row[tissue.snapshot.var_names.get_loc(gene)]
    in_order = [float(text) for text in re.findall("<small>(.*?)</small>", ready.sentence.text())]
    assert in_order == sorted(row[row > 0], reverse=True)


def test_a_cell_without_a_type_is_named_without_one(dock, viewer, session, make_adata, qtbot):
    adata = make_adata()
    adata.obs.loc["cell12", "celltype"] = np.nan
    show(viewer, Tissue.from_adata(adata, "untyped"))
    run(session)
    session.show_clusters("celltype")
    session.pick_cell(12)
    qtbot.waitUntil(lambda: answered(dock) == 12, timeout=20_000)
    assert dock.title.text() == "cell12"
    assert about(session.active, 12) == "cell12"


def test_a_part_is_said_to_move_what_leaving_it_out_moves(ready, viewer, session, canvas, qtbot):
    pick(viewer, session, canvas, qtbot, ready, 17)
    text = _sentences(session.active, 17)[0]
    genes = re.fullmatch(r"Top genes are (.*), and (.*)\.", text)
    names = [*genes[1].split(", "), genes[2]]
    assert len(names) > 2
    whole, moves = _unit(text), dict(zip(column(ready, 0), column(ready, 2), strict=True))
    for name in names:
        *rest, last = [one for one in names if one != name]
        without = f"Top genes are {', '.join(rest)}, and {last}."
        assert float(moves[name]) == pytest.approx(1 - whole @ _unit(without), abs=1e-4)


def _unit(text):
    vector = WordEncoder()._vector(text)
    return vector / np.linalg.norm(vector)


def test_the_nearest_cells_are_those_with_the_most_similar_sentences(
    ready, viewer, session, canvas, qtbot
):
    pick(viewer, session, canvas, qtbot, ready, 17)
    views = [view.vectors[view.index] for view in session.active.results["niche"].views]
    cosine = np.mean([vectors @ vectors[17] for vectors in views], axis=0)
    cosine[17] = -1
    listed = [ready.nearest.item(row).data(REMARK_ROLE) for row in range(8)]
    assert listed == [f"{value:.3f}" for value in np.sort(cosine)[::-1][:8]]
    shown = [ready.nearest.item(row).text() for row in range(8)]
    for cell, text in zip((cell for cell, _ in ready._answer.nearest), shown, strict=True):
        assert text.startswith(f"cell{cell} · ")


def _sentences(tissue, cell):
    return [view.sentences[view.index[cell]] for view in tissue.results["niche"].views]


def test_the_most_similar_cells_are_a_click_away(ready, viewer, session, canvas, qtbot):
    pick(viewer, session, canvas, qtbot, ready, 17)
    nearest = ready._answer.nearest
    assert 17 not in dict(nearest)
    assert ready.nearest.count() == len(nearest) == 8
    assert ready.nearest.item(0).data(REMARK_ROLE) == f"{nearest[0][1]:.3f}"
    item = ready.nearest.item(2)
    ready.nearest.scrollToItem(item)
    place = ready.nearest.visualItemRect(item).center()
    qtbot.mouseClick(ready.nearest.viewport(), LEFT, pos=place)
    assert session.active.picked == nearest[2][0]
    layer = layers_of(viewer).layer_of(session.active)
    np.testing.assert_allclose(
        viewer.scene.camera.center[-2:], layer.data_to_world(layer.data[nearest[2][0]])[-2:]
    )
    qtbot.waitUntil(lambda: answered(ready) == nearest[2][0], timeout=20_000)


def test_the_parts_can_be_copied(ready, viewer, session, canvas, qtbot):
    pick(viewer, session, canvas, qtbot, ready, 5)
    qtbot.mouseClick(ready.copy_button, LEFT)
    table = pd.read_csv(io.StringIO(QApplication.clipboard().text()))
    assert len(table) == ready.table.rowCount()
    assert set(table["kind"]) == {"gene", "neighbour"}
    assert "as CSV" in ready.message.sentence.text()


def test_what_the_limit_cuts_is_struck_through(dock, viewer, session, canvas, qtbot, monkeypatch):
    class Short(WordEncoder):
        def count_tokens(self, sentences):
            return np.array([251 + len(re.findall(r"\w+", text)) for text in sentences])

    run(session)
    monkeypatch.setattr(api, "NamedEncoder", Short)
    pick(viewer, session, canvas, qtbot, dock, 17)
    assert "of 256 tokens" in dock.remark.text()
    spans = re.findall('<span style="([^"]*)">(.*?)</span>', dock.sentence.text())
    cut = ["line-through" in style for style, _ in spans]
    # Five words fit: "Top genes are" and two genes, and no neighbour.
    assert cut == [False] * 2 + [True] * (len(spans) - 2)
    qtbot.mouseClick(dock.copy_button, LEFT)
    table = pd.read_csv(io.StringIO(QApplication.clipboard().text()))
    assert list(table["cut"]) == cut
    assert list(table["part"]) == [text for _, text in spans]


def test_a_cell_that_was_left_out_is_said_to_be(viewer, make_adata, qtbot):
    adata = make_adata()
    adata.X.data[adata.X.indptr[9] : adata.X.indptr[10]] = 0
    adata.X.eliminate_zeros()
    session = session_of(viewer)
    show(viewer, Tissue.from_adata(adata, "gap"))
    dock = UnderstandDock(viewer)
    viewer.window.add_dock_widget(dock, name="Understand", area="right")
    run(session)
    dock = dock.inspector
    session.pick_cell(9)
    qtbot.waitUntil(lambda: "left out: no expressed gene" in dock.empty.text(), timeout=20_000)


def test_a_hidden_dock_asks_nothing(ready, viewer, session, qtbot):
    window = main_window(viewer)
    holder = next(d for d in window.findChildren(QDockWidget) if d.isAncestorOf(ready))
    holder.hide()
    session.pick_cell(17)
    qtbot.wait(300)
    assert session.jobs.current("explanation") is None
    assert ready._answer is None
    holder.show()
    qtbot.waitUntil(lambda: answered(ready) == 17, timeout=20_000)


def test_what_was_saved_can_be_explained(viewer, make_adata, qtbot):
    adata = make_adata()
    api.find_niches(adata, RECIPE, lambda event: None).apply(adata)
    session = session_of(viewer)
    show(viewer, Tissue.from_adata(adata, "saved"))
    dock = UnderstandDock(viewer)
    viewer.window.add_dock_widget(dock, name="Understand", area="right")
    dock = dock.inspector
    session.pick_cell(17)
    qtbot.waitUntil(lambda: answered(dock) == 17, timeout=20_000)
    assert len(dock._answer.nearest) == 8
