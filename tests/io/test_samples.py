"""Downloads, from a server on this machine; nothing here reaches the network."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import anndata as ad
import numpy as np
import pytest

from napari_cellama.errors import Cancelled, UserError
from napari_cellama.io import samples
from napari_cellama.io.readers import read
from napari_cellama.io.samples import SAMPLES, SampleFile, fetch_sample, sample_file
from napari_cellama.io.writers import write


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Keep the test's output clean."""


@pytest.fixture
def server(tmp_path):
    """Serve tmp_path/www and count the requests."""
    (tmp_path / "www").mkdir()
    requests = []

    class Counting(Quiet):
        def do_GET(self):
            requests.append(self.path)
            super().do_GET()

    handler = partial(Counting, directory=tmp_path / "www")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}", requests
        running.shutdown()
        thread.join()


@pytest.fixture
def published(tmp_path, server, monkeypatch):
    """Publish a section of 1 MB as merfish."""
    adata = ad.AnnData(np.random.default_rng(0).random((500, 300)))
    path = write(adata, tmp_path / "www" / "merfish.h5ad")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    source = SampleFile(f"{server[0]}/merfish.h5ad", "merfish.h5ad", sha256)
    monkeypatch.setattr(samples, "sample_file", lambda name: source)
    return path


def test_downloads_once_and_tells_how_far_it_is(tmp_path, published, server):
    told = []
    path = fetch_sample("merfish", lambda *step: told.append(step), tmp_path / "cache")
    assert read(path).shape == (500, 300)
    size = published.stat().st_size
    assert told[-1] == (size, size)
    assert len(told) > 2
    done = [step[0] for step in told]
    assert done == sorted(done)
    assert fetch_sample("merfish", folder=tmp_path / "cache").stat().st_size == size
    assert server[1] == ["/merfish.h5ad"]


def test_cancelling_leaves_nothing_half_done(tmp_path, published):
    def cancel(done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        fetch_sample("merfish", cancel, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_no_network_is_one_sentence(tmp_path, monkeypatch):
    refusing = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    port = refusing.server_address[1]
    refusing.server_close()
    source = SampleFile(f"http://127.0.0.1:{port}/a.h5ad", "a.h5ad", "0" * 64)
    monkeypatch.setattr(samples, "sample_file", lambda name: source)
    with pytest.raises(UserError) as refusal:
        fetch_sample("merfish", folder=tmp_path)
    assert str(refusal.value) == (
        "The sample 'merfish' was not downloaded: 127.0.0.1 cannot be reached; connect to the "
        "internet and try again."
    )


def test_a_server_without_the_file(tmp_path, published):
    published.unlink()
    with pytest.raises(UserError, match="the server answered 404 for http://127"):
        fetch_sample("merfish", folder=tmp_path / "cache")


def test_another_file_than_the_published_one(tmp_path, published):
    published.write_bytes(published.read_bytes() + b"!")
    with pytest.raises(UserError, match="not the published file"):
        fetch_sample("merfish", folder=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_cache_folder_that_cannot_be_made(tmp_path, published):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="was not downloaded: "):
        fetch_sample("merfish", folder=tmp_path / "file")


@pytest.mark.parametrize("name", SAMPLES)
def test_squidpy_says_where_they_are(name):
    source = sample_file(name)
    assert source.url.startswith("https://")
    assert source.url.endswith(".h5ad")
    assert len(source.sha256) == 64


def test_unknown_sample():
    with pytest.raises(UserError, match="no sample named 'merfsh'; did you mean 'merfish'"):
        fetch_sample("merfsh")


def test_without_squidpy(monkeypatch):
    monkeypatch.setattr(samples, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"install 1\.7 or later"):
        sample_file("merfish")
