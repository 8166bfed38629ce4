"""What becomes of the streams beside the picture: sound, subtitles, fonts."""

import os
from dataclasses import dataclass

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import AttachmentStream, Stream
from av.subtitles.stream import SubtitleStream

from nst_rt.infer.video.info import codec_name, main_video

FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}

# What muxers write, but players of these files do not expect.
_UNUSUAL = {
    ".mp4": {"mp3", "mp2", "mp1", "vorbis"},
    ".mov": {"vorbis", "opus", "flac", "mp2", "mp1"},
}
AUDIO_CODECS = {".mp4": "aac", ".mov": "aac", ".mkv": "libopus", ".webm": "libopus"}
SUBTITLE_CODECS = {".mp4": "mov_text", ".mov": "mov_text", ".mkv": "subrip", ".webm": "webvtt"}
_TEXT = {"subrip", "ass", "ssa", "webvtt", "mov_text", "text"}
_CHAPTERS = "bin_data"  # a track of their titles in MP4 and MOV, which is made anew


@dataclass(frozen=True)
class Track:
    """What became of a stream of the source.

    Attributes:
        kind: `audio`, `subtitle`, `video`, `attachment` or `data`.
        codec: that it has in the source.
        language: as the source says, "" if it does not.
        action: `copied`, `re-encoded to ...`, `converted to ...` or `left out`.
    """

    kind: str
    codec: str
    language: str
    action: str

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
            stream.type, codec_name(stream), stream.language or "", _action(stream, suffix)
        )
        for stream in source.streams
        if (main is None or stream.index != main.index) and codec_name(stream) != _CHAPTERS
    }


def _action(stream: Stream, suffix: str) -> str:
    if suffix not in FORMATS:
        return "left out"
    codec = codec_name(stream)
    if isinstance(stream, AudioStream):
        # MP4 takes PCM in its header, and refuses its packets.
        is_usual = codec not in _UNUSUAL.get(suffix, ()) and not (
            suffix == ".mp4" and codec.startswith("pcm_")
        )
        if is_usual and _holds(suffix, stream):
            return "copied"
        if stream.codec_context is None:
            return "left out"
        return f"re-encoded to {AUDIO_CODECS[suffix].removeprefix('lib')}"
    if isinstance(stream, SubtitleStream):
        if _holds(suffix, stream):
            return "copied"
        return f"converted to {SUBTITLE_CODECS[suffix]}" if codec in _TEXT else "left out"
    if isinstance(stream, AttachmentStream) and suffix == ".mkv":
        return "copied"
    return "left out"


def _holds(suffix: str, stream: Stream) -> bool:
    """Whether a container takes a stream as it is."""
    if stream.codec_context is None:
        return False
    try:
        with av.open(os.devnull, "w", format=FORMATS[suffix]) as container:
            container.add_stream_from_template(stream, opaque=True)
            container.start_encoding()
    except (av.FFmpegError, OSError, ValueError):
        return False
    return True
