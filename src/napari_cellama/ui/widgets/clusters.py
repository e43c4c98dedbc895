"""The Clusters dock: which groups of cells there are, what is near them, and their colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QColorDialog,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from napari_cellama.errors import UserError
from napari_cellama.ui import format as fmt
from napari_cellama.ui.attach import layers_of, session_of
from napari_cellama.ui.tissue import Coloring
from napari_cellama.ui.widgets.cluster_foot import ClustersFoot
from napari_cellama.ui.widgets.cluster_table import ClusterModel, ClusterTable
from napari_cellama.ui.widgets.cluster_tools import ClusterTools
from napari_cellama.ui.widgets.coloring import (
    ColoringField,
    category_columns,
    choices_of,
    number_columns,
)
from napari_cellama.ui.widgets.enrichment import Enrichment
from napari_cellama.ui.widgets.form import Rows, WheelGuard, tab_through
from napari_cellama.ui.widgets.key_help import HelpButton, follow_help_key
from napari_cellama.ui.widgets.label_sets import LabelsMenu
from napari_cellama.ui.widgets.legend import LegendView
from napari_cellama.ui.widgets.lines import NO_TISSUE, title
from napari_cellama.ui.widgets.listen import listen
from napari_cellama.ui.widgets.scale import ScaleRow
from napari_cellama.ui.widgets.shape import ShapeBox
from napari_cellama.ui.widgets.style import follow_theme

if TYPE_CHECKING:
    import napari

    from napari_cellama.core.labels import LabelSet
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.tissue import Tissue

_WIDTH, _NARROWEST = 380, 340

_NO_CLUSTERS = (
    "No clusters are shown yet. Press Run in the Niches dock, or choose one of the tissue's own "
    "columns under Labels."
)


class ClustersDock(QWidget):
    """One row a cluster, what the tissue is coloured by, and what can be taken along.

    Parameters
    ----------
    napari_viewer
        The viewer whose session this is a view of.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self.setMinimumWidth(_NARROWEST)
        session = self._session = session_of(napari_viewer)
        self.enrichment = Enrichment(session, self)
        self.labels = LabelsBox(session, self)
        self.coloring = ColoringField(self)
        self.reset_button = QPushButton("Clusters", self)
        self.legend = LegendView(self)
        self.scale = ScaleRow(session, self)
        self.shape = ShapeBox(session, self)
        self.model = ClusterModel(session, self.enrichment, self)
        self.table = ClusterTable(session, self.model, self)
        self.title = title("Clusters")
        self.help_button = HelpButton(self)
        self.tools = ClusterTools(session, self)
        self.labels_menu = LabelsMenu(session, self._label_keys, self)
        self.empty = QLabel(self)
        self._layers = layers_of(napari_viewer)
        self.foot = ClustersFoot(session, self.table, self.enrichment, self._layers, self)
        self._offered: tuple | None = None
        self._refused = ""
        self._lay_out()
        follow_help_key(self)
        follow_theme(self, napari_viewer)
        self.labels.refused.connect(self._say_error)
        self.coloring.chosen.connect(self._color_by)
        self.coloring.refused.connect(self._say_error)
        self.reset_button.clicked.connect(self._reset_coloring)
        self.table.recolor.connect(self.choose_color)
        self.model.refused.connect(self._say_error)
        for signal in (session.active_changed, session.matrix_ready, session.clusters_changed):
            listen(self, signal, self._on_tissue)
        listen(self, session.coloring_changed, self._on_coloring)
        self._on_tissue()

    def sizeHint(self) -> QSize:
        """Return the width that leaves the tissue its room."""
        return QSize(_WIDTH, 720)

    def _lay_out(self) -> None:
        self.empty.setWordWrap(True)
        self.empty.setObjectName("muted")
        self.empty.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.reset_button.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Ignored)
        self.table.setMinimumHeight(170)
        self.shown = QStackedWidget(self)
        self.shown.addWidget(self.empty)
        self.shown.addWidget(self.table)
        chooser = QWidget(self)
        line = QHBoxLayout(chooser)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(6)
        line.addWidget(self.coloring, 1)
        line.addWidget(self.reset_button)
        choice = Rows(self)
        labels = QWidget(self)
        line = QHBoxLayout(labels)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(6)
        line.addWidget(self.labels, 1)
        line.addWidget(self.labels_menu)
        self.labels_menu.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Ignored)
        choice.add("labels", "Labels", labels, self.labels.toolTip())
        choice.add("color", "Colour by", chooser, "What the tissue's cells are coloured by.")
        choice.add("shape", "Draw as", self.shape, self.shape.toolTip())
        self.shape.follow(choice.labels[-1])
        self._guard = WheelGuard(self)
        self._guard.watch(self.labels)
        self._guard.watch(self.shape)

        content = QWidget(self)
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 6, 0)
        column.setSpacing(6)
        column.addWidget(title("On the tissue"))
        column.addWidget(choice)
        column.addWidget(self.legend)
        column.addWidget(self.scale)
        heading = QHBoxLayout()
        self.title.setWordWrap(True)  # so that a long one does not widen the dock
        heading.addWidget(self.title, 1)
        for button in (self.tools.buttons["undo"], self.tools.buttons["redo"], self.help_button):
            heading.addWidget(button)
        column.addLayout(heading)
        column.addWidget(self.tools)
        column.addWidget(self.shown, 1)
        scroll = QScrollArea(self)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setWidget(content)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 6, 4, 8)
        layout.setSpacing(8)
        layout.addWidget(scroll, 1)
        layout.addWidget(self.foot)
        tools = self.tools.stops
        stops = [self.labels, self.labels_menu, self.coloring, self.reset_button, self.shape]
        stops += [self.legend.swatches, *self.scale.stops]
        stops += [*tools[:2], self.help_button, *tools[2:], self.table]
        tab_through(stops)

    # ---- what the user does

    def choose_color(self, cluster: int) -> None:
        """Let the user choose another colour for a cluster."""
        labels = self._session.clusters
        asked = f"Colour of {fmt.elided(labels.names[cluster], 40)}"
        color = QColorDialog.getColor(QColor(labels.colors[cluster]), self, asked)
        if color.isValid():
            self._try(lambda: self._session.editing.recolor(cluster, color.name()))

    def _label_keys(self) -> list[str]:
        tissue = self._session.active
        return [] if tissue is None else label_keys(tissue)

    def _color_by(self, coloring: Coloring) -> None:
        self._try(lambda: self._session.color_by(coloring))
        self.coloring.show_coloring(self._session.active.coloring)

    def _reset_coloring(self) -> None:
        key = self._session.active.clusters
        self._try(lambda: self._session.color_by(Coloring("labels", key)))

    def _try(self, act: Any) -> None:
        try:
            act()
        except UserError as error:
            self._say_error(str(error))
        else:
            self.foot.message.clear_error(self._refused)

    def _say_error(self, sentence: str) -> None:
        self._refused = sentence
        self.foot.message.add("error", sentence)

    # ---- what the session says

    def _on_tissue(self, *_: Any) -> None:
        tissue, labels = self._session.active, self._session.clusters
        self.coloring.setEnabled(tissue is not None)
        self._offer_choices(tissue)
        self.empty.setText(NO_TISSUE if tissue is None else _NO_CLUSTERS)
        self.shown.setCurrentWidget(self.empty if labels is None else self.table)
        self.title.setText("Clusters" if labels is None else _summary(labels))
        self._on_coloring(tissue)

    def _offer_choices(self, tissue: Tissue | None) -> None:
        """Offer the tissue's columns and genes, unless they are still the same."""
        offered = None
        if tissue is not None:
            columns = tuple(tissue.snapshot.obs.columns)
            genes = id(tissue.snapshot.var_names)
            offered = (tissue.id, genes, columns, tuple(tissue.labels), tissue.clusters)
        if offered != self._offered:
            self._offered = offered
            self.coloring.choices.set_choices(choices_of(tissue))

    def _on_coloring(self, tissue: Tissue | None) -> None:
        if tissue is not self._session.active:
            return
        self.coloring.show_coloring(None if tissue is None else tissue.coloring)
        legend = None if tissue is None else self._layers.legend_of(tissue)
        by_clusters = tissue is not None and _is_by_clusters(tissue)
        self.legend.show_legend(None if by_clusters else legend)
        self.scale.show_legend(legend)
        self.foot.show_legend(legend)
        why = (
            "Open a tissue first."
            if tissue is None
            else "No clusters are shown; choose some under Labels."
            if tissue.clusters is None
            else "The tissue is coloured by the clusters already."
            if by_clusters
            else ""
        )
        self.reset_button.setEnabled(not why)
        self.reset_button.setToolTip(why or "Colour the tissue by the clusters below again.")


