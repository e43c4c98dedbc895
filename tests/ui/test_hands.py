"""Every dock in the states that users meet: nothing that only a mouse can do, nothing unsaid."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from app_model.types import KeyBinding
from napari import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QHeaderView,
    QLabel,
    QLineEdit,
    QScrollBar,
    QTabBar,
    QWidget,
)

from embedding_hands import grid
from napari_cellama import api
from napari_cellama.recipe import Recipe
from napari_cellama.ui import layouts
from napari_cellama.ui.actions import ACTIONS
from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.layers import show
from napari_cellama.ui.tissue import Coloring, Tissue
from napari_cellama.ui.widgets.inquiry import PAUSE_MS
from small_sections import WordEncoder

DOCKS = {
    "niches": "NichesDock",
    "clusters": "ClustersDock",
    "search": "SearchDock",
    "embedding": "EmbeddingDock",
    "qc": "QCDock",
    "understand": "UnderstandDock",
}
#: What people operate. Views' headers and scroll bars, and the editors within, are their owners'.
KINDS = (
    *(QAbstractButton, QAbstractItemView, QAbstractSlider, QAbstractSpinBox, QComboBox),
    *(QLineEdit, QTabBar),
)
RECIPE = Recipe(cell_type_key="celltype", n_clusters=2, n_neighbors=6)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Embed with a model that costs nothing, and lay out on a grid."""
    monkeypatch.setattr(api, "NamedEncoder", WordEncoder)
    monkeypatch.setattr(layouts, "laying_out_apart", grid)


def controls(dock: QWidget) -> list[QWidget]:
    """Return what can be operated in a dock."""
    return [widget for widget in dock.findChildren(QWidget) if widget.isVisible() and ours(widget)]


def ours(widget: QWidget) -> bool:
    if not isinstance(widget, KINDS) or isinstance(widget, QScrollBar | QHeaderView):
        return False
    within = (QAbstractSpinBox, QComboBox, QAbstractItemView, QTabBar)
    parent = widget.parentWidget()
    while parent is not None and not parent.isWindow():
        if isinstance(parent, within):
            return False
        parent = parent.parentWidget()
    return not widget.isWindow() and type(widget).__name__ != "ExtensionButton"


def name_of(widget: QWidget) -> str:
    text = getattr(widget, "text", None)
    named = widget.accessibleName()
    if isinstance(widget, QTabBar):
        named = " ".join(widget.tabText(i) for i in range(widget.count()))
    return named or (text() if callable(text) else "") or widget.toolTip()


def said(widget: QWidget) -> str:
    """Return what a control says of itself: its tooltip, or that of the label it belongs to."""
    return widget.toolTip() or (
        " ".join(widget.tabToolTip(i) for i in range(widget.count()))
        if isinstance(widget, QTabBar)
        else ""
    )


def tabbed(dock: QWidget) -> list[QWidget]:
    """Return all widgets of the dock that the tab key stops at, in its order."""
    first = dock.nextInFocusChain()
    order, widget = [], first
    for _ in range(2_000):
        if dock.isAncestorOf(widget) and widget.focusPolicy() & Qt.FocusPolicy.TabFocus:
            order.append(widget)
        widget = widget.nextInFocusChain()
        if widget is first:
            return order
    raise AssertionError("the focus chain does not close")


def check(dock: QWidget, state: str, tips: dict[tuple[int, bool], str]) -> list[str]:
    """Return what is wrong with a dock's controls; ``tips`` is what they have said."""
    faults, stops = [], tabbed(dock)
    for widget in controls(dock):
        what = f"{state}: {type(widget).__name__} {name_of(widget)[:40]!r}"
        if not said(widget):
            faults.append(f"{what} has no tooltip")
        if not name_of(widget):
            faults.append(f"{what} has no name")
        tips[id(widget), widget.isEnabled()] = said(widget)
        if tips.get((id(widget), True)) == tips.get((id(widget), False)):
            faults.append(f"{what} says the same when it can be used and when it cannot")
        reached = widget in stops or any(widget.isAncestorOf(stop) for stop in stops)
        if widget.isEnabled() and not reached:
            faults.append(f"{what} cannot be reached by the tab key")
    rows = [widget.mapTo(dock, widget.rect().topLeft()).y() for widget in visible(stops)]
    rows = [min(max(row, 0), dock.height()) for row in rows]  # also what is scrolled out of sight
    # From the top to the bottom and round again, but for what stands side by side.
    if sum(here - there > 60 for here, there in zip(rows, rows[1:] + rows[:1], strict=True)) > 1:
        faults.append(f"{state}: the tab key goes {rows} {[name_of(w) for w in visible(stops)]}")
    return faults


