"""What a cell must measure up to: limits a metric, as one frozen model with a JSON round trip."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_cellama.errors import UserError, unknown_name

#: Where thresholds come from.
_ADVICE = "give the JSON that Save… in the QC dock writes"
#: Turns a median absolute deviation into a standard deviation.
_NORMAL = 1.4826


@dataclass(frozen=True)
class Metric:
    """One number a cell.

    Attributes
    ----------
    name
        The obs column that it is written to.
    label
        What users read.
    low, high
        What is wrong with a cell that has too little or too much, as in ``obs['qc_reason']``.
    log
        Whether limits by MAD and histograms are on a logarithmic scale.
    group
        "Cells" or "Image".
    """

    name: str
    label: str
    low: str = ""
    high: str = ""
    log: bool = False
    group: Literal["Cells", "Image"] = "Cells"


BLURRED, WASHED_OUT, OUTSIDE = "blurred", "washed out", "outside the tissue"
FOLDED = "too much stain or light"
#: Below these (log2 of the ratio to what is expected) a cell lacks detail, and signal beside it.
SOFT, PALE = -1.0, -0.5

METRICS: tuple[Metric, ...] = (
    Metric("qc_total_counts", "Total counts", "low counts", "high counts", log=True),
    Metric("qc_n_genes", "Genes", "few genes", "many genes", log=True),
    Metric("qc_pct_mito", "Mitochondrial share", "few mitochondrial", "mitochondrial share"),
    Metric("qc_pct_control", "Negative controls", "few controls", "negative controls"),
    Metric("qc_area", "Area", "small area", "large area", log=True),
    Metric("qc_neighbor_distance", "Nearest cells", "crowded", "isolated", log=True),
    Metric("qc_local_density", "Local density", "sparse surroundings", "dense surroundings"),
    Metric("qc_sentence_share", "Real share of the sentence", "short sentence", "long sentence"),
    Metric(
        "qc_image_sharpness_excess", "Sharpness against expected", BLURRED, "sharp", group="Image"
    ),
    Metric(
        "qc_image_signal_excess", "Signal against expected", "little signal", FOLDED, group="Image"
    ),
    Metric("qc_edge_distance", "Distance to the tissue's edge", OUTSIDE, "deep", group="Image"),
    Metric("qc_image_saturation", "Saturated pixels", "unsaturated", "saturated", group="Image"),
    Metric("qc_image_nuclear", "Nuclear signal", "no nucleus", "much nucleus", group="Image"),
    Metric("qc_image_sharpness", "Sharpness", "little detail", "much detail", True, "Image"),
    Metric("qc_image_signal", "Signal", "dark or pale", "bright or dense", False, "Image"),
)
BY_NAME = {metric.name: metric for metric in METRICS}


class Limit(BaseModel):
    """Between what values a metric is good.

    Raises
    ------
    pydantic.ValidationError
        For an unknown metric, or a low limit above the high one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    metric: str
    low: float | None = None
    high: float | None = None
    unit: Literal["absolute", "mad"] = "absolute"
    per_section: bool = False

    @model_validator(mode="after")
    def _sensible(self) -> Limit:
        if self.metric not in BY_NAME:
            raise ValueError(f"there is no metric {self.metric!r}")
        if self.unit == "absolute" and None not in (self.low, self.high) and self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        if self.unit == "mad" and any(value is not None and value < 0 for value in self.bounds):
            raise ValueError("deviations are counted from 0")
        return self

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """The low and the high limit as they were given."""
        return self.low, self.high

    def resolved(self, values: np.ndarray) -> tuple[float, float]:
        """Return (low, high) in the metric's own unit; infinite where there is no limit.

        Limits by MAD are so many scaled median absolute deviations below and above the median of
        ``values``, on a logarithmic scale (log1p) where the metric asks for it.
        """
        if self.unit == "absolute":
            low, high = self.bounds
            return (-np.inf if low is None else low), (np.inf if high is None else high)
        middle, width = self._spread(values)
        low = -np.inf if self.low is None else middle - self.low * width
        high = np.inf if self.high is None else middle + self.high * width
        if np.isnan(middle):
            return -np.inf, np.inf
        return (float(np.expm1(low)), float(np.expm1(high))) if self._log else (low, high)

    def moved(self, side: Literal["low", "high"], to: float | None, values: np.ndarray) -> Limit:
        """Return a limit whose low or high end lies at a value of the metric's own unit.

        Parameters
        ----------
        side
            Which end.
        to
            Where it is to lie; ``None`` for no limit. Of two ends, one does not pass the other,
            and by MAD neither passes the median.
        values
            As for :meth:`resolved`.
        """
        if to is None:
            return self.model_copy(update={side: None})
        if self.unit == "absolute":
            other = self.high if side == "low" else self.low
            if other is not None:
                to = min(to, other) if side == "low" else max(to, other)
            return self.model_copy(update={side: float(to)})
        middle, width = self._spread(values)
        if not width > 0:
            return self
        at = float(np.log1p(max(to, 0))) if self._log else to
        deviations = (middle - at if side == "low" else at - middle) / width
        return self.model_copy(update={side: max(0.0, round(deviations, 3))})

    def in_unit(self, unit: Literal["absolute", "mad"], values: np.ndarray) -> Limit:
        """Return a limit at the same place in another unit, as near as that can say it."""
        if unit == self.unit:
            return self
        low, high = self.resolved(values)
        limit = self.model_copy(update={"unit": unit, "low": None, "high": None})
        for side, to in (("low", low), ("high", high)):
            limit = limit.moved(side, float(to) if np.isfinite(to) else None, values)
        return limit

    @property
    def _log(self) -> bool:
        return BY_NAME[self.metric].log

    def _spread(self, values: np.ndarray) -> tuple[float, float]:
        """Return the median and the scaled MAD that limits are counted in; NaN without values."""
        known = np.asarray(values, float)
        known = known[np.isfinite(known)]
        if not len(known):
            return float("nan"), float("nan")
        known = np.log1p(np.maximum(known, 0)) if self._log else known
        middle = float(np.median(known))
        return middle, _NORMAL * float(np.median(np.abs(known - middle)))


