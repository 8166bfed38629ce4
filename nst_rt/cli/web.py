"""Open the browser studio: live camera, photos, videos, optimizing and training."""

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING, Any

from nst_rt.cli.options import add_backend_arguments
from nst_rt.cli.report import Report
from nst_rt.errors import InputError

if TYPE_CHECKING:
    from nst_rt.infer.web.server import Ready

_LIMITS = {  # option -> attribute of Limits, and how many of it one of the option is
    "max_upload": ("upload", 10**6),
    "max_pixels": ("pixels", 10**6),
    "max_seconds": ("seconds", 1),
    "storage": ("storage", 10**9),
    "viewers": ("viewers", 1),
}


EXAMPLES = (
    "",
    "--host 0.0.0.0 --token --self-signed",
)


def add_arguments(p: argparse.ArgumentParser) -> None:
    """The arguments of `web`, but for those of the engine."""
    p.add_argument(
        "--style", dest="models", action="append", metavar="FILE", help="a style model to add"
    )
    p.add_argument(
        "--photos", metavar="P", help="photos to train on: a folder, a zip archive or a list"
    )
    p.add_argument("--from", dest="start_from", metavar="S", help="of trainings; default: gallery")
    p.add_argument(
        "--results",
        metavar="DIR",
        help="folder to keep results in; default: one in the user's data folder",
    )
    p.add_argument(
        "--fps",
        type=float,
        metavar="N",
        help="live rate to hold by painting smaller; 0: never; default: 24",
    )
    net = p.add_argument_group("network")
    net.add_argument("--host", metavar="H", help="address to listen on; default: 127.0.0.1")
    net.add_argument("--port", type=int, metavar="N", help="0: any; default: 8765")
    net.add_argument(
        "--token",
        nargs="?",
        const="",
        metavar="T",
        help="that opens the page, needed for other addresses; without T: a random one",
    )
    net.add_argument("--self-signed", action="store_true", help="HTTPS, for a phone's camera")
    net.add_argument("--tls-cert", metavar="FILE", help="HTTPS with this certificate (PEM)")
    net.add_argument("--tls-key", metavar="FILE", help="and its key (PEM)")
    limits = p.add_argument_group("limits")
    limits.add_argument("--viewers", type=int, metavar="N", help="live at once; default: 4")
    limits.add_argument("--max-upload", type=float, metavar="MB", help="of a file; default: 512")
    limits.add_argument("--max-pixels", type=float, metavar="MP", help="of a photo; default: 50")
    limits.add_argument("--max-seconds", type=float, metavar="S", help="of a video; default: 600")
    limits.add_argument(
        "--storage", type=float, metavar="GB", help="of all files, results too; default: 4"
    )
    add_backend_arguments(p)


def run(**options: Any) -> Report:
    """Open the browser studio: live camera, photos, videos, optimizing and training."""
    try:
        from nst_rt.infer.web.checks import Limits
        from nst_rt.infer.web.server import serve
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("nst_rt"):
            raise
        raise InputError(
            f"the browser studio needs {error.name}: pip install 'nst-rt[web]'"
        ) from error
    given = {}
    for option, (name, unit) in _LIMITS.items():
        if option in options:
            value = options.pop(option)
            if not 0 < value < float("inf"):
                raise InputError(f"--{option.replace('_', '-')} must be positive, not {value}")
            given[name] = type(getattr(Limits(), name))(value * unit)
    facts: dict[str, Any] = {"links": []}

    def on_ready(ready: "Ready") -> None:
        facts.update(links=list(ready.links), results=str(ready.results))
        print(_welcome(ready), file=sys.stderr, flush=True)

    with contextlib.suppress(KeyboardInterrupt):  # how a server is ended
        serve(**options, limits=Limits(**given), on_ready=on_ready)
    if "results" in facts:
        print(f"nst-rt: results are in {facts['results']}", file=sys.stderr)
    return Report("closed", facts)


def _welcome(ready: "Ready") -> str:
    lines = [
        f"nst-rt: the studio is open at {' or '.join(ready.links)} (Ctrl-C closes it)",
        f"results are kept in {ready.results}",
    ]
    if ready.fingerprint:
        lines.append(
            "browsers warn of its certificate, which nobody vouches for; its SHA-256 fingerprint "
            f"is\n  {ready.fingerprint}"
        )
    if not ready.camera:
        lines.append(
            "browsers give a camera only to HTTPS or localhost: add --self-signed, or --tls-cert "
            "and --tls-key"
        )
    return "\n".join(lines)
