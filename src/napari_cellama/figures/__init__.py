"""Figures of a tissue and its niches, for slides and papers; drawn without pyplot or a display."""

from .overview import overview_figure
from .page import FORMATS, save_figure
from .tissue import tissue_figure

__all__ = ["FORMATS", "overview_figure", "save_figure", "tissue_figure"]
