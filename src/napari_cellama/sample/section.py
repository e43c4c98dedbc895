"""A sample section: the anatomy peopled with cells, their counts and what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import anatomy, counts, faults, outlines, picture
from .panel import (
    CELL_TYPES,
    NICHES,
    STATES,
    SUBTYPE_NAMES,
    SYMBOLS,
    TYPE_NAMES,
    state_of,
)

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

LIBRARY = "sample"
SMALLEST = 600
OUTLINED = 200_000
FEWEST_GENES = 100
QUALITIES = ("good", "doublet", "low quality")
MIXING = 14.0  # micrometres: how far cells stray over a border between niches
MISNAMED = 0.08  # share of good cells whose annotation is wrong
INFLAMMATION = 0.6  # how much the share of immune cells varies over the section (log odds)
STRAY_STATE = 0.02  # share of cells in another niche's subtype
DOUBLETS = 0.025
LOW_QUALITY = 0.02
LOW_QUALITY_AT_EDGE = 0.2  # the section's rim dries out first


def tissue(
    n_cells: int = 20_000,
    *,
    seed: int = 0,
    n_genes: int = 300,
    difficulty: float = 1.0,
    artefacts: bool = True,
    low_quality: bool = True,
    images: bool = True,
    boundaries: bool | None = None,
) -> AnnData:
    """Make a sample tissue section with known niches.

    A carcinoma in a tissue with glands, lymphoid follicles, vessels and muscle, measured by a panel
    of real genes. Depth, sparsity and cell density follow a published Xenium section (Janesick et
    al. 2023, Nature Communications 14:8353: medians of 166 transcripts and 62 genes a cell, about
    4,100 cells per square millimetre). It is not a model of that section: where structures are, and
    which cells and genes they are made of, is invented.

    Parameters
    ----------
    n_cells
        Cells, 600 to 10 million and beyond. The tissue grows with them: structures keep their size
        and there are more of them. Below 5,000 cells there is one set of smaller structures.
    seed
        The same numbers give the same section.
    n_genes
        Genes, 100 to the length of the panel. A smaller panel keeps some of each program.
    difficulty
        How blurred the borders between niches are, how much their composition varies, and how many
        cells are annotated wrongly; 0 is a textbook drawing, 1 is as hard as real sections.
    artefacts
        Whether a blurred patch, a fold, a bubble and a part that came off are planted.
    low_quality
        Whether some cells are doublets or of low quality.
    images
        Whether ``uns['spatial']`` gets its images.
    boundaries
        Whether ``uns['cellama']['boundaries']`` gets the cells' outlines; by default it does
        together with images and up to 200,000 cells.

    Returns
    -------
    AnnData
        ``X``: (n_cells, n_genes) CSR float32, whole numbers of transcripts.
        ``obs['cell_type']``: the annotation, with its errors.
        ``obs['true_niche']``, and the same as ``obs['region']``, ``obs['true_cell_type']``,
        ``obs['true_subtype']``, ``obs['true_quality']``, ``obs['true_artefact']``: the truth.
        ``obsm['spatial']``: (n_cells, 2) float32, x and y in micrometres.
        ``uns['spatial']['sample']``: squidpy's convention, ``images`` 'hires' (height, width, 3)
        uint8 haematoxylin and eosin, and 'dapi' (height, width) uint8 nuclear stain.
        ``uns['cellama']``: the unit. ``uns['sample']``: how it was made, with the artefacts'
        polygons in micrometres.

    Raises
    ------
    ValueError
        For too few cells, a number of genes that the panel does not have, or a negative difficulty.
    """
    from anndata import AnnData

    _check(n_cells, n_genes, difficulty)
    where = anatomy.build(n_cells, seed)
    xy = anatomy.place_cells(where, n_cells, np.random.default_rng([seed, 2]))
    planted = faults.plant(where, xy, np.random.default_rng([seed, 4])) if artefacts else {}
    obs, cells = _people(where, xy, planted, seed, difficulty, low_quality)
    adata = AnnData(counts.draw(cells, n_genes, seed), obs=obs, obsm={"spatial": xy})
    adata.var_names = list(SYMBOLS[:n_genes])
    adata.uns["cellama"] = {"units": "micrometre"}
    adata.uns["sample"] = {
        "n_cells": n_cells,
        "seed": seed,
        "difficulty": float(difficulty),
        "artefacts": {
            f"{name} {number}": polygon
            for name, polygons in planted.items()
            for number, polygon in enumerate(polygons, start=1)
        },
    }
    if images:
        adata.uns["spatial"] = {LIBRARY: _spatial(adata, where)}
    if (images and n_cells <= OUTLINED) if boundaries is None else boundaries:
        vertices, offsets = outlines.draw(xy, seed)
        drawn = {"vertices": vertices, "offsets": offsets, "names": adata.obs_names.to_numpy()}
        adata.uns["cellama"]["boundaries"] = {"cells": drawn}
    return adata


def image(
    adata: AnnData, *, kind: str = "he", microns_per_pixel: float | None = None
) -> np.ndarray:
    """Draw a microscope image of a section that ``tissue`` made, or of some of its cells.

    Parameters
    ----------
    adata
        The section; nuclei are drawn for the cells it still has.
    kind
        'he', haematoxylin and eosin, or 'dapi', a nuclear stain.
    microns_per_pixel
        Micrometres a pixel; by default 0.5, or what keeps the longer side at 2,000 pixels.

    Returns
    -------
    (height, width, 3) uint8 for 'he', (height, width) uint8 for 'dapi'; pixel (row, column) shows
    y = row * microns_per_pixel, x = column * microns_per_pixel.

    Raises
    ------
    ValueError
        For another kind, a pixel size that is not positive, or data that is no sample section.
    """
    if kind not in ("he", "dapi"):
        raise ValueError(f"A sample image is of kind 'he' or 'dapi', not {kind!r}.")
    if microns_per_pixel is not None and not microns_per_pixel > 0:
        raise ValueError(f"Micrometres a pixel must be positive; they were {microns_per_pixel}.")
    if "sample" not in adata.uns:
        raise ValueError(
            "This AnnData was not made by the sample tissue: uns['sample'] is missing."
        )
    made = adata.uns["sample"]
    where = anatomy.build(int(made["n_cells"]), int(made["seed"]))
    microns = microns_per_pixel or picture.pixel_size(where)
    return _render(adata, where, microns, (kind,))[kind]


def _render(
    adata: AnnData, where: anatomy.Anatomy, microns: float, wanted: tuple[str, ...]
) -> dict[str, np.ndarray]:
    made = adata.uns["sample"]
    planted: dict[str, list[np.ndarray]] = {}
    for name, polygon in made["artefacts"].items():
        planted.setdefault(name.rpartition(" ")[0], []).append(np.asarray(polygon))
    # By name: a subset may have lost categories.
    names = adata.obs["true_cell_type"]
    kind = names.cat.rename_categories(TYPE_NAMES.index).to_numpy(dtype=np.intp)
    xy = np.asarray(adata.obsm["spatial"])
    return picture.render(where, xy, kind, planted, int(made["seed"]), microns, wanted)


def _spatial(adata: AnnData, where: anatomy.Anatomy) -> dict[str, dict]:
    """Return squidpy's description of the images: pixels = micrometres * scale factor."""
    microns = picture.pixel_size(where)
    images = _render(adata, where, microns, ("he", "dapi"))
    return {
        "images": {"hires": images["he"], "dapi": images["dapi"]},
        "scalefactors": {
            "tissue_hires_scalef": 1 / microns,
            "tissue_dapi_scalef": 1 / microns,
            "spot_diameter_fullres": 10.0,  # of a cell, in micrometres: what coordinates are in
        },
        "metadata": {"source": "napari-cellama sample tissue"},
    }


