"""Video files: decoded by OpenCV, stylized, encoded to H.264 by PyAV with the audio copied."""

import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, get_args

import av
import cv2
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

from nst_rt.errors import InputError, PartialResultError, VideoError
from nst_rt.files import check_format, check_input, partial_path
from nst_rt.images import Frame
from nst_rt.infer.pipeline import in_background
from nst_rt.infer.stabilize import Stabilizer
from nst_rt.infer.stylizer import Stylizer, load_style

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov")
Preset = Literal[
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"
]
PRESETS: tuple[Preset, ...] = get_args(Preset)

# Codes of ITU-T H.273.
_BT709 = 1
_LIMITED_RANGE = 1

# Containers round durations, and the last frame may be a long one.
_COMPLETE = 0.98


@dataclass(frozen=True)
class VideoInfo:
    """What a video file's container says of it.

    Attributes:
        width, height: pixels, before rotation.
        rate: frames per second, exact.
        time_base: seconds per tick of the timestamps, exact.
        start: of the video stream, in ticks.
        frames: number of frames; estimated where the container does not tell, 0 if it cannot be.
        duration: of the video stream in seconds, if the container tells.
        audio: codec of the first audio stream, if there is one.
    """

    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    start: int
    frames: int
    duration: float | None
    audio: str | None


@dataclass(frozen=True)
class TimedFrame:
    """A frame and its timestamp in ticks of the stream's time base."""

    frame: Frame
    pts: int


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Attributes:
        output: the file written.
        frames: how many.
        seconds: wall-clock time.
        audio: codec of the audio that was copied, if any.
        engine: backend, precision and device.
    """

    output: Path
    frames: int
    seconds: float
    audio: str | None
    engine: str

    @property
    def fps(self) -> float:
        """Frames per second, decoding and encoding included."""
        return self.frames / self.seconds


def probe(path: Path | str) -> VideoInfo:
    """Read a video file's headers.

    Raises:
        InputError: no such file.
        VideoError: not a video, without frames, or cut off.
    """
    path = check_input(path)
    try:
        with av.open(_url(path)) as container:
            return _video_info(path, container)
    except (av.FFmpegError, OSError) as error:
        raise VideoError(
            f"{path}: not a video that can be read, or a damaged one ({error.strerror})"
        ) from error


def _video_info(path: Path, container: InputContainer) -> VideoInfo:
    if not container.streams.video:
        raise VideoError(f"{path}: no video in this file")
    stream = container.streams.video[0]
    rate, time_base = stream.average_rate or stream.guessed_rate, stream.time_base
    if not rate or not time_base or not stream.width:
        raise VideoError(f"{path}: no frames in this video, or its header is damaged")
    # The index of MP4, MOV and AVI tells where each frame's data should end.
    end = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
    if end > path.stat().st_size:
        missing = end - path.stat().st_size
        raise VideoError(f"{path}: truncated: {missing} bytes are missing at its end")
    duration = _duration(stream)
    audio = container.streams.audio
    return VideoInfo(
        width=stream.width,
        height=stream.height,
        rate=rate,
        time_base=time_base,
        start=stream.start_time or 0,
        frames=stream.frames or round((duration or 0) * rate),
        duration=duration,
        audio=audio[0].codec_context.name if audio else None,
    )


def _duration(stream: VideoStream) -> float | None:
    """Of the video alone; the container's is that of its longest stream."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    tag = stream.metadata.get("DURATION")  # Matroska: "00:01:02.345000000"
    if tag is None:
        return None
    hours, minutes, seconds = (float(part) for part in tag.split(":"))
    return 3600 * hours + 60 * minutes + seconds


def _url(path: Path) -> str:
    """For FFmpeg, which takes what stands before a colon in a relative path for a protocol."""
    return str(path.absolute())


