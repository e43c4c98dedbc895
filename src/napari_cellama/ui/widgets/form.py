"""The form for a Recipe, generated from its fields: label left, control right, in groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, get_args, get_origin

from magicgui.widgets.bases import BaseValueWidget
from pydantic.fields import FieldInfo
from qtpy.QtCore import QEvent, QObject, QSignalBlocker, Qt, Signal
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QComboBox,
    QGridLayout,
    QLabel,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_cellama.errors import UserError
from napari_cellama.recipe import GROUPS, Recipe
from napari_cellama.ui.widgets.choosers import Choices
from napari_cellama.ui.widgets.editors import WordOrNumber, editor_of

FOLDED = "Advanced"
_ANY_HEIGHT = 2**24 - 1  #: Qt's own "no limit"


class RecipeForm(QWidget):
    """Edits a Recipe. Every field has an editor, also those that are added later.

    Parameters
    ----------
    recipe_type
        The Recipe class whose fields are shown.
    parent
        The Qt parent.

    Attributes
    ----------
    editors
        The magicgui widget of each field.
    groups
        The rows of each group.
    """

    changed = Signal()

    def __init__(self, recipe_type: type[Recipe] = Recipe, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._type = recipe_type
        self._extras = {name: _extra(field) for name, field in recipe_type.model_fields.items()}
        self.editors: dict[str, BaseValueWidget] = {
            name: editor_of(name, field, self._extras[name])
            for name, field in recipe_type.model_fields.items()
            if not _is_fixed(field)
        }
        self.groups = {group: Rows(self) for group in self._group_names()}
        self._lay_out()
        self._fill()
        tab_through(self.stops)
        self._wheel = WheelGuard(self)
        for control in self.findChildren(QComboBox) + self.findChildren(QAbstractSpinBox):
            self._wheel.watch(control)
        for editor in self.editors.values():
            editor.changed.connect(self._emit_changed)

    def recipe(self) -> Recipe:
        """Return what the form says.

        Raises
        ------
        UserError
            With one sentence about the first value that cannot be.
        """
        return self._type(**{name: edit.value for name, edit in self.editors.items()})

    def set_recipe(self, recipe: Recipe) -> None:
        """Show a recipe.

        Raises
        ------
        UserError
            When a value is outside what its editor can show.
        """
        with QSignalBlocker(self):
            for name, editor in self.editors.items():
                try:
                    editor.value = getattr(recipe, name)
                except ValueError as error:
                    raise UserError(f"The form cannot show the recipe's {name}: {error}.") from None
        self._emit_changed()

    def offer(self, hint: str, choices: Choices, otherwise: Any = None) -> None:
        """Set what the fields of a ``choices`` hint offer, e.g. those of ``"obs_column"``.

        What the user has chosen stays if it is among them; else a field becomes ``otherwise``.
        """
        for name, editor in self.editors.items():
            if self._extras[name].get("choices") == hint:
                editor.offer(choices, otherwise)

    def suggest(self, name: str, number: float) -> None:
        """Set the number that a word-or-number field starts from when it is chosen."""
        editor = self.editors[name]
        if isinstance(editor, WordOrNumber) and editor.value != editor.number.value:
            with editor.number.changed.blocked():
                editor.number.value = number

    def say(self, name: str, text: str, tooltip: str = "") -> None:
        """Put a remark below a field's control; an empty one takes no room."""
        replacing = [n for n, extra in self._extras.items() if extra.get("instead_of") == name]
        row = next((n for n in replacing if n in self.editors), name)
        self.groups[self._extras[row]["group"]].say(row, text, tooltip)

    @property
    def stops(self) -> list[QWidget]:
        """The controls in the order of the tab key: as the rows stand, top to bottom."""
        rows = [name for group in self.groups.values() for name in group.names]
        editors = [self.editors[name] for name in rows if name in self.editors]
        return [stop for editor in editors for stop in getattr(editor, "stops", [editor.native])]

    def _emit_changed(self) -> None:
        self.changed.emit()

    def _group_names(self) -> list[str]:
        used = [self._extras[name]["group"] for name in self.editors]
        known = [group for group in GROUPS if group != FOLDED]
        return [*dict.fromkeys([*known, *(g for g in used if g != FOLDED)]), FOLDED]

    def _lay_out(self) -> None:
        """Put the groups below each other, the last one folded."""
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for name, rows in self.groups.items():
            if name == FOLDED:
                self.advanced = folded(name, rows, self)
                layout.addWidget(self.advanced)
                continue
            title = QLabel(name, self)
            title.setObjectName("groupTitle")
            layout.addWidget(title)
            layout.addWidget(rows)
            layout.addSpacing(6)
        layout.addStretch(1)

    def _fill(self) -> None:
        """Add a row for each field; one that may stand instead of another shares its row."""
        standing_in = {
            extra["instead_of"]: name
            for name, extra in self._extras.items()
            if extra.get("instead_of") in self.editors and name in self.editors
        }
        for name in self.editors:
            extra = self._extras[name]
            if name in standing_in:
                shared = self.editors[standing_in[name]]
                shared.otherwise(self.editors[name])
                self._add_row(standing_in[name], label_of(name, extra))
            elif extra.get("instead_of") not in self.editors:
                self._add_row(name, label_of(name, extra))

    def event(self, event: QEvent) -> bool:
        """Line up the controls of all groups once the theme has said what the font is."""
        if event.type() in (QEvent.Type.Show, QEvent.Type.StyleChange, QEvent.Type.FontChange):
            open_groups = [rows for name, rows in self.groups.items() if name != FOLDED]
            width = max(rows.widest_label() for rows in open_groups)
            for rows in open_groups:
                rows.set_label_width(width)
        return super().event(event)

    def _add_row(self, name: str, label: str) -> None:
        editor = self.editors[name]
        tooltip = editor.tooltip or ""
        self.groups[self._extras[name]["group"]].add(name, label, editor.native, tooltip)


