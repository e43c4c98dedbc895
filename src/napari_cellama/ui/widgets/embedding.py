"""The Embedding dock: a map of the cells beside the tissue, in the same colours."""

from __future__ import annotations

import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.theme import get_theme
from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QSizePolicy,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from napari_cellama.errors import UserError
from napari_cellama.ui import format as fmt
from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.exports import map_events, map_table
from napari_cellama.ui.layouts import SLOT, Step
from napari_cellama.ui.map_canvas import MapCanvas
from napari_cellama.ui.widgets.cell_map import CellMap
from napari_cellama.ui.widgets.form import WheelGuard
from napari_cellama.ui.widgets.key_help import follow_help_key
from napari_cellama.ui.widgets.lines import NO_TISSUE
from napari_cellama.ui.widgets.listen import heed, listen
from napari_cellama.ui.widgets.plot_menu import PlotMenu
from napari_cellama.ui.widgets.style import follow_theme
from napari_cellama.ui.workers import Failed, Job

if TYPE_CHECKING:
    import napari
    import pandas as pd


_SIZE = 290
_OF = {"Niches": "niches", "Cells": "cells"}
_HELP = (
    "Drag to move, wheel to zoom; Shift and drag for a lasso, which replaces the selection or does "
    "what is chosen beside Lasso in the Clusters dock, and with Ctrl takes away; ? shows the keys."
)
_LEARNING = (
    "The map is being made; its first cells appear once it is learnt. Everything else can be used "
    "meanwhile."
)


