"""The devices that PyTorch computes on: the precision that suits each, and its free memory."""

from pathlib import Path

import torch

from nst_rt.errors import BackendError

# What PyTorch says where a processor has no AVX-512, or where it was told to do without.
_BELOW_AVX512 = ("DEFAULT", "AVX2")


def torch_device(name: str | torch.device | None = None) -> torch.device:
    """The device of that name; by default a GPU (CUDA, else Apple's MPS), else the CPU.

    Raises:
        BackendError: a device that is not there.
    """
    name = name or _fastest()
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        cause = str(error).splitlines()[0]
        raise BackendError(f"PyTorch has no device {str(name)!r} here ({cause})") from error
    return device


def fast_dtype(device: torch.device | str) -> torch.dtype:
    """bfloat16 where `device` multiplies it in hardware, float32 elsewhere.

    Never float16: Gram matrices overflow in it. `ATEN_CPU_CAPABILITY=avx2`, which tells PyTorch to
    do without AVX-512, turns bfloat16 off too.
    """
    device = torch.device(device)
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(False)
    else:
        has_bf16 = device.type == "cpu" and _cpu_has_bf16()
    return torch.bfloat16 if has_bf16 else torch.float32


def _fastest() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _cpu_has_bf16() -> bool:
    there = torch.cpu.get_capabilities()
    has_bf16 = there.get("amx_bf16") or there.get("avx512_bf16")
    return bool(has_bf16) and torch.backends.cpu.get_cpu_capability() not in _BELOW_AVX512


def available_memory(device: torch.device) -> float:
    """Bytes that are free on a device, for this process."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    import psutil  # not on every machine that only trains

    free = float(psutil.virtual_memory().available)
    # A container may get less than the machine has (control groups, version 2 and 1). What the
    # process itself has taken is little before the work starts; page cache does not count.
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):
        file = Path("/sys/fs/cgroup", limit)
        if file.exists() and (total := file.read_text().strip()) != "max":
            free = min(free, float(total) - psutil.Process().memory_info().rss)
    return free
