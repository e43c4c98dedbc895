"""Which image and channels quality control reads, in the QC dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_cellama.ui.image_desk import BEST, NO_IMAGE
from napari_cellama.ui.widgets.choosers import ColumnsEdit, NarrowBox
from napari_cellama.ui.widgets.form import Rows, WheelGuard, stops_of

if TYPE_CHECKING:
    from napari_cellama.ui.imaging import Imaging
    from napari_cellama.ui.tissue import Tissue

_BESTS, _NONE = "the one that fits best", "no image"


class MeasuredImage(QWidget):
    """Chooses what Measure reads, and says where that has moved since.

    Parameters
    ----------
    imaging
        Keeps the choice.
    parent
        The Qt parent.
    """

    def __init__(self, imaging: Imaging, parent: QWidget) -> None:
        super().__init__(parent)
        self._imaging = imaging
        self.image = NarrowBox(self)
        self.channels = ColumnsEdit(
            name="channels",
            tooltip="The channels that Measure reads; none for the nuclear stain, or else the "
            "first.",
            nothing="the nuclear stain",
        )
        self.moved = QLabel("The image has moved since it was measured; press Measure again.", self)
        self.moved.setWordWrap(True)
        self.moved.setObjectName("muted")
        self._guard = WheelGuard(self)
        self._guard.watch(self.image)
        self._rows = Rows(self)
        self._rows.add("image", "Measure on", self.image, "Which image's pixels are judged.")
        tip = "Which channels of it are judged."
        self._rows.add("channels", "Its channels", self.channels.native, tip)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self._rows)
        layout.addWidget(self.moved)
        self.image.activated.connect(lambda *_: imaging.measure_by(self.image.currentData()))
        self.channels.changed.connect(
            lambda names: imaging.measure_by(self.image.currentData(), tuple(names))
        )

    @property
    def stops(self) -> list[QWidget]:
        """What the tab key stops at, from the top to the bottom."""
        return [self.image, *stops_of(self.channels.native)]

    def show_tissue(self, tissue: Tissue) -> None:
        """Show which of a tissue's images and channels will be judged."""
        imaging, names = self._imaging, self._imaging.aligned(tissue)
        name, channels = imaging.to_measure(tissue)
        choices = [(_BESTS, BEST), *((one, one) for one in names), (_NONE, NO_IMAGE)]
        self.image.offer(choices, name)
        attached = imaging.attached(tissue, name)
        image = imaging.inside(tissue).get(name)
        if attached is not None:
            image = imaging.image_of(tissue, attached)
        several = image is not None and not image.rgb and image.n_channels > 1
        self._rows.show_row("channels", several)
        if several:
            self.channels.tick(image.channels, channels)
        moved = imaging.has_moved(tissue)
        self._rows.setVisible(bool(names))
        self.moved.setVisible(moved)
        self.setVisible(bool(names) or moved)
