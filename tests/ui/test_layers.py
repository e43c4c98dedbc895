"""What is on the canvas, at which pixel, and what a click on it does."""

from __future__ import annotations

import weakref

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from napari_cellama.core.result import NicheResult
from napari_cellama.core.sections import side_by_side
from napari_cellama.errors import UserError
from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.layers import show, tissue_of
from napari_cellama.ui.placement import place
from napari_cellama.ui.tissue import Coloring, Tissue
from napari_cellama.ui.view import is_in_view


def rgb_of(color):
    return np.array(list(bytes.fromhex(color[1:])))


def expected_colors(tissue, key, cells):
    labels = tissue.label_set(key)
    return np.array([rgb_of(labels.colors[labels.codes[cell]]) for cell in cells])


def test_every_cell_has_its_types_colour_on_the_canvas(viewer, session, tissue, canvas):
    layer = layers_of(viewer).layer_of(tissue)
    cells = np.arange(0, tissue.n_obs, 2)
    found = canvas(viewer).colors(layer, cells)
    np.testing.assert_allclose(found, expected_colors(tissue, "celltype", cells), atol=2)


def test_the_selection_keeps_its_colours_and_the_others_fade(viewer, session, tissue, canvas):
    layer = layers_of(viewer).layer_of(tissue)
    labels = tissue.label_set("celltype")
    session.select(labels.mask(0))
    selected, others = np.flatnonzero(labels.codes == 0), np.flatnonzero(labels.codes == 1)
    found = canvas(viewer).colors(layer, np.concatenate([selected[:8], others[:8]]))
    np.testing.assert_allclose(found[:8], expected_colors(tissue, "celltype", selected[:8]), atol=2)
    assert (np.ptp(found[8:], axis=1) <= 2).all(), "faded cells are grey"
    assert (found[8:] > 20).all(), "faded cells are still visible"
    session.select(np.zeros(tissue.n_obs, bool))
    found = canvas(viewer).colors(layer, others[:8])
    np.testing.assert_allclose(found, expected_colors(tissue, "celltype", others[:8]), atol=2)


def test_colouring_by_a_gene_goes_from_dark_to_bright(viewer, session, tissue, adata, canvas):
    layer = layers_of(viewer).layer_of(tissue)
    session.color_by(Coloring("gene", "CD3E"))
    values = adata[:, "CD3E"].X.toarray().ravel()
    low, high = np.argsort(values)[[0, -1]]
    dark, bright = canvas(viewer).colors(layer, [low, high]).astype(int)
    assert bright.sum() > dark.sum() + 150
    with pytest.raises(UserError, match="CD3E"):
        session.color_by(Coloring("gene", "CD3"))


