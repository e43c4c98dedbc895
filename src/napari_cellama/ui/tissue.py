"""One opened tissue: a snapshot of what was read, and an overlay of what was made of it.

Nothing here writes to the user's AnnData. The snapshot shares its large arrays and has obs and
uns of its own; results, label sets and the selection lie beside it until they are applied or
saved. Values that several docks show (label sets, colouring) are immutable and replaced whole.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_cellama.core.image_choices import ImageChoices
from napari_cellama.core.labels import LabelSet
from napari_cellama.core.qc_thresholds import Thresholds
from napari_cellama.errors import need_anndata, unknown_name
from napari_cellama.ui.commands import History, State
from napari_cellama.ui.keeping import read_made, write_made

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from napari_cellama.core.boundaries import Boundaries
    from napari_cellama.core.qc import QCResult
    from napari_cellama.core.result import NicheResult
    from napari_cellama.io.attached import Attached
    from napari_cellama.ui.layouts import Layout

_ids = itertools.count(1)


@dataclass(frozen=True)
class Coloring:
    """What the tissue is coloured by.

    A label set, an obs column, a gene, a search's scores, or what quality control found wrong.
    """

    kind: Literal["labels", "obs", "gene", "score", "quality"]
    name: str

    @property
    def is_quality(self) -> bool:
        """Whether it is by what quality control found wrong."""
        return self.kind == "quality"


#: How cells are drawn: a dot each, their outlines filled, or the outlines alone.
Shape = Literal["dots", "filled", "outlines"]


@dataclass(frozen=True)
class Scale:
    """How numbers become colours.

    Attributes
    ----------
    colormap
        One of :data:`COLORMAPS`.
    clip
        The percentage of values that is beyond either end.
    limits
        The values at the ends, instead of those by ``clip``.
    layer
        The matrix that genes are read from: a name in layers, "raw", or ``None`` for X.
    """

    colormap: str = "viridis"
    clip: float = 1.0
    limits: tuple[float, float] | None = None
    layer: str | None = None


#: Perceptually uniform, and readable with any colour vision; in matplotlib and napari alike.
COLORMAPS = ("viridis", "cividis", "magma", "inferno", "plasma", "gray")


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
    quality
        What quality control measured; ``None`` before it has.
    thresholds
        What a cell must measure up to.
    images
        The images in files of their own; they stand in the snapshot's uns, too.
    choices
        Which images are measured, and what pictures of cells show.
    clusters
        The key of the label set that the Clusters dock shows; ``None`` before there is one.
    coloring
        What the tissue is coloured by; ``None`` for one plain colour.
    scale
        How numbers become colours.
    boundaries
        The cells' outlines; ``None`` where there are none or they have not been read yet.
    shape
        How cells are drawn, as far as there are outlines.
    selection
        (n,) bool; no cell selected means that all are shown alike. Replaced, never written to.
    hidden
        (n,) bool: cells that are not drawn and cannot be picked. Replaced, never written to.
    history
        What can be undone and redone.
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
    quality: QCResult | None = None
    thresholds: Thresholds = field(default_factory=Thresholds)
    images: tuple[Attached, ...] = ()
    choices: ImageChoices = field(default_factory=ImageChoices)
    clusters: str | None = None
    coloring: Coloring | None = None
    scale: Scale = Scale()
    boundaries: Boundaries | None = None
    shape: Shape = "dots"
    selection: np.ndarray = field(init=False)
    hidden: np.ndarray = field(init=False)
    history: History = field(default_factory=History)
    picked: int | None = None
    saved: bool = True
    id: int = field(default_factory=lambda: next(_ids))
    #: What :mod:`~.judging` worked out last, and of what.
    judged: Any = field(default=None, repr=False)
    #: The limits, images and choices that it came with.
    came_with: tuple[Thresholds, tuple[Attached, ...], ImageChoices] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        need_anndata(self.snapshot, "view")
        self.selection = np.zeros(self.n_obs, bool)
        self.hidden = np.zeros(self.n_obs, bool)
        read_made(self)
        self.came_with = (self.thresholds, self.images, self.choices)

    @classmethod
    def from_adata(cls, adata: AnnData, name: str = "cells") -> Tissue:
        """Take a snapshot of the user's AnnData, which stays untouched and remains its owner's."""
        return cls(name, shallow_copy(adata), owner=adata)

    @property
    def n_obs(self) -> int:
        """The number of cells."""
        return self.snapshot.n_obs

    @property
    def n_selected(self) -> int:
        """How many cells are selected."""
        return int(np.count_nonzero(self.selection))

    @property
    def state(self) -> State:
        """Everything that can be undone, as it is now."""
        masks = self.selection, self.hidden
        seen = self.thresholds, self.images, self.choices
        return State(dict(self.labels), self.clusters, *masks, *seen, self.quality)

    def restore(self, state: State) -> None:
        """Be as in that state."""
        self.labels = dict(state.labels)
        self.clusters = state.clusters
        self.selection, self.hidden = state.selection, state.hidden
        self.thresholds, self.choices = state.thresholds, state.choices
        self.quality = state.quality
        if state.images is not self.images:
            self.images = state.images
            self._keep_images()

    def take_matrix(self, adata: AnnData) -> None:
        """Take the whole of what was read in part before."""
        self.snapshot, self.has_matrix = adata, True
        if self.images is not self.came_with[1]:
            self._keep_images()

    def _keep_images(self) -> None:
        """Let jobs that read the snapshot find the images where they are now."""
        from napari_cellama.io.attached import write_attached

        write_attached(self.snapshot, self.images)

    @property
    def changed_quality(
        self,
    ) -> tuple[Thresholds | None, tuple[Attached, ...] | None, ImageChoices | None]:
        """Limits, images and choices where they are others than it came with; else ``None``."""
        limits, images, choices = self.came_with
        return (
            None if self.thresholds == limits else self.thresholds,
            None if self.images is images else self.images,
            None if self.choices == choices else self.choices,
        )

    @property
    def units(self) -> str:
        """The coordinates' unit, "micrometre" or "pixel"."""
        from napari_cellama.core.units import units_of

        return units_of(self.snapshot)

    @property
    def type_key(self) -> str | None:
        """The obs column of the cell types: that of the last run, else the likeliest."""
        from napari_cellama.core.resolve import guess_cell_type_key
        from napari_cellama.core.slots import recipe_of

        for result in reversed(self.results.values()):
            if (key := recipe_of(result).cell_type_key) in self.snapshot.obs:
                return key
        return guess_cell_type_key(self.snapshot.obs, self.snapshot.uns)

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
            from napari_cellama.core.annotations import read_labels

            self.labels[key] = read_labels(self.snapshot, key)
        return self.labels[key]

    @property
    def confidences(self) -> dict[str, str]:
        """The columns that say how sure each cell's niche is, and the results they belong to."""
        return {f"{key}_confidence": key for key in self.results}

    def column(self, name: str) -> pd.Series | None:
        """Return an obs column, also one that a run of this session made; ``None`` if none."""
        if name in self.confidences:
            import pandas as pd

            return pd.Series(self.results[self.confidences[name]].confidence, name=name)
        if self.quality is not None and name in self.quality.table:
            return self.quality.table[name]
        return self.snapshot.obs.get(name)

    def is_ours(self, key: str) -> bool:
        """Whether the label set of that key was found or made here, and is no column of theirs."""
        from napari_cellama.core.annotations import is_annotation
        from napari_cellama.core.slots import is_ours

        if key in self.results or key not in self.snapshot.obs:
            return True
        return is_ours(self.snapshot, f"obs/{key}") or is_annotation(self.snapshot, key)

    def is_edited(self, key: str) -> bool:
        """Whether a hand has changed the label set of that key, here or before it was saved."""
        from napari_cellama.core.annotations import is_annotation

        if key not in self.labels and not is_annotation(self.snapshot, key):
            return False
        return self.label_set(key).edited

    def assemble(self) -> AnnData:
        """Return a new AnnData: the snapshot with all results and label sets in their slots."""
        adata = shallow_copy(self.snapshot)
        write_made(self, adata)
        return adata


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
