"""A sample tissue section whose niches, cells and faults are known."""

from .section import tissue

__all__ = ["tissue"]
