"""What a person has chosen of a tissue's images: which are measured, and what pictures show."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from napari_cellama.core.slots import UNS

if TYPE_CHECKING:
    from anndata import AnnData

_KEY = "image_choices"


@dataclass(frozen=True)
class ImageChoices:
    """Choices by the names of images and channels; "" and () leave it to the program.

    Attributes
    ----------
    measure, measure_channels
        The image and its channels that quality control reads; "none" for no image.
    cut_from, cut_channels
        The image that cells' pictures are cut from, and the channels that they show.
    """

    measure: str = ""
    measure_channels: tuple[str, ...] = ()
    cut_from: str = ""
    cut_channels: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return it as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ImageChoices:
        """Return what :meth:`to_json` gave; what cannot be read is left to the program."""
        try:
            record = json.loads(text)
        except ValueError:
            return cls()
        if not isinstance(record, Mapping):
            return cls()
        found = {}
        for known in fields(cls):
            value = record.get(known.name)
            if isinstance(known.default, str) and isinstance(value, str):
                found[known.name] = value
            elif isinstance(known.default, tuple) and isinstance(value, list):
                found[known.name] = tuple(map(str, value))
        return cls(**found)


def read_choices(adata: AnnData) -> ImageChoices:
    """Return the choices that an AnnData carries."""
    record = adata.uns.get(UNS, {})
    text = record.get(_KEY, "") if isinstance(record, Mapping) else ""
    return ImageChoices.from_json(str(text))


def write_choices(adata: AnnData, choices: ImageChoices) -> None:
    """Keep choices with an AnnData; none are kept where all is left to the program."""
    record = dict(adata.uns.get(UNS, {}))
    record.pop(_KEY, None)
    if choices != ImageChoices():
        record[_KEY] = choices.to_json()
    adata.uns[UNS] = record
