"""Numbers and names as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence

SEPARATOR = " · "

#: Units as they are written after a number; others are written as they are.
_UNITS = {"micrometre": "µm", "micrometer": "µm", "um": "µm", "μm": "µm", "pixel": "px"}
#: Plurals that are not made by an s.
_PLURALS = {"niche": "niches", "category": "categories"}


def count(number: int, noun: str = "") -> str:
    """Return e.g. ``"12,345 cells"`` or ``"1 cell"``; the noun is given in the singular."""
    if not noun:
        return f"{number:,}"
    plural = noun if number == 1 else _PLURALS.get(noun, noun + "s")
    return f"{number:,} {plural}"


def duration(seconds: float) -> str:
    """Return e.g. ``"0.4 s"``, ``"31 s"``, ``"3 min 20 s"`` or ``"2 h 5 min"``."""
    if seconds < 0.95:
        return f"{max(seconds, 0.1):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(whole / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def rate(per_second: float) -> str:
    """Return e.g. ``"4,210/s"``, ``"3.5/s"``, or ``"12/min"`` below one a second."""
    if per_second >= 10:
        return f"{per_second:,.0f}/s"
    if per_second >= 1:
        return f"{per_second:.1f}/s"
    return f"{per_second * 60:.0f}/min"


def distance(value: float, unit: str) -> str:
    """Return e.g. ``"25 µm"``, ``"3.1 µm"`` or ``"1,240 px"``: two significant digits or more."""
    unit = _UNITS.get(unit, unit)
    if not math.isfinite(value):
        return f"? {unit}"
    if value == 0 or value >= 10:
        return f"{value:,.0f} {unit}"
    digits = 1 - math.floor(math.log10(value))
    return f"{round(value, digits):.{min(digits, 6)}f}".rstrip("0").rstrip(".") + f" {unit}"


def joined(*parts: str) -> str:
    """Join the parts that are not empty, e.g. ``"Embedding · 4,210/s · 4 s left"``."""
    return SEPARATOR.join(part for part in parts if part)


def elided(text: str, length: int) -> str:
    """Return the text with its middle left out if it is longer than ``length`` characters."""
    if len(text) <= length:
        return text
    kept = length - 1
    return text[: kept - kept // 2] + "…" + text[len(text) - kept // 2 :]


def elided_apart(texts: Sequence[str], length: int) -> list[str]:
    """Elide several names so that different ones stay different."""
    short = [elided(text, length) for text in texts]
    clashes = len(set(short)) < len(set(texts))
    longest = max(map(len, texts), default=0)
    while clashes and length < longest:
        length += 4
        short = [
            elided(text, length) if short.count(mine) > 1 else mine
            for text, mine in zip(texts, short, strict=True)
        ]
        clashes = len(set(short)) < len(set(texts))
    return short
