"""Buttons, titles and lines of widgets, as the QC dock's parts make them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget


def button(text: str, act: Callable[[], Any], name: str = "secondary") -> QPushButton:
    """Return a button that does something; its object's name says how it looks."""
    made = QPushButton(text)
    made.setObjectName(name)
    made.clicked.connect(lambda: act())
    return made


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
