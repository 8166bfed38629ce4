"""Choice of device and precision, whatever this machine has."""

import pytest
import torch

from nst_rt.devices import fast_dtype, torch_device
from nst_rt.errors import BackendError


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_gpu_is_the_default_device(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda size, device: zeros(size))  # accepts any device
    assert torch_device() == torch.device(expected)
    assert torch_device("cpu") == torch.device("cpu")


def test_unavailable_device_is_an_error() -> None:
    with pytest.raises(BackendError, match="'nonsense'"):
        torch_device("nonsense")


def test_mps_computes_in_float32() -> None:
    assert fast_dtype("mps") is torch.float32


@pytest.mark.parametrize(
    ("capabilities", "capability", "dtype"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, "AVX512", torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": True}, "AVX512", torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": False}, "AVX512", torch.float32),
        # With ATEN_CPU_CAPABILITY set on a processor that has AVX-512.
        ({"amx_bf16": True, "avx512_bf16": True}, "AVX2", torch.float32),
        ({"amx_bf16": True, "avx512_bf16": True}, "DEFAULT", torch.float32),
        ({"neon": True, "bf16": True}, "DEFAULT", torch.float32),
    ],
)
def test_bfloat16_needs_hardware_and_permission(
    monkeypatch: pytest.MonkeyPatch,
    capabilities: dict[str, bool],
    capability: str,
    dtype: torch.dtype,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert fast_dtype("cpu") is dtype