class VideoReader:
    """The frames of a video file in order, rotated as its metadata says.

    Raises:
        InputError: no such file.
        VideoError: not a video, without frames, or cut off.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = check_input(path)
        self.info = probe(path)

    def __iter__(self) -> Iterator[TimedFrame]:
        capture = cv2.VideoCapture(_url(self.path), cv2.CAP_FFMPEG)
        try:
            previous = -1
            while True:
                found, frame = capture.read()
                if not found:
                    return
                # Milliseconds since the stream's start, as a double: exact once rounded to ticks.
                seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                pts = max(round(seconds / self.info.time_base), previous + 1)
                previous = pts
                yield TimedFrame(np.asarray(frame, dtype=np.uint8), pts + self.info.start)
        finally:
            capture.release()


class VideoWriter:
    """An H.264 file with exact timestamps and the first audio stream of the source.

    It is written to `OUT.partial.EXT`; leaving the context without an error makes that `path`,
    and leaving it with one finishes the partial file, so that it plays.

    Args:
        path: the output, .mp4, .mkv or .mov.
        source: file whose time base, rate and audio are taken over.
        crf: quality of x264, from 0 (lossless) to 51 (worst).
        preset: of x264, from `ultrafast` to `veryslow`.

    Raises:
        VideoError: audio that the output's container cannot hold.
    """

    def __init__(
        self, path: Path, source: VideoReader, *, crf: int = 20, preset: Preset = "veryfast"
    ) -> None:
        self.path = path
        self.partial = partial_path(path)
        self.frames = 0
        self._info = source.info
        self._source = av.open(_url(source.path))
        self._container = av.open(_url(self.partial), "w")
        self._video = self._container.add_stream("libx264", rate=self._info.rate)
        self._video.options = {"crf": str(crf), "preset": preset}
        self._audio = self._copied_audio()
        self._packets = self._audio_packets()
        self._next_audio = next(self._packets, None)

    def __enter__(self) -> "VideoWriter":
        return self

    def write(self, frame: Frame, pts: int) -> None:
        """Encode a frame, shape (H, W, 3), uint8 BGR; `pts` in ticks of the source."""
        if not self.frames:
            self._configure(frame)
        picture = av.VideoFrame.from_ndarray(frame, format="bgr24").reformat(
            format=self._video.pix_fmt, dst_colorspace=Colorspace.ITU709
        )
        picture.pts = pts
        picture.time_base = self._info.time_base
        picture.duration = round(1 / self._info.rate / self._info.time_base)
        self._container.mux(self._video.encode(picture))
        self.frames += 1
        self._mux_audio(until=pts * self._info.time_base)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self.frames:
                self._container.mux(self._video.encode(None))
                if kind is None:
                    self._mux_audio(until=None)
        finally:
            self._container.close()
            self._source.close()
            if not self.frames:
                self.partial.unlink(missing_ok=True)
        if self.frames and kind is None:
            self.partial.replace(self.path)

    def _configure(self, frame: Frame) -> None:
        self._video.height, self._video.width = frame.shape[:2]
        # Chroma of half the size needs even sides; the size must not change.
        even = frame.shape[0] % 2 == 0 and frame.shape[1] % 2 == 0
        self._video.pix_fmt = "yuv420p" if even else "yuv444p"
        context = self._video.codec_context
        context.time_base = self._video.time_base = self._info.time_base
        # Said, or players guess by the size.
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        try:
            self._container.start_encoding()
        except av.FFmpegError as error:
            if self._audio is None:
                raise VideoError(f"{self.path}: cannot be written ({error.strerror})") from error
            raise VideoError(self._refusal()) from error

    def _copied_audio(self) -> AudioStream | None:
        if self._info.audio is None:
            return None
        if self._info.audio not in self._container.supported_codecs:
            self._container.close()
            self._source.close()
            self.partial.unlink(missing_ok=True)
            raise VideoError(self._refusal())
        if len(self._source.streams.audio) > 1:
            logger.warning("%s: only the first of its audio tracks is copied", self._source.name)
        return self._container.add_stream_from_template(self._source.streams.audio[0])

    def _refusal(self) -> str:
        return (
            f"{self.path}: {self.path.suffix} cannot hold the source's {self._info.audio} "
            f"audio; write {self.path.with_suffix('.mkv').name} instead"
        )

    def _audio_packets(self) -> "Iterator[av.Packet[Any]]":
        if self._audio is None:
            return
        for packet in self._source.demux(self._source.streams.audio[0]):
            if packet.dts is not None:  # the last one only flushes decoders
                yield packet

    def _mux_audio(self, until: Fraction | None) -> None:
        """Copy the audio up to a time in seconds; all of it for None."""
        while (packet := self._next_audio) is not None:
            assert packet.dts is not None
            if until is not None and packet.dts * packet.time_base > until:
                return
            packet.stream = self._audio
            self._container.mux(packet)
            self._next_audio = next(self._packets, None)


def check_conversion(
    source: Path | str, output: Path | str, *, overwrite: bool = False
) -> tuple[Path, VideoReader]:
    """Check a conversion's two ends before any work is done.

    Raises:
        InputError, OutputExistsError, VideoError: see `convert_video`.
    """
    output = check_format(output, "video", VIDEO_SUFFIXES, overwrite=overwrite)
    reader = VideoReader(source)
    for target in (output, partial_path(output)):
        if target.exists() and target.samefile(reader.path):
            raise InputError(f"{output}: would be written over the source; choose another name")
    return output, reader


def convert_video(
    source: Path | str,
    output: Path | str,
    *,
    style: str | Stylizer = "starry_night",
    crf: int = 20,
    preset: Preset = "veryfast",
    stabilize: bool = False,
    overwrite: bool = False,
    on_frame: Callable[[int, VideoInfo], None] | None = None,
) -> Conversion:
    """Stylize a video file: every frame once, with its timestamp, and the audio as it is.

    Reading, stylizing and writing run in threads of their own, with few frames between them, so
    that memory does not grow with the length.

    Args:
        source: any file that FFmpeg decodes.
        output: .mp4, .mkv or .mov; it appears when it is complete, and until then the work lies
            in `OUT.partial.EXT`.
        style: see `load_style`, or a Stylizer.
        crf: quality of x264, from 0 (lossless) to 51 (worst).
        preset: of x264, from `ultrafast` to `veryslow`.
        stabilize: keep strokes where they are in the scene, see `Stabilizer`.
        overwrite: replace an existing output.
        on_frame: called after each frame with their number and what is known of the source.

    Raises:
        InputError, OutputExistsError: files that cannot be used.
        VideoError: a source that is not a video, without frames or cut off; audio that the
            output cannot hold.
        PartialResultError: a source that ends before its time; the partial output is kept.
    """
    output, reader = check_conversion(source, output, overwrite=overwrite)
    if not 0 <= crf <= 51:
        raise InputError(f"the crf must be between 0 and 51, not {crf}")
    if preset not in PRESETS:
        raise InputError(f"the preset must be one of {', '.join(PRESETS)}, not {preset!r}")
    stylizer = load_style(style) if isinstance(style, str) else style

    stabilizer = Stabilizer() if stabilize else None

    def painted() -> Generator[TimedFrame, None, None]:
        with closing(in_background(reader)) as frames:
            for timed in frames:
                picture = stylizer.stylize(timed.frame)
                if stabilizer is not None:
                    picture = stabilizer.steady(timed.frame, picture)
                yield TimedFrame(picture, timed.pts)

    begin = time.perf_counter()
    with (
        VideoWriter(output, reader, crf=crf, preset=preset) as writer,
        closing(in_background(painted())) as frames,
    ):
        for timed in frames:
            writer.write(timed.frame, timed.pts)
            if on_frame:
                on_frame(writer.frames, reader.info)
        if not writer.frames:
            raise VideoError(f"{source}: no frame of this video can be decoded")
        reached = float((timed.pts - reader.info.start) * reader.info.time_base)
        if reader.info.duration and reached < reader.info.duration * _COMPLETE - 1:
            raise PartialResultError(
                f"{source}: damaged or cut off: only {reached:.1f} of "
                f"{reader.info.duration:.1f} seconds can be decoded; they are in {writer.partial}"
            )
    seconds = time.perf_counter() - begin
    return Conversion(output, writer.frames, seconds, reader.info.audio, str(stylizer))
