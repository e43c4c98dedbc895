"""Whether two label sets are one and the same to a user."""

from __future__ import annotations

import numpy as np

from napari_cellama.core.labels import LabelSet


def same_labels(one: LabelSet | None, other: LabelSet | None) -> bool:
    """Whether two label sets say the same of every cell."""
    if one is None or other is None or one is other:
        return one is other
    return (
        (one.key, one.names, one.colors, one.parents)
        == (other.key, other.names, other.colors, other.parents)
    ) and np.array_equal(one.codes, other.codes)
