"""The curve of stability in the Niches dock: seen after "auto", clicked for another number."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from napari.utils.theme import get_theme
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_cellama.core.clustering import candidates, choose_n_clusters, cluster
from napari_cellama.core.niches import as_niches
from napari_cellama.core.result import NicheResult
from napari_cellama.recipe import Recipe
from napari_cellama.ui.painting import legend_of, values_of
from napari_cellama.ui.tissue import Coloring
from napari_cellama.ui.widgets.coloring import choices_of
from napari_cellama.ui.widgets.niches import NichesDock

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def result(adata) -> NicheResult:
    """Return what a run with "auto" finds: four groups in two pairs, and one cell left out."""
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [0, 10], [40, 0], [40, 10.0]])
    space = (centres[np.arange(adata.n_obs) % 4] + rng.normal(size=(adata.n_obs, 2))).astype("f4")
    left_out = np.array([""] * adata.n_obs, object)
    left_out[7], space[7] = "no position", np.nan
    number, table = choose_n_clusters(space[left_out == ""])
    graph = sp.csr_matrix((adata.n_obs, adata.n_obs), dtype=np.float32)
    types = pd.Categorical(adata.obs["celltype"])
    recipe = Recipe(n_clusters=number, n_runs=5)
    found = cluster(space[left_out == ""], "kmeans", number, n_runs=recipe.n_runs)
    stability = dict(zip(table["n_clusters"].astype(str), table["stability"], strict=True))
    return NicheResult(
        key="niche",
        **as_niches(found, space, left_out, types, graph),
        representation=space,
        views=(),
        connectivities=graph,
        distances=graph,
        left_out=left_out,
        types=types,
        provenance={
            "recipe": recipe.to_json(),
            "recipe_asked": Recipe().to_json(),
            "stability": stability,
            "candidates": np.array(candidates(table)),
        },
    )


@pytest.fixture
def dock(viewer, session, qtbot, monkeypatch) -> NichesDock:
    def nothing_is_embedded(*args, **kwargs):
        raise AssertionError("a whole run was started")

    monkeypatch.setattr("napari_cellama.api.run_events", nothing_is_embedded)
    dock = NichesDock(viewer)
    viewer.window.add_dock_widget(dock, name="Niches", area="right")
    qtbot.waitUntil(dock.isVisible)
    # Once it has looked everything up.
    qtbot.waitUntil(lambda: "tokens" in dock.preview.remark.text(), timeout=60_000)
    qtbot.waitUntil(lambda: dock.form.recipe().cell_type_key == "celltype", timeout=60_000)
    return dock


def shown(session) -> int:
    return len(session.clusters.names)


def offered(dock) -> set[int]:
    return {int(button.text()) for button in dock.stability.others}


def click(qtbot, dock, number) -> None:
    (button,) = [button for button in dock.stability.others if button.text() == str(number)]
    qtbot.mouseClick(button, LEFT)


def test_the_curve_appears_with_niches_whose_number_was_auto(dock, session, tissue, result) -> None:
    panel = dock.stability
    assert not panel.isVisible()
    session.take_result(tissue, result)
    assert panel.isVisible()
    assert panel.curve.stability.shown == 4
    assert {2, 4} <= set(panel.curve.stability.supported)
    assert offered(dock) == set(panel.curve.stability.supported) - {4}
    session.show_clusters("celltype")
    assert not panel.isVisible()
    asked = replace(result, key="asked", provenance={"recipe": Recipe(n_clusters=4).to_json()})
    session.take_result(tissue, asked)
    assert panel.isVisible()
    assert not panel.curve.isVisible()


def test_one_click_colours_the_tissue_by_confidence(dock, session, tissue, result, qtbot) -> None:
    session.take_result(tissue, result)
    dock.scroll.ensureWidgetVisible(dock.stability)
    qtbot.mouseClick(dock.stability.sure, LEFT)
    assert session.active.coloring == Coloring("obs", "niche_confidence")
    np.testing.assert_array_equal(values_of(tissue, tissue.coloring), result.confidence)
    assert legend_of(tissue, tissue.coloring).colormap == "viridis"
    assert "niche_confidence" in choices_of(tissue)["obs"]
    assert dock.stability.isVisible()  # the clusters are still the niches


def test_a_click_on_a_runner_up_shows_it_and_another_click_comes_back(
    dock, session, tissue, result, qtbot
) -> None:
    session.take_result(tissue, result)
    first = session.clusters.codes.copy()
    dock.scroll.ensureWidgetVisible(dock.stability)
    click(qtbot, dock, 2)
    qtbot.waitUntil(lambda: shown(session) == 2, timeout=60_000)
    qtbot.waitUntil(lambda: session.running is None, timeout=60_000)
    assert session.clusters.codes[7] == -1
    assert tissue.results["niche"].provenance["stability"] == result.provenance["stability"]
    assert Recipe.from_json(tissue.results["niche"].provenance["recipe"]).n_clusters == 2
    assert 4 in offered(dock)
    assert 2 not in offered(dock)
    assert "2 niches in 119 cells" in dock.foot.progress.text.text()
    click(qtbot, dock, 4)
    qtbot.waitUntil(lambda: shown(session) == 4, timeout=60_000)
    np.testing.assert_array_equal(session.clusters.codes, first)


def test_any_number_of_the_curve_can_be_clicked(dock, session, tissue, result, qtbot) -> None:
    session.take_result(tissue, result)
    curve = dock.stability.curve
    dock.scroll.ensureWidgetVisible(curve)
    at = curve.point(7).toPoint()
    qtbot.mouseMove(curve, QPoint(at.x(), curve.height() - 4))
    assert curve.tip(7).startswith("7 niches: stability 0.")
    assert curve.tip(7).endswith("Click to find them.")
    assert curve.tip(4).endswith("supported. Shown now.")
    qtbot.mouseClick(curve, LEFT, pos=QPoint(at.x(), curve.height() - 4))
    qtbot.waitUntil(lambda: shown(session) == 7, timeout=60_000)
    assert curve.stability.shown == 7
    assert {2, 4} <= offered(dock)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_curve_follows_the_theme(dock, viewer, session, tissue, result, theme, qtbot) -> None:
    session.take_result(tissue, result)
    viewer.theme = theme
    curve = dock.stability.curve
    dock.scroll.ensureWidgetVisible(curve)
    image = curve.grab().toImage()
    ratio = image.devicePixelRatio()
    here = curve.point(4) * ratio
    theme_color = get_theme(theme).current.as_hex()
    assert image.pixelColor(here.toPoint()).name() == QColor(theme_color).name()


def test_the_curve_is_copied_saved_and_gone_along_by_keys(
    dock, session, tissue, result, qtbot, tmp_path, monkeypatch
) -> None:
    session.take_result(tissue, result)
    curve = dock.stability.curve
    curve.menu.copy_action.trigger()
    table = pd.read_csv(io.StringIO(QApplication.clipboard().text()))
    assert dict(zip(table["n_niches"], table["stability"], strict=True)) == pytest.approx(
        dict(curve.stability.curve)
    )
    assert set(table["n_niches"][table["supported"]]) == set(curve.stability.supported)
    chosen = str(tmp_path / "curve"), "SVG (*.svg)"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args: chosen)
    curve.menu.save_action.trigger()
    assert "number of niches" in (tmp_path / "curve.svg").read_text()
    numbers = list(curve.stability.curve)
    wanted = numbers[numbers.index(4) + 1]
    qtbot.keyClick(curve, Qt.Key.Key_Right)
    qtbot.keyClick(curve, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: shown(session) == wanted, timeout=20_000)
