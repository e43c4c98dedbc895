"""Choosers: one of several, several of several, and a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from magicgui.widgets import ComboBox, LineEdit, PushButton
from magicgui.widgets.bases import ValuedContainerWidget
from qtpy.QtCore import QEvent, QObject, QSignalBlocker, Qt
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QComboBox, QFileDialog, QMenu, QSizePolicy, QWidget

from napari_cellama.recipe import AUTO
from napari_cellama.ui import format as fmt

Choices = Sequence[tuple[str, Any]]

_LONGEST = 28  #: characters of a button that are shown; the tooltip has them all
_ARROW_WIDTH = 46  #: what a combo box needs beside its text


class Choice(ComboBox):
    """A combo box whose choices can be replaced, and in which None is a value like others.

    What is too long for the box is elided; the item's tooltip has the whole text.
    """

    null_value = object()

    def __init__(self, choices: Choices = (), **kwargs: Any) -> None:
        self._offered = tuple(choices)
        self._otherwise: Any = AUTO
        self._fitting: FitTexts | None = None
        super().__init__(choices=lambda _: self._offered, **kwargs)
        combo: QComboBox = self.native
        combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        combo.setMinimumContentsLength(4)
        self._fitting = FitTexts(combo)
        self._fitting.fit()

    def offer(self, choices: Choices, otherwise: Any) -> None:
        """Replace the choices; a choice stays if it can, a guess is made anew."""
        before, guessed = self.value, self._otherwise
        self._offered, self._otherwise = tuple(choices), otherwise
        stays = before != guessed and before in [value for _, value in self._offered]
        self._refill(before if stays else otherwise)
        if self.value != before:
            self.changed.emit(self.value)

    def reset_choices(self, *_: Any) -> None:
        """Offer the same anew; magicgui asks for it when the widget moves to another parent."""
        if self._fitting is not None:
            self._refill(self.value)
        else:
            super().reset_choices()

    def set_value(self, value: Any) -> None:
        """Choose a value; one that is not offered, as from a recipe of other data, is added.

        "auto" is what it means here, where that is known.
        """
        if value == AUTO and AUTO not in self.choices:
            value = self._otherwise
        if value not in self.choices:
            self._offered = (*self._offered, (f"{value} (not here)", value))
            self._refill(self.value)
        super().set_value(value)

    def _refill(self, value: Any) -> None:
        with self.changed.blocked(), QSignalBlocker(self.native):
            self.native.clear()
            super().reset_choices()
            ComboBox.set_value(self, value)
        self._fitting.fit()

    @property
    def value(self) -> Any:
        """The chosen value."""
        return self.get_value()

    @value.setter
    def value(self, value: Any) -> None:
        self.set_value(value)


class FitTexts(QObject):
    """Elides a combo box's texts in the middle as its width demands."""

    def __init__(self, combo: QComboBox) -> None:
        super().__init__(combo)
        self._combo = combo
        combo.installEventFilter(self)

    def fit(self) -> None:
        """Elide the texts; the tooltips keep them whole."""
        whole = Qt.ItemDataRole.ToolTipRole
        combo = self._combo
        room, metrics = combo.width() - _ARROW_WIDTH, combo.fontMetrics()
        for i in range(combo.count()):
            if combo.itemData(i, whole) is None:
                combo.setItemData(i, combo.itemText(i), whole)
            text = combo.itemData(i, whole)
            combo.setItemText(i, metrics.elidedText(text, Qt.TextElideMode.ElideMiddle, room))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Fit anew when the box or its font changes."""
        if event.type() in (QEvent.Type.Resize, QEvent.Type.FontChange, QEvent.Type.Show):
            self.fit()
        return False


class NarrowBox(QComboBox):
    """A combo box that is as narrow as need be, its texts elided in the middle."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(4)
        FitTexts(self)

    def offer(self, choices: Choices, chosen: Any) -> None:
        """Offer (text, value) pairs, one of which is chosen, without telling of it."""
        with QSignalBlocker(self):
            self.clear()
            for text, value in choices:
                self.addItem(text, value)
            self.setCurrentIndex(max(0, self.findData(chosen)))


