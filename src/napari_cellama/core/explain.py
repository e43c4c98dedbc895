"""Why a cell is where it is: its sentence in parts, and how far each part moves the embedding."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from napari_cellama.core.events import CancelToken, Progress
from napari_cellama.core.matrix import expression, row_of
from napari_cellama.core.query import feature_sentence, genes_sentence
from napari_cellama.core.ranking import top_genes
from napari_cellama.core.sentences import NEAREST_CELLS, UNKNOWN
from napari_cellama.core.tissue import Tissue, n_searched
from napari_cellama.core.vectors import EmbeddingCache, embed

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_cellama.core.encoder import Encoder
    from napari_cellama.recipe import Recipe

#: What stands before the first gene and the first neighbour.
_OPENINGS = {"gene": "Top genes? (?:is|are) ", "neighbour": f"{NEAREST_CELLS} of this cell is "}

Kind = Literal["gene", "feature", "neighbour"]


@dataclass(frozen=True)
class Part:
    """One thing that a cell's sentence says.

    Attributes
    ----------
    kind
        A gene, something that obs says, or a neighbour's type.
    text
        As the sentence has it: the gene, the value, the type.
    name
        The obs column of a feature; else "".
    value
        A gene's value in the cell, NaN for others.
    view
        The name of the view whose sentence says it.
    is_cut
        Whether the model's token limit cuts it off.
    moved
        1 - cosine between the embeddings of the sentence with and without it; NaN where the
        sentence says nothing else.
    """

    kind: Kind
    text: str
    name: str = ""
    value: float = float("nan")
    view: str = ""
    is_cut: bool = False
    moved: float = float("nan")


@dataclass(frozen=True)
class Explained:
    """A cell's sentences and their parts, in the order of the text.

    Attributes
    ----------
    cell
        The cell's row.
    sentences
        (view, text) as a run writes them; empty for a cell that is left out.
    parts
        What they say.
    tokens
        Each sentence's length.
    limit
        The model's.
    """

    cell: int
    sentences: tuple[tuple[str, str], ...]
    parts: tuple[Part, ...]
    tokens: tuple[int, ...] = ()
    limit: int = 0

    def table(self) -> pd.DataFrame:
        """Return the parts, one row each."""
        rows = [
            (part.view, part.kind, part.name, part.text, part.value, part.is_cut, part.moved)
            for part in self.parts
        ]
        names = ["view", "kind", "column", "part", "value", "cut", "moves_embedding_by"]
        return pd.DataFrame(rows, columns=names)


def take_apart(adata: AnnData, recipe: Recipe, tissue: Tissue, cell: int) -> Explained:
    """Write a cell's sentences and keep their parts; nothing is embedded.

    Parameters
    ----------
    adata, recipe, tissue, cell
        As for :func:`~.sentences.sentence_of`.
    """
    if tissue.left_out[cell]:
        return Explained(cell, (), ())
    matrix, names = expression(adata, recipe.layer)
    row = row_of(matrix, cell)
    genes = top_genes(row[None, :], recipe.n_top_genes, recipe.name_zero_genes)[0]
    genes = genes[genes >= 0]
    if not len(genes):
        return Explained(cell, (), ())
    parts = [Part("gene", str(names[i]), value=float(row[i])) for i in genes]
    for feature in tissue.features:
        code = feature.codes[cell]
        value = feature.values[code] if code >= 0 else UNKNOWN
        parts.append(Part("feature", value, feature.name))
    if recipe.neighbors_in != "graph":
        nearest, _ = tissue.naming.nearest(n_searched(recipe), np.array([cell]))
        codes = tissue.named_types(nearest, recipe.n_sentence_neighbors)[0]
        near = [Part("neighbour", str(tissue.types.categories[i])) for i in codes if i >= 0]
        parts += near or [Part("neighbour", UNKNOWN)]
    views = {"gene": "genes", "feature": "features", "neighbour": "niche"}
    joined = recipe.neighbors_in == "sentence"
    if joined and recipe.niche_first:
        parts.sort(key=lambda part: part.kind != "neighbour")
    parts = [replace(part, view="cell" if joined else views[part.kind]) for part in parts]
    sentences = tuple((view, _text(parts, view)) for view in dict.fromkeys(p.view for p in parts))
    return Explained(cell, sentences, tuple(parts))


def explaining(
    explained: Explained,
    encoder: Encoder,
    cache: EmbeddingCache,
    cancel: CancelToken,
) -> Generator[Progress, None, Explained]:
    """Yield how far it is, and return the parts with what is cut and how far each one moves.

    Each part is left out once and the sentence embedded without it.

    Parameters
    ----------
    explained
        From :func:`take_apart`.
    encoder, cache
        Embed the sentences; as for :func:`~.vectors.embed`.
    cancel
        Checked between steps.
    """
    if not explained.sentences:
        return explained
    parts, texts = list(explained.parts), dict(explained.sentences)
    yield Progress("Model")
    limit = encoder.load(cancel).max_seq_length
    tokens = encoder.count_tokens(list(texts.values()))
    ends = encoder.count_tokens(_beginnings(parts, texts))
    without = [_text([p for p in parts if p is not part], part.view) for part in parts]
    asked = [*texts.values(), *(text for text in without if text)]
    vectors = yield from embed(asked, encoder, cache, cancel)
    whole = dict(zip(texts, vectors, strict=False))
    rest = iter(vectors[len(texts) :])
    moved = [
        max(0.0, 1 - float(next(rest) @ whole[part.view])) if text else float("nan")
        for part, text in zip(parts, without, strict=True)
    ]
    parts = [
        replace(part, is_cut=bool(end > limit), moved=far)
        for part, end, far in zip(parts, ends, moved, strict=True)
    ]
    return replace(explained, parts=tuple(parts), tokens=tuple(int(n) for n in tokens), limit=limit)


def _text(parts: Sequence[Part], view: str) -> str:
    """Write what some parts say of a view; "" where none does."""
    sentences = []
    for kind, group in groupby((part for part in parts if part.view == view), lambda p: p.kind):
        said = list(group)
        texts = [part.text for part in said]
        if kind == "gene":
            sentences.append(genes_sentence(texts))
        elif kind == "neighbour":
            sentences.append(feature_sentence(NEAREST_CELLS, ",".join(texts)))
        else:
            sentences += [feature_sentence(part.name, part.text) for part in said]
    return " ".join(sentences)


def _beginnings(parts: Sequence[Part], texts: dict[str, str]) -> list[str]:
    """Return, for each part, its sentence up to and with it."""
    ends = (end for _, end in spans(parts, texts))
    return [texts[part.view][:end] for part, end in zip(parts, ends, strict=True)]


def spans(parts: Sequence[Part], texts: dict[str, str]) -> list[tuple[int, int]]:
    """Return where in its view's text each part begins and ends."""
    at = dict.fromkeys(texts, 0)
    found = []
    for part in parts:
        text, start = texts[part.view], at[part.view]
        # Past the words before the first of a kind, which may hold the same letters.
        opening = _OPENINGS.get(part.kind, f"{re.escape(part.name)} of this cell is ")
        there = re.compile(opening).search(text, start)
        begin = text.index(part.text, there.end() if there else start)
        at[part.view] = begin + len(part.text)
        found.append((begin, at[part.view]))
    return found
