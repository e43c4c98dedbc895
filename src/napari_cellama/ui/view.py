"""What part of the world the canvas shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Layer


def is_centred(viewer: Viewer) -> bool:
    """Whether the view is centred on the layers, as it is until the user moves it."""
    if not viewer.layers:
        return False
    low, high = np.asarray(viewer.layers.extent.world)[:, -2:]
    off = np.abs(_center(viewer) - (low + high) / 2)
    return bool((off <= 0.02 * (high - low).max()).all())


def is_in_view(viewer: Viewer, layer: Layer) -> bool:
    """Whether the middle of a layer lies on the canvas, at a size that one can see."""
    low, high = np.asarray(layer.extent.world)[:, -2:]
    half = np.asarray(viewer.canvas.size) / viewer.scene.camera.zoom / 2
    inside = np.abs((low + high) / 2 - _center(viewer)) <= half
    return bool(inside.all() and (high - low).max() > 0.05 * half.max())


def outline_of_view(viewer: Viewer) -> np.ndarray:
    """Return (4, 2) of (y, x) in the world: the corners of what a canvas shows in 2D."""
    half = np.asarray(viewer.canvas.size) / viewer.scene.camera.zoom / 2
    return _center(viewer) + half * np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]])


def fly_to(viewer: Viewer, layer: Layer, point: np.ndarray, width: float) -> None:
    """Bring a point of a layer to the middle of the canvas.

    Parameters
    ----------
    point
        In the layer's coordinates.
    width
        How much of the world the canvas's shorter side shows.
    """
    viewer.scene.camera.center = tuple(np.asarray(layer.data_to_world(point))[-3:])
    viewer.scene.camera.zoom = min(viewer.canvas.size) / width


def _center(viewer: Viewer) -> np.ndarray:
    return np.asarray(viewer.scene.camera.center)[-2:]
