"""Quality control from Python and the command line, and its report."""

from __future__ import annotations

import base64
import os
import re
import signal
import sys
import weakref
from io import BytesIO

import anndata as ad
import numpy as np
import pytest
from PIL import Image

import napari_cellama as nc
from napari_cellama.cli import main
from napari_cellama.core.annotations import write_labels
from napari_cellama.core.labels import LabelSet
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
        (["--report", "out.pdf"], "must end in .html"),
        (["--report", "IN", "--overwrite"], "would replace"),
        (["--report", "OUT", "--overwrite"], "would replace"),
    ],
)
def test_bad_usage_is_one_line_and_leaves_nothing(section, tmp_path, capsys, options, words):
    output = tmp_path / "out.h5ad"
    before = section.read_bytes()
    options = [{"IN": str(section), "OUT": str(output)}.get(one, one) for one in options]
    assert main(["qc", str(section), str(output), "-q", *options]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert len(said.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
    assert section.read_bytes() == before


@pytest.mark.parametrize("dropped", [True, False])
def test_ctrl_c_ends_it_with_nothing_written_also_where_python_drops_it(
    section, tmp_path, monkeypatch, capsys, dropped
):
    from napari_cellama.io import readers

    class Thing:
        pass

    def interrupt(*_):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(10_000):
            pass

    def read(path, real=readers.read):
        if dropped:
            thing = Thing()
            watched = weakref.ref(thing, interrupt)
            del thing
            assert watched() is None
        else:
            interrupt()
        return real(path)

    monkeypatch.setattr(sys, "unraisablehook", lambda *_: None)
    monkeypatch.setattr(readers, "read", read)
    before = signal.getsignal(signal.SIGINT)
    assert main(["qc", str(section), str(tmp_path / "out.h5ad")]) == 130
    assert capsys.readouterr().err.endswith("Cancelled; nothing was written.\n")
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGINT) is before


def excel(path):
    path.write_bytes(b"PK\x03\x04\x14\x00\xff\xfe\x9c")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (excel, "it is no plain text; give the JSON that Save… in the QC dock writes."),
        (lambda path: path.write_text("metric,low\nqc_n_genes,3\n"), "not valid JSON (line 1"),
        (lambda path: path.write_text('{"limits": {"qc_n_genes": 3}}'), "should be a list"),
        (
            lambda path: path.write_text('{"limits": [{"metric": "qc_area", "low": "many"}]}'),
            "(limit 1 (qc_area), low: input should be a valid number",
        ),
    ],
)
def test_a_file_that_holds_no_thresholds_is_named_with_what_to_give(
    section, tmp_path, capsys, write, words
):
    file = tmp_path / "limits.json"
    write(file)
    options = ["-q", "--thresholds", str(file)]
    assert main(["qc", str(section), str(tmp_path / "out.h5ad"), *options]) == 2
    said = capsys.readouterr().err
    assert str(file) in said
    assert words in said
    assert list(tmp_path.iterdir()) == [file]


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Return three sections in one file, at the same coordinates, of which two have an image."""
    parts = {f"S{i}": nc.sample.tissue(600, seed=i) for i in (1, 2, 3)}
    adata = ad.concat(parts, label="sample", index_unique="-")
    adata.uns["spatial"] = {
        name: part.uns["spatial"]["sample"] for name, part in parts.items() if name != "S2"
    }
    adata.uns["cellama"] = {"units": "um"}
    adata.obs["sample"] = adata.obs["sample"].astype("category")
    flags = np.full(1800, -1, np.int32)
    flags[:2], flags[2:4] = 0, 1
    names, colors = ("debris", "accepted"), ("#ff0000", "#00ff00")
    write_labels(adata, LabelSet("flag", flags, names, colors, edited=True))
    return nc.write(adata, tmp_path_factory.mktemp("qc") / "three.h5ad")


def test_sections_of_one_file_are_judged_each_by_its_own_and_reported_apart(
    three, tmp_path, capsys
):
    file, output = tmp_path / "limits.json", tmp_path / "out.h5ad"
    limits = nc.Thresholds().replace(Limit(metric="qc_area", low=2, unit="mad"))
    limits = limits.replace(Limit(metric="qc_n_genes", high=0.0))
    file.write_text(limits.to_json(), encoding="utf-8-sig")  # as some editors save
    options = ["--thresholds", str(file), "--channel", "DAPI"]
    assert main(["qc", str(three), str(output), *options]) == 0
    said = capsys.readouterr().err
    assert "There is no image of section S2" in said
    assert "have no area, so those limits are not" in said
    assert "The image 'hires' is in colours, of which none is chosen; DAPI is not" in said
    obs = nc.read(output).obs
    # What was judged by hand has the last word, also here.
    assert obs["qc_reason"].tolist()[:4] == ["debris", "debris", "", ""]
    assert obs["qc_pass"].tolist()[:4] == [False, False, True, True]
    page = (tmp_path / "out.h5ad.qc.html").read_text(encoding="utf-8")
    assert "By hand 2 cells were flagged and 2 accepted." in page
    for name in ("S1", "S2", "S3"):
        fails = int((~obs["qc_pass"][obs["sample"] == name]).sum())
        assert f"<td>{name}</td><td class=n>600</td><td class=n>{fails:,}</td>" in page
    first = re.search(r"data:image/png;base64,([^\"]+)", page)[1]
    drawn = np.asarray(Image.open(BytesIO(base64.b64decode(first))).convert("RGB"))
    empty = (drawn == 255).all(axis=(0, 2))
    assert empty[np.flatnonzero(~empty)[0] : -1].sum() > 4, "they are drawn side by side"


def test_one_photograph_of_several_sections_is_used_for_each_of_them(tmp_path):
    parts = [nc.sample.tissue(600, seed=i, artefacts=False) for i in (1, 2)]
    pictures = [part.uns["spatial"]["sample"] for part in parts]
    scale = float(pictures[0]["scalefactors"]["tissue_hires_scalef"])
    both = [np.asarray(one["images"]["hires"]) for one in pictures]
    height = max(one.shape[0] for one in both)
    both = [np.pad(one, ((0, height - len(one)), (0, 0), (0, 0)), "edge") for one in both]
    parts[1].obsm["spatial"] = parts[1].obsm["spatial"] + (both[0].shape[1] / scale, 0)
    adata = ad.concat(dict(zip("AB", parts, strict=True)), label="sample", index_unique="-")
    adata.obs["sample"] = adata.obs["sample"].astype("category")
    adata.uns["cellama"] = {"units": "um"}
    Image.fromarray(np.hstack(both)).save(tmp_path / "slide.png")
    nc.attach_image(adata, tmp_path / "slide.png", pixel_size=1 / scale)
    found = nc.qc(adata, progress=False)
    assert found.image_name == "slide"
    assert set(found.seen) == {"A", "B"}
    assert adata.obs["qc_pass"].mean() > 0.95


def test_an_image_inside_is_still_there_beside_one_that_was_added(tmp_path):
    adata = nc.sample.tissue(600, seed=1)
    adata.obs["sample"] = np.repeat("S1", 600)
    adata.obs["sample"] = adata.obs["sample"].astype("category")
    picture = np.asarray(adata.uns["spatial"]["sample"]["images"]["hires"])
    Image.fromarray(picture[:50, :50]).save(tmp_path / "corner.png")
    nc.attach_image(adata, tmp_path / "corner.png", pixel_size=1.0, section="S1")
    found = nc.qc(adata, image="hires", progress=False)
    assert found.image_name == "hires"
