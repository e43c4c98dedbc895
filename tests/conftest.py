"""Options of the test run, and what keeps it away from the user's own files."""

from __future__ import annotations

import os

import pytest

# Two processes of tests share the cores. A thread that waits for another must not spin meanwhile:
# on two cores that makes the model ten times as slow. (Read when the first library loads OpenMP.)
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--screenshots",
        metavar="DIR",
        help="run the golden path on the whole section and keep its pictures in DIR",
    )


@pytest.fixture(scope="session", autouse=True)
def _no_cache_of_the_users(tmp_path_factory):
    """Whatever embeds outside a test, in a fixture, keeps its vectors in a folder of the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPARI_CELLAMA_CACHE", str(tmp_path_factory.mktemp("embeddings")))
        patch.delenv("NAPARI_CELLAMA_CACHE_GIB", raising=False)
        yield


@pytest.fixture(autouse=True)
def embedding_cache(tmp_path_factory, monkeypatch):
    """Each test begins with an empty cache: this folder, which does not exist yet."""
    folder = tmp_path_factory.mktemp("embeddings") / "cache"
    monkeypatch.setenv("NAPARI_CELLAMA_CACHE", str(folder))
    return folder


@pytest.fixture
def children(monkeypatch):
    """Return the processes that maps are made in, as they are started."""
    from napari_cellama.core import umap_process

    started = []

    class Child(umap_process._Child):
        def __init__(self, order):
            super().__init__(order)
            started.append(self.process)

    monkeypatch.setattr(umap_process, "_Child", Child)
    return started