def visible(widgets: list[QWidget]) -> list[QWidget]:
    return [widget for widget in widgets if widget.isVisible() and widget.isEnabled()]


def opened(viewer: Viewer, qtbot, name: str) -> QWidget:
    dock = getattr(import_module(f"napari_cellama.ui.widgets.{name}"), DOCKS[name])(viewer)
    viewer.window.add_dock_widget(dock, name=name.title(), area="right")
    qtbot.waitUntil(dock.isVisible)
    return dock


def pages(dock: QWidget) -> list[int]:
    return list(range(dock.pages.count())) if hasattr(dock, "pages") else [0]


#: The jobs that docks wait for.
SLOTS = ("search", "quality", "layout", "portrait", "explanation", "enrichment")


def check_pages(dock: QWidget, session, qtbot, state: str, tips: dict) -> list[str]:
    """Check a dock, and each of its pages, once what it asks for has come."""
    faults = []
    for page in pages(dock):
        if hasattr(dock, "pages"):
            dock.pages.setCurrentIndex(page)
        qtbot.wait(2 * PAUSE_MS)  # a dock asks only when nothing has changed for a while
        qtbot.waitUntil(lambda: not any(map(session.jobs.current, SLOTS)), timeout=60_000)
        QApplication.processEvents()
        faults += check(dock, state, tips)
    return faults


@pytest.mark.parametrize("name", list(DOCKS))
def test_every_control_is_named_said_and_reached(viewer, make_adata, qtbot, name):
    dock, session = opened(viewer, qtbot, name), session_of(viewer)
    tips: dict[tuple[int, bool], str] = {}
    faults = check_pages(dock, session, qtbot, "nothing open", tips)
    tissue = Tissue.from_adata(make_adata(), "section")
    show(viewer, tissue)
    QApplication.processEvents()
    faults += check_pages(dock, session, qtbot, "opened", tips)
    session.show_clusters("celltype")
    session.take_result(tissue, api.find_niches(tissue.snapshot, RECIPE, lambda event: None))
    session.select(session.clusters.mask(0))
    session.pick_cell(3)
    if name == "search":
        session.searching.find_similar(tissue.selection, "niches", "Like the selection")
    if name == "qc":
        session.quality.measure()
    if name == "embedding":
        session.layouts.make("niches")
    faults += check_pages(dock, session, qtbot, "after a run", tips)
    session.color_by(Coloring("gene", "CD3E"))
    session.editing.hide()
    QApplication.processEvents()
    faults += check_pages(dock, session, qtbot, "coloured by a gene", tips)
    assert not faults, "\n".join(dict.fromkeys(faults))


@pytest.mark.parametrize("name", list(DOCKS))
def test_an_empty_dock_says_what_to_do(viewer, qtbot, name):
    dock = opened(viewer, qtbot, name)
    texts = [label.text() for label in dock.findChildren(QLabel) if label.isVisible()]
    assert any("File > Open" in text or "Open tissue" in text for text in texts), texts
    for button in dock.findChildren(QAbstractButton):
        if button.isVisible() and not button.isEnabled():
            assert button.toolTip(), button.text()


