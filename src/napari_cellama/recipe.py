"""The Recipe: every parameter that changes a result, in one frozen model.

The dock's form, the command line's options and the table in the documentation are generated
from the fields below. To add a parameter, add a field: its ``Field`` says everything that
those three need (``label`` and ``group`` for the form, ``description`` for tooltip and help).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_cellama.errors import UserError, unknown_name

AUTO = "auto"
SCHEMA_VERSION = 1

#: The form's groups from top to bottom; "Advanced" is folded.
GROUPS = ("Data", "Neighbourhood", "Sentence", "Model", "Niches", "Advanced")


def _field(default: Any, group: str, label: str, description: str, **rest: Any) -> Any:
    """Declare a parameter.

    For the form, ``choices`` names what it offers, e.g. ``"obs_column"``; ``names`` says the
    values in the user's words ("value" for a number where a word is possible, too); and
    ``instead_of`` names the parameter that this one replaces where it is given.
    """
    hints = ("choices", "names", "instead_of")
    extra = {"group": group, "label": label}
    extra |= {hint: rest.pop(hint) for hint in hints if hint in rest}
    return Field(default, description=description, json_schema_extra=extra, **rest)


class Recipe(BaseModel):
    """Every parameter of a run, frozen, with a JSON round trip.

    The same recipe on the same data gives the same labels in the window, from Python and on the
    command line.

    Raises
    ------
    UserError
        With one readable sentence, when a name is not a parameter or a value is not allowed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    schema_version: Literal[1] = Field(
        SCHEMA_VERSION, description="Version of this schema, so that old recipes stay readable."
    )

    cell_type_key: str | None = _field(
        AUTO,
        "Data",
        "Cell types",
        "The obs column that says what type each cell is. 'auto' looks for a familiar name; "
        "'none' works without cell types.",
        choices="cell_type_column",
    )
    library_key: str | None = _field(
        AUTO,
        "Data",
        "Sections",
        "The obs column that says which section (slice, sample) a cell lies in. Neighbours are "
        "never looked for in another section. 'auto' looks for a familiar name; 'none' treats "
        "all cells as one section.",
        choices="obs_column",
    )
    leave_out_failed: bool = _field(
        True,
        "Data",
        "Skip failed",
        "Leave out the cells that failed quality control (obs['qc_pass'] is False): they keep "
        "their row, get no niche and are nobody's neighbours.",
    )
    n_neighbors: Annotated[int, Field(ge=1, le=1000)] = _field(
        20,
        "Neighbourhood",
        "Neighbours",
        "How many nearest cells make up a cell's neighbourhood.",
    )
    radius: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = _field(
        None,
        "Neighbourhood",
        "Within radius",
        "Take every cell within this distance, in the data's unit, instead of a fixed number of "
        "nearest cells.",
        names={"none": "nearest", "value": "within"},
        instead_of="n_neighbors",
    )
    neighbors_in: Literal["graph", "sentence", "both"] = _field(
        "graph",
        "Neighbourhood",
        "How they enter",
        "How the neighbours enter: 'graph' averages the sentences' embeddings over the "
        "neighbourhood and finds most; 'sentence' writes their cell types into the cell's "
        "sentence, as CELLama does; 'both' does both.",
        names={
            "graph": "averaged over the graph",
            "sentence": "written into the sentence",
            "both": "both",
        },
    )
    n_top_genes: Annotated[int, Field(ge=1, le=500)] = _field(
        16,
        "Sentence",
        "Genes per cell",
        "How many of a cell's most expressed genes are named in its sentence.",
    )
    obs_features: tuple[str, ...] = _field(
        (),
        "Sentence",
        "Also say",
        "Further obs columns to put into the sentence: '{column} of this cell is {value}.'",
        choices="obs_columns",
    )
    model: str = _field(
        "all-MiniLM-L6-v2",
        "Model",
        "Model",
        "The sentence transformer: the bundled all-MiniLM-L6-v2, a folder, or a name on "
        "Hugging Face (downloaded on first use).",
        choices="model",
    )
    device: str = _field(
        AUTO,
        "Model",
        "Device",
        "Where the language model runs. 'auto' takes the GPU if there is one, 'cuda' all GPUs, "
        "'cuda:1' that one.",
        choices="device",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
    )
    mode: Literal["auto", "exact", "fast"] = _field(
        AUTO,
        "Model",
        "Embedding",
        "'exact' embeds every sentence; 'fast' embeds some, the landmarks, predicts the others "
        "from them, and says how true that is. 'auto' is fast where this machine would take more "
        "than two minutes.",
        names={"auto": "auto", "exact": "exact", "fast": "fast, approximate"},
    )
    n_clusters: Annotated[int, Field(ge=1, le=1000)] | Literal["auto"] = _field(
        AUTO,
        "Niches",
        "How many",
        "The number of niches, or 'auto' to take the largest number that is found again reliably "
        "when cells are drawn anew.",
        names={"auto": "auto", "value": "exactly"},
    )
    clustering: Literal["kmeans", "leiden", "gmm"] = _field(
        "kmeans",
        "Advanced",
        "Method",
        "How niches are found: by the vote of many runs of k-means, by Leiden on the nearest "
        "neighbours in niche space, or as a Gaussian mixture.",
        names={"kmeans": "k-means", "leiden": "Leiden", "gmm": "Gaussian mixture"},
    )
    n_runs: Annotated[int, Field(ge=1, le=1000)] = _field(
        100,
        "Advanced",
        "Runs that vote",
        "How many runs of k-means, each on another half of the cells, vote for a cell's niche. "
        "The share that agrees is part of the confidence.",
    )
    n_sentence_neighbors: Annotated[int, Field(ge=1, le=200)] = _field(
        10,
        "Advanced",
        "Neighbours named",
        "How many of the nearest cells are named, by type, in the sentence.",
    )
    n_landmarks: Annotated[int, Field(ge=20, le=20_000)] = _field(
        4000,
        "Advanced",
        "Landmarks",
        "How many cells' sentences are embedded in fast mode, at most; it stops earlier where more "
        "of them no longer help.",
    )
    niche_first: bool = _field(
        False,
        "Advanced",
        "Neighbours first",
        "Put the neighbours before the genes, so that a model's token limit never cuts them. "
        "Only matters when neighbours enter through the sentence alone.",
    )
    n_components: Annotated[int, Field(ge=1, le=384)] = _field(
        30,
        "Advanced",
        "Components",
        "To how many principal components each view's embedding is reduced before averaging.",
    )
    n_hops: Annotated[int, Field(ge=1, le=10)] = _field(
        2,
        "Advanced",
        "Hops",
        "How often embeddings are averaged over the neighbourhood: two hops reach the "
        "neighbours' neighbours.",
    )
    n_directions: Annotated[int, Field(ge=1, le=384)] = _field(
        20,
        "Advanced",
        "Shared directions",
        "How many directions of the embedding are kept: those in which neighbouring cells agree "
        "most, compared with how much single cells vary.",
    )
    layer: str | None = _field(
        None,
        "Advanced",
        "Layer",
        "The matrix that ranks the genes: a name in layers, 'raw', or none for X.",
        choices="layer",
    )
    use_existing_graph: bool = _field(
        False,
        "Advanced",
        "Use existing graph",
        "Average over the graph that is already in obsp['spatial_connectivities'] instead of "
        "building one.",
    )
    name_zero_genes: bool = _field(
        False,
        "Advanced",
        "Name zero genes",
        "Fill the sentence up with genes of zero counts, as the original CELLama does. "
        "For comparison only.",
    )
    neighbors_across_sections: bool = _field(
        False,
        "Advanced",
        "Across sections",
        "Name neighbours from other sections too, as the original CELLama does. "
        "For comparison only.",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = _field(
        AUTO,
        "Advanced",
        "Precision",
        "The language model's number format. 'auto' takes bfloat16 where the processor has it, "
        "which is nearly twice as fast.",
    )
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = _field(
        0, "Advanced", "Seed", "The random seed; the same seed gives the same niches."
    )
    key_added: Annotated[str, Field(min_length=1, pattern=r"^[^/]+$")] = _field(
        "niche",
        "Advanced",
        "Store as",
        "The obs column that the niches are written to. Another name keeps an earlier run's "
        "niches beside these.",
    )
    store_sentences: bool = _field(
        True, "Advanced", "Store sentences", "Keep every cell's sentence in obs['cell_sentence']."
    )
    store_embedding: Literal["auto", "yes", "no"] = _field(
        AUTO,
        "Advanced",
        "Store embedding",
        "Keep every cell's embedding in obsm['X_cellama']. 'auto' leaves it out above 2,000,000 "
        "cells, where it would take more than 6 GB.",
    )

    @model_validator(mode="before")
    @classmethod
    def _none_is_none(cls, data: Any) -> Any:
        """Read 'none' as no column, for forms and command lines, and one column as a list."""
        if isinstance(data, dict):
            optional = ("cell_type_key", "library_key", "layer", "radius")
            data = {k: None if k in optional and v in ("none", "") else v for k, v in data.items()}
            if isinstance(data.get("obs_features"), str):
                data["obs_features"] = (data["obs_features"],)
        return data

    def __init__(self, **values: Any) -> None:
        for name in values:
            if name not in type(self).model_fields:
                raise unknown_name("recipe parameter", name, type(self).model_fields)
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _refusal(error) from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise UserError(
            f"A recipe stays as it is; make another with recipe.replace({name}={value!r})."
        )

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read a recipe back from the JSON text that :meth:`to_json` wrote.

        Raises
        ------
        UserError
            When the text is not JSON, or not a recipe of a version that is known here.
        """
        import json

        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(
                f"The recipe is not valid JSON (line {error.lineno}: {error.msg})."
            ) from None
        if not isinstance(values, dict):
            raise UserError('The recipe must be a JSON object such as {"n_clusters": 7}.')
        version = values.get("schema_version", SCHEMA_VERSION)
        if version != SCHEMA_VERSION:
            raise UserError(
                f"The recipe has schema version {version!r}, but this program reads version "
                f"{SCHEMA_VERSION}; update napari-cellama or write the recipe anew."
            )
        return cls(**values)

    @classmethod
    def from_file(cls, path: str | Path) -> Recipe:
        """Read a recipe from a JSON file.

        Raises
        ------
        UserError
            When the file cannot be read, or :meth:`from_json` refuses its text.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not a text file"
            raise UserError(f"The recipe {path} cannot be read: {reason}.") from None
        return cls.from_json(text)

    def to_json(self) -> str:
        """Return the recipe as indented JSON text."""
        return self.model_dump_json(indent=2)

    def replace(self, **changes: Any) -> Recipe:
        """Return a copy with some values changed, validated like a new recipe."""
        return type(self)(**{**self.model_dump(), **changes})


#: What pydantic cannot say in a user's words.
_EXPECTED = {
    "n_clusters": "'auto' or a whole number from 1 to 1,000",
    "device": "auto, cpu, mps, cuda or cuda:N",
}


def _refusal(error: ValidationError) -> UserError:
    """Return one readable sentence about the first value that is wrong."""
    first = error.errors()[0]
    name = str(first["loc"][0])
    return UserError(f"The recipe's {name} cannot be {first['input']!r}: {_expected(name, first)}.")


def _expected(name: str, error: dict[str, Any]) -> str:
    """Say in words what values a parameter takes."""
    if name in _EXPECTED:
        return f"it must be {_EXPECTED[name]}"
    context = error.get("ctx", {})
    if "ge" in context:
        return f"it must be {context['ge']:,} or more"
    if "gt" in context:
        return f"it must be more than {context['gt']:g}"
    if "le" in context:
        return f"it must be at most {context['le']:,}"
    if "expected" in context:
        return f"it must be {context['expected']}"
    message = error["msg"].removeprefix("Input ")
    return message[0].lower() + message[1:].rstrip(".")
