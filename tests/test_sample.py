import subprocess
import sys

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.spatial import cKDTree

from napari_cellama import sample
from napari_cellama.sample import anatomy, faults
from napari_cellama.sample.counts import PUBLISHED
from napari_cellama.sample.panel import NICHES, SUBTYPES, SYMBOLS, TYPE_NAMES

TRUTH = ("true_niche", "true_cell_type", "true_subtype", "true_quality", "true_artefact")


@pytest.fixture(scope="module")
def section():
    return sample.tissue(5_000, seed=1)


def test_the_same_seed_gives_the_same_section_and_another_a_different_one():
    first, again, other = (sample.tissue(800, seed=seed, images=False) for seed in (3, 3, 4))
    assert (first.X != again.X).nnz == 0
    assert first.obs.equals(again.obs)
    np.testing.assert_array_equal(first.obsm["spatial"], again.obsm["spatial"])
    assert not np.array_equal(first.obsm["spatial"], other.obsm["spatial"])


@pytest.mark.parametrize("n_cells", [600, 1_000, 3_000, 12_000])
def test_any_size_has_exactly_its_cells_and_all_niches_and_artefacts(n_cells):
    adata = sample.tissue(n_cells, images=False)
    assert adata.shape == (n_cells, 300)
    assert set(adata.obs["true_niche"]) == set(NICHES)
    assert set(adata.obs["true_artefact"]) == set(faults.NAMES)
    assert adata.obs["true_niche"].value_counts().min() >= n_cells // 100


@pytest.mark.parametrize("seed", range(6))
def test_a_thousand_cells_have_every_cell_type(seed):
    adata = sample.tissue(1_000, seed=seed, images=False)
    assert set(adata.obs["cell_type"]) == set(adata.obs["true_cell_type"]) == set(TYPE_NAMES)


def test_slots_and_types(section):
    assert sp.issparse(section.X)
    assert section.X.format == "csr"
    assert section.X.dtype == np.float32
    assert (section.X.data == np.round(section.X.data)).all()
    assert section.X.data.min() >= 1
    assert section.X.has_canonical_format
    assert section.obsm["spatial"].dtype == np.float32
    assert section.uns["cellama"]["units"] == "micrometre"
    assert section.obs["region"].equals(section.obs["true_niche"].rename("region"))
    for column in ("cell_type", *TRUTH):
        assert section.obs[column].dtype == "category"
        assert section.obs[column].notna().all()
    assert section.obs_names.is_unique
    assert list(section.var_names) == list(SYMBOLS[:300])


def test_depth_sparsity_and_density_follow_the_published_section():
    adata = sample.tissue(20_000, seed=0, images=False)
    transcripts = np.asarray(adata.X.sum(axis=1)).ravel()
    genes = np.diff(adata.X.indptr)
    assert np.median(transcripts) == pytest.approx(PUBLISHED["median_transcripts"], rel=0.1)
    assert np.quantile(transcripts, 0.1) == pytest.approx(PUBLISHED["p10_transcripts"], rel=0.2)
    assert np.quantile(transcripts, 0.9) == pytest.approx(PUBLISHED["p90_transcripts"], rel=0.1)
    assert np.median(genes) == pytest.approx(PUBLISHED["median_genes"], rel=0.1)
    where = anatomy.build(20_000, seed=0)
    area = (where.sites != anatomy.GLASS).sum() * where.pixel**2 / 1e6
    assert 20_000 / area == pytest.approx(PUBLISHED["cells_per_mm2"], rel=0.1)


def test_density_does_not_change_with_size():
    small, large = (
        cKDTree(xy).query(xy, k=2)[0][:, 1].mean()
        for xy in (sample.tissue(n, images=False).obsm["spatial"] for n in (3_000, 15_000))
    )
    assert small == pytest.approx(large, rel=0.05)


def test_cells_keep_their_distance(section):
    xy = section.obsm["spatial"]
    distance = cKDTree(xy).query(xy, k=2)[0][:, 1]
    assert distance.min() >= anatomy.HARD_CORE - 1e-3
    # Clark and Evans' ratio in one niche: 1 for a Poisson process, more for repelling points.
    stroma = (section.obs["true_niche"] == "Stroma").to_numpy()
    site = next(site for site in anatomy.SITES if site.name == "stroma")
    density = 1 / (site.spacing**2 * np.sqrt(3) / 2)
    assert distance[stroma].mean() * 2 * np.sqrt(density) > 1.2


def test_subtypes_follow_the_niche(section):
    obs = section.obs
    for cell_type, group in SUBTYPES.items():
        for subtype in group:
            if subtype.niches:
                inside = obs["true_niche"].isin(subtype.niches)
                mine = (obs["true_cell_type"] == cell_type) & inside
                assert (obs.loc[mine, "true_subtype"] == subtype.name).mean() > 0.7


def test_programs_are_expressed_where_they_belong(section):
    tumour = (section.obs["true_niche"] == "Tumour nest").to_numpy()
    fibroblast = (section.obs["true_subtype"] == "Cancer-associated fibroblast").to_numpy()
    resident = (section.obs["true_subtype"] == "Resident fibroblast").to_numpy()
    assert section[tumour, "EPCAM"].X.mean() > 3 * section[~tumour, "EPCAM"].X.mean()
    assert section[fibroblast, "POSTN"].X.mean() > 3 * section[resident, "POSTN"].X.mean()


