"""What tests do with any dock."""

from __future__ import annotations

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication


def delete(viewer, dock):
    """Close a dock for good, as the cross in its title does; let go of it, and it is gone."""
    viewer.window.remove_dock_widget(dock)
    dock.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
