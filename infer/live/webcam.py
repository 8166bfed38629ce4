"""A live session from its settings: a camera, stylized, in a window and wherever else it goes."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nst_rt.errors import CameraError, InputError, InterruptedWorkError
from nst_rt.files import check_format
from nst_rt.infer.backends import BackendName, Precision
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.live.adaptive import AdaptiveStylizer
from nst_rt.infer.live.camera import Camera, Size
from nst_rt.infer.live.controls import LiveControls
from nst_rt.infer.live.mjpeg import MjpegServer
from nst_rt.infer.live.outputs import RECORDINGS, Sink, VirtualCamera
from nst_rt.infer.live.session import IDLE, LiveSession, stylized_frames, waiting_picture
from nst_rt.infer.live.window import Window, windows_would_hang
from nst_rt.infer.stability.stabilizer import DEFAULT_STABILITY, Stabilizer
from nst_rt.infer.strokes import DEFAULT_STROKES, StrokeSize
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.threads import polled
from nst_rt.infer.timeline import load_blend


@dataclass(frozen=True)
class LiveReport:
    """What a live session did.

    Attributes:
        frames: pictures painted and shown.
        seconds: from the first of them to the last.
        files: recordings and snapshots, in the order in which they were finished.
        engine: backend, precision and device; empty if the session ended before it was ready.
    """

    frames: int
    seconds: float
    files: tuple[str, ...]
    engine: str


def stylize_webcam(
    source: str | int = 0,
    *,
    style: str = "starry_night",
    strength: float = 1.0,
    stroke_size: StrokeSize | str | float = DEFAULT_STROKES,
    stability: float = DEFAULT_STABILITY,
    preserve_colors: bool = False,
    compare: bool = False,
    fps: float = 30.0,
    size: Size | None = None,
    mirror: bool | None = None,
    snapshots: Path | str = ".",
    window: bool = True,
    record: Path | str | None = None,
    virtual_camera: bool = False,
    mjpeg: str | int | None = None,
    token: str | None = None,
    duration: float | None = None,
    overwrite: bool = False,
    backend: BackendName = "auto",
    device: str | None = None,
    precision: Precision = "auto",
    on_output: Callable[[str], None] | None = None,
) -> LiveReport:
    """Show a live source in a style until q or Esc is pressed, the window is closed or it ends.

    The newest frame wins: what the machine is too slow for is dropped. What the keys do is in
    `nst_rt.infer.live.controls.KEYS`. Ctrl-C ends a session as q does, with all that it recorded.

    Args:
        source: see `Camera`.
        style: see `load_style`; the keys go through all styles of its model and of the gallery.
        strength, stroke_size: see `Stylizer`.
        stability: see `Stabilizer`; 0 for none.
        preserve_colors: begin with the source's own colors.
        compare: begin with the source on the left and the painting on the right.
        fps: frames per second to hold by stylizing at a smaller size, see
            `AdaptiveStylizer`; 0 always stylizes at the full size.
        size: see `Camera`.
        mirror: left and right swapped; by default for a camera of this machine in a window, but not
            where a virtual camera is fed, whose watchers may want to read what is held up.
        snapshots: folder that snapshots and recordings by key go to.
        window: open one.
        record: a file to record to from the beginning.
        virtual_camera: feed one, see `VirtualCamera`.
        mjpeg: address to serve at, see `MjpegServer`.
        token: see `MjpegServer`.
        duration: seconds after which the session ends.
        overwrite: replace an existing file `record`.
        backend, device, precision: see `load_style`.
        on_output: is told where the pictures can be watched, as soon as they can.

    Raises:
        CameraError: a source that cannot be opened, no screen or no virtual camera.
        UnknownNameError, StyleModelError, BackendError: a style or an engine that is not there.
        InputError, OutputExistsError: a file, a folder or a value that cannot be used.
        VideoError: a recording that cannot be written, as on a full disk.
    """
    options = {name: value for name, value in locals().items() if name != "source"}
    _check(options)
    if window and windows_would_hang():
        return _in_new_process(source, options)
    style_set, blend = load_blend(style, with_gallery=True)
    controls = LiveControls(
        style_set.names,
        blend,
        strength=strength,
        stroke_size=StrokeSize.parse(stroke_size),
        stability=stability,
    )
    controls.preserve_colors, controls.compare = preserve_colors, compare
    controls.recording = record is not None
    with ExitStack() as stack:
        sinks: list[Sink] = []
        watched: list[str] = []
        if mjpeg is not None:
            server = stack.enter_context(closing(MjpegServer(mjpeg, token=token)))
            sinks.append(server)
            watched.append(f"watch it at {' or '.join(server.links)}")
        camera = stack.enter_context(closing(Camera(source, size=size, fps=fps)))
        screen = Window() if window else None
        if virtual_camera:
            virtual = stack.enter_context(closing(VirtualCamera(camera.size)))
            sinks.append(virtual)
            watched.append(f"virtual camera: {virtual.device}")
        for text in watched:
            if on_output:
                on_output(text)

        if screen:
            # Before other threads are busy, since Qt loads libraries for its first window.
            screen.open(waiting_picture(camera.size))

        def load() -> AdaptiveStylizer:
            stylizer = Stylizer(
                style_set,
                blend,
                stroke_size=stroke_size,
                backend=backend,
                device=device,
                precision=precision,
            )
            frame_stylizer = AdaptiveStylizer(FrameStylizer(stylizer, stabilizer=Stabilizer()), fps)
            frame_stylizer.calibrate(camera.size[1], camera.size[0])
            style_set.prepare()  # or the first frame of each style would be late
            return frame_stylizer

        loading = stack.enter_context(ThreadPoolExecutor(1, "load")).submit(load)
        stack.callback(_close, loading)
        if mirror is None:
            mirror = camera.is_device and window and not virtual_camera
        session = LiveSession(
            controls, screen, sinks, folder=Path(snapshots), record=record, overwrite=overwrite
        )
        stack.enter_context(closing(session))
        frames = stack.enter_context(closing(polled(camera, seconds=IDLE, drop=True)))
        stylized = stylized_frames(
            frames, loading, controls, mirror=mirror, preview=window and camera.is_live
        )
        pictures = stack.enter_context(closing(polled(stylized, seconds=IDLE)))
        with suppress(KeyboardInterrupt), screen or nullcontext():
            # The window closes at once, though the rest may take a moment.
            session.run(
                pictures,
                duration=duration,
                problem=lambda: camera.problem,
                size=camera.size,
            )
    done = loading.done() and not loading.exception()
    engine = loading.result().engine if done else ""
    return LiveReport(session.frames, session.seconds, tuple(session.files), engine)


def _check(options: dict[str, Any]) -> None:
    """What can be found wrong before anything is opened."""
    fps, duration = options["fps"], options["duration"]
    if not Path(options["snapshots"]).is_dir():
        raise InputError(f"{options['snapshots']}: no such folder for snapshots")
    if not 0 <= fps < float("inf"):
        raise InputError(f"the frames per second to hold must be 0 or more, not {fps}")
    if duration is not None and not 0 < duration < float("inf"):
        raise InputError(f"the duration must be a positive number of seconds, not {duration}")
    outputs = ("window", "record", "virtual_camera")
    if not any(options[name] for name in outputs) and options["mjpeg"] is None:
        raise InputError(
            "without a window choose another output: --record, --virtual-camera or --mjpeg"
        )
    if options["token"] is not None and options["mjpeg"] is None:
        raise InputError("the token is for viewers of an mjpeg output, and there is none")
    if options["record"] is not None:
        check_format(options["record"], "video", RECORDINGS, overwrite=options["overwrite"])


def _close(loading: Future[AdaptiveStylizer]) -> None:
    with suppress(Exception):  # raised where pictures are made
        loading.result().close()


def _in_new_process(source: str | int, options: dict[str, Any]) -> LiveReport:
    """The same through the command line, where OpenCV comes before PyAV."""
    command = [sys.executable, "-m", "nst_rt", "webcam", str(source), "--json"]
    del options["window"]  # there is one
    said = options.pop("on_output") or (lambda text: None)
    for name, value in options.items():
        flag = name.replace("_", "-")
        if name == "mirror" and value is not None:
            command.append("--mirror" if value else "--no-mirror")
        elif value is True:
            command.append(f"--{flag}")
        elif value is not None and value is not False:
            text = f"{value[0]}x{value[1]}" if name == "size" else str(value)
            command.append(f"--{flag}={text}")
    # In a group of its own: Ctrl-C would reach it twice, and the second one breaks off.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as running:
        try:
            last, answer = _heard(running, said)
        except KeyboardInterrupt:
            running.send_signal(signal.SIGINT)
            last, answer = _heard(running, said)
    if running.returncode in (InterruptedWorkError.exit_code, -signal.SIGINT):
        raise KeyboardInterrupt  # before there was a session
    if running.returncode:
        raise CameraError(last)
    facts = json.loads(answer)
    return LiveReport(facts["frames"], facts["seconds"], tuple(facts["files"]), facts["engine"])


def _heard(running: subprocess.Popen[str], said: Callable[[str], None]) -> tuple[str, str]:
    """Pass on what a process says until it ends; its last line, and its answer."""
    assert running.stdout
    assert running.stderr
    last = ""
    for line in running.stderr:
        last = line.strip().removeprefix("nst-rt: ")
        said(last)
    return last, running.stdout.read()