class LabelsBox(QComboBox):
    """Which labels are shown as clusters: those of runs, or a column of the tissue's own.

    ``refused(str)`` says why a column cannot be shown.
    """

    refused = Signal(str)

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self._session = session
        self._keys: list[str] = []
        self.setPlaceholderText("Choose labels")
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(10)
        self.activated.connect(self._on_chosen)
        for signal in (session.active_changed, session.matrix_ready, session.clusters_changed):
            listen(self, signal, self._redraw)
        listen(self, session.labels_changed, self._redraw)
        self._redraw()

    def _on_chosen(self, row: int) -> None:
        try:
            self._session.show_clusters(self._keys[row])
        except UserError as error:
            self.refused.emit(str(error))
            self._redraw()

    def _redraw(self, *_: Any) -> None:
        tissue = self._session.active
        self._keys = [] if tissue is None else label_keys(tissue)
        with QSignalBlocker(self):
            self.clear()
            texts = fmt.elided_apart(self._keys, 28)
            for row, (key, text) in enumerate(zip(self._keys, texts, strict=True)):
                self.addItem(text)
                self.setItemData(row, key, Qt.ItemDataRole.ToolTipRole)
            shown = None if tissue is None else tissue.clusters
            self.setCurrentIndex(self._keys.index(shown) if shown in self._keys else -1)
        self.setEnabled(bool(self._keys))
        self.setToolTip(
            "Which labels are shown as clusters: a run's niches, or a column of the tissue's own."
            if self._keys
            else "Open a tissue first."
            if tissue is None
            else "The tissue has no columns of categories; press Run in the Niches dock."
        )


def label_keys(tissue: Tissue) -> list[str]:
    """Return what can be shown as clusters: what was made here, then the tissue's own columns."""
    made = [key for key in tissue.labels if tissue.is_ours(key)]
    obs = tissue.snapshot.obs
    return list(dict.fromkeys([*made, *category_columns(obs), *number_columns(obs)]))


def _summary(labels: LabelSet) -> str:
    """Return e.g. ``"11 clusters · 120 cells without a label"``; what has parts does not count."""
    n_unlabelled = len(labels.codes) - int(labels.sizes.sum())
    return fmt.joined(
        fmt.count(len(labels.flat().names), "cluster"),
        f"{fmt.count(n_unlabelled, 'cell')} without a label" if n_unlabelled else "",
    )


def _is_by_clusters(tissue: Tissue) -> bool:
    """Whether the tissue is coloured by the clusters that the table shows."""
    coloring = tissue.coloring
    by_labels = coloring is not None and coloring.kind in ("labels", "obs")
    return by_labels and coloring.name == tissue.clusters
