"""What PyTorch finds on this machine; imports it. :mod:`~.devices` asks the system instead."""

from __future__ import annotations

from napari_cellama.core.devices import cpu_name
from napari_cellama.errors import UserError


def device_groups(device: str) -> list[list[str]]:
    """Return the devices to try, best first; those of a group share the work.

    Parameters
    ----------
    device
        ``"auto"`` (the first GPU if there is one, then the CPU), ``"cpu"``, ``"mps"``,
        ``"cuda"`` (all NVIDIA GPUs that this process may use) or ``"cuda:N"`` (one of them).

    Raises
    ------
    UserError
        When the one that was asked for is not there.
    """
    import torch

    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    others = ["mps"] if torch.backends.mps.is_available() else []
    found = [*gpus, *others, "cpu"]
    if device == "auto":
        return [["cpu"]] if found[0] == "cpu" else [[found[0]], ["cpu"]]
    if device == "cuda" and gpus:
        return [gpus]
    if device not in found:
        raise UserError(
            f"PyTorch finds no device {device!r} here; choose 'auto' or one of: {', '.join(found)}."
        )
    return [[device]]


def device_name(devices: list[str]) -> str:
    """Return what people call devices that share the work, e.g. ``"2 x NVIDIA H200"``."""
    names = [_name(device) for device in devices]
    if len(names) == 1:
        return names[0]
    return f"{len(names)} x {names[0]}" if len(set(names)) == 1 else " + ".join(names)


def computes_bfloat16(device: str) -> bool:
    """Whether a device multiplies bfloat16 matrices in hardware."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if hasattr(torch.cpu, "get_capabilities"):
        has = torch.cpu.get_capabilities()
        return any(has.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return torch.cpu._is_avx512_bf16_supported()


def is_out_of_memory(error: Exception) -> bool:
    """Whether a computation failed only because it was too large."""
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
    )


def reason(error: BaseException) -> str:
    """Return the first line of an error's message, without its full stop."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(". ") if lines else type(error).__name__


def _name(device: str) -> str:
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return "Apple GPU (MPS)" if device == "mps" else cpu_name()
