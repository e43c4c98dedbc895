"""What the sample's cells are: cell types, their subtypes by niche, and the genes they express.

The genes are human symbols in programs (lineage, cell type, subtype, cell cycle, background) that
follow common knowledge of these cells in breast tissue, lymph node and carcinoma. Programs share
genes, as real ones do: a T follicular helper cell and an exhausted CD8 T cell both make CXCL13.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

NICHES = (
    "Gland",
    "Germinal centre",
    "Mantle zone",
    "T zone",
    "Vessel",
    "Stroma",
    "Tumour nest",
    "Tumour margin",
    "Muscle",
)


class CellType(NamedTuple):
    """One annotated cell type: its programs, and how its cells look and count."""

    name: str
    lineages: str  # names in LINEAGES
    markers: str
    depth: float  # transcripts, relative to the section's typical cell
    nucleus: tuple[float, float]  # half axes in micrometres, long and short
    confused_with: tuple[str, ...]  # what an annotation takes it for


CELL_TYPES = (
    CellType(
        "B cell",
        "immune lymphoid antigen",
        "MS4A1 CD79A CD79B CD19 BANK1 CD22 FCRL1 TNFRSF13C PAX5 BLK",
        0.75,
        (3.1, 2.9),
        ("CD4 T cell", "Plasma cell"),
    ),
    CellType(
        "CD4 T cell",
        "immune lymphoid tcell",
        "CD4 IL7R CD40LG MAL TRAT1",
        0.7,
        (3.0, 2.7),
        ("CD8 T cell", "B cell"),
    ),
    CellType(
        "CD8 T cell",
        "immune lymphoid tcell",
        "CD8A CD8B GZMK CCL5 NKG7 CST7 GZMA PRF1",
        0.7,
        (3.0, 2.7),
        ("CD4 T cell",),
    ),
    CellType(
        "Dendritic cell",
        "immune myeloid antigen",
        "FLT3 ITGAX CD86 CLEC9A XCR1 BATF3 CST3",
        1.0,
        (3.9, 3.0),
        ("Macrophage", "CD4 T cell"),
    ),
    CellType(
        "Endothelial cell",
        "stromal",
        "PECAM1 VWF CDH5 CLDN5 EGFL7 ERG KDR EMCN ESAM TIE1 CLEC14A AQP1",
        1.0,
        (5.2, 1.9),
        ("Pericyte", "Fibroblast"),
    ),
    CellType(
        "Fibroblast",
        "stromal",
        "COL1A1 COL1A2 COL3A1 DCN LUM PDGFRA FBLN1 MMP2 COL6A3 THY1 CCDC80",
        1.0,
        (6.0, 1.9),
        ("Pericyte", "Smooth muscle cell", "Endothelial cell"),
    ),
    CellType(
        "Follicular dendritic cell",
        "stromal antigen",
        "CR2 CLU FDCSP SERPINE2 CXCL13 CR1 VCAM1",
        1.0,
        (4.2, 3.3),
        ("B cell", "Fibroblast"),
    ),
    CellType(
        "Luminal epithelial cell",
        "epithelial",
        "KRT7 MUC1 ANKRD30A SLPI LTF PIGR KRT23 ALDH1A3 ESR1 GATA3 AGR2",
        1.35,
        (3.9, 3.1),
        ("Tumour cell", "Myoepithelial cell"),
    ),
    CellType(
        "Macrophage",
        "immune myeloid antigen",
        "CD68 CD163 C1QA C1QB C1QC CSF1R MRC1 MS4A7 FCGR3A",
        1.1,
        (4.0, 3.1),
        ("Dendritic cell", "Fibroblast"),
    ),
    CellType(
        "Mast cell",
        "immune",
        "TPSAB1 CPA3 MS4A2 KIT HDC GATA2 HPGDS CTSG SLC18A2",
        0.9,
        (3.3, 3.0),
        ("Macrophage",),
    ),
    CellType(
        "Myoepithelial cell",
        "epithelial contractile",
        "KRT5 KRT14 KRT17 TP63 OXTR KRT15 COL17A1 SFN",
        1.15,
        (4.6, 2.0),
        ("Luminal epithelial cell", "Smooth muscle cell"),
    ),
    CellType(
        "Pericyte",
        "stromal contractile",
        "RGS5 NOTCH3 PDGFRB MCAM CSPG4 ABCC9 KCNJ8 HIGD1B COX4I2 NDUFA4L2",
        0.9,
        (4.8, 1.9),
        ("Smooth muscle cell", "Endothelial cell", "Fibroblast"),
    ),
    CellType(
        "Plasma cell",
        "immune",
        "MZB1 JCHAIN IGHG1 IGHA1 IGKC DERL3 XBP1 TNFRSF17 SLAMF7 PRDM1 SDC1 FKBP11",
        1.1,
        (3.3, 3.0),
        ("B cell",),
    ),
    CellType(
        "Smooth muscle cell",
        "stromal contractile",
        "MYH11 CNN1 LMOD1 SMTN MYLK",
        0.9,
        (7.4, 1.8),
        ("Pericyte", "Fibroblast"),
    ),
    CellType(
        "Tumour cell",
        "epithelial",
        "ERBB2 FASN CEACAM6 ELF3 CCND1 SCD TFAP2A KRT7 ESR1 GATA3 MYC AGR2",
        1.6,
        (5.0, 4.0),
        ("Luminal epithelial cell", "Myoepithelial cell"),
    ),
)
TYPE_NAMES = tuple(kind.name for kind in CELL_TYPES)

LINEAGES = {
    "immune": "PTPRC CD52 CORO1A LAPTM5 CXCR4 CD53 ARHGDIB",
    "lymphoid": "LTB CD69 CD37 RAC2 IKZF1",
    "tcell": "CD3D CD3E CD3G TRAC CD2 CD5 CD6 CD247 BCL11B LCK SKAP1",
    "myeloid": "LYZ TYROBP FCER1G CD14 AIF1 CTSS",
    "antigen": "HLA-DRA CD74 HLA-DPA1 HLA-DRB1 CIITA",
    "epithelial": "EPCAM KRT8 KRT18 KRT19 CDH1 CLDN4 CLDN3 DSP TACSTD2 CLDN7",
    "stromal": "COL4A1 COL4A2 SPARC IGFBP7 COL6A1 VIM TIMP1 BGN",
    "contractile": "ACTA2 TAGLN MYL9 TPM2 CALD1 MYLK",
}


class Subtype(NamedTuple):
    """What a cell type becomes in some niches; no niches means everywhere else."""

    name: str
    niches: tuple[str, ...]
    genes: str


_TUMOUR = ("Tumour nest", "Tumour margin")
_NAIVE_T = "CCR7 SELL TCF7 LEF1"
SUBTYPES: dict[str, tuple[Subtype, ...]] = {
    "B cell": (
        Subtype("Memory B cell", (), "CD27 TNFRSF13B AIM2 CXCR3"),
        Subtype("Germinal centre B cell", ("Germinal centre",),
                "BCL6 AICDA RGS13 MME S1PR2 SERPINA9 LMO2 MYBL1"),
        Subtype("Mantle B cell", ("Mantle zone", "T zone"), "FCER2 IGHD TCL1A CXCR5 IL4R IGHM"),
    ),
    "CD4 T cell": (
        Subtype("Memory CD4 T cell", (), "ANXA1 S100A4 GPR183 KLRB1 RORA"),
        Subtype("Naive CD4 T cell", ("T zone", "Mantle zone"), _NAIVE_T),
        Subtype("Follicular helper T cell", ("Germinal centre",),
                "CXCR5 BCL6 ICOS IL21 CXCL13 PDCD1 CD200"),
        Subtype("Regulatory T cell", _TUMOUR,
                "FOXP3 IL2RA CTLA4 TNFRSF4 TNFRSF18 CCR8 IKZF2 BATF"),
    ),
    "CD8 T cell": (
        Subtype("Memory CD8 T cell", (), "ITGAE ZNF683 XCL1 GZMH KLRD1"),
        Subtype("Naive CD8 T cell", ("Germinal centre", "Mantle zone", "T zone"), _NAIVE_T),
        Subtype("Exhausted CD8 T cell", _TUMOUR,
                "PDCD1 LAG3 HAVCR2 TIGIT TOX CXCL13 ENTPD1 LAYN GZMB"),
    ),
    "Dendritic cell": (
        Subtype("Conventional dendritic cell", (), "FCER1A CD1C CLEC10A CD1A"),
        Subtype("Mature dendritic cell", ("Germinal centre", "Mantle zone", "T zone"),
                "LAMP3 CCR7 FSCN1 CCL22 CD83 CCL17"),
    ),
    "Endothelial cell": (
        Subtype("Capillary endothelial cell", (), "RGCC CA4 CD36 FABP4"),
        Subtype("Arterial endothelial cell", ("Vessel",), "GJA5 SEMA3G HEY1 SOX17 EFNB2"),
        Subtype("High endothelial venule cell", ("Germinal centre", "Mantle zone", "T zone"),
                "ACKR1 SELP CCL14 CHST4 SELE"),
        Subtype("Tumour endothelial cell", _TUMOUR, "PLVAP ESM1 INSR ANGPT2 APLN"),
    ),
    "Fibroblast": (
        Subtype("Resident fibroblast", (), "PI16 CFD C7 APOD GPX3 DPT"),
        Subtype("Reticular fibroblast", ("Germinal centre", "Mantle zone", "T zone"),
                "CCL19 CCL21 CXCL12 PDPN TNFSF11"),
        Subtype("Cancer-associated fibroblast", _TUMOUR,
                "FAP POSTN COL11A1 MMP11 COMP CTHRC1 INHBA LRRC15"),
    ),
    "Macrophage": (
        Subtype("Resident macrophage", (), "FOLR2 LYVE1 SELENOP F13A1 CD209 STAB1"),
        Subtype("Tingible body macrophage", ("Germinal centre", "Mantle zone", "T zone"),
                "MERTK VSIG4 MFGE8 LGMN CD5L"),
        Subtype("Tumour-associated macrophage", _TUMOUR,
                "SPP1 TREM2 GPNMB APOE MMP9 FN1 CCL18"),
    ),
    "Smooth muscle cell": (
        Subtype("Visceral smooth muscle cell", ("Muscle",), "DES ACTG2 SYNPO2 HHIP PRUNE2"),
        Subtype("Vascular smooth muscle cell", (), "RERGL PLN BCAM SNCG CASQ2"),
    ),
    "Tumour cell": (
        Subtype("Hypoxic tumour cell", ("Tumour nest",), "CA9 VEGFA NDRG1 SLC2A1 ADM EGLN3"),
        Subtype("Invasive tumour cell", (), "LAMC2 LAMB3 ITGB6 SNAI2 TNC MMP14"),
    ),
}  # fmt: skip

CYCLING = "MKI67 TOP2A CENPF PCLAF STMN1 TYMS UBE2C HMGB2 CCNB1 BIRC5"
# Made by no cell here in particular: immediate early, interferon, fat, nerve and epithelial genes
# that a real panel carries too, and that are a background of a few transcripts.
BACKGROUND = (
    "FOS JUN EGR1 HSPA1A DUSP1 ISG15 IFI6 IFIT1 IFIT3 MX1 STAT1 ADIPOQ LPL PLIN1 PLIN4 LEP CIDEC "
    "S100B PLP1 MPZ CDH19 NRXN1 PGR AR TRPS1 FOXA1 XIST KLF5 SOX18 OPRPN TCIM S100A14 KRT16 KRT6B"
)


def _all_symbols() -> list[str]:
    """Every symbol once; the programs take turns, so that a smaller panel keeps some of each."""
    programs = [kind.markers for kind in CELL_TYPES]
    programs += [subtype.genes for group in SUBTYPES.values() for subtype in group]
    programs += [*LINEAGES.values(), CYCLING, BACKGROUND]
    split = [program.split() for program in programs]
    longest = max(map(len, split))
    turns = (program[i] for i in range(longest) for program in split if i < len(program))
    return list(dict.fromkeys(turns))


SYMBOLS = tuple(_all_symbols())


class State(NamedTuple):
    """A cell type in one of its subtypes."""

    cell_type: str
    subtype: str
    genes: str


STATES = tuple(
    State(kind.name, subtype.name, subtype.genes)
    for kind in CELL_TYPES
    for subtype in SUBTYPES.get(kind.name, (Subtype(kind.name, (), ""),))
)
SUBTYPE_NAMES = tuple(state.subtype for state in STATES)
STATE_TYPE = np.array([TYPE_NAMES.index(state.cell_type) for state in STATES])


@cache
def state_of() -> np.ndarray:
    """Return the state of each cell type in each niche, (cell types, niches), int."""
    table = np.empty((len(TYPE_NAMES), len(NICHES)), dtype=np.intp)
    for row, name in enumerate(TYPE_NAMES):
        group = SUBTYPES.get(name, (Subtype(name, (), ""),))
        elsewhere = next(subtype.name for subtype in group if not subtype.niches)
        for column, niche in enumerate(NICHES):
            own = (subtype.name for subtype in group if niche in subtype.niches)
            table[row, column] = SUBTYPE_NAMES.index(next(own, elsewhere))
    return table
