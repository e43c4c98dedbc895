"""Fixtures for the science's tests."""

from __future__ import annotations

import pytest
from core_tissues import HashEncoder, make_tissue


@pytest.fixture
def encoder() -> HashEncoder:
    return HashEncoder()


@pytest.fixture
def tissue():
    return make_tissue()
