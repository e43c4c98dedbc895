"""The Clusters dock after a slip, and with cells that are hidden."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import Qt

from clusters_hands import click
from napari_cellama.ui.tissue import Coloring

LEFT = Qt.MouseButton.LeftButton


def look_for(qtbot, dock, text):
    """Type into the colour field and press Enter, which Qt gives to the list where one is open."""
    qtbot.mouseClick(dock.coloring, LEFT)
    qtbot.keyClicks(dock.coloring, text)
    popup = dock.coloring.completer().popup()
    qtbot.keyClick(popup if popup.isVisible() else dock.coloring, Qt.Key.Key_Return)


def test_a_refusal_goes_with_the_next_gene_that_is_found(qtbot, dock, session):
    message = dock.foot.message
    look_for(qtbot, dock, "zzz")
    assert "has 'zzz' in its name" in message.sentence.text()
    look_for(qtbot, dock, "ms4")
    assert session.active.coloring == Coloring("gene", "MS4A1")
    assert not message.isVisible()
    session.message.emit("error", "The disk is full.", "")
    look_for(qtbot, dock, "cd3")
    assert message.isVisible(), "what colouring did not put right stays"


def test_the_count_says_how_many_of_the_selected_are_hidden(qtbot, dock, session):
    session.select(np.arange(120) < 10)
    session.editing.hide()
    click(qtbot, dock, 0)
    of_these = int(session.active.selection[:10].sum())
    assert of_these > 0
    selected = f"{session.active.n_selected} of 120 cells selected"
    assert dock.foot.count.text() == f"{selected} ({of_these} of them hidden) · 10 hidden"
    session.editing.show_hidden()
    assert dock.foot.count.text() == selected
