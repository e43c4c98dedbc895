"""Work that was not saved, kept on disk: label sets, selection, limits and images of one tissue.

One file a process and tissue in the user's state folder, named after the data, the process and
when that began; so that a living program's work is told from that of one that is gone. What
quality control measured, which may be large and does not change, lies in a file beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_cellama.core.image_choices import ImageChoices
from napari_cellama.core.labels import LabelSet
from napari_cellama.core.qc_thresholds import Thresholds
from napari_cellama.errors import UserError
from napari_cellama.io.attached import Attached

if TYPE_CHECKING:
    from napari_cellama.core.qc import QCResult

FOLDER_VARIABLE = "NAPARI_CELLAMA_STATE"
_VERSION = 1


@dataclass(frozen=True)
class Work:
    """What somebody made of a tissue by hand.

    Attributes
    ----------
    labels
        The edited label sets by key.
    clusters
        The key of the one that was shown.
    selection, hidden
        (n,) bool.
    thresholds
        What a cell must measure up to; ``None`` where nobody changed that.
    images
        The images in files of their own and where they lie; ``None`` where nobody changed that.
    choices
        Which images are measured and seen; ``None`` where nobody changed that.
    """

    labels: Mapping[str, LabelSet]
    clusters: str | None
    selection: np.ndarray
    hidden: np.ndarray
    thresholds: Thresholds | None = None
    images: tuple[Attached, ...] | None = None
    choices: ImageChoices | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that would be missed."""
        unchanged = self.thresholds is None and self.images is None and self.choices is None
        masks = self.selection.any() or self.hidden.any()
        return unchanged and not self.labels and not masks


