"""Hearing the session's events for as long as a widget lives."""

from __future__ import annotations

from collections.abc import Callable
from inspect import ismethod
from typing import Any
from weakref import WeakMethod

from psygnal import SignalInstance
from qtpy.QtCore import QObject

#: What Qt calls when it deletes an owner. Held here, because Python's collector would take what
#: only the owner holds apart before Qt calls it, which ends the program.
_waiting: set[Callable[[], None]] = set()


def listen(owner: QObject, signal: SignalInstance, slot: Callable[..., Any]) -> None:
    """Connect a slot of a Qt object until Qt deletes that object.

    psygnal holds methods weakly, but a Python wrapper may outlive its Qt object, which must then
    not be called any more.
    """
    signal.connect(slot)
    held = WeakMethod(slot) if ismethod(slot) else lambda: slot

    def forget() -> None:
        if (known := held()) is not None:
            signal.disconnect(known, missing_ok=True)

    when_deleted(owner, forget)


def heed(owner: QObject, emitter: Any, slot: Callable[..., Any]) -> None:
    """Connect a slot to one of napari's events until Qt deletes an object."""
    emitter.connect(slot)
    when_deleted(owner, lambda: emitter.disconnect(slot))


def when_deleted(owner: QObject, act: Callable[[], Any]) -> None:
    """Call something when Qt deletes an object, and hold it until then."""

    def once() -> None:
        _waiting.discard(once)
        act()

    _waiting.add(once)
    owner.destroyed.connect(once)
