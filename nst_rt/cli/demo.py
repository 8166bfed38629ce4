"""Stylize a film that comes in a Python package, and lay out photos to try next."""

import argparse
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from nst_rt.cli.options import STYLE_HELP
from nst_rt.cli.report import Report, loading, progress
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
    with loading():
        from nst_rt.infer.demo import run_demo

    with progress("stylizing") as advance:
        done = run_demo(progress=advance, **options)
    report = conversion_report(done)
    folder = done.output.parent
    commands = next_commands(folder)
    lines = [
        report.text,
        f"before and after: {folder / 'before_after.png'}",
        "try next:",
        *(f"  {command}" for command in commands),
    ]
    return replace(report, text="\n".join(lines), facts=report.facts | {"next": commands})


def next_commands(folder: Path) -> list[str]:
    """Commands to type next, on the files of a demo."""
    from nst_rt.infer.packaged import FILM

    photos, paintings = (sorted((folder / name).iterdir()) for name in ("photos", "paintings"))
    commands = (
        ("image", photos[0], "--style", "great_wave"),
        ("styles", photos[1]),
        ("optimize", photos[-1], "--style-image", paintings[0]),
        ("video", folder / FILM, "--style", "starry_night@0,udnie@3", "--compare"),
        ("web",),
    )
    return [shlex.join(map(str, ("nst-rt", *command))) for command in commands]
