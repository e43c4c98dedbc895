"""What is drawn over the tissue that is no layer: the picked cell's ring, and a lasso on its way.

As an overlay of napari's scene, so that it moves with the camera and appears in screenshots, and
the layer list stays the user's. napari has no public way yet to say how an overlay of another
kind is drawn; this is the only place that knows the private one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from napari._vispy.overlays.base import ViewerOverlayMixin, VispySceneOverlay
from napari._vispy.utils.visual import overlay_to_visual
from napari.components.overlays import SceneOverlay
from vispy.scene.visuals import Compound, Line, Markers

#: The ring's diameter and the lines' widths in canvas pixels: light upon dark, seen on anything.
_RING, _LIGHT, _DARK = 15, 2, 4
_WHITE, _BLACK = (1.0, 1.0, 1.0, 1.0), (0.0, 0.0, 0.0, 0.8)

#: A place in the world, as many coordinates as are displayed, (…, y, x).
Place = tuple[float, ...]


class Marks(SceneOverlay):
    """The marks on a viewer's scene.

    Attributes
    ----------
    cell
        Where the picked cell is; ``None`` where there is none.
    outline
        The corners of what is being drawn, which is closed from the last to the first.
    """

    visible: bool = True
    cell: Place | None = None
    outline: tuple[Place, ...] = ()


class MarksVisual(ViewerOverlayMixin, VispySceneOverlay):
    """Draws :class:`Marks` with vispy."""

    overlay: Marks

    def __init__(self, **kwargs: Any) -> None:
        self._rings = [Markers(), Markers()]
        self._lines = [Line(width=_DARK, method="agg"), Line(width=_LIGHT, method="agg")]
        super().__init__(node=Compound([*self._rings, *self._lines]), **kwargs)
        self.overlay.events.cell.connect(self._on_cell)
        self.overlay.events.outline.connect(self._on_outline)
        self.reset()

    def reset(self) -> None:
        """Draw everything anew."""
        super().reset()
        self._on_cell()
        self._on_outline()

    def close(self) -> None:
        """Let go of the overlay."""
        self.overlay.events.cell.disconnect(self._on_cell)
        self.overlay.events.outline.disconnect(self._on_outline)
        super().close()

    def _on_cell(self) -> None:
        cell = self.overlay.cell
        for ring, color, width in zip(self._rings, (_BLACK, _WHITE), (_DARK, _LIGHT), strict=True):
            ring.visible = cell is not None
            if cell is not None:
                # vispy's order is x, y, z.
                ring.set_data(
                    np.array([cell[::-1]], np.float32),
                    size=_RING,
                    face_color=(0, 0, 0, 0),
                    edge_color=color,
                    edge_width=width,
                )
        self.node.update()

    def _on_outline(self) -> None:
        outline = self.overlay.outline
        for line, color in zip(self._lines, (_BLACK, _WHITE), strict=True):
            line.visible = len(outline) > 1
            if len(outline) > 1:
                closed = np.array([*outline, outline[0]], np.float32)[:, ::-1]
                line.set_data(pos=closed, color=color)
        self.node.update()


overlay_to_visual[Marks] = MarksVisual
