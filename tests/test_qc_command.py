"""Quality control from Python and the command line, and its report."""

from __future__ import annotations

import base64
import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

import napari_cellama as nc
from napari_cellama.cli import main
from napari_cellama.core.qc_thresholds import Limit


@pytest.fixture(scope="module")
def section(tmp_path_factory):
    adata = nc.sample.tissue(1200, seed=1)
    return nc.write(adata, tmp_path_factory.mktemp("qc") / "section.h5ad")


def test_the_command_flags_what_python_flags_and_reports(section, tmp_path, capsys):
    limits = nc.Thresholds().replace(Limit(metric="qc_n_genes", low=30))
    file = tmp_path / "limits.json"
    file.write_text(limits.to_json(), encoding="utf-8")
    output = tmp_path / "out.h5ad"
    assert main(["qc", str(section), str(output), "--thresholds", str(file)]) == 0
    said = capsys.readouterr().out
    written, adata = nc.read(output), nc.read(section)
    found = nc.qc(adata, limits, progress=False)
    assert list(written.obs["qc_reason"]) == list(adata.obs["qc_reason"])
    assert written.n_obs == adata.n_obs == 1200
    failed = ~written.obs["qc_pass"].to_numpy(bool)
    assert 0 < failed.sum() < 400
    assert said.startswith(f"{failed.sum():,} of 1,200 cells")
    np.testing.assert_allclose(written.obs["qc_n_genes"], found.table["qc_n_genes"])
    page = (tmp_path / "out.h5ad.qc.html").read_text(encoding="utf-8")
    assert "few genes" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    pictures = re.findall(r"data:image/png;base64,([^\"]+)", page)
    assert len(pictures) > 10
    crop = np.asarray(Image.open(BytesIO(base64.b64decode(pictures[-1]))))
    assert crop.shape == (96, 96, 3)
    assert crop.std() > 5
    # What was applied can be read back and applied to another section.
    assert nc.Thresholds.from_json(written.uns["cellama"]["qc"]["thresholds"]) == limits


def test_the_report_names_niches_that_are_artefacts(tmp_path):
    adata = nc.sample.tissue(5000, seed=2)
    niche = adata.obs["true_niche"].astype(str)
    niche[adata.obs["true_artefact"] == "blur"] = "smear"
    adata.obs["niche"] = niche.astype("category")
    adata.uns["cellama"]["last_run"] = "niche"
    nc.qc(adata, report=tmp_path / "report.html", progress=False)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    marks = re.findall(r"<td>([^<]+)</td><td class=n>[^<]+</td><td class=n>[^<]+</td>"
                       r"<td>[^<]*</td><td class=mark>([^<]+)</td>", page)  # fmt: skip
    assert [name for name, _ in marks] == ["smear"]


def test_a_run_leaves_failed_cells_out_and_keeps_the_reasons(section, monkeypatch):
    from napari_cellama import api
    from small_sections import WordEncoder

    monkeypatch.setattr(api, "NamedEncoder", WordEncoder)
    adata = nc.read(section)
    nc.run(adata, n_clusters=3, progress=False)
    nc.qc(adata, image="none", progress=False)
    why = adata.obs["qc_reason"].astype(str).tolist()
    failed = ~adata.obs["qc_pass"].to_numpy(bool)
    assert failed.any()
    with pytest.warns(UserWarning, match="failed quality control"):
        nc.run(adata, n_clusters=3, progress=False)
    assert adata.obs["niche"].isna().to_numpy()[failed].all()
    assert adata.obs["qc_reason"].astype(str).tolist() == why
    assert '"leave_out_failed": true' in adata.uns["cellama"]["runs"]["niche"]["recipe"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--thresholds", "missing.json"], "cannot be read"),
        (["--image", "xray"], "There is no image 'xray'"),
        (["--report", "/nowhere/report.html"], "no folder /nowhere"),
    ],
)
def test_bad_usage_is_one_line_and_leaves_nothing(section, tmp_path, capsys, options, words):
    output = tmp_path / "out.h5ad"
    assert main(["qc", str(section), str(output), "-q", *options]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
