"""What niches are made of."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp

from napari_cellama.core import describe
from napari_cellama.core.describe import contacts, neighbor_enrichment


def test_enrichment_by_hand() -> None:
    # 0-1 are each other's neighbours, as are 2-3; 4 has no niche.
    graph = sp.csr_matrix(
        (np.ones(5), ([0, 1, 2, 3, 4], [1, 0, 3, 2, 0])), shape=(5, 5), dtype=np.float32
    )
    labels = pd.Categorical(["1", "1", "2", "2", None])
    types = pd.Categorical(["A", "A", "B", None, "A"], categories=["A", "B", "C"])
    table = neighbor_enrichment(labels, types, graph)
    assert table.index.tolist() == ["1", "2"]
    # Niche 1 sees A, A; niche 2 sees B. Overall A 2/3, B 1/3; one average neighbour is added.
    expected = np.log2([[(2 + 2 / 3) / 3 / (2 / 3), (1 / 3) / 3 / (1 / 3)]])
    np.testing.assert_allclose(table.loc[["1"], ["A", "B"]], expected)
    assert table["C"].tolist() == [0, 0]


def test_contacts_are_those_of_the_indicators(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    graph = sp.random(300, 300, 0.05, "csr", random_state=0)
    graph.data[::7] = 0
    groups = pd.Categorical.from_codes(rng.integers(-1, 4, 300), list("abcd"))
    others = pd.Categorical.from_codes(rng.integers(-1, 3, 300), list("xyz"))
    monkeypatch.setattr(describe, "_CHUNK", 64)
    one, other = pd.get_dummies(groups).to_numpy(float), pd.get_dummies(others).to_numpy(float)
    counted = contacts(groups, others, graph)
    np.testing.assert_array_equal(counted, one.T @ (graph.toarray() != 0) @ other)
    weighed = contacts(groups, others, graph, weighted=True)
    np.testing.assert_allclose(weighed, one.T @ graph.toarray() @ other)
