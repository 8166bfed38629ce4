"""Streams that go along with the picture, taken over into a file that is being written."""

import contextlib
import queue
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import AttachmentStream, Disposition, Stream
from av.subtitles.stream import SubtitleStream

from nst_rt.infer.video.damage import Damage, with_damage
from nst_rt.infer.video.probe import Packet, clock_origin, main_video, url
from nst_rt.infer.video.sound import SoundEncoder, add_sound
from nst_rt.infer.video.tracks import AUDIO_CODECS, SUBTITLE_CODECS, plan_tracks

# What describes the old file and not its content.
_STALE = {
    "major_brand",
    "minor_version",
    "compatible_brands",
    "encoder",
    "duration",
    "rotate",
    "number_of_frames",
    "number_of_bytes",
    "bps",
    "vendor_id",
}


class TrackCopier:
    """Takes the streams that go along over into a container that is being written.

    Args:
        source: that is converted.
        output: whose video stream exists, and nothing is written yet.
        suffix: of the output.
        start, end: seconds of the source that are wanted; the start becomes 0.
    """

    def __init__(
        self,
        source: InputContainer,
        output: OutputContainer,
        suffix: str,
        *,
        start: float = 0.0,
        end: float | None = None,
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
                made: _Copied = _Copied(stream, output)
            elif isinstance(stream, AudioStream):
                made = _Encoded(stream, output, AUDIO_CODECS[suffix])
            else:
                assert isinstance(stream, SubtitleStream)
                made = _Subtitles(stream, output, SUBTITLE_CODECS[suffix])
            made.shift(start, end)
            _describe(made.target, stream)
            if not isinstance(stream, AttachmentStream):
                self._streams[index] = made
        output.metadata.update(_lasting(source.metadata))
        output.set_chapters(_chapters(source, start, end))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was damaged and left out so far, in seconds of the source."""
        found = [(str(self._plan[index]), copied.damage) for index, copied in self._streams.items()]
        origin = float(clock_origin(self._source))
        return tuple(
            f"{track}; damaged, left out: {', '.join(str(part.after(origin)) for part in damage)}"
            for track, damage in [*found, ("sound and the like", self._unread)]
            if damage
        )

    def convert(self, packet: Packet) -> list[Packet]:
        """What a packet of the source becomes."""
        copied = self._streams.get(packet.stream.index)
        return [] if copied is None or not packet.size else copied.convert(packet)

    def finish(self) -> list[Packet]:
        """What encoders still hold back."""
        return [packet for copied in self._streams.values() for packet in copied.finish()]

    def packets(self) -> Iterator[Packet]:
        """All of the source, read from where its part begins."""
        wanted = [self._source.streams[index] for index in self._streams]
        if wanted:
            if self._start > 0:
                with contextlib.suppress(av.FFmpegError, OSError):  # then from the beginning
                    self._source.seek(round(self._start * av.time_base))
            last = 0.0
            for packet in _readable(self._source, wanted):
                if packet is None:
                    self._unread = with_damage(self._unread, last, last)
                    continue
                if packet.pts is not None:
                    last = float(packet.pts * packet.time_base)
                yield from self.convert(packet)
                if all(copied.is_over for copied in self._streams.values()):
                    break
            yield from self.finish()


def _readable(source: InputContainer, streams: Iterable[Stream]) -> Iterator["Packet | None"]:
    """Packets, also those behind what cannot be read, which is a None."""
    wanted = list(streams)
    packets = source.demux(*wanted)
    failures = 0
    while failures < 200:
        try:
            yield next(packets)
            failures = 0
        except StopIteration:
            return
        except (av.FFmpegError, OSError):
            failures += 1
            packets = source.demux(*wanted)
            yield None


class _Copied:
    """A stream that is taken over packet by packet."""

    def __init__(self, stream: Stream, output: OutputContainer) -> None:
        self._base = stream.time_base or Fraction(1, 1000)
        self.target: Any = self._new_target(stream, output)
        self.is_over = False
        self.damage: list[Damage] = []  # on the container's clock
        self._last: int | None = None
        self._start = 0
        self._end: int | None = None

    def shift(self, start: float, end: float | None) -> None:
        """Take over only what lies between two times; the first becomes 0."""
        self._start = round(start / self._base)
        self._end = None if end is None else round(end / self._base)

    def convert(self, packet: Packet) -> list[Packet]:
        if not self._is_wanted(packet):
            return []
        if packet.is_corrupt:  # players may make something of it
            self._note(packet)
        return self._placed(packet)

    def finish(self) -> list[Packet]:
        return []

    def _new_target(self, stream: Stream, output: OutputContainer) -> Stream:
        return output.add_stream_from_template(stream, opaque=True)

    def _is_wanted(self, packet: Packet) -> bool:
        if packet.dts is None and packet.pts is None:
            return False
        time = packet.pts if packet.pts is not None else packet.dts
        assert time is not None
        if self._end is not None and time >= self._end:
            self.is_over = True
            return False
        return time >= self._start or self._start <= 0

    def _note(self, packet: Packet) -> None:
        """Packet that could not be decoded."""
        time = packet.pts if packet.pts is not None else packet.dts
        assert time is not None
        start, end = (float(ticks * self._base) for ticks in (time, time + (packet.duration or 0)))
        self.damage = with_damage(self.damage, start, end)

    def _placed(self, packet: Packet) -> list[Packet]:
        """The packet at its new time; muxers refuse times that stand still."""
        dts = packet.dts if packet.dts is not None else packet.pts
        assert dts is not None
        pts = packet.pts if packet.pts is not None else dts
        dts, pts = dts - self._start, pts - self._start
        if self._last is not None:
            dts = max(dts, self._last + 1)
        self._last = dts
        packet.dts, packet.pts = dts, max(pts, dts)
        packet.stream = self.target
        return [packet]


class _Encoded(_Copied):
    """Sound in a codec that the output does not hold."""

    def __init__(self, stream: AudioStream, output: OutputContainer, codec: str) -> None:
        self._codec = codec
        super().__init__(stream, output)
        self._decoder = stream.codec_context
        self._encoder = SoundEncoder(self.target, self._base)

    def convert(self, packet: Packet) -> list[Packet]:
        if not self._is_wanted(packet):
            return []
        try:
            frames = self._decoder.decode(packet)
        except (av.FFmpegError, OSError):  # the next one counts
            self._note(packet)
            return []
        return self._encoded(frames)

    def finish(self) -> list[Packet]:
        held: list[AudioFrame] = []
        with contextlib.suppress(av.FFmpegError, OSError):
            held = self._decoder.decode(None)
        return [*self._encoded(held), *self._encoder.finish()]

    def _encoded(self, frames: list[AudioFrame]) -> list[Packet]:
        made = []
        for frame in frames:
            if frame.pts is not None:
                frame.pts -= self._start
            frame.time_base = self._base
            made += self._encoder.encode(frame)
        return made

    def _new_target(self, stream: Stream, output: OutputContainer) -> Any:
        assert isinstance(stream, AudioStream)
        return add_sound(output, stream, self._codec)


class _Subtitles(_Copied):
    """Text in another format of subtitles."""

    def __init__(self, stream: SubtitleStream, output: OutputContainer, codec: str) -> None:
        self._codec = codec
        self._decoder = stream.codec_context
        super().__init__(stream, output)

    def convert(self, packet: Packet) -> list[Packet]:
        if not self._is_wanted(packet):
            return []
        try:
            text = self._decoder.decode2(packet)
            if text is None or not len(text):
                return []
            encoded = self.target.codec_context.encode_subtitle(text)
        except (av.FFmpegError, OSError):
            self._note(packet)
            return []
        encoded.pts, encoded.dts, encoded.duration = packet.pts, packet.dts, packet.duration
        encoded.time_base = packet.time_base
        return self._placed(encoded)

    def _new_target(self, stream: Stream, output: OutputContainer) -> Any:
        if not self._decoder.is_open:
            self._decoder.open(strict=False)
        target = output.add_stream(self._codec)
        assert isinstance(target, SubtitleStream)
        target.codec_context.subtitle_header = self._decoder.subtitle_header
        target.codec_context.time_base = target.time_base = self._base
        return target


def describe_video(target: Stream, source: InputContainer) -> None:
    """Give the new video stream the names and the role of the old one."""
    if (stream := main_video(source)) is not None:
        _describe(target, stream)


def _describe(target: Stream, stream: Stream) -> None:
    target.metadata.update(_lasting(stream.metadata))
    target.disposition = Disposition(stream.disposition)


def _lasting(metadata: dict[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in metadata.items()
        if name.lower().partition("-")[0] not in _STALE and not name.startswith("_STATISTICS")
    }


def _chapters(source: InputContainer, start: float, end: float | None) -> list[Any]:
    """Those that lie in the part, which its start is taken off."""
    kept = []
    for chapter in source.chapters():
        base = chapter["time_base"] or Fraction(1, av.time_base)
        first, last = round(start / base), None if end is None else round(end / base)
        begins = max(chapter["start"], first)
        ends = chapter["end"] if last is None else min(chapter["end"], last)
        if begins < ends:
            kept.append({**chapter, "start": begins - first, "end": ends - first})
    return kept


class Spool:
    """Sound and the like of a source that can be read only once, kept until they are needed.

    Args:
        source: a pipe.
        others: packets of it, which the reader fills while it reads the picture.
        path: Matroska file to keep them in.
    """

    def __init__(
        self, source: InputContainer, others: "queue.SimpleQueue[Packet]", path: Path
    ) -> None:
        self._others, self._path = others, path
        self._file: OutputContainer | None = None
        self._tracks: TrackCopier | None = None
        if not all(track.is_left_out for track in plan_tracks(source, ".mkv").values()):
            self._file = av.open(url(path), "w", format="matroska")
            self._tracks = TrackCopier(source, self._file, ".mkv")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was damaged of it."""
        return () if self._tracks is None else self._tracks.warnings

    def keep(self) -> None:
        """Write what has come."""
        for packet in taken(self._others):
            if self._file is not None and self._tracks is not None:
                self._file.mux(self._tracks.convert(packet))

    @contextmanager
    def container(self) -> Iterator[InputContainer | None]:
        """All that came, to read; nothing can be kept afterwards."""
        if self._file is not None and self._tracks is not None:
            self.keep()
            self._file.mux(self._tracks.finish())
            self._file.close()
            self._file = None
        if not self._path.exists():
            yield None
            return
        with av.open(url(self._path)) as container:
            yield container


def taken(packets: "queue.SimpleQueue[Packet]") -> Iterator[Packet]:
    """What lies in a queue just now."""
    with contextlib.suppress(queue.Empty):
        while True:
            yield packets.get_nowait()
