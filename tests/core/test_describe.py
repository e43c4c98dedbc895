"""What niches are made of."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp

from napari_cellama.core.describe import neighbor_enrichment, top_enriched


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
    assert top_enriched(table.loc["1"]) == ["A"]
    assert top_enriched(table.loc["2"], 1) == ["B"]
