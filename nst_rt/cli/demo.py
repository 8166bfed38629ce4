"""Stylize a film that comes in a Python package, and lay out photos to try next."""

import argparse
from dataclasses import replace
from typing import Any

from nst_rt.cli.options import STYLE_HELP
from nst_rt.cli.report import Report, progress
from nst_rt.cli.video import conversion_report

SHORT = "try it on a short film"
EXAMPLES = ("", "--style great_wave -o demo2")
DEFAULTS_OF = "nst_rt.infer.demo:run_demo"


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "-o",
        "--output",
        dest="out",
        metavar="FOLDER",
        help="folder to write to; files of an earlier demo are replaced (default: demo)",
    )
    p.add_argument("--style", metavar="S", help=STYLE_HELP)


def run(**options: Any) -> Report:
    """Stylize a film that comes in a Python package, and lay out photos to try next."""
    from nst_rt.infer.demo import run_demo

    with progress("stylizing") as advance:
        done = run_demo(progress=advance, **options)
    report = conversion_report(done)
    folder = done.output.parent
    text = (
        f"{report.text}\nbefore and after: {folder / 'before_after.png'}\n"
        f"to try next: {folder / 'photos'}, {folder / 'paintings'}"
    )
    return replace(report, text=text)
