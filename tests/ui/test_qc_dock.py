"""The QC dock in the real window, driven as a user drives it."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_cellama import sample
from napari_cellama.core.labels import LabelSet
from napari_cellama.core.qc_thresholds import Limit, Thresholds
from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.judging import by_hand, judgement_of
from napari_cellama.ui.layers import show
from napari_cellama.ui.quality import PAINTED, SLOT, to_run
from napari_cellama.ui.tissue import Tissue
from napari_cellama.ui.widgets.cluster_model import Column
from napari_cellama.ui.widgets.clusters import ClustersDock
from napari_cellama.ui.widgets.gallery import SIDE
from napari_cellama.ui.widgets.qc import QCDock
from napari_cellama.ui.widgets.rows import REMARK_ROLE

LEFT = Qt.MouseButton.LeftButton
PATIENCE = 60_000


@pytest.fixture(scope="module")
def section():
    """Return a sample section with an image in which artefacts are planted."""
    return sample.tissue(2000, seed=2)


def open_dock(viewer, qtbot):
    dock = QCDock(viewer)
    viewer.window.add_dock_widget(dock, name="QC", area="right")
    qtbot.waitUntil(dock.isVisible)
    return dock


def measure(qtbot, dock, session):
    qtbot.mouseClick(dock.measure_button, LEFT)
    assert session.jobs.current(SLOT) is not None
    qtbot.waitUntil(lambda: session.jobs.current(SLOT) is None, timeout=PATIENCE)
    QApplication.processEvents()


@pytest.fixture
def measured(viewer, qtbot, section):
    """Return the dock and the session after Measure on the sample section."""
    session = session_of(viewer)
    show(viewer, Tissue.from_adata(section, "section"))
    dock = open_dock(viewer, qtbot)
    measure(qtbot, dock, session)
    return dock, session


def drag(histogram, start, end):
    """Press on a limit, move it and let go, as the mouse does."""
    y = histogram.height() // 2
    QTest.mousePress(histogram, LEFT, pos=QPoint(round(start), y))
    for x in np.linspace(start, end, 4)[1:]:
        where = QPointF(x, y)
        move = QMouseEvent(
            QEvent.Type.MouseMove,
            where,
            QPointF(histogram.mapToGlobal(where.toPoint())),
            Qt.MouseButton.NoButton,
            LEFT,
            Qt.KeyboardModifier.NoModifier,
        )
        QApplication.sendEvent(histogram, move)
        QApplication.processEvents()
        yield
    QTest.mouseRelease(histogram, LEFT, pos=QPoint(round(end), y))
    QApplication.processEvents()


def place(histogram, side):
    line = next(line for line in histogram.lines if line.side == side)
    return histogram.x_of(line.value, side)


def colors(viewer, session):
    return layers_of(viewer).layer_of(session.active).face_color.copy()


# ---- before anything is measured


def test_without_a_tissue_it_says_what_to_do(viewer, qtbot):
    dock = open_dock(viewer, qtbot)
    assert "Open one with File > Open" in dock.empty.text()
    assert not dock.measure_button.isEnabled()
    assert dock.measure_button.toolTip() == "Open a tissue first."
    assert not dock.measured.isVisible()


def test_without_an_image_the_image_part_explains_itself(viewer, session, qtbot):
    dock = open_dock(viewer, qtbot)
    assert dock.empty.text().startswith("Press Measure")
    measure(qtbot, dock, session)
    assert not dock.empty.isVisible()
    assert "There is no image" in dock.no_image.text()
    assert "qc_n_genes" in dock.rows
    assert not [name for name in dock.rows if "image" in name]
    assert dock.rows["qc_area"].metric.group == "Cells"


def test_cancel_stops_and_leaves_nothing(viewer, section, qtbot):
    session = session_of(viewer)
    show(viewer, Tissue.from_adata(section, "section"))
    dock = open_dock(viewer, qtbot)
    qtbot.mouseClick(dock.measure_button, LEFT)
    assert dock.progress.isVisible()
    assert not dock.measure_button.isEnabled()
    qtbot.mouseClick(dock.cancel_button, LEFT)
    qtbot.waitUntil(lambda: session.jobs.current(SLOT) is None, timeout=PATIENCE)
    QApplication.processEvents()
    assert session.active.quality is None
    assert dock.measure_button.isEnabled()
    assert dock.progress.text.text() == "Cancelled."


# ---- limits


def test_measuring_paints_what_fails_and_counts_it(viewer, measured):
    dock, session = measured
    tissue = session.active
    judgement = judgement_of(tissue)
    fails = int(judgement.fails.sum())
    assert 0 < fails < 1000
    assert dock.summary.text() == f"{fails:,} of 2,000 cells fail ({fails / 2000:.1%})"
    assert tissue.coloring == PAINTED
    painted = colors(viewer, session)
    pale = painted[~judgement.fails][0]
    np.testing.assert_array_equal((painted != pale).any(axis=1), judgement.fails)
    counted = {name: int(n) for name, n, _ in dock.failing.rows()}
    assert counted["blurred"] == judgement.faults["blurred"].sum()
    dock.failing.by.setCurrentText("By cell type")
    types = tissue.snapshot.obs["cell_type"]
    for name, number, share in dock.failing.rows():
        own = (types == name).to_numpy()
        assert int(number) == judgement.fails[own].sum()
        assert share == f"{judgement.fails[own].mean():.1%}"
    assert dock.scroll.horizontalScrollBar().maximum() == 0


def test_dragging_a_limit_paints_live_and_is_one_step(viewer, measured):
    dock, session = measured
    tissue, row = session.active, dock.rows["qc_n_genes"]
    dock.scroll.ensureWidgetVisible(row)
    QApplication.processEvents()
    before, limits = judgement_of(tissue).fails, tissue.thresholds
    seen = [(dock.summary.text(), colors(viewer, session))]
    steps = len(tissue.history.names)
    start = place(row.histogram, "low")
    for _ in drag(row.histogram, start, row.histogram.width() * 0.6):
        seen.append((dock.summary.text(), colors(viewer, session)))
        assert len(tissue.history.names) == steps
    assert len({text for text, _ in seen}) == len(seen)
    assert (seen[-1][1] != seen[0][1]).any()
    assert tissue.history.names[steps:] == ["Limit genes"]
    judgement = judgement_of(tissue)
    assert judgement.fails.sum() > before.sum()
    genes, limit = tissue.quality.table["qc_n_genes"], tissue.thresholds.of("qc_n_genes")
    np.testing.assert_array_equal(judgement.faults["few genes"], genes < limit.resolved(genes)[0])
    assert row.count.text() == f"{judgement.faults['few genes'].sum():,} fail"
    assert float(row.low.text()) == pytest.approx(limit.low, rel=1e-3)
    session.undo()
    assert tissue.thresholds == limits
    np.testing.assert_array_equal(judgement_of(tissue).fails, before)
    np.testing.assert_array_equal(colors(viewer, session), seen[0][1])
    session.redo()
    np.testing.assert_array_equal(judgement_of(tissue).fails, judgement.fails)


def test_a_limit_dragged_off_the_end_is_none(measured):
    dock, session = measured
    row = dock.rows["qc_n_genes"]
    dock.scroll.ensureWidgetVisible(row)
    for _ in drag(row.histogram, place(row.histogram, "low"), 1):
        pass
    assert session.active.thresholds.of("qc_n_genes").low is None
    assert row.count.text() == "none fails"


def test_limits_move_by_keys_and_by_typing(measured, qtbot):
    dock, session = measured
    row = dock.rows["qc_n_genes"]
    dock.scroll.ensureWidgetVisible(row)
    row.histogram.setFocus()
    before = session.active.thresholds.of("qc_n_genes").low
    qtbot.keyClick(row.histogram, Qt.Key.Key_Right)
    assert session.active.thresholds.of("qc_n_genes").low < before
    assert session.active.history.undo_name == "Limit genes"
    row.unit.setFocus()
    qtbot.keyClick(row.unit, Qt.Key.Key_Up)
    assert session.active.thresholds.of("qc_n_genes").unit == "absolute"
    qtbot.mouseClick(row.low, LEFT)
    row.low.selectAll()
    qtbot.keyClicks(row.low, "30")
    qtbot.keyClick(row.low, Qt.Key.Key_Return)
    genes = session.active.quality.table["qc_n_genes"].to_numpy()
    assert session.active.thresholds.of("qc_n_genes").low == 30
    np.testing.assert_array_equal(judgement_of(session.active).faults["few genes"], genes < 30)


def test_sections_have_limits_of_their_own(viewer, make_adata, qtbot):
    adata = make_adata(400, sections=2)
    first = (adata.obs["sample"] == "section 0").to_numpy()
    adata.obs.loc[~first, "area"] += 1000
    session = session_of(viewer)
    show(viewer, Tissue.from_adata(adata, "two"))
    dock = open_dock(viewer, qtbot)
    measure(qtbot, dock, session)
    row = dock.rows["qc_area"]
    dock.scroll.ensureWidgetVisible(row)
    row.unit.setFocus()
    for _ in range(2):
        qtbot.keyClick(row.unit, Qt.Key.Key_Down)
    assert row.unit.currentText() == "MAD by section"
    qtbot.mouseClick(row.low, LEFT)
    qtbot.keyClicks(row.low, "1")
    qtbot.keyClick(row.low, Qt.Key.Key_Return)
    fails = judgement_of(session.active).faults["small area"].to_numpy()
    assert fails[first].any()
    assert fails[~first].any()
    assert len([line for line in row.histogram.lines if line.side == "low"]) == 2
    dock.section.setCurrentText("section 1")
    assert row.count.text() == f"{fails[~first].sum():,} fail"
    assert len([line for line in row.histogram.lines if line.side == "low"]) == 1
    row.unit.setFocus()
    qtbot.keyClick(row.unit, Qt.Key.Key_Up)
    assert not session.active.thresholds.of("qc_area").per_section
    assert session.active.thresholds.of("qc_area").low == 1
    assert row.unit.currentText() == "MAD"


def test_a_narrow_dock_with_several_sections_shows_all_of_a_limit(viewer, make_adata, qtbot):
    session = session_of(viewer)
    show(viewer, Tissue.from_adata(make_adata(200, sections=2), "two"))
    dock = open_dock(viewer, qtbot)
    measure(qtbot, dock, session)
    dock.parent().setFixedWidth(dock.minimumWidth())
    qtbot.waitUntil(lambda: dock.width() == dock.minimumWidth())
    row = dock.rows["qc_n_genes"]
    assert row.unit.currentText() == "MAD by section"
    room = dock.scroll.viewport()
    for widget in (row.histogram, row.high):
        dock.scroll.ensureWidgetVisible(widget)
        right = widget.mapTo(room, widget.rect().topRight()).x()
        assert right < room.width(), "it is cut off"


# ---- keeping


def test_limits_are_saved_and_loaded(measured, monkeypatch, tmp_path, qtbot):
    dock, session = measured
    path = tmp_path / "limits.json"
    session.quality.set_limit(Thresholds().of("qc_n_genes").model_copy(update={"low": 1.5}))
    wanted = session.active.thresholds
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    qtbot.mouseClick(dock.save_button, LEFT)
    assert Thresholds.from_file(path) == wanted
    qtbot.mouseClick(dock.reset_button, LEFT)
    assert session.active.thresholds == Thresholds()
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    qtbot.mouseClick(dock.load_button, LEFT)
    assert session.active.thresholds == wanted
    path.write_text("{")
    qtbot.mouseClick(dock.load_button, LEFT)
    assert "not valid JSON" in dock.message.sentence.text()
    assert session.active.thresholds == wanted


def test_saved_and_opened_again_it_is_the_same(viewer, measured, qtbot, tmp_path):
    dock, session = measured
    tissue = session.active
    session.quality.set_limit(Thresholds().of("qc_n_genes").model_copy(update={"low": 1.5}))
    cells = np.zeros(tissue.n_obs, bool)
    cells[:3] = True
    session.select(cells)
    session.editing.flag()
    judgement = judgement_of(tissue)
    assert judgement.fails[:3].all()
    path = tmp_path / "kept.h5ad"
    session.save(path)
    qtbot.waitUntil(lambda: session.jobs.current("save") is None, timeout=PATIENCE)
    from napari_cellama import read

    adata = read(path)
    np.testing.assert_array_equal(adata.obs["qc_pass"], ~judgement.fails)
    assert (adata.obs["qc_reason"].iloc[:3] == "flagged").all()
    again = Tissue.from_adata(adata, "again")
    show(viewer, again)
    assert session.active is again
    assert dock.summary.text().startswith(f"{judgement.fails.sum():,} of 2,000")
    assert again.thresholds == tissue.thresholds
    np.testing.assert_array_equal(judgement_of(again).fails, judgement.fails)
    for name in tissue.quality.table:
        np.testing.assert_allclose(again.quality.table[name], tissue.quality.table[name])


def test_a_run_leaves_failing_cells_out(measured):
    _, session = measured
    tissue = session.active
    given = to_run(tissue)
    np.testing.assert_array_equal(given.obs["qc_pass"], ~judgement_of(tissue).fails)
    assert "qc_pass" not in tissue.snapshot.obs


# ---- looking at cells


def test_a_gallery_is_worked_through_with_keys(viewer, measured, qtbot):
    dock, session = measured
    tissue, look = session.active, dock.look
    dock.look_fold.expand()
    dock.scroll.ensureWidgetVisible(look.gallery)
    # "All cells" stood there only for want of failing ones, before anything was measured.
    assert look.whom.currentText() == "Failing cells"
    look.whom.setCurrentIndex(look.whom.findData("fault blurred"))
    qtbot.mouseClick(look.show_button, LEFT)
    blurred = judgement_of(tissue).faults["blurred"].to_numpy()
    cells = look.gallery.crops.cells.copy()
    assert set(cells) <= set(np.flatnonzero(blurred))
    assert len(cells) == min(200, blurred.sum())
    qtbot.waitUntil(lambda: int(cells[0]) in look.gallery.crops.pictures, timeout=PATIENCE)
    picture = look.gallery.crops.pictures[int(cells[0])].toImage()
    assert picture.width() == round(SIDE * look.devicePixelRatioF())
    row = tissue.quality.table.iloc[cells[0]]
    assert f"Genes {row['qc_n_genes']:.0f}" in look.view.text.text()
    fails = judgement_of(tissue).fails.sum()
    qtbot.keyClick(look.gallery, Qt.Key.Key_A)
    assert look.gallery.cell == cells[1]
    assert judgement_of(tissue).fails.sum() == fails - 1
    look.reason.setEditText("debris")
    qtbot.keyClick(look.gallery, Qt.Key.Key_F)
    qtbot.keyClick(look.gallery, Qt.Key.Key_N)
    assert look.gallery.cell == cells[3]
    assert by_hand(tissue) == {int(cells[0]): "", int(cells[1]): "debris"}
    assert tissue.history.undo_name == "Flag 1 cell as debris"
    assert ("debris", "1", "0.1%") in dock.failing.rows()
    made = tissue.assemble().obs
    assert made["qc_reason"].iloc[cells[1]] == "debris"
    assert made["qc_pass"].iloc[cells[0]]
    qtbot.keyClick(look.gallery, Qt.Key.Key_Return)
    centre = np.asarray(viewer.scene.camera.center)[-2:]
    np.testing.assert_allclose(centre, tissue.snapshot.obsm["spatial"][cells[3]][::-1], rtol=1e-5)
    session.undo()
    assert by_hand(tissue) == {int(cells[0]): ""}
    qtbot.waitUntil(lambda: session.jobs.current("gallery") is None, timeout=PATIENCE)
    qtbot.wait(200)


def test_a_clicked_cell_shows_its_picture_and_metrics(measured, qtbot):
    dock, session = measured
    dock.look_fold.expand()
    session.pick_cell(7)
    assert dock.look.view.text.text().startswith(str(session.active.snapshot.obs_names[7]))
    qtbot.waitUntil(lambda: not dock.look.view.picture.pixmap().isNull(), timeout=PATIENCE)


# ---- niches that are artefacts


def test_a_niche_made_by_a_fault_is_marked_in_the_clusters_table(viewer, measured, qtbot):
    _, session = measured
    tissue = session.active
    clusters = ClustersDock(viewer)
    viewer.window.add_dock_widget(clusters, name="Clusters", area="right")
    blurred = judgement_of(tissue).faults["blurred"].to_numpy()
    right = tissue.snapshot.obsm["spatial"][:, 0] > 500
    codes = np.where(blurred, 2, right).astype(np.int32)
    names, shades = ("left", "right", "odd"), ("#1f77b4", "#2ca02c", "#d62728")
    labels = {**tissue.labels, "niche": LabelSet("niche", codes, names, shades, edited=True)}
    after = replace(tissue.state, labels=labels, clusters="niche")
    session.change(tissue, "Make niches", after)
    model = clusters.model
    qtbot.waitUntil(lambda: bool(model.fault(2)), timeout=PATIENCE)
    assert model.fault(2) == f"100% of its {blurred.sum()} cells: blurred (0% elsewhere)"
    assert (model.fault(0), model.fault(1)) == ("", "")
    below = model.index(2, Column.NAME).data(REMARK_ROLE)
    assert below == [f"Artefact? 100% of its {blurred.sum()} cells", "blurred (0% elsewhere)"]
    tip = model.index(2, Column.NAME).data(Qt.ItemDataRole.ToolTipRole)
    assert "Probably an artefact: 100% of its" in tip
    session.quality.set_limit(Limit(metric="qc_image_sharpness_excess"))
    QApplication.processEvents()
    qtbot.waitUntil(lambda: session.jobs.current("artefacts") is None, timeout=PATIENCE)
    assert model.fault(2) == ""
    session.undo()
    qtbot.waitUntil(lambda: bool(model.fault(2)), timeout=PATIENCE)


def test_a_histogram_is_copied_and_saved(measured, qtbot, tmp_path, monkeypatch):
    dock, session = measured
    for name, row in dock.rows.items():
        row.histogram.menu.copy_action.trigger()
        table = pd.read_csv(io.StringIO(QApplication.clipboard().text()))
        known = np.isfinite(session.active.quality.table[name].to_numpy(float)).sum()
        assert table["cells"].sum() == known
        assert (table["fail"] <= table["cells"]).all()
        assert (table["high"] >= table["low"]).all()
        chosen = str(tmp_path / f"{name}.svg"), "SVG (*.svg)"
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args, to=chosen: to)
        row.histogram.menu.save_action.trigger()
        assert (tmp_path / f"{name}.svg").stat().st_size > 1000
    assert "Figure saved" in dock.message.sentence.text()
