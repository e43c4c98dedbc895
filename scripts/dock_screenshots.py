"""Photograph every dock on a section, in both themes and at two widths, and check what one sees.

    xvfb-run -s "-screen 0 1920x1080x24" python scripts/dock_screenshots.py SECTION.h5ad DIR

SECTION has obs['celltype']; the osmFISH section is meant. Its niches are found first, then each
dock is brought to a state with something to see. Writes DIR/DOCK-THEME-WIDTH.png and prints, for
each, the canvas's share of the window and whatever text is cut, widget covers another or dock has
a ragged right edge. The exit code is 1 if there is such a fault, if the window had to grow, or if
the canvas has less than 46% of the width of a window of 1,280 pixels, or less than 60% of one of
1,920; also beside the controls of a pyramid.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import napari
import numpy as np
from napari.settings import get_settings
from qtpy.QtCore import QRect, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QDockWidget,
    QLabel,
    QLayout,
    QScrollArea,
    QTableView,
    QWidget,
)

import napari_cellama as nc
from napari_cellama.core.events import last_of
from napari_cellama.core.umap import laying_out, put_layout
from napari_cellama.ui.attach import session_of
from napari_cellama.ui.launch import open_docks
from napari_cellama.ui.layers import show
from napari_cellama.ui.panel import main_window
from napari_cellama.ui.tissue import Tissue
from napari_cellama.ui.widgets.embedding import EmbeddingDock

#: Width and height of the windows, and the least share of the width that the canvas keeps.
WINDOWS = {1280: (800, 0.46), 1920: (1080, 0.60)}
PATIENCE_S = 300
#: What ends within so many pixels of a dock's right edge reaches to it, and may be so many off.
_EDGE, _UNSEEN = 16, 2


def settle(seconds: float = 0.3) -> None:
    """Let Qt draw what is due."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        QApplication.processEvents()
        time.sleep(0.01)


def wait(is_done: Callable[[], bool]) -> None:
    """Let Qt work until something is done."""
    until = time.monotonic() + PATIENCE_S
    while not is_done():
        if time.monotonic() > until:
            raise TimeoutError("The window did not get ready.")
        settle(0.05)
    settle()


def prepare_niches(dock: QWidget, session) -> None:
    """Colour by the niches."""
    session.show_clusters("niche")
    settle(1)


def prepare_clusters(dock: QWidget, session) -> None:
    """Pick the largest niche."""
    session.show_clusters("niche")
    session.select(session.clusters.mask(0))


def prepare_search(dock: QWidget, session) -> None:
    """Search in plain words, as typed by a user."""
    session.select(np.zeros(session.active.n_obs, bool))
    QTest.keyClicks(dock.query.lineEdit(), "layer 2/3 pyramidal")
    QTest.mouseClick(dock.search_button, Qt.MouseButton.LeftButton)
    wait(lambda: session.jobs.current("search") is None)


def prepare_quality(dock: QWidget, session) -> None:
    """Measure the cells and paint those that fail."""
    session.select(np.zeros(session.active.n_obs, bool))
    QTest.mouseClick(dock.measure_button, Qt.MouseButton.LeftButton)
    wait(lambda: session.active.quality is not None and session.jobs.current("quality") is None)
    QTest.mouseClick(dock.paint_button, Qt.MouseButton.LeftButton)


def prepare_understand(dock: QWidget, session) -> None:
    """Click a cell, in the colours of the niches."""
    session.show_clusters("niche")
    dock.pages.setCurrentIndex(0)
    session.pick_cell(2_000)
    wait(dock.inspector.shown.isVisible)


def prepare_cluster(dock: QWidget, session) -> None:
    """Look at the clicked cell's cluster."""
    dock.pages.setCurrentIndex(1)
    wait(lambda: dock.cluster.told is not None)


def prepare_cluster_end(dock: QWidget, session) -> None:
    """Unfold all groups and look at the last ones."""
    for group in dock.cluster.groups:
        group.fold.expand(animate=False)
    settle()
    area = dock.pages.currentWidget()
    area.verticalScrollBar().setValue(area.verticalScrollBar().maximum())


def prepare_embedding(dock: QWidget, session) -> None:
    """Select a niche, and let Understand, which is in front, look at it."""
    session.show_clusters("niche")
    wait(lambda: session.layouts.get(session.active, "niches") is not None)
    session.select(session.clusters.mask(1))
    settle()
    wait(lambda: session.jobs.current("portrait") is None)


