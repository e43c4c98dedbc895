"""One opened tissue: a snapshot of what was read, and an overlay of what was made of it.

Nothing here writes to the user's AnnData. The snapshot shares its large arrays and has obs and
uns of its own; results, label sets and the selection lie beside it until they are applied or
saved. Values that several docks show (label sets, colouring) are immutable and replaced whole.
"""

from __future__ import annotations

import itertools
import re
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_cellama.errors import UserError, unknown_name

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from napari_cellama.core.result import NicheResult
    from napari_cellama.ui.layouts import Layout

_ids = itertools.count(1)


@dataclass(frozen=True)
class LabelSet:
    """A named partition of the cells, as the Clusters dock edits it.

    Attributes
    ----------
    key
        The obs column that it is saved as.
    codes
        (n,) int32 positions in ``names``; -1 for cells without a label.
    names, colors
        One name and one ``#rrggbb`` a cluster.
    """

    key: str
    codes: np.ndarray
    names: tuple[str, ...]
    colors: tuple[str, ...]

    @classmethod
    def from_column(cls, key: str, column: pd.Series, colors: tuple[str, ...]) -> LabelSet:
        """Return the labels of an obs column, with the given colours, one a category."""
        import pandas as pd

        categories = pd.Categorical(column)
        return cls(
            key,
            np.asarray(categories.codes, np.int32),
            tuple(str(name) for name in categories.categories),
            colors,
        )

    @property
    def sizes(self) -> np.ndarray:
        """(number of clusters,) int64: how many cells each has."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))

    def mask(self, *clusters: int) -> np.ndarray:
        """Return (n,) bool: which cells lie in any of the clusters."""
        return np.isin(self.codes, clusters)

    def categorical(self) -> pd.Categorical:
        """Return the labels as obs stores them."""
        import pandas as pd

        return pd.Categorical.from_codes(self.codes, categories=list(self.names))

    def renamed(self, cluster: int, name: str) -> LabelSet:
        """Return a copy in which one cluster has another name.

        Raises
        ------
        UserError
            When the name is empty or another cluster has it.
        """
        name = name.strip()
        if not name:
            raise UserError("A cluster's name cannot be empty.")
        if name in self.names and self.names.index(name) != cluster:
            raise UserError(f"Another cluster is already named {name!r}; choose another name.")
        names = tuple(name if i == cluster else old for i, old in enumerate(self.names))
        return replace(self, names=names)

    def recolored(self, cluster: int, color: str) -> LabelSet:
        """Return a copy in which one cluster has another colour.

        Raises
        ------
        UserError
            When the colour is not ``#rrggbb``.
        """
        if not re.fullmatch("#[0-9a-fA-F]{6}", color):
            raise UserError(f"{color!r} is not a colour; write it as #rrggbb, e.g. #1f77b4.")
        colors = tuple(color if i == cluster else old for i, old in enumerate(self.colors))
        return replace(self, colors=colors)


@dataclass(frozen=True)
class Coloring:
    """What the tissue is coloured by: a label set, an obs column, a gene, or a search's scores."""

    kind: Literal["labels", "obs", "gene", "score"]
    name: str


