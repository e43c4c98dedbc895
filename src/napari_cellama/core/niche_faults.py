"""Is a niche an artefact? How well each quality metric alone picks it out."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from napari_cellama.core.qc_thresholds import BY_NAME

#: From this share of its cells on, and with metrics that set them apart so well, a fault is what
#: a niche is made of.
_SHARE, _AUC = 0.5, 0.8
#: A niche lies along the tissue's edge when its cells are so much nearer to it than the others.
_EDGE_AUC = 0.95
#: A niche is one section's when that section has so much of it, and how much more than its due.
_ONE_SECTION, _DUE = 0.95, 0.2


def niche_aucs(labels: pd.Categorical, table: pd.DataFrame) -> pd.DataFrame:
    """Return how well each metric alone tells each niche's cells from all others.

    Parameters
    ----------
    labels
        (n,) niches; cells without one do not count.
    table
        One row a cell, metrics by their obs names; cells without a value do not count for it.

    Returns
    -------
    pandas.DataFrame
        One row a niche and metric: ``niche``, ``metric``, ``n_cells`` with a value, and ``auc``,
        the chance that a cell of the niche has the larger value than one outside it (0.5 says
        nothing; 0 and 1 tell them apart); NaN where there is nothing to compare.
    """
    codes = np.asarray(labels.codes)
    rows = []
    for name in table.columns:
        values = table[name].to_numpy(float)
        known = np.flatnonzero(~np.isnan(values) & (codes >= 0))
        ranks = rankdata(values[known]) if len(known) else np.empty(0)
        n_niches = len(labels.categories)
        counts = np.bincount(codes[known], minlength=n_niches)
        sums = np.bincount(codes[known], weights=ranks, minlength=n_niches)
        rest = len(known) - counts
        with np.errstate(invalid="ignore", divide="ignore"):
            auc = (sums - counts * (counts + 1) / 2) / (counts * rest)
        for niche, count, value in zip(labels.categories, counts, auc, strict=True):
            rows.append((str(niche), name, int(count), float(value)))
    return pd.DataFrame(rows, columns=["niche", "metric", "n_cells", "auc"])


def suspicious_niches(
    labels: pd.Categorical,
    table: pd.DataFrame,
    faults: pd.DataFrame,
    sections: pd.Categorical | None = None,
    edge_width: float | None = None,
) -> dict[str, str]:
    """Return the niches that something other than biology explains, and that in words.

    A niche is marked when at least half of its cells have one fault and having it sets them apart
    from the others (AUC 0.8 or more); when it lies along the tissue's edge; or when it is one
    section's alone. A metric that sets a niche apart without crossing its limit marks nothing:
    real niches differ in counts, density and stain, too.

    Parameters
    ----------
    labels
        (n,) niches.
    table
        The metrics, one row a cell.
    faults
        (n, faults) bool, from :func:`~.qc_thresholds.flags`.
    sections
        (n,) sections, where there are several.
    edge_width
        How near to the edge counts as at the edge, in the coordinates' unit.
    """
    codes = np.asarray(labels.codes)
    marked = {}
    for number, niche in enumerate(labels.categories):
        own = codes == number
        if not own.any():
            continue
        others = (codes >= 0) & ~own
        why = _by_fault(faults, own, others) or _by_section(sections, own, codes >= 0)
        why = why or _by_edge(table, own, others, edge_width)
        if why:
            marked[str(niche)] = why
    return marked


def _by_fault(faults: pd.DataFrame, own: np.ndarray, others: np.ndarray) -> str:
    """Name the fault that most of a niche's cells have and hardly any other cell."""
    best, text = 0.0, ""
    for name in faults.columns:
        has = faults[name].to_numpy(bool)
        share, elsewhere = has[own].mean(), has[others].mean() if others.any() else 0.0
        auc = 0.5 + (share - elsewhere) / 2  # of a yes or no
        if share >= _SHARE and (auc >= _AUC or share - elsewhere >= _SHARE) and share > best:
            best = share
            text = f"{share:.0%} of its {own.sum():,} cells: {name} ({elsewhere:.0%} elsewhere)"
    return text


def _by_section(sections: pd.Categorical | None, own: np.ndarray, labelled: np.ndarray) -> str:
    if sections is None or len(sections.categories) < 2:
        return ""
    codes, n = np.asarray(sections.codes), len(sections.categories)
    mine = np.bincount(codes[own & (codes >= 0)], minlength=n)
    all_cells = np.bincount(codes[labelled & (codes >= 0)], minlength=n)
    if not mine.sum():
        return ""
    top = int(mine.argmax())
    share, due = mine[top] / mine.sum(), all_cells[top] / all_cells.sum()
    if share < _ONE_SECTION or share - due < _DUE:
        return ""
    return f"{share:.0%} of its {own.sum():,} cells lie in section {sections.categories[top]}"


def _by_edge(
    table: pd.DataFrame, own: np.ndarray, others: np.ndarray, edge_width: float | None
) -> str:
    name = "qc_edge_distance"
    if edge_width is None or name not in table:
        return ""
    values = table[name].to_numpy(float)
    if not np.isfinite(values[own]).any() or not others.any():
        return ""
    both = own | others
    found = niche_aucs(
        pd.Categorical.from_codes(own[both].astype(int), ["others", "own"]), table.loc[both, [name]]
    )
    auc = float(found.loc[found["niche"] == "own", "auc"].iloc[0])
    if 1 - auc < _EDGE_AUC or np.nanmedian(values[own]) > edge_width:
        return ""
    label = BY_NAME[name].label.lower()
    return f"its {own.sum():,} cells lie along the tissue's edge ({label}: AUC {1 - auc:.2f})"
