"""Write a style model for other programs: ONNX, OpenVINO or PyTorch."""

import argparse
from typing import Any

from nst_rt.cli.options import MODEL_HELP, add_overwrite
from nst_rt.cli.report import Report

EXAMPLES = ("starry_night -o starry_night.onnx",)


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    p.add_argument(
        "-o", "--output", required=True, metavar="OUT", help=".onnx, .xml (OpenVINO) or .pt2"
    )
    p.add_argument("--format", choices=("onnx", "openvino", "torch"), help="default: the suffix's")
    add_overwrite(p)


def run(model: str, output: str, **options: Any) -> Report:
    """Write a style model for other programs: ONNX, OpenVINO or PyTorch."""
    from dataclasses import asdict

    from nst_rt.infer.export import export_model

    done = export_model(model, output, **options)
    return Report(
        f"{done.output}: {done.format}, styles: {', '.join(done.styles)}; paints as PyTorch does, "
        f"to {done.difference} of 255 levels",
        {**asdict(done), "output": str(done.output)},
    )
