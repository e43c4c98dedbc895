"""The Understand dock's cluster page in the real window, driven as a user drives it."""

from __future__ import annotations

import gc
import io
import weakref

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication, QFileDialog

from dock_hands import delete
from napari_cellama import api
from napari_cellama.core import understand
from napari_cellama.core.events import CancelToken
from napari_cellama.core.subclusters import stored_graph
from napari_cellama.recipe import Recipe
from napari_cellama.ui.attach import layers_of
from napari_cellama.ui.tissue import Coloring
from napari_cellama.ui.understanding import Portraits
from napari_cellama.ui.widgets.understand import UnderstandDock
from small_sections import WordEncoder

LEFT = Qt.MouseButton.LeftButton
RECIPE = Recipe(cell_type_key="celltype", n_clusters=2, n_neighbors=6)


@pytest.fixture
def dock(viewer, session, qtbot):
    dock = UnderstandDock(viewer)
    viewer.window.add_dock_widget(dock, name="Understand", area="right")
    qtbot.waitUntil(dock.isVisible)
    bar = dock.pages.tabBar()
    qtbot.mouseClick(bar, LEFT, pos=bar.tabRect(1).center())
    assert dock.cluster.isVisible()
    return dock


@pytest.fixture
def page(dock):
    return dock.cluster


@pytest.fixture
def typed(page, session):
    """Return the page with the cell types as clusters."""
    session.show_clusters("celltype")
    return page


def told(qtbot, page, title):
    qtbot.waitUntil(
        lambda: page.told is not None and page.title.text().endswith(f" · {title}"), timeout=30_000
    )
    return page.told


def pick(qtbot, page, session, cluster):
    labels = session.clusters
    session.select(labels.mask(cluster))
    return told(qtbot, page, labels.names[cluster])


def copied(qtbot, button):
    qtbot.mouseClick(button, LEFT)
    return pd.read_csv(io.StringIO(QApplication.clipboard().text()))


def test_it_says_what_to_do_first(page, session):
    assert page.empty.text().startswith("No clusters are shown.")
    assert not page.shown.isVisible()
    session.show_clusters("celltype")
    assert page.empty.text().startswith("Click a cluster")
    session.select(np.arange(120) < 7)  # cells of several clusters
    assert page.empty.text().startswith("Click a cluster")


def test_a_click_on_the_tissue_shows_its_cluster(typed, viewer, session, canvas, qtbot):
    viewer.reset_view()
    cell = 17
    canvas(viewer).click(layers_of(viewer).layer_of(session.active), cell)
    labels = session.clusters
    found = told(qtbot, typed, labels.names[labels.codes[cell]])
    assert found.portrait.n_cells == labels.sizes[labels.codes[cell]]
    assert f"{found.portrait.n_cells} cells" in typed.where.text()
    assert "Reaches over" in typed.where.text()
    assert "µm" in typed.where.text()


def test_the_planted_gene_leads_the_markers_and_is_painted_on_a_click(typed, session, qtbot):
    cluster = session.clusters.names.index("B cell")
    pick(qtbot, typed, session, cluster)
    table = typed.markers
    assert table.item(0, 0).text() == "MS4A1"
    inside = session.clusters.mask(cluster)
    values = session.active.snapshot[:, "MS4A1"].X.toarray().ravel() > 0
    assert table.item(0, 2).text() == f"{values[inside].mean():.0%}"
    assert table.item(0, 3).text() == f"{values[~inside].mean():.0%}"
    place = table.visualItemRect(table.item(0, 0)).center()
    qtbot.mouseClick(table.viewport(), LEFT, pos=place)
    assert session.active.coloring == Coloring("gene", "MS4A1")


def test_every_group_copies_its_numbers(typed, session, qtbot):
    found = pick(qtbot, typed, session, 1)
    around = copied(qtbot, typed.around_group.copy_button)
    assert len(around) == 16
    assert around["count"].sum() == found.around.counts.to_numpy().sum()
    markers = copied(qtbot, typed.markers_group.copy_button)
    assert len(markers) == len(found.portrait.markers)
    typed.borders_group.fold.expand(animate=False)
    borders = copied(qtbot, typed.borders_group.copy_button)
    assert set(borders["cluster"]) == set(session.clusters.names) - {session.clusters.names[1]}


