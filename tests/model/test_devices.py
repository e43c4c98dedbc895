"""What the window says about the device, on machines that are made up."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from napari_cellama.core import devices
from napari_cellama.core.devices import describe_device, refuse_absent
from napari_cellama.errors import UserError

posix = pytest.mark.skipif(os.name != "posix", reason="the fake nvidia-smi is a shell script")


@pytest.fixture(autouse=True)
def forget():
    """Look at the machine anew, before and after."""
    cached = (devices.cpu_name, devices.gpu_names, devices.torch_build)
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


@pytest.fixture
def two_gpus(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho NVIDIA H200\necho NVIDIA T4\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def torch_for(tmp_path, monkeypatch):
    """Pretend that the installed PyTorch was built for something."""

    def pretend(text):
        (tmp_path / "version.py").write_text(text)
        spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
        monkeypatch.setattr(devices, "find_spec", lambda name: spec)

    return pretend


CUDA = "from typing import Optional\ncuda: Optional[str] = '12.8'\nhip: Optional[str] = None\n"
CPU = "from typing import Optional\ncuda: Optional[str] = None\nhip: Optional[str] = None\n"
ROCM = "cuda: Optional[str] = None\nhip: Optional[str] = '6.4'\n"


@pytest.mark.parametrize(("text", "build"), [(CUDA, "cuda"), (CPU, "cpu"), (ROCM, "rocm")])
def test_the_kind_of_pytorch_is_read_not_imported(torch_for, text, build):
    torch_for(text)
    assert devices.torch_build() == build


def test_no_pytorch_at_all(monkeypatch):
    monkeypatch.setattr(devices, "find_spec", lambda name: None)
    assert devices.torch_build() == ""


def test_the_processor_and_its_cores(monkeypatch):
    monkeypatch.setattr(devices, "_cpu_model", lambda: "AMD EPYC")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 5}, raising=False)
    assert describe_device("cpu") == "CPU (AMD EPYC, 2 cores)"


@posix
def test_gpus_by_number(two_gpus, torch_for):
    torch_for(CUDA)
    assert describe_device("auto") == "NVIDIA H200"
    assert describe_device("cuda:1") == "NVIDIA T4"
    assert describe_device("cuda:2") == "There is no cuda:2, only 2 GPUs"
    assert describe_device("cpu").startswith("CPU (")


@posix
@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("1", ("NVIDIA T4",)),
        ("1,0", ("NVIDIA T4", "NVIDIA H200")),
        ("0,7,1", ("NVIDIA H200",)),
        ("-1", ()),
        ("", ()),
    ],
)
def test_gpus_that_are_hidden(two_gpus, monkeypatch, visible, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.gpu_names() == names


@posix
def test_a_gpu_that_pytorch_cannot_use_comes_with_the_remedy(two_gpus, torch_for):
    torch_for(CPU)
    text = describe_device("auto")
    assert text.startswith("CPU (")
    assert "to use the NVIDIA H200" in text
    assert "pip install" in text


def test_no_gpu(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(devices, "has_mps", lambda: False)
    assert describe_device("auto").startswith("CPU (")
    assert describe_device("cuda") == "No NVIDIA GPU found"
    assert describe_device("mps") == "No Apple GPU found"


@posix
def test_all_gpus_together(two_gpus, torch_for):
    torch_for(CUDA)
    assert describe_device("cuda") == "NVIDIA H200 + NVIDIA T4"


@posix
def test_absent_devices_are_refused_from_outside(two_gpus, torch_for):
    torch_for(CUDA)
    for there in ("auto", "cpu", "cuda", "cuda:1"):
        refuse_absent(there)
    with pytest.raises(UserError, match=r"'cuda:2' cannot be used: There is no cuda:2, only 2"):
        refuse_absent("cuda:2")
    torch_for(CPU)
    devices.torch_build.cache_clear()
    with pytest.raises(UserError, match=r"can only use the CPU .* PyTorch needs a build for it"):
        refuse_absent("cuda")


def test_what_cannot_be_known_is_not_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(devices, "torch_build", lambda: "rocm")
    refuse_absent("cuda:3")
    monkeypatch.setattr(devices, "torch_build", lambda: "cpu")
    with pytest.raises(UserError, match="'cuda' cannot be used: No NVIDIA GPU found; or choose"):
        refuse_absent("cuda")
