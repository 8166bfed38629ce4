"""Which device and which precision, whatever this machine has."""

from collections.abc import Callable

import pytest
import torch

from nst_rt.devices import fast_dtype, torch_device
from nst_rt.errors import BackendError


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes GPUs be there, or not."""

    def there(*, cuda: bool, mps: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        zeros = torch.zeros
        monkeypatch.setattr(torch, "zeros", lambda size, device: zeros(size))  # on any of them

    return there


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_a_gpu_is_taken_where_there_is_one(
    gpus: Callable[..., None], cuda: bool, mps: bool, chosen: str
) -> None:
    gpus(cuda=cuda, mps=mps)
    assert torch_device() == torch.device(chosen)
    assert torch_device("cpu") == torch.device("cpu")


def test_a_device_that_is_not_there_is_an_error() -> None:
    with pytest.raises(BackendError, match="'nonsense'"):
        torch_device("nonsense")


def test_the_gpus_of_apple_compute_in_float32() -> None:
    assert fast_dtype("mps") is torch.float32


@pytest.mark.parametrize(
    ("there", "capability", "dtype"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, "AVX512", torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": True}, "AVX512", torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": False}, "AVX512", torch.float32),
        # What ATEN_CPU_CAPABILITY makes of a processor that has it.
        ({"amx_bf16": True, "avx512_bf16": True}, "AVX2", torch.float32),
        ({"amx_bf16": True, "avx512_bf16": True}, "DEFAULT", torch.float32),
        ({"neon": True, "bf16": True}, "DEFAULT", torch.float32),
    ],
)
def test_bfloat16_is_for_processors_that_multiply_it_and_are_let(
    monkeypatch: pytest.MonkeyPatch, there: dict[str, bool], capability: str, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: there)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert fast_dtype("cpu") is dtype
