"""Explore tissue niches in napari with sentences and a language model."""