def test_cells_keep_their_colours_from_afar(viewer, session, canvas):
    """Also when each is smaller than a pixel and a half, as a million are in any window."""

    def shares():
        canvas(viewer).settle()
        seen = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
        cells = np.ptp(seen, axis=2) > 60
        return {tuple(pixel) for pixel in seen[cells] // 64}, cells.sum()

    for key in ("celltype", "area"):
        session.color_by(Coloring("obs", key))
        viewer.scene.camera.zoom = 1.0
        near, n_near = shares()
        viewer.scene.camera.zoom = 0.1
        far, n_far = shares()
        assert n_far > n_near / 1000
        assert len(far & near) > 1


def test_the_thumbnail_follows_the_colours(viewer, session, tissue, qtbot):
    layer = layers_of(viewer).layer_of(tissue)
    before = layer.thumbnail.copy()
    session.color_by(Coloring("obs", "area"))
    qtbot.waitUntil(lambda: not np.array_equal(layer.thumbnail, before))


def test_cells_without_a_position_have_no_point_and_shift_nobody(viewer, adata, canvas):
    adata.obsm["spatial"][[0, 7, 50], [0, 1, 0]] = np.nan
    tissue = Tissue.from_adata(adata)
    session = session_of(viewer)
    layer = show(viewer, tissue)
    assert len(layer.data) == tissue.n_obs - 3
    placement = layers_of(viewer).placement_of(tissue)
    assert not {0, 7, 50} & set(placement.cells)
    points = np.arange(0, len(layer.data), 3)
    expected = expected_colors(tissue, "celltype", placement.cells[points])
    np.testing.assert_allclose(canvas(viewer).colors(layer, points), expected, atol=2)
    canvas(viewer).click(layer, 60)
    assert tissue.picked == placement.cells[60] == 63
    mask = np.zeros(tissue.n_obs, bool)
    mask[63] = True
    session.select(mask)
    alpha = layer.face_color[:, 3]
    assert alpha[60] == 1
    assert (np.delete(alpha, 60) < 1).all()


def test_coordinates_are_turned_in_one_place(make_adata):
    adata = make_adata(30, n_dims=3)
    placement = place(adata)
    np.testing.assert_array_equal(placement.points, adata.obsm["spatial"][:, ::-1])
    flat = place(make_adata(30))
    np.testing.assert_array_equal(flat.points, make_adata(30).obsm["spatial"][:, ::-1])


def test_three_dimensions_are_shown_and_clicked_in_three(viewer, make_adata, canvas):
    tissue = Tissue.from_adata(make_adata(60, n_dims=3))
    session = session_of(viewer)
    layer = show(viewer, tissue)
    assert layer.ndim == 3
    assert viewer.dims.ndisplay == 3
    assert session.active is tissue
    viewer.scene.camera.angles = (0, 0, 90)
    canvas(viewer).settle()
    picked = []
    session.cell_picked.connect(lambda _, cell: picked.append(cell))
    window = canvas(viewer)
    height, width = window.native.height(), window.native.width()
    for row in range(height // 4, height, height // 8):
        window.click_at(row, width // 2)
    assert picked, "no click along the middle of the canvas met a cell"


def test_a_line_of_sight_meets_the_foremost_cell():
    adata = ad.AnnData(
        np.ones((3, 1), np.float32),
        obsm={"spatial": np.array([[5.0, 5, 0], [5, 5, 10], [50, 50, 0]])},
    )
    placement = place(adata)
    down = np.array([1.0, 0, 0])
    assert placement.nearest_to_ray(np.array([-5.0, 5, 5]), down, 2) == 0
    assert placement.nearest_to_ray(np.array([20.0, 5, 5]), -down, 2) == 1
    assert placement.nearest_to_ray(np.array([0.0, 25, 25]), down, 2) is None


def test_sections_that_overlap_are_drawn_side_by_side(viewer, make_adata, canvas):
    adata = make_adata(120, sections=2)
    # Both sections start at the same place, as those of two slides do.
    half = adata.n_obs // 2
    adata.obsm["spatial"][half:] -= adata.obsm["spatial"][half:].min(axis=0)
    adata.obsm["spatial"][:half] -= adata.obsm["spatial"][:half].min(axis=0)
    kept = adata.obsm["spatial"].copy()
    tissue = Tissue.from_adata(adata)
    session_of(viewer)
    layer = show(viewer, tissue)
    first, second = layer.data[:half], layer.data[half:]
    assert second[:, 1].min() > first[:, 1].max()
    np.testing.assert_allclose(second - second.min(axis=0), kept[half:, ::-1], atol=1e-9)
    np.testing.assert_array_equal(adata.obsm["spatial"], kept)
    cells = np.arange(0, adata.n_obs, 5)
    found = canvas(viewer).colors(layer, cells)
    np.testing.assert_allclose(found, expected_colors(tissue, "celltype", cells), atol=2)
    canvas(viewer).click(layer, half + 3)
    assert tissue.picked == half + 3


def test_sections_that_do_not_overlap_stay_where_they_are():
    points = np.array([[0.0, 0], [10, 10], [0, 20], [10, 30]])
    assert not side_by_side(points, np.array([0, 0, 1, 1]), 2).any()
    assert side_by_side(points, np.array([0, 1, 1, 0]), 2).any()


def test_many_sections_fill_a_grid():
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(9), 20)
    points = rng.uniform(0, 100, (180, 2))
    moved = points + side_by_side(points, codes, 9)[codes]
    boxes = [(moved[codes == i].min(axis=0), moved[codes == i].max(axis=0)) for i in range(9)]
    for i, (low, high) in enumerate(boxes):
        for other_low, other_high in boxes[:i]:
            assert (low > other_high).any() or (other_low > high).any()
    assert np.ptp(moved[:, 0]) > 250
    assert np.ptp(moved[:, 1]) > 250


def test_units_are_the_datas_and_the_scale_bar_shows_them(viewer, make_adata):
    session_of(viewer)
    assert not viewer.canvas.overlays.scale_bar.visible
    layer = show(viewer, Tissue.from_adata(make_adata(20)))
    assert {str(unit) for unit in layer.units} == {"micrometer"}
    assert viewer.canvas.overlays.scale_bar.visible
    viewer.layers.clear()
    layer = show(viewer, Tissue.from_adata(make_adata(20, units="spots")))
    (unit,) = set(layer.units)
    # As napari's scale bar writes it.
    assert f"{1500 * unit:g~#P}" == "1500 pixels"
    image = viewer.add_image(np.zeros((9, 9)))
    assert image.extent.world.max() == 8


def test_tissues_in_different_units_are_said_to_be(viewer, make_adata):
    told = []
    session_of(viewer).message.connect(lambda level, text, _: told.append((level, text)))
    show(viewer, Tissue.from_adata(make_adata(20), "one"))
    show(viewer, Tissue.from_adata(make_adata(20), "two"))
    assert told == []
    show(viewer, Tissue.from_adata(make_adata(20, units="pixel"), "three"))
    ((level, text),) = told
    assert level == "warning"
    assert text.startswith("three is measured in pixels, one in µm: each is drawn by its own")


@pytest.mark.parametrize("selected", ["cells", "other", "nothing"])
def test_a_click_picks_the_cell_whatever_layer_is_selected(
    viewer, session, tissue, canvas, selected
):
    layer = layers_of(viewer).layer_of(tissue)
    other = viewer.add_points(np.zeros((1, 2)), name="other")
    viewer.layers.selection.active = {"cells": layer, "other": other, "nothing": None}[selected]
    session.show_clusters("celltype")
    canvas(viewer).click(layer, 33)
    labels = tissue.label_set("celltype")
    assert tissue.picked == 33
    np.testing.assert_array_equal(tissue.selection, labels.codes == labels.codes[33])


def test_a_drag_picks_nothing_and_moves_the_canvas(viewer, session, tissue, canvas):
    layer = layers_of(viewer).layer_of(tissue)
    before = viewer.scene.camera.center
    canvas(viewer).click(layer, 33, drag=60)
    assert tissue.picked is None
    assert viewer.scene.camera.center != before


def test_a_trembling_hand_still_clicks(viewer, session, tissue, canvas):
    layer = layers_of(viewer).layer_of(tissue)
    canvas(viewer).click(layer, 33, drag=2)
    assert tissue.picked == 33


def test_a_click_beside_the_tissue_picks_nothing(viewer, session, tissue, canvas):
    canvas(viewer).click_at(3, 3)
    assert tissue.picked is None


def test_no_cell_is_picked_while_points_are_drawn(viewer, session, tissue, canvas):
    layer = layers_of(viewer).layer_of(tissue)
    drawn = viewer.add_points(np.zeros((0, 2)), name="drawn")
    drawn.mode = "add"
    canvas(viewer).click(layer, 33)
    assert tissue.picked is None
    assert len(drawn.data) == 1


def test_two_tissues_are_picked_and_activated_apart(viewer, session, tissue, make_adata, canvas):
    second = Tissue.from_adata(make_adata(40, seed=1), "second")
    second.snapshot.obsm["spatial"] = second.snapshot.obsm["spatial"] + [200.0, 0]
    layer = show(viewer, second)
    viewer.reset_view()
    assert session.tissues == [tissue, second]
    assert session.active is second
    first_layer = layers_of(viewer).layer_of(tissue)
    canvas(viewer).click(first_layer, 5)
    assert session.active is tissue
    assert tissue.picked == 5
    assert second.picked is None
    viewer.layers.selection.active = layer
    assert session.active is second


def test_a_tissue_that_is_opened_elsewhere_is_brought_into_view(viewer, session, make_adata):
    far = Tissue.from_adata(make_adata(40, seed=1), "far away")
    far.snapshot.obsm["spatial"] = far.snapshot.obsm["spatial"] + [50_000.0, 0]
    layer = show(viewer, far)
    assert session.active is far
    assert is_in_view(viewer, layer)
    first = session.tissues[0]
    session.activate(first)
    assert is_in_view(viewer, layers_of(viewer).layer_of(first))


def test_a_view_that_shows_the_tissue_is_left_alone(viewer, session, tissue, make_adata):
    beside = Tissue.from_adata(make_adata(40, seed=1), "beside")
    zoom = viewer.scene.camera.zoom
    show(viewer, beside)
    session.activate(tissue)
    assert viewer.scene.camera.zoom == zoom


def test_a_result_is_painted_although_another_tissue_is_active(viewer, session, tissue, make_adata):
    show(viewer, Tissue.from_adata(make_adata(40, seed=1), "second"))
    assert session.active is not tissue
    n = tissue.n_obs
    nothing = sp.csr_matrix((n, n))
    result = NicheResult(
        key="niche",
        labels=pd.Categorical.from_codes(np.arange(n) % 2, ["1", "2"]),
        colors=("#ff0000", "#00ff00"),
        confidence=np.ones(n, np.float32),
        representation=np.zeros((n, 2), np.float32),
        views=(),
        connectivities=nothing,
        distances=nothing,
        composition=pd.DataFrame(index=["1", "2"]),
        left_out=np.full(n, "", object),
    )
    session.take_result(tissue, result)
    colors = layers_of(viewer).layer_of(tissue).face_color
    np.testing.assert_allclose(colors[:2, :3], [[1, 0, 0], [0, 1, 0]])
    session.activate(tissue)
    assert session.clusters.key == "niche"


def test_removing_the_layer_closes_the_tissue_and_renaming_does_not(viewer, session, tissue):
    layer = layers_of(viewer).layer_of(tissue)
    layer.name = "renamed"
    assert session.tissues == [tissue]
    viewer.layers.remove(layer)
    assert session.tissues == []
    assert session.active is None
    viewer.layers.append(layer)
    assert session.tissues == [tissue], "undoing the removal brings the tissue back"


def test_a_duplicate_of_the_layer_is_no_second_tissue(viewer, session, tissue):
    layer = layers_of(viewer).layer_of(tissue)
    copy = type(layer)(layer.data, name="copy", metadata=layer.metadata)
    viewer.add_layer(copy)
    viewer.layers.remove(copy)
    assert session.tissues == [tissue]
    assert tissue_of(copy) is tissue


def test_edited_points_are_not_painted_as_if_they_were_the_cells(viewer, session, tissue):
    layer = layers_of(viewer).layer_of(tissue)
    said = []
    session.message.connect(lambda *message: said.append(message))
    layer.data = layer.data[:-1]
    session.color_by(Coloring("obs", "area"))
    assert [level for level, *_ in said] == ["warning"]
    assert "section" in said[0][1]


def test_layers_that_were_there_before_the_session_belong_to_it(viewer, tissue):
    show(viewer, tissue)
    assert session_of(viewer).tissues == [tissue]


def test_the_status_bar_names_the_cell_its_type_and_its_cluster(viewer, session, tissue):
    layer = layers_of(viewer).layer_of(tissue)
    viewer.layers.selection.active = layer
    status = layer.get_status(layer.data[12], world=True)
    kind = tissue.snapshot.obs["celltype"].iloc[12]
    assert f"cell: 12, celltype: {kind}" in status["value"]


def test_cells_in_one_place_and_a_single_cell_have_a_size(make_adata):
    adata = make_adata(5)
    adata.obsm["spatial"][:] = 3.0
    assert place(adata).diameter > 0
    assert place(adata[:1].copy()).diameter > 0


def test_the_session_is_found_again_also_through_naparis_proxy(viewer):
    from napari.utils._proxies import PublicOnlyProxy

    assert session_of(PublicOnlyProxy(viewer)) is session_of(viewer)


def test_neither_session_nor_layers_keep_the_viewer_alive(is_gone, tissue):
    from napari.components import ViewerModel

    viewer = ViewerModel()
    session = session_of(viewer)
    closed = []
    session.jobs.close = lambda: closed.append(True)
    show(viewer, tissue)
    reference = weakref.ref(viewer)
    del viewer
    assert is_gone(reference)
    assert closed == [True]
