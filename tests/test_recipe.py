"""The Recipe: round trip, validation, and errors that a person can act on."""

from __future__ import annotations

import pickle
from copy import deepcopy
from inspect import signature

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_cellama.errors import UserError
from napari_cellama.recipe import GROUPS, Recipe


def test_every_parameter_can_be_shown() -> None:
    for name, field in Recipe.model_fields.items():
        if name == "schema_version":
            continue
        assert field.description, name
        assert field.description.rstrip("'").endswith((".", "]")), name
        assert field.json_schema_extra["group"] in GROUPS, name
        assert field.json_schema_extra["label"], name


@given(
    st.builds(
        Recipe,
        n_clusters=st.one_of(st.just("auto"), st.integers(1, 1000)),
        radius=st.one_of(st.none(), st.floats(1e-3, 1e6)),
        cell_type_key=st.one_of(st.none(), st.text(min_size=1)),
        obs_features=st.lists(st.text(min_size=1), max_size=3).map(tuple),
        neighbors_in=st.sampled_from(["both", "sentence", "graph"]),
        seed=st.integers(0, 2**31 - 1),
    )
)
def test_json_round_trip(recipe: Recipe) -> None:
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_frozen() -> None:
    recipe = Recipe()
    with pytest.raises(UserError, match=r"recipe\.replace\(seed=3\)"):
        recipe.seed = 3
    assert recipe.seed == 0


def test_help_names_the_parameters() -> None:
    assert "n_clusters" in signature(Recipe).parameters


def test_recipes_travel_between_processes() -> None:
    recipe = Recipe(n_clusters=3, obs_features=("a",))
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert deepcopy(recipe) == recipe


def test_none_can_be_said() -> None:
    assert Recipe(cell_type_key="none").cell_type_key is None
    assert Recipe(radius="").radius is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"n_clusters": 0}, "a whole number from 1 to 1,000"),
        ({"n_neighbors": 0}, "must be 1 or more"),
        ({"n_clusters": "many"}, "'auto' or a whole number"),
        ({"device": "gpu"}, "auto, cpu, mps, cuda or cuda:N"),
        ({"radius": -1}, "more than 0"),
        ({"clustering": "kmean"}, "'kmeans', 'leiden' or 'gmm'"),
        ({"seed": -1}, "0 or more"),
        ({"n_cluster": 7}, "did you mean 'n_clusters'"),
    ],
)
def test_refusals_are_one_sentence(values: dict, words: str) -> None:
    with pytest.raises(UserError) as caught:
        Recipe(**values)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not valid JSON"),
        ("[]", "must be a JSON object"),
        ('{"schema_version": 99}', "schema version 99"),
        ('{"sed": 1}', "did you mean 'seed'"),
    ],
)
def test_json_refusals(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Recipe.from_json(text)


def test_file_refusals(tmp_path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        Recipe.from_file(tmp_path / "missing.json")
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        Recipe.from_file(binary)
