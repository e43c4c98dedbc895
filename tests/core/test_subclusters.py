"""Clusters within some of the cells."""

from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData
from sklearn.metrics import adjusted_rand_score

from napari_cellama.core.events import CancelToken, Progress
from napari_cellama.core.graph import spatial_graph
from napari_cellama.core.result import View
from napari_cellama.core.slots import side_by_side
from napari_cellama.core.subclusters import Divided, embedded_views, subclusters
from napari_cellama.errors import Cancelled, UserError
from napari_cellama.recipe import Recipe


class Section:
    """Two types of cells everywhere; what lies around them differs between west and east.

    One cell in three is of the type in question. Its own embedding leans a little to what it
    lies among, as subtypes' do; most of what differs between its cells is noise.
    """

    def __init__(self, n: int = 900, lean: float = 0.3, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        coords = rng.uniform(0, 1000, (n, 2))
        self.east = coords[:, 0] > 500
        self.of_type = rng.random(n) < 1 / 3
        d = 12
        vectors = rng.normal(0, 0.4, (n, d))
        around = np.where(self.east, 1.0, -1.0)
        vectors[:, 0] += np.where(self.of_type, lean, 1.0) * around
        vectors[:, 1] += np.where(self.of_type, 3.0, -3.0)
        vectors[:, 2] += rng.choice([-1.5, 1.5], n)  # differs strongly, and goes with nothing
        self.views = (View("genes", (), np.arange(n), vectors.astype(np.float32)),)
        self.graph, _ = spatial_graph(coords, n_neighbors=10)

    def divide(self, recipe: Recipe | None = None, cells: np.ndarray | None = None) -> Divided:
        cells = self.of_type if cells is None else cells
        *_, last = subclusters(self.views, self.graph, cells, recipe or Recipe(n_clusters=2))
        return last


@pytest.fixture(scope="module")
def section() -> Section:
    return Section()


@pytest.mark.parametrize("method", ["kmeans", "gmm", "leiden"])
def test_a_type_is_divided_by_its_surroundings(section, method):
    found = section.divide(Recipe(n_clusters=2, clustering=method))
    score = adjusted_rand_score(section.east[section.of_type], found.parts)
    assert score > (0.4 if method == "leiden" else 0.8)


@pytest.mark.parametrize("seed", range(3))
def test_also_where_its_own_expression_is_the_same_everywhere(seed):
    section = Section(lean=0.0, seed=seed)
    found = section.divide()
    assert adjusted_rand_score(section.east[section.of_type], found.parts) > 0.8


def test_the_same_seed_gives_the_same_parts_largest_first(section):
    one, other = section.divide(), section.divide()
    np.testing.assert_array_equal(one.parts, other.parts)
    sizes = np.bincount(one.parts)
    assert (np.diff(sizes) <= 0).all()
    assert one.confidence.min() >= 0
    assert one.confidence.max() <= 1


def test_auto_finds_a_number(section):
    assert 2 <= section.divide(Recipe()).n_parts <= 20


def test_the_record_says_what_was_done(section):
    record = section.divide(Recipe(n_clusters=3, seed=5)).record
    assert Recipe.from_json(record["recipe"]).seed == 5
    assert record["n_cells"] == section.of_type.sum()
    assert record["n_parts"] == 3
    assert len(record["cells_sha256"]) == 64


def test_cells_without_a_sentence_go_into_no_part(section):
    index = section.views[0].index.copy()
    gone = np.flatnonzero(section.of_type)[:4]
    index[gone] = -1
    views = (View("genes", (), index, section.views[0].vectors),)
    *_, found = subclusters(views, section.graph, section.of_type, Recipe(n_clusters=2))
    assert found.parts[:4].tolist() == [-1] * 4
    assert np.isnan(found.confidence[:4]).all()
    assert (found.parts[4:] >= 0).all()


def test_what_is_stored_of_cells_without_a_sentence_spoils_nothing(section):
    index = section.views[0].index.copy()
    gone = np.flatnonzero(section.of_type)[:4]
    index[gone] = -1
    views = (View("genes", (), index, section.views[0].vectors),)
    adata = AnnData(np.zeros((900, 1), np.float32), uns={"cellama": {"views": ["genes"]}})
    adata.obsm["X_cellama"] = side_by_side(views)
    assert np.isnan(adata.obsm["X_cellama"][gone]).all()
    recipe = Recipe(n_clusters=2)
    *_, found = subclusters(embedded_views(adata), section.graph, section.of_type, recipe)
    *_, expected = subclusters(views, section.graph, section.of_type, recipe)
    np.testing.assert_array_equal(found.parts, expected.parts)


def test_too_few_cells_are_refused_in_a_sentence(section):
    few = np.zeros(900, bool)
    few[:6] = True
    with pytest.raises(UserError, match="6 cells are too few to divide; select at least 10"):
        section.divide(Recipe(), few)
    with pytest.raises(UserError, match="select at least 600"):
        section.divide(Recipe(n_clusters=300))


def test_it_tells_how_far_it_is_and_stops_when_told(section):
    token = CancelToken()
    events = subclusters(section.views, section.graph, section.of_type, Recipe(), token)
    first = next(events)
    assert isinstance(first, Progress)
    assert first.stage == "Context"
    token.cancel()
    with pytest.raises(Cancelled):
        list(events)


def test_cells_that_all_read_the_same_are_one_part(section):
    views = (View("genes", (), np.zeros(900, int), np.ones((1, 4), np.float32)),)
    *_, found = subclusters(views, section.graph, section.of_type, Recipe(n_clusters=2))
    assert found.n_parts == 1
