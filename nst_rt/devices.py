"""The devices that PyTorch computes on, and the precision that suits each."""

import torch

from nst_rt.errors import BackendError


def torch_device(name: str | torch.device | None = None) -> torch.device:
    """The device of that name; by default a GPU where there is one, else the CPU.

    Raises:
        BackendError: a device that is not there.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        cause = str(error).splitlines()[0]
        raise BackendError(f"PyTorch has no device {str(name)!r} here ({cause})") from error
    return device


def fast_dtype(device: torch.device | str) -> torch.dtype:
    """bfloat16 where `device` multiplies it in hardware, float32 elsewhere.

    Never float16: Gram matrices overflow in it.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float32
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    has_bf16 = capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")
    return torch.bfloat16 if has_bf16 else torch.float32
