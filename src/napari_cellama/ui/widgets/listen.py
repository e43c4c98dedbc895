"""Hearing the session's events for as long as a widget lives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psygnal import SignalInstance
from qtpy.QtCore import QObject


def listen(owner: QObject, signal: SignalInstance, slot: Callable[..., Any]) -> None:
    """Connect a slot of a Qt object until Qt deletes that object.

    psygnal holds methods weakly, but a Python wrapper may outlive its Qt object, which must then
    not be called any more.
    """
    signal.connect(slot)
    owner.destroyed.connect(lambda: signal.disconnect(slot, missing_ok=True))
