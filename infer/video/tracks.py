"""What becomes of the streams beside the picture: sound, subtitles, fonts."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import AttachmentStream, DataStream, Discard, Stream
from av.subtitles.stream import SubtitleStream

from nst_rt.infer.video.probe import codec_name, main_video
from nst_rt.infer.video.sound import add_sound, sound_rate

FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}

# What muxers write, but players of these files do not expect.
_UNUSUAL = {
    ".mp4": {"mp3", "mp2", "mp1", "vorbis"},
    ".mov": {"vorbis", "opus", "flac", "mp2", "mp1"},
}
AUDIO_CODECS = {".mp4": "aac", ".mov": "aac", ".mkv": "libopus", ".webm": "libopus"}
SUBTITLE_CODECS = {".mp4": "mov_text", ".mov": "mov_text", ".mkv": "subrip", ".webm": "webvtt"}
_TEXT = {"subrip", "ass", "ssa", "webvtt", "mov_text", "text"}


@dataclass(frozen=True)
class Track:
    """What became of a stream of the source.

    Attributes:
        kind: `audio`, `subtitle`, `video`, `attachment` or `data`.
        codec: that it has in the source.
        language: as the source says, "" if it does not.
        action: `copied`, `re-encoded to ...`, `converted to ...` or `... left out`.
    """

    kind: str
    codec: str
    language: str
    action: str

    @property
    def is_left_out(self) -> bool:
        """Nothing of the stream is written."""
        return self.action.endswith("left out")

    def __str__(self) -> str:
        language = f" ({self.language})" if self.language else ""
        return f"{self.codec} {self.kind}{language} {self.action}"


def plan_tracks(source: InputContainer, suffix: str) -> dict[int, Track]:
    """Say what is to become of each stream but the video itself: stream index -> track.

    Whatever the container holds is copied; it is asked, by starting such a file.

    Args:
        source: that is converted.
        suffix: of the output; one that holds no sound leaves all out.
    """
    main = main_video(source)
    return {
        stream.index: Track(
            stream.type,
            "timecode" if _is_timecode(stream) else codec_name(stream),
            stream.language or "",
            _action(stream, suffix),
        )
        for stream in source.streams
        if (main is None or stream.index != main.index) and not _is_chapters(stream)
    }


def _is_chapters(stream: Stream) -> bool:
    """A track of their titles in MP4 and MOV, which is made anew; FFmpeg has read it already."""
    return isinstance(stream, DataStream) and stream.discard == Discard.all


def _is_timecode(stream: Stream) -> bool:
    """A track of MP4 and MOV that FFmpeg has made a tag of the picture of, and makes anew of it."""
    return isinstance(stream, DataStream) and "timecode" in stream.metadata


def _action(stream: Stream, suffix: str) -> str:
    if suffix not in FORMATS:
        return "left out"
    codec = codec_name(stream)
    is_held = _holds(suffix, lambda output: output.add_stream_from_template(stream, opaque=True))
    if isinstance(stream, AudioStream):
        # MP4 takes PCM in its header, and refuses its packets.
        is_usual = codec not in _UNUSUAL.get(suffix, ()) and not (
            suffix == ".mp4" and codec.startswith("pcm_")
        )
        return "copied" if is_usual and is_held else _encoding(stream, suffix)
    if isinstance(stream, SubtitleStream):
        if is_held:
            return "copied"
        return f"converted to {SUBTITLE_CODECS[suffix]}" if codec in _TEXT else "left out"
    # WebM and MP4 take attachments, and write nothing of them.
    if isinstance(stream, AttachmentStream) and suffix == ".mkv":
        return "copied"
    return "kept as a tag, its track left out" if _is_timecode(stream) else "left out"


def _encoding(stream: AudioStream, suffix: str) -> str:
    """What becomes of sound that a container does not hold as it is."""
    codec = AUDIO_CODECS[suffix]
    if stream.codec_context is None or not _holds(
        suffix, lambda output: add_sound(output, stream, codec)
    ):
        return "left out"
    rate = sound_rate(stream, codec)
    resampled = f" at {rate} Hz" if rate != stream.rate else ""
    return f"re-encoded to {codec.removeprefix('lib')}{resampled}"


def _holds(suffix: str, add: Callable[[OutputContainer], object]) -> bool:
    """Whether a container takes what is added to it."""
    try:
        with av.open(os.devnull, "w", format=FORMATS[suffix]) as container:
            add(container)
            container.start_encoding()
    except (av.FFmpegError, OSError, ValueError):
        return False
    return True
