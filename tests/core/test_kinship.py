"""What cells have in common with those in alike surroundings."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from napari_cellama.core import kinship
from napari_cellama.core.events import CancelToken
from napari_cellama.core.kinship import kin, settled
from napari_cellama.errors import Cancelled


class Cells:
    """Three subtypes in five kinds of surroundings: one is at home in three, one is rare."""

    def __init__(self, lean: float = 2.0, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        home = rng.permutation(np.repeat(np.arange(5), [150, 150, 150, 60, 30]))
        self.subtype = np.array([0, 0, 0, 1, 2])[home]
        middles = 4 * np.eye(5)[home]
        self.far = (middles + rng.normal(size=(len(home), 5))).astype(np.float32)
        self.near = (middles + rng.normal(0, 1.2, (len(home), 5))).astype(np.float32)
        own = rng.normal(size=(len(home), 12))
        own[:, :3] += lean * np.eye(3)[self.subtype]
        self.own = own.astype(np.float32)

    def divide(self, cancel: CancelToken | None = None) -> tuple[np.ndarray, np.ndarray]:
        found = kin(self.own, self.near, self.far, cancel=cancel)
        codes = KMeans(3, n_init=10, random_state=0).fit_predict(found.space)
        return settled(found, codes, cancel)

    def score(self, codes: np.ndarray) -> float:
        return adjusted_rand_score(self.subtype, codes)


@pytest.fixture(scope="module")
def cells() -> Cells:
    return Cells()


def test_surroundings_that_nothing_in_the_cells_goes_with_make_no_difference(cells):
    codes, sure = cells.divide()
    assert cells.score(codes) > 0.9
    by_surroundings = KMeans(3, n_init=10, random_state=0).fit_predict(cells.far)
    assert cells.score(by_surroundings) < 0.6
    by_themselves = KMeans(3, n_init=10, random_state=0).fit_predict(cells.own)
    assert cells.score(by_themselves) < 0.6
    assert (np.diff(np.bincount(codes)) <= 0).all()
    assert sure.min() >= 1 / 3
    assert sure.max() <= 1
    right = codes == cells.subtype  # by falling size, as the subtypes are
    assert sure[right].mean() > sure[~right].mean() + 0.1


def test_there_is_nothing_to_go_by_where_cells_are_alike_everywhere():
    for seed in range(5):
        nothing = Cells(lean=0, seed=seed)
        assert kin(nothing.own, nothing.near, nothing.far) is None
    same = np.zeros((50, 0), np.float32)
    assert kin(same, nothing.near[:50], nothing.far[:50]) is None


def test_many_cells_are_compared_with_some_of_them(cells, monkeypatch):
    monkeypatch.setattr(kinship, "_MOST_LEARNT", 200)
    found = kin(cells.own, cells.near, cells.far)
    assert len(found.learnt) == len(found.space) == 200
    assert len(found.own) == len(found.nearest) == len(cells.own)
    itself = found.learnt[found.nearest] == np.arange(len(cells.own))[:, None]
    assert not itself.any()
    assert cells.score(cells.divide()[0]) > 0.8


def test_no_group_gets_lost_among_the_others(cells):
    found = kin(cells.own, cells.near, cells.far)
    for seed in range(5):
        nonsense = np.random.default_rng(seed).integers(0, 8, len(found.learnt))
        assert len(np.unique(settled(found, nonsense)[0])) == 8


def test_it_stops_when_told(cells):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        cells.divide(token)
