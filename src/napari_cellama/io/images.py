"""Images on disk as :class:`SectionImage`: pyramids stay there and are read where they are seen."""

from __future__ import annotations

import re
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from napari_cellama.core.section_image import Axes, SectionImage
from napari_cellama.core.stored import Decode, Stored
from napari_cellama.errors import UserError
from napari_cellama.io.image_stated import ome_stated, tiff_pixel, zarr_pixel
from napari_cellama.io.mapped import mapped
from napari_cellama.io.tiff_tiles import tiles_of
from napari_cellama.io.unpacked import Unpacked, in_parts

#: Threads that decode a TIFF's chunks beside each other; by default there is one.
_WORKERS = 4
#: Suffixes of single pictures, read whole.
_PICTURES = (".png", ".jpg", ".jpeg")
#: Bytes of strips that are read as one.
_PIECE = 8 * 2**20
_UNKNOWN_SIZE = "does not say how large its pixels are; align it."


def open_images(path: str | Path) -> list[SectionImage]:
    """Open the images at a path, reading no more than it takes to know what they are.

    Parameters
    ----------
    path
        A TIFF, OME-TIFF, PNG or JPEG file, or the folder of an OME-Zarr or of a SpatialData
        store, whose images and labels are all opened.

    Returns
    -------
    list of SectionImage
        ``to_pixels`` is by the pixel size in micrometres where the file states it (of SpatialData
        by the transformation to "global"); else one pixel is one unit.

    Raises
    ------
    UserError
        When there is nothing, or something else, at ``path``, or it cannot be read.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise UserError(f"There is no image {path}; check its name and folder.")
    name = re.sub(r"(\.ome)?\.(tiff?|zarr)$|\.\w+$", "", path.name, flags=re.IGNORECASE)
    with _readable_errors(path):
        if path.is_dir():
            return _open_folder(path, name)
        if path.suffix.lower() in (".tif", ".tiff"):
            return [_open_tiff(path, name)]
        if path.suffix.lower() in _PICTURES:
            return [_open_picture(path, name)]
    raise UserError(
        f"{path} is no image that can be opened; give a TIFF, OME-TIFF, OME-Zarr, SpatialData, "
        "PNG or JPEG."
    )


@contextmanager
def _readable_errors(path: Path) -> Iterator[None]:
    """Turn what a broken image makes the libraries raise into one sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries about old formats and large pictures
            yield
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:160].rstrip(".") or type(error).__name__
        raise UserError(f"The image {path} cannot be read: {reason}.") from error


def aligned(image: SectionImage, to_pixels: np.ndarray) -> SectionImage:
    """Return an image with another transform; that its file states none no longer matters."""
    notices = tuple(text for text in image.notices if not text.endswith(_UNKNOWN_SIZE))
    return replace(image, to_pixels=np.asarray(to_pixels, float), notices=notices)


def states_size(image: SectionImage) -> bool:
    """Whether an image, as it was opened, says how large its pixels are."""
    return not any(text.endswith(_UNKNOWN_SIZE) for text in image.notices)


def _scaled(image: SectionImage, pixel_size: tuple[float, float] | None) -> SectionImage:
    """Return an image aligned by the (y, x) size of its pixels, if that is known."""
    if pixel_size is None or not all(size > 0 and np.isfinite(size) for size in pixel_size):
        text = f"The image {image.name!r} {_UNKNOWN_SIZE}"
        return replace(image, notices=(*image.notices, text))
    y, x = pixel_size
    return replace(image, to_pixels=np.array([[1 / x, 0.0, 0.0], [0.0, 1 / y, 0.0]]))


def _same_extent(
    levels: list[Any], stored: list[Stored], axes: Axes, name: str
) -> tuple[list[Any], tuple[Stored, ...], list[str]]:
    """Leave out levels of another aspect than the finest: they are other pictures."""
    y, x = axes.index("y"), axes.index("x")
    kept, beside, notices = [levels[0]], [stored[0]], []
    for number, (level, own) in enumerate(zip(levels[1:], stored[1:], strict=True), start=1):
        ratio = (levels[0].shape[y] / level.shape[y]) / (levels[0].shape[x] / level.shape[x])
        if abs(ratio - 1) < 0.05 and level.shape[y] < kept[-1].shape[y]:
            kept.append(level)
            beside.append(own)
        else:
            notices.append(
                f"Level {number} of the image {name!r} is {level.shape[x]:,} x "
                f"{level.shape[y]:,} pixels, which does not fit {levels[0].shape[x]:,} x "
                f"{levels[0].shape[y]:,}; it is left out."
            )
    return kept, tuple(beside), notices