def _check(n_cells: int, n_genes: int, difficulty: float) -> None:
    if n_cells < SMALLEST:
        raise ValueError(
            f"The sample tissue needs at least {SMALLEST} cells to hold all niches; "
            f"{n_cells} were asked for."
        )
    if not FEWEST_GENES <= n_genes <= len(SYMBOLS):
        raise ValueError(
            f"The sample's panel has {FEWEST_GENES} to {len(SYMBOLS)} genes; "
            f"{n_genes} were asked for."
        )
    if difficulty < 0:
        raise ValueError(f"The sample's difficulty cannot be negative; it was {difficulty}.")


def _people(
    where: anatomy.Anatomy,
    xy: np.ndarray,
    planted: dict[str, list[np.ndarray]],
    seed: int,
    difficulty: float,
    low_quality: bool,
) -> tuple[pd.DataFrame, counts.Cells]:
    """Decide what each cell is, and what is wrong with it."""
    import pandas as pd

    rng = np.random.default_rng([seed, 5])
    n_cells = len(xy)
    site = where.at(xy)
    niche = anatomy.SITE_NICHE[site]
    odds = _immune_odds(xy, INFLAMMATION * difficulty, rng)
    origin = _origin(where, xy, site, MIXING * difficulty, rng)
    kind = _draw_types(origin, odds, rng)
    stray = rng.random(n_cells) < STRAY_STATE
    context = np.where(stray, rng.integers(len(NICHES), size=n_cells), niche)
    state = state_of()[kind, context]
    quality = _qualities(where, xy, rng) if low_quality else np.zeros(n_cells, dtype=np.int8)
    partner = np.full(n_cells, -1)
    doublet = quality == QUALITIES.index("doublet")
    other = _draw_types(origin[doublet], odds[doublet], rng)
    partner[doublet] = state_of()[other, niche[doublet]]
    artefact = faults.at(xy, planted)
    depth = rng.lognormal(np.log(counts.DEPTH), counts.DEPTH_SPREAD, size=n_cells)
    depth *= np.array([cell_type.depth for cell_type in CELL_TYPES])[kind]
    depth[quality == QUALITIES.index("low quality")] *= 0.12
    depth *= np.array([1.0, *(fault.depth for fault in faults.KINDS)])[artefact]
    cells = counts.Cells(state, _cycling(state, rng), site, depth.astype(np.float32), partner)
    named = _annotate(kind, quality, MISNAMED * difficulty, rng)

    def column(codes: np.ndarray, names: tuple[str, ...]) -> pd.Categorical:
        return pd.Categorical.from_codes(codes, list(names))

    obs = pd.DataFrame(
        {
            "cell_type": column(named, TYPE_NAMES),
            "region": column(niche, NICHES),
            "true_niche": column(niche, NICHES),
            "true_cell_type": column(kind, TYPE_NAMES),
            "true_subtype": column(state, SUBTYPE_NAMES),
            "true_quality": column(quality, QUALITIES),
            "true_artefact": column(artefact, faults.NAMES),
        },
        index=pd.RangeIndex(1, n_cells + 1).astype(str),
    )
    return obs, cells


