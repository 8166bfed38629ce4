"""What this machine has for stylizing, and how fast it is."""

import platform
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from nst_rt.infer.backends import installed_version
from nst_rt.infer.backends.onnx import onnx_providers
from nst_rt.infer.backends.openvino import core
from nst_rt.infer.backends.timing import frames_per_second
from nst_rt.infer.stylizer import load_style
from nst_rt.version import __version__

SIZES = ((640, 480), (1280, 720), (1920, 1080))
_PACKAGES = ("torch", "openvino", "onnxruntime", "opencv-python", "av", "lightning")
# Those that decide how fast a processor multiplies.
_INSTRUCTIONS = (
    *("amx_bf16", "amx_int8", "avx512_bf16", "avx512_fp16", "avx512_f", "avx2"),
    *("bf16", "neon", "sve"),
)


@dataclass(frozen=True)
class MachineInfo:
    """What there is.

    Attributes:
        versions: of nst-rt, Python and the packages that compute; None for one that is missing.
        processor: its name.
        cores: that PyTorch computes on.
        instructions: of the processor, those that matter here.
        devices: backend -> what it can run on, by the names that it is asked for with.
        engine: backend, precision and device that would run.
        why: they would.
        fps: frame size -> frames per second of the default style, model alone.
    """

    versions: dict[str, str | None]
    processor: str
    cores: int
    instructions: list[str]
    devices: dict[str, list[str]]
    engine: str
    why: str
    fps: dict[str, float]


def machine_info(*, on_size: Callable[[int, int, str], None] | None = None) -> MachineInfo:
    """Look at this machine, and time the default style on it for some seconds.

    Args:
        on_size: called with the number of sizes timed, that of all, and the last size.
    """
    stylizer = load_style(stroke_size="1:1")
    fps = {}
    for width, height in SIZES:
        frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        fps[f"{width}x{height}"] = frames_per_second(stylizer.stylize, frame)
        if on_size is not None:
            on_size(len(fps), len(SIZES), f"{width}x{height}")
    there = torch.cpu.get_capabilities()
    return MachineInfo(
        versions={
            "nst-rt": __version__,
            "python": platform.python_version(),
            **{package: installed_version(package) for package in _PACKAGES},
        },
        processor=str(core().get_property("CPU", "FULL_DEVICE_NAME")).strip(),
        cores=torch.get_num_threads(),
        instructions=[name for name in _INSTRUCTIONS if there.get(name)],
        devices=_devices(),
        engine=str(stylizer),
        why=stylizer.choice.why,
        fps=fps,
    )


def _devices() -> dict[str, list[str]]:
    cuda = range(torch.cuda.device_count())
    found = {
        "openvino": [name.lower() for name in core().available_devices],
        "torch": ["cpu", *(f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in cuda)],
    }
    if torch.backends.mps.is_available():
        found["torch"].append("mps")
    if installed_version("onnxruntime"):
        found["onnx"] = list(onnx_providers())
    return found
