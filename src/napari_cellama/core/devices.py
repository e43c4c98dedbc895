"""What the language model can run on here, found without importing torch.

The window shows the device before anything has been started, and importing torch would cost it
seconds. So names come from the system (``nvidia-smi``, ``/proc/cpuinfo``, ``sysctl``) and the
kind of PyTorch from the text of its ``version.py``.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from napari_cellama.errors import UserError


def describe_device(device: str = "auto") -> str:
    """Return in words what the language model will run on.

    Parameters
    ----------
    device
        ``"auto"``, ``"cpu"``, ``"mps"``, ``"cuda"`` or ``"cuda:N"``, as in the recipe.

    Returns
    -------
    str
        E.g. ``"NVIDIA H200"`` or ``"CPU (AMD EPYC, 2 cores)"``. Where there is a GPU that the
        installed PyTorch cannot use, the CPU's name and the command that mends it.
    """
    gpus = gpu_names()
    if device == "cpu" or (device == "auto" and not gpus and not has_mps()):
        return cpu_name()
    if device == "mps" or (device == "auto" and not gpus):
        return f"{_cpu_model() or 'Apple GPU'} (MPS)" if has_mps() else "No Apple GPU found"
    if device == "cuda" and len(gpus) > 1 and torch_build() != "cpu":
        same = len(set(gpus)) == 1
        return f"{len(gpus)} x {gpus[0]}" if same else " + ".join(gpus)
    number = int(device.partition(":")[2] or 0)
    if number >= len(gpus):
        count = f"only {len(gpus)} GPU{'s' if len(gpus) > 1 else ''}"
        return f"There is no {device}, {count}" if gpus else "No NVIDIA GPU found"
    if torch_build() == "cpu":
        return (
            f"{cpu_name()}; to use the {gpus[number]}, PyTorch needs a build for it: "
            f"{gpu_torch_command()}"
        )
    return gpus[number]


def refuse_absent(device: str) -> None:
    """Refuse a device that this machine or its PyTorch surely lacks, without starting anything.

    Raises
    ------
    UserError
        With what there is instead. What cannot be known from outside is not refused here.
    """
    if device in ("auto", "cpu"):
        return
    build = torch_build()
    if device == "mps":
        absent = not has_mps()
    elif build == "cpu":
        absent = True
    else:
        # Without nvidia-smi nothing is known, and ROCm has another program.
        known = build == "cuda" and shutil.which("nvidia-smi") is not None
        absent = known and int(device.partition(":")[2] or 0) >= len(gpu_names())
    if absent:
        found = describe_device(device)
        found = f"PyTorch can only use the {found}" if found.startswith("CPU (") else found
        raise UserError(f"The device {device!r} cannot be used: {found}; or choose 'auto'.")


@cache
def cpu_name() -> str:
    """Return the processor's name and how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    model = _cpu_model()
    return f"CPU ({model + ', ' if model else ''}{cores} core{'s' if cores > 1 else ''})"


@cache
def gpu_names() -> tuple[str, ...]:
    """Return the names of the NVIDIA GPUs that this process may use, as cuda:0, cuda:1, …"""
    names = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()
    names = [name.strip() for name in names if name.strip()]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not names:
        return tuple(names)
    numbers = [item.strip() for item in visible.split(",") if item.strip()]
    if not all(re.fullmatch(r"-?\d+", item) for item in numbers):
        return tuple(names[: len(numbers)])  # named by UUID; machines rarely mix kinds
    chosen = []
    for number in map(int, numbers):
        if not 0 <= number < len(names):
            break  # CUDA, too, takes the list only up to the first number that does not exist
        chosen.append(names[number])
    return tuple(chosen)


def has_mps() -> bool:
    """Whether this is a Mac whose GPU PyTorch can use."""
    return sys.platform == "darwin" and platform.machine() == "arm64"


@cache
def torch_build() -> str:
    """Return what the installed PyTorch was built for: "cuda", "rocm", "cpu" or "" (none here)."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return ""
    try:
        text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    except OSError:
        return ""
    for build, name in (("cuda", "cuda"), ("rocm", "hip")):
        if re.search(rf"^{name}\b.*=\s*['\"]", text, re.MULTILINE):
            return build
    return "cpu"


def gpu_torch_command() -> str:
    """Return the command that installs a PyTorch that can use an NVIDIA GPU."""
    command = "pip install --upgrade --force-reinstall torch"
    if sys.platform == "win32":  # what PyPI holds for Windows is the CPU's build
        command += " --index-url https://download.pytorch.org/whl/cu128"
    return command


@cache
def _cpu_model() -> str:
    """Return the processor's brand name, or "" where the system does not say."""
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string").strip()
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else ""


def _output(*command: str) -> str:
    """Return what a short command prints, or "" where it is absent or fails."""
    hidden = {"creationflags": subprocess.CREATE_NO_WINDOW} if sys.platform == "win32" else {}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, **hidden)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""
