"""How numbers are coloured: map, cut, limits and matrix, chosen in the dock."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import colormaps
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cellama.errors import UserError
from napari_cellama.ui.attach import session_of
from napari_cellama.ui.layers import show
from napari_cellama.ui.tissue import COLORMAPS, Coloring, Tissue
from napari_cellama.ui.widgets.clusters import ClustersDock


@pytest.fixture
def opened(qapp, qtbot, adata):
    """Return (session, dock, layer) of a tissue coloured by a gene, with another matrix."""
    adata.layers["twice"] = adata.X * 2
    adata.obs["leiden"] = np.arange(120) % 5
    viewer = ViewerModel()
    layer = show(viewer, Tissue.from_adata(adata, "section"))
    session, host = session_of(viewer), QWidget()
    dock = ClustersDock(viewer)
    qtbot.addWidget(host)
    QVBoxLayout(host).addWidget(dock)
    host.resize(400, 800)
    with qtbot.waitExposed(host):
        host.show()
    session.color_by(Coloring("gene", "CD3E"))
    yield session, dock, layer
    session.close()


def legend(session, layer):
    from napari_cellama.ui.painting import legend_of

    return legend_of(session.active, session.active.coloring)


def test_another_colour_map_is_chosen(qtbot, opened):
    session, dock, layer = opened
    row = dock.scale
    assert [row.colormap.itemText(i) for i in range(row.colormap.count())] == list(COLORMAPS)
    row.colormap.setFocus()
    qtbot.keyClick(row.colormap, Qt.Key.Key_Down)
    assert session.active.scale.colormap == "cividis"
    counts = session.active.snapshot[:, "CD3E"].X.toarray().ravel()
    most = colormaps["cividis"](1.0)
    np.testing.assert_allclose(layer.face_color[counts.argmax()], most, atol=0.01)


def test_every_colour_map_is_known_to_napari_and_matplotlib():
    from napari.utils.colormaps import ensure_colormap

    for name in COLORMAPS:
        ours = ensure_colormap(name).map(np.linspace(0, 1, 5))
        np.testing.assert_allclose(ours, colormaps[name](np.linspace(0, 1, 5)), atol=0.02)


def test_the_cut_moves_the_limits(opened):
    session, dock, layer = opened
    session.color_by(Coloring("obs", "area"))
    area = session.active.snapshot.obs["area"]
    dock.scale.clip.setValue(10)
    assert legend(session, layer).limits == pytest.approx(np.percentile(area, [10, 90]), rel=1e-5)
    dock.scale.clip.setValue(0)
    assert legend(session, layer).limits == pytest.approx((area.min(), area.max()), rel=1e-5)


def test_limits_are_typed_and_given_up(qtbot, opened):
    session, dock, layer = opened
    session.color_by(Coloring("obs", "area"))
    for line, text in ((dock.scale.low, "30"), (dock.scale.high, "50.5")):
        line.setFocus()
        line.selectAll()
        qtbot.keyClicks(line, text)
        qtbot.keyClick(line, Qt.Key.Key_Return)
    assert legend(session, layer).limits == (30, 50.5)
    assert (dock.legend.low.text(), dock.legend.high.text()) == ("30.0", "50.5")
    dock.scale.low.selectAll()
    qtbot.keyClick(dock.scale.low, Qt.Key.Key_Delete)
    qtbot.keyClick(dock.scale.low, Qt.Key.Key_Return)
    assert session.active.scale.limits is None
    dock.scale.high.selectAll()
    qtbot.keyClicks(dock.scale.high, "much")
    qtbot.keyClick(dock.scale.high, Qt.Key.Key_Return)
    assert "must be a number" in dock.foot.message.sentence.text()
    assert dock.scale.high.text() != "much"
    with pytest.raises(UserError, match="below the upper"):
        session.set_scale(limits=(2, 1))
    session.set_scale(limits=(1, 2))
    session.color_by(Coloring("gene", "CD3E"))
    assert session.active.scale.limits is None


def test_a_gene_is_read_from_another_matrix(qtbot, opened):
    session, dock, layer = opened
    before = legend(session, layer).limits
    row = dock.scale.layer
    assert row.isVisible()
    assert [row.itemText(i) for i in range(row.count())] == ["X", "twice"]
    row.setFocus()
    qtbot.keyClick(row, Qt.Key.Key_Down)
    assert legend(session, layer).limits == pytest.approx(np.multiply(before, 2))
    session.color_by(Coloring("obs", "area"))
    assert not row.isVisible()
    session.color_by(Coloring("gene", "CD3E"))
    with pytest.raises(UserError, match="nowhere"):
        session.set_scale(layer="nowhere")
    assert session.active.scale.layer == "twice"


def test_the_row_is_there_for_numbers_only(opened):
    session, dock, _ = opened
    assert dock.scale.isVisible()
    session.color_by(Coloring("obs", "celltype"))
    assert not dock.scale.isVisible()


def test_whole_numbers_are_offered_as_clusters(opened):
    session, dock, _ = opened
    texts = [dock.labels.itemText(i) for i in range(dock.labels.count())]
    assert texts == ["celltype", "leiden"]
    session.show_clusters("leiden")
    assert session.clusters.names == ("0", "1", "2", "3", "4")
