"""What a run tells the user although it goes on: one sentence each."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from napari_cellama.core.slots import slot_names

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_cellama.core.encoder import EncoderInfo
    from napari_cellama.core.fidelity import Fidelity
    from napari_cellama.core.lengths import Cut
    from napari_cellama.core.tissue import Tissue
    from napari_cellama.recipe import Recipe


def about_data(adata: AnnData, recipe: Recipe, tissue: Tissue) -> list[str]:
    """Say what is odd about the cells, and where results will go that find their place taken."""
    notices = list(tissue.notices)
    if not adata.obs_names.is_unique:
        repeated = int(adata.obs_names.duplicated(keep=False).sum())
        notices.append(
            f"{_cells(repeated)} {_have(repeated)} a name that another has, too; cells are "
            "matched by their position in the data, not by name."
        )
    names = slot_names(adata, recipe.key_added)
    if not recipe.use_existing_graph and names["connectivities"].startswith(
        f"obsp/{recipe.key_added}_"
    ):
        notices.append(
            "The data have a spatial graph of their own, which stays; this run's is stored in "
            f"obsp['{names['connectivities'].removeprefix('obsp/')}']."
        )
    return notices


def about_neighbors(recipe: Recipe, tissue: Tissue) -> list[str]:
    """Say which sections have fewer cells than a neighbourhood is meant to have."""
    needed = 0 if recipe.use_existing_graph or recipe.radius is not None else recipe.n_neighbors
    if recipe.neighbors_in != "graph":
        needed = max(needed, recipe.n_sentence_neighbors)
    if recipe.neighbors_in == "sentence":
        needed = recipe.n_sentence_neighbors
    small = tissue.small_sections(needed)
    if not small:
        return []
    name, size = small[0]
    where = f"Section {name!r} has" if name else "There are"
    more = f" (and {len(small) - 1} more sections are as small)" if len(small) > 1 else ""
    return [
        f"{where} only {_cells(size)} with a position{more}, so that a cell has at most "
        f"{size - 1} neighbours there instead of {needed}."
    ]


def about_genes(negative: bool) -> list[str]:
    """Say how negative values are dealt with."""
    if not negative:
        return []
    return [
        "The matrix has negative values; genes are ranked by value and only those above zero "
        "are named."
    ]


def about_left_out(left_out: np.ndarray) -> list[str]:
    """Say how many cells get no niche, and why."""
    reasons = Counter(reason for reason in left_out if reason)
    if not reasons:
        return []
    listed = ", ".join(f"{count:,} {_because(reason)}" for reason, count in reasons.items())
    count = reasons.total()
    get = "gets" if count == 1 else "get"
    return [f"{_cells(count)} of {len(left_out):,} {get} no niche: {listed}."]


def about_cut(cut: Cut, info: EncoderInfo) -> list[str]:
    """Say what share of the sentences is longer than the model reads, and what that loses."""
    if cut.share <= 0:
        return []
    share = f"{cut.share:.0%}" if cut.share >= 0.01 else "Less than 1%"
    # "in some" where it is not lost in nearly all of those that are cut.
    lost = [part if often > 0.95 else f"{part} (in some)" for part, often in cut.parts.items()]
    return [
        f"{share} of the sentences exceed the model's limit of {info.max_seq_length} tokens and "
        f"are cut at their end, which loses {' and '.join(lost)}; name fewer genes or neighbours."
    ]


def about_fidelity(fidelity: Fidelity | None, asked: Recipe) -> list[str]:
    """Say how true predicted embeddings are, and what to do where that is not enough."""
    if fidelity is None:
        return []
    notices = [fidelity.sentence]
    if fidelity.verdict == "poor":
        notices.append(
            "The prediction is poor, so these niches are no more than a first look; run again "
            "with mode 'exact'."
        )
    elif asked.mode == "auto":
        notices.append(
            "Embedding all sentences would take this machine more than two minutes; choose mode "
            "'exact' for that."
        )
    return notices


def about_clusters(asked: int | None, found: int) -> list[str]:
    """Say that fewer or other than the number of niches asked for were found."""
    if asked is None or asked == found:
        return []
    niches = "1 niche was" if found == 1 else f"{found:,} niches were"
    return [f"{niches} found instead of the {asked:,} asked for."]


def _because(reason: str) -> str:
    """Return a reason as the end of a sentence."""
    return f"failed {reason}" if reason == "quality control" else f"with {reason}"


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count:,} cells"


def _have(count: int) -> str:
    return "has" if count == 1 else "have"
