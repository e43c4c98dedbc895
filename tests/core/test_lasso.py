"""Which points an outline surrounds, the quick way and one by one."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from napari_cellama.core.lasso import points_inside

ANGLE = np.linspace(0, 2 * np.pi, 500, endpoint=False)
RADIUS = 0.35 + 0.08 * np.sin(9 * ANGLE)
LOBED = 0.5 + np.column_stack([RADIUS * np.sin(ANGLE), RADIUS * np.cos(ANGLE)])
KNOT = 0.5 + np.column_stack([RADIUS * np.sin(2 * ANGLE), RADIUS * np.cos(3 * ANGLE)])
SLIVER = np.array([[0.1, 0.2], [0.9, 0.2001], [0.9, 0.2]])


@pytest.mark.parametrize("corners", [LOBED, KNOT, SLIVER, LOBED * 1e-6, LOBED * 1e6])
@pytest.mark.parametrize("n_points", [2_000, 200_000])
def test_it_is_what_looking_at_each_point_says(corners, n_points):
    size = np.ptp(corners, axis=0)
    low = corners.min(axis=0) - 0.2 * size
    points = low + np.random.default_rng(0).uniform(0, 1.4, (n_points, 2)) * size
    points = points.astype(np.float32)
    whole = shapely.make_valid(shapely.Polygon(corners))
    shapely.prepare(whole)
    expected = shapely.contains_xy(whole, points[:, 0], points[:, 1])
    assert expected.any()
    np.testing.assert_array_equal(points_inside(points, corners), expected)


def test_what_it_surrounds_twice_is_outside():
    points = np.random.default_rng(0).uniform(0, 1, (2_000, 2))
    bow_tie = np.array([[0.0, 0], [1, 1], [1, 0], [0, 1]])
    x, y = points.T
    expected = np.abs(y - 0.5) < np.abs(x - 0.5)
    np.testing.assert_array_equal(points_inside(points, bow_tie), expected)


@pytest.mark.parametrize("corners", [np.zeros((0, 2)), LOBED[:2], np.zeros((5, 2))])
def test_an_outline_without_an_inside_surrounds_nothing(corners):
    points = np.random.default_rng(0).uniform(0, 1, (30_000, 2))
    points[0] = 0
    assert not points_inside(points, corners).any()
