"""Sections on disk to AnnData: whole, or just what the window needs to draw the cells."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_cellama.errors import UserError

if TYPE_CHECKING:
    import h5py
    import zarr
    from anndata import AnnData

SUFFIXES = (".h5ad", ".zarr")

#: The bytes every HDF5 file starts with, and the offsets at which it may start.
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HDF5_OFFSETS = (0, 512, 1024, 2048)


@dataclass(frozen=True)
class LightData:
    """What is needed to draw a section, read without its matrices.

    Attributes
    ----------
    adata
        obs, var, uns and ``obsm['spatial']`` (where there is one); ``X`` is ``None`` and no
        layers.
    path
        Where the rest lies, for :func:`read`.
    layers
        Names of the layers in the file.
    has_raw
        Whether the file has ``raw``.
    has_x
        Whether the file has ``X``.
    obsm
        Names of all obsm arrays in the file, read or not.
    """

    adata: AnnData
    path: Path
    layers: tuple[str, ...] = ()
    has_raw: bool = False
    has_x: bool = True
    obsm: tuple[str, ...] = ()


def is_anndata(path: str | Path) -> bool:
    """Say, from names and a few bytes, whether ``path`` is meant to be an AnnData.

    A file is taken at its word when it is called ``.h5ad``, so that a broken one is refused
    with a sentence by :func:`read` and not passed on. A folder must be marked as AnnData inside,
    be a SpatialData store with a table, or have the files of an instrument's output; all other
    folders are other readers' business.
    """
    path = Path(path)
    if path.is_dir():
        return _zarr_kind(path) == "anndata" or _platform_folder(path) is not None
    return path.suffix.lower() == ".h5ad"


def _platform_folder(path: Path) -> Path | None:
    """Return the folder that holds an instrument's output: this, or the one inside; or none."""
    from napari_cellama.io.platforms import inner_folder, platform_of

    inner = inner_folder(path)
    return None if platform_of(inner) is None else inner


def read(path: str | Path) -> AnnData:
    """Read a whole section into memory.

    Parameters
    ----------
    path
        An ``.h5ad`` file; a ``.zarr`` folder that holds an AnnData (also the table of a
        SpatialData store: ``store.zarr/tables/table``) or a SpatialData store; or the output
        folder of Visium (Space Ranger), Xenium or MERSCOPE.

    Returns
    -------
    AnnData
        As ``anndata`` reads it, older versions of the format included. Of a platform's folder
        genes are in X, positions in ``obsm['spatial']`` in the unit that
        ``uns['cellama']['units']`` says, and images and outlines are named, not read.

    Raises
    ------
    UserError
        When there is no such file or it cannot be read, in one sentence.
    """
    path = check_readable(path)
    if not _is_platform(path):
        return read_whole(path)
    with _readable_errors(path):
        from napari_cellama.io.platforms import read_platform

        return read_platform(_platform_folder(path))


def read_whole(path: Path) -> AnnData:
    """Read an AnnData that was checked before."""
    with _readable_errors(path):
        import anndata

        if path.is_dir():
            return anndata.io.read_zarr(path)
        return anndata.io.read_h5ad(path)


def _is_platform(path: Path) -> bool:
    return path.is_dir() and _zarr_kind(path) != "anndata"


def read_light(path: str | Path) -> LightData:
    """Read what the window draws: obs, var, uns and positions, without any matrix.

    Parameters
    ----------
    path
        As for :func:`read`.

    Returns
    -------
    LightData
        Whose ``adata`` has the file's cells and genes in the file's order.

    Raises
    ------
    UserError
        As for :func:`read`.
    """
    path = check_readable(path)
    with _readable_errors(path):
        if _is_platform(path):
            from napari_cellama.io.platforms import read_platform

            folder = _platform_folder(path)
            return LightData(adata=read_platform(folder, matrix=False), path=path)
        if path.is_dir():
            import zarr

            return _read_light(path, zarr.open_group(path, mode="r"))
        import h5py

        with h5py.File(path, "r") as file:
            if not hasattr(file["obs"], "keys"):
                # Before anndata 0.7 the categories lay in uns, and only the whole can be decoded.
                return _light_of_whole(path)
            return _read_light(path, file)


