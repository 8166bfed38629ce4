"""The backends that run a network on frames: OpenVINO, PyTorch and ONNX Runtime.

This package must not use the name `torch` itself, which its module `torch` would take over.
"""

from nst_rt.infer.backends.choice import (
    Choice,
    choose,
    create_backend,
    frames_per_second,
    installed_version,
)
from nst_rt.infer.backends.protocol import (
    DTYPES,
    IN_FLIGHT,
    Backend,
    BackendName,
    Frames,
    Precision,
)

__all__ = [
    "DTYPES",
    "IN_FLIGHT",
    "Backend",
    "BackendName",
    "Choice",
    "Frames",
    "Precision",
    "choose",
    "create_backend",
    "frames_per_second",
    "installed_version",
]