@dataclass(eq=False)
class Tissue:
    """An opened AnnData with everything that was made of it in this session.

    Attributes
    ----------
    name
        What users see: the file's stem or the name given.
    snapshot
        Obs, var, uns and positions as read; X too once ``has_matrix``.
    source
        The file it came from, if any.
    owner
        The user's own object (from :func:`napari_cellama.view`), written to only on request.
    results
        By ``key_added``.
    labels
        Label sets by key.
    scores
        What searches found: (n,) float32 by what was looked for; NaN where a cell has no score.
    layouts
        Maps of the cells by their slot in obsm.
    clusters
        The key of the label set that the Clusters dock shows; ``None`` before there is one.
    coloring
        What the tissue is coloured by; ``None`` for one plain colour.
    selection
        (n,) bool; no cell selected means that all are shown alike.
    picked
        The cell that was clicked last.
    """

    name: str
    snapshot: AnnData
    source: Path | None = None
    owner: AnnData | None = None
    has_matrix: bool = True
    results: dict[str, NicheResult] = field(default_factory=dict)
    labels: dict[str, LabelSet] = field(default_factory=dict)
    scores: dict[str, np.ndarray] = field(default_factory=dict)
    layouts: dict[str, Layout] = field(default_factory=dict)
    clusters: str | None = None
    coloring: Coloring | None = None
    selection: np.ndarray = field(init=False)
    picked: int | None = None
    saved: bool = True
    id: int = field(default_factory=lambda: next(_ids))

    def __post_init__(self) -> None:
        self.selection = np.zeros(self.n_obs, bool)
        # The niches of an earlier run are there to be looked at and edited.
        runs = self.snapshot.uns.get("cellama", {}).get("runs", {})
        self.clusters = next((key for key in reversed(runs) if key in self.snapshot.obs), None)

    @classmethod
    def from_adata(cls, adata: AnnData, name: str = "cells") -> Tissue:
        """Take a snapshot of the user's AnnData, which stays untouched and remains its owner's."""
        return cls(name, shallow_copy(adata), owner=adata)

    @property
    def n_obs(self) -> int:
        """The number of cells."""
        return self.snapshot.n_obs

    @property
    def units(self) -> str:
        """The coordinates' unit, "micrometre" or "pixel"."""
        from napari_cellama.core.units import units_of

        return units_of(self.snapshot)

    def label_set(self, key: str) -> LabelSet:
        """Return the label set of that key, making it from the obs column where there is none.

        Raises
        ------
        UserError
            When there is neither a label set nor an obs column of that name.
        """
        if key not in self.labels:
            if key not in self.snapshot.obs:
                raise unknown_name("obs column", key, self.snapshot.obs.columns)
            from napari_cellama.core.palette import colors_of

            column = self.snapshot.obs[key]
            self.labels[key] = LabelSet.from_column(
                key, column, colors_of(column, self.snapshot.uns)
            )
        return self.labels[key]

    def is_ours(self, key: str) -> bool:
        """Whether the label set of that key came from a run, not from the user's own column."""
        from napari_cellama.core.slots import is_ours

        made_here = key in self.results or key not in self.snapshot.obs
        return made_here or is_ours(self.snapshot, f"obs/{key}")

    def assemble(self) -> AnnData:
        """Return a new AnnData: the snapshot with all results and label sets in their slots."""
        adata = shallow_copy(self.snapshot)
        self.write_into(adata)
        return adata

    def write_into(self, adata: AnnData) -> list[str]:
        """Write all results and label sets into an AnnData of the same cells.

        Returns
        -------
        list of str
            The slots that were written.

        Raises
        ------
        UserError
            When the AnnData's cells are no longer those of the snapshot.
        """
        same = adata.n_obs == self.n_obs and (
            adata.obs_names is self.snapshot.obs_names
            or adata.obs_names.equals(self.snapshot.obs_names)
        )
        if not same:
            raise UserError(
                f"The AnnData has changed since it was opened ({self.n_obs:,} cells then, "
                f"{adata.n_obs:,} now, or another order), so the niches cannot be written to it; "
                "save them to a file instead, or open it again."
            )
        written: list[str] = []
        for result in self.results.values():
            written += result.apply(adata)
        for layout in self.layouts.values():
            from napari_cellama.core.umap import put_layout

            place = layout.run, layout.name, layout.places, layout.seed
            written.append(put_layout(adata, *place))
        for key, labels in self.labels.items():
            if self.is_ours(key):
                adata.obs[key] = labels.categorical()
                adata.uns[f"{key}_colors"] = list(labels.colors)
                written += [f"obs['{key}']", f"uns['{key}_colors']"]
        return list(dict.fromkeys(written))


def shallow_copy(adata: AnnData) -> AnnData:
    """Return an AnnData that shares the large arrays but has containers and obs of its own."""
    from anndata import AnnData

    raw = adata.raw
    with warnings.catch_warnings():
        # Repeated obs names are matched by position; the run says so where it matters.
        warnings.filterwarnings("ignore", message=".*names are not unique.*")
        return AnnData(
            X=adata.X,
            obs=adata.obs.copy(),
            var=adata.var.copy(),
            uns=dict(adata.uns),
            obsm=dict(adata.obsm),
            varm=dict(adata.varm),
            layers=dict(adata.layers),
            obsp=dict(adata.obsp),
            varp=dict(adata.varp),
            raw=None if raw is None else {"X": raw.X, "var": raw.var, "varm": dict(raw.varm)},
        )
