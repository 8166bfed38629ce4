"""Stylize a camera, live, in a window and for other programs."""

import argparse
import signal
import sys
from typing import Any

from nst_rt.cli.options import add_backend_arguments, add_overwrite, add_style_arguments
from nst_rt.cli.report import Report, frame_size
from nst_rt.files import shown_source

EXAMPLES = (
    "0 --style starry_night",
    "--no-window --mjpeg 8080",
)


def add_arguments(p: argparse.ArgumentParser) -> None:
    """The arguments of `webcam`, besides the style's and the engine's."""
    add = p.add_argument
    add(
        "source",
        metavar="SOURCE",
        nargs="?",
        help="camera index, /dev/videoN, URL (RTSP, HTTP, ...) or file; default: 0",
    )
    add("--list", action="store_true", help="list the cameras of this machine, and stop")
    add("--stability", type=float, metavar="X", help="of strokes, 0 to 1; default: 0.95")
    add("--size", type=frame_size, metavar="WxH", help="to ask a camera for; default: 1280x720")
    add(
        "--fps",
        type=float,
        metavar="N",
        help="rate to hold by stylizing at a smaller size; 0: never; default: 30",
    )
    add(
        "--mirror",
        action=argparse.BooleanOptionalAction,
        help="default: cameras in a window, without --virtual-camera",
    )
    add("--snapshots", metavar="DIR", help="where the keys s and r save; default: here")
    add("--no-window", dest="window", action="store_false", help="other outputs only")
    add("--record", metavar="OUT", help="record from the beginning: .mp4, .mkv or .mov")
    add("--duration", type=float, metavar="SECONDS", help="and then stop; default: never")
    add("--virtual-camera", action="store_true", help="be a camera for other programs")
    add("--mjpeg", metavar="[HOST:]PORT", help="serve over HTTP; default HOST: 127.0.0.1")
    add("--token", metavar="T", help="that viewers need; for a HOST that other machines reach")
    add_style_arguments(p)
    add_overwrite(p)
    add_backend_arguments(p)


def run(*, source: str = "0", **options: Any) -> Report:
    """Stylize a camera, live, in a window and for other programs."""
    if options.pop("list", False):
        return _cameras()
    from dataclasses import asdict

    from nst_rt.infer.live.webcam import stylize_webcam

    # What stops a service is as good as Ctrl-C: the recording is finished.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    done = stylize_webcam(
        source, on_output=lambda text: print(f"nst-rt: {text}", file=sys.stderr), **options
    )
    text = f"{done.frames} frames in {done.seconds:.1f} seconds"
    if done.seconds:
        text += f", {done.frames / done.seconds:.1f} per second"
    return Report("\n".join([text, *done.files]), {"source": shown_source(source), **asdict(done)})


def _cameras() -> Report:
    from nst_rt.infer.live.camera import list_cameras

    cameras = list_cameras()
    text = "\n".join(f"{index}: {name}" for index, name in cameras.items())
    return Report(
        text or "there is no camera on this machine; a video file or a URL works too",
        {"cameras": [{"index": index, "name": name} for index, name in cameras.items()]},
    )
