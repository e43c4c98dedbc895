"""A sample tissue section whose niches, cells and faults are known."""

from .section import image, tissue

__all__ = ["image", "tissue"]
