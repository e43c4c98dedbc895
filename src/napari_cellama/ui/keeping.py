"""What is made of a tissue, in an AnnData's slots: found there on opening, put there on keeping."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_cellama.core.image_choices import read_choices, write_choices
from napari_cellama.errors import UserError

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_cellama.ui.tissue import Tissue


def read_made(tissue: Tissue) -> None:
    """Let a tissue have what an earlier session left in its snapshot, to look at and edit."""
    snapshot = tissue.snapshot
    ours = snapshot.uns.get("cellama", {})
    runs = ours.get("runs", {})
    tissue.clusters = next((key for key in reversed(runs) if key in snapshot.obs), None)
    if "qc" in ours:
        from napari_cellama.core.qc_stored import stored_quality

        tissue.quality, tissue.thresholds = stored_quality(snapshot)
    if "images" in ours:
        from napari_cellama.io.attached import read_attached

        tissue.images = tuple(read_attached(snapshot)[0])
    tissue.choices = read_choices(snapshot)


def write_made(tissue: Tissue, adata: AnnData) -> list[str]:
    """Write all results and label sets of a tissue into an AnnData of the same cells.

    Returns
    -------
    list of str
        The slots that were written.

    Raises
    ------
    UserError
        When the AnnData's cells are no longer those of the snapshot.
    """
    _need_same_cells(tissue, adata)
    written: list[str] = []
    for result in tissue.results.values():
        written += result.apply(adata)
    for layout in tissue.layouts.values():
        from napari_cellama.core.umap import put_layout

        place = layout.run, layout.name, layout.places, layout.seed
        written.append(put_layout(adata, *place))
    for key, labels in tissue.labels.items():
        if tissue.is_ours(key):
            from napari_cellama.core.annotations import write_labels

            written += write_labels(adata, labels)
    if tissue.quality is not None:
        from napari_cellama.ui.judging import by_hand

        written += tissue.quality.apply(adata, tissue.thresholds, by_hand(tissue))
    _, images, choices = tissue.came_with
    if tissue.images is not images:
        from napari_cellama.io.attached import write_attached

        write_attached(adata, tissue.images)
        written.append("uns/cellama")
    if tissue.choices != choices:
        write_choices(adata, tissue.choices)
        written.append("uns/cellama")
    return list(dict.fromkeys(written))


def _need_same_cells(tissue: Tissue, adata: AnnData) -> None:
    """Refuse an AnnData that its owner has changed in length or order."""
    names = tissue.snapshot.obs_names
    same = adata.obs_names is names or adata.obs_names.equals(names)
    if adata.n_obs != tissue.n_obs or not same:
        raise UserError(
            f"The AnnData has changed since it was opened ({tissue.n_obs:,} cells then, "
            f"{adata.n_obs:,} now, or another order), so the niches cannot be written to it; "
            "save them to a file instead, or open it again."
        )
