"""AnnData to disk, all or nothing: a temporary name beside the target, then a rename."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_cellama.errors import UserError
from napari_cellama.io.readers import SUFFIXES, is_anndata

if TYPE_CHECKING:
    import h5py
    import pandas as pd
    import zarr
    from anndata import AnnData

_MAPPINGS = ("obsm", "varm", "obsp", "varp", "layers", "uns")
#: How often a folder is deleted until it is gone, and the seconds in between.
_REMOVALS, _BETWEEN_REMOVALS = 100, 0.1


def write(adata: AnnData, path: str | Path, overwrite: bool = False) -> Path:
    """Write ``adata`` as ``.h5ad`` or ``.zarr``, completely or not at all.

    The target may be the file that ``adata`` was read from. Columns of plain strings stay plain
    strings (``AnnData.write_h5ad`` makes them categorical, in ``adata`` too); only those with
    missing values, which the format cannot hold, are written as categorical.

    Parameters
    ----------
    adata
        What to write; it is not changed. Views and backed data are fine.
    path
        Where to, ending in ``.h5ad`` or ``.zarr``.
    overwrite
        Whether something that is already there may be replaced.

    Returns
    -------
    Path
        Where it was written.

    Raises
    ------
    UserError
        When it cannot be written, in one sentence. What was there before is then still there.
    """
    path = check_writable(path, overwrite)
    check_storable(adata, path)
    # A link keeps pointing where it did: the file behind it is the one that is replaced.
    target = path.resolve()
    temporary = _beside(target, "tmp")
    with _write_errors(path):
        try:
            if target.suffix.lower() == ".zarr":
                _write_zarr(adata, temporary)
            else:
                _write_h5ad(adata, temporary)
            _close_backing(adata, target)
            _replace(temporary, target)
        finally:
            _remove(temporary)
    return path


def check_writable(path: str | Path, overwrite: bool = False) -> Path:
    """Return ``path`` if a section could be written there, so that a long job can refuse early.

    Raises
    ------
    UserError
        When the format is not known, the folder is missing or not writable, or something is at
        ``path`` that may not be replaced.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"The output {path} must end in .h5ad or .zarr.")
    folder = path.parent
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist; create it first"
        raise UserError(f"{path} cannot be written: {folder} {problem}.")
    if not _takes_files(folder):
        raise UserError(f"{path} cannot be written: the folder {folder} is not writable for you.")
    if path.exists() or path.is_symlink():
        _check_replaceable(path, overwrite)
    return path


def _takes_files(folder: Path) -> bool:
    """Whether a file can be made in a folder; permissions alone do not tell everywhere."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _check_replaceable(path: Path, overwrite: bool) -> None:
    """Refuse to replace what is at ``path`` unless it was allowed and is of the same kind."""
    if path.is_dir() != (path.suffix.lower() == ".zarr") and path.exists():
        kind = "a folder" if path.is_dir() else "a file"
        raise UserError(f"{path} cannot be written: {kind} of that name is in the way.")
    if not overwrite:
        raise UserError(f"{path} already exists; allow overwriting or choose another name.")
    if path.is_dir() and any(path.iterdir()) and not is_anndata(path):
        raise UserError(f"{path} holds something other than an AnnData, so it is not replaced.")


def check_storable(adata: AnnData, path: str | Path) -> None:
    """Refuse names and texts that the format at ``path`` would change without a word.

    Cheap, so that a long job can refuse early.

    Raises
    ------
    UserError
        That names the first such entry.
    """
    columns = [("obs", adata.obs), ("var", adata.var)]
    if adata.raw is not None:
        columns.append(("raw.var", adata.raw.var))
    for slot, frame in columns:
        for name in frame.columns:
            _check_name(name, slot, separates=Path(path).suffix.lower() == ".zarr")
            _check_texts(frame[name], f"{slot}[{name!r}]")

    def walk(mapping: Mapping[Any, Any], where: str) -> None:
        for name, value in mapping.items():
            _check_name(name, where, separates=True)
            if isinstance(value, Mapping):
                walk(value, f"{where}[{name!r}]")
            else:
                _check_texts(value, f"{where}[{name!r}]")

    for slot in _MAPPINGS:
        walk(getattr(adata, slot), slot)


def _check_name(name: Any, where: str, separates: bool) -> None:
    """Refuse one name; ``separates`` says whether '/' would make a folder of it."""
    here = f"{where}[{name!r}] cannot be written"
    if not isinstance(name, str):
        raise UserError(
            f"{here}: its name is of type {type(name).__name__}, but files hold only text as "
            "names; rename or delete it."
        )
    if name in ("", ".", "..") or (separates and "/" in name):
        raise UserError(f"{here}: there, '/' separates folders and names are not empty; rename it.")


def _check_texts(value: Any, place: str) -> None:
    """Refuse texts mixed with something else, which zarr would store as if all were texts."""
    import numpy as np
    import pandas as pd

    gaps = isinstance(value, pd.Series)
    if gaps and isinstance(value.dtype, pd.CategoricalDtype):
        value = value.cat.categories
    if isinstance(value, list):
        several = any(isinstance(item, str) for item in value)
    else:
        several = getattr(getattr(value, "dtype", None), "kind", "") == "O"
    if not several:
        return
    flat = np.asarray(value, dtype=object).ravel()
    kind = pd.api.types.infer_dtype(flat, skipna=gaps)
    if kind not in ("string", "empty"):
        raise UserError(
            f"{place} cannot be written: not all it holds is text ({kind}); convert it to text or "
            "numbers, or delete it."
        )


def _write_h5ad(adata: AnnData, path: Path) -> None:
    """Write an HDF5 file and make sure that it has reached the disk."""
    import h5py

    with h5py.File(path, "w") as file:
        _write_slots(adata, file)
    # Network disks tell about a full quota only here.
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _write_zarr(adata: AnnData, path: Path) -> None:
    """Write a zarr folder in the format that anndata is set to."""
    import anndata
    import zarr

    group = zarr.open_group(path, mode="w", zarr_format=anndata.settings.zarr_write_format)
    _write_slots(adata, group)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Cc]onsolidated metadata")
        zarr.consolidate_metadata(group.store)


def _write_slots(adata: AnnData, group: h5py.File | zarr.Group) -> None:
    """Write every slot of an AnnData by anndata's own specification."""
    import anndata
    from anndata.io import write_elem

    group.attrs["encoding-type"] = "anndata"
    group.attrs["encoding-version"] = "0.1.0"
    slots: dict[str, Any] = {"X": adata.X, "raw": adata.raw}
    slots |= {"obs": _storable(adata.obs), "var": _storable(adata.var)}
    slots |= {slot: dict(getattr(adata, slot)) for slot in _MAPPINGS}
    with (
        anndata.settings.override(allow_write_nullable_strings=True),
        warnings.catch_warnings(),
    ):
        # Column names with a slash still work in HDF5; elsewhere they were refused before.
        warnings.filterwarnings("ignore", message="Forward slashes")
        for slot, value in slots.items():
            if value is None:
                continue
            try:
                write_elem(group, slot, value)
            except OSError:
                raise
            except Exception as error:
                raise _unwritable(slot, error) from error


