"""Open the browser studio: live camera, images, videos, optimizing and training."""

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING, Any

from nst_rt.cli.options import add_backend_arguments
from nst_rt.cli.report import Report, needs_extra, tell
from nst_rt.cli.tokens import add_token_arguments, take_token

if TYPE_CHECKING:
    from nst_rt.infer.web.server import Ready

DEFAULTS_OF = "nst_rt.infer.web.server:serve"
SHORT = "all of it, in the browser"
EXAMPLES = (
    "",
    "--host 0.0.0.0 --token --self-signed",
    "--host 0.0.0.0 --token-file ~/token --self-signed",
    "--photos ~/photos --style mine.safetensors",
    "--kiosk",
)


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Add the arguments of `web`."""
    p.add_argument(
        "--style",
        dest="models",
        action="append",
        metavar="FILE",
        help="style model to offer beside the gallery; may be repeated",
    )
    p.add_argument(
        "--photos",
        metavar="P",
        help="photos that visitors may train on: a folder, a zip archive or a list",
    )
    p.add_argument(
        "--from",
        dest="start_from",
        metavar="S",
        help="what trainings start from: gallery, a style or a model FILE",
    )
    p.add_argument(
        "--results",
        metavar="DIR",
        help="folder to keep results in (default: one in the user's data folder)",
    )
    p.add_argument(
        "--fps",
        type=float,
        metavar="N",
        help="live frame rate to hold by stylizing at a smaller size; 0 never reduces the size",
    )
    p.add_argument(
        "--kiosk",
        action="store_true",
        help="print the link of the kiosk page: the camera in one style after another, without "
        "controls, for a screen in public",
    )
    net = p.add_argument_group("network")
    net.add_argument("--host", metavar="H", help="address to listen on; 0.0.0.0 for all networks")
    net.add_argument("--port", type=int, metavar="N", help="port to listen on; 0 for any free one")
    add_token_arguments(
        net,
        "secret that opens the page, required for a HOST that others reach; without T a random one",
        nargs="?",
        const="",
    )
    net.add_argument(
        "--self-signed",
        action="store_true",
        help="serve HTTPS with a certificate made for this run, so that phones allow the camera",
    )
    net.add_argument("--tls-cert", metavar="FILE", help="certificate for HTTPS (PEM)")
    net.add_argument("--tls-key", metavar="FILE", help="key of the certificate (PEM)")
    limits = p.add_argument_group("limits")
    limits.add_argument(
        "--viewers", type=int, metavar="N", help="maximum number of live viewers at once"
    )
    limits.add_argument(
        "--max-upload", type=float, metavar="MB", help="maximum size of an uploaded file, MB"
    )
    limits.add_argument(
        "--max-pixels",
        type=float,
        metavar="MP",
        help="maximum size of an image or a video frame, megapixels",
    )
    limits.add_argument(
        "--max-seconds", type=float, metavar="S", help="maximum duration of a video, seconds"
    )
    limits.add_argument(
        "--storage",
        type=float,
        metavar="GB",
        help="maximum size of all files including results, GB",
    )
    add_backend_arguments(p)


def run(**options: Any) -> Report:
    """Serve the studio until Ctrl-C."""
    take_token(options)
    with needs_extra("web", "the browser studio"):
        import segno

        from nst_rt.infer.web.server import serve
    facts: dict[str, Any] = {"links": []}

    def on_ready(ready: "Ready") -> None:
        facts.update(links=list(ready.links), results=str(ready.results))
        tell(_welcome(ready))
        if ready.others and sys.stderr.isatty():  # for phones
            segno.make(ready.others, micro=False).terminal(out=sys.stderr, compact=True)

    with contextlib.suppress(KeyboardInterrupt):  # the regular end of a server
        serve(**options, on_ready=on_ready)
    return Report("closed", facts)


def _welcome(ready: "Ready") -> str:
    lines = [
        f"the studio is open at {' or '.join(ready.links)} (Ctrl-C closes it)",
        f"results are kept in {ready.results}",
    ]
    if ready.fingerprint:
        lines.append(
            "browsers warn about the self-signed certificate; its SHA-256 fingerprint is\n"
            f"  {ready.fingerprint}"
        )
    if not ready.camera:
        lines.append(
            "browsers allow the camera on HTTPS or localhost only: add --self-signed, or "
            "--tls-cert and --tls-key"
        )
    return "\n".join(lines)
