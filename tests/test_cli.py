import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import napari_cellama as nc
from napari_cellama import api, cli
from napari_cellama.cli import main
from napari_cellama.core import devices
from napari_cellama.core.events import Progress
from napari_cellama.io import readers
from napari_cellama.progress import ProgressReport
from napari_cellama.recipe import Recipe
from small_sections import WordEncoder, small_section

STAGES = ["Reading", "Graph", "Sentences", "Model", "Embedding", "Context", "Clustering"]
FIELDS = [name for name in Recipe.model_fields if name != "schema_version"]


@pytest.fixture
def section(tmp_path, monkeypatch):
    """Write a section of 60 cells; the model costs nothing."""
    monkeypatch.setattr(api, "NamedEncoder", WordEncoder)
    return nc.write(small_section(60), tmp_path / "a section é.h5ad")


def used_recipe(path):
    adata = nc.read(path)
    runs = adata.uns["cellama"]["runs"]
    return json.loads(next(iter(runs.values()))["recipe"])


# ---- run


@pytest.mark.parametrize("name", FIELDS)
def test_every_recipe_field_is_an_option(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["run", "--help"]) == 0
    help_text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"--{name.replace('_', '-')} " in help_text
    assert Recipe.model_fields[name].description in help_text


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_run_writes_what_python_finds(section, tmp_path, capsys, suffix):
    output = tmp_path / f"out{suffix}"
    options = ["--n-clusters", "2", "--n-neighbors", "6", "--no-store-sentences", "--seed", "3"]
    assert main(["run", str(section), str(output), *options]) == 0
    assert capsys.readouterr().out == f"2 niches in 60 cells; written to {output}\n"
    written, adata = nc.read(output), nc.read(section)
    recipe = Recipe(n_clusters=2, n_neighbors=6, store_sentences=False, seed=3)
    nc.run(adata, recipe, progress=False)
    assert list(written.obs["niche"]) == list(adata.obs["niche"])
    assert "cell_sentence" not in written.obs
    # And what was written can be the input, in the other format, with another key.
    again = tmp_path / "again.h5ad"
    assert main(["run", str(output), str(again), "--key-added", "zone", "--quiet"]) == 0
    assert {"niche", "zone"} <= set(nc.read(again).obs)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "/no/such/folder"], "There is no model '/no/such/folder'"),
        (["--device", "mps"], "The device 'mps' cannot be used"),
        (["--device", "cuda:9"], "The device 'cuda:9' cannot be used"),
    ],
)
def test_what_cannot_run_is_refused_before_the_file_is_read(
    section, tmp_path, monkeypatch, capsys, options, said
):
    monkeypatch.setattr(devices, "has_mps", lambda: False)
    monkeypatch.setattr(devices, "torch_build", lambda: "cpu")
    monkeypatch.setattr(readers, "read", lambda path: pytest.fail("it was read"))
    assert main(["run", str(section), str(tmp_path / "out.h5ad"), *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_options_override_the_recipe_file(section, tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"n_clusters": 3, "n_top_genes": 4, "store_embedding": "no"}))
    output = tmp_path / "out.h5ad"
    arguments = [str(section), str(output), "--recipe", str(recipe), "--n-clusters", "2", "-q"]
    assert main(["run", *arguments, "--obs-features", "celltype"]) == 0
    used = used_recipe(output)
    assert (used["n_clusters"], used["n_top_genes"], used["store_embedding"]) == (2, 4, "no")
    assert used["obs_features"] == ["celltype"]


def test_the_original_form_fills_one_sentence_a_cell(section, tmp_path):
    output = tmp_path / "out.h5ad"
    options = ["--neighbors-in", "sentence", "--n-clusters", "2", "--quiet"]
    assert main(["run", str(section), str(output), *options]) == 0
    sentences = nc.read(output).obs["cell_sentence"]
    assert sentences.str.match(r"Top genes are .*\. nearest_cells of this cell is .*\.").all()