class Thresholds(BaseModel):
    """All limits of a quality control, frozen; the same for a window, a script and a colleague.

    Attributes
    ----------
    limits
        At most one a metric. Metrics that the data do not have are passed over.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    limits: tuple[Limit, ...] = Field(
        (
            Limit(metric="qc_total_counts", low=5, unit="mad", per_section=True),
            Limit(metric="qc_n_genes", low=5, unit="mad", per_section=True),
            Limit(metric="qc_pct_mito", high=5, unit="mad", per_section=True),
            Limit(metric="qc_pct_control", high=5),
            Limit(metric="qc_sentence_share", low=0.2),
            Limit(metric="qc_image_sharpness_excess", low=SOFT),
            Limit(metric="qc_image_signal_excess", low=4.5, high=3.5, unit="mad", per_section=True),
            Limit(metric="qc_edge_distance", low=0),
            Limit(metric="qc_image_saturation", high=0.5),
        )
    )

    @model_validator(mode="after")
    def _each_once(self) -> Thresholds:
        names = [limit.metric for limit in self.limits]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{twice[0]} has more than one limit")
        return self

    def of(self, metric: str) -> Limit:
        """Return a metric's limit; one without bounds where there is none."""
        found = (limit for limit in self.limits if limit.metric == metric)
        return next(found, None) or Limit(metric=metric)

    def replace(self, limit: Limit) -> Thresholds:
        """Return a copy in which one metric has another limit."""
        others = [known for known in self.limits if known.metric != limit.metric]
        if limit.bounds == (None, None) and not limit.per_section and limit.unit == "absolute":
            return self.model_copy(update={"limits": tuple(others)})
        names = [known.metric for known in self.limits]
        at = names.index(limit.metric) if limit.metric in names else len(others)
        return self.model_copy(update={"limits": (*others[:at], limit, *others[at:])})

    def to_json(self) -> str:
        """Return the thresholds as indented JSON text."""
        return self.model_dump_json(indent=2)

    def lacking(self, table: pd.DataFrame) -> str:
        """Name, within a sentence, the metrics that have limits but are not in a table."""
        given = [limit.metric for limit in self.limits if limit.bounds != (None, None)]
        labels = [BY_NAME[name].label for name in given if name not in table]
        return ", ".join(label[0].lower() + label[1:] for label in labels)

    @classmethod
    def from_json(cls, text: str, name: str = "The thresholds") -> Thresholds:
        """Read thresholds back from the JSON text that :meth:`to_json` wrote.

        Raises
        ------
        UserError
            When the text is not JSON, or not thresholds.
        """
        import json

        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{name} are not valid JSON (line {error.lineno}: {error.msg}); {_ADVICE}."
            ) from None
        return cls.create(values, name)

    @classmethod
    def from_file(cls, path: str | Path) -> Thresholds:
        """Read thresholds from a JSON file.

        Raises
        ------
        UserError
            When the file cannot be read, or :meth:`from_json` refuses its text.
        """
        try:
            # Some editors write a mark before the text.
            text = Path(path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or f"it is no plain text; {_ADVICE}"
            raise UserError(f"The thresholds {path} cannot be read: {reason}.") from None
        return cls.from_json(text, f"The thresholds {path}")

    @classmethod
    def create(cls, values: Any, name: str = "The thresholds") -> Thresholds:
        """Return thresholds from plain values, or raise one readable sentence.

        ``name`` is what they are called there.

        Raises
        ------
        UserError
            About the first value that is wrong.
        """
        if not isinstance(values, dict):
            raise UserError(f'{name} must be a JSON object such as {{"limits": [...]}}; {_ADVICE}.')
        given = values.get("limits", ())
        for limit in given if isinstance(given, list | tuple) else ():
            metric = limit.get("metric") if isinstance(limit, dict) else None
            if isinstance(metric, str) and metric not in BY_NAME:
                raise unknown_name("metric", metric, BY_NAME)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            message = first["msg"].removeprefix("Value error, ").rstrip(".")
            message = f"{message[0].lower()}{message[1:]}".replace("valid tuple", "list")
            where = _where(first["loc"], given)
            raise UserError(f"{name} cannot be used ({where}: {message}).") from None


def _where(place: tuple[int | str, ...], limits: Any) -> str:
    """Return where in thresholds something is wrong, as people count, with the metric's name."""
    words = []
    for part in place:
        if isinstance(part, int):
            metric = limits[part].get("metric") if isinstance(limits[part], dict) else None
            words[-1:] = [f"limit {part + 1}" + (f" ({metric})" if metric else "")]
        else:
            words.append(part)
    return ", ".join(words) or "limits"


def failing(
    limit: Limit, values: np.ndarray, section: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return which cells lie below and above a metric's limit.

    Parameters
    ----------
    limit
        The metric's.
    values
        (n,) numbers; a cell without one (NaN) fails nothing.
    section
        (n,) int codes; limits by MAD are each section's own where the limit says so.

    Returns
    -------
    low, high
        (n,) bool each.
    """
    values = np.asarray(values, float)
    low, high = np.zeros(len(values), bool), np.zeros(len(values), bool)
    parts = [np.ones(len(values), bool)]
    if limit.per_section and section is not None:
        parts = [section == code for code in np.unique(section)]
    with np.errstate(invalid="ignore"):
        for part in parts:
            bottom, top = limit.resolved(values[part])
            low |= part & (values < bottom)
            high |= part & (values > top)
    return low, high


def flags(
    table: pd.DataFrame, thresholds: Thresholds, section: np.ndarray | None = None
) -> pd.DataFrame:
    """Return which cells have which fault.

    Parameters
    ----------
    table
        One row a cell, metrics by their obs names; limits of absent metrics are passed over.
    thresholds
        The limits.
    section
        (n,) int codes of the sections.

    Returns
    -------
    pandas.DataFrame
        (n, faults) bool, one column a reason that any limit can give.
    """
    found: dict[str, np.ndarray] = {}
    for limit in thresholds.limits:
        if limit.metric not in table:
            continue
        metric = BY_NAME[limit.metric]
        low, high = failing(limit, table[limit.metric].to_numpy(float), section)
        for bound, words, cells in ((limit.low, metric.low, low), (limit.high, metric.high, high)):
            if bound is not None:
                found[words] = found.get(words, False) | cells
    _tell_veils_from_blur(found, table)
    return pd.DataFrame(found, index=table.index)


def _tell_veils_from_blur(found: dict[str, np.ndarray], table: pd.DataFrame) -> None:
    """Call a cell that lacks detail and signal washed out, and one off the tissue just that.

    A bubble or a veil takes both, a lens out of focus only detail; where there is no tissue,
    there is neither, and nothing more to say.
    """
    signal = "qc_image_signal_excess"
    if BLURRED in found and signal in table:
        veiled = found[BLURRED] & (table[signal].to_numpy(float) < PALE)
        found[WASHED_OUT] = veiled
        found[BLURRED] = found[BLURRED] & ~veiled
        if "little signal" in found:
            found["little signal"] = found["little signal"] & ~veiled
    if OUTSIDE in found:
        for words in (BLURRED, WASHED_OUT, "little signal"):
            if words in found:
                found[words] = found[words] & ~found[OUTSIDE]


def reasons(faults: pd.DataFrame) -> np.ndarray:
    """Return (n,) object: each cell's faults joined by "; ", "" where there is none."""
    text = np.full(len(faults), "", object)
    for name in faults.columns:
        cells = faults[name].to_numpy(bool)
        joined = np.where(text[cells] == "", name, text[cells] + f"; {name}")
        text[cells] = joined
    return text
