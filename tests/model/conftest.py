from __future__ import annotations

import pytest

from napari_cellama.io.models import BUNDLED, resolve_model


@pytest.fixture(scope="session")
def bundled():
    """The bundled model's ModelFolder."""
    return resolve_model(BUNDLED)


@pytest.fixture(scope="session")
def sentences():
    """50 sentences of all lengths, some equal, one far too long, some in other scripts."""
    genes = ["MBP", "PLP1", "GFAP", "AQP4", "CD3E", "HLA-DRA", "EPCAM", "MT-CO1", "Rorb", "Sst"]
    made = []
    for i in range(42):
        named = ", ".join(genes[(i + j) % 10] + str(j) * (j > 9) for j in range(1 + i % 17))
        made.append(f"Top genes are {named}. celltype of this cell is Type {i % 9}.")
    odd = ["", "神经元", "βIII-Tubulin 😀\n", "nearest_cells of this cell is A,B,C,A,A."]
    return [*made, *odd, made[3], made[3], "GENE " * 3000, "Top gene is ACTB."]
