"""How true the niches on screen are where embeddings are predicted, and the way to exact ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_cellama.core.events import Progress
from napari_cellama.recipe import Recipe
from napari_cellama.ui.widgets.listen import listen

if TYPE_CHECKING:
    from napari_cellama.core.result import NicheResult
    from napari_cellama.ui.session import Session
    from napari_cellama.ui.workers import Job

_MEANS = {
    "good": "Approximate, and good",
    "fair": "Approximate, and fair",
    "poor": "Approximate, and poor: no more than a first look",
}


class FidelityLine(QWidget):
    """Says how true the shown niches are, and runs the same recipe exactly on a click.

    Parameters
    ----------
    session
        Whose active tissue's niches these are.
    parent
        The Qt parent.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.text = QLabel(self)
        self.text.setObjectName("muted")
        self.text.setWordWrap(True)
        self.exact_button = QPushButton("Run exactly", self)
        self.exact_button.setObjectName("link")
        self.exact_button.setCursor(Qt.CursorShape.PointingHandCursor)
        self.exact_button.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.exact_button.setToolTip(
            "Run the same recipe with every sentence embedded. What is embedded is used again."
        )
        self.exact_button.clicked.connect(lambda: self.run_exactly())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.text)
        layout.addWidget(self.exact_button)
        for signal in (session.active_changed, session.clusters_changed, session.job_started):
            listen(self, signal, self._on_change)
        listen(self, session.job_event, self._on_event)
        self.refresh()

    def run_exactly(self) -> None:
        """Run the recipe of the shown niches with every sentence embedded."""
        result = self._result()
        if result is not None:
            recipe = Recipe.from_json(result.provenance["recipe_asked"])
            self._session.run(recipe.replace(mode="exact"))

    def refresh(self) -> None:
        """Show what holds for the niches on screen; nothing where they are exact."""
        result = self._result()
        if result is None:
            self.hide()
            return
        told = result.fidelity
        self.text.setText(
            f"{_MEANS[told.verdict]}. {told.n_exact:,} sentences embedded, {told.n_predicted:,} "
            f"predicted (R² {told.r2:.2f}, niches agree {told.agreement:.2f})."
        )
        self.text.setToolTip(told.sentence)
        self.exact_button.setVisible(self._session.running is None)
        self.show()

    def _on_change(self, what: object) -> None:
        self.refresh()

    def _on_event(self, job: Job, event: object) -> None:
        if not isinstance(event, Progress):
            self.refresh()

    def _result(self) -> NicheResult | None:
        """Return the result whose niches are shown, if it is approximate."""
        tissue = self._session.active
        result = None if tissue is None else tissue.results.get(tissue.clusters)
        return result if result is not None and result.fidelity is not None else None