class Rows(QWidget):
    """Rows of a label on the left and a control on the right, with a remark below."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(8)
        self._grid.setVerticalSpacing(5)
        self._grid.setColumnStretch(1, 1)
        self.labels: list[QLabel] = []
        self._rows: dict[str, tuple[QWidget, ...]] = {}
        self.remarks: dict[str, QLabel] = {}

    def add(self, name: str, label: str, control: QWidget, tooltip: str = "") -> None:
        """Add a row; without a label the control takes the whole width."""
        row = self._grid.rowCount()  # 1 in an empty grid, which leaves row 0 to a head
        self._rows[name] = (control,)
        if label:
            text = QLabel(label, self)
            text.setToolTip(tooltip)
            text.setBuddy(control)
            self.labels.append(text)
            self._rows[name] = (text, control)
            self._grid.addWidget(text, row, 0, Qt.AlignmentFlag.AlignTop)
            text.setMinimumHeight(control.sizeHint().height())
        self._grid.addWidget(control, row, 1 if label else 0, 1, 1 if label else 2)
        remark = QLabel(self)
        remark.setObjectName("remark")
        remark.setWordWrap(True)
        remark.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        remark.hide()
        self.remarks[name] = remark
        self._grid.addWidget(remark, row + 1, 1 if label else 0, 1, 1 if label else 2)

    def show_row(self, name: str, on: bool) -> None:
        """Show or hide a row's label and control."""
        for widget in self._rows[name]:
            widget.setVisible(on)

    def set_head(self, widget: QWidget) -> None:
        """Put a widget above the rows."""
        self._grid.addWidget(widget, 0, 0, 1, 2)

    def say(self, name: str, text: str, tooltip: str = "") -> None:
        """Show a remark below a row, or none."""
        self.remarks[name].setText(text)
        self.remarks[name].setToolTip(tooltip)
        self.remarks[name].setVisible(bool(text))

    def widest_label(self) -> int:
        """Return the width that the labels need, in pixels."""
        return max((label.sizeHint().width() for label in self.labels), default=0)

    @property
    def names(self) -> list[str]:
        """The rows' names, top to bottom."""
        return list(self.remarks)

    def set_label_width(self, width: int) -> None:
        """Line the controls up with those of other groups."""
        self._grid.setColumnMinimumWidth(0, width)


class WheelGuard(QObject):
    """Lets the wheel scroll the dock instead of changing a value that it happens to pass."""

    def watch(self, control: QWidget) -> None:
        """Guard a combo or spin box."""
        control.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        control.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Ignore the wheel over a control that the user has not chosen."""
        if event.type() == QEvent.Type.Wheel and not watched.hasFocus():
            event.ignore()
            return True
        return False


def folded(title: str, content: QWidget, parent: QWidget) -> QCollapsible:
    """Return the content folded away under its title."""
    # Arrows as text take the theme's colour by themselves, drawn icons keep the first one.
    fold = QCollapsible(f"▸ {title}", parent, expandedIcon=QIcon(), collapsedIcon=QIcon())
    fold.setDuration(0)
    fold.setContent(content)
    # It would keep the content as high as its hint, which knows nothing of wrapped lines.
    content.removeEventFilter(fold)
    fold.layout().setContentsMargins(0, 0, 0, 0)
    fold.toggleButton().setObjectName("fold")
    fold.toggleButton().setToolTip("Show or hide the parameters that seldom need a change.")

    def on_toggled(on: bool) -> None:
        fold.setText(f"{'▾' if on else '▸'} {title}")
        # Hidden, lest the tab key wanders into it; free in height, for remarks that come later.
        content.setVisible(on)
        content.setMaximumHeight(_ANY_HEIGHT if on else 0)

    fold.toggled.connect(on_toggled)
    fold.collapse(animate=False)
    return fold


def tab_through(stops: Sequence[QWidget]) -> None:
    """Let the tab key go through the controls in this order."""
    for here, there in pairwise(stops):
        QWidget.setTabOrder(here, there)


def stops_of(widget: QWidget) -> list[QWidget]:
    """Return what the tab key stops at within a widget, as it was made."""
    inside = [widget, *widget.findChildren(QWidget)]
    here = widget.window()
    return [w for w in inside if w.focusPolicy() & Qt.FocusPolicy.TabFocus and w.window() is here]


def _extra(field: FieldInfo) -> Mapping[str, Any]:
    """Return a field's hints, with the group and label that it may lack."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return {"group": FOLDED, **extra}


def _is_fixed(field: FieldInfo) -> bool:
    """Whether a field has one possible value, as the schema's version has."""
    return get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1


def label_of(name: str, extra: Mapping[str, Any]) -> str:
    """Return a field's label: its own, or its name in words."""
    return extra.get("label") or name.replace("_", " ").capitalize()
