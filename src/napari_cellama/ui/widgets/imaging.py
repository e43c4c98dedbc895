"""The images of the active tissue in the QC dock: added, shown, aligned, chosen to be measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_cellama.ui import format as fmt
from napari_cellama.ui.images import channels_at_first
from napari_cellama.ui.imaging import SLOT
from napari_cellama.ui.widgets.choosers import ColumnsEdit, NarrowBox
from napari_cellama.ui.widgets.form import Rows, WheelGuard, stops_of
from napari_cellama.ui.widgets.landmarks import Attempt, Landmarks, ValuesEdit
from napari_cellama.ui.widgets.listen import listen
from napari_cellama.ui.widgets.measured_image import MeasuredImage

if TYPE_CHECKING:
    from napari_cellama.core.section_image import SectionImage
    from napari_cellama.io.attached import Attached
    from napari_cellama.ui.layers import TissueLayers
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue

_FILES = "Images (*.tif *.tiff *.png *.jpg *.jpeg);;All files (*)"
_NOTHING = (
    "No image belongs to these cells yet. Add one to see the tissue below them and to judge the "
    "pixels around every cell; all else works without."
)
#: How an image can be aligned, as users read it.
HOWS = {
    "none": "not aligned yet",
    "file": "what the file says",
    "values": "typed values",
    "landmarks": "landmarks",
}


class ImagePart(QWidget):
    """A view of the active tissue's images.

    Parameters
    ----------
    session
        What it is a view of.
    layers
        Say where the tissue's sections lie.
    attempt
        Does what the user asks for, and says so where that cannot be.
    parent
        The Qt parent.
    """

    def __init__(
        self, session: Session, layers: TissueLayers, attempt: Attempt, parent: QWidget
    ) -> None:
        super().__init__(parent)
        self._session, self._imaging, self._layers = session, session.imaging, layers
        self._try = attempt
        self._guard = WheelGuard(self)
        boxes = self.image, self.store, self.section, self.how = [NarrowBox(self) for _ in range(4)]
        for box in boxes:
            self._guard.watch(box)
        self.add_button = QPushButton("Add image…", self)
        self.take_button = QPushButton("Add", self)
        self.remove_button = QPushButton("Remove", self)
        self.about, self.notice = QLabel(self), QLabel(self)
        nothing = "— no channel —"
        self.shown = ColumnsEdit(
            name="shown", tooltip="The channels that have a layer.", nothing=nothing
        )
        self.measured = MeasuredImage(session.imaging, self)
        self.values, self.landmarks = ValuesEdit(self), Landmarks(session, layers, attempt, self)
        self._asked = ("", "")  # of which image, how it is to be aligned from now on
        self._lay_out()
        self._connect()
        self.refresh()

    def _lay_out(self) -> None:
        menu = QMenu(self.add_button)
        self.add_file = menu.addAction("File…")
        self.add_folder = menu.addAction("Folder (OME-Zarr, SpatialData)…")
        self.add_button.setMenu(menu)
        self.add_button.setToolTip("Add a TIFF, OME-TIFF, OME-Zarr, SpatialData, PNG or JPEG.")
        self.remove_button.setToolTip("Take this image away; its file stays.")
        self.image.setAccessibleName("Image")
        for label in (self.about, self.notice):
            label.setWordWrap(True)
            label.setObjectName("muted")
        for button in (self.add_button, self.take_button, self.remove_button):
            button.setObjectName("secondary")
        self.rows = Rows(self)
        offer = QWidget(self)
        for widget in (self.store, self.take_button):
            widget.setParent(offer)
        offered = QHBoxLayout(offer)
        offered.setContentsMargins(0, 0, 0, 0)
        offered.setSpacing(6)
        offered.addWidget(self.store, 1)
        offered.addWidget(self.take_button)
        self.take_button.setToolTip("Add this image of the store.")
        self.rows.add("store", "In the store", offer, "Which image of the store to add.")
        self.rows.add("shown", "Channels", self.shown.native, "The channels that are shown.")
        self.rows.add("section", "Section", self.section, "Which section the image shows.")
        self.rows.add("how", "Aligned by", self.how, "What brings the image to the cells.")
        head = QHBoxLayout()
        head.addWidget(self.image, 1)
        head.addWidget(self.remove_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.add_button)
        layout.addLayout(head)
        for widget in (self.about, self.notice, self.rows, self.values, self.landmarks):
            layout.addWidget(widget)
        layout.addWidget(self.measured)
        for box in (head, layout):
            box.setSpacing(6)

    @property
    def stops(self) -> list[QWidget]:
        """What the tab key stops at, from the top to the bottom."""
        parts = (
            *(self.add_button, self.image, self.remove_button, self.store, self.take_button),
            *(self.shown.native, self.section, self.how, self.values, self.landmarks),
            *self.measured.stops,
        )
        return [stop for part in parts for stop in stops_of(part)]

    def _connect(self) -> None:
        imaging, session = self._imaging, self._session
        self.add_file.triggered.connect(self._add_file)
        self.add_folder.triggered.connect(self._add_folder)
        self.remove_button.clicked.connect(lambda: imaging.remove(self.image.currentData()))
        self.image.activated.connect(lambda *_: imaging.choose(self.image.currentData()))
        self.take_button.clicked.connect(lambda: imaging.take(self.store.currentIndex()))
        self.section.activated.connect(lambda *_: self._on_section())
        self.how.activated.connect(lambda *_: self._on_how())
        self.shown.changed.connect(self._on_shown)
        self.values.typed.connect(self._on_typed)
        for signal in (session.images_changed, session.active_changed, session.quality_changed):
            listen(self, signal, self.refresh)
        listen(self, session.tool_changed, self.refresh)

    # ---- what the user does

    def _add_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Add an image", "", _FILES)
        if path:
            self._try(lambda: self._imaging.add(path))

    def _add_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Add an OME-Zarr or SpatialData store")
        if path:
            self._try(lambda: self._imaging.add(path))

    def _on_how(self) -> None:
        """Align by the file at once; by values or landmarks once there are some."""
        how, attached = self.how.currentData(), self._imaging.attached(self._session.active)
        self._asked = (attached.name, how)
        if how == "file":
            self._try(lambda: self._imaging.aligning.by_file(attached.name))
        if how != "landmarks":
            self._imaging.put_away()
        self.refresh()

    def _on_typed(self, *values: Any) -> None:
        attached = self._imaging.attached(self._session.active)
        self._try(lambda: self._imaging.aligning.by_values(attached.name, *values))

    def _on_shown(self, names: tuple[str, ...]) -> None:
        self._imaging.show_channels(self.image.currentData(), tuple(names))

    def _on_section(self) -> None:
        tissue = self._session.active
        attached = self._imaging.attached(tissue)
        placement, section = self._layers.placement_of(tissue), self.section.currentText()
        self._imaging.aligning.show_section(attached.name, section, placement)

    # ---- what is shown

    def refresh(self, *_: Any) -> None:
        """Show the images that there are, and all about the chosen one."""
        tissue = self._session.active
        if tissue is None:
            return
        desk, inside = self._imaging.desk_of(tissue), self._imaging.inside(tissue)
        names = [*(one.name for one in tissue.images), *inside]
        attached = self._imaging.attached(tissue)
        if attached is None and desk.chosen not in inside:
            desk.chosen = names[0] if names else ""
            attached = self._imaging.attached(tissue)
        self.image.offer([(name, name) for name in names], desk.chosen)
        for widget in (self.image, self.remove_button):
            widget.setVisible(bool(names))
        self.remove_button.setEnabled(attached is not None)
        offered = [(image.name, i) for i, image in enumerate(desk.offered[1])]
        self.store.offer(offered, self.store.currentData())
        self.rows.show_row("store", bool(offered))
        self._show_attached(tissue, attached)
        image = inside.get(desk.chosen)
        if attached is not None:
            image = self._imaging.image_of(tissue, attached)
        several = image is not None and not image.rgb and image.n_channels > 1
        self.rows.show_row("shown", several)
        if several:
            shown = desk.channels.get(desk.chosen, channels_at_first(image))
            self.shown.tick(image.channels, shown)
        if attached is None:
            self.about.setText(_NOTHING if image is None else _about(image, tissue.units))
        opening = self._session.jobs.current(SLOT)
        if opening is not None:
            self.about.setText(f"{opening.title}…")
        self.add_button.setEnabled(opening is None)
        self.measured.show_tissue(tissue)

    def _show_attached(self, tissue: Tissue, attached: Attached | None) -> None:
        """Show an image that can be aligned, or nothing of that."""
        image = None if attached is None else self._imaging.image_of(tissue, attached)
        placement = None
        if attached is not None and self._layers.layer_of(tissue) is not None:
            placement = self._layers.placement_of(tissue)
        sections = [] if placement is None else list(placement.offsets)
        self.rows.show_row("section", len(sections) > 1)
        self.rows.show_row("how", image is not None)
        for widget in (self.values, self.landmarks):
            widget.hide()
        self.notice.hide()
        if attached is None:
            return
        self.section.offer([(name, name) for name in sections], attached.section)
        if image is None:
            problem = self._imaging.problem_of(tissue, attached)
            self.about.setText(problem or f"Opening {attached.name}…")
            return
        self.about.setText(_about(image, tissue.units, aligned=attached.how != "none"))
        self._show_alignment(tissue, attached, image)

    def _show_alignment(self, tissue: Tissue, attached: Attached, image: SectionImage) -> None:
        """Show how an open image came to its place, and what is amiss with that."""
        if self._session.tool == "landmark":
            self._asked = (attached.name, "landmarks")
        how = self._asked[1] if self._asked[0] == attached.name else attached.how
        hows = [key for key in HOWS if key != "none" or attached.how == "none"]
        self.how.offer([(HOWS[key], key) for key in hows], how)
        said = [*image.notices, self._imaging.misfit_of(tissue, attached)]
        if attached.how == "none":
            said.append(
                "It is shown beside the cells until values or landmarks say where it belongs."
            )
        self.notice.setText(" ".join(filter(None, said)))
        self.notice.setVisible(bool(self.notice.text()))
        self.values.setVisible(how == "values")
        self.values.show_image(attached, tissue.units)
        self.landmarks.setVisible(how == "landmarks")
        self.landmarks.show_image(attached, tissue.units)


def _about(image: SectionImage, unit: str, aligned: bool = True) -> str:
    """Say how large an image is, of what, and how large its pixels are."""
    height, width = image.shape
    kind = "colours" if image.rgb else fmt.count(image.n_channels, "channel")
    levels = f", {len(image.levels)} levels" if len(image.levels) > 1 else ""
    size = f"; a pixel is {image.pixel_size:.4g}\u00a0{unit}" if aligned else ""
    return f"{width:,} x {height:,} pixels, {kind}, {image.dtype}{levels}{size}."
