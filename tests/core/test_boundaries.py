"""Cell outlines: every way of making them gives each row its own polygon, or none."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from napari_cellama.core.boundaries import Boundaries
from napari_cellama.core.label_outlines import boundaries_of_labels, trace
from napari_cellama.core.section_image import SectionImage

SQUARE = np.array([[0, 0], [4, 0], [4, 4], [0, 4]], float)


def areas_by_shapely(boundaries: Boundaries) -> list[float]:
    cells = np.arange(len(boundaries))
    return [shapely.Polygon(p).area if len(p) else np.nan for p in boundaries.polygons(cells)]


def test_shapes_go_to_their_rows_and_the_largest_part_counts():
    island = shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(10, 10, 13, 12)])
    ring = shapely.Polygon(
        shapely.box(20, 20, 24, 24).exterior, [shapely.box(21, 21, 22, 22).exterior]
    )
    shapes = [ring, shapely.Point(3, 3), island, shapely.box(50, 50, 60, 60)]
    made = Boundaries.from_shapes(shapes, np.array([3, 1, 0, -1]), 4)
    assert len(made) == made.n_obs == 4
    np.testing.assert_array_equal(made.has_outline, [True, False, False, True])
    assert made.boxes[0].tolist() == [10, 10, 13, 12]
    np.testing.assert_allclose(made.areas, [6, np.nan, np.nan, 16])
    shown = made.polygons(np.array([3, 1]))
    assert len(shown[0]) == 4
    assert shown[1].shape == (0, 2)


def test_a_long_table_in_any_order_of_cells_gives_closed_rings_once():
    closed = np.vstack([SQUARE, SQUARE[:1]])
    rows = np.array([2] * 5 + [0] * 5 + [-1] * 5 + [2] * 5)
    xy = np.vstack([closed, closed + 10, closed, 2 * closed])
    parts = np.array([0] * 15 + [1] * 5)
    made = Boundaries.from_table(rows, *xy.T, 3, parts)
    assert [len(p) for p in made.polygons(np.arange(3))] == [4, 0, 4]
    np.testing.assert_allclose(made.areas, [16, np.nan, 64])  # of cell 2 the larger part


def test_what_is_no_polygon_is_left_out():
    rows = np.array([0, 0, 1, 1, 1, 2, 2, 2])
    x = np.array([0, 1, 0, 1, np.nan, 0, 1, 1])
    y = np.array([0, 1, 0, 0, 1, 0, 0, 1])
    made = Boundaries.from_table(rows, x, y, 3)
    np.testing.assert_array_equal(made.has_outline, [False, False, True])
    none = Boundaries.from_shapes([], np.empty(0, int), 2)
    assert not none.has_outline.any()
    assert np.isnan(none.boxes).all()
    assert len(Boundaries.from_shapes([], np.empty(0, int), 0)) == 0


def test_circles_moves_and_parts():
    made = Boundaries.from_circles([[5, 6], [1, 1]], [2, 1], np.array([1, 0]), 3)
    assert made.boxes[1].tolist() == pytest.approx([3, 4, 7, 8])
    moved = made.shifted(np.array([[0, 0], [10, 100], [0, 0]]))
    assert moved.boxes[1].tolist() == pytest.approx([13, 104, 17, 108])
    part = made.take(np.array([2, 1]))
    np.testing.assert_array_equal(part.has_outline, [False, True])
    with pytest.raises(ValueError, match="read-only"):
        made.vertices[0] = 0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5))
def test_traced_regions_are_the_pixels_but_for_their_corners(seed, n_ids):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, n_ids, (9, 11))
    vertices, offsets, ids = trace(image)
    assert sorted(ids) == sorted(set(np.unique(image)) - {0})
    made = Boundaries(vertices.astype(np.float32), offsets)
    for k, (name, polygon) in enumerate(zip(ids, made.polygons(np.arange(len(ids))), strict=True)):
        shape = shapely.Polygon(polygon)
        assert shape.is_valid
        assert shape.area == pytest.approx(made.areas[k])
        parts, n = label(image == name)
        filled = [_filled_area(parts == part) for part in range(1, n + 1)]
        # Every corner that is cut or filled is an eighth of a pixel.
        assert any(abs(shape.area - area) <= len(polygon) / 8 for area in filled)
        y, x = np.nonzero(image == name)
        inside = shapely.contains_xy(shape, x + 0.5, y + 0.5)
        assert inside.any()


def _filled_area(mask: np.ndarray) -> float:
    from scipy.ndimage import binary_fill_holes

    return float(binary_fill_holes(mask, structure=np.ones((3, 3))).sum())


def test_a_label_image_larger_than_a_tile_is_traced_where_the_cells_are(monkeypatch):
    monkeypatch.setattr("napari_cellama.core.label_outlines._TILE", 16)
    y, x = np.mgrid[:50, :70]
    labels = np.zeros((50, 70), np.uint32)
    labels[(y - 16) ** 2 + (x - 32) ** 2 <= 36] = 7_000_000  # over four tiles
    labels[40:44, 60:66] = 5
    labels[0:2, 0:2] = 9  # nobody's
    image = SectionImage("cells", (labels,), "yx", np.array([[2.0, 0, 10], [0, 2.0, 20]]))

    def rows_of(ids):
        return np.array([{7_000_000: 2, 5: 0}.get(int(i), -1) for i in ids])

    made = boundaries_of_labels(image, rows_of, 3)
    np.testing.assert_array_equal(made.has_outline, [True, False, True])
    # Pixels are half a unit wide and begin at (-5, -10).
    assert made.boxes[0].tolist() == pytest.approx([25, 10, 28, 12])
    np.testing.assert_allclose((made.boxes[2, :2] + made.boxes[2, 2:]) / 2, [11.25, -1.75])
    assert made.areas[2] == pytest.approx((labels == 7_000_000).sum() / 4, rel=0.05)
