"""Quality control: metrics of cells and pixels, flags with reasons, and niches that are faults."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_cellama.core.events import CancelToken, Notice, Progress
from napari_cellama.core.image_qc import ImageQC, image_metrics
from napari_cellama.core.niche_faults import niche_aucs, suspicious_niches
from napari_cellama.core.qc_metrics import cell_metrics
from napari_cellama.core.qc_thresholds import Thresholds, flags, reasons
from napari_cellama.core.resolve import guess_cell_type_key, guess_library_key
from napari_cellama.core.section_image import SectionImage
from napari_cellama.core.slots import UNS
from napari_cellama.core.spatial_images import (
    image_to_judge,
    images_for,
    images_of,
    is_blank,
    misfit,
    spot_diameter,
)
from napari_cellama.core.tissue import obs_feature, obs_types, positions
from napari_cellama.errors import UserError

if TYPE_CHECKING:
    from anndata import AnnData

#: What says that a cell is good, and why not.
_FLAGS = ("obs/qc_pass", "obs/qc_reason")
#: From this share of the cells outside the tissue on, an image is suspected.
_ON_GLASS = 0.2
#: Names of the metrics that come from pixels, as :func:`~.image_qc.image_metrics` calls them.
_FROM_PIXELS = {
    "signal": "qc_image_signal",
    "sharpness": "qc_image_sharpness",
    "signal_excess": "qc_image_signal_excess",
    "sharpness_excess": "qc_image_sharpness_excess",
    "saturation": "qc_image_saturation",
    "nuclear": "qc_image_nuclear",
    "edge_distance": "qc_edge_distance",
}


@dataclass(frozen=True)
class QCResult:
    """What quality control found, for n cells in the data's order; nothing is written yet.

    Attributes
    ----------
    table
        One row a cell, metrics by their obs names.
    section
        (n,) int codes; ``None`` where there is one section.
    sections
        The sections' names.
    image_name
        The image that was read, "" where there was none.
    notices
        What the user was told, one sentence each.
    window
        Half the width of the windows around cells, in the coordinates' unit.
    """

    table: pd.DataFrame
    section: np.ndarray | None = None
    sections: tuple[str, ...] = ()
    image_name: str = ""
    notices: tuple[str, ...] = ()
    window: float = float("nan")
    seen: Mapping[str, ImageQC] = field(default_factory=dict)

    def faults(self, thresholds: Thresholds) -> pd.DataFrame:
        """Return (n, faults) bool: which cells have which fault."""
        return flags(self.table, thresholds, self.section)

    def section_labels(self) -> pd.Categorical | None:
        """Return the sections as a categorical; ``None`` where there is one."""
        if self.section is None:
            return None
        return pd.Categorical.from_codes(self.section, list(self.sections))

    def aucs(self, labels: pd.Categorical) -> pd.DataFrame:
        """Return how well each metric picks out each niche: see :func:`.niche_aucs`."""
        return niche_aucs(labels, self.table)

    def artefacts(self, labels: pd.Categorical, thresholds: Thresholds) -> dict[str, str]:
        """Return the niches that a fault explains, and why in words."""
        width = None if np.isnan(self.window) else 2 * self.window
        faults = self.faults(thresholds)
        return suspicious_niches(labels, self.table, faults, self.section_labels(), width)

    def apply(
        self,
        adata: AnnData,
        thresholds: Thresholds,
        by_hand: Mapping[int, str] | None = None,
    ) -> list[str]:
        """Write metrics and flags into an AnnData of the same cells; nothing is deleted.

        Parameters
        ----------
        adata
            Whose ``obs['qc_pass']``, ``obs['qc_reason']``, ``obs['qc_…']`` and
            ``uns['cellama']['qc']`` are written.
        thresholds
            The limits.
        by_hand
            What a person said of single cells: a reason, or "" for a cell that is good whatever
            the limits say.

        Returns
        -------
        list of str
            What was written, as ``"obs/qc_pass"``.

        Raises
        ------
        UserError
            When the cells are others than those that were judged.
        """
        if adata.n_obs != len(self.table):
            raise UserError(
                f"Quality control judged {len(self.table):,} cells, but the data have "
                f"{adata.n_obs:,}; run it again."
            )
        written = []
        for name in self.table.columns:
            adata.obs[name] = self.table[name].to_numpy()
            written.append(f"obs/{name}")
        why = reasons(self.faults(thresholds))
        for cell, reason in (by_hand or {}).items():
            why[cell] = reason
        adata.obs["qc_pass"] = why == ""
        adata.obs["qc_reason"] = pd.Categorical(why.astype(str))
        _record(self, adata, thresholds, by_hand or {})
        return [*written, "obs/qc_pass", "obs/qc_reason", f"uns/{UNS}"]


def _record(
    result: QCResult, adata: AnnData, thresholds: Thresholds, by_hand: Mapping[int, str]
) -> None:
    """Keep what was decided in ``uns``, and take the flags over from runs that set them."""
    record = dict(adata.uns.get(UNS, {}))
    cells = sorted(by_hand)
    record["qc"] = {
        "thresholds": thresholds.to_json(),
        "image": result.image_name,
        "window": float(result.window),
        "notices": np.array(result.notices, object),
        "by_hand_cells": np.array(cells, np.int64),
        "by_hand_reasons": np.array([by_hand[cell] for cell in cells], object),
    }
    runs = {}
    for key, run in dict(record.get("runs", {})).items():
        kept = [slot for slot in run.get("slots", ()) if slot not in _FLAGS]
        runs[key] = {**run, "slots": np.array(kept, object)}
    if runs:
        record["runs"] = runs
    adata.uns[UNS] = record


def judge(
    adata: AnnData,
    *,
    images: Mapping[str, list[SectionImage]] | None = None,
    image: str | None = None,
    channels: tuple[str, ...] | None = None,
    n_top_genes: int = 16,
    cancel: CancelToken | None = None,
) -> Generator[Progress | Notice, None, QCResult]:
    """Measure cells and the pixels around them, telling of every step.

    Parameters
    ----------
    adata
        Only read.
    images
        By section, or under any name where there is one section; by default those of
        ``uns['spatial']``.
    image
        The name of the image to read, e.g. "hires"; "none" reads none. By default the finest
        coloured one with the cells on it, else the finest.
    channels
        As for :func:`~.image_qc.image_metrics`.
    n_top_genes
        How many genes a sentence asks for.
    cancel
        Checked between steps.

    Yields
    ------
    Progress, Notice

    Returns
    -------
    QCResult

    Raises
    ------
    UserError
        When the positions cannot be used, or the image that was asked for is not there or cannot
        be read.
    Cancelled
        When the token says so.
    """
    cancel = cancel or CancelToken()
    yield Progress("Cells")
    coords = positions(adata)
    key = guess_library_key(adata.obs, adata.uns)
    feature = None if key is None else obs_feature(adata.obs, key)
    section = None if feature is None else feature.codes
    table, notices = cell_metrics(adata, coords, section, n_top_genes, cancel)
    yield from map(Notice, notices)
    images = images_of(adata) if images is None else images
    sections = {"": np.arange(adata.n_obs)}
    if feature is not None:
        codes = enumerate(feature.values)
        sections = {name: np.flatnonzero(feature.codes == code) for code, name in codes}
    columns = {name: np.full(adata.n_obs, np.nan) for name in _FROM_PIXELS.values()}
    seen: dict[str, ImageQC] = {}
    names: list[str] = []
    _refuse_unknown(image, images)
    for name, cells in sections.items():
        own = images_for(images, name, several=len(sections) > 1)
        chosen, told = _choose(own, coords[cells, :2], image, name)
        notices += told
        yield from map(Notice, told)
        if chosen is None:
            continue
        if channels and chosen.rgb:
            told = [
                f"The image {chosen.name!r} is in colours, of which none is chosen; "
                f"{', '.join(channels)} is not looked for."
            ]
            notices += told
            yield from map(Notice, told)
        seen[name] = yield from image_metrics(
            chosen,
            coords[cells, :2],
            types=_types(adata, cells),
            channels=channels,
            spot_diameter=spot_size(adata, name),
            cancel=cancel,
        )
        for column in seen[name].table:
            slot = _FROM_PIXELS.get(column, f"qc_image_{column.replace(' ', '_')}")
            columns.setdefault(slot, np.full(adata.n_obs, np.nan))
            columns[slot][cells] = seen[name].table[column]
        names.append(chosen.name)
        told = _mostly_glass(seen[name], chosen.name)
        notices += told
        yield from map(Notice, told)
    if seen:
        table = table.assign(**{k: v for k, v in columns.items() if np.isfinite(v).any()})
    return QCResult(
        table,
        section,
        () if feature is None else feature.values,
        ", ".join(dict.fromkeys(names)),
        tuple(notices),
        float(np.mean([one.radius for one in seen.values()])) if seen else float("nan"),
        seen,
    )


def _refuse_unknown(wanted: str | None, images: Mapping[str, list[SectionImage]]) -> None:
    """Refuse an image that no section has; one that some have is read there."""
    there = list(dict.fromkeys(one.name for group in images.values() for one in group))
    if wanted not in (None, "none", *there) and there:
        raise UserError(f"There is no image {wanted!r}; there are: {', '.join(there)}.")


def _choose(
    images: list[SectionImage], xy: np.ndarray, wanted: str | None, section: str
) -> tuple[SectionImage | None, list[str]]:
    """Return the image to read for a section, and what to say of it."""
    where = f" of section {section}" if section else ""
    if wanted == "none":
        return None, []
    if wanted is not None:
        chosen = next((image for image in images if image.name == wanted), None)
        if chosen is None:
            return None, [f"There is no image {wanted!r}{where}, so its cells alone are judged."]
    else:
        chosen = image_to_judge(images, xy)
    if chosen is None:
        why = [_unusable(image, xy) for image in images]
        if any(why):
            return None, [f"{next(filter(None, why))} It is not used for quality control."]
        return None, [f"There is no image{where}, so only the cells themselves are judged."]
    said = misfit(chosen, xy)
    return chosen, [*chosen.notices, *([said] if said else [])]


def _unusable(image: SectionImage, xy: np.ndarray) -> str:
    """Say why an image is not read by default."""
    if is_blank(image):
        return f"The image {image.name!r} is of one colour all over."
    return misfit(image, xy)


def _mostly_glass(found: ImageQC, image: str) -> list[str]:
    """Say in numbers that many cells lie where an image shows no tissue."""
    share = float((found.table["edge_distance"] < 0).mean())
    if share <= _ON_GLASS:
        return []
    return [
        f"{share:.0%} of the cells lie outside the tissue that the image {image!r} shows; unless "
        "that much came off, its scale factor or place may be another's."
    ]


def _types(adata: AnnData, cells: np.ndarray) -> np.ndarray | None:
    key = guess_cell_type_key(adata.obs, adata.uns)
    return None if key is None else np.asarray(obs_types(adata.obs, key).codes)[cells]


def spot_size(adata: AnnData, section: str) -> float | None:
    """Return the diameter of a section's spots if they are spots, which hold several cells."""
    libraries = adata.uns.get("spatial")
    names = [section] if section else list(libraries) if isinstance(libraries, Mapping) else []
    found = [size for size in (spot_diameter(adata, str(name)) for name in names) if size]
    return min(found, default=None)
