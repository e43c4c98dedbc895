"""Figures of a tissue and its niches, for slides and papers; drawn without pyplot or a display."""

from .cluster import (
    Look,
    borders_figure,
    certainty_figure,
    contingency_figure,
    enrichment_figure,
    ordered_kinds,
)
from .curves import histogram_figure, stability_figure
from .overview import overview_figure
from .page import FORMATS, save_figure
from .tissue import tissue_figure

__all__ = [
    "FORMATS",
    "Look",
    "borders_figure",
    "certainty_figure",
    "contingency_figure",
    "enrichment_figure",
    "histogram_figure",
    "ordered_kinds",
    "overview_figure",
    "save_figure",
    "stability_figure",
    "tissue_figure",
]
