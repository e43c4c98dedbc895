"""Buttons and menu entries of the one table of actions; disabled ones say why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtGui import QAction, QColor, QIcon, QPixmap
from qtpy.QtWidgets import QMenu, QPushButton, QWidget

from napari_cellama.errors import UserError
from napari_cellama.ui import format as fmt
from napari_cellama.ui.actions import Action, perform
from napari_cellama.ui.widgets.listen import listen

if TYPE_CHECKING:
    from napari_cellama.ui.session import Session


class ActionButton(QPushButton):
    """A button that does an action of the session's, enabled while that can be done."""

    def __init__(self, session: Session, action: Action, parent: QWidget, text: str = "") -> None:
        super().__init__(text or action.text, parent)
        self._session, self.action = session, action
        self.setObjectName("secondary")
        self.clicked.connect(lambda: perform(session, action))
        for signal in (
            session.active_changed,
            session.matrix_ready,
            session.clusters_changed,
            session.selection_changed,
            session.history_changed,
            session.labels_changed,
            session.tool_changed,
        ):
            listen(self, signal, self.refresh)
        self.refresh()

    def refresh(self, *_: Any) -> None:
        """Enable the button where the action can be done, and say what it does or why not."""
        self.setEnabled(not self.action.why_not(self._session))
        hint = self.action.hint(self._session)
        history = None if self._session.active is None else self._session.active.history
        named = {"undo": "undo_name", "redo": "redo_name"}.get(self.action.id)
        if history is not None and named and (name := getattr(history, named)):
            hint = f"{self.action.text}: {name} ({self.action.key_text})"
        self.setToolTip(hint)
        if self.isCheckable():
            self.setChecked(self._session.tool == self.action.id)


class SessionAction(QAction):
    """A menu's entry for an action of the session's."""

    def __init__(self, session: Session, action: Action, parent: QWidget) -> None:
        super().__init__(f"{action.text}\t{action.key_text}", parent)
        self._session, self._action = session, action
        self.triggered.connect(lambda *_: perform(session, action))

    def refresh(self) -> None:
        """Enable the entry where the action can be done."""
        self.setEnabled(not self._action.why_not(self._session))
        self.setToolTip(self._action.hint(self._session))


def assign_menu(session: Session, parent: QWidget) -> QMenu:
    """Return a menu of the clusters that the selection can be put into, and none."""
    menu = QMenu("Assign selection to", parent)
    menu.setToolTipsVisible(True)
    menu.aboutToShow.connect(lambda: _fill(menu, session))
    return menu


def _fill(menu: QMenu, session: Session) -> None:
    """Offer the clusters of the shown label set."""
    menu.clear()
    labels, tissue = session.clusters, session.active
    if labels is None or not tissue.selection.any():
        menu.addAction("No cell is selected").setEnabled(False)
        return
    for cluster, (name, color) in enumerate(zip(labels.names, labels.colors, strict=True)):
        swatch = QPixmap(14, 14)
        swatch.fill(QColor(color))
        entry = menu.addAction(QIcon(swatch), fmt.elided(name, 40))
        entry.triggered.connect(lambda *_, cluster=cluster: _assign(session, cluster))
    menu.addSeparator()
    menu.addAction("No cluster").triggered.connect(lambda *_: _assign(session, -1))


def _assign(session: Session, cluster: int) -> None:
    try:
        session.editing.assign(cluster)
    except UserError as error:
        session.message.emit("error", str(error), "")