def test_printed_recipe_is_a_recipe(capsys):
    assert main(["recipe"]) == 0
    assert Recipe.from_json(capsys.readouterr().out) == Recipe()


def test_overwriting_the_input_itself(section):
    assert main(["run", str(section), str(section), "--overwrite", "--n-clusters=2", "-q"]) == 0
    assert "niche" in nc.read(section).obs
    assert os.listdir(section.parent) == [section.name]


def test_a_log_gets_one_line_a_stage(section, tmp_path, capsys):
    assert main(["run", str(section), str(tmp_path / "o.h5ad"), "--n-clusters", "2"]) == 0
    streams = capsys.readouterr()
    lines = streams.err.splitlines()
    assert [line.partition(":")[0] for line in lines] == STAGES
    assert re.fullmatch(r"Embedding: \d\d sentences, \d+\.\d s \(test CPU\)", lines[4])
    assert "\r" not in streams.err


def test_quiet_is_quiet(section, tmp_path, capsys):
    assert main(["run", str(section), str(tmp_path / "o.h5ad"), "--n-clusters", "2", "-q"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run"], "Missing argument 'IN'"),
        (["rnu"], "No such command 'rnu'"),
        (["run", "a", "b", "--n-cluster", "3"], "No such option: --n-cluster"),
        (["run", "a.h5ad", "b.h5ad", "--recipe", "none.json"], "none.json cannot be read"),
        (["demo", "--n-cells", "3"], "Invalid value for '--n-cells'"),
        (["open", "none.h5ad"], "There is no file none.h5ad"),
    ],
)
def test_bad_usage_is_one_line(arguments, sentence, capsys):
    assert main(arguments) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    (line,) = streams.err.splitlines()
    assert line.startswith("napari-cellama: ")
    assert sentence in line