class EmbeddingDock(QWidget):
    """Shows the niches' or the cells' embedding as a map; what is selected there is so here.

    Parameters
    ----------
    napari_viewer
        The viewer whose session this is a view of.
    """

    #: Where the panel's keeper puts it.
    dock_side = "left"

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        session = self._session = session_of(napari_viewer)
        self._layers, self._layouts = layers_of(napari_viewer), session.layouts
        self._viewer = weakref.ref(getattr(napari_viewer, "__wrapped__", napari_viewer))
        self._step = Step(0, 0)
        #: Counts the seconds while the map is learnt, which tells of nothing else.
        self._seconds = QTimer(self, interval=1_000)
        self.canvas = MapCanvas()
        self.map = CellMap(session, self._layers, self.canvas)
        self.of = QComboBox(self)
        self.button = QPushButton("Map", self)
        self.all_button = QPushButton("All", self)
        self.menu = PlotMenu(self.canvas.widget, "map.png", self.table, save=self.save_figure)
        self.save_button = QPushButton("Save", self)
        self.empty, self.status = QLabel(self), QLabel(self)
        self._lay_out()
        follow_help_key(self)
        follow_theme(self, napari_viewer)
        heed(self, napari_viewer.events.theme, self._follow_background)
        self._follow_background()
        self._listen()
        self.refresh()

    def sizeHint(self) -> QSize:
        """Return a square that leaves the layers their room."""
        return QSize(_SIZE, _SIZE + 40)

    def _lay_out(self) -> None:
        self.of.addItems(list(_OF))
        self.of.setToolTip("Which embedding: of the niches, which was clustered, or of the cells.")
        choices = QMenu(self.save_button)
        choices.addActions([self.menu.save_action, self.menu.copy_action])
        self.save_button.setMenu(choices)
        self.save_button.setObjectName("menu")
        self.menu.told.connect(lambda _, text: self._say(text))
        self.all_button.setObjectName("secondary")
        self.button.setObjectName("secondary")
        self.empty.setObjectName("muted")
        self.empty.setWordWrap(True)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.status.setObjectName("overlay")
        self.status.setWordWrap(True)
        self.status.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.canvas.widget.setMinimumSize(120, 100)
        self.canvas.widget.setToolTip(_HELP)
        self.shown = QStackedWidget(self)
        # Else napari takes the dock for one that wants no height and puts its own air below it,
        # the more the more docks it has seen.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self.shown.addWidget(self.empty)
        self.shown.addWidget(self.canvas.widget)
        # What is said stands on the map, which needs all the height that there is.
        over = QGridLayout()
        over.addWidget(self.shown, 0, 0)
        over.addWidget(self.status, 0, 0, Qt.AlignmentFlag.AlignBottom)
        self.status.raise_()
        line = QHBoxLayout()
        line.setSpacing(6)
        line.addWidget(self.of, 1)
        line.addWidget(self.button)
        line.addWidget(self.all_button)
        line.addWidget(self.save_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 8, 6)
        layout.setSpacing(4)
        layout.addLayout(line)
        layout.addLayout(over, 1)
        self._guard = WheelGuard(self)
        self._guard.watch(self.of)

    def _listen(self) -> None:
        session = self._session
        self._seconds.timeout.connect(self._on_second)
        self.of.currentIndexChanged.connect(self.refresh)
        self.button.clicked.connect(self._on_button)
        self.all_button.clicked.connect(self.canvas.show_all)
        self.map.named.connect(lambda text: self._say(text or self._summary()))
        for signal in (session.active_changed, session.matrix_ready, session.clusters_changed):
            listen(self, signal, self.refresh)
        listen(self, self._layouts.changed, self.refresh)
        listen(self, self._layouts.told, self._on_told)

    def _follow_background(self, *_: Any) -> None:
        theme = get_theme(self._viewer().theme)
        self.canvas.set_background(theme.canvas.as_hex())

    # ---- what the user does

    def _on_button(self) -> None:
        if self._session.jobs.current(SLOT) is not None:
            self._layouts.cancel()
            self._say("Stopping…")
        else:
            layout = self.map.layout
            goes_on = layout is not None and layout.can_go_on
            self._step = Step(layout.placed, layout.total) if goes_on else Step(0, 0)
            try:
                self._layouts.make(self._of)
            except UserError as error:
                self._say(str(error))
        self._refresh_button()

    def save_figure(self, path: str) -> None:
        """Save the map as it is painted now, in a job, and say when it is there."""
        tissue = self._session.active
        legend = self._layers.legend_of(tissue)
        events = map_events(tissue, legend, self.map.layout, self.map.cells, path)

        def on_event(job: Job, event: Any) -> None:
            if isinstance(event, Path):
                self._say(f"Figure saved to {event}.")
            elif isinstance(event, Failed):
                self._say(event.sentence)

        self._session.jobs.start("map figure", f"Drawing {Path(path).name}", events, on_event)

    def table(self) -> pd.DataFrame:
        """Return the map's numbers, see :func:`~..exports.map_table`."""
        return map_table(self._session.active, self.map.layout, self.map.cells)

    @property
    def _of(self) -> Any:
        return _OF[self.of.currentText()]

    # ---- what is shown

    def refresh(self, *_: Any) -> None:
        """Show the active tissue's map, or say what to do for one."""
        tissue = self._session.active
        layout = self._layouts.get(tissue, self._of)
        self.map.show(tissue, layout)
        self.shown.setCurrentIndex(0 if layout is None else 1)
        why = self._layouts.why_not()
        how = why or f"Press Map to lay out the {self._of} by UMAP. {_HELP}"
        if self._session.jobs.current(SLOT) is not None:
            how = _LEARNING
        self.empty.setText(NO_TISSUE if tissue is None else how)
        self._say(self._summary())
        self._refresh_button()

    def _refresh_button(self) -> None:
        busy, why = self._session.jobs.current(SLOT), self._layouts.why_not()
        if busy is None:
            self._seconds.stop()
        elif not self._seconds.isActive():
            self._seconds.start()
        goes_on = self.map.layout is not None and self.map.layout.can_go_on
        self.button.setText("Cancel" if busy else "Continue" if goes_on else "Map")
        stops = busy is not None and busy.token.cancelled
        self.button.setEnabled(not why and not stops)
        again = "" if self.map.layout is None else " again"
        tip = f"Lay the {self._of} out by UMAP{again}; a minute, longer for many cells."
        if goes_on:
            tip = "Place the cells that are not on the map yet."
        stop = "Stop making the map; the cells that are on it stay."
        self.button.setToolTip(why or (stop if busy else tip))
        no_map = "" if self.map.layout is not None else "There is no map yet; press Map first."
        self.all_button.setToolTip(no_map or "Show the whole map.")
        self.save_button.setToolTip(no_map or "Save the map as a picture, or copy its numbers.")
        for button in (self.all_button, self.save_button):
            button.setEnabled(not no_map)

    def _on_told(self, job: Job, event: Any) -> None:
        if isinstance(event, Step):
            self._step = event
            self._say(self._summary())
            return
        self.refresh()
        if isinstance(event, Failed):
            self._say(event.sentence)

    def _on_second(self) -> None:
        if not self._step.placed:
            self._say(self._summary())

    def _summary(self) -> str:
        if (job := self._session.jobs.current(SLOT)) is not None:
            return "Stopping…" if job.token.cancelled else _told(self._step, job)
        shown = self.map.layout
        if shown is None:
            return ""
        took = f"UMAP in {fmt.duration(shown.seconds)}" if shown.seconds else "UMAP"
        number = fmt.count(len(self.map.cells), "cell")
        if not shown.is_whole:
            number = f"Stopped at {shown.placed:,} of {fmt.count(shown.total, 'cell')}"
        return fmt.joined(number, took, f"seed {shown.seed}")

    def _say(self, text: str) -> None:
        self.status.setText(text)
        self.status.setVisible(bool(text))


def _told(step: Step, job: Job) -> str:
    """Say how far a map is, e.g. "40,000 of 60,000 cells placed · 9 s left"."""
    if not step.placed:
        passed = time.monotonic() - job.started
        return fmt.joined("Learning the map…", fmt.duration(passed) if passed >= 1 else "")
    left = "" if step.left is None or step.placed == step.total else fmt.duration(step.left)
    number = f"{step.placed:,} of {fmt.count(step.total, 'cell')} placed"
    return fmt.joined(number, left and f"{left} left")