def prepare_parts(dock: QWidget, session) -> None:
    """Divide the largest niche."""
    session.show_clusters("niche")
    session.select(session.clusters.mask(0))
    QTest.mouseClick(dock.tools.division.button, Qt.MouseButton.LeftButton)
    wait(lambda: session.jobs.current("subcluster") is None)


def prepare_pyramid(dock: QWidget, session) -> None:
    """Show the controls of a pyramid, as large images and outlines have."""
    viewer = napari.current_viewer()
    levels = [np.zeros((16_384 >> k,) * 2, np.uint8) for k in range(5)]
    units = viewer.layers[0].units
    viewer.add_image(levels, multiscale=True, units=units, visible=False, name="image")
    labels = [level.astype(np.int32) for level in levels[2:]]
    viewer.add_labels(labels, multiscale=True, units=units, visible=False, name="outlines")


#: A dock's title, what its picture is called, and what brings it to a state to be seen.
SCENES: tuple[tuple[str, str, Callable], ...] = (
    ("Niches", "niches", prepare_niches),
    ("Clusters", "clusters", prepare_clusters),
    ("Search", "search", prepare_search),
    ("QC", "qc", prepare_quality),
    ("Understand", "understand", prepare_understand),
    ("Understand", "understand-cluster", prepare_cluster),
    ("Understand", "understand-cluster-end", prepare_cluster_end),
    ("Embedding", "embedding", prepare_embedding),
    ("Clusters", "clusters-parts", prepare_parts),
    ("Clusters", "clusters-pyramid", prepare_pyramid),
)


def faults(dock: QWidget) -> Iterator[str]:
    """Yield what cannot be read: cut texts, widgets that cover each other or do not fit."""
    for widget in (dock, *dock.findChildren(QWidget)):
        if not widget.isVisible():
            continue
        if _is_cut(widget):
            yield f"cut: {widget.text()[:60]!r}"
        if isinstance(widget, QScrollArea):
            yield from _too_wide(widget)
        if isinstance(widget, QTableView):
            yield from _squeezed_rows(widget)
        if isinstance(widget, QComboBox) and _shows_nothing(widget):
            yield f"shows none of its {widget.count()} choices: {widget.accessibleName()!r}"
        if widget is dock:
            yield from _ragged(widget)
        if widget.layout() is not None and "Stack" not in type(widget).__name__:
            yield from _covered(widget)


def _too_wide(area: QScrollArea) -> Iterator[str]:
    """Yield whether what an area shows is wider than the area: it is cut, or has to be scrolled."""
    if area.horizontalScrollBar().isVisible():
        yield "scrolls horizontally"
    inside, room = area.widget(), area.viewport().width()
    if inside is not None and inside.width() > room + 1:
        yield f"{type(inside).__name__} is {inside.width() - room} pixels wider than its dock"


def _shows_nothing(box: QComboBox) -> bool:
    hinted = box.isEditable() or box.placeholderText()
    return box.count() > 0 and not box.currentText() and not hinted


def _squeezed_rows(table: QTableView) -> Iterator[str]:
    """Yield which rows of a table are lower than what is written in them."""
    for row in range(table.model().rowCount()):
        if not table.isRowHidden(row) and table.rowHeight(row) < table.sizeHintForRow(row):
            yield f"row {row} of {table.accessibleName()!r} is too low for its text"


def _is_cut(widget: QWidget) -> bool:
    text = widget.text() if isinstance(widget, QLabel | QAbstractButton) else ""
    if not text or type(widget).__name__ == "QElidingLabel":
        return False
    if isinstance(widget, QLabel) and widget.wordWrap():
        return widget.heightForWidth(widget.width()) > widget.height() + 1
    if text.startswith("<"):
        return False
    lines = text.split("\n")
    metrics, room = widget.fontMetrics(), widget.contentsRect()
    too_wide = max(map(metrics.horizontalAdvance, lines)) > room.width()
    return too_wide or len(lines) * metrics.height() > room.height() + 2


def _covered(parent: QWidget) -> Iterator[str]:
    """Yield which of the widgets in a layout, and in those within it, overlap or stick out."""
    shown = [widget for widget in _in_layout(parent.layout()) if widget.isVisible()]
    for one, other in combinations(shown, 2):
        if _lies_over(one) or _lies_over(other):
            continue
        both: QRect = one.geometry() & other.geometry()
        if both.width() > 1 and both.height() > 1:
            yield f"{type(one).__name__} and {type(other).__name__} overlap"
    for widget in shown:
        if not parent.rect().adjusted(-1, -1, 1, 1).contains(widget.geometry()):
            yield f"{type(widget).__name__} sticks out of {type(parent).__name__}"


