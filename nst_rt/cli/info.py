"""Show what this machine has, which backend runs here, and how fast."""

import argparse

from nst_rt.cli.report import Report, progress

SHORT = "what this machine can do"
EXAMPLES = ("",)


def add_arguments(p: argparse.ArgumentParser) -> None:
    del p


def run() -> Report:
    """Show what this machine has, which backend runs here, and how fast."""
    from dataclasses import asdict

    from nst_rt.infer.backends.system import machine_info

    with progress("timing") as advance:
        found = machine_info(progress=advance)
    versions = ", ".join(f"{name} {number or 'missing'}" for name, number in found.versions.items())
    devices = "; ".join(f"{name}: {', '.join(those)}" for name, those in found.devices.items())
    rates = ", ".join(f"{fps:.1f} at {size}" for size, fps in found.fps.items())
    lines = [
        f"versions: {versions}",
        f"processor: {found.processor}, {found.cores} threads, {' '.join(found.instructions)}",
        f"devices: {devices}",
        f"backend: {found.backend} ({found.why})",
        f"frames per second: {rates}",
    ]
    return Report("\n".join(lines), asdict(found))