def folder() -> Path:
    """Return where work is kept: the user's state folder, or what the variable says."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen).expanduser()
    import platformdirs

    return platformdirs.user_state_path("napari-cellama", appauthor=False) / "recovery"


def data_key(fingerprint: str, n_obs: int, source: Path | None, name: str) -> str:
    """Return what the data are known by: their cells, and the file or name they came under."""
    where = str(source.resolve()) if source is not None else name
    return hashlib.sha256(f"{fingerprint} {n_obs} {where}".encode()).hexdigest()[:24]


def own_path(key: str) -> Path:
    """Return where this process keeps its work on the data of that key."""
    return folder() / f"{key}-{os.getpid()}-{_started(os.getpid())}.npz"


def write_work(path: Path, work: Work) -> None:
    """Write work; the file appears whole or not at all, and for its owner only.

    Raises
    ------
    UserError
        When it cannot be written there.
    """
    arrays = {f"codes_{i}": _small(one.codes) for i, one in enumerate(work.labels.values())}
    arrays |= {"selection": np.packbits(work.selection), "hidden": np.packbits(work.hidden)}
    about = {
        "version": _VERSION,
        "n_obs": len(work.selection),
        "clusters": work.clusters,
        "labels": [
            {"key": key, "names": one.names, "colors": one.colors, "parents": one.parents,
             "splits": [_plain(split) for split in one.splits]}
            for key, one in work.labels.items()
        ],
        "thresholds": None if work.thresholds is None else work.thresholds.to_json(),
        "images": None if work.images is None else [
            [one.name, _plain(one.as_dict())] for one in work.images
        ],
        "choices": None if work.choices is None else work.choices.to_json(),
    }  # fmt: skip
    _write(path, arrays, about)


def measured_path(path: Path) -> Path:
    """Return where what was measured lies, beside the work at that path."""
    return path.with_suffix(".measured")


def write_measured(path: Path, result: QCResult) -> None:
    """Write what quality control measured; the file appears whole or not at all.

    Raises
    ------
    UserError
        When it cannot be written there.
    """
    arrays = {f"metric_{i}": result.table[name].to_numpy() for i, name in enumerate(result.table)}
    if result.section is not None:
        arrays["section"] = _small(np.asarray(result.section))
    about = {
        "version": _VERSION,
        "n_obs": len(result.table),
        "metrics": [str(name) for name in result.table],
        "sections": list(result.sections),
        "image": result.image_name,
        "notices": list(result.notices),
        "window": result.window,
    }
    _write(path, arrays, about)


def read_measured(path: Path, index: pd.Index) -> QCResult | None:
    """Read what was measured of cells of these names; ``None`` where that is not there or whole."""
    from napari_cellama.core.qc import QCResult

    try:
        with path.open("rb") as file, np.load(file) as stored:
            about = json.loads(stored["about"].tobytes())
            if about["version"] != _VERSION or about["n_obs"] != len(index):
                return None
            columns = {name: stored[f"metric_{i}"] for i, name in enumerate(about["metrics"])}
            section = stored["section"].astype(np.int64) if "section" in stored else None
            return QCResult(
                pd.DataFrame(columns, index=index),
                section,
                tuple(about["sections"]),
                str(about["image"]),
                tuple(about["notices"]),
                float(about["window"]),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def remove_work(path: Path) -> None:
    """Remove work, and what was measured beside it."""
    path.unlink(missing_ok=True)
    measured_path(path).unlink(missing_ok=True)


def _write(path: Path, arrays: dict[str, np.ndarray], about: Mapping[str, object]) -> None:
    """Write arrays and what is to be known of them, whole or not at all, for the owner only."""
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    unfinished = path.with_name(f".{path.stem}-{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise UserError(
            f"Your unsaved work could not be kept in {path.parent}: {error.strerror or error}."
        ) from error


def read_work(path: Path, n_obs: int) -> Work | None:
    """Read work back; ``None`` where the file is not whole, of another version or of other data."""
    try:
        with path.open("rb") as file, np.load(file) as stored:
            about = json.loads(stored["about"].tobytes())
            if about["version"] != _VERSION or about["n_obs"] != n_obs:
                return None
            labels = {
                one["key"]: LabelSet(
                    one["key"],
                    stored[f"codes_{i}"].astype(np.int32),
                    tuple(one["names"]),
                    tuple(one["colors"]),
                    tuple(one["parents"]),
                    edited=True,
                    splits=tuple(_restored(split) for split in one["splits"]),
                )
                for i, one in enumerate(about["labels"])
            }
            masks = [
                np.unpackbits(stored[name], count=n_obs).view(bool)
                for name in ("selection", "hidden")
            ]
            limits, images = about.get("thresholds"), about.get("images")
            choices = about.get("choices")
            choices = None if choices is None else ImageChoices.from_json(choices)
            thresholds = None if limits is None else Thresholds.from_json(limits)
            if images is not None:
                images = tuple(Attached.from_dict(*one) for one in images)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return Work(labels, about["clusters"], *masks, thresholds, images, choices)


def left_behind(key: str) -> list[Path]:
    """Return the work on the data of that key by processes that are gone, the newest first."""
    found = [path for path in folder().glob(f"{key}-*-*.npz") if not _is_alive(path)]
    return sorted(found, key=_changed_at, reverse=True)


def leave_behind(path: Path) -> None:
    """Let go of this process's work, if there is any, as if the process were gone."""
    key, process, _ = path.stem.rsplit("-", 2)
    left = path.with_name(f"{key}-{process}-closed{time.time_ns()}{path.suffix}")
    for old, new in ((measured_path(path), measured_path(left)), (path, left)):
        with suppress(OSError):
            old.rename(new)


def written_at(path: Path) -> datetime:
    """Return when work was written, in local time."""
    return datetime.fromtimestamp(_changed_at(path))


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another program has taken it up meanwhile
        return 0.0


def _is_alive(path: Path) -> bool:
    _, process, started = path.stem.rsplit("-", 2)
    return _started(int(process)) == started


def _started(process: int) -> str:
    """Return when a process began, as it stands in file names; "" where there is none."""
    import psutil

    try:
        return str(round(psutil.Process(process).create_time()))
    except psutil.Error:
        return ""


def _small(codes: np.ndarray) -> np.ndarray:
    return codes.astype(np.min_scalar_type(-max(1, int(codes.max(initial=0)) + 1)))


def _plain(split: Mapping[str, object]) -> dict[str, object]:
    """Return a split's record as JSON can hold it."""
    return {
        name: value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        for name, value in split.items()
    }


def _restored(split: Mapping[str, object]) -> dict[str, object]:
    return {
        name: np.array(value, object) if isinstance(value, list) else value
        for name, value in split.items()
    }
