"""The backends that run a network on frames: OpenVINO, PyTorch and ONNX Runtime.

This package must not use the name `torch` itself, which its module `torch` would take over.
"""

from nst_rt.infer.backends.choice import Choice, choose, create_backend, installed_version
from nst_rt.infer.backends.protocol import (
    BACKENDS,
    DTYPES,
    IN_FLIGHT,
    PRECISIONS,
    Backend,
    BackendName,
    Frames,
    Pending,
    Precision,
)

__all__ = [
    "BACKENDS",
    "DTYPES",
    "IN_FLIGHT",
    "PRECISIONS",
    "Backend",
    "BackendName",
    "Choice",
    "Frames",
    "Pending",
    "Precision",
    "choose",
    "create_backend",
    "installed_version",
]