@pytest.mark.parametrize("name", list(DOCKS))
def test_the_key_help_opens_in_every_dock(viewer, qtbot, name):
    dock = opened(viewer, qtbot, name)
    viewer.window._qt_window.activateWindow()
    # In a field of text, ? is a letter.
    stops = [stop for stop in visible(tabbed(dock)) if not isinstance(stop, QComboBox | QLineEdit)]
    stop = next((stop for stop in stops if stop.focusProxy() is None), dock)
    qtbot.waitUntil(lambda: QApplication.activeWindow() is not None)
    stop.setFocus()
    qtbot.waitUntil(lambda: QApplication.focusWidget() is stop)
    qtbot.keyClick(stop, "?")
    qtbot.waitUntil(lambda: bool(dock.findChildren(QLabel, "keys")))
    shown = dock.findChild(QLabel, "keys")
    assert shown.isVisible()
    assert shown.screen().availableGeometry().contains(shown.geometry())
    for text in ("<b>Shift+E</b>", "<b>F2, C</b>", "<b>+, -</b>"):
        assert text in shown.text()
    shown.close()


def test_napari_lists_every_key_with_what_it_does(viewer, session):
    listed = {str(key): act for key, act in viewer.keymap.items()}
    keyed = [action for action in ACTIONS if action.key]
    assert len(keyed) > 15
    for action in keyed:
        name = action.key.replace("Control", "Ctrl").replace("-", "+")
        act = listed[str(KeyBinding.from_str(name))]
        assert act.__doc__ == f"CELLama: {action.text}. {action.tip}"


def test_every_key_does_its_action_on_the_tissue(viewer, session, qtbot):
    tissue, native = session.active, viewer.window._qt_viewer.canvas.native
    session.show_clusters("celltype")
    pressed = set()
    held = Qt.KeyboardModifier
    none, shift = held.NoModifier, held.ShiftModifier
    ctrl, alt = held.ControlModifier, held.AltModifier

    def press(letter, keys=none):
        qtbot.keyClick(native, Qt.Key[f"Key_{letter}"], keys)
        pressed.add((letter, keys))

    def selects(*clusters):
        np.testing.assert_array_equal(tissue.selection, session.clusters.mask(*clusters))

    press("N")
    selects(0)
    press("N", shift)
    selects(3)
    press("Z", ctrl)
    selects(0)
    press("Z", ctrl | shift)
    selects(3)
    press("F")
    flags = tissue.assemble().obs["flag"] == "flagged"
    np.testing.assert_array_equal(flags, tissue.selection)
    press("H")
    np.testing.assert_array_equal(tissue.hidden, session.clusters.mask(3))
    press("H", shift)
    assert not tissue.hidden.any()
    session.select(session.clusters.mask(0))
    press("I")
    np.testing.assert_array_equal(~tissue.hidden, session.clusters.mask(0))
    opacity = layers_of(viewer).layer_of(tissue).face_color[:, 3]
    np.testing.assert_array_equal(opacity > 0, session.clusters.mask(0))
    press("I")
    assert not tissue.hidden.any()
    session.select(session.clusters.mask(0) | session.clusters.mask(1))
    both = tissue.selection.copy()
    press("M")
    key = session.clusters.key
    merged = tissue.assemble().obs[key].astype(str).to_numpy()
    assert len(set(merged[both])) == 1
    assert len(set(merged)) == 3
    session.select(np.arange(120) < 5)
    press("K")
    saved = tissue.assemble().obs[key].astype(str).to_numpy()
    assert len(set(saved[:5])) == 1
    assert saved[0] not in saved[5:]
    press("L")
    assert session.tool == "lasso"
    press("R")
    assert session.tool == "rectangle"
    press("Escape")
    assert session.tool == "pick"
    assert tissue.selection.any()
    press("Escape")
    assert not tissue.selection.any()
    viewer.reset_view()
    press("E")
    assert tissue.selection.all()
    press("E", alt)
    assert not tissue.selection.any()
    press("E", shift)
    assert tissue.selection.all()
    said = []
    session.message.connect(lambda *message: said.append(message[1]))
    press("D")
    assert said == [session.dividing.why_not()]
    assert len(pressed) == sum(bool(action.key) for action in ACTIONS), "a key is not tried here"
