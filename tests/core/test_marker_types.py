"""Cell types found in the expression, and their names."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from core_tissues import make_tissue, section
from sklearn.metrics import adjusted_rand_score

from napari_cellama.core import marker_types
from napari_cellama.core.marker_types import find_types
from napari_cellama.errors import UserError

EVERYBODY = np.ones(300, bool)


@pytest.fixture
def expression():
    adata = make_tissue(300)
    return adata.X, adata.var_names.to_numpy(object), adata.obs["celltype"]


def test_types_are_found_and_named_by_the_genes_that_mark_them(expression) -> None:
    counts, genes, truth = expression
    types = find_types(counts, genes, EVERYBODY, n_types=6)
    assert adjusted_rand_score(truth, types.codes) > 0.95
    for code, name in enumerate(types.categories):
        kind = int(truth[types.codes == code].mode()[0].split()[1])
        assert set(name.split()) <= {f"Gene{4 * kind + i}" for i in range(4)}


@pytest.mark.parametrize("kind", [sp.csc_matrix, lambda x: x.toarray(), lambda x: x.log1p()])
def test_the_matrixs_kind_does_not_matter(expression, kind) -> None:
    counts, genes, truth = expression
    types = find_types(kind(counts), genes, EVERYBODY, n_types=6)
    assert adjusted_rand_score(truth, types.codes) > 0.95


def test_learnt_on_some_and_applied_to_all(expression, monkeypatch) -> None:
    counts, genes, truth = expression
    monkeypatch.setattr(marker_types, "_LEARNT_CELLS", 100)
    types = find_types(counts, genes, EVERYBODY, n_types=6)
    assert adjusted_rand_score(truth, types.codes) > 0.95


def test_cells_without_expression_or_use_have_no_type(expression) -> None:
    counts, genes, _ = expression
    dense = counts.toarray()
    dense[:10] = 0
    usable = np.arange(300) < 290
    types = find_types(dense, genes, usable)
    assert (types.codes[:10] == -1).all()
    assert (types.codes[290:] == -1).all()
    assert (types.codes[10:290] >= 0).all()
    assert len(types.categories.unique()) == len(types.categories)


def test_hardly_any_cells_or_genes(expression) -> None:
    counts, genes, _ = expression
    assert (find_types(counts[:1], genes, EVERYBODY[:1]).codes == 0).all()
    assert (find_types(counts[:3], genes, EVERYBODY[:3]).codes >= 0).all()
    assert (find_types(counts[:, :1], genes[:1], EVERYBODY).codes >= 0).all()
    alike = find_types(np.ones((5, 2)), genes[:2], EVERYBODY[:5])
    assert alike.categories.tolist() == ["Gene0 Gene1"]


def test_values_that_are_no_numbers_are_refused(expression) -> None:
    counts, genes, _ = expression
    dense = counts.toarray()
    dense[2, 2] = np.nan
    with pytest.raises(UserError, match="cell number 3"):
        find_types(dense, genes, EVERYBODY)


def test_real_types_are_met() -> None:
    adata = section("starmap_visual_cortex")
    types = find_types(adata.X, adata.var_names.to_numpy(object), np.ones(adata.n_obs, bool))
    assert adjusted_rand_score(adata.obs["celltype"], types.codes) > 0.3