class ColumnsEdit(ValuedContainerWidget[tuple]):
    """Several of some columns, ticked in a menu; keeps the order in which they were ticked."""

    def __init__(self, *, nothing: str = "— add columns —", **common: Any) -> None:
        self._nothing = nothing
        self._chosen: tuple[str, ...] = ()
        self.button = PushButton(name="button", tooltip=common["tooltip"])
        super().__init__(widgets=[self.button], layout="horizontal", labels=False, **common)
        self.margins = (0, 0, 0, 0)
        self.native.layout().setStretch(0, 1)
        self._tooltip = common["tooltip"]
        self.menu = QMenu(self.button.native)
        self.menu.setToolTipsVisible(True)
        self.button.native.setMenu(self.menu)
        self.button.native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.button.native.setObjectName("columns")
        self._say()

    @property
    def stops(self) -> list[QWidget]:
        """The controls in the order of the tab key."""
        return [self.button.native]

    def offer(self, choices: Choices, otherwise: Any = ()) -> None:
        """Replace the columns on offer; those chosen that are gone are let go."""
        before = self._chosen
        self.menu.clear()
        for text, value in choices:
            action: QAction = self.menu.addAction(text)
            action.setCheckable(True)
            action.setData(value)
            action.toggled.connect(lambda on, value=value: self._toggle(value, on))
        offered = [value for _, value in choices]
        self.set_value(tuple(value for value in before if value in offered))

    def tick(self, names: Sequence[str], chosen: tuple[str, ...]) -> None:
        """Offer names, some of which are ticked, without telling of it."""
        with self.changed.blocked():
            if [action.data() for action in self.menu.actions()] != list(names):
                self.offer([(name, name) for name in names])
            self.value = chosen

    def get_value(self) -> tuple[str, ...]:
        """Return the chosen columns."""
        return self._chosen

    def set_value(self, value: Sequence[str]) -> None:
        """Choose these columns."""
        before, self._chosen = self._chosen, tuple(value)
        for action in self.menu.actions():
            with QSignalBlocker(action):
                action.setChecked(action.data() in self._chosen)
        self._say()
        if self._chosen != before:
            self.changed.emit(self._chosen)

    def _toggle(self, value: str, on: bool) -> None:
        rest = tuple(item for item in self._chosen if item != value)
        self.set_value((*rest, value) if on else rest)

    def _say(self) -> None:
        text = ", ".join(self._chosen)
        self.button.native.setText(" " + (fmt.elided(text, _LONGEST) or self._nothing))
        self.button.tooltip = f"{text}\n{self._tooltip}" if text else self._tooltip


class ModelEdit(ValuedContainerWidget[str]):
    """A model that is here, or another by its folder or its name on Hugging Face."""

    _ANOTHER = object()

    def __init__(self, bundled: str, **common: Any) -> None:
        self._bundled = bundled
        tooltip = common["tooltip"]
        self.word = Choice(self._choices([bundled]), name="word", tooltip=tooltip)
        self.text = LineEdit(name="text", tooltip=tooltip)
        self.text.native.setPlaceholderText("folder, or name on Hugging Face")
        self.browse = PushButton(name="browse", text="Folder…", tooltip="Choose a model's folder.")
        super().__init__(
            widgets=[self.word, self.text, self.browse], layout="vertical", labels=False, **common
        )
        self.margins = (0, 0, 0, 0)
        self.native.layout().setSpacing(4)
        self.word.changed.connect(self._on_change)
        self.text.changed.connect(self._on_change)
        self.browse.native.clicked.connect(self._choose_folder)
        self._show_text()

    @property
    def stops(self) -> list[QWidget]:
        """The controls in the order of the tab key."""
        return [self.word.native, self.text.native, self.browse.native]

    def _choices(self, names: Sequence[str]) -> list[tuple[str, Any]]:
        texts = [f"{name} (bundled)" if name == self._bundled else name for name in names]
        return [*zip(texts, names, strict=True), ("another…", self._ANOTHER)]

    def offer(self, choices: Choices, otherwise: Any = None) -> None:
        """Replace the models that are here."""
        value = self.value
        with self.changed.blocked():
            self.word.offer(self._choices([name for _, name in choices]), self._bundled)
            self.value = value

    def get_value(self) -> str:
        """Return the model's name or folder."""
        return self.text.value.strip() if self.word.value is self._ANOTHER else self.word.value

    def set_value(self, value: str) -> None:
        """Choose a model by its name or folder."""
        with self.changed.blocked():
            known = isinstance(value, str) and value in self.word.choices
            self.word.value = value if known else self._ANOTHER
            if not known:
                self.text.value = value
            self._show_text()
        self.changed.emit(self.get_value())

    def _on_change(self) -> None:
        self._show_text()
        self.changed.emit(self.get_value())

    def _show_text(self) -> None:
        another = self.word.value is self._ANOTHER
        self.text.native.setVisible(another)
        self.browse.native.setVisible(another)

    def _choose_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self.native, "Choose a model's folder")
        if folder:
            self.text.value = folder
