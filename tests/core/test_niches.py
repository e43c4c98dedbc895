"""Another number of niches in a run's own niche space."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from core_tissues import HashEncoder, finish

from napari_cellama.core.events import CancelToken, Finished, Progress
from napari_cellama.core.niches import regroup
from napari_cellama.errors import Cancelled, UserError
from napari_cellama.recipe import Recipe


@pytest.mark.parametrize("cell_type_key", ["celltype", None])
def test_regrouping_finds_what_a_whole_run_would(tissue, encoder, cell_type_key) -> None:
    tissue.obsm["spatial"][5] = np.nan
    auto, _ = finish(tissue, Recipe(cell_type_key=cell_type_key), encoder)
    number = len(auto.labels.categories) + 1
    recipe = Recipe(cell_type_key=cell_type_key, n_clusters=number)
    expected, _ = finish(tissue, recipe, HashEncoder())
    embedded = len(encoder.embedded)
    progress, finished = regroup(auto, number)
    assert isinstance(progress, Progress)
    assert isinstance(finished, Finished)
    again = finished.result
    assert len(encoder.embedded) == embedded
    assert (again.labels.codes == expected.labels.codes).all()
    assert again.colors == expected.colors
    np.testing.assert_array_equal(again.confidence, expected.confidence)
    pd.testing.assert_frame_equal(again.composition, expected.composition)
    for name in ("recipe", "recipe_asked", "data_sha256"):
        assert again.provenance[name] == expected.provenance[name]
    assert again.provenance["stability"] == auto.provenance["stability"]
    assert json.loads(auto.provenance["recipe"])["n_clusters"] == number - 1


def test_too_many_niches_and_a_cancel(tissue, encoder) -> None:
    result, _ = finish(tissue, Recipe(n_clusters=3), encoder)
    with pytest.raises(UserError, match="cannot be found among"):
        list(regroup(result, tissue.n_obs + 1))
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        list(regroup(result, 4, cancel=token))
