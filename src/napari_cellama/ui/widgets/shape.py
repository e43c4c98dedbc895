"""How cells are drawn: dots or their outlines; there where the tissue has outlines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QComboBox, QLabel, QWidget

from napari_cellama.ui.tissue import Shape
from napari_cellama.ui.widgets.listen import listen

if TYPE_CHECKING:
    from napari_cellama.ui.session import Session

_NAMES = {"dots": "Dots", "filled": "Outlines, filled", "outlines": "Outlines only"}
TOOLTIP = (
    "Whether each cell is a dot, or drawn within the border that its segmentation found; cells "
    "without one stay small dots."
)


class ShapeBox(QComboBox):
    """Chooses between dots and outlines; hidden, with its label, where there are no outlines."""

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self._session = session
        self._label: QLabel | None = None
        self.shapes: tuple[Shape, ...] = get_args(Shape)
        self.addItems([_NAMES[shape] for shape in self.shapes])
        self.setToolTip(TOOLTIP)
        self.setAccessibleName("Draw cells as")
        self.activated.connect(self._on_chosen)
        for signal in (session.active_changed, session.shape_changed, session.boundaries_ready):
            listen(self, signal, self._redraw)

    def follow(self, label: QLabel) -> None:
        """Hide and show a label with the box."""
        self._label = label
        self._redraw()

    def _on_chosen(self, row: int) -> None:
        self._session.draw_as(self.shapes[row])

    def _redraw(self, *_: Any) -> None:
        tissue = self._session.active
        with QSignalBlocker(self):
            self.setCurrentIndex(0 if tissue is None else self.shapes.index(tissue.shape))
        there = tissue is not None and tissue.boundaries is not None
        for widget in (self, self._label):
            if widget is not None:
                widget.setVisible(there)
