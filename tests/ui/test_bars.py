"""The numbers of a histogram."""

from __future__ import annotations

import numpy as np
import pytest

from napari_cellama.ui.widgets.bars import Bars


@pytest.mark.parametrize("log", [False, True])
def test_every_finite_value_is_counted_once(log):
    values = np.append(np.random.default_rng(0).gamma(2, 50, 500), [np.nan, np.inf])
    bars = Bars(values, (20.0, np.inf), log=log)
    assert bars.counts.sum() == 500
    bars.fail(values < 20)
    assert bars.failing.sum() == (values < 20).sum()
    np.testing.assert_array_equal(
        bars.failing[bars.edges[1:] <= 20], bars.counts[bars.edges[1:] <= 20]
    )
    assert (np.diff(bars.shares) > 0).all()
    assert bars.table()["cells"].tolist() == bars.counts.tolist()


@pytest.mark.parametrize("log", [False, True])
def test_a_place_on_the_axis_is_that_of_its_value(log):
    bars = Bars(np.arange(1.0, 200.0), (), log=log)
    for share in (0.1, 0.5, 0.9):
        assert bars.share_of(bars.value_at(share)) == pytest.approx(share)
    assert bars.share_of(-1e9) == 0
    assert bars.share_of(1e9) == 1


def test_a_limit_near_the_values_is_on_the_axis_and_a_far_one_is_not():
    values = np.linspace(0, 1, 101)
    assert 0 < Bars(values, (1.2,), log=False).share_of(1.2) < 1
    assert Bars(values, (50.0,), log=False).share_of(50.0) == 1


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("values", [[], [np.nan, np.nan], [3.0, 3.0]])
def test_without_values_that_differ_there_is_an_axis_all_the_same(values, log):
    bars = Bars(np.array(values), (-np.inf, np.inf), log=log)
    assert bars.counts.sum() == np.isfinite(values).sum()
    assert (np.diff(bars.shares) > 0).all()
    assert bars.ends[0] <= bars.ends[1]
