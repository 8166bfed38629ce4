"""Style models as files for other programs: uint8 BGR frames in and out, the style as an input."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nst_rt.errors import BackendError
from nst_rt.files import check_format, check_output
from nst_rt.infer.backends import Frames
from nst_rt.infer.backends.graph import StyledFrameNet, exported
from nst_rt.infer.backends.onnx import onnx_graph
from nst_rt.infer.timeline import style_label
from nst_rt.models.style_model import OneStyle, find_style

ExportFormat = Literal["onnx", "openvino", "torch"]
EXPORT_FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)
_SUFFIXES: dict[ExportFormat, str] = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
_CHECKED_SIZES = ((480, 640), (45, 67))
_TOLERANCE = 1  # maximum difference of a pixel from PyTorch in float32, levels of 255

Run = Callable[[Frames, npt.NDArray[np.float32]], Frames]


@dataclass(frozen=True)
class Export:
    """An exported model.

    Attributes:
        output: the file; OpenVINO's weights lie beside it as .bin.
        format: format of the file.
        styles: names of the styles, in the order of the weights that the model takes.
        difference: maximum difference of a pixel from PyTorch, levels of 255.
    """

    output: Path
    format: ExportFormat
    styles: list[str]
    difference: int


def export_model(
    model: OneStyle,
    output: str | Path | None = None,
    *,
    format: ExportFormat | None = None,
    overwrite: bool = False,
) -> Export:
    """Write a style model for other programs, and compare its output with PyTorch's.

    Its inputs are `frames`, shape (N, H, W, 3), uint8 BGR, of any number and any size from 16 px,
    and `style`, convex weights over the styles, shape (1, S), float32; the output has the shape of
    `frames`. The names of the styles are in the file's metadata.

    Args:
        model: a style of the gallery, a model file, FILE:NAME, or a `StyleModel`; all of its styles
            are exported.
        output: file to write: .onnx (ONNX), .xml (OpenVINO, with a .bin beside it) or .pt2
            (`torch.export`); by default one named after the model in the current folder.
        format: `onnx`, `openvino` or `torch`; by default the format of the output's suffix, or
            `onnx`.
        overwrite: whether to replace an existing output.

    Raises:
        InputError: a suffix that is not the format's.
        OutputExistsError: the output exists and `overwrite` is False.
        UnknownNameError, StyleModelError: see `find_style`.
        BackendError: a missing package, or an exported model whose output differs.
    """
    suffixes = list(_SUFFIXES.values()) if format is None else [_SUFFIXES[format]]
    if output is None:
        output = style_label(model) + suffixes[0]
    output = check_format(output, "model", suffixes, overwrite=overwrite)
    suffix = output.suffix.lower()
    if suffix == ".xml":
        check_output(output.with_suffix(".bin"), overwrite=overwrite)
    chosen = next(name for name in EXPORT_FORMATS if _SUFFIXES[name] == suffix)
    found, _ = find_style(model)
    net = StyledFrameNet(found.network)
    with TemporaryDirectory(dir=output.parent, prefix=f".{output.stem}-") as folder:
        file = Path(folder, f"model{suffix}")
        run = _WRITERS[chosen](exported(net), found.style_names, file)
        difference = _difference(run, net)
        if difference > _TOLERANCE:
            raise BackendError(
                f"{output}: not written, since the exported model differs from PyTorch by "
                f"{difference} levels of 255"
            )
        if suffix == ".xml":  # the .xml refers to it, and must come last
            file.with_suffix(".bin").replace(output.with_suffix(".bin"))
        file.replace(output)
    return Export(output, chosen, found.style_names, difference)


def _difference(run: Run, net: StyledFrameNet) -> int:
    """Maximum difference of the results, levels of 255, over several sizes and blends."""
    generator = np.random.default_rng(0)
    styles = net.network.styles
    largest = 0
    for (height, width), style in product(_CHECKED_SIZES, (0, styles - 1)):
        frames = generator.integers(0, 256, (1, height, width, 3), np.uint8)
        weights = np.full((1, styles), 0.5 / styles, np.float32)
        weights[0, style] += 0.5
        with torch.no_grad():
            expected = net(torch.from_numpy(frames), torch.from_numpy(weights)).numpy()
        got = run(frames, weights)
        largest = max(largest, int(np.abs(got.astype(int) - expected).max()))
    return largest


def _write_onnx(program: torch.export.ExportedProgram, styles: list[str], file: Path) -> Run:
    model = onnx_graph(program)
    model.metadata_props.add(key="styles", value=json.dumps(styles))
    file.write_bytes(model.SerializeToString())
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda frames, style: session.run(None, {"frames": frames, "style": style})[0]


def _write_openvino(program: torch.export.ExportedProgram, styles: list[str], file: Path) -> Run:
    import openvino as ov

    model = ov.convert_model(program)
    model.set_rt_info(json.dumps(styles), ["styles"])
    ov.save_model(model, file, compress_to_fp16=False)
    compiled = ov.compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda frames, style: compiled([frames, style])[0]


def _write_torch(program: torch.export.ExportedProgram, styles: list[str], file: Path) -> Run:
    torch.export.save(program, file, extra_files={"styles.json": json.dumps(styles)})
    loaded = torch.export.load(file).module()

    def run(frames: Frames, style: npt.NDArray[np.float32]) -> Frames:
        with torch.no_grad():
            stylized: Tensor = loaded(torch.from_numpy(frames), torch.from_numpy(style))
        return np.asarray(stylized)

    return run


_WRITERS: dict[ExportFormat, Callable[[torch.export.ExportedProgram, list[str], Path], Run]] = {
    "onnx": _write_onnx,
    "openvino": _write_openvino,
    "torch": _write_torch,
}