def test_what_is_told_is_so(typed, session, qtbot):
    """Count the neighbours and measure the extent anew, by other means."""
    found = pick(qtbot, typed, session, 1)
    adata, codes = session.active.snapshot, session.clusters.codes
    inside, names = codes == 1, list(session.clusters.names)
    width, height = np.ptp(adata.obsm["spatial"][inside], axis=0)
    extent = f"Reaches over {width:.0f} µm × {height:.0f} µm"
    assert typed.where.text() == (
        f"{inside.sum()} cells · {inside.mean():.1%} of the cells with a label\n{extent}"
    )
    graph = stored_graph(adata, Recipe()).toarray() != 0
    pairs = np.array([[graph[codes == a][:, codes == b].sum() for b in range(4)] for a in range(4)])
    around = copied(qtbot, typed.around_group.copy_button)
    counts = around.pivot(index="cluster", columns="neighbor", values="count").loc[names, names]
    np.testing.assert_array_equal(counts, pairs)
    log2 = around.pivot(index="cluster", columns="neighbor", values="log2_enrichment")
    shares = pairs / pairs.sum(axis=1, keepdims=True) / (pairs.sum(axis=0) / pairs.sum())
    np.testing.assert_allclose(log2.loc[names, names], np.log2(shares), atol=0.1)
    typed.borders_group.fold.expand(animate=False)
    borders = copied(qtbot, typed.borders_group.copy_button).set_index("cluster")
    others = [name for name in names if name != names[1]]
    np.testing.assert_array_equal(
        borders.loc[others, "contacts"], [pairs[1, names.index(name)] for name in others]
    )
    values = adata[:, "MS4A1"].X.toarray().ravel()
    change = float(typed.markers.item(0, 1).text())
    expected = np.log2(values[inside].mean() / values[~inside].mean())
    assert change == pytest.approx(expected, rel=0.5)
    assert change > 1
    assert found.portrait.n_cells == inside.sum()


def test_a_gene_that_few_cells_express_is_no_marker(page, session, qtbot):
    values = session.active.snapshot.X.toarray()
    rows = np.flatnonzero(session.active.snapshot.obs["celltype"] == "B cell")
    values[:, 4] = 0
    values[rows[:9], 4] = 50  # nine cells, all of one cluster: one too few
    session.active.snapshot.X = sp.csr_matrix(values)
    session.show_clusters("celltype")
    found = pick(qtbot, page, session, session.clusters.names.index("B cell"))
    assert "ACTB" not in set(found.portrait.markers["gene"])
    assert "MS4A1" in set(found.portrait.markers["gene"])


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_every_figure_is_saved_under_its_name(
    page, dock, session, qtbot, tmp_path, monkeypatch, suffix
):
    monkeypatch.setattr(api, "NamedEncoder", WordEncoder)
    tissue = session.active
    session.take_result(tissue, api.find_niches(tissue.snapshot, RECIPE, lambda event: None))
    pick(qtbot, page, session, 0)
    for what in ("surroundings", "borders", "certainty"):
        offered = []

        def answer(parent, title, name, formats, offered=offered):
            offered.append(name)
            return str(tmp_path / name), f"{suffix.upper()} (*.{suffix})"

        monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
        group = getattr(page, f"{what.replace('surroundings', 'around')}_group")
        group.fold.expand(animate=False)
        qtbot.mouseClick(group.save_button, LEFT)
        assert offered == [f"niche_{what}"]
        written = (tmp_path / f"niche_{what}.{suffix}").read_bytes()
        assert written.startswith(b"\x89PNG" if suffix == "png" else b"<?xml")
        assert len(written) > 3_000
        assert len(copied(qtbot, group.copy_button))


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_figure_is_saved(typed, dock, session, qtbot, tmp_path, monkeypatch, suffix):
    pick(qtbot, typed, session, 0)
    path = tmp_path / "figure"
    answer = (str(path), f"{suffix.upper()} (*.{suffix})")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: answer)
    qtbot.mouseClick(typed.around_group.save_button, LEFT)
    written = path.with_suffix(f".{suffix}")
    assert dock.message.sentence.text() == f"Figure saved to {written}."
    start = written.read_bytes()[:60]
    assert start.startswith(b"\x89PNG" if suffix == "png" else b"<?xml")
    if suffix == "svg":
        assert "Fibroblast" in written.read_text()
    assert typed.markers_group.save_button.isHidden()


def test_the_pictures_follow_the_theme_and_name_what_is_under_the_mouse(
    typed, viewer, session, qtbot
):
    found = pick(qtbot, typed, session, 0)
    picture = typed.around_group.shown
    viewer.theme = "dark"
    dark = picture.image.pixelColor(1, 1).lightness()
    viewer.theme = "light"
    assert picture.image.pixelColor(1, 1).lightness() > dark + 100
    axes, high = picture._figure.axes[0], picture._figure.bbox.height
    x, y = axes.transData.transform((2, 0))
    tip = picture.tip_at(QPoint(round(x), round(high - y)))
    cluster = found.around.enrichment.index[2]
    assert f"around {cluster}: log2" in tip
    assert "neighbours" in tip
    assert picture.tip_at(QPoint(0, 0)) == ""


