"""What is drawn over the tissue that is no layer: the picked cell's ring, a lasso, landmarks.

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
from vispy.scene.visuals import Compound, Line, Markers, Text

#: The ring's diameter and the lines' widths in canvas pixels: light upon dark, seen on anything.
_RING, _LIGHT, _DARK = 15, 2, 4
_WHITE, _BLACK = (1.0, 1.0, 1.0, 1.0), (0.0, 0.0, 0.0, 0.8)

#: Landmarks: their size in canvas pixels, and their colours on the image and among the cells.
_PIN, ON_IMAGE, ON_CELLS = 19, "#ffb000", "#4cc9f0"

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


class Pins(SceneOverlay):
    """The landmarks of an image: numbered, as squares on the image and as discs among the cells.

    Attributes
    ----------
    on_image, on_cells
        Where they are; the former may have one more, whose other half is still to come.
    """

    visible: bool = True
    on_image: tuple[Place, ...] = ()
    on_cells: tuple[Place, ...] = ()


class PinsVisual(ViewerOverlayMixin, VispySceneOverlay):
    """Draws :class:`Pins` with vispy."""

    overlay: Pins

    def __init__(self, **kwargs: Any) -> None:
        self._lines = [Line(width=_DARK, connect="segments"), Line(connect="segments")]
        self._pins = [Markers(), Markers()]
        self._numbers = Text(color="black", font_size=8, bold=True)
        parts = [*self._lines, *self._pins, self._numbers]
        super().__init__(node=Compound(parts), **kwargs)
        self.overlay.events.on_image.connect(self._draw)
        self.overlay.events.on_cells.connect(self._draw)
        self.reset()

    def reset(self) -> None:
        """Draw everything anew."""
        super().reset()
        self._draw()

    def close(self) -> None:
        """Let go of the overlay."""
        self.overlay.events.on_image.disconnect(self._draw)
        self.overlay.events.on_cells.disconnect(self._draw)
        super().close()

    def _draw(self) -> None:
        sides = (self.overlay.on_image, self.overlay.on_cells)
        styles = ((ON_IMAGE, "square"), (ON_CELLS, "disc"))
        for pins, side, (color, symbol) in zip(self._pins, sides, styles, strict=True):
            pins.visible = bool(side)
            if side:
                pins.set_data(
                    np.array(side, np.float32)[:, ::-1],
                    size=_PIN,
                    face_color=color,
                    edge_color=_BLACK,
                    edge_width=1,
                    symbol=symbol,
                )
        pairs = list(zip(*sides, strict=False))
        for line, color in zip(self._lines, (_BLACK, _WHITE), strict=True):
            line.visible = bool(pairs)
            if pairs:
                ends = np.array(pairs, np.float32).reshape(-1, len(pairs[0][0]))
                line.set_data(pos=ends[:, ::-1], color=color)
        self._numbers.visible = bool(sides[0])
        if sides[0]:
            self._numbers.text = [str(i + 1) for side in sides for i in range(len(side))]
            self._numbers.pos = np.array([*sides[0], *sides[1]], np.float32)[:, ::-1]
        self.node.update()


overlay_to_visual[Marks] = MarksVisual
overlay_to_visual[Pins] = PinsVisual
