"""Reads back what a quality control wrote into an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_cellama.core.annotations import is_annotation, read_labels
from napari_cellama.core.labels import LabelSet
from napari_cellama.core.qc import QCResult
from napari_cellama.core.qc_thresholds import BY_NAME, Thresholds
from napari_cellama.core.resolve import guess_library_key
from napari_cellama.core.slots import UNS
from napari_cellama.core.tissue import obs_feature
from napari_cellama.errors import UserError

if TYPE_CHECKING:
    from anndata import AnnData


#: The label set, and obs column, of cells that a hand has flagged.
FLAG = "flag"
#: Its names: flagged for no stated reason, and good whatever the limits say; others are reasons.
FLAGGED, ACCEPTED = "flagged", "accepted"


def stored_quality(adata: AnnData) -> tuple[QCResult | None, Thresholds]:
    """Return the metrics and limits that an AnnData carries.

    Parameters
    ----------
    adata
        Only read; its matrix need not be there.

    Returns
    -------
    result
        ``None`` where there are no metrics any more.
    thresholds
        The defaults where those that were kept cannot be read.
    """
    record = adata.uns.get(UNS, {}).get("qc", {})
    try:
        thresholds = Thresholds.from_json(str(record["thresholds"]))
    except (UserError, KeyError):
        thresholds = Thresholds()
    names = [name for name in adata.obs if name in BY_NAME or str(name).startswith("qc_image_")]
    numbers = [name for name in names if adata.obs[name].dtype.kind in "fiu"]
    if not numbers:
        return None, thresholds
    key = guess_library_key(adata.obs, adata.uns)
    feature = None if key is None else obs_feature(adata.obs, key)
    result = QCResult(
        adata.obs[numbers].astype(np.float64),
        None if feature is None else feature.codes,
        () if feature is None else feature.values,
        str(record.get("image", "")),
        tuple(str(text) for text in record.get("notices", ())),
        float(record.get("window", np.nan)),
    )
    return result, thresholds


def reasons_of(flags: LabelSet) -> dict[int, str]:
    """Return what flags say of single cells: a reason, or "" for a cell that is good."""
    reasons = ["" if name == ACCEPTED else name for name in flags.names]
    cells = np.flatnonzero(flags.codes >= 0)
    return {int(cell): reasons[flags.codes[cell]] for cell in cells}


def stored_by_hand(adata: AnnData) -> dict[int, str]:
    """Return what a person said of single cells, as :func:`reasons_of` does.

    It is read from the flags that were set in the window, or else from what the last quality
    control kept; a column of the user's own that has the flags' name says nothing.
    """
    if is_annotation(adata, FLAG) and FLAG in adata.obs:
        return reasons_of(read_labels(adata, FLAG))
    record = adata.uns.get(UNS, {}).get("qc", {})
    cells, why = record.get("by_hand_cells", ()), record.get("by_hand_reasons", ())
    if len(cells) != len(why):
        return {}
    found = zip(cells, why, strict=True)
    return {int(cell): str(text) for cell, text in found if 0 <= cell < adata.n_obs}