# ---- pictures


def _open_picture(path: Path, name: str) -> SectionImage:
    from PIL import Image

    with Image.open(path) as picture:
        if picture.mode not in ("L", "RGB", "RGBA", "I;16", "I", "F"):
            picture = picture.convert("RGBA" if "A" in picture.mode else "RGB")
        pixels = np.asarray(picture)
    colored = pixels.ndim == 3
    return _scaled(SectionImage(name, (pixels,), "yxc" if colored else "yx", rgb=colored), None)


# ---- TIFF


def _open_tiff(path: Path, name: str) -> SectionImage:
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        described = file.ome_metadata if file.is_ome else None
        levels, arrays, notices = [], [], []
        for number, level in enumerate(series.levels):
            try:
                flat = mapped(path, level)
                packed = flat or _array_of(level.aszarr(maxworkers=_WORKERS))
                array = flat or in_parts(packed, level.axes, name)
                levels.append(_lazy(array))
                decode = tiles_of(path, level, array) if array is packed and not flat else None
                arrays.append((array, decode))
            except Exception as error:
                if number == 0:
                    raise
                notices.append(f"Level {number} of the image {name!r} cannot be read ({error}).")
        samples = "S" in series.axes
        tags = file.pages[0].tags
        resolution = None if described else tiff_pixel(tags)
    stored = [_stored(array, series.axes, decode) for array, decode in arrays]
    levels = [_planes(level, series.axes) for level in levels]
    axes: Axes = "yxc" if samples else ("cyx" if levels[0].ndim == 3 else "yx")
    levels, stored, said = _same_extent(levels, stored, axes, name)
    stated = ome_stated(described) if described else {}
    n = 1 if axes == "yx" else levels[0].shape[axes.index("c")]
    names, colors = stated.get("names", ()), stated.get("colors", ())
    image = SectionImage(
        name,
        tuple(levels),
        axes,
        rgb=samples and n in (3, 4),
        channels=tuple(names) if len(names) == n and not samples else (),
        colors=tuple(colors) if len(colors) == n and not samples else (),
        notices=(*notices, *said),
        stored=stored,
    )
    return _scaled(image, stated.get("pixel") or resolution)


def _array_of(store: Any) -> Any:
    """Return the zarr array of one of tifffile's levels."""
    import zarr

    found = zarr.open(store, mode="r")
    array = found["0"] if hasattr(found, "keys") else found
    # The file stays open while somebody may still read from it, and no longer.
    weakref.finalize(array, store.close)
    return array


