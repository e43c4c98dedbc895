"""Quality control: metrics, limits, flags with reasons, and niches that are faults."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from core_tissues import finished

from napari_cellama.core.events import Notice
from napari_cellama.core.niche_faults import niche_aucs, suspicious_niches
from napari_cellama.core.qc import judge
from napari_cellama.core.qc_thresholds import Limit, Thresholds, failing, flags, reasons
from napari_cellama.core.sampling import badness, cells_to_look_at, typicality
from napari_cellama.core.section_image import SectionImage
from napari_cellama.errors import UserError
from napari_cellama.sample import tissue


@pytest.fixture(scope="module")
def judged():
    adata = tissue(5000, seed=2)
    return adata, finished(judge(adata))[1]


def test_cell_metrics_are_what_they_say(judged):
    adata, found = judged
    counts = adata.X.toarray()
    np.testing.assert_allclose(found.table["qc_total_counts"], counts.sum(axis=1))
    genes = (counts > 0).sum(axis=1)
    np.testing.assert_array_equal(found.table["qc_n_genes"], genes)
    np.testing.assert_allclose(found.table["qc_sentence_share"], np.minimum(genes / 16, 1))
    xy = adata.obsm["spatial"].astype(float)
    apart = np.sort(np.hypot(*(xy[17] - xy).T))[1:6]
    assert found.table["qc_neighbor_distance"].iloc[17] == pytest.approx(apart.mean())
    assert "qc_pct_mito" not in found.table
    assert "qc_area" not in found.table


def test_mitochondria_controls_and_area_are_found_by_name():
    adata = tissue(600, images=False)
    names = list(adata.var_names)
    names[:3] = ["MT-CO1", "mt-nd1", "NegControlProbe_0004"]
    adata.var_names = names
    adata.obs["cell_area"] = np.arange(600.0)
    table = finished(judge(adata))[1].table
    counts = adata.X.toarray()
    total = counts.sum(axis=1)
    np.testing.assert_allclose(table["qc_pct_mito"], 100 * counts[:, :2].sum(1) / total, rtol=1e-5)
    np.testing.assert_allclose(table["qc_pct_control"], 100 * counts[:, 2] / total, rtol=1e-5)
    np.testing.assert_array_equal(table["qc_area"], np.arange(600.0))


def test_control_counts_beside_the_genes_have_their_share():
    adata = tissue(600, images=False)
    genes = adata.X.toarray().sum(axis=1)
    counts = np.random.default_rng(0).poisson(2, (600, 3)).astype(np.float32)
    names = ["NegControlProbe_00042", "Blank-7", "CD3 protein"]
    adata.obsm["controls"] = pd.DataFrame(counts, index=adata.obs_names, columns=names)
    table, limits = finished(judge(adata))[1].table, Thresholds()
    controls = counts[:, :2].sum(axis=1)  # a protein is no control
    wanted = 100 * controls / (genes + controls)
    np.testing.assert_allclose(table["qc_pct_control"], wanted, rtol=1e-5)
    found = flags(table, limits, None)["negative controls"]
    np.testing.assert_array_equal(found, wanted > limits.of("qc_pct_control").high)
    assert found.any()
    adata.obsm["controls"] = counts
    everything = counts.sum(axis=1)
    table = finished(judge(adata))[1].table
    wanted = 100 * everything / (genes + everything)
    np.testing.assert_allclose(table["qc_pct_control"], wanted, rtol=1e-5)
    del adata.obsm["controls"]
    adata.obs["control_probe_counts"] = counts[:, 0]
    adata.obs["unassigned_codeword_counts"] = counts[:, 1]
    table = finished(judge(adata))[1].table
    wanted = 100 * controls / (genes + controls)
    np.testing.assert_allclose(table["qc_pct_control"], wanted, rtol=1e-5)


def test_limits_by_mad_are_each_sections_own_where_asked():
    values = np.r_[np.arange(100.0), 1000 + np.arange(100.0), np.nan]
    section = np.r_[np.zeros(100), np.ones(101)].astype(int)
    limit = Limit(metric="qc_local_density", low=1, unit="mad")
    assert not failing(limit, values, section)[0].any()
    own = limit.model_copy(update={"per_section": True})
    low = failing(own, values, section)[0]
    width = 1.4826 * 25
    np.testing.assert_array_equal(np.flatnonzero(low[:100]), np.arange(int(49.5 - width) + 1))
    assert low[100:].sum() == low[:100].sum()
    assert not low[-1]


def test_counts_are_judged_on_a_logarithmic_scale():
    values = np.exp(np.random.default_rng(0).normal(5, 1, 2000))
    low, high = Limit(metric="qc_total_counts", low=2, high=2, unit="mad").resolved(values)
    assert np.log(low) == pytest.approx(3, abs=0.15)
    assert np.log(high) == pytest.approx(7, abs=0.15)


def test_thresholds_survive_json_and_refuse_what_cannot_be():
    thresholds = Thresholds().replace(Limit(metric="qc_area", low=20.0, high=300.0))
    assert Thresholds.from_json(thresholds.to_json()) == thresholds
    assert thresholds.of("qc_area").high == 300
    assert thresholds.replace(Limit(metric="qc_area")) == Thresholds()
    for text, words in (
        ("{", "not valid JSON"),
        ("[]", "must be a JSON object"),
        ('{"limits": [{"metric": "qc_aera"}]}', "did you mean 'qc_area'"),
        ('{"limits": [{"metric": "qc_area", "low": 5, "high": 2}]}', "low 5 is above high 2"),
        ('{"limits": [{"metric": "qc_area"}, {"metric": "qc_area"}]}', "more than one limit"),
        ('{"limits": [{"metric": "qc_area", "low": -1, "unit": "mad"}]}', "counted from 0"),
    ):
        with pytest.raises(UserError, match=words):
            Thresholds.from_json(text)


def test_a_cell_can_fail_for_several_reasons():
    table = pd.DataFrame({"qc_total_counts": [5.0, 500, 5], "qc_area": [1.0, 50, 50]})
    limits = (Limit(metric="qc_total_counts", low=10), Limit(metric="qc_area", low=5))
    why = reasons(flags(table, Thresholds(limits=limits)))
    assert why.tolist() == ["low counts; small area", "", "low counts"]


def test_nothing_is_deleted_and_all_is_written(judged):
    adata, found = judged
    before = adata.obs.columns.tolist()
    written = adata.copy()
    thresholds = Thresholds()
    slots = found.apply(written, thresholds, by_hand={3: "debris", 4: ""})
    assert written.n_obs == adata.n_obs
    assert written.obs[before].equals(adata.obs)
    assert {"obs/qc_pass", "obs/qc_reason", "obs/qc_n_genes", "obs/qc_image_signal"} <= set(slots)
    assert written.obs["qc_reason"].iloc[3] == "debris"
    assert not written.obs["qc_pass"].iloc[3]
    assert written.obs["qc_pass"].iloc[4]
    failed = ~written.obs["qc_pass"].to_numpy()
    assert (written.obs["qc_reason"][failed] != "").all()
    kept = written.uns["cellama"]["qc"]
    assert Thresholds.from_json(kept["thresholds"]) == thresholds
    assert list(kept["by_hand_cells"]) == [3, 4]
    with pytest.raises(UserError, match="judged 5,000 cells"):
        found.apply(adata[:10].copy(), thresholds)


def test_a_niche_made_by_blur_is_marked_and_true_niches_are_not(judged):
    adata, found = judged
    names = adata.obs["true_niche"].astype(str).to_numpy(object)
    assert found.artefacts(pd.Categorical(names), Thresholds()) == {}
    names[adata.obs["true_artefact"] == "blur"] = "smear"
    marked = found.artefacts(pd.Categorical(names), Thresholds())
    assert list(marked) == ["smear"]
    assert "blurred" in marked["smear"]
    aucs = found.aucs(pd.Categorical(names)).set_index(["niche", "metric"])
    row = aucs.loc[("smear", "qc_image_sharpness_excess")]
    assert row["auc"] < 0.05
    assert row["n_cells"] == (names == "smear").sum()


def test_aucs_are_the_chance_of_a_larger_value():
    labels = pd.Categorical(["a", "a", "b", "b", "b", None])
    table = pd.DataFrame({"m": [3.0, 2.0, 1.0, 2.0, np.nan, 99.0]})
    found = niche_aucs(labels, table).set_index("niche")
    assert found.loc["a", "auc"] == pytest.approx(3.5 / 4)
    assert found.loc["a", "n_cells"] == 2
    assert found.loc["b", "n_cells"] == 2


def test_a_niche_of_one_section_and_one_along_the_edge_are_named():
    niches = pd.Categorical(["x"] * 50 + ["y"] * 100 + ["z"] * 50)
    sections = pd.Categorical(["s1"] * 50 + (["s1", "s2"] * 75))
    table = pd.DataFrame({"qc_edge_distance": np.r_[np.full(150, 80.0), np.full(50, 3.0)]})
    nothing = pd.DataFrame(index=range(200))
    marked = suspicious_niches(niches, table, nothing, sections, edge_width=20.0)
    assert set(marked) == {"x", "z"}
    assert "section s1" in marked["x"]
    assert "edge" in marked["z"]


def test_without_an_image_the_rest_works():
    adata = tissue(600, images=False)
    events, found = finished(judge(adata))
    said = [event.text for event in events if isinstance(event, Notice)]
    assert said == ["There is no image, so only the cells themselves are judged."]
    assert "qc_total_counts" in found.table
    assert not any("image" in name for name in found.table)


def test_an_image_of_another_scale_is_refused_with_the_numbers():
    adata = tissue(600)
    adata.uns["spatial"]["sample"]["scalefactors"]["tissue_hires_scalef"] *= 10
    adata.uns["spatial"]["sample"]["scalefactors"]["tissue_dapi_scalef"] *= 10
    events, found = finished(judge(adata))
    said = " ".join(event.text for event in events if isinstance(event, Notice))
    assert "of the cells lie on the image 'hires': it is" in said
    assert "pixels" in said
    assert "not used" in said
    assert found.image_name == ""
    with pytest.raises(UserError, match="There is no image 'brightfield'"):
        finished(judge(adata, image="brightfield"))


def said_of(adata):
    events, found = finished(judge(adata))
    return [event.text for event in events if isinstance(event, Notice)], found


@pytest.fixture
def pictured():
    """A small section, and its images and scale factors."""
    adata = tissue(600, boundaries=False)
    return adata, adata.uns["spatial"]["sample"]


def test_cells_on_a_corner_of_an_image_are_said_to_be(pictured):
    adata, stored = pictured
    del stored["images"]["dapi"]
    stored["scalefactors"]["tissue_hires_scalef"] *= 0.3
    (text, *_), found = said_of(adata)
    height, width = stored["images"]["hires"].shape[:2]
    assert found.image_name == "hires"
    assert text.startswith("The cells take up 2")
    assert f"it is {width:,} x {height:,} pixels, but by its scale the cells reach from" in text


def test_images_that_cover_another_place_than_each_other_are_said_to(pictured):
    adata, stored = pictured
    assert said_of(adata)[0] == []
    stored["images"]["dapi"] = stored["images"]["dapi"][:, ::2]
    (text,), _ = said_of(adata)
    assert text.startswith("The images 'hires' and 'dapi' do not cover the same place: by their")
    height, width = (size / stored["scalefactors"]["tissue_hires_scalef"]
                     for size in stored["images"]["hires"].shape[:2])  # fmt: skip
    assert f"they are {width:,.0f} x {height:,.0f} and {width / 2:,.0f} x {height:,.0f}" in text


def test_an_image_that_shows_glass_where_cells_are_is_suspected(pictured):
    adata, stored = pictured
    stored["images"]["hires"][:, : stored["images"]["hires"].shape[1] // 2] = 247
    (text,), found = said_of(adata)
    share = (found.table["qc_edge_distance"] < 0).mean()
    assert text.startswith(f"{share:.0%} of the cells lie outside the tissue that the image 'hires")


def test_a_blank_image_is_said_to_be_blank(pictured):
    adata, stored = pictured
    stored["images"] = {"hires": np.zeros_like(stored["images"]["hires"])}
    said, found = said_of(adata)
    assert said == [
        "The image 'hires' is of one colour all over. It is not used for quality control."
    ]
    assert found.image_name == ""


@pytest.mark.parametrize("change", ["channels first", "32 bits", "16 bits", "0 to 1", "alpha"])
def test_however_the_colours_are_kept_the_judgement_is_the_same(pictured, change):
    adata, stored = pictured
    del stored["images"]["dapi"]
    pixels = stored["images"]["hires"]
    want = said_of(adata)[1].faults(Thresholds())
    stored["images"]["hires"] = {
        "channels first": lambda: pixels.transpose(2, 0, 1),
        "32 bits": lambda: pixels.astype(np.int32) * 1000,
        "16 bits": lambda: pixels.astype(np.uint16) * 16,
        "0 to 1": lambda: pixels / np.float32(255),
        "alpha": lambda: np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]),
    }[change]()
    said, found = said_of(adata)
    assert said == []
    assert found.faults(Thresholds()).equals(want)


def test_a_limit_moves_to_a_value_in_its_own_unit():
    values = np.exp(np.random.default_rng(0).normal(5, 1, 2000))
    by_mad = Limit(metric="qc_total_counts", low=5, unit="mad")
    moved = by_mad.moved("low", 20.0, values)
    assert moved.resolved(values)[0] == pytest.approx(20, rel=0.01)
    assert moved.high is None
    assert by_mad.moved("low", 1e9, values).low == 0
    assert by_mad.moved("low", None, values).low is None
    assert by_mad.moved("low", 20.0, np.ones(9)) == by_mad
    absolute = Limit(metric="qc_total_counts", low=3, high=10)
    assert absolute.moved("low", 50, values).bounds == (10, 10)
    assert absolute.moved("high", 1, values).bounds == (3, 3)


def test_a_limit_stays_where_it_is_in_another_unit():
    values = np.exp(np.random.default_rng(0).normal(5, 1, 2000))
    absolute = Limit(metric="qc_total_counts", low=20)
    by_mad = absolute.in_unit("mad", values)
    assert by_mad.unit == "mad"
    assert by_mad.resolved(values)[0] == pytest.approx(20, rel=0.01)
    assert by_mad.in_unit("absolute", values).low == pytest.approx(20, rel=0.01)
    assert by_mad.high is None


def test_cells_to_look_at_are_drawn_or_in_the_order_asked_for():
    cells = np.arange(10) < 6
    drawn = cells_to_look_at(cells, 4)
    assert len(set(drawn)) == 4
    assert set(drawn) <= set(range(6))
    worth = np.array([1.0, 5, np.nan, 3, 2, 4, 9, 9, 9, 9])
    np.testing.assert_array_equal(cells_to_look_at(cells, 4, worth), [1, 5, 3, 4])


def test_typical_cells_are_near_the_middle_and_bad_ones_far_on_the_wrong_side():
    features = np.array([[0.0, 0], [1, 1], [2, 2], [50, 50], [np.nan, 0]])
    near = typicality(features, np.array([True, True, True, False, True]))
    assert near[:4].argmax() == 1
    assert np.isnan(near[4])
    table = pd.DataFrame({"qc_local_density": [5.0, 6, 7, 8, 1, 30]})
    low = Thresholds(limits=(Limit(metric="qc_local_density", low=2),))
    high = Thresholds(limits=(Limit(metric="qc_local_density", high=20),))
    assert badness(table, low).argmax() == 4
    assert badness(table, high).argmax() == 5


def test_an_image_that_one_section_has_is_read_there_and_missed_elsewhere():
    adata = tissue(600, seed=4, images=False)
    adata.obs["sample"] = pd.Categorical(["left"] * 300 + ["right"] * 300)
    pixels = np.random.default_rng(0).integers(0, 4000, (3, 400, 400), dtype=np.uint16)
    span = np.ptp(adata.obsm["spatial"], axis=0).max()
    scale = np.array([[380 / span, 0, 10], [0, 380 / span, 10]], float)
    image = SectionImage("scan", (pixels,), "cyx", scale, channels=("DAPI", "CD3", "CD20"))
    given = {"images": {"left": [image]}, "image": "scan", "channels": ("CD20", "CD3")}
    events, found = finished(judge(adata, **given))
    signal = found.table["qc_image_signal"].notna().to_numpy()
    assert signal[:300].mean() > 0.9
    assert not signal[300:].any()
    assert "qc_image_signal_(CD3)" in found.table
    said = [event.text for event in events if isinstance(event, Notice)]
    text = "There is no image 'scan' of section right, so its cells alone are judged."
    assert text in said
    with pytest.raises(UserError, match="There is no image 'xray'; there are: scan"):
        finished(judge(adata, images={"left": [image]}, image="xray"))