def _storable(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table with string columns that have gaps made categorical; no data is copied."""
    import pandas as pd

    gaps = {
        name: frame[name].astype("category")
        for name in frame.columns
        if frame[name].dtype == object
        and frame[name].isna().any()
        and pd.api.types.infer_dtype(frame[name], skipna=True) == "string"
    }
    return frame.assign(**gaps) if gaps else frame


def _unwritable(slot: str, error: Exception) -> UserError:
    """Name the value that anndata has no way to write."""
    place = slot
    for note in getattr(error, "__notes__", ()):
        match = re.search(r"writing key (.+?) of <.*> to /(.*)", note)
        if match:
            parts = [part for part in match[2].split("/") if part]
            parts += [part for part in match[1].strip("'\"").split("/") if part]
            place = parts[0] + "".join(f"[{part!r}]" for part in parts[1:])
            break
    reason = " ".join(str(error).split()).rstrip(".")
    return UserError(
        f"{place} cannot be written to a file ({reason}); convert it to text or numbers, or "
        "delete it."
    )


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC or "No space left" in str(error):
            raise UserError(
                f"{path} was not written: the disk is full; free some space or choose another."
            ) from error
        if error.errno == errno.EDQUOT:
            raise UserError(
                f"{path} was not written: your disk quota is used up; choose another folder."
            ) from error
        reason = error.strerror or " ".join(str(error).split())[:160]
        raise UserError(f"{path} was not written: {reason}.") from error


def _close_backing(adata: AnnData, target: Path) -> None:
    """Let go of the file that backs ``adata`` when it is about to be replaced."""
    if adata.isbacked and Path(adata.filename).resolve() == target:
        adata.file.close()


def _replace(temporary: Path, target: Path) -> None:
    """Put ``temporary`` in the place of ``target``; should that fail, ``target`` is as before."""
    if not target.is_dir():
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
        return
    # Folders cannot be replaced in one step, so the old one steps aside and can step back.
    aside = _beside(target, "old")
    os.rename(target, aside)
    try:
        os.rename(temporary, target)
    except BaseException:
        os.rename(aside, target)
        raise
    _remove(aside)


def _beside(target: Path, kind: str) -> Path:
    """Return a hidden, unused name in the target's folder, and so on the same disk."""
    return target.with_name(f".{target.stem[:100]}.{uuid.uuid4().hex[:8]}.{kind}")


def _remove(path: Path) -> None:
    """Delete a file or folder if it is there."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    # zarr writes chunks in threads of its own: after one has failed, others can still add files.
    looked_gone = 0
    for _ in range(_REMOVALS):
        shutil.rmtree(path, ignore_errors=True)
        looked_gone = 0 if path.exists() else looked_gone + 1
        if looked_gone == 2:
            return
        time.sleep(_BETWEEN_REMOVALS)