def test_what_is_known_is_kept_until_the_labels_change(typed, session, qtbot, monkeypatch):
    asked = []
    markers = understand.markers
    monkeypatch.setattr(understand, "markers", lambda *args: asked.append(1) or markers(*args))
    first = pick(qtbot, typed, session, 0)
    pick(qtbot, typed, session, 1)
    assert len(asked) == 2
    assert pick(qtbot, typed, session, 0) is first
    assert len(asked) == 2
    session.select(np.arange(120) < 60)
    session.editing.assign(0)
    session.select(session.clusters.mask(0))
    qtbot.waitUntil(lambda: len(asked) == 3 and typed.told is not None, timeout=30_000)
    assert typed.told.portrait.n_cells == session.clusters.sizes[0] > first.portrait.n_cells
    session.undo()
    session.undo()
    assert pick(qtbot, typed, session, 0) is first
    assert len(asked) == 3


def test_what_is_known_goes_with_its_label_set(tissue):
    portraits = Portraits()
    labels = tissue.label_set("celltype")
    found = portraits.question(tissue, labels, (0,))(CancelToken())
    assert portraits.get(tissue, labels, (0,)) is found
    reference = weakref.ref(found)
    del found
    gc.collect()
    assert reference() is not None
    tissue.labels.clear()
    del labels
    gc.collect()
    assert reference() is None


def test_a_runs_niches_have_a_certainty(page, session, qtbot, monkeypatch):
    monkeypatch.setattr(api, "NamedEncoder", WordEncoder)
    tissue = session.active
    result = api.find_niches(tissue.snapshot, RECIPE, lambda event: None)
    session.take_result(tissue, result)
    found = pick(qtbot, page, session, 0)
    inside = session.clusters.mask(0)
    mean = np.nanmean(result.confidence[inside])
    assert found.portrait.mean_certainty == pytest.approx(mean)
    assert page.certainty_group.remark.text().startswith(f"niche_confidence: {mean:.2f}")
    session.show_clusters("celltype")
    pick(qtbot, page, session, 0)
    assert page.certainty_group.remark.text().startswith("niche_confidence")


def test_without_a_run_it_says_that_no_certainty_is_known(typed, session, qtbot):
    pick(qtbot, typed, session, 0)
    group = typed.certainty_group
    group.fold.expand(animate=False)
    assert group.remark.text() == "No run has said how certain these cells' niches are."
    assert not group.copy_button.isVisible()
    assert not group.shown.isVisible()


def test_a_small_cluster_has_no_markers_but_says_why(typed, session, qtbot):
    session.select(np.arange(120) < 4)
    session.editing.new_cluster()
    qtbot.waitUntil(lambda: typed.told is not None, timeout=30_000)
    assert "has 4 cells; markers need at least 10" in typed.markers_group.remark.text()
    assert typed.around_group.shown.isVisible()


def test_a_hidden_page_asks_nothing(typed, dock, session, qtbot):
    dock.pages.setCurrentIndex(0)
    session.select(session.clusters.mask(0))
    qtbot.wait(300)
    assert session.jobs.current("portrait") is None
    dock.pages.setCurrentIndex(1)
    told(qtbot, typed, session.clusters.names[0])


def test_nothing_is_cut_at_the_narrowest(typed, viewer, session, qtbot):
    pick(qtbot, typed, session, 0)
    for group in typed.groups:
        group.fold.expand(animate=False)
    QApplication.processEvents()
    qtbot.wait(300)
    area = typed.parent().parent()
    bar = area.verticalScrollBar()
    bar.setValue(bar.maximum())
    session.color_by(Coloring("obs", "celltype"))
    session.select(session.clusters.mask(1))
    qtbot.wait(400)
    told(qtbot, typed, session.clusters.names[1])
    qtbot.wait(300)
    picture = typed.around_group.shown
    bottom = picture.mapTo(typed, QPoint(0, picture.height())).y()
    assert typed.around_group.save_button.mapTo(typed, QPoint(0, 0)).y() >= bottom
    assert area.horizontalScrollBar().maximum() == 0
    assert typed.minimumSizeHint().width() <= 330


def test_another_portrait_has_its_room_from_the_first_moment(typed, session, qtbot, monkeypatch):
    pick(qtbot, typed, session, 0)
    for group in typed.groups:
        group.fold.expand(animate=False)
    least = []
    show = typed._show

    def look(told):
        show(told)
        contents = [group.fold.content() for group in typed.groups]
        least.extend(each.height() - each.minimumSizeHint().height() for each in contents)

    monkeypatch.setattr(typed, "_show", look)
    pick(qtbot, typed, session, 1)
    assert least
    assert min(least) >= 0


def test_a_closed_dock_is_gone(viewer, session, qtbot, is_gone):
    dock = UnderstandDock(viewer)
    viewer.window.add_dock_widget(dock, name="Understand", area="right")
    dock.pages.setCurrentIndex(1)
    session.show_clusters("celltype")
    pick(qtbot, dock.cluster, session, 0)
    reference = weakref.ref(dock.cluster)
    delete(viewer, dock)
    del dock
    assert is_gone(reference)
    viewer.theme = "light"
    session.select(session.clusters.mask(1))
