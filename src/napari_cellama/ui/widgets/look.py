"""Looking at cells in the QC dock: the clicked one's picture, and a gallery to work through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_cellama.core.qc_thresholds import BLURRED, BY_NAME, FOLDED, OUTSIDE, reasons
from napari_cellama.core.sampling import badness, cells_to_look_at, typicality
from napari_cellama.ui import format as fmt
from napari_cellama.ui.judging import ACCEPTED, PASSES, by_hand, judgement_of
from napari_cellama.ui.widgets.gallery import CropOf, Gallery, pixmap
from napari_cellama.ui.widgets.inquiry import Inquiry
from napari_cellama.ui.widgets.legend import number
from napari_cellama.ui.widgets.listen import listen
from napari_cellama.ui.workers import Failed

if TYPE_CHECKING:
    from napari_cellama.core.qc import QCResult
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue

#: How many cells a gallery shows, and the side of the clicked cell's picture.
N_CELLS, _SIDE = 200, 132
_ALL, _FAILING, _SELECTION = "All cells", "Failing cells", "Selected cells"
_RANDOM, _TYPICAL, _UNCERTAIN, _WORST = "at random", "most typical", "least certain", "worst"
#: How many windows wide a picture is.
_WIDTHS = {"Near": 4.0, "Wider": 8.0, "Far": 16.0}
_KEYS = "Keys in the gallery: A accepts, F flags, N goes on, Return shows the cell on the tissue."


class Look(QWidget):
    """Shows cells of the measured tissue; ``visited(int)`` asks to fly to one."""

    visited = Signal(int)

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self._session = session
        self._result: QCResult | None = None
        self._crop_of: CropOf | None = None
        self._inquiry = Inquiry(session.jobs, "crop", self._on_crop, self)
        self.picture, self.text = QLabel(self), QLabel(self)
        self.whom, self.how, self.width_box = (QComboBox(self) for _ in range(3))
        self.reason = QComboBox(self)
        self.gallery = Gallery(session, self)
        self.show_button = _button("Show", self.show_gallery)
        self.accept_button = _button("Accept", lambda: self._judge(True))
        self.flag_button = _button("Flag", lambda: self._judge(False))
        self.next_button = _button("Next", self.gallery.next)
        self.fly_button = _button("Fly to it", self._fly)
        self._lay_out()
        self.gallery.judged.connect(self._judge)
        self.gallery.visited.connect(self.visited)
        self.gallery.current_changed.connect(self._on_current)
        self.width_box.currentIndexChanged.connect(lambda *_: self._on_width())
        listen(self, session.cell_picked, self._on_picked)
        listen(self, session.quality_changed, self.refresh)
        listen(self, session.active_changed, self.refresh)
        self._cell: int | None = None
        self.refresh()

    def _lay_out(self) -> None:
        self.text.setWordWrap(True)
        self.text.setObjectName("muted")
        self.text.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.picture.setFixedSize(_SIDE, _SIDE)
        self.picture.setAccessibleName("Picture of the cell")
        self.width_box.addItems(list(_WIDTHS))
        self.width_box.setCurrentText("Wider")
        self.width_box.setToolTip("How much of the image is seen around a cell.")
        self.reason.setEditable(True)
        self.reason.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.reason.addItems(["flagged", BLURRED, FOLDED, OUTSIDE, "two cells", "debris"])
        self.reason.setToolTip("Why cells are flagged; choose or type.")
        for box in (self.whom, self.how, self.reason):
            box.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
        self.gallery.setToolTip(_KEYS)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        head = QHBoxLayout()
        head.setSpacing(8)
        head.addWidget(self.picture)
        head.addWidget(self.text, 1)
        layout.addLayout(head)
        layout.addLayout(_line(self.whom, self.how))
        layout.addLayout(_line(self.width_box, self.show_button))
        layout.addWidget(self.gallery)
        layout.addLayout(_line(self.reason, self.fly_button))
        layout.addLayout(_line(self.accept_button, self.flag_button, self.next_button))

    # ---- what is shown

    def refresh(self, *_: Any) -> None:
        """Offer what can be looked at in the active tissue."""
        tissue = self._session.active
        result = None if tissue is None else tissue.quality
        if result is not self._result:
            self._result, self._cell = result, None
            self._crop_of = None if result is None else _Crops(tissue, self._width)
            self.gallery.crops.show_cells(np.zeros(0, np.int64), None, str)
        if result is None:
            return
        counts = judgement_of(tissue).labels
        there = [n for n, k in zip(counts.names, counts.sizes, strict=True) if k and n != PASSES]
        _offer(self.whom, [_FAILING, _ALL, _SELECTION, *there])
        run = _run_of(tissue)
        _offer(self.how, [_RANDOM, _WORST, *((_TYPICAL, _UNCERTAIN) if run else ())])
        self.gallery.crops.show_verdicts(by_hand(tissue))
        self._show_cell()

    def show_gallery(self) -> None:
        """Show pictures of the cells that are asked for."""
        tissue = self._session.active
        cells = self._asked(tissue)
        chosen = cells_to_look_at(cells, N_CELLS, self._worth(tissue, cells))
        self.gallery.crops.show_cells(chosen, self._crop_of, lambda cell: about(tissue, cell))
        self.gallery.crops.show_verdicts(by_hand(tissue))
        if len(chosen):
            self.gallery.setCurrentIndex(self.gallery.crops.index(0))
            self.gallery.setFocus()
        else:
            self.text.setText("There are no such cells.")

    def _asked(self, tissue: Tissue) -> np.ndarray:
        whom, judgement = self.whom.currentText(), judgement_of(tissue)
        if whom == _ALL:
            return np.ones(tissue.n_obs, bool)
        if whom == _SELECTION:
            return tissue.selection
        if whom == _FAILING:
            return judgement.fails
        return judgement.labels.codes == judgement.labels.names.index(whom)

    def _worth(self, tissue: Tissue, cells: np.ndarray) -> np.ndarray | None:
        how, run = self.how.currentText(), _run_of(tissue)
        if how == _WORST:
            return badness(tissue.quality.table, tissue.thresholds)
        if how == _TYPICAL and run is not None:
            return typicality(run.representation, cells)
        return -run.confidence if how == _UNCERTAIN and run is not None else None

    def _on_picked(self, tissue: Tissue, cell: int) -> None:
        if tissue is self._session.active:
            self._cell = cell
            self._show_cell()

    def _on_current(self) -> None:
        if self.gallery.cell is not None:
            self._cell = self.gallery.cell
            self._show_cell()

    def _show_cell(self) -> None:
        """Show the cell that was clicked last, on the tissue or in the gallery."""
        tissue = self._session.active
        for button in (self.accept_button, self.flag_button, self.fly_button):
            button.setEnabled(self._cell is not None)
        if tissue is None or tissue.quality is None or self._cell is None:
            self.picture.clear()
            self.text.setText("Click a cell on the tissue, or press Show for pictures of many.")
            return
        self.text.setText(about(tissue, self._cell))
        if tissue.quality.image_name and self._crop_of is not None:
            cell, crop_of = self._cell, self._crop_of
            self._inquiry.ask(lambda token: (cell, crop_of(cell)))

    def _on_crop(self, answer: Any) -> None:
        if isinstance(answer, Failed):
            self.text.setText(answer.sentence)
        elif answer[0] == self._cell:
            smooth = Qt.TransformationMode.SmoothTransformation
            scaled = pixmap(answer[1]).scaled(
                _SIDE, _SIDE, Qt.AspectRatioMode.KeepAspectRatio, smooth
            )
            self.picture.setPixmap(scaled)

    # ---- what the user does

    def _judge(self, good: bool) -> None:
        if self._cell is None:
            return
        cells = np.zeros(self._session.active.n_obs, bool)
        cells[self._cell] = True
        reason = self.reason.currentText().strip() or "flagged"
        self._session.editing.mark(cells, ACCEPTED if good else reason)
        if self._cell == self.gallery.cell:
            self.gallery.next()

    def _fly(self) -> None:
        if self._cell is not None:
            self.visited.emit(self._cell)

    @property
    def _width(self) -> float:
        return _WIDTHS[self.width_box.currentText()]

    def _on_width(self) -> None:
        if self._result is not None:
            self._crop_of = _Crops(self._session.active, self._width)
            crops = self.gallery.crops
            row = self.gallery.currentIndex()
            tissue = self._session.active
            crops.show_cells(crops.cells, self._crop_of, lambda cell: about(tissue, cell))
            self.gallery.setCurrentIndex(crops.index(row.row()) if row.isValid() else row)
            self._show_cell()


class _Crops:
    """Cuts pictures from the image that was judged; opens it on first use, in the job."""

    def __init__(self, tissue: Tissue, width: float) -> None:
        self._adata, self._result, self._width = tissue.snapshot, tissue.quality, width
        self._crop_of: CropOf | None = None

    def __call__(self, cell: int) -> np.ndarray:
        if self._crop_of is None:
            from napari_cellama.qc_api import crops_of

            self._crop_of = crops_of(self._adata, self._result, self._width) or _grey
        return self._crop_of(cell)


def _grey(cell: int) -> np.ndarray:
    """Stand in for a picture where the image is gone."""
    return np.full((8, 8, 3), 128, np.uint8)


def about(tissue: Tissue, cell: int) -> str:
    """Say of a cell its name, what is wrong with it, and its metrics."""
    quality = tissue.quality
    hand = by_hand(tissue).get(cell)
    by_limits = reasons(judgement_of(tissue).faults.iloc[[cell]])[0]
    why = hand if hand is not None else by_limits
    verdict = ("accepted by hand" if hand == "" else why) or "passes"
    row = quality.table.iloc[cell]
    metrics = [
        f"{BY_NAME[name].label} {number(float(row[name]))}"
        for name in row.index
        if name in BY_NAME and np.isfinite(row[name])
    ]
    return f"{fmt.elided(str(tissue.snapshot.obs_names[cell]), 30)}: {verdict}\n" + "; ".join(
        metrics[:8]
    )


def _run_of(tissue: Tissue) -> Any:
    return tissue.results.get(tissue.clusters) or next(reversed(tissue.results.values()), None)


def _offer(box: QComboBox, texts: list[str]) -> None:
    """Offer other choices in a box, and keep the chosen one where it is still there."""
    if [box.itemText(i) for i in range(box.count())] != texts:
        chosen = box.currentText()
        box.clear()
        box.addItems(texts)
        box.setCurrentText(chosen if chosen in texts else texts[0])


def _button(text: str, act: Any) -> QPushButton:
    button = QPushButton(text)
    button.setObjectName("secondary")
    button.clicked.connect(lambda: act())
    return button


def _line(*widgets: QWidget) -> QHBoxLayout:
    line = QHBoxLayout()
    line.setSpacing(6)
    for widget in widgets:
        line.addWidget(widget, 1)
    return line