def _lies_over(widget: QWidget) -> bool:
    """Whether a widget is meant to lie over others, as what is said on the map does."""
    return widget.testAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)


def _in_layout(layout: QLayout) -> Iterator[QWidget]:
    """Yield the widgets of a layout and of the layouts in it."""
    for item in map(layout.itemAt, range(layout.count())):
        if item.widget() is not None:
            yield item.widget()
        elif item.layout() is not None:
            yield from _in_layout(item.layout())


def _ragged(dock: QWidget) -> Iterator[str]:
    """Yield whether what reaches to a dock's right edge ends at different places there."""
    if any(area.verticalScrollBar().isVisible() for area in dock.findChildren(QScrollArea)):
        return  # whose bar stands beside what is in it
    kinds = QAbstractButton, QComboBox
    widgets = (widget for kind in kinds for widget in dock.findChildren(kind))
    shown = [widget for widget in widgets if not widget.visibleRegion().isEmpty()]
    ends = {widget.mapTo(dock, widget.rect().topRight()).x() for widget in shown}
    ends = {end for end in ends if end > dock.width() - _EDGE}
    if ends and max(ends) - min(ends) > _UNSEEN:
        yield f"the right edge is ragged by {max(ends) - min(ends)} pixels"


def photograph(viewer: napari.Viewer, path: Path, least: float) -> bool:
    """Save the window with a dock in front; returns whether all is well."""
    window = main_window(viewer)
    settle(0.6)
    window.grab().save(str(path))
    share = viewer.window._qt_viewer.canvas.native.width() / window.width()
    found = sorted({fault for dock in _docks_in_sight(window) for fault in faults(dock.widget())})
    wide = share >= least
    if window.height() != WINDOWS[window.width()][0]:
        found.append(f"the window had to grow to {window.height()} pixels")
    remark = "; ".join([*found, *([] if wide else [f"the canvas should have {least:.0%}"])])
    print(f"{path.name:32s} canvas {share:.0%} of the width  {remark or 'no fault'}", flush=True)
    return wide and not found


def _docks_in_sight(window: QWidget) -> list[QDockWidget]:
    """Return our docks that are not behind another one, also those beside the one meant."""
    return [
        dock
        for dock in window.findChildren(QDockWidget)
        if type(dock.widget()).__module__.startswith("napari_cellama")
        and not dock.visibleRegion().isEmpty()
    ]


def _dock_of(window: QWidget, title: str) -> QDockWidget:
    docks = window.findChildren(QDockWidget)
    return next(dock for dock in docks if dock.windowTitle().removesuffix(" (CELLama)") == title)


def session_photos(adata, theme: str, width: int, folder: Path) -> bool:
    """Photograph all docks in one window."""
    height, least = WINDOWS[width]
    get_settings().appearance.theme = theme
    viewer = napari.Viewer(show=True)
    window = main_window(viewer)
    window.resize(width, height)
    session = session_of(viewer)
    show(viewer, Tissue.from_adata(adata, "osmFISH"))
    open_docks(viewer)
    viewer.window.add_dock_widget(EmbeddingDock(viewer), name="Embedding", area="left")
    settle(1)
    viewer.reset_view()
    well = True
    for title, name, prepare in SCENES:
        dock = _dock_of(window, title)
        dock.raise_()
        settle(0.2)
        prepare(dock.widget(), session)
        path = folder / f"{name}-{theme}-{width}.png"
        well &= photograph(viewer, path, least)
    viewer.close()
    settle()
    return well


def main() -> int:
    """Find the niches and photograph the docks."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("section", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--themes", nargs="*", default=["dark", "light"])
    parser.add_argument("--widths", nargs="*", type=int, default=list(WINDOWS))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    adata = nc.read(args.section)
    nc.run(adata, cell_type_key="celltype", n_clusters=11, progress=False)
    places = last_of(laying_out(adata.obsm["X_niche"]))
    put_layout(adata, "niche", "X_niche_umap", places, 0)
    with tempfile.TemporaryDirectory() as state:
        # Nothing of these windows is to be offered to the user as lost work.
        os.environ["NAPARI_CELLAMA_STATE"] = state
        well = [
            session_photos(adata, theme, width, args.folder)
            for theme in args.themes
            for width in args.widths
        ]
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main())
