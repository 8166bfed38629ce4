"""Stylize a camera live, in a window and for other programs."""

import argparse
from typing import Any

from nst_rt.cli.learning import add_learning_arguments, check_style_image
from nst_rt.cli.options import (
    add_backend_arguments,
    add_overwrite,
    add_style_arguments,
    constant,
    frame_size,
)
from nst_rt.cli.report import Report, quantity, tell
from nst_rt.cli.tokens import add_token_arguments, take_token
from nst_rt.files import shown_source

SHORT = "stylize a camera, live"
EXAMPLES = (
    "0 --style starry_night",
    "/dev/video2 --size 640x480 --record out.mp4",
    "0 --style-image painting.jpg",
    "film.mp4 --fullscreen --loop --rotate 30",
    "rtsp://192.168.1.20/stream --no-window --mjpeg 8080",
)
DEFAULTS_OF = "nst_rt.infer.live.webcam:stylize_webcam"


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Add the arguments of `webcam`."""
    add = p.add_argument
    add(
        "source",
        metavar="SOURCE",
        nargs="?",
        help="camera index, /dev/videoN, URL (RTSP, HTTP, ...) or video file (default: 0)",
    )
    add("--list", action="store_true", help="list the cameras of this machine, and exit")
    add_style_arguments(p)
    add_learning_arguments(p, "the camera's frames")
    add(
        "--stability",
        type=float,
        metavar="X",
        help="how firmly brush strokes stay in place, 0 (off) to 1",
    )
    add(
        "--size",
        type=frame_size,
        metavar="WxH",
        help="size to request from a camera, pixels (default: "
        f"{'x'.join(map(str, constant('nst_rt.infer.live.camera:DEFAULT_SIZE')))}); maximum size "
        "of other sources",
    )
    add(
        "--fps",
        type=float,
        metavar="N",
        help="frames per second to hold by stylizing at a smaller size; 0 keeps the full size",
    )
    add(
        "--mirror",
        action=argparse.BooleanOptionalAction,
        help="swap left and right, as a mirror does (default: for a camera in a window, without "
        "--virtual-camera)",
    )
    add(
        "--snapshots",
        metavar="FOLDER",
        help="folder in which the keys s (snapshot) and r (recording) save",
    )
    window = argparse.BooleanOptionalAction
    add(
        "--window",
        action=window,
        help="show a window (default), or only another output, which is then required",
    )
    add("--fullscreen", action="store_true", help="begin in full screen; Esc leaves it")
    add(
        "--rotate",
        type=float,
        metavar="SECONDS",
        help="seconds until the next style follows; one that a key chooses stays as long "
        "(default: never)",
    )
    add("--loop", action="store_true", help="start a video file again at its end")
    add("--record", metavar="FILE", help="record to FILE from the beginning: .mp4, .mkv or .mov")
    add("--virtual-camera", action="store_true", help="feed a virtual camera for other programs")
    add("--mjpeg", metavar="[HOST:]PORT", help="serve MJPEG over HTTP (default HOST: 127.0.0.1)")
    add_token_arguments(p, "token for viewers, if other machines can reach HOST")
    add(
        "--duration",
        type=float,
        metavar="SECONDS",
        help="stop after so many seconds (default: never)",
    )
    add_overwrite(p)
    add_backend_arguments(p)


def run(*, source: str = "0", **options: Any) -> Report:
    """Stylize a camera live, in a window and for other programs."""
    if options.pop("list", False):
        return _cameras()
    check_style_image(options)
    take_token(options, needed="mjpeg" in options)
    from dataclasses import asdict

    from nst_rt.infer.live.webcam import stylize_webcam

    done = stylize_webcam(source, on_output=tell, **options)
    text = f"{quantity(done.frames, 'frame')} in {done.seconds:.1f} seconds"
    if done.seconds:
        text += f", {done.frames / done.seconds:.1f} per second"
    return Report("\n".join([text, *done.files]), {"source": shown_source(source), **asdict(done)})


def _cameras() -> Report:
    from nst_rt.infer.live.camera import NO_CAMERA, list_cameras

    cameras = list_cameras()
    text = "\n".join(f"{index}: {name}" for index, name in cameras.items())
    facts = {"cameras": [{"index": index, "name": name} for index, name in cameras.items()]}
    return Report(text or NO_CAMERA, facts)
