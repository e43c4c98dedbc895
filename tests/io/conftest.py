"""A section with something in every slot of an AnnData."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp


@pytest.fixture
def full_adata():
    rng = np.random.default_rng(0)
    n, m = 12, 5
    obs = pd.DataFrame(
        {
            "celltype": pd.Categorical(["B-Zelle", "Gänsehaut", None] * 4),
            "text": [f"cell number {i}" for i in range(n)],
            "gaps": pd.Series(["a", None, "b"] * 4, dtype=object).to_numpy(),
            "flag": np.arange(n) % 2 == 0,
            "count": np.arange(n),
            "score": np.where(np.arange(n) == 3, np.nan, rng.random(n)),
            "maybe": pd.array([1, None, 3] * 4, dtype="Int64"),
            "µm² Fläche": rng.random(n),
        },
        index=[f"Zelle-{i}-é" for i in range(n)],
    )
    var = pd.DataFrame({"panel": ["x"] * m}, index=[f"Gène{i}" for i in range(m)])
    adata = ad.AnnData(sp.csr_matrix(rng.poisson(1.0, (n, m)).astype(np.float32)), obs, var)
    adata.raw = adata.copy()
    adata.layers["counts"] = rng.integers(0, 5, (n, m))
    adata.layers["csc"] = sp.csc_matrix(adata.X)
    adata.obsm["spatial"] = rng.random((n, 2)) * 100
    adata.obsm["table"] = pd.DataFrame({"a": np.arange(n)}, index=adata.obs_names)
    adata.varm["PCs"] = rng.random((m, 3))
    adata.obsp["graph"] = sp.eye(n, format="csr")
    adata.varp["links"] = np.eye(m)
    adata.uns["celltype_colors"] = np.array(["#ff0000", "#00ff00"], dtype=object)
    adata.uns["odd"] = {"none": None, "empty": {}, "deep": {"ü": 1.5}, "list": ["a", "b"]}
    adata.uns["spatial"] = {"lib": {"images": {"hires": rng.random((4, 4, 3))}}}
    return adata
