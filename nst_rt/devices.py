"""PyTorch devices: their choice, their fast precision and their free memory."""

from pathlib import Path

import torch

from nst_rt.errors import BackendError

# PyTorch's capability of a CPU without AVX-512, or with AVX-512 disabled.
_BELOW_AVX512 = ("DEFAULT", "AVX2")


def torch_device(name: str | torch.device | None = None) -> torch.device:
    """The device of that name; by default a GPU (CUDA or MPS) if there is one, else the CPU.

    Raises:
        BackendError: the device is not available.
    """
    if name is None:
        has_mps = torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        cause = str(error).splitlines()[0].partition(". ")[0]  # CUDA goes on about drivers
        raise BackendError(f"PyTorch device {str(name)!r} is not available ({cause})") from error
    return device


def fast_dtype(device: torch.device | str) -> torch.dtype:
    """bfloat16 if `device` multiplies it in hardware, else float32.

    Never float16, in which Gram matrices overflow. `ATEN_CPU_CAPABILITY=avx2`, which disables
    AVX-512 in PyTorch, also disables bfloat16.
    """
    device = torch.device(device)
    has_bf16 = False
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(False)
    elif device.type == "cpu" and torch.backends.cpu.get_cpu_capability() not in _BELOW_AVX512:
        capabilities = torch.cpu.get_capabilities()
        has_bf16 = any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16"))
    return torch.bfloat16 if has_bf16 else torch.float32


def available_memory(device: torch.device) -> float:
    """Free memory of a device for this process, bytes."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    import psutil  # a machine that only trains on a GPU may lack it

    free = float(psutil.virtual_memory().available)
    # A container may get less than the machine has (control groups, versions 2 and 1). The page
    # cache does not count as used.
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):
        file = Path("/sys/fs/cgroup", limit)
        if file.exists() and (total := file.read_text().strip()) != "max":
            free = min(free, float(total) - psutil.Process().memory_info().rss)
    return free
