"""What people type, put into the words of the sentences that it is compared with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from napari_cellama.core.sentences import NEAREST_CELLS

#: Words between what a cell is and what is found near it.
_NEARBY = re.compile(
    r"\b(?:(?:right )?next to|near(?:by| to)?|close to|adjacent to|besides?|bordering(?: on)?|"
    r"touching|surrounded by|neighbou?ring|in contact with|around)\b",
    re.IGNORECASE,
)
#: What may be left of a text when the genes are taken out, and says nothing by itself.
_FILLER = {
    *("a", "all", "and", "are", "cell", "cells", "find", "gene", "genes", "in", "is", "of", "or"),
    *("express", "expressed", "expressing", "expression", "high", "highly", "positive"),
    *("show", "that", "the", "top", "which", "with"),
}
#: A gene's name may hold dots, dashes and slashes, as in HLA-DRA and Ighv1-7.
_WORD = re.compile(r"[\w][\w.\-/]*")


@dataclass(frozen=True)
class Query:
    """A text, taken apart.

    Attributes
    ----------
    text
        As it was typed, without white space at its ends.
    genes
        The genes that it names, as the data write them.
    own
        What it says of the cells themselves: the text without genes and neighbours.
    near
        What it says of their neighbours; "" where it says nothing.
    """

    text: str
    genes: tuple[str, ...] = ()
    own: str = ""
    near: str = ""


def read_query(text: str, genes: Sequence[str] = ()) -> Query:
    """Find out what a text speaks of.

    Cell types are not looked up: the language model knows what a word is close to, be it a
    category's name, its plural or a synonym.

    Parameters
    ----------
    text
        In plain words, e.g. "oligodendrocytes next to endothelium".
    genes
        The data's genes. They are recognised as written; in another case only where the name has
        a digit, so that "rest" or "large" remain words.
    """
    text = " ".join(text.split()).rstrip(".")
    named = _genes_in(text, genes)
    rest = text
    for word in named:
        rest = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)\+?", " ", rest)
    own, *near = (_plain(part) for part in _NEARBY.split(rest, maxsplit=1))
    names = tuple(dict.fromkeys(named.values()))
    return Query(text, names, own, near[0] if near else "")


def sentence_for(view: str, query: Query, feature: str | None) -> str:
    """Write what a query says in the words of a view's sentences; "" where it says nothing.

    Parameters
    ----------
    view
        "genes", "features", "niche", or "cell" for all in one sentence.
    query
        What is looked for.
    feature
        How the features' sentences call what a cell is, e.g. "celltype".
    """
    if view == "genes":
        return genes_sentence(query.genes)
    if view == "features":
        return feature_sentence(feature or "celltype", query.own)
    around = query.near or query.own
    if view == "niche":
        return feature_sentence(NEAREST_CELLS, around)
    own = feature_sentence(feature, query.own) if feature else ""
    parts = genes_sentence(query.genes), own, feature_sentence(NEAREST_CELLS, around)
    return " ".join(filter(None, parts))


def genes_sentence(genes: Sequence[str]) -> str:
    """Return ``"Top genes are A, and B."``, ``"Top gene is A."`` or ``""``."""
    if len(genes) > 1:
        return f"Top genes are {', '.join(genes[:-1])}, and {genes[-1]}."
    return f"Top gene is {genes[0]}." if genes else ""


def feature_sentence(feature: str, value: str) -> str:
    """Return ``"celltype of this cell is B cell."``; "" without a value."""
    return f"{feature} of this cell is {value}." if value else ""


def _genes_in(text: str, genes: Sequence[str]) -> dict[str, str]:
    """Return the genes that a text names: as it writes them, as the data do."""
    as_written = {str(gene): str(gene) for gene in genes}
    with_digit = {
        gene.casefold(): gene for gene in as_written if any(char.isdigit() for char in gene)
    }
    found = {}
    for word in _WORD.findall(text):
        name = as_written.get(word) or with_digit.get(word.casefold())
        if name is not None:
            found[word] = name
    return found


def _plain(part: str) -> str:
    """Return what a part says, "" where only filling words are left."""
    part = re.sub(r"\s+([,;:])", r"\1", " ".join(part.split())).strip(" ,;:.+")
    words = re.findall(r"[\w/+-]+", part.casefold())
    return part if any(word not in _FILLER for word in words) else ""
