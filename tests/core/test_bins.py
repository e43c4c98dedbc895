"""Bins of histograms: even, or in the steps that values come in."""

from __future__ import annotations

import numpy as np
import pytest

from napari_cellama.core.bins import bin_edges


def counted(values, *axis, **options):
    edges = bin_edges(values, *axis, **options)
    assert (np.diff(edges) > 0).all()
    return edges, np.histogram(values, edges)[0]


def test_values_without_steps_have_even_bins():
    values = np.random.default_rng(0).normal(size=5000)
    edges, _ = counted(values, -3, 3, 60)
    np.testing.assert_allclose(edges, np.linspace(-3, 3, 61))
    edges, _ = counted(np.exp(values), 0, 30, 60, log=True)
    np.testing.assert_allclose(np.diff(np.log1p(edges)), np.log(31) / 60)


@pytest.mark.parametrize(("most_of", "step"), [(25, 1.0), (16, 1 / 16), (170, 1.0), (700, 0.1)])
def test_bars_of_even_counts_are_no_comb(most_of, step):
    values = step * np.repeat(np.arange(most_of + 1), 40)
    edges, bars = counted(values, 0, step * most_of, 60)
    assert edges[0] <= 0
    assert edges[-1] >= step * most_of
    assert len(bars) <= 60
    assert np.ptp(bars[:-1]) == 0, "all but the last hold as many steps"
    assert bars.sum() == len(values)


def test_on_a_logarithmic_axis_each_step_has_a_bar_until_they_are_too_narrow():
    values = np.repeat(np.arange(301), 10)
    edges, bars = counted(values, 0, 300, 60, log=True)
    assert edges[0] == 0
    assert edges[-1] >= 300
    assert bars.sum() == len(values)
    assert bars.min() >= 10, "none is empty"
    np.testing.assert_allclose(edges[1:8], np.arange(7) + 0.5)


@pytest.mark.parametrize("values", [[], [3.0], [1.0, 1.0, 2.0], [np.nan] * 4, [0.0, np.inf, 5.0]])
def test_few_or_no_values_are_no_trouble(values):
    edges = bin_edges(np.array(values), 0, 10, 60)
    np.testing.assert_allclose(edges, np.linspace(0, 10, 61))
