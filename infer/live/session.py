"""The loop of a live session: painted pictures to window and sinks, keys to the controls."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np

from nst_rt.errors import StyleTransferError
from nst_rt.images.io import Frame, save_image
from nst_rt.infer.live.adaptive import AdaptiveStylizer
from nst_rt.infer.live.camera import Captured, Size
from nst_rt.infer.live.controls import KEYS, LiveControls
from nst_rt.infer.live.outputs import Recorder, Sink
from nst_rt.infer.live.overlay import write_lines, write_recording
from nst_rt.infer.live.window import Window
from nst_rt.infer.postprocess import PostProcessing

IDLE = 0.05  # seconds without a picture after which keys are looked at
_AGAIN = 1.0  # seconds without one after which the last one is sent again
_PREPARING = "preparing the style"
_AVERAGED = 30  # pictures that rate and latency go over


@dataclass(frozen=True)
class Picture:
    """What is shown of a frame.

    Attributes:
        frame: shape (H, W, 3), uint8 BGR.
        at: when the frame came, by `time.perf_counter`.
        engine: what painted it; empty for a frame that waits for the engine.
    """

    frame: Frame
    at: float
    engine: str


def stylized_frames(
    frames: Iterable[Captured | None],
    loading: Future[AdaptiveStylizer],
    controls: LiveControls,
    *,
    mirror: bool = False,
    preview: bool = False,
) -> Generator[Picture | None, None, None]:
    """Paint frames as the controls say at the time; None for None.

    Args:
        frames: as `polled` gives them.
        loading: what paints, or will do so.
        controls: of the session.
        mirror: swap left and right.
        preview: give frames as they are until what paints is ready; else wait for it.
    """
    if not preview:
        loading.result()
    for captured in frames:
        if captured is None:
            yield None
            continue
        frame = captured.frame
        if mirror:
            frame = np.asarray(cv2.flip(frame, 1), np.uint8)
        if not loading.done():
            yield Picture(frame, captured.at, "")
            continue
        frame_stylizer = loading.result()
        frame_stylizer.set_style(
            controls.weights(), strength=controls.strength, stroke_size=controls.stroke_size
        )
        frame_stylizer.set_stability(controls.stability)
        frame_stylizer.set_post_processing(
            PostProcessing(preserve_colors=controls.preserve_colors, compare=controls.compare)
        )
        stylized = frame_stylizer.stylize(frame, interval=captured.interval)
        yield Picture(stylized, captured.at, str(frame_stylizer))


def waiting_picture(size: Size) -> Frame:
    """What is shown, at a width and height, before the first frame."""
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    write_lines(picture, [_PREPARING], place="middle")
    return picture


class LiveSession:
    """Shows pictures, sends them on, and does what keys ask for.

    Args:
        controls: what keys change.
        window: None for none.
        sinks: where painted pictures go too; they are closed by whoever opened them.
        folder: for snapshots and recordings by key.
        record: file of the first recording, which the controls begin with.
        overwrite: replace that file.

    Attributes:
        frames: painted pictures so far.
        seconds: from the first of them to the last.
        files: recordings and snapshots that are finished.
    """

    def __init__(
        self,
        controls: LiveControls,
        window: Window | None,
        sinks: Sequence[Sink],
        *,
        folder: Path,
        record: Path | str | None = None,
        overwrite: bool = False,
    ) -> None:
        self.frames = 0
        self.seconds = 0.0
        self.files: list[str] = []
        self._controls = controls
        self._window = window
        self._sinks = sinks
        self._folder = folder
        self._record = record
        self._overwrite = overwrite
        self._recorder: Recorder | None = None
        self._times: deque[float] = deque(maxlen=_AVERAGED)
        self._latencies: deque[float] = deque(maxlen=_AVERAGED)

    def run(
        self,
        pictures: Iterable[Picture | None],
        *,
        duration: float | None = None,
        problem: Callable[[], str] = str,
        size: Size = (640, 360),
    ) -> None:
        """Go on until the pictures, the time or the patience of whoever watches end.

        Args:
            pictures: None where none has come for a while, so that keys are heard all the same.
            duration: seconds, from the first painted picture.
            problem: says why none come.
            size: width and height of the window until the first picture comes.

        Raises:
            VideoError: a recording that cannot be written, without a window to say so in.
        """
        begin, sent = None, 0.0
        shown = Picture(waiting_picture(size), 0.0, "")
        for picture in pictures:
            shown = picture or shown
            now = time.perf_counter()
            if shown.engine:
                # A picture that stays is sent again, for sinks want one at all times; but late, for
                # the next one may be of a time before now.
                if picture or now - sent > _AGAIN:
                    self._send(shown.frame, picture.at if picture else now)
                    sent = now
                self._obey(shown.frame)
                begin = now if begin is None else begin
                self.seconds = now - begin
            if self._window:
                self._show(self._window, shown, problem())
            if picture and picture.engine:
                self.frames += 1
                self._times.append(time.perf_counter())
                self._latencies.append(self._times[-1] - picture.at)
            late = duration is not None and self.seconds >= duration
            if late or self._controls.quit or (self._window and self._window.closed):
                return

    def close(self) -> None:
        """Finish the recording."""
        recorder, self._recorder = self._recorder, None
        if recorder:
            recorder.close()
            self.files.append(str(recorder.path))
            self._controls.say(f"recorded {recorder.path.name}")

    def _send(self, picture: Frame, at: float) -> None:
        for sink in self._sinks:
            sink.write(picture, at)
        if self._controls.recording:
            with self._said_if_it_fails():
                self._recorder = self._recorder or self._new_recorder()
                self._recorder.write(picture, at)

    def _obey(self, picture: Frame) -> None:
        if self._controls.snapshot:
            self._controls.snapshot = False
            self._save(picture)
        if not self._controls.recording:
            with self._said_if_it_fails():
                self.close()

    @contextmanager
    def _said_if_it_fails(self) -> Iterator[None]:
        """The show goes on without a recording, where there is a window to say so in."""
        try:
            yield
        except StyleTransferError as error:
            if self._window is None:
                raise
            self._controls.recording, self._recorder = False, None
            self._controls.say(str(error))

    def _save(self, picture: Frame) -> None:
        try:
            file = save_image(picture, self._new_file(".png"))
        except (StyleTransferError, OSError) as error:  # the show goes on
            self._controls.say(f"no snapshot: {error}")
        else:
            self.files.append(str(file))
            self._controls.say(f"saved {file.name}")

    def _new_recorder(self) -> Recorder:
        if self._record is None:
            return Recorder(self._new_file(".mp4"))
        path, self._record = self._record, None
        return Recorder(path, overwrite=self._overwrite)

    def _new_file(self, suffix: str) -> Path:
        return self._folder / f"nst-rt-{datetime.now():%Y%m%d-%H%M%S-%f}{suffix}"

    def _show(self, window: Window, shown: Picture, problem: str) -> None:
        controls = self._controls
        picture = shown.frame.copy()
        if controls.help:
            write_lines(picture, [f"{keys}: {what}" for keys, what in KEYS], place="middle")
        elif controls.overlay and shown.engine:
            write_lines(picture, [str(controls), self._figures(shown)])
        if not shown.engine:
            write_lines(picture, [_PREPARING], place="middle")
        if self._recorder:
            write_recording(picture, self._recorder.seconds)
        if problem:
            write_lines(picture, [problem], place="middle")
        if controls.note:
            write_lines(picture, [controls.note], place="bottom")
        for key in window.show(picture, full_screen=controls.full_screen):
            controls.on_key(key)

    def _figures(self, shown: Picture) -> str:
        """Rate, latency, resolution and engine."""
        height, width = shown.frame.shape[:2]
        if len(self._times) < 2:
            return f"{width}x{height}   {shown.engine}"
        rate = (len(self._times) - 1) / (self._times[-1] - self._times[0])
        latency = 1000 * sum(self._latencies) / len(self._latencies)
        return f"{rate:.1f} fps   {latency:.0f} ms   {width}x{height}   {shown.engine}"
