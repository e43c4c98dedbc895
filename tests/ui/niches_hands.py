"""What tests do with the Niches dock, and what a run would find."""

from __future__ import annotations

import threading

import numpy as np
import pandas as pd
import scipy.sparse as sp
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QApplication,
    QScrollArea,
)

from napari_cellama.core.events import Finished, Progress
from napari_cellama.core.result import NicheResult, View
from napari_cellama.ui.widgets.niches import NichesDock

LEFT = Qt.MouseButton.LeftButton


def open_dock(viewer, qtbot):
    dock = NichesDock(viewer)
    viewer.window.add_dock_widget(dock, name="Niches", area="right")
    qtbot.waitUntil(dock.isVisible)
    return dock


def remark(dock, name):
    return dock.form.groups["Neighbourhood"].remarks[name].text()


def preview_text(dock):
    import re

    text = dock.preview.sentence.text().replace("\u200b", "").replace("</p>", " ")
    return re.sub("<[^>]*>", "", text).strip()


def click(qtbot, button):
    assert button.isEnabled(), button.toolTip()
    parent = button.parent()
    while parent is not None and not isinstance(parent, QScrollArea):
        parent = parent.parent()
    if parent is not None:
        QApplication.processEvents()
        parent.ensureWidgetVisible(button)
    qtbot.mouseClick(button, LEFT)


def type_number(qtbot, spin, number):
    spin.setFocus()
    spin.selectAll()
    qtbot.keyClicks(spin, f"{number}\t")


def made_result(adata, recipe, n_niches=3):
    """Return what a run might find: niches in stripes, the last cell left out."""
    n = adata.n_obs
    codes = np.arange(n) * n_niches // n
    codes[-1] = -1
    names = [str(i + 1) for i in range(n_niches)]
    empty = sp.csr_matrix((n, n), dtype=np.float32)
    return NicheResult(
        key=recipe.key_added,
        labels=pd.Categorical.from_codes(codes, names),
        colors=("#e41a1c", "#377eb8", "#4daf4a", "#984ea3")[:n_niches],
        confidence=np.ones(n, np.float32),
        representation=np.zeros((n, 2), np.float32),
        views=(View("cell", ("Top gene is A.",), np.zeros(n, int), np.ones((1, 4), np.float32)),),
        connectivities=empty,
        distances=empty,
        composition=pd.DataFrame(),
        left_out=np.array([""] * (n - 1) + ["no position"], object),
    )


class Script:
    """A run that does what a test says, step by step, instead of the model."""

    def __init__(self, monkeypatch):
        self.recipes, self.threads, self.closed = [], [], threading.Event()
        self.go = threading.Event()
        self.steps = [Progress("Embedding", 60, 120, "sentences")]
        self.error = None
        monkeypatch.setattr("napari_cellama.api.run_events", self)

    def __call__(self, adata, recipe, *, cancel=None, earlier=()):
        self.recipes.append(recipe)
        try:
            for step in self.steps:
                self.threads.append(threading.get_ident())
                yield step
            while not self.go.wait(0.01):
                cancel.check()
            if self.error is not None:
                raise self.error
            yield Finished(made_result(adata, recipe))
        finally:
            self.closed.set()
