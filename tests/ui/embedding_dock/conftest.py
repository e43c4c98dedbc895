"""The Embedding dock in the real window, with maps that cost nothing."""

from __future__ import annotations

import numpy as np
import pytest

from embedding_hands import make, open_dock, run
from napari_cellama import api
from napari_cellama.core.umap import Placed
from napari_cellama.ui import layouts
from small_sections import WordEncoder


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Embed with a model that costs nothing, and lay out on a grid; UMAP has its own tests."""

    def grid(features, *, seed, begun, cancel):
        n = len(features)
        yield Placed(0, n)
        cancel.check()
        places = np.stack(np.divmod(np.arange(n), int(np.ceil(np.sqrt(n)))), axis=1)
        places = places.astype(np.float32) + seed
        places[~np.isfinite(features).all(axis=1)] = np.nan
        yield Placed(n, n, np.arange(n), places)
        return places

    monkeypatch.setattr(api, "NamedEncoder", WordEncoder)
    monkeypatch.setattr(layouts, "laying_out_apart", grid)


@pytest.fixture
def dock(viewer, session, qtbot):
    return open_dock(viewer, qtbot)


@pytest.fixture
def mapped(dock, session, qtbot):
    """Return the dock with a map of the niches."""
    run(session)
    make(qtbot, dock, session)
    return dock
