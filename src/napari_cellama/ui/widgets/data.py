"""The data's rows: which tissue, and opening, saving and writing it back."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtGui import QAction
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_cellama.errors import UserError
from napari_cellama.ui import format as fmt
from napari_cellama.ui.contributions import open_tissue
from napari_cellama.ui.layers import show
from napari_cellama.ui.widgets.listen import listen
from napari_cellama.ui.workers import Ended, Failed, Stopped, sentence_of

if TYPE_CHECKING:
    import napari

    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue
    from napari_cellama.ui.workers import Job

#: So many letters of a tissue's name and size have room in a panel of its least width.
_LETTERS = 35
_EMPTY = (
    "No tissue is open. Press Open tissue…, drop a .h5ad file onto the window, or try "
    "File > Open Sample > CELLama."
)


class DataPanel(QWidget):
    """Shows the open tissues and lets the user open, save and write back."""

    def __init__(
        self, session: Session, viewer: napari.Viewer, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._session, self._viewer = session, viewer
        self.empty = QLabel(_EMPTY, self)
        self.empty.setWordWrap(True)
        self.tissues = QComboBox(self)
        self.tissues.setToolTip("The tissue that the docks show and that Run works on.")
        self.tissues.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.tissues.activated.connect(self._on_chosen)
        self.open_button = _button("Open tissue…", self)
        self.open_button.setToolTip(
            "Open cells with genes and positions: a .h5ad file, a .zarr or an output folder."
        )
        self.open_button.setMenu(self._open_menu())
        self.save_button = _button("Save…", self)
        self.save_button.clicked.connect(self.save)
        self.write_button = _button("Write to AnnData", self)
        self.write_button.setToolTip(
            "Write the niches and everything else that was made here into the AnnData that was "
            "opened from the notebook."
        )
        self.write_button.clicked.connect(self.write_back)
        self._lay_out()
        listen(self, session.tissues_changed, self._redraw)
        listen(self, session.active_changed, self._redraw)
        listen(self, session.matrix_ready, self._redraw)
        listen(self, session.job_started, self._redraw)
        listen(self, session.job_event, self._on_job_event)
        self._redraw()

    @property
    def stops(self) -> list[QWidget]:
        """The controls in the order of the tab key."""
        return [self.tissues, self.open_button, self.save_button, self.write_button]

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        buttons.setSpacing(6)
        for button in (self.open_button, self.save_button, self.write_button):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(5)
        layout.addWidget(self.empty)
        layout.addWidget(self.tissues)
        layout.addLayout(buttons)

    def _open_menu(self) -> QMenu:
        menu = QMenu(self)
        menu.addAction(QAction(".h5ad file…", menu, triggered=lambda: self.open_file()))
        folder = QAction("Folder (.zarr, Visium, Xenium, MERSCOPE)…", menu)
        folder.triggered.connect(lambda: self.open_folder())
        menu.addAction(folder)
        return menu

    # ---- what the user does

    def open_file(self) -> None:
        """Let the user choose a file and open it."""
        path, _ = QFileDialog.getOpenFileName(self, "Open tissue", "", "AnnData (*.h5ad)")
        if path:
            self._open(path)

    def open_folder(self) -> None:
        """Let the user choose a .zarr folder and open it."""
        path = QFileDialog.getExistingDirectory(
            self, "Open tissue (.zarr, or the output folder of Visium, Xenium or MERSCOPE)"
        )
        if path:
            self._open(path)

    def _open(self, path: str) -> None:
        self._try(lambda: show(self._viewer, open_tissue(path)))

    def save(self) -> None:
        """Let the user choose where to save; the dialog itself asks before overwriting."""
        tissue = self._session.active
        dialog = QFileDialog(self, "Save tissue", str(_proposed(tissue)))
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setNameFilters(["AnnData (*.h5ad)", "AnnData as zarr (*.zarr)"])
        dialog.setDefaultSuffix("h5ad")
        dialog.filterSelected.connect(
            lambda chosen: dialog.setDefaultSuffix("zarr" if "zarr" in chosen else "h5ad")
        )
        if dialog.exec() and dialog.selectedFiles():
            path = Path(dialog.selectedFiles()[0])
            # Where it exists, the dialog has asked.
            self._try(lambda: self._session.save(path, overwrite=path.exists()))

    def write_back(self) -> None:
        """Write everything into the notebook's AnnData."""

        def write() -> None:
            slots = self._session.apply_to_owner()
            text = f"Written to the AnnData: {fmt.count(len(slots), 'slot')}."
            self._session.message.emit("info", text, "\n".join(slots))

        self._try(write)

    def _try(self, action: Callable[[], object]) -> None:
        """Do it, or say in one sentence why it cannot be done."""
        try:
            action()
        except UserError as error:
            self._session.message.emit("error", str(error), "")
        except Exception as error:
            details = "".join(traceback.format_exception(error))
            self._session.message.emit("error", sentence_of(error), details)

    # ---- what is shown

    def _on_chosen(self, row: int) -> None:
        self._session.activate(self._session.tissues[row])

    def _on_job_event(self, job: Job, event: Any) -> None:
        if isinstance(event, Ended | Failed | Stopped):
            self._redraw()

    def _redraw(self) -> None:
        session, tissue = self._session, self._session.active
        self.empty.setVisible(tissue is None)
        self.tissues.setVisible(tissue is not None)
        with QSignalBlocker(self.tissues):
            self.tissues.clear()
            for item in session.tissues:
                self.tissues.addItem(summary(item, _LETTERS))
                last = self.tissues.count() - 1
                whole = summary(item, 1000)
                self.tissues.setItemData(last, whole, Qt.ItemDataRole.ToolTipRole)
            if tissue in session.tissues:  # not while it is being closed
                self.tissues.setCurrentIndex(session.tissues.index(tissue))
        self.write_button.setVisible(tissue is not None and tissue.owner is not None)
        saving = session.jobs.current("save") is not None
        why = (
            "Open a tissue first."
            if tissue is None
            else "The genes are still being read."
            if not tissue.has_matrix
            else "It is being saved."
            if saving
            else ""
        )
        self.save_button.setText("Saving…" if saving else "Save…")
        self.save_button.setEnabled(not why)
        self.save_button.setToolTip(
            why or "Save the cells with all niches and labels to .h5ad or .zarr."
        )


def summary(tissue: Tissue, length: int) -> str:
    """Return e.g. ``"section · 48,310 cells · 313 genes"`` with the name elided to fit."""
    size = fmt.joined(
        fmt.count(tissue.n_obs, "cell"),
        fmt.count(tissue.snapshot.n_vars, "gene"),
    )
    return fmt.joined(fmt.elided(tissue.name, max(8, length - len(size))), size)


def _proposed(tissue: Tissue) -> Path:
    """Return where to save by default: beside the source, under a name of its own."""
    folder = tissue.source.parent if tissue.source else Path()
    return folder / f"{tissue.name}_niches.h5ad"


def _button(text: str, parent: QWidget) -> QPushButton:
    button = QPushButton(text, parent)
    button.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
    return button
