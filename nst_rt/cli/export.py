"""Export a style model for other programs: ONNX, OpenVINO or PyTorch."""

import argparse
from typing import Any

from nst_rt.cli.options import MODEL_HELP, add_overwrite
from nst_rt.cli.report import Report

SHORT = "ONNX, OpenVINO or PyTorch"
EXAMPLES = ("starry_night", "starry_night -o starry_night.xml")
DEFAULTS_OF = "nst_rt.infer.export:export_model"


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("model", metavar="STYLE", help=MODEL_HELP)
    p.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="file to write: .onnx, .xml for OpenVINO or .pt2 for PyTorch (default: STYLE.onnx)",
    )
    p.add_argument(
        "--format",
        choices=("onnx", "openvino", "torch"),
        help="format of the file (default: that of its suffix)",
    )
    add_overwrite(p)


def run(model: str, **options: Any) -> Report:
    """Export a style model for other programs: ONNX, OpenVINO or PyTorch."""
    from dataclasses import asdict

    from nst_rt.infer.export import export_model

    done = export_model(model, **options)
    return Report(
        f"{done.output}: {done.format}, styles: {', '.join(done.styles)}; differs from PyTorch by "
        f"at most {done.difference} of 255 levels",
        {**asdict(done), "output": str(done.output)},
    )
