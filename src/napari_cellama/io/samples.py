"""Published sections to try things on: squidpy's data sets, downloaded on first use."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from napari_cellama.errors import UserError

#: Called with (bytes done, bytes in all; 0 if that is not known). What it raises ends the download.
ProgressCallback = Callable[[int, int], None]

#: Our names, which are those in the menu, and squidpy's.
_IN_SQUIDPY = {
    "merfish": "merfish",
    "seqfish": "seqfish",
    "slideseqv2": "slideseqv2",
    "visium_hne": "visium_hne_adata",
}
SAMPLES = tuple(_IN_SQUIDPY)

_CHUNK = 256 * 1024
_TIMEOUT = 30


@dataclass(frozen=True)
class SampleFile:
    """Where a data set is published, and the hash of its bytes."""

    url: str
    file_name: str
    sha256: str


def fetch_sample(
    name: str, progress: ProgressCallback | None = None, folder: Path | None = None
) -> Path:
    """Return the file of one of :data:`SAMPLES`, downloaded unless it was before.

    Takes as long as the download (20 to 300 MB), so it belongs into a worker.

    Parameters
    ----------
    name
        One of :data:`SAMPLES`.
    progress
        Told of the bytes as they arrive; raise in it to cancel.
    folder
        Where downloads are kept; by default the user's cache folder.

    Returns
    -------
    pathlib.Path
        An ``.h5ad`` file whose hash is the published one.

    Raises
    ------
    UserError
        When the network or the disk does not allow it, in one sentence.
    """
    import pooch
    from pooch import HTTPDownloader

    source = sample_file(name)
    folder = cache_folder() if folder is None else folder
    # pooch announces what it does on standard error; here the caller is told.
    pooch.get_logger().setLevel("WARNING")
    bar: Any = _Bar(progress) if progress else False
    try:
        path = pooch.retrieve(
            source.url,
            known_hash=f"sha256:{source.sha256}",
            fname=source.file_name,
            path=folder,
            downloader=HTTPDownloader(progressbar=bar, chunk_size=_CHUNK, timeout=_TIMEOUT),
        )
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"The sample {name!r} was not downloaded: {_reason(error)}.") from error
    return Path(path)


def sample_file(name: str) -> SampleFile:
    """Return where a sample is published, as the installed squidpy says.

    The list is read from squidpy's own file, because importing squidpy takes seconds.

    Raises
    ------
    UserError
        When there is no such sample, or squidpy does not list it (any more).
    """
    import yaml

    from napari_cellama.errors import unknown_name

    if name not in _IN_SQUIDPY:
        raise unknown_name("sample", name, SAMPLES)
    spec = find_spec("squidpy")
    places = spec.submodule_search_locations if spec is not None else None
    try:
        registry = Path(next(iter(places or ())), "datasets", "datasets.yaml")
        content = yaml.safe_load(registry.read_text(encoding="utf-8"))
        entry = content["datasets"][_IN_SQUIDPY[name]]["files"][0]
        base = content["s3_base_url"].rstrip("/")
        return SampleFile(f"{base}/{entry['s3_key']}", entry["name"], entry["sha256"])
    except (StopIteration, OSError, KeyError, IndexError, TypeError):
        raise UserError(
            f"The installed squidpy does not say where the sample {name!r} is; install 1.7 or "
            "later: pip install -U squidpy"
        ) from None


def cache_folder() -> Path:
    """Return the folder in which downloaded samples are kept."""
    from platformdirs import user_cache_path

    return user_cache_path("napari-cellama") / "samples"


class _Bar:
    """Passes a download on to a callback, as the progress bar that pooch expects."""

    def __init__(self, progress: ProgressCallback) -> None:
        self.total = 0
        self._done = 0
        self._progress = progress

    def update(self, n_bytes: int) -> None:
        """Count bytes; the last chunk is counted whole, so the sum may overshoot."""
        self._done += n_bytes
        self._progress(min(self._done, self.total or self._done), self.total)

    def reset(self) -> None:
        """Count anew: pooch does so before it says that everything has arrived."""
        self._done = 0

    def close(self) -> None:
        """Do nothing; the callback has been told of the end."""


def _reason(error: Exception) -> str:
    """Say what went wrong with a download in the user's words."""
    import errno

    import requests

    host = "the network"
    if (url := re.search(r"host='([^']+)'", str(error))) is not None:
        host = url[1]
    if isinstance(error, requests.exceptions.HTTPError) and error.response is not None:
        status = error.response.status_code
        return f"the server answered {status} for {error.response.url}; try again later"
    if isinstance(error, requests.exceptions.RequestException):
        return f"{host} cannot be reached; connect to the internet and try again"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full"
    if "hash" in str(error):
        return "what arrived is not the published file; try again"
    text = getattr(error, "strerror", None) or " ".join(str(error).split())
    return str(text).rstrip(".")
