"""What each group of a cluster's portrait shows: its remark, its figure or table, its numbers."""

from __future__ import annotations

import math

from napari_cellama.figures import (
    borders_figure,
    certainty_figure,
    enrichment_figure,
    ordered_kinds,
)
from napari_cellama.ui import format as fmt
from napari_cellama.ui.understanding import Told
from napari_cellama.ui.widgets.exhibit import Exhibit

#: How many markers are named.
_N_MARKERS = 30


def show_around(group: Exhibit, told: Told) -> None:
    """Show what surrounds all clusters."""
    around = told.around
    marked = [told.names[i] for i in told.portrait.chosen]
    enrichment, counts = around.enrichment, around.counts
    kind = f"by {around.of}" if around.of else "by cluster (there are no cell types)"
    group.tell(
        f"Neighbours {kind}, against all clusters' neighbours; the picked column is framed, "
        "its neighbours are counted at the right.",
        around.table(),
        f"{told.key}_surroundings",
    )
    order = ordered_kinds(enrichment.loc[marked].mean(axis=0))

    def tip(column: int, row: int) -> str:
        if not (0 <= row < len(order) and 0 <= column < len(enrichment)):
            return ""
        cluster, name = enrichment.index[column], order[row]
        value, number = enrichment.loc[cluster, name], counts.loc[cluster, name]
        return f"{name} around {cluster}: log2 {value:+.2f}, {fmt.count(number, 'neighbour')}"

    group.shown.show_figure(lambda look: enrichment_figure(enrichment, counts, marked, look), tip)


def show_markers(group: Exhibit, told: Told) -> None:
    """Show the marker genes."""
    table = told.portrait.markers
    best = table[table["log2_fold_change"] > 0].head(_N_MARKERS)
    rows = [
        [
            (gene, math.nan),
            (f"{change:.2f}", change),
            (f"{inside:.0%}", inside),
            (f"{rest:.0%}", rest),
        ]
        for gene, _, change, inside, rest in best.iloc[:, :5].itertuples(index=False)
    ]
    tips = [f"{gene}: adjusted p = {p:.2g}" for gene, p in best[["gene", "p_adjusted"]].values]
    group.shown.show_rows(rows, tips)
    remark = "Against the other clusters' cells; click a gene to paint it."
    group.tell(told.portrait.why_no_markers or remark, table, f"{told.key}_markers")


def show_borders(group: Exhibit, told: Told) -> None:
    """Show which clusters it borders on."""
    table = told.portrait.borders
    colors = dict(zip(told.names, told.colors, strict=True))
    remark = "Contacts with the others, against what their sizes let expect; counted at the right."
    nothing = "There is no other cluster."
    name = f"{told.key}_borders"
    group.tell(remark if len(table) else nothing, table, name)
    if not len(table):
        return

    def tip(column: int, row: int) -> str:
        if not 0 <= row < len(table):
            return ""
        found = table.iloc[row]
        text = fmt.count(found["contacts"], "contact")
        return f"{found['cluster']}: {text}, {found['share']:.0%}, z = {found['z_score']:.1f}"

    draw = lambda look: borders_figure(table, colors, look)  # noqa: E731
    group.shown.show_figure(draw, tip)


def show_certainty(group: Exhibit, told: Told) -> None:
    """Show how certain its cells' niches are."""
    portrait = told.portrait
    table, name = portrait.certainty, told.certainty
    mean, rest = portrait.mean_certainty, portrait.mean_certainty_rest
    remark = f"{name}: {mean:.2f} on average; the rest {rest:.2f}."
    nothing = "No run has said how certain these cells' niches are."
    group.tell(remark if len(table) else nothing, table, f"{told.key}_certainty")
    if len(table):
        color = told.colors[portrait.chosen[0]]
        draw = lambda look: certainty_figure(table, color, look)  # noqa: E731
        group.shown.show_figure(draw)
