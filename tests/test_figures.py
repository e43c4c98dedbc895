import errno
import sys

import anndata as ad
import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgba

from napari_cellama import plot_overview
from napari_cellama.core.palette import distinct_palette
from napari_cellama.errors import UserError
from napari_cellama.figures import overview_figure, save_figure, tissue_figure
from napari_cellama.figures.page import GREY, elided, readable_on
from napari_cellama.figures.tissue import bounds, scale_bar_length, spacing

N = 400


def section(aspect=1.0, n_types=4, n_niches=3):
    rng = np.random.default_rng(1)
    xy = rng.random((N, 2)) * [1000 * aspect, 1000]
    types = pd.Categorical.from_codes(
        np.arange(N) % n_types, [f"type {i} of the tissue" for i in range(n_types)]
    )
    niches = pd.Categorical.from_codes(
        (xy[:, 0] / xy[:, 0].max() * (n_niches - 1e-9)).astype(int),
        [str(i) for i in range(n_niches)],
    )
    adata = ad.AnnData(np.ones((N, 2), np.float32), obsm={"spatial": xy})
    adata.obs["celltype"], adata.obs["niche"] = types, niches
    adata.uns["cellama"] = {"units": "µm"}
    return adata


def tissue_axes(figure):
    return [axes for axes in figure.axes if axes.get_aspect() != "auto"]


def test_overview_shows_types_niches_and_composition():
    adata = section()
    adata.uns["niche_colors"] = ["#112233", "#445566", "#778899"]
    types, niches, bars = overview_figure(adata).axes
    assert [axes.get_title("left") for axes in (types, niches, bars)] == [
        "Cell types",
        "Niches",
        "What each niche is made of",
    ]
    drawn = niches.collections[0]
    assert {to_hex(color) for color in drawn.get_facecolor()} == set(adata.uns["niche_colors"])
    expected = pd.crosstab(adata.obs["niche"], adata.obs["celltype"], normalize="index")
    widths = np.array([[bar.get_width() for bar in group] for group in bars.containers]).T
    np.testing.assert_allclose(widths, expected.to_numpy())
    shares = adata.obs["niche"].value_counts(normalize=True, sort=False)
    labels = [text.get_text() for text in bars.get_yticklabels()]
    assert labels == [f"{name}  {share:.0%}" for name, share in shares.items()]


def test_overview_without_cell_types_shows_sizes():
    adata = section()
    niches, bars = overview_figure(adata, cell_type_key=None).axes
    assert niches.get_title("left") == "Niches"
    sizes = adata.obs["niche"].value_counts(sort=False)
    assert [bar.get_width() for bar in bars.containers[0]] == list(sizes)


@pytest.mark.parametrize("aspect", [0.05, 0.3, 1.0, 3.0, 40.0])
@pytest.mark.parametrize(("n_types", "n_niches"), [(2, 1), (31, 11)])
def test_nothing_overlaps_or_leaves_the_page(aspect, n_types, n_niches):
    figure = overview_figure(section(aspect, n_types, n_niches))
    figure.draw_without_rendering()
    page = figure.bbox
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    for i, box in enumerate(boxes):
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1
        assert page.y0 <= box.y0
        assert box.y1 <= page.y1
        for other in boxes[:i]:
            assert not box.overlaps(other)


@pytest.mark.parametrize("n", [1, 5, 30, 60])
def test_legend_lies_beside_the_tissue(n):
    categories = pd.Categorical.from_codes(np.arange(N) % n, [f"category {i}" for i in range(n)])
    figure = tissue_figure(
        section().obsm["spatial"], categories=categories, colors=distinct_palette(n)
    )
    figure.draw_without_rendering()
    (axes,) = tissue_axes(figure)
    legend = axes.get_legend().get_window_extent()
    assert legend.x0 >= axes.get_window_extent().x1
    assert legend.x1 <= figure.bbox.x1
    assert 0 <= legend.y0 < legend.y1 <= figure.bbox.y1
    assert len(axes.get_legend().get_texts()) == n


def test_y_points_down_and_aspect_is_equal():
    figure = tissue_figure(section(2.0).obsm["spatial"], values=np.arange(N), label="Gad2")
    (axes,) = tissue_axes(figure)
    assert axes.get_aspect() == 1
    bottom, top = axes.get_ylim()
    assert bottom > top
    assert figure.axes[1].get_ylabel() == "Gad2"


def test_cells_without_label_position_or_emphasis():
    coords = section().obsm["spatial"].copy()
    coords[0] = np.nan
    codes = np.arange(N) % 2
    codes[1] = -1
    categories = pd.Categorical.from_codes(codes, ["a", "b"])
    figure = tissue_figure(coords, categories=categories, colors=["#ff0000", "#0000ff"])
    (axes,) = tissue_axes(figure)
    drawn = axes.collections[0]
    assert len(drawn.get_offsets()) == N - 1
    assert to_hex(drawn.get_facecolor()[0]) == GREY
    np.testing.assert_array_equal(drawn.get_offsets()[0], coords[1])
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["a", "b", "not labelled"]

    shown = categories == "b"
    figure = tissue_figure(
        coords, categories=categories, colors=["#ff0000", "#0000ff"], shown=np.asarray(shown)
    )
    (axes,) = tissue_axes(figure)
    colors = [to_hex(color) for color in axes.collections[0].get_facecolor()]
    assert colors.count("#0000ff") == shown.sum()
    assert "#ff0000" not in colors
    # The highlighted cells are drawn last, so above the others.
    assert set(colors[-int(shown.sum()) :]) == {"#0000ff"}
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["b", "other cells"]


