"""Whole videos, each stylized in a process of its own, which may crash."""

import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nst_rt.errors import InputError, StyleTransferError
from nst_rt.images.io import Frame
from nst_rt.infer.adaptive import LiveStyle
from nst_rt.infer.blend import StyleSet
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.video import VideoResult, stylize_video
from nst_rt.infer.web.decoding.pool import WorkerError
from nst_rt.infer.web.decoding.processes import CONTEXT, END_SIGNALS, crashed
from nst_rt.infer.web.decoding.worker import begin
from nst_rt.infer.web.stylizers import write_preview
from nst_rt.models.style_model import StyleModel

_NEWEST_SECONDS = 1.0  # between two newest frames
_NEWEST_SIZE = 480  # pixels of the long side
_POLL_SECONDS = 0.2
# Without a frame: many times what the largest frame or the sound at the end take on a busy machine.
_SILENT_SECONDS = 600.0


@dataclass(frozen=True)
class Conversion:
    """A video to stylize, and all that its process must know.

    Attributes:
        source, output: files.
        newest: file for its newest frame.
        models: files of the style models that the style needs.
        choice: style.
        loading: backend, device and precision, see `Stylizer`.
    """

    source: Path
    output: Path
    newest: Path
    models: tuple[Path, ...]
    choice: LiveStyle
    loading: Mapping[str, Any]


@dataclass(frozen=True)
class _Message:
    """What the process tells: of a frame, of a new newest frame, or of its end."""

    frames: float = 0
    total: float | None = None
    shows: bool = False
    result: VideoResult | None = None
    refusal: StyleTransferError | None = None
    bug: str = ""


def convert(
    conversion: Conversion,
    *,
    started: Callable[[int], object],
    check: Callable[[], object],
    progress: Callable[[float, float | None], object],
    show: Callable[[], object],
) -> VideoResult:
    """Stylize a video in a new process, and wait for it.

    Args:
        conversion: what to do.
        started: called with the number of the process.
        check: called often; what it raises ends the process, as does what `progress` raises.
        progress: called with the number of frames done, and that of all frames, see `Progress`.
        show: called when there is another newest frame.

    Raises:
        InputError: the decoder crashed, or there was no frame for ten minutes.
        WorkerError: a bug.
        StyleTransferError: see `stylize_video`.
    """
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_work, args=(conversion, sender), daemon=True)
    process.start()
    sender.close()  # the process has its own: without it, nothing more can come
    try:
        started(process.pid)
        heard = time.monotonic()
        while True:
            check()
            if not receiver.poll(_POLL_SECONDS):
                if time.monotonic() - heard > _SILENT_SECONDS:
                    raise InputError(
                        f"{conversion.source}: cannot be converted: the decoder gave no frame for "
                        f"{_SILENT_SECONDS:g} s"
                    )
                continue
            message: _Message = receiver.recv()
            heard = time.monotonic()
            if message.refusal is not None:
                raise message.refusal
            if message.bug:
                raise WorkerError(message.bug)
            if message.result is not None:
                return message.result
            if message.shows:
                show()
            else:
                progress(message.frames, message.total)
    except EOFError:
        process.join()
        raise InputError(
            f"{conversion.source}: cannot be converted: the decoder {crashed(process.exitcode)}"
        ) from None
    finally:
        receiver.close()
        process.kill()
        process.join()


def _work(conversion: Conversion, sender: Connection) -> None:
    """Stylize the video; called in the new process."""
    begin()
    for number in END_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    sending = threading.Lock()

    def send(message: _Message) -> None:
        with sending:  # frames are stylized and written in threads
            sender.send(message)

    try:
        styles = StyleSet()
        for model in conversion.models:
            styles.add(StyleModel.load(model), skip_known=True)
        choice = conversion.choice
        stylizer = Stylizer(
            styles,
            choice.blend,
            strength=choice.strength,
            stroke_size=choice.stroke_size,
            **conversion.loading,
        )
        result = stylize_video(
            conversion.source,
            conversion.output,
            style=_Watched(stylizer, conversion, lambda: send(_Message(shows=True))),
            stability=choice.stability,
            progress=lambda frames, total, note: send(_Message(frames, total)),
        )
        send(_Message(result=result))
    except StyleTransferError as error:
        send(_Message(refusal=error))
    except Exception:
        send(_Message(bug=traceback.format_exc()))


class _Watched(FrameStylizer):
    """A frame stylizer that also writes its newest frame from time to time."""

    def __init__(
        self, stylizer: Stylizer, conversion: Conversion, show: Callable[[], object]
    ) -> None:
        super().__init__(stylizer, post_processing=conversion.choice.post_processing)
        self._file, self._show = conversion.newest, show
        self._shown = 0.0  # time of the last frame that was shown

    def start(self, frame: Frame, seconds: float, *, repeated: bool = False) -> Callable[[], Frame]:
        finish = super().start(frame, seconds, repeated=repeated)

        def finished() -> Frame:
            stylized = finish()
            if time.monotonic() - self._shown > _NEWEST_SECONDS:
                write_preview(stylized, self._file, size=_NEWEST_SIZE)
                self._show()
                self._shown = time.monotonic()
            return stylized

        return finished