def _origin(
    where: anatomy.Anatomy,
    xy: np.ndarray,
    site: np.ndarray,
    distance: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the site that each cell came from: borders between niches are not lines."""
    origin = where.at(xy + rng.normal(0, distance, size=xy.shape))
    return np.where(origin < len(anatomy.SITES), origin, site)


def _immune_odds(xy: np.ndarray, spread: float, rng: np.random.Generator) -> np.ndarray:
    """Return how many times more immune cells there are around each cell than usual."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    step = 60.0
    noise = rng.normal(size=np.ceil(xy.max(axis=0) / step).astype(int) + 3)
    smooth = gaussian_filter(noise, 1.5)
    smooth /= smooth.std()
    return np.exp(spread * map_coordinates(smooth, xy.T / step, order=1, mode="nearest"))


def _draw_types(origin: np.ndarray, odds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    immune = np.array(["immune" in cell_type.lineages for cell_type in CELL_TYPES])
    table = anatomy.composition()
    kind = np.empty(len(origin), dtype=np.intp)
    for start in range(0, len(origin), counts.CHUNK):
        part = slice(start, start + counts.CHUNK)
        weights = table[origin[part]] * np.where(immune, odds[part, None], 1.0)
        limits = np.cumsum(weights, axis=1)
        at = rng.random((len(limits), 1)) * limits[:, -1:]
        kind[part] = (at >= limits).sum(axis=1)
    return kind


def _cycling(state: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    chance = np.full(len(STATES), 0.02)
    chance[SUBTYPE_NAMES.index("Germinal centre B cell")] = 0.4
    chance[[entry.cell_type == "Tumour cell" for entry in STATES]] = 0.15
    return (rng.random(len(state)) < chance[state]).astype(np.int8)


def _qualities(where: anatomy.Anatomy, xy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    rim = np.zeros(len(xy), dtype=bool)
    for step in ((18, 0), (-18, 0), (0, 18), (0, -18)):
        rim |= where.at(xy + np.array(step)) == anatomy.GLASS
    chance = rng.random(len(xy))
    low = chance < np.where(rim, LOW_QUALITY_AT_EDGE, LOW_QUALITY)
    return np.select([low, chance > 1 - DOUBLETS], [2, 1], 0).astype(np.int8)


def _annotate(
    kind: np.ndarray, quality: np.ndarray, share: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the annotated cell types: some are taken for a similar one, poor cells more often."""
    wrong = rng.random(len(kind)) < np.array([share, 2 * share, 5 * share])[quality]
    named = kind.copy()
    for code, cell_type in enumerate(CELL_TYPES):
        mine = np.flatnonzero(wrong & (kind == code))
        takes = [TYPE_NAMES.index(name) for name in cell_type.confused_with]
        named[mine] = rng.choice(takes, size=len(mine))
    return named
