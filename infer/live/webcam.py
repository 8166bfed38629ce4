"""Stylize a camera or another live source, in a window and for other programs."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from nst_rt.errors import InputError
from nst_rt.files import check_format
from nst_rt.infer.adaptive import AdaptiveStylizer, LiveStyle, check_frame_rate
from nst_rt.infer.backends import BackendName, Precision
from nst_rt.infer.blend import title_of
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.frames import Sink
from nst_rt.infer.learning.learn import Learning, LearningOptions, learning_for
from nst_rt.infer.learning.live import LiveLearning
from nst_rt.infer.live.camera import DEFAULT_SIZE, Camera, Size, source_name
from nst_rt.infer.live.controls import LiveControls
from nst_rt.infer.live.mjpeg import MjpegServer
from nst_rt.infer.live.outputs import VirtualCamera
from nst_rt.infer.live.session import IDLE_SECONDS, LiveSession, stylized_frames
from nst_rt.infer.live.window import Window
from nst_rt.infer.postprocess import PostProcessing
from nst_rt.infer.stability.stabilizer import DEFAULT_STABILITY, Stabilizer
from nst_rt.infer.strokes import DEFAULT_STROKES, StrokeSize
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.threads import polled
from nst_rt.infer.timeline import DEFAULT_STYLE, AnyStyle, load_blend
from nst_rt.infer.video.encoder import H264_SUFFIXES
from nst_rt.learning.request import GALLERY, StyleImages

# Most sources are open by then: the window gets their size at once, and there is none for a source
# that is wrong.
_GRACE_SECONDS = 0.5


@dataclass(frozen=True)
class LiveResult:
    """What a live session did.

    Attributes:
        frames: number of stylized frames.
        seconds: time from the first of them to the last.
        files: recordings and snapshots, in the order in which they were finished.
        backend: backend, precision and device; empty if the session ended before it was ready.
    """

    frames: int
    seconds: float
    files: tuple[str, ...]
    backend: str


def stylize_webcam(
    source: str | int = 0,
    *,
    style: AnyStyle = DEFAULT_STYLE,
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
    fullscreen: bool = False,
    rotate: float | None = None,
    loop: bool = False,
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
    style_image: StyleImages | None = None,
    **learning: Unpack[LearningOptions],
) -> LiveResult:
    """Stylize a live source until the user quits, by q, Esc or closing the window, or it ends.

    The newest frame wins: frames that the machine is too slow for are dropped. The keys are listed
    in `nst_rt.infer.live.controls.KEYS`. Ctrl-C ends a session as q does, and keeps recordings.

    Args:
        source: see `Camera`.
        style: see `load_style`; the keys choose from all styles of its model and of the gallery.
        strength, stroke_size: see `Stylizer`.
        stability: see `Stabilizer`; 0 turns it off.
        preserve_colors: whether to begin with the colors of the source.
        compare: whether to begin with the source on the left and the stylized frame on the right.
        fps: frames per second to hold by stylizing at a smaller size, see `AdaptiveStylizer`; 0
            always stylizes at the full size.
        size: see `Camera`.
        mirror: whether to swap left and right; by default for a camera of this machine in a window,
            unless a virtual camera is fed, whose viewers may want to read text.
        snapshots: folder of snapshots and of recordings that a key starts.
        window: whether to open a window.
        fullscreen: whether the window begins in full screen.
        rotate: seconds after which the style changes to the next one, again and again; a style that
            a key chooses stays as long. None for no changes.
        loop: whether a file starts again at its end.
        record: file to record to from the beginning, .mp4, .mkv or .mov.
        virtual_camera: whether to feed a virtual camera, see `VirtualCamera`.
        mjpeg: address to serve an MJPEG stream at, see `MjpegServer`.
        token: see `MjpegServer`.
        duration: number of seconds after which the session ends.
        overwrite: whether to replace an existing file `record`.
        backend, device, precision: see `load_style`.
        on_output: called with a text that says where to watch the frames, once they can be watched.
        style_image, learning: style image to learn on these frames instead of a style, and how, see
            `learn_style`. Frames are stylized after a few seconds, in the style that it starts
            from, and get better while it goes on, see `LiveLearning`. The keys choose from this
            style and those of the gallery. There is no `preview` beside the frames.

    Raises:
        CameraError: the source cannot be opened; no screen or no virtual camera.
        UnknownNameError, StyleModelError, BackendError: a style or a backend that does not exist.
        InputError, OutputExistsError: a file, a folder or a value that cannot be used.
        VideoError: a recording that cannot be written, as on a full disk.
        LearningError: the process that learns failed before there was a first style.
    """
    check_frame_rate(fps)
    if duration is not None and not 0 < duration < float("inf"):
        raise InputError(f"`duration` must be a positive number of seconds, not {duration}")
    if not Path(snapshots).is_dir():
        raise InputError(f"{snapshots}: no such folder for `snapshots`")
    if not (window or record or virtual_camera or mjpeg is not None):
        raise InputError(
            "`window=False` needs another output: `record`, `mjpeg` or `virtual_camera`"
        )
    if fullscreen and not window:
        raise InputError("`fullscreen` is for the window, which `window=False` turns off")
    if token is not None and mjpeg is None:
        raise InputError("`token` is for viewers of `mjpeg`, which is not given")
    if record is not None:
        check_format(record, "video", H264_SUFFIXES, overwrite=overwrite)
    wanted = _wanted(style, style_image, learning, overwrite=overwrite)
    # What a style image starts from has the network that its style will have.
    style_set, blend = load_blend(_start(wanted) if wanted else style, with_gallery=True)
    strokes, post_processing = (
        StrokeSize.parse(stroke_size),
        PostProcessing(preserve_colors, compare),
    )
    chosen, titles = blend, style_set.titles
    if wanted:
        name = style_set.free_name(wanted.request.name)
        chosen, titles = {name: 1.0}, {name: title_of(name), **titles}
    begin = LiveStyle(chosen, strength, strokes, stability, post_processing)
    controls = LiveControls(titles, begin, rotate=rotate)
    controls.recording = record is not None
    controls.full_screen = fullscreen
    with ExitStack() as stack:
        sinks: list[Sink] = []
        places: list[str] = []
        if mjpeg is not None:
            server = stack.enter_context(closing(MjpegServer(mjpeg, token=token)))
            sinks.append(server)
            places.append(f"watch it at {' or '.join(server.links)}")
        if wanted:
            # The first to begin, which takes longest, and the last to end.
            begun = LiveLearning(wanted, style_set, device=device)
            controls.learning = stack.enter_context(closing(begun))
        pool = stack.enter_context(ThreadPoolExecutor(2, "load"))
        opening = pool.submit(Camera, source, size=size, fps=fps, loop=loop)
        stack.callback(_close, opening)
        wait([opening], _GRACE_SECONDS)
        first_size = opening.result().size if opening.done() else size or DEFAULT_SIZE
        screen = stack.enter_context(Window()) if window else None
        session = LiveSession(
            controls, screen, sinks, folder=Path(snapshots), record=record, overwrite=overwrite
        )
        stack.enter_context(closing(session))
        if screen:
            # Before other threads are busy, since Qt loads libraries for its first window.
            black = np.zeros((first_size[1], first_size[0], 3), np.uint8)
            screen.open(black, full_screen=fullscreen)
        camera = None
        with suppress(KeyboardInterrupt):
            camera = session.wait(opening, f"Opening {source_name(source)} ...")
        if camera is None:
            return LiveResult(0, 0.0, (), "")
        if screen and camera.size != first_size:
            screen.resize(camera.size)
        if virtual_camera:
            virtual = stack.enter_context(closing(VirtualCamera(camera.size)))
            sinks.append(virtual)
            places.append(f"virtual camera: {virtual.device}")
        for place in places:
            if on_output:
                on_output(place)

        def load() -> AdaptiveStylizer:
            stylizer = Stylizer(
                style_set,
                blend,
                stroke_size=stroke_size,
                backend=backend,
                device=device,
                precision=precision,
            )
            adaptive = AdaptiveStylizer(FrameStylizer(stylizer, stabilizer=Stabilizer()), fps)
            adaptive.calibrate(camera.size[1], camera.size[0])
            style_set.prepare()  # or the first frame of each style would be late
            return adaptive

        loading = pool.submit(load)
        stack.callback(_close, loading)
        if mirror is None:
            mirror = camera.is_device and window and not virtual_camera
        frames = stack.enter_context(
            closing(polled(camera.frames(), seconds=IDLE_SECONDS, drop=True))
        )
        stylized = stylized_frames(
            frames, loading, controls, mirror=mirror, preview=window and camera.is_live
        )
        shown = stack.enter_context(closing(polled(stylized, seconds=IDLE_SECONDS)))
        # The window closes at once, though the rest may take a moment.
        with suppress(KeyboardInterrupt), screen or nullcontext():
            session.run(shown, duration=duration, problem=lambda: camera.problem)
    is_loaded = loading.done() and not loading.exception()
    used = loading.result().backend if is_loaded else ""
    return LiveResult(session.frames, session.seconds, tuple(session.files), used)


def _wanted(
    style: AnyStyle,
    style_image: StyleImages | None,
    options: LearningOptions,
    *,
    overwrite: bool,
) -> Learning | None:
    """What is to be learned, checked; see `learning_for`."""
    if options.get("preview") is not None:
        raise InputError("`preview` is of no use here: the frames themselves show what is learned")
    return learning_for(style, DEFAULT_STYLE, style_image, options, overwrite=overwrite)


def _start(wanted: Learning) -> AnyStyle:
    """The style that is learned from, or one with the same network."""
    start = wanted.request.start_from
    return DEFAULT_STYLE if start == GALLERY else {start: 1.0}


def _close(opening: Future[Any]) -> None:
    """Close what was opened, or is being opened, in a thread."""
    with suppress(Exception):  # raised already where the result was used
        opening.result().close()
