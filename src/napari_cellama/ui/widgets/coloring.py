"""What the tissue is coloured by: a search field over clusters, columns and genes, and a legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from qtpy.QtCore import QAbstractListModel, QModelIndex, Qt, Signal
from qtpy.QtWidgets import (
    QCompleter,
    QLineEdit,
    QListView,
    QWidget,
)

from napari_cellama.ui.tissue import Coloring
from napari_cellama.ui.widgets.rows import REMARK_ROLE, RowDelegate

if TYPE_CHECKING:
    from napari_cellama.ui.tissue import Tissue

Kind = Literal["labels", "obs", "gene"]
#: What users call the kinds.
KINDS = {"labels": "clusters", "obs": "column", "gene": "gene", "score": "search", "quality": "QC"}


#: A column of more different values names cells rather than kinds of them.
_MOST_CATEGORIES = 1000
_LOOKED_AT = 20_000
#: A column of more different whole numbers counts or measures.
_MOST_NUMBERS = 60
#: Nobody scrolls through thousands of names, and Qt's list would ask for each of them.
_MOST_LISTED = 200


def category_columns(obs: pd.DataFrame) -> list[str]:
    """Return the columns that sort cells into kinds: categories, texts and yes or no.

    Only the beginning of long columns of text is looked at, so that the answer comes at once.
    """
    return [str(name) for name in obs.columns if _sorts_cells(obs[name])]


def number_columns(obs: pd.DataFrame) -> list[str]:
    """Return the columns of whole numbers that can be read as clusters: only a few of them."""
    return [
        str(name)
        for name in obs.columns
        if pd.api.types.is_integer_dtype(obs[name]) and _has_few(obs[name])
    ]


def _has_few(numbers: pd.Series) -> bool:
    few = numbers.iloc[:_LOOKED_AT].nunique()
    return few <= _MOST_NUMBERS and (len(numbers) <= _LOOKED_AT or numbers.nunique() <= few * 2)


def _sorts_cells(column: pd.Series) -> bool:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return len(column.cat.categories) <= _MOST_CATEGORIES
    if pd.api.types.is_bool_dtype(column):
        return True
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
        return False
    return column.iloc[:_LOOKED_AT].nunique() <= min(_MOST_CATEGORIES, max(10, len(column) // 2))


#: What a tissue can be coloured by: the names of each kind.
Choices = Mapping[Kind, Sequence[str]]


def choices_of(tissue: Tissue | None) -> Choices:
    """Return everything a tissue can be coloured by: clusters, obs columns, then genes."""
    if tissue is None:
        return {}
    obs = tissue.snapshot.obs
    clusters = [key for key in tissue.labels if tissue.is_ours(key) or key == tissue.clusters]
    kinds = set(category_columns(obs))
    columns = list(tissue.confidences)
    columns += [
        str(name)
        for name in obs.columns
        if name not in (*clusters, *columns)
        and (name in kinds or pd.api.types.is_numeric_dtype(obs[name]))
    ]
    genes = list(dict.fromkeys(map(str, tissue.snapshot.var_names)))
    return {"labels": clusters, "obs": columns, "gene": genes}


class ChoiceModel(QAbstractListModel):
    """The choices that contain what was typed; those that begin with it come first."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        # Plain names and kinds: thirty thousand objects would keep Python's collector busy.
        self._names: list[str] = []
        self._folded: list[str] = []
        self._kinds: list[Kind] = []
        self._found: list[int] = []
        self._n_more = 0

    def set_choices(self, choices: Choices) -> None:
        """Offer other choices."""
        self._names = [name for names in choices.values() for name in names]
        self._folded = [name.casefold() for name in self._names]
        self._kinds = [kind for kind, names in choices.items() for _ in names]
        self.search("")

    def search(self, text: str) -> None:
        """Keep the choices whose names contain the text, whatever their case."""
        text = text.strip().casefold()
        begin: list[int] = []
        contain: list[int] = []
        for i, folded in enumerate(self._folded):
            if text in folded:
                (begin if folded.startswith(text) else contain).append(i)
        # Sorting is stable: the exact name first, then the rest in their own order.
        begin.sort(key=lambda i: self._folded[i] != text)
        found = [*begin, *contain]
        self.beginResetModel()
        self._found = found[:_MOST_LISTED]
        self._n_more = len(found) - len(self._found)
        self.endResetModel()

    def choice(self, row: int) -> Coloring | None:
        """Return the choice in a row of what was found, if there is one."""
        if row >= len(self._found):
            return None
        found = self._found[row]
        return Coloring(self._kinds[found], self._names[found])

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return how many rows there are: the choices, and one that says how many more."""
        below = parent is not None and parent.isValid()
        return 0 if below else len(self._found) + (self._n_more > 0)

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Return that choices can be chosen, and the row that counts the rest cannot."""
        is_choice = index.row() < len(self._found)
        return super().flags(index) if is_choice else Qt.ItemFlag.NoItemFlags

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return a choice's name, or its kind in the user's words."""
        if not index.isValid():
            return None
        if index.row() >= len(self._found):
            more = f"… {self._n_more:,} more: type part of a name"
            return more if role == Qt.ItemDataRole.DisplayRole else None
        choice = self.choice(index.row())
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            return choice.name
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{choice.name} ({KINDS[choice.kind]})"
        return KINDS[choice.kind] if role == REMARK_ROLE else None


class ColoringField(QLineEdit):
    """A line to type in; below it opens what was found. Shows the present colouring at rest.

    ``chosen(Coloring)`` says what the user took, ``refused(str)`` why nothing was found.
    """

    chosen = Signal(object)
    refused = Signal(str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._coloring: Coloring | None = None
        self.choices = ChoiceModel(self)
        self._popup = self._make_popup()
        self.setPlaceholderText("Column or gene")
        self.setAccessibleName("Colour by")
        self.textEdited.connect(self._open)
        self.editingFinished.connect(self._rest)
        self.returnPressed.connect(self._on_return)

    def _make_popup(self) -> QListView:
        completer = QCompleter(self.choices, self)
        # The model finds by itself; the completer only shows.
        completer.setCompletionMode(QCompleter.CompletionMode.UnfilteredPopupCompletion)
        completer.setMaxVisibleItems(12)
        popup = QListView()
        popup.setUniformItemSizes(True)
        completer.setPopup(popup)  # which gives it a delegate of its own
        popup.setItemDelegate(RowDelegate(popup))
        completer.activated[QModelIndex].connect(self._on_activated)
        self.setCompleter(completer)
        return popup

    def show_coloring(self, coloring: Coloring | None) -> None:
        """Show what the tissue is coloured by."""
        self._coloring = coloring
        self._rest()

    def open_list(self, *_: Any) -> None:
        """Open the list of everything, as a click on a combo box does."""
        self.selectAll()
        self._open("")

    def _open(self, text: str) -> None:
        """Find the text; the completer shows what was found."""
        # The popup is a window of its own, which the theme does not reach by itself.
        sheet = self.window().styleSheet()
        if self._popup.styleSheet() != sheet:
            self._popup.setStyleSheet(sheet)
        self.choices.search(text)
        self.completer().complete()

    def mousePressEvent(self, event: Any) -> None:
        """Open the list at once; typing narrows it."""
        super().mousePressEvent(event)
        if not self._popup.isVisible():
            self.open_list()

    def keyPressEvent(self, event: Any) -> None:
        """Let Escape give up what was typed, and the down key show everything."""
        if event.key() == Qt.Key.Key_Escape:
            self._rest()
        elif event.key() == Qt.Key.Key_Down and not self._popup.isVisible():
            self.open_list()
        else:
            super().keyPressEvent(event)

    def _on_activated(self, index: QModelIndex) -> None:
        # The completer's own model stands before ours, row for row.
        self._take(index.row())

    def _on_return(self) -> None:
        """Take the first that was found, unless one was chosen from the list."""
        if self._popup.isVisible() and self._popup.currentIndex().isValid():
            return  # the completer takes it
        self._popup.hide()
        text = self.text().strip()
        if not text or (self._coloring and text == self._coloring.name):
            return
        self.choices.search(text)
        if self.choices.rowCount():
            self._take(0)
        else:
            self.refused.emit(
                f"No clusters, column or gene has {text!r} in its name; look through the list "
                "with the down key."
            )

    def _take(self, row: int) -> None:
        if (choice := self.choices.choice(row)) is not None:
            self.chosen.emit(choice)

    def _rest(self) -> None:
        if self._popup.isVisible():
            return
        self.setText(self._coloring.name if self._coloring else "")
        kind = KINDS[self._coloring.kind] if self._coloring else None
        now = f"Now: {self._coloring.name} ({kind}). " if kind else ""
        self.setToolTip(
            f"{now}Type part of a name to colour the tissue by clusters, a column or a gene; "
            "the down key shows everything."
        )
        self.setCursorPosition(0)
