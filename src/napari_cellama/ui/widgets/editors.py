"""Editors for a Recipe's fields: magicgui's own widgets where they fit, and a few more."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from magicgui.widgets import CheckBox, FloatSpinBox, Widget, create_widget
from magicgui.widgets.bases import BaseValueWidget, ValuedContainerWidget
from pydantic.fields import FieldInfo
from qtpy.QtWidgets import QWidget

from napari_cellama.ui.widgets.choosers import Choice, Choices, ColumnsEdit, ModelEdit

_LARGEST = 2**31 - 1


def editor_of(name: str, field: FieldInfo, extra: Mapping[str, Any]) -> BaseValueWidget:
    """Return the editor for a field: by its annotation, its constraints and its hints.

    Parameters
    ----------
    name
        The field's name, which becomes the editor's.
    field
        The Recipe's field.
    extra
        Its ``json_schema_extra``: ``choices`` and ``names`` are looked at here.
    """
    names = extra.get("names", {})
    hint = extra.get("choices")
    common = {"name": name, "tooltip": field.description or ""}
    parts = _union_parts(field.annotation)
    words = [word for part in parts for word in _words(part)]
    rest = [part for part in parts if not _words(part)]
    offered = [(_named(word, names), word) for word in words]
    if hint == "model":
        editor: BaseValueWidget = ModelEdit(bundled=field.default, **common)
    elif hint and any(get_origin(part) is tuple for part in parts):
        editor = ColumnsEdit(**common)
    elif hint:
        editor = Choice([(str(field.default), field.default)], **common)
    elif rest and words:
        number = _plain(rest[0], field, {"name": f"{name}_value"})
        editor = WordOrNumber(offered, number, names, common)
    elif words:
        editor = Choice(offered, **common)
    else:
        editor = _plain(rest[0], field, common)
    editor.value = field.get_default(call_default_factory=True)
    return editor


def _plain(annotation: Any, field: FieldInfo, common: dict[str, Any]) -> BaseValueWidget:
    """Return magicgui's widget for a type, within the field's limits."""
    annotation, metadata = _unannotated(annotation)
    options = _limits([*field.metadata, *metadata]) if annotation in (int, float) else {}
    if annotation is float:
        return Decimal(**{"min": 0.0, "max": float(_LARGEST)} | options, **common)
    if annotation is int:
        options = {"min": 0, "max": _LARGEST} | options
    editor = create_widget(annotation=annotation, options={**options, **common})
    if isinstance(editor, CheckBox):
        editor.text = ""  # its label stands on the left, as for every other field
    return editor


def _limits(metadata: Sequence[Any]) -> dict[str, Any]:
    """Return a spin box's min and max from pydantic's constraints.

    Open bounds are the spin box's, too; the Recipe refuses the bound itself, in words.
    """
    limits: dict[str, Any] = {}
    for item in metadata:
        for constraint in getattr(item, "metadata", [item]):
            for bound, limit in (("ge", "min"), ("gt", "min"), ("le", "max"), ("lt", "max")):
                if getattr(constraint, bound, None) is not None:
                    limits[limit] = getattr(constraint, bound)
    return limits


def _union_parts(annotation: Any) -> tuple[Any, ...]:
    is_union = get_origin(annotation) in (Union, types.UnionType)
    return get_args(annotation) if is_union else (annotation,)


def _unannotated(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Split ``Annotated[int, …]`` into the type and what is said of it."""
    metadata = getattr(annotation, "__metadata__", ())
    return (annotation.__origin__, metadata) if metadata else (annotation, ())


def _words(annotation: Any) -> tuple[Any, ...]:
    """Return the fixed values of a part of an annotation: a literal's, or None."""
    if annotation is type(None):
        return (None,)
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _named(value: Any, names: Mapping[str, str]) -> str:
    """Return a value in the user's words."""
    text = "none" if value is None else str(value)
    return names.get(text, text)


class Decimal(FloatSpinBox):
    """A spin box with as many decimals as its value has, and one at least below 100."""

    def set_value(self, value: float) -> None:
        """Set the value without rounding it."""
        decimals = f"{value:.9f}".rstrip("0").partition(".")[2]
        self.native.setDecimals(max(int(value < 100), len(decimals)))
        super().set_value(value)


class WordOrNumber(ValuedContainerWidget[Any]):
    """A value that is either one of some words (or None) or a number.

    Parameters
    ----------
    words
        Texts and values of the words.
    number
        The editor of the number, shown while the number is chosen.
    names
        ``names["value"]`` is the text of the choice "a number".
    common
        Name and tooltip.
    """

    _NUMBER = object()

    def __init__(
        self,
        words: Choices,
        number: BaseValueWidget,
        names: Mapping[str, str],
        common: dict[str, Any],
    ) -> None:
        offered = [*words, (names.get("value", "a number"), self._NUMBER)]
        self.word = Choice(offered, name="word", tooltip=common["tooltip"])
        self.number = number
        self.number.tooltip = common["tooltip"]
        self.number.value = max(1, number.min)
        self._otherwise: Widget | None = None
        super().__init__(
            widgets=[self.word, self.number], layout="horizontal", labels=False, **common
        )
        self.margins = (0, 0, 0, 0)
        self.native.layout().setSpacing(6)
        self.native.layout().setStretch(0, 2)
        self.native.layout().setStretch(1, 3)
        self.word.changed.connect(self._on_change)
        self.number.changed.connect(self._on_change)
        self._show_number()

    def otherwise(self, editor: BaseValueWidget) -> None:
        """Show another field's editor in the number's place while a word is chosen."""
        self._otherwise = editor
        layout = self.native.layout()
        layout.addWidget(editor.native)
        layout.setStretch(2, 3)
        self._show_number()

    @property
    def stops(self) -> list[QWidget]:
        """The controls in the order of the tab key."""
        otherwise = [] if self._otherwise is None else [self._otherwise.native]
        return [self.word.native, *otherwise, self.number.native]

    def get_value(self) -> Any:
        """Return the word, or the number."""
        return self.number.value if self.word.value is self._NUMBER else self.word.value

    def set_value(self, value: Any) -> None:
        """Choose a word, or the number."""
        with self.changed.blocked():
            if value in [word for word in self.word.choices if word is not self._NUMBER]:
                self.word.value = value
            else:
                self.word.value = self._NUMBER
                self.number.value = value
            self._show_number()
        self.changed.emit(self.get_value())

    def _on_change(self) -> None:
        self._show_number()
        self.changed.emit(self.get_value())

    def _show_number(self) -> None:
        chosen = self.word.value is self._NUMBER
        self.number.native.setVisible(chosen)
        if self._otherwise is not None:
            self._otherwise.native.setVisible(not chosen)
