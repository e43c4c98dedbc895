"""What docks are made of, alike in all of them: buttons, titles, lines of widgets, a sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

#: What a dock says where there is nothing to show yet.
NO_TISSUE = "No tissue is open. Open one with File > Open, or drop a .h5ad file onto the window."


def button(
    text: str, act: Callable[[], Any], name: str = "secondary", tip: str = ""
) -> QPushButton:
    """Return a button that does something; its object's name says how it looks."""
    made = QPushButton(text)
    made.setObjectName(name)
    made.setToolTip(tip)
    made.clicked.connect(lambda: act())
    return made


def enable(one: QPushButton, why_not: str, tip: str) -> None:
    """Enable a button that can be pressed now; another one says why it cannot."""
    one.setEnabled(not why_not)
    one.setToolTip(why_not or tip)


def title(text: str) -> QLabel:
    """Return the title of a group of widgets."""
    made = QLabel(text)
    made.setObjectName("groupTitle")
    return made


def line(*widgets: QWidget, first: int = 1) -> QHBoxLayout:
    """Return widgets beside each other, the first one ``first`` times as wide."""
    made = QHBoxLayout()
    made.setSpacing(6)
    for i, widget in enumerate(widgets):
        made.addWidget(widget, 1 if i else first)
    return made
