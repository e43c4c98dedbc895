"""The sample's counts: an expression profile for each state of a cell, drawn cell by cell.

Depth, sparsity and cell density follow the Xenium section of a human breast cancer (FFPE, sample 1,
replicate 1, 313 genes) of Janesick et al. 2023, "High resolution mapping of the tumor
microenvironment using integrated single-cell, spatial and in situ analysis", Nature Communications
14:8353, https://doi.org/10.1038/s41467-023-43458-x.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from .anatomy import SITE_NICHE, composition
from .panel import CELL_TYPES, CYCLING, LINEAGES, STATE_TYPE, STATES, SYMBOLS, state_of

# The paper's figures for that section. The density is its cells over the 7.52 mm by 5.48 mm that
# their centroids span.
PUBLISHED = {
    "cells": 167_885,
    "median_transcripts": 166.0,
    "p10_transcripts": 61.0,
    "p90_transcripts": 372.0,
    "median_genes": 62.0,
    "cells_per_mm2": 4_075.0,
}
DEPTH = 174.0  # transcripts of a typical cell, before its type and quality
DEPTH_SPREAD = 0.58  # standard deviation of the logarithm
DISPERSION = 2.0  # shape of the negative binomial
SPILL = 0.10  # share of a cell's transcripts that are its neighbours', by imperfect segmentation
CHUNK = 20_000  # cells drawn at a time


class Cells(NamedTuple):
    """What decides a cell's counts; arrays of one length."""

    state: np.ndarray  # into panel.STATES
    cycling: np.ndarray  # 0 or 1
    site: np.ndarray  # into anatomy.SITES
    depth: np.ndarray  # expected transcripts
    partner: np.ndarray  # a doublet's second state, or -1


def profiles(n_genes: int) -> np.ndarray:
    """Return the expected shares of a cell's transcripts, (states, 2, sites, genes) float32.

    The second axis is resting and cycling; the third adds the spill of the site's other cells. The
    profiles are facts of the sample like its cell types, so no seed enters.
    """
    rng = np.random.default_rng(2023)
    column = {symbol: i for i, symbol in enumerate(SYMBOLS)}
    base = rng.lognormal(-1.45, 1.65, size=len(SYMBOLS))
    strength = rng.lognormal(0.0, 0.7, size=len(SYMBOLS))

    def program(genes: str, level: float) -> np.ndarray:
        weight = np.zeros(len(SYMBOLS))
        chosen = [column[gene] for gene in genes.split()]
        weight[chosen] = level * strength[chosen]
        return weight

    resting = np.empty((len(STATES), len(SYMBOLS)))
    for row, (state, kind) in enumerate(zip(STATES, STATE_TYPE, strict=True)):
        lineages = " ".join(LINEAGES[name] for name in CELL_TYPES[kind].lineages.split())
        resting[row] = base + program(lineages, 8.0) + program(CELL_TYPES[kind].markers, 13.0)
        resting[row] += program(state.genes, 9.0)
    own = np.stack([resting, resting + program(CYCLING, 9.0)], axis=1)[:, :, :n_genes]
    own /= own.sum(axis=-1, keepdims=True)
    states = state_of()[:, SITE_NICHE]  # (cell types, sites)
    spilled = np.einsum("st,tsg->sg", composition(), own[states, 0])
    return ((1 - SPILL) * own[:, :, None] + SPILL * spilled).astype(np.float32)


def draw(cells: Cells, n_genes: int, seed: int) -> sp.csr_matrix:
    """Draw negative binomial counts, (cells, genes) CSR float32 of whole numbers.

    Memory is that of the result plus half of it again: each chunk is dense only while it is drawn,
    and waits as two bytes an entry and index.
    """
    table = profiles(n_genes)
    counts, genes = [], []
    lengths = np.zeros(len(cells.state) + 1, dtype=np.int64)
    for start in range(0, len(cells.state), CHUNK):
        part = Cells(*(column[start : start + CHUNK] for column in cells))
        dense = _draw_chunk(part, table, np.random.default_rng([seed, 3, start]))
        found = np.flatnonzero(dense)
        counts.append(dense.ravel()[found])
        genes.append((found % n_genes).astype(np.uint16))
        lengths[start + 1 : start + 1 + len(dense)] = np.count_nonzero(dense, axis=1)
    indptr = np.cumsum(lengths)
    data = _joined(counts, np.float32)
    indices = _joined(genes, np.int32 if indptr[-1] < 2**31 else np.int64)
    return sp.csr_matrix((data, indices, indptr.astype(indices.dtype)), (len(cells.state), n_genes))


def _draw_chunk(cells: Cells, table: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    expected = table[cells.state, cells.cycling, cells.site]
    doublet = cells.partner >= 0
    expected[doublet] += table[cells.partner[doublet], 0, cells.site[doublet]]
    expected *= cells.depth[:, None]
    expected *= rng.standard_gamma(DISPERSION, size=expected.shape, dtype=np.float32) / DISPERSION
    return np.minimum(rng.poisson(expected), np.iinfo(np.uint16).max).astype(np.uint16)


def _joined(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    """Join and empty ``parts``, so that they and the result are never in memory whole."""
    joined = np.empty(sum(map(len, parts)), dtype=dtype)
    end = len(joined)
    while parts:
        part = parts.pop()
        joined[end - len(part) : end] = part
        end -= len(part)
    return joined
