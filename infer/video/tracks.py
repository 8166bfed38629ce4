"""The tracks beside the video: audio, subtitles, fonts, chapters; planned, then copied."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import AttachmentStream, DataStream, Discard, Disposition, Stream
from av.subtitles.stream import SubtitleStream

from nst_rt.infer.video.audio import AudioEncoder, add_audio, audio_rate
from nst_rt.infer.video.encoder import FORMATS
from nst_rt.infer.video.probe import (
    Damage,
    Packet,
    clock_origin,
    codec_name,
    readable_packets,
    video_stream,
    with_damage,
)

# Codecs that muxers write, but players of these files do not expect.
_UNUSUAL = {
    ".mp4": {"mp3", "mp2", "mp1", "vorbis"},
    ".mov": {"vorbis", "opus", "flac", "mp2", "mp1"},
}
_AUDIO_CODECS = {".mp4": "aac", ".mov": "aac", ".mkv": "libopus", ".webm": "libopus"}
_SUBTITLE_CODECS = {".mp4": "mov_text", ".mov": "mov_text", ".mkv": "subrip", ".webm": "webvtt"}
_DEFAULT_BASE = Fraction(1, 1000)  # of streams without a time base
_TEXT = {"subrip", "ass", "ssa", "webvtt", "mov_text", "text"}

# Metadata that describes the old file and not its content.
_STALE = re.compile(
    "major_brand|minor_version|compatible_brands|encoder|duration|rotate|number_of_(frames|bytes)|"
    "bps|vendor_id|_statistics.*"
)


@dataclass(frozen=True)
class Track:
    """What became of a stream of the source.

    Attributes:
        kind: `audio`, `subtitle`, `video`, `attachment` or `data`.
        codec, language: in the source's words; the language is "" if unknown.
        action: `copied`, `re-encoded to ...`, `converted to ...` or `... left out`.
    """

    kind: str
    codec: str
    language: str
    action: str

    @property
    def is_left_out(self) -> bool:
        """Whether nothing of the stream is written."""
        return self.action.endswith("left out")

    def __str__(self) -> str:
        language = f" ({self.language})" if self.language else ""
        return f"{self.codec} {self.kind}{language} {self.action}"


def plan_tracks(source: InputContainer, suffix: str) -> dict[int, Track]:
    """What will become of each stream except the video: stream index -> track.

    Whatever the container of this suffix holds is copied; to find out, such a file is begun.
    """
    main = video_stream(source.name, source)
    tracks = {}
    for stream in source.streams:
        # FFmpeg has read the titles of chapters, a data track of MP4, and writes them anew.
        is_chapters = isinstance(stream, DataStream) and stream.discard == Discard.all
        if stream.index != main.index and not is_chapters:
            codec = "timecode" if _is_timecode(stream) else codec_name(stream)
            action = _action(stream, suffix)
            # "und" is ISO 639 for undetermined.
            language = "" if stream.language in (None, "und") else stream.language
            tracks[stream.index] = Track(stream.type, codec, language, action)
    return tracks


def _is_timecode(stream: Stream) -> bool:
    """Whether a data track of MP4 holds a time code, of which FFmpeg has made a tag."""
    return isinstance(stream, DataStream) and "timecode" in stream.metadata


def _action(stream: Stream, suffix: str) -> str:
    if suffix not in FORMATS:
        return "left out"
    codec = codec_name(stream)
    is_held = _holds(suffix, lambda output: output.add_stream_from_template(stream, opaque=True))
    if isinstance(stream, AudioStream):
        # MP4 takes PCM in its header, but refuses the packets.
        is_usual = codec not in _UNUSUAL.get(suffix, ()) and not (
            suffix == ".mp4" and codec.startswith("pcm_")
        )
        return "copied" if is_usual and is_held else _encoding(stream, suffix)
    if isinstance(stream, SubtitleStream):
        if is_held:
            return "copied"
        return f"converted to {_SUBTITLE_CODECS[suffix]}" if codec in _TEXT else "left out"
    # WebM and MP4 accept attachments, but write nothing.
    if isinstance(stream, AttachmentStream) and suffix == ".mkv":
        return "copied"
    return "kept as a tag, its track left out" if _is_timecode(stream) else "left out"


def _encoding(stream: AudioStream, suffix: str) -> str:
    """What becomes of audio that a container does not hold in its codec."""
    codec = _AUDIO_CODECS[suffix]
    if stream.codec_context is None or not _holds(
        suffix, lambda output: add_audio(output, stream, codec)
    ):
        return "left out"
    rate = audio_rate(stream, codec)
    resampled = f" at {rate} Hz" if rate != stream.rate else ""
    return f"re-encoded to {codec.removeprefix('lib')}{resampled}"


def _holds(suffix: str, add: Callable[[OutputContainer], object]) -> bool:
    """Whether a container takes a stream."""
    try:
        with av.open(os.devnull, "w", format=FORMATS[suffix]) as container:
            add(container)
            container.start_encoding()
    except (av.FFmpegError, OSError, ValueError):
        return False
    return True


class TrackCopier:
    """Copies the tracks, chapters and names of a source into a container.

    Args:
        source: the container to convert.
        output: open for writing, with its video stream, before its first packet.
        suffix: of the output.
        start, end: seconds of the source to copy; the start becomes 0.
    """

    def __init__(
        self,
        source: InputContainer,
        output: OutputContainer,
        suffix: str,
        start: float,
        end: float | None,
    ) -> None:
        self._streams: dict[int, _Copied] = {}
        self._source, self._start = source, start
        self._unread: list[Damage] = []  # on the container's clock
        self._plan = plan_tracks(source, suffix)
        for index, track in self._plan.items():
            if track.is_left_out:
                continue
            stream = source.streams[index]
            if track.action == "copied":
                target: Any = output.add_stream_from_template(stream, opaque=True)
                copied = _Copied(stream, target, start, end)
            elif isinstance(stream, AudioStream):
                target = add_audio(output, stream, _AUDIO_CODECS[suffix])
                copied = _Encoded(stream, target, start, end)
            else:
                assert isinstance(stream, SubtitleStream)
                target = _add_subtitles(output, stream, _SUBTITLE_CODECS[suffix])
                copied = _Subtitles(stream, target, start, end)
            _describe(target, stream)
            if not isinstance(stream, AttachmentStream):
                self._streams[index] = copied
        _describe(output.streams.video[0], video_stream(source.name, source))
        output.metadata.update(_lasting(source.metadata))
        output.set_chapters(_chapters(source, start, end))

    @property
    def warnings(self) -> list[str]:
        """Damaged parts that were left out so far, in seconds of the source."""
        found = [(str(self._plan[index]), copied.damage) for index, copied in self._streams.items()]
        origin = float(clock_origin(self._source))
        return [
            f"{track}; damaged, left out: "
            + ", ".join(str(Damage(part.start - origin, part.end - origin)) for part in damage)
            for track, damage in [*found, ("other tracks", self._unread)]
            if damage
        ]

    def convert(self, packet: Packet) -> list[Packet]:
        """Output packets for a packet of the source."""
        copied = self._streams.get(packet.stream.index)
        return [] if copied is None or not packet.size else copied.convert(packet)

    def finish(self) -> list[Packet]:
        """Packets that encoders still hold."""
        return [packet for copied in self._streams.values() for packet in copied.finish()]

    def packets(self) -> Iterator[Packet]:
        """All output packets, reading the source from `start` on."""
        if not self._streams:
            return
        if self._start > 0:
            with contextlib.suppress(av.FFmpegError, OSError):  # then from the beginning
                self._source.seek(round(self._start * av.time_base))
        last = 0.0
        wanted = [self._source.streams[index] for index in self._streams]
        for packet in readable_packets(self._source, *wanted):
            if packet is None:
                self._unread = with_damage(self._unread, last, last)
                continue
            if packet.pts is not None:
                last = float(packet.pts * packet.time_base)
            yield from self.convert(packet)
            if all(copied.is_over for copied in self._streams.values()):
                break
        yield from self.finish()


class _Copied:
    """A stream that is copied packet by packet, from `start` to `end` seconds."""

    def __init__(self, stream: Any, target: Any, start: float, end: float | None) -> None:
        self._decoder, self._target = stream.codec_context, target
        self._base = stream.time_base or _DEFAULT_BASE
        self.is_over = False
        self.damage: list[Damage] = []  # on the container's clock
        self._last: int | None = None
        self._start = round(start / self._base)
        self._end = None if end is None else round(end / self._base)

    def convert(self, packet: Packet) -> list[Packet]:
        if not self._is_wanted(packet):
            return []
        try:
            return self._converted(packet)
        except (av.FFmpegError, OSError):
            self._note_damage(packet)
            return []

    def _converted(self, packet: Packet) -> list[Packet]:
        if packet.is_corrupt:  # copied all the same; players may make something of it
            self._note_damage(packet)
        return self._placed(packet)

    def finish(self) -> list[Packet]:
        return []

    def _is_wanted(self, packet: Packet) -> bool:
        time = _time(packet)
        if time is None:
            return False
        if self._end is not None and time >= self._end:
            self.is_over = True
            return False
        return time >= self._start or self._start <= 0

    def _note_damage(self, packet: Packet) -> None:
        time = _time(packet) or 0
        start, end = (float(ticks * self._base) for ticks in (time, time + (packet.duration or 0)))
        self.damage = with_damage(self.damage, start, end)

    def _placed(self, packet: Packet) -> list[Packet]:
        """The packet at its new time; muxers refuse times that do not ascend."""
        dts = packet.dts if packet.dts is not None else packet.pts
        assert dts is not None
        pts = packet.pts if packet.pts is not None else dts
        dts, pts = dts - self._start, pts - self._start
        if self._last is not None:
            dts = max(dts, self._last + 1)
        self._last = dts
        packet.dts, packet.pts = dts, max(pts, dts)
        packet.stream = self._target
        return [packet]


class _Encoded(_Copied):
    """Audio in a codec that the output does not hold."""

    def __init__(self, stream: Any, target: Any, start: float, end: float | None) -> None:
        super().__init__(stream, target, start, end)
        self._encoder = AudioEncoder(target, self._base)

    def _converted(self, packet: Packet) -> list[Packet]:
        return self._encoded(self._decoder.decode(packet))

    def finish(self) -> list[Packet]:
        held: list[AudioFrame] = []
        with contextlib.suppress(av.FFmpegError, OSError):
            held = self._decoder.decode(None)
        return [*self._encoded(held), *self._encoder.finish()]

    def _encoded(self, frames: list[AudioFrame]) -> list[Packet]:
        packets = []
        for frame in frames:
            if frame.pts is not None:
                frame.pts -= self._start
            frame.time_base = self._base
            packets += self._encoder.encode(frame)
        return packets


class _Subtitles(_Copied):
    """Text subtitles in another format."""

    def _converted(self, packet: Packet) -> list[Packet]:
        text = self._decoder.decode2(packet)
        if text is None or not len(text):
            return []
        encoded = self._target.codec_context.encode_subtitle(text)
        encoded.pts, encoded.dts, encoded.duration = packet.pts, packet.dts, packet.duration
        encoded.time_base = packet.time_base
        return self._placed(encoded)


def _add_subtitles(output: OutputContainer, stream: SubtitleStream, codec: str) -> SubtitleStream:
    decoder = stream.codec_context
    if not decoder.is_open:
        decoder.open(strict=False)
    target = output.add_stream(codec)
    assert isinstance(target, SubtitleStream)
    target.codec_context.subtitle_header = decoder.subtitle_header
    target.codec_context.time_base = target.time_base = stream.time_base or _DEFAULT_BASE
    return target


def _time(packet: Packet) -> int | None:
    return packet.pts if packet.pts is not None else packet.dts


def _describe(target: Stream, stream: Stream) -> None:
    target.metadata.update(_lasting(stream.metadata))
    target.disposition = Disposition(stream.disposition)


def _lasting(metadata: dict[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in metadata.items()
        if not _STALE.fullmatch(name.lower().partition("-")[0])
    }


def _chapters(source: InputContainer, start: float, end: float | None) -> list[Any]:
    """Chapters that lie in the part, whose start becomes 0."""
    kept = []
    for chapter in source.chapters():
        base = chapter["time_base"] or Fraction(1, av.time_base)
        first, last = round(start / base), None if end is None else round(end / base)
        begins = max(chapter["start"], first)
        ends = chapter["end"] if last is None else min(chapter["end"], last)
        if begins < ends:
            kept.append({**chapter, "start": begins - first, "end": ends - first})
    return kept