def _lazy(array: Any) -> Any:
    """Return a dask array of what lies on disk, of no more pieces than it takes."""
    import dask.array as da

    # A task for each of some ten thousand strips would take longer than to read them.
    most = max(1, _PIECE // max(1, int(np.prod(array.chunks[1:])) * array.dtype.itemsize))
    if array.ndim != 2 or array.chunks[1] < array.shape[1] or array.chunks[0] >= most:
        chunks = array.chunks
    else:
        chunks = (most // array.chunks[0] * array.chunks[0], array.chunks[1])
    empty = np.empty((0,) * array.ndim, array.dtype)
    return da.from_array(array, chunks, name=f"tiff-{uuid4().hex}", meta=empty)


def _planes(level: Any, axes: str) -> Any:
    """Return a dask array as (channels, y, x), (y, x, samples) or (y, x)."""
    index = _stored(level, axes).index
    level = level[tuple(slice(None) if isinstance(i, str) else i for i in index)]
    letters = [i for i in index if isinstance(i, str)]
    # Colours come last, also those that lie plane by plane.
    return level.transpose(1, 2, 0) if letters[0] == "c" and "S" in axes else level


def _stored(array: Any, axes: str, decode: Decode | None = None) -> Stored:
    """Return an array as it lies on disk, the first of all that is no channel, row or column.

    Of a stack the middle plane is taken.
    """
    channels = [at for at, letter in enumerate(axes) if letter in "SCIQ"]
    # Of several such axes colours are the channels, else what is called so.
    chosen = min(channels, key=lambda at: "SCIQ".index(axes[at]), default=None)
    index: list[int | str] = []
    for at, letter in enumerate(axes):
        if letter in "YX" or at == chosen:
            index.append("c" if at == chosen else letter.lower())
        else:
            index.append(array.shape[at] // 2 if letter == "Z" else 0)
    return Stored(array, tuple(index), decode)


# ---- OME-Zarr and SpatialData


def _open_folder(path: Path, name: str) -> list[SectionImage]:
    import zarr

    try:
        group = zarr.open_group(path, mode="r")
    except Exception:
        raise UserError(
            f"The folder {path} is no OME-Zarr and no SpatialData store; give one of them."
        ) from None
    attributes = dict(group.attrs)
    stated = attributes.get("ome", attributes)
    if "multiscales" not in stated and ("images" in group or "labels" in group):
        return _open_spatialdata(path)
    if "multiscales" not in stated:
        raise UserError(f"The zarr store {path} holds no image; give an OME-Zarr.")
    return [_open_ome_zarr(group, stated, name)]


def _open_ome_zarr(group: Any, stated: dict[str, Any], name: str) -> SectionImage:
    import dask.array as da

    scales = stated["multiscales"][0]
    letters = [axis["name"] if isinstance(axis, dict) else axis for axis in scales.get("axes", ())]
    letters = letters or list("tczyx")
    levels, arrays, notices = [], [], []
    for number, data in enumerate(scales["datasets"]):
        try:
            array = in_parts(group[data["path"]], "".join(letters).upper(), name)
            arrays.append(array)
            packed = isinstance(array, Unpacked)
            levels.append(_lazy(array) if packed else da.from_zarr(array))
        except UserError:
            raise
        except Exception:
            if number == 0:
                raise UserError(
                    f"The full resolution of the image {name!r} is missing; copy it anew."
                ) from None
            notices.append(f"Level {number} of the image {name!r} is missing; it does without.")
    axes_text = "".join(letters).upper()
    stored = [_stored(array, axes_text) for array in arrays]
    levels = [_planes(level, axes_text) for level in levels]
    axes: Axes = "cyx" if levels[0].ndim == 3 else "yx"
    levels, stored, said = _same_extent(levels, stored, axes, name)
    n = 1 if axes == "yx" else levels[0].shape[0]
    channels = stated.get("omero", {}).get("channels", ())
    names = tuple(str(c.get("label", f"channel {i}")) for i, c in enumerate(channels, start=1))
    colors = tuple("#" + str(c["color"])[:6].lower() if c.get("color") else "" for c in channels)
    image = SectionImage(
        name,
        tuple(levels),
        axes,
        channels=names if len(names) == n else (),
        colors=colors if len(colors) == n else (),
        notices=(*notices, *said),
        stored=stored,
    )
    return _scaled(image, zarr_pixel(scales, letters))


def _open_spatialdata(path: Path) -> list[SectionImage]:
    import spatialdata
    from spatialdata.transformations import get_transformation

    data = spatialdata.read_zarr(path, selection=("images", "labels"))
    found = []
    for kind, elements in (("image", data.images), ("labels", data.labels)):
        for name, element in elements.items():
            levels = spatialdata_levels(element)
            transforms = get_transformation(element, get_all=True)
            chosen = transforms.get("global") or next(iter(transforms.values()))
            to_world = chosen.to_affine_matrix(input_axes=("x", "y"), output_axes=("x", "y"))
            channels: tuple[str, ...] = ()
            if kind == "image":
                channels = tuple(str(c) for c in np.asarray(levels[0].coords["c"].values))
            coloured = kind == "image" and set(channels) in ({"r", "g", "b"}, {"r", "g", "b", "a"})
            image = SectionImage(
                str(name),
                tuple(level.data for level in levels),
                "cyx" if kind == "image" else "yx",
                np.linalg.inv(to_world)[:2],
                rgb=coloured,
                channels=channels,
                stored=_spatialdata_stored(path / f"{kind}s" / str(name), levels),
            )
            found.append(image)
    if not found:
        raise UserError(f"The SpatialData store {path} holds no images and no labels.")
    return found


def _spatialdata_stored(path: Path, levels: list[Any]) -> tuple[Stored, ...]:
    """Return an element's levels as they lie on disk; none where they are not found there."""
    import zarr

    try:
        group = zarr.open_group(path, mode="r")
        attributes = dict(group.attrs)
        scales = attributes.get("ome", attributes)["multiscales"][0]
        arrays = [group[data["path"]] for data in scales["datasets"]]
    except Exception:
        return ()  # the levels themselves can be read all the same
    if [array.shape for array in arrays] != [level.shape for level in levels]:
        return ()
    name, letters = path.name, "CYX"
    return tuple(
        _stored(in_parts(array, letters[-array.ndim :], name), letters[-array.ndim :])
        for array in arrays
    )


def spatialdata_levels(element: Any) -> list[Any]:
    """Return the levels of an element of one or several scales, the finest first."""
    if not hasattr(element, "children"):
        return [element]
    return [next(iter(scale.ds.data_vars.values())) for scale in element.children.values()]
