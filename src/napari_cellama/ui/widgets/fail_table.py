"""How many cells fail: by reason, niche, cell type or section."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_cellama.ui.judging import PASSES, judgement_of

if TYPE_CHECKING:
    from napari_cellama.ui.tissue import Tissue

#: How many rows are seen without scrolling.
_ROWS = 6
_REASON, _NICHE, _TYPE, _SECTION = "reason", "cluster", "cell type", "section"


class FailTable(QWidget):
    """Counts the failing cells of a tissue by what the user chooses."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._tissue: Tissue | None = None
        self.by = QComboBox(self)
        self.by.setAccessibleName("Count failing cells by")
        self.by.setToolTip("What the failing cells are counted by.")
        self.table = QTableWidget(0, 3, self)
        self.table.setAccessibleName("Failing cells")
        self.table.setToolTip("How many cells fail, of how many.")
        self.table.verticalHeader().hide()
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.table.setShowGrid(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.by)
        layout.addWidget(self.table)
        self.by.currentTextChanged.connect(lambda *_: self._fill())

    def show_tissue(self, tissue: Tissue) -> None:
        """Count a tissue's failing cells, as far as there is something to count them by."""
        self._tissue = tissue
        wanted = [f"By {name}" for name in groups_of(tissue)]
        if [self.by.itemText(i) for i in range(self.by.count())] != wanted:
            chosen = self.by.currentText()
            self.by.blockSignals(True)
            self.by.clear()
            self.by.addItems(wanted)
            self.by.setCurrentText(chosen if chosen in wanted else wanted[0])
            self.by.blockSignals(False)
        self._fill()

    def rows(self) -> list[tuple[str, str, str]]:
        """Return what is shown."""
        cells = range(self.table.rowCount())
        return [tuple(self.table.item(row, i).text() for i in range(3)) for row in cells]

    def _fill(self) -> None:
        by = self.by.currentText().removeprefix("By ")
        groups = groups_of(self._tissue)[by]
        counted = count_failing(self._tissue, groups)
        self.table.setHorizontalHeaderLabels([by.capitalize(), "Fail", "Share"])
        self.table.setRowCount(len(counted))
        for row, (name, fail, total) in enumerate(counted):
            share = f"{fail / total:.1%}" if total else "0%"
            for column, text in enumerate((name, f"{fail:,}", share)):
                item = QTableWidgetItem(text)
                item.setToolTip(f"{name}: {fail:,} of {total:,} cells fail ({share})")
                if column:
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                self.table.setItem(row, column, item)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.table.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 6)
        height = self.fontMetrics().height() + 6
        shown = max(1, min(_ROWS, len(counted)))
        self.table.setFixedHeight(header.sizeHint().height() + shown * height + 4)


def groups_of(tissue: Tissue) -> dict[str, pd.Categorical | None]:
    """Return what failing cells can be counted by; ``None`` stands for their reasons."""
    groups: dict[str, pd.Categorical | None] = {_REASON: None}
    if tissue.clusters is not None:
        groups[_NICHE] = tissue.label_set(tissue.clusters).flat().categorical()
    if (key := tissue.type_key) is not None:
        groups[_TYPE] = pd.Categorical(tissue.snapshot.obs[key])
    if (sections := tissue.quality.section_labels()) is not None and len(sections.categories) > 1:
        groups[_SECTION] = sections
    return groups


def count_failing(tissue: Tissue, groups: pd.Categorical | None) -> list[tuple[str, int, int]]:
    """Return (name, failing cells, cells) of each group with failing cells, the most first.

    A cell with several faults counts for each of them.
    """
    judgement = judgement_of(tissue)
    if groups is None:
        counts = {name: int(judgement.faults[name].sum()) for name in judgement.faults.columns}
        labels = judgement.labels
        for name, size in zip(labels.names, labels.sizes, strict=True):
            if name != PASSES and name not in counts:  # set by hand
                counts[name] = int(size)
        rows = [(name, count, tissue.n_obs) for name, count in counts.items()]
    else:
        codes, n = np.asarray(groups.codes), len(groups.categories)
        total = np.bincount(codes[codes >= 0], minlength=n)
        fail = np.bincount(codes[(codes >= 0) & judgement.fails], minlength=n)
        names = map(str, groups.categories)
        rows = [(name, int(f), int(t)) for name, f, t in zip(names, fail, total, strict=True)]
    return sorted((row for row in rows if row[1]), key=lambda row: -row[1])
