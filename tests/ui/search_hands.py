"""What tests do with the Search dock."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_cellama.ui.searching import SLOT

LEFT = Qt.MouseButton.LeftButton

PATIENCE = 20_000


def type_query(qtbot, dock, text, *, key=Qt.Key.Key_Return):
    field = dock.query.lineEdit()
    qtbot.mouseClick(field, LEFT)
    field.selectAll()
    qtbot.keyClicks(field, text)
    if key is not None:
        qtbot.keyClick(field, key)


def click(qtbot, button):
    assert button.isEnabled(), button.toolTip()
    qtbot.mouseClick(button, LEFT)


def done(qtbot, session):
    qtbot.waitUntil(lambda: session.jobs.current(SLOT) is None, timeout=PATIENCE)
    QApplication.processEvents()


def is_type(session, name):
    return (session.active.snapshot.obs["celltype"] == name).to_numpy()
