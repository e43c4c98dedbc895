"""The Understand dock: why a cell is where it is, and what its cluster is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QTabWidget, QVBoxLayout, QWidget

from napari_cellama.ui.widgets.cluster_portrait import ClusterPortrait
from napari_cellama.ui.widgets.inspector import SentenceInspector
from napari_cellama.ui.widgets.key_help import follow_help_key
from napari_cellama.ui.widgets.progress import MessageLine
from napari_cellama.ui.widgets.style import follow_theme

if TYPE_CHECKING:
    import napari

_WIDTH, _NARROWEST = 364, 340


class UnderstandDock(QWidget):
    """Shows the clicked cell's sentence in parts, and what the picked cluster is made of.

    Parameters
    ----------
    napari_viewer
        The viewer whose session this is a view of.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self.setMinimumWidth(_NARROWEST)
        self.message = MessageLine(self)
        self.inspector = SentenceInspector(napari_viewer, self.message, self)
        self.cluster = ClusterPortrait(napari_viewer, self.message.add, self)
        self.pages = QTabWidget(self)
        self.pages.addTab(_scrolled(self.inspector, self), "Cell")
        self.pages.setTabToolTip(0, "Why the clicked cell is where it is.")
        self.pages.addTab(_scrolled(self.cluster, self), "Cluster")
        self.pages.setTabToolTip(1, "What the picked cluster is made of.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 6, 4, 8)
        layout.setSpacing(8)
        layout.addWidget(self.pages, 1)
        layout.addWidget(self.message)
        follow_help_key(self)
        follow_theme(self, napari_viewer)

    def sizeHint(self) -> QSize:
        """Return the width that leaves the tissue its room."""
        return QSize(_WIDTH, 720)


def _scrolled(content: QWidget, parent: QWidget) -> QScrollArea:
    """Return the content in an area that scrolls up and down only."""
    scroll = QScrollArea(parent)
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QFrame.Shape.NoFrame)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    scroll.setWidget(content)
    return scroll
