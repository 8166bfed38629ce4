"""Networks in ONNX, for ONNX Runtime and for files."""

import logging
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import torch

from nst_rt.errors import BackendError

if TYPE_CHECKING:
    from onnx import ModelProto

_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_SIDES = ("count", "height", "width")


def onnx_versions() -> dict[str, str]:
    """Of the packages that ONNX takes.

    Raises:
        BackendError: one is not installed.
    """
    try:
        return {package: version(package) for package in _PACKAGES}
    except PackageNotFoundError as error:
        raise BackendError(f"{error.name} is missing: pip install 'nst-rt[onnx]'") from error


def onnx_graph(program: torch.export.ExportedProgram) -> "ModelProto":
    """An exported `FrameNet` or `StyledFrameNet` in ONNX, its inputs named as there.

    The output is named `stylized`.

    Raises:
        BackendError: a package is not installed.
    """
    onnx_versions()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    made = torch.onnx.export(
        program,
        input_names=program.graph_signature.user_inputs,
        output_names=["stylized"],
        dynamo=True,
        verbose=False,
    )
    assert made is not None
    model: ModelProto = made.model_proto
    for value in (model.graph.input[0], model.graph.output[0]):
        for dim, name in zip(value.type.tensor_type.shape.dim, _SIDES, strict=False):
            dim.dim_param = name  # torch names them s45 and the like
    return model
