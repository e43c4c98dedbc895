import pytest

from napari_cellama.ui import format as fmt


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [(12345, "cell", "12,345 cells"), (1, "cell", "1 cell"), (0, "niche", "0 niches")],
)
def test_counts(number, noun, text):
    assert fmt.count(number, noun) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.1 s"),
        (0.42, "0.4 s"),
        (0.97, "1 s"),
        (31.4, "31 s"),
        (59.7, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (7499, "2 h 5 min"),
        (3599.6, "1 h"),
    ],
)
def test_durations(seconds, text):
    assert fmt.duration(seconds) == text


@pytest.mark.parametrize(
    ("per_second", "text"),
    [(4210.4, "4,210/s"), (28.2, "28/s"), (3.51, "3.5/s"), (0.2, "12/min")],
)
def test_rates(per_second, text):
    assert fmt.rate(per_second) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (25.3, "µm", "25 µm"),
        (25.3, "micrometre", "25 µm"),
        (1240.2, "pixel", "1,240 px"),
        (3.14, "µm", "3.1 µm"),
        (0.0314, "mm", "0.031 mm"),
        (0.0, "µm", "0 µm"),
        (9.99, "µm", "10 µm"),
        (float("nan"), "µm", "? µm"),
    ],
)
def test_distances(value, unit, text):
    assert fmt.distance(value, unit) == text


def test_joined_leaves_out_what_is_empty():
    assert fmt.joined("Embedding", "", "4 s left") == "Embedding · 4 s left"


def test_elided_in_the_middle():
    assert fmt.elided("celltype", 8) == "celltype"
    short = fmt.elided("celltype_mapped_by_someone", 12)
    assert len(short) == 12
    assert short.startswith("cellt")
    assert short.endswith("meone")


def test_different_names_stay_different_when_elided():
    names = ["a_very_long_column_name_1_with_tail", "a_very_long_column_name_2_with_tail"]
    short = fmt.elided_apart(names, 12)
    assert len(set(short)) == 2
    assert fmt.elided_apart(["same_long_name"] * 2, 5) == ["sa…me"] * 2
