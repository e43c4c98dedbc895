"""The Niches dock: from the data to Run, top to bottom."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_cellama.errors import UserError
from napari_cellama.recipe import Recipe
from napari_cellama.ui.attach import session_of
from napari_cellama.ui.widgets.data import DataPanel
from napari_cellama.ui.widgets.foot import Foot
from napari_cellama.ui.widgets.form import RecipeForm, tab_through
from napari_cellama.ui.widgets.inquiry import Inquiry
from napari_cellama.ui.widgets.key_help import follow_help_key
from napari_cellama.ui.widgets.listen import listen
from napari_cellama.ui.widgets.lookups import (
    Offer,
    Reach,
    column_offers,
    device_advice,
    model_offers,
    reach,
)
from napari_cellama.ui.widgets.preview import SentencePreview
from napari_cellama.ui.widgets.stability import StabilityPanel
from napari_cellama.ui.widgets.style import follow_theme
from napari_cellama.ui.workers import Failed

if TYPE_CHECKING:
    import napari

    from napari_cellama.ui.tissue import Tissue

_WIDTH, _NARROWEST = 364, 340
_AIR = 6  #: between the form and its scroll bar


class NichesDock(QWidget):
    """Choose how niches are found, see what a cell's sentence will be, and run.

    Parameters
    ----------
    napari_viewer
        The viewer whose session this is a view of.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self.setMinimumWidth(_NARROWEST)
        self._session = session_of(napari_viewer)
        self.form = RecipeForm(parent=self)
        self.data = DataPanel(self._session, napari_viewer, self)
        self.preview = SentencePreview(self._session, self.form.recipe, self)
        self.stability = StabilityPanel(self._session, napari_viewer, self)
        self.foot = Foot(self._session, self.form.recipe, self)
        self._columns = Inquiry(self._session.jobs, "columns", self._on_columns, self)
        self._models = Inquiry(self._session.jobs, "models", self._on_models, self)
        self._reach = Inquiry(self._session.jobs, "neighbourhood", self._on_reach, self)
        self._lay_out()
        self.foot.next_button.clicked.connect(lambda: self._show_clusters(napari_viewer))
        follow_help_key(self)
        follow_theme(self, napari_viewer)
        self.form.changed.connect(self._on_form)
        # Queued, so that the new row has its place before it is scrolled to.
        self.stability.appeared.connect(self._show_stability, Qt.ConnectionType.QueuedConnection)
        listen(self, self._session.active_changed, self._on_tissue)
        listen(self, self._session.matrix_ready, self._on_tissue)
        self._models.ask(lambda token: (model_offers(), device_advice()))
        self._on_tissue(self._session.active)

    def sizeHint(self) -> QSize:
        """Return the width that leaves the tissue its room."""
        return QSize(_WIDTH, 720)

    def _lay_out(self) -> None:
        self.form.groups["Data"].set_head(self.data)
        self.form.groups["Sentence"].add("preview", "", self.preview)
        self.form.groups["Niches"].add("stability", "", self.stability)
        self.form.groups["Advanced"].add("files", "", self._recipe_buttons())
        self.scroll = QScrollArea(self)
        self.scroll.setWidgetResizable(True)
        self.scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.scroll.setWidget(self.form)
        self.form.setContentsMargins(0, 0, _AIR, 0)
        self.foot.setContentsMargins(0, 0, _AIR, 0)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 6, 8 - _AIR, 8)
        layout.setSpacing(8)
        layout.addWidget(self.scroll, 1)
        layout.addWidget(self.foot)
        files = [self.load_button, self.save_button]
        tab_through([*self.data.stops, *self.form.stops, *files, *self.foot.stops])

    def _recipe_buttons(self) -> QWidget:
        row = QWidget(self)
        line = QHBoxLayout(row)
        line.setContentsMargins(0, 4, 0, 0)
        self.load_button = QPushButton("Load recipe…", row)
        self.load_button.setToolTip("Fill the form from a recipe that was saved as JSON.")
        self.load_button.clicked.connect(lambda: self.load_recipe())
        self.save_button = QPushButton("Save recipe…", row)
        self.save_button.setToolTip(
            "Save what the form says as JSON, for `napari-cellama run --recipe` and for Python."
        )
        self.save_button.clicked.connect(lambda: self.save_recipe())
        line.addWidget(self.load_button)
        line.addWidget(self.save_button)
        return row

    # ---- what the user does

    def load_recipe(self) -> None:
        """Let the user choose a recipe and show it in the form."""
        path, _ = QFileDialog.getOpenFileName(self, "Load recipe", "", "Recipe (*.json)")
        if path:
            try:
                self.form.set_recipe(Recipe.from_file(path))
            except UserError as error:
                self._session.message.emit("error", str(error), "")

    def save_recipe(self) -> None:
        """Let the user choose where to save what the form says."""
        path, _ = QFileDialog.getSaveFileName(self, "Save recipe", "recipe.json", "Recipe (*.json)")
        if path:
            try:
                Path(path).write_text(self.form.recipe().to_json() + "\n", encoding="utf-8")
            except UserError as error:
                self._session.message.emit("error", str(error), "")
            except OSError as error:
                text = f"The recipe cannot be saved to {path}: {error.strerror}."
                self._session.message.emit("error", text, "")

    @staticmethod
    def _show_clusters(viewer: napari.Viewer) -> None:
        """Bring the Clusters dock to the front, and open all docks if it is not there."""
        from napari_cellama.ui.launch import bring_to_front

        bring_to_front(viewer, "Clusters")

    # ---- what is shown

    def _on_tissue(self, tissue: Tissue | None) -> None:
        """Offer the columns of the tissue that is shown now, or of its whole file."""
        if tissue is not None:
            adata = tissue.snapshot
            self._columns.ask(lambda token: column_offers(adata))
        self._on_form()

    def _on_columns(self, answer: Any) -> None:
        if isinstance(answer, Failed):
            self._session.message.emit("error", answer.sentence, answer.details)
            return
        self._offer(answer)

    def _on_models(self, answer: Any) -> None:
        if isinstance(answer, Failed):
            return  # the form's own choices stay; a run will say what is wrong
        offers, advice = answer
        self._offer(offers)
        self.form.say("device", advice)

    def _offer(self, offers: Mapping[str, Offer]) -> None:
        for hint, offer in offers.items():
            self.form.offer(hint, offer.choices, offer.first)

    def _on_form(self) -> None:
        """Look again at everything that depends on the form."""
        self.foot.refresh()
        self.preview.refresh()
        tissue = self._session.active
        try:
            recipe = self.form.recipe()
        except UserError:
            tissue = None  # the preview and the Run button say what is wrong
        if tissue is None:
            self._reach.drop()
            self.form.say("n_neighbors", "")
        else:
            adata = tissue.snapshot
            self._reach.ask(lambda token: reach(adata, recipe))

    def _show_stability(self) -> None:
        """Scroll to what the run found of its niches."""
        self.scroll.ensureWidgetVisible(self.stability, 0, 0)

    def _on_reach(self, answer: Reach | Failed) -> None:
        if isinstance(answer, Failed):
            self.form.say("n_neighbors", answer.sentence)
            return
        self.form.say("n_neighbors", answer.text, "The median over the tissue's cells.")
        if answer.distance > 0:
            self.form.suggest("radius", float(f"{answer.distance:.3g}"))
