"""What leaves the window: the figure of what is painted now, and the table of clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_cellama.core.events import CancelToken
from napari_cellama.errors import UserError
from napari_cellama.ui.painting import labels_of

if TYPE_CHECKING:
    from napari_cellama.core.labels import LabelSet
    from napari_cellama.ui.layouts import Layout
    from napari_cellama.ui.painting import Legend
    from napari_cellama.ui.placement import Placement
    from napari_cellama.ui.tissue import Tissue

#: A tissue that is coloured by nothing.
_PLAIN = "#7f7f7f"
_UNITS = {"micrometre": "µm"}


def cluster_table(
    labels: LabelSet,
    order: Sequence[int],
    neighbors: Callable[[int], list[tuple[str, float]]],
) -> pd.DataFrame:
    """Return the clusters as a table, a row each.

    Parameters
    ----------
    labels
        The clusters.
    order
        Which clusters, from the first row to the last.
    neighbors
        Gives a cluster's enriched neighbours: cell types and how many times as frequent they
        are as in the whole tissue.

    Returns
    -------
    pandas.DataFrame
        Columns ``cluster``, ``color`` (``#rrggbb``), ``cells``, ``share`` (of the labelled
        cells, 0 to 1), then ``neighbor_1``, ``enrichment_1`` and so on to 3, empty where there
        are fewer.
    """
    sizes = labels.totals
    total = max(1, int(labels.sizes.sum()))
    rows = []
    for cluster in order:
        row: dict[str, Any] = {
            "cluster": labels.names[cluster],
            "color": labels.colors[cluster],
            "cells": int(sizes[cluster]),
            "share": round(float(sizes[cluster] / total), 6),
        }
        named = [*neighbors(cluster), ("", ""), ("", ""), ("", "")][:3]
        for i, (name, times) in enumerate(named, start=1):
            row[f"neighbor_{i}"] = name
            row[f"enrichment_{i}"] = round(times, 3) if name else ""
        rows.append(row)
    return pd.DataFrame(rows)


def write_table(table: pd.DataFrame, path: str | Path) -> Path:
    """Write a table as CSV; the file appears whole or not at all.

    Raises
    ------
    UserError
        When it cannot be written there.
    """
    path = Path(path).expanduser()
    path = path if path.suffix else path.with_suffix(".csv")
    unfinished = path.with_name(f".{path.name}.part")
    try:
        table.to_csv(unfinished, index=False)
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        reason = error.strerror or error
        raise UserError(f"The table {path} was not written: {reason}.") from error
    return path


def figure_events(
    tissue: Tissue, legend: Legend, placement: Placement, path: str | Path
) -> Callable[[CancelToken], Iterator[Path]]:
    """Return a job that draws the tissue as it is painted now, and saves it.

    Everything that may change meanwhile is taken from the tissue at once; the job itself only
    reads arrays.

    Parameters
    ----------
    tissue
        Its colouring and selection are the figure's.
    legend
        What its colours mean.
    placement
        Where its cells are drawn, sections side by side.
    path
        ``.png``, ``.svg`` or ``.pdf``.
    """
    units = _UNITS.get(tissue.units, tissue.units)
    return _drawing(
        tissue, legend, placement.of_points, placement.points[:, ::-1], path, units=units
    )


def map_events(
    tissue: Tissue, legend: Legend, layout: Layout, cells: np.ndarray, path: str | Path
) -> Callable[[CancelToken], Iterator[Path]]:
    """Return a job that draws a map of the cells as it is painted now, and saves it.

    Parameters
    ----------
    tissue, legend, path
        As for :func:`figure_events`.
    layout
        The map.
    cells
        The rows of the cells that are on it.
    """
    places = layout.places[cells] * np.float32([1, -1])  # on a map, y points up
    return _drawing(tissue, legend, lambda values: values[cells], places, path, title="UMAP")


def map_table(tissue: Tissue, layout: Layout, cells: np.ndarray) -> pd.DataFrame:
    """Return a map's numbers: ``cell``, ``umap_1``, ``umap_2``, and what it is coloured by."""
    table = pd.DataFrame(layout.places[cells], columns=["umap_1", "umap_2"])
    table.insert(0, "cell", tissue.snapshot.obs_names[cells])
    if (coloring := tissue.coloring) is not None:
        from napari_cellama.ui.painting import values_of

        values = values_of(tissue, coloring)
        if values is None:
            values = labels_of(tissue, coloring).categorical()
        table[coloring.name] = np.asarray(values)[cells]
    return table


def _drawing(
    tissue: Tissue,
    legend: Legend,
    of_points: Callable[[Any], Any],
    points: np.ndarray,
    path: str | Path,
    *,
    units: str = "",
    title: str = "",
) -> Callable[[CancelToken], Iterator[Path]]:
    """Return a job that draws points in a tissue's colours; ``of_points`` picks their cells."""
    coloring = tissue.coloring
    labels = labels_of(tissue, coloring).flat() if legend.kind == "categorical" else None
    selection = tissue.selection if tissue.selection.any() else None
    heading = " · ".join(filter(None, (_title(tissue.name, legend), title)))

    def events(token: CancelToken) -> Iterator[Path]:
        from napari_cellama.figures import save_figure, tissue_figure
        from napari_cellama.ui.painting import values_of

        if labels is not None:
            colored = _by_category(of_points(labels.codes), labels.names, labels.colors)
        elif legend.kind == "continuous":
            colored = {
                "values": of_points(values_of(tissue, coloring)),
                "label": legend.title,
                "limits": legend.limits,
                "colormap": legend.colormap,
            }
        else:
            colored = _by_category(np.zeros(len(points), int), ("cells",), (_PLAIN,))
        token.check()
        figure = tissue_figure(
            points,
            **colored,
            units=units,
            title=heading,
            shown=None if selection is None else of_points(selection),
        )
        token.check()
        yield save_figure(figure, path)

    return events


def _by_category(codes: np.ndarray, names: Sequence[str], colors: Sequence[str]) -> dict[str, Any]:
    """Return what a figure of categories is drawn from."""
    return {"categories": pd.Categorical.from_codes(codes, list(names)), "colors": colors}


def _title(name: str, legend: Legend) -> str:
    return f"{name} · {legend.title}" if legend.title else name
