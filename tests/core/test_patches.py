"""Where a fault ends: half way between both sides, and not before the rim of a bubble."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from napari_cellama.core.expectation import median_nearby
from napari_cellama.core.patches import level_sides, widen_veils

REACH = 3.0


@pytest.fixture
def grid():
    """Cells one apart, 30 by 30, with little noise in what was measured of them."""
    xy = np.stack(np.meshgrid(np.arange(30.0), np.arange(30.0)), -1).reshape(-1, 2)
    return xy, 0.05 * np.random.default_rng(0).standard_normal(len(xy))


def sloping(xy, noise, inner, outer=0.0):
    """Return values that go over from one to the other around x = 10, linearly as light does."""
    share = np.clip((12 - xy[:, 0]) / 4, 0, 1)
    return np.log2(share * 2.0**inner + (1 - share) * 2.0**outer) + noise


@pytest.mark.parametrize("inner", [1.0, -1.0])
def test_the_border_of_a_patch_lies_half_way_between_both_sides(grid, inner):
    xy, noise = grid
    leveled = level_sides(sloping(xy, noise, inner), xy, REACH)
    clear = np.abs(xy[:, 0] - 10) > 0.5
    inside = xy[:, 0] < 10
    assert (np.abs(leveled - inner)[inside & clear] < 0.3).mean() > 0.98
    half = np.log2((2.0**inner + 1) / 2)
    assert (np.sign(inner) * (leveled - half)[~inside & clear] < 0).all()


def test_a_small_patch_keeps_its_corners_where_single_windows_say_clearly_what_they_are(grid):
    xy, noise = grid
    patch = ((xy >= 10) & (xy < 15)).all(axis=1)
    own = np.where(patch, -3.0, 0.0) + noise
    around = median_nearby(own, xy, REACH)
    assert (around < -1)[patch].mean() < 0.9
    leveled = level_sides(around, xy, REACH, own, -1.0)
    np.testing.assert_array_equal(leveled < -1, patch)
    # A limit is for lows alone: what is far above stays as it is.
    np.testing.assert_array_equal(level_sides(-around, xy, REACH, -own, -1.0), -around)


def test_without_a_patch_nothing_changes(grid):
    xy, noise = grid
    lonely = noise.copy()
    lonely[[17, 400, 401]] = (2.0, -3.0, -3.0)
    np.testing.assert_array_equal(level_sides(lonely, xy, REACH), lonely)
    few = np.array([0.0, 5.0, np.nan])
    np.testing.assert_array_equal(level_sides(few, xy[:3], REACH), few)


def test_cells_without_a_value_stay_so(grid):
    xy, noise = grid
    values = sloping(xy, noise, 1.0)
    values[::7] = np.nan
    leveled = level_sides(values, xy, REACH)
    np.testing.assert_array_equal(np.isnan(leveled), np.isnan(values))
    known = ~np.isnan(values) & (np.abs(xy[:, 0] - 10) > 0.5)
    assert ((leveled > 0.5) == (xy[:, 0] < 10))[known].all()


def test_a_cell_under_the_rim_of_a_bubble_belongs_to_it(grid):
    xy, noise = grid
    veiled = np.hypot(*(xy - 14.5).T) < 6
    rim = binary_dilation(veiled.reshape(30, 30)).ravel() & ~veiled
    signal, sharp = np.where(veiled, -1.0, 0.0) + noise, np.where(veiled, -3.0, 0.0) + noise
    own = (np.where(rim, -0.4, signal), np.where(rim, -0.6, sharp))
    found = widen_veils((signal, sharp), own, veiled, xy, REACH)
    assert (found[0][rim] < -0.8).all()
    assert (found[1][rim] < -2.5).all()
    for new, old in zip(found, (signal, sharp), strict=True):
        np.testing.assert_array_equal(new[~rim], old[~rim])


def test_a_cell_beside_a_bubble_does_not(grid):
    xy, noise = grid
    veiled = np.hypot(*(xy - 14.5).T) < 6
    around = tuple(np.where(veiled, level, 0.0) + noise for level in (-1.0, -3.0))
    found = widen_veils(around, around, veiled, xy, REACH)
    for new, old in zip(found, around, strict=True):
        np.testing.assert_array_equal(new, old)
    none = np.zeros(len(xy), bool)
    assert widen_veils(around, around, none, xy, REACH) is around
