"""What image files say of themselves: how large a pixel is, channels' names and colours."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

#: Micrometres of a unit, as OME names it.
_MICROMETRES = {
    "µm": 1.0, "um": 1.0, "micrometer": 1.0, "micrometre": 1.0, "micron": 1.0,
    "nm": 1e-3, "nanometer": 1e-3, "mm": 1e3, "millimeter": 1e3, "cm": 1e4, "m": 1e6,
}  # fmt: skip


def tiff_pixel(tags: Any) -> tuple[float, float] | None:
    """Return the (y, x) size of a pixel in micrometres that a plain TIFF states, if it does."""
    unit = {2: 25_400.0, 3: 10_000.0}.get(int(tags["ResolutionUnit"].value)) if (
        "ResolutionUnit" in tags and "XResolution" in tags and "YResolution" in tags
    ) else None  # fmt: skip
    if unit is None:
        return None
    per = [tags[key].value for key in ("YResolution", "XResolution")]
    sizes = [unit * below / above if above else 0.0 for above, below in per]
    # 72 or 96 dots per inch are what programs write that know nothing.
    return (sizes[0], sizes[1]) if min(sizes) > 0 and max(sizes) < 200 else None


def zarr_pixel(scales: dict[str, Any], letters: list[str]) -> tuple[float, float] | None:
    """Return the (y, x) size of a pixel in micrometres that an OME-Zarr states, if it does."""
    size = {"y": 1.0, "x": 1.0}
    given = False
    for transforms in (
        scales["datasets"][0].get("coordinateTransformations", ()),
        scales.get("coordinateTransformations", ()),
    ):
        for one in transforms:
            if one.get("type") == "scale":
                for axis in "yx":
                    size[axis] *= float(one["scale"][letters.index(axis)])
                given = True
    axes = {axis.get("name"): axis for axis in scales.get("axes", ()) if isinstance(axis, dict)}
    units = [axes.get(axis, {}).get("unit") for axis in "yx"]
    if not given or any(unit not in _MICROMETRES for unit in units):
        return None
    y, x = (size[axis] * _MICROMETRES[unit] for axis, unit in zip("yx", units, strict=True))
    return y, x


def ome_stated(text: str) -> dict[str, Any]:
    """Return what an OME-XML says of the first image: pixel size, channels' names and colours."""
    root = ElementTree.fromstring(text)
    space = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""
    pixels = root.find(f".//{space}Pixels")
    if pixels is None:
        return {}
    channels = pixels.findall(f"{space}Channel")
    names = [c.get("Name") or f"channel {i}" for i, c in enumerate(channels, start=1)]
    colors = [_ome_color(c.get("Color")) for c in channels]
    found: dict[str, Any] = {"names": names, "colors": colors}
    try:
        sizes = [
            float(pixels.get(f"PhysicalSize{axis}"))
            * _MICROMETRES[pixels.get(f"PhysicalSize{axis}Unit", "µm")]
            for axis in "YX"
        ]
        found["pixel"] = tuple(sizes)
    except (KeyError, TypeError, ValueError):
        pass
    return found


def _ome_color(text: str | None) -> str:
    """Return ``#rrggbb`` of OME's signed RGBA number; "" for none."""
    if text is None:
        return ""
    return f"#{(int(text) & 0xFFFFFFFF) >> 8:06x}"