def check_readable(path: str | Path) -> Path:
    """Return ``path`` if there is something at it that looks like an AnnData.

    Cheap: it reads a few bytes, so that a long job can refuse its input at once.

    Raises
    ------
    UserError
        When there is nothing, or something else, at ``path``.
    """
    path = Path(path).expanduser()
    try:
        if path.is_dir():
            _check_folder(path)
        elif not path.exists():
            raise UserError(f"There is no file {path}; check its name and folder.")
        else:
            _check_hdf5(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None
    return path


def _check_hdf5(path: Path) -> None:
    """Refuse a file that is empty or not HDF5 at all."""
    with path.open("rb") as file:
        head = file.read(_HDF5_OFFSETS[-1] + len(_HDF5_SIGNATURE))
    if not head:
        raise UserError(f"{path} is empty; it was perhaps not copied completely.")
    if not any(head.startswith(_HDF5_SIGNATURE, offset) for offset in _HDF5_OFFSETS):
        raise UserError(
            f"{path} is not an HDF5 file, so it cannot be an .h5ad; give the AnnData itself."
        )


def _check_folder(path: Path) -> None:
    """Refuse a folder that is neither the zarr store of an AnnData nor a platform's output."""
    kind = _zarr_kind(path)
    if kind == "anndata" or _platform_folder(path) is not None:
        return
    if kind is None:
        raise UserError(
            f"The folder {path} holds no cells that can be read; give an .h5ad or .zarr AnnData, a "
            "SpatialData store, or the whole output folder of Visium, Xenium or MERSCOPE."
        )
    raise UserError(f"The zarr store {path} holds no AnnData; give one that anndata has written.")


def _zarr_kind(path: Path) -> str | None:
    """Return "anndata", "other" for another zarr store, or None for a plain folder."""
    attributes = _zarr_attributes(path)
    if attributes is None:
        return None
    if attributes.get("encoding-type") == "anndata":
        return "anndata"
    # Stores from before anndata 0.8 are not marked, but their tables are.
    frames = [_zarr_attributes(path / name) or {} for name in ("obs", "var")]
    marked = all(frame.get("encoding-type") == "dataframe" for frame in frames)
    return "anndata" if marked else "other"


def _zarr_attributes(path: Path) -> dict[str, Any] | None:
    """Return the attributes of a zarr group of format 2 or 3, None where there is no group."""
    for name in ("zarr.json", ".zattrs", ".zgroup"):
        try:
            content = json.loads((path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if name == "zarr.json":
            content = content.get("attributes", {})
        return content if name != ".zgroup" else {}
    return None


def _read_light(path: Path, group: h5py.File | zarr.Group) -> LightData:
    """Read everything but the matrices from an open store."""
    from anndata import AnnData
    from anndata.io import read_elem

    obsm = _keys(group, "obsm")
    positions = {"spatial": read_elem(group["obsm/spatial"])} if "spatial" in obsm else {}
    adata = AnnData(
        obs=read_elem(group["obs"]),
        var=read_elem(group["var"]),
        uns=read_elem(group["uns"]) if "uns" in group else {},
        obsm=positions,
    )
    return LightData(
        adata=adata,
        path=path,
        layers=_keys(group, "layers"),
        has_raw="raw" in group,
        has_x="X" in group,
        obsm=obsm,
    )


def _keys(group: h5py.File | zarr.Group, name: str) -> tuple[str, ...]:
    """Return the names in a subgroup; none where there is no such group."""
    return tuple(group[name].keys()) if name in group else ()


def _light_of_whole(path: Path) -> LightData:
    """Read a whole old file and keep what the window needs."""
    import anndata

    whole = anndata.io.read_h5ad(path)
    positions = {"spatial": whole.obsm["spatial"]} if "spatial" in whole.obsm else {}
    return LightData(
        adata=anndata.AnnData(obs=whole.obs, var=whole.var, uns=whole.uns, obsm=positions),
        path=path,
        layers=tuple(whole.layers),
        has_raw=whole.raw is not None,
        has_x=whole.X is not None,
        obsm=tuple(whole.obsm),
    )


@contextmanager
def _readable_errors(path: Path) -> Iterator[None]:
    """Turn whatever a broken store makes the libraries raise into one sentence.

    anndata's warnings about repeated names and old formats are left out: they advise to rename
    or rewrite what the user only wants to look at, and repeated names are handled here.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*names are not unique")
            warnings.filterwarnings("ignore", message=".*very old version of AnnData")
            warnings.filterwarnings("ignore", message=".*was written without encoding metadata")
            warnings.filterwarnings("ignore", message=".*[Cc]onsolidated metadata")
            yield
    except UserError:
        raise
    except MemoryError:
        raise UserError(
            f"{path} does not fit into this machine's memory; use a larger one or a subset."
        ) from None
    except Exception as error:
        raise UserError(f"{path} cannot be read as AnnData: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    """Say in a few words why a store cannot be read."""
    text = " ".join(str(error).split())
    if "truncated" in text:
        return "the file is truncated, perhaps not copied completely"
    if isinstance(error, OSError):
        return "the file is damaged or in use by another program (" + _short(text) + ")"
    if isinstance(error, KeyError) and text.strip("'\"") in ("obs", "var"):
        return f"it has no table {text.strip(chr(39))!r}"
    return _short(f"{type(error).__name__}: {text}")


def _short(text: str, length: int = 160) -> str:
    """Return the text's beginning, without a full stop."""
    return (text if len(text) <= length else text[: length - 1] + "…").rstrip(".")