def test_faulty_cells_show_it_in_their_counts(section):
    depth = np.asarray(section.X.sum(axis=1)).ravel()
    quality = section.obs["true_quality"].to_numpy()
    assert np.median(depth[quality == "doublet"]) > 1.5 * np.median(depth[quality == "good"])
    assert np.median(depth[quality == "low quality"]) < 0.3 * np.median(depth[quality == "good"])
    wrong = (section.obs["cell_type"] != section.obs["true_cell_type"]).to_numpy()
    assert 0.04 < wrong[quality == "good"].mean() < 0.12


def test_faults_can_be_left_out():
    adata = sample.tissue(1_000, artefacts=False, low_quality=False, difficulty=0, images=False)
    assert set(adata.obs["true_artefact"]) == {"none"}
    assert set(adata.obs["true_quality"]) == {"good"}
    assert (adata.obs["cell_type"] == adata.obs["true_cell_type"]).all()
    assert "spatial" not in adata.uns


def test_images_are_aligned_with_cells_and_artefacts(section):
    entry = section.uns["spatial"]["sample"]
    scale = entry["scalefactors"]["tissue_hires_scalef"]
    he, dapi = entry["images"]["hires"], entry["images"]["dapi"]
    assert he.dtype == dapi.dtype == np.uint8
    assert he.shape == (*dapi.shape, 3)
    assert max(dapi.shape) <= 2_000
    column, row = np.floor(section.obsm["spatial"].T * scale).astype(int)
    fault = section.obs["true_artefact"].to_numpy()
    clean = fault == "none"
    assert np.median(dapi[row[clean], column[clean]]) > 6 * np.median(dapi)
    torn = fault == "out of tissue"
    assert np.median(dapi[row[torn], column[torn]]) < 10
    assert he[row[torn], column[torn]].mean() > 235
    contrast = {
        name: dapi[row[fault == name], column[fault == name]].mean() for name in ("none", "blur")
    }
    assert contrast["blur"] < 0.6 * contrast["none"]


def test_artefacts_are_the_polygons_in_uns(section):
    planted: dict[str, list[np.ndarray]] = {}
    for name, polygon in section.uns["sample"]["artefacts"].items():
        planted.setdefault(name.rpartition(" ")[0], []).append(polygon)
    found = faults.at(section.obsm["spatial"], planted)
    assert (np.array(faults.NAMES)[found] == section.obs["true_artefact"].to_numpy()).all()


def test_image_draws_what_tissue_stored_and_other_sizes(section):
    stored = section.uns["spatial"]["sample"]
    microns = 1 / stored["scalefactors"]["tissue_hires_scalef"]
    np.testing.assert_array_equal(sample.image(section, kind="dapi"), stored["images"]["dapi"])
    he = sample.image(section, kind="he", microns_per_pixel=4 * microns)
    assert he.shape[0] == pytest.approx(stored["images"]["hires"].shape[0] / 4, abs=1)
    dapi = sample.image(section, kind="dapi", microns_per_pixel=4 * microns)
    few = sample.image(section[:50].copy(), kind="dapi", microns_per_pixel=4 * microns)
    assert few.mean() < 0.5 * dapi.mean()


def test_it_survives_h5ad(section, tmp_path):
    section.write_h5ad(tmp_path / "section.h5ad")
    back = ad.read_h5ad(tmp_path / "section.h5ad")
    assert back.obs.equals(section.obs)
    assert back.uns["cellama"]["units"] == "micrometre"
    dapi = section.uns["spatial"]["sample"]["images"]["dapi"]
    np.testing.assert_array_equal(back.uns["spatial"]["sample"]["images"]["dapi"], dapi)
    coarse = [sample.image(one, kind="dapi", microns_per_pixel=4) for one in (section, back)]
    np.testing.assert_array_equal(*coarse)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n_cells": 20}, "at least 600 cells"),
        ({"n_genes": 9}, "genes"),
        ({"n_genes": 5_000}, "genes"),
        ({"difficulty": -1}, "negative"),
    ],
)
def test_bad_arguments_are_refused_in_one_sentence(arguments, words):
    with pytest.raises(ValueError, match=words):
        sample.tissue(**arguments)


def test_bad_images_are_refused(section):
    with pytest.raises(ValueError, match="'he' or 'dapi'"):
        sample.image(section, kind="xray")
    with pytest.raises(ValueError, match="positive"):
        sample.image(section, microns_per_pixel=0)
    with pytest.raises(ValueError, match="not made by"):
        sample.image(ad.AnnData(np.ones((3, 3))))


def test_a_smaller_panel_keeps_markers_of_every_type():
    adata = sample.tissue(700, n_genes=100, images=False)
    assert adata.n_vars == 100
    assert {"MS4A1", "CD8A", "COL1A1", "ERBB2", "PECAM1"} <= set(adata.var_names)


def test_neither_window_nor_model_is_imported():
    code = (
        "import sys, napari_cellama.sample as s; s.tissue(600);"
        "sys.exit(any(m in sys.modules for m in ('napari', 'qtpy', 'torch', 'squidpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
