"""What this machine has for stylizing, and how fast it is: `nst-rt info`."""

import platform
from dataclasses import dataclass

import numpy as np
import torch

from nst_rt.infer.backends import frames_per_second, installed_version
from nst_rt.infer.backends.onnx import onnx_providers
from nst_rt.infer.backends.openvino import core
from nst_rt.infer.stylizer import load_style
from nst_rt.progress import Progress
from nst_rt.version import __version__

SIZES = ((640, 480), (1280, 720), (1920, 1080))
_PACKAGES = ("torch", "openvino", "onnxruntime", "opencv-python", "av", "lightning")
# Instruction sets that decide how fast a processor multiplies matrices.
_INSTRUCTIONS = (
    *("amx_bf16", "amx_int8", "avx512_bf16", "avx512_fp16", "avx512_f", "avx2"),
    *("bf16", "neon", "sve"),
)


@dataclass(frozen=True)
class MachineInfo:
    """What this machine has.

    Attributes:
        versions: versions of nst-rt, Python and the packages that compute; None for a missing one.
        processor: name of the processor.
        cores: number of threads that PyTorch computes on.
        instructions: instruction sets of the processor that matter for speed.
        devices: backend -> names of the devices that it can run on.
        backend: backend, precision and device that run by default.
        why: reason for this choice.
        fps: frame size -> frames per second of the default style, network alone.
    """

    versions: dict[str, str | None]
    processor: str
    cores: int
    instructions: list[str]
    devices: dict[str, list[str]]
    backend: str
    why: str
    fps: dict[str, float]


def machine_info(*, progress: Progress | None = None) -> MachineInfo:
    """Inspect this machine, and time the default style on it for some seconds.

    Args:
        progress: called after each frame size that was timed.
    """
    stylizer = load_style(stroke_size="1:1")
    fps = {}
    for width, height in SIZES:
        frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        fps[f"{width}x{height}"] = frames_per_second(stylizer, frame)
        if progress:
            progress(len(fps), len(SIZES), f"{width}x{height}")
    capabilities = torch.cpu.get_capabilities()
    return MachineInfo(
        versions={
            "nst-rt": __version__,
            "python": platform.python_version(),
            **{package: installed_version(package) for package in _PACKAGES},
        },
        processor=str(core().get_property("CPU", "FULL_DEVICE_NAME")).strip(),
        cores=torch.get_num_threads(),
        instructions=[name for name in _INSTRUCTIONS if capabilities.get(name)],
        devices=_devices(),
        backend=str(stylizer),
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
