"""The loop of a live session: stylized frames to the window and the sinks, keys to the controls."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from nst_rt.errors import StyleTransferError
from nst_rt.images.io import Frame, save_image
from nst_rt.infer.adaptive import AdaptiveStylizer
from nst_rt.infer.frames import Sink, TimedFrame
from nst_rt.infer.live.camera import TIME_BASE, Size
from nst_rt.infer.live.controls import KEYS, LiveControls
from nst_rt.infer.live.outputs import Recorder
from nst_rt.infer.live.overlay import Panel, draw, letterboxed, status_line
from nst_rt.infer.live.window import Window

T = TypeVar("T")
IDLE_SECONDS = 0.05  # without a frame, after which keys are read all the same
_REPEAT_SECONDS = 1.0  # without a frame, after which the sinks get the last one again
_AVERAGED = 30  # number of frames over which frame rate and latency are averaged
_FIGURES_SECONDS = 0.5  # that figures stay, so that they can be read
_BLACK = np.zeros((16, 16, 3), np.uint8)
HELP = Panel(tuple(row for group, rows in KEYS.items() for row in ((group,), *rows)), "middle")


@dataclass(frozen=True)
class LiveFrame(TimedFrame):
    """A frame to show; `pts` is the time at which the source delivered it.

    Attributes:
        backend: what stylized it, and at what size; empty for a preview, which is not stylized.
        is_former: whether it has a former style, since the network of the chosen one is compiled.
    """

    backend: str = ""
    is_former: bool = False


def stylized_frames(
    frames: Iterable[TimedFrame | None],
    loading: Future[AdaptiveStylizer],
    controls: LiveControls,
    *,
    mirror: bool = False,
    preview: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[LiveFrame | None]:
    """Stylize each frame with the current settings of the controls; None stays None.

    While a style is learned, on these frames, half of the time is left to that: after a frame that
    took some time, those that come within as much time are left out. The size at which they are
    stylized does not become smaller.

    Args:
        frames: frames of the source, see `polled`.
        loading: the stylizer, which may still be loading.
        controls: state of the session.
        mirror: whether to swap left and right.
        preview: whether to pass frames on as they are while the stylizer is being loaded, and a
            style image gives its first style; by default they wait for it.
        clock: gives the time in seconds.

    Raises:
        LearningError: a style image gave no style.
    """
    learning, rests_until = controls.learning, float("-inf")
    needed: list[Future[Any]] = [loading, *([learning.ready] if learning else [])]
    while not preview and not _is_there(needed, IDLE_SECONDS):
        yield None
    for frame in frames:
        if frame is None:
            yield None
            continue
        if learning:
            learning.offer(frame.image)
        if (shares := learning is not None and learning.is_learning) and clock() < rests_until:
            continue
        image = np.asarray(cv2.flip(frame.image, 1), np.uint8) if mirror else frame.image
        backend, is_former = "", False
        if _is_there(needed):
            begin, stylizer = clock(), loading.result()
            stylizer.set_style(controls.live_style())
            interval = float(frame.duration * TIME_BASE)
            image = stylizer.stylize(image, interval=interval, may_shrink=not shares)
            rests_until = 2 * clock() - begin
            backend, is_former = str(stylizer), stylizer.preparing
        yield LiveFrame(image, frame.pts, frame.duration, frame.source, backend, is_former)


def _is_there(needed: Sequence[Future[Any]], seconds: float = 0) -> bool:
    """Whether all work is done, within some seconds; raises what went wrong with it."""
    done, waiting = wait(needed, seconds, FIRST_EXCEPTION)
    for work in done:
        work.result()
    return not waiting


class LiveSession:
    """Shows frames, passes them on to sinks, and does what the keys ask for.

    Args:
        controls: state that the keys change.
        window: None for none.
        sinks: further outputs of the stylized frames; the caller closes them.
        folder: where snapshots go, and recordings that a key started.
        record: file of the first recording, if the controls start with one.
        overwrite: whether to replace that file.

    Attributes:
        frames: number of stylized frames so far.
        seconds: time from the first of them to the last.
        files: finished recordings and snapshots.
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
        self._shown_at: deque[int] = deque(maxlen=_AVERAGED)
        self._latencies: deque[int] = deque(maxlen=_AVERAGED)
        self._figures: tuple[str, ...] = ()
        self._figures_at = 0  # when they were computed
        self._learning_was = controls.learning.state if controls.learning else ""

    def wait(self, work: Future[T], message: str) -> T | None:
        """The result of work, with a message in the window until then; None if the user quits.

        Raises:
            Exception: what the work raises.
        """
        black = LiveFrame(_BLACK, 0)
        while self._window and not wait([work], IDLE_SECONDS).done:
            self._show(self._window, black, message)
            if self._is_quit():
                return None
        return work.result()

    def run(
        self,
        frames: Iterable[LiveFrame | None],
        *,
        duration: float | None = None,
        problem: Callable[[], str] = str,
    ) -> None:
        """Run until the frames or the time end, or the user quits.

        Args:
            frames: None each time that none came for a while, so that keys are read all the same.
            duration: maximum number of seconds from the first stylized frame.
            problem: gives the reason why no frames arrive, or an empty text.

        Raises:
            VideoError: a recording cannot be written, and there is no window to say so in.
        """
        begin, sent = None, 0
        shown = LiveFrame(_BLACK, 0)
        for frame in frames:
            shown = frame or shown
            now = time.perf_counter_ns()
            if shown.backend:
                self._controls.advance()
                # Sinks want a frame at all times, so the last one is repeated; but not soon, since
                # the next one may have been captured before now.
                is_late = (now - sent) * TIME_BASE > _REPEAT_SECONDS
                new = frame or (replace(shown, pts=now) if is_late else None)
                if new:
                    sent = now
                    for sink in self._sinks:
                        sink.write(new)
                self._update_recording(new)
                if self._controls.snapshot:
                    self._save_snapshot(shown.image)
                begin = now if begin is None else begin
                self.seconds = float((now - begin) * TIME_BASE)
            self._tell_end_of_learning()
            if self._window:
                self._show(self._window, shown, problem())
            if frame and frame.backend:
                self.frames += 1
                self._shown_at.append(time.perf_counter_ns())
                self._latencies.append(self._shown_at[-1] - frame.pts)
            is_over = duration is not None and self.seconds >= duration
            if is_over or self._is_quit():
                return

    def close(self) -> None:
        """Finish the recording."""
        recorder, self._recorder = self._recorder, None
        if recorder:
            recorder.close()
            self.files.append(str(recorder.path))
            self._controls.say(f"recorded {recorder.path.name}")

    def _tell_end_of_learning(self) -> None:
        """Say once that a style is learned, or that it failed."""
        learning = self._controls.learning
        if learning is None:
            return
        before, self._learning_was = self._learning_was, learning.state
        has_ended = before != self._learning_was and self._learning_was in ("learned", "failed")
        if has_ended and not self._controls.note:
            self._controls.say(str(learning))

    def _is_quit(self) -> bool:
        return self._controls.quit or (self._window is not None and self._window.closed)

    def _update_recording(self, frame: LiveFrame | None) -> None:
        """Record a frame, or finish the recording, as the controls say."""
        try:
            if not self._controls.recording:
                self.close()
            elif frame:
                self._recorder = self._recorder or self._new_recorder()
                self._recorder.write(frame)
        except StyleTransferError as error:
            if self._window is None:
                raise
            # With a window to say so in, the session goes on without the recording.
            recorder, self._recorder = self._recorder, None
            if recorder:
                with suppress(StyleTransferError):  # the same error; its thread ends
                    recorder.close()
            self._controls.recording = False
            self._controls.say(str(error))

    def _save_snapshot(self, image: Frame) -> None:
        self._controls.snapshot = False
        try:
            file = save_image(image, self._new_file(".png"))
        except (StyleTransferError, OSError) as error:  # the session goes on
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

    def _show(self, window: Window, shown: LiveFrame, message: str) -> None:
        image = letterboxed(shown.image, window.size)
        draw(image, self._panels(shown, message, window.size))
        for key in window.show(image, full_screen=self._controls.full_screen):
            self._controls.on_key(key)

    def _panels(self, shown: LiveFrame, message: str, size: Size) -> Iterator[Panel]:
        """What is drawn over a frame in a window of a width and height."""
        controls = self._controls
        if controls.overlay and shown.backend and not controls.help:
            parts = [str(controls), *self._current_figures(shown)]
            yield Panel(((status_line(parts, size),),), "status")
        if self._recorder:
            minutes, rest = divmod(int(self._recorder.seconds), 60)
            yield Panel(((f"REC {minutes}:{rest:02}",),), "corner", dot=True)
        if controls.help:
            yield HELP
        elif message:
            yield Panel(((message,),), "middle")
        elif page := controls.page:
            yield Panel(page, "list")
        is_preparing = shown.is_former or not (shown.backend or message)
        if note := controls.note or (f"Preparing {controls.chosen} ..." if is_preparing else ""):
            yield Panel(((note,),), "note")

    def _current_figures(self, shown: LiveFrame) -> tuple[str, ...]:
        now = time.perf_counter_ns()
        if (now - self._figures_at) * TIME_BASE >= _FIGURES_SECONDS:
            self._figures, self._figures_at = (), now
            if len(self._shown_at) > 1:
                seconds = float((self._shown_at[-1] - self._shown_at[0]) * TIME_BASE)
                latency = float(sum(self._latencies) * TIME_BASE) / len(self._latencies)
                rate = (len(self._shown_at) - 1) / seconds
                self._figures = f"{rate:.1f} fps", f"{1000 * latency:.0f} ms"
        height, width = shown.image.shape[:2]
        learning = self._controls.learning
        learned = [str(learning)] if learning else []
        return *self._figures[:1], *learned, *self._figures[1:], f"{width}x{height}", shown.backend