def test_version_and_help(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == nc.__version__
    assert main([]) == 0
    assert "demo" in capsys.readouterr().out


def test_a_fault_of_ours_is_no_bad_input(section, tmp_path, monkeypatch):
    def fail(self, cancel):
        raise RuntimeError("a fault")

    monkeypatch.setattr(WordEncoder, "load", fail)
    with pytest.raises(RuntimeError, match="a fault"):
        main(["run", str(section), str(tmp_path / "o.h5ad")])
    assert os.listdir(tmp_path) == [section.name]


def test_an_interrupt_in_the_middle(section, tmp_path, monkeypatch, capsys):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(WordEncoder, "encode", interrupt)
    assert main(["run", str(section), str(tmp_path / "o.h5ad")]) == 130
    assert capsys.readouterr().err.endswith("Cancelled; nothing was written.\n")
    assert os.listdir(tmp_path) == [section.name]


# ---- demo and open


@pytest.mark.usefixtures("section")
def test_headless_demo(tmp_path, capsys):
    folder = tmp_path / "new" / "demo"
    assert main(["demo", "--headless", str(folder), "--n-cells", "600"]) == 0
    assert sorted(os.listdir(folder)) == ["overview.png", "result.h5ad"]
    adata = nc.read(folder / "result.h5ad")
    assert adata.n_obs == 600
    n_niches = adata.obs["niche"].nunique()
    assert f"{n_niches} niches in " in capsys.readouterr().out
    assert (folder / "overview.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def display(request, monkeypatch):
    """Pretend that there is a display, or none."""
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    if request.param:
        monkeypatch.setenv("DISPLAY", ":7")
    return request.param


@pytest.mark.parametrize("display", [False], indirect=True)
@pytest.mark.usefixtures("section", "display")
def test_demo_without_a_display_says_where_its_pictures_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--n-cells", "600"]) == 0
    assert sorted(os.listdir("demo")) == ["overview.png", "result.h5ad"]
    assert "There is no display" in capsys.readouterr().err.splitlines()[0]


@pytest.mark.parametrize("display", [True], indirect=True)
@pytest.mark.usefixtures("section", "display")
def test_demo_with_a_display_shows_the_result(monkeypatch):
    shown = []
    monkeypatch.setattr(cli, "_show", shown.append)
    assert main(["demo", "--n-cells", "600", "--quiet"]) == 0
    assert "niche" in shown[0].obs


@pytest.mark.parametrize("display", [True, False], indirect=True)
def test_open(section, display, monkeypatch, capsys):
    from napari_cellama.ui import launch

    opened = []
    monkeypatch.setattr(launch, "open_path", opened.append)
    code = main(["open", str(section)])
    assert (code, opened) == ((0, [section]) if display else (2, []))
    assert display or "There is no display" in capsys.readouterr().err


def test_demo_into_a_place_that_is_no_folder(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["demo", "--headless", str(tmp_path / "file")]) == 2
    assert "cannot be made" in capsys.readouterr().err


# ---- progress


class Terminal:
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return True


def test_a_terminal_gets_bars_with_rate_and_time_left():
    terminal = Terminal()
    with ProgressReport(stream=terminal) as report:
        report.show(Progress("Graph"))
        for done in range(0, 501, 100):
            report.show(Progress("Embedding", done, 1000, "sentences"))
            time.sleep(0.21)
        report.message("Note: something")
    assert "Embedding " in terminal.text
    assert "500/1000" in terminal.text
    assert " sentences/s" in terminal.text
    assert "Note: something\n" in terminal.text


def test_a_bar_says_what_came_from_the_cache_and_leaves_it_out_of_the_rate():
    terminal = Terminal()
    with ProgressReport(stream=terminal) as report:
        report.show(Progress("Embedding"))
        for done in range(90_000, 90_050, 10):
            report.show(Progress("Embedding", done, 100_000, "sentences", "a CPU", 90_000))
            time.sleep(0.21)
    assert "a CPU, 90,000 from the cache" in terminal.text
    rates = [float(rate) for rate in re.findall(r"([\d.]+) sentences/s", terminal.text)]
    assert rates
    assert max(rates) < 500


def test_a_long_stage_tells_a_log_how_far_it_is(capsys, monkeypatch):
    clock = iter(np.arange(0, 1000, 50.0))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    with ProgressReport() as report:
        for done in range(0, 1001, 250):
            report.show(Progress("Embedding", done, 1000, "sentences"))
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"Embedding: [257]50 of 1,000 sentences, \d+ min left", lines[0])
    assert lines[-1].startswith("Embedding: 1,000 sentences, ")


# ---- as a process of its own


@pytest.fixture
def command(tmp_path):
    """Start the command line as a shell would, in a process group of its own."""
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "napari_cellama.cli", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd=tmp_path,
            preexec_fn=None if os.name == "nt" else heed_interrupts,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def heed_interrupts():
    """Take Ctrl-C: what a shell starts in the background, such as these tests, does not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def is_gone(group):
    """Wait up to 10 s for a process group to have no process left."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_and_leaves_nothing(command, tmp_path, number, code):
    path = nc.write(nc.sample.tissue(3000, images=False), tmp_path / "in.h5ad")
    process = command("run", path, "out.h5ad")
    for line in process.stderr:
        if line.startswith("Model:"):
            break
    # As Ctrl-C does, to everything that was started.
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert os.listdir(tmp_path) == ["in.h5ad"]
    assert is_gone(process.pid), "the model's process is still there"


def test_a_real_run_of_a_read_only_input(command, tmp_path):
    path = nc.write(small_section(12), tmp_path / "Schnitt 1 é.h5ad")
    path.chmod(0o444)
    output = tmp_path / "Ausgabe 1 é.zarr"
    process = command("run", path, output, "--n-clusters", "2", "--n-neighbors", "4")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out == f"2 niches in 12 cells; written to {output}\n"
    adata = nc.read(path)
    nc.run(adata, n_clusters=2, n_neighbors=4, progress=False)
    assert list(nc.read(output).obs["niche"]) == list(adata.obs["niche"])