def test_values_scale_to_the_bulk_and_missing_ones_are_grey():
    values = np.linspace(0, 1, N)
    values[-1] = 1000
    values[0] = np.nan
    figure = tissue_figure(section().obsm["spatial"], values=values, label="score")
    tissue, bar = figure.axes
    assert bar.get_ylim()[1] < 2
    assert to_rgba(GREY) == tuple(tissue.collections[0].get_facecolor()[0])


@pytest.mark.parametrize("values", [np.zeros(N), np.full(N, np.nan), np.full(N, 7)])
def test_values_without_range(values):
    tissue_figure(section().obsm["spatial"], values=values, label="x").draw_without_rendering()


@pytest.mark.parametrize(
    "coords",
    [
        np.zeros((3, 2)),
        np.array([[5.0, 0], [5, 1], [5, 2]]),
        np.array([[0, 0, 1.0], [1e6, 1, 2], [2e6, 2, 3]]),
        np.array([[np.nan, np.nan], [1, 1], [2, 2]]),
    ],
)
def test_tissues_without_extent(coords):
    tissue_figure(coords, values=np.arange(3)).draw_without_rendering()
    low, high = bounds(coords)
    assert (high > low).all()


@pytest.mark.parametrize(
    ("units", "extent", "text"),
    [
        ("µm", 1200, "200 µm"),
        ("µm", 12_000, "2 mm"),
        ("pixel", 26_000, "5,000 pixels"),
        ("mm", 1.3, "0.2 mm"),
    ],
)
def test_scale_bar_says_a_round_length(units, extent, text):
    coords = np.array([[0, 0], [extent / 1.04, extent / 1.04]])
    figure = tissue_figure(coords, values=np.arange(2), units=units)
    (axes,) = tissue_axes(figure)
    (bar,) = [artist for artist in axes.artists if hasattr(artist, "scale_formatter")]
    assert bar.scale_formatter(0, "") == text
    assert bar.fixed_value == pytest.approx(scale_bar_length(extent))


def test_spacing_is_the_median_distance_between_places():
    grid = np.stack(np.meshgrid(np.arange(20), np.arange(20)), -1).reshape(-1, 2) * 12.0
    assert spacing(grid) == 12
    assert spacing(np.concatenate([grid, grid])) == 12
    assert spacing(np.zeros((5, 2))) == 1


def test_formats_keep_text_as_text_and_cells_as_one_picture(tmp_path):
    n = 200_000
    coords = np.random.default_rng(0).random((n, 2)) * 5000
    categories = pd.Categorical.from_codes(np.arange(n) % 3, ["Purkinje-Zelle", "b", "c"])
    figure = tissue_figure(
        coords, categories=categories, colors=distinct_palette(3), units="µm", title="Großhirn"
    )
    for suffix in (".png", ".svg", ".pdf"):
        path = save_figure(figure, tmp_path / f"Bild 1{suffix}")
        assert path.stat().st_size < 10e6
    svg = (tmp_path / "Bild 1.svg").read_text(encoding="utf-8")
    assert "Purkinje-Zelle" in svg
    assert "Großhirn" in svg
    assert svg.count("<image") == 1
    assert b"/Subtype /Type3" not in (tmp_path / "Bild 1.pdf").read_bytes()


def test_the_users_own_style_does_not_matter(tmp_path):
    with matplotlib.rc_context({"figure.facecolor": "black", "font.size": 30}):
        figure = overview_figure(section())
        assert to_hex(figure.get_facecolor()) == "#ffffff"
        save_figure(figure, tmp_path / "a.png")
        assert matplotlib.rcParams["font.size"] == 30
    assert "matplotlib.pyplot" not in sys.modules or not matplotlib.pyplot.get_fignums()


def test_refusals(tmp_path):
    figure = tissue_figure(section().obsm["spatial"], values=np.arange(N))
    with pytest.raises(UserError, match=r"must end in \.png, \.svg or \.pdf"):
        save_figure(figure, tmp_path / "a.bmp")
    with pytest.raises(UserError, match="was not written: No such file"):
        save_figure(figure, tmp_path / "missing" / "a.png")
    with pytest.raises(UserError, match="no obs column named 'nich'; did you mean 'niche'"):
        plot_overview(section(), key="nich")
    adata = section()
    del adata.obsm["spatial"]
    with pytest.raises(UserError, match="no positions"):
        plot_overview(adata)
    with pytest.raises(TypeError, match="either categories"):
        tissue_figure(np.zeros((3, 2)))


def test_a_full_disk_leaves_the_earlier_figure(tmp_path, monkeypatch):
    path = save_figure(
        tissue_figure(section().obsm["spatial"], values=np.arange(N)), tmp_path / "a.png"
    )
    content = path.read_bytes()
    figure = overview_figure(section())

    def full(target, **options):
        target.write_bytes(content[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(figure, "savefig", full)
    with pytest.raises(UserError, match="was not written: No space left"):
        save_figure(figure, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]
    assert path.read_bytes() == content


def test_plot_overview_saves(tmp_path):
    figure = plot_overview(section(), path=tmp_path / "overview.png")
    assert (tmp_path / "overview.png").read_bytes().startswith(b"\x89PNG")
    assert len(figure.axes) == 3


def test_names_are_cut_in_the_middle():
    assert elided("short") == "short"
    assert elided("Oligodendrocyte precursor cells", 20) == "Oligodend…sor cells"


@pytest.mark.parametrize(("color", "text"), [("#000080", "white"), ("#ffff00", "#262626")])
def test_text_is_readable_on_its_colour(color, text):
    assert readable_on(color) == text
