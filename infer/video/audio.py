"""Audio that is re-encoded: resampled for the encoder, at times that count its samples."""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer

from nst_rt.infer.video.probe import Packet

_BIT_RATES = {"aac": 80_000, "libopus": 64_000}  # bits per second and channel
_HIGHEST = 48_000  # samples per second that every player takes
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}

_GAP = 0.05  # seconds; shorter gaps are rounding errors of the container's clock
_LONGEST = 60  # seconds of a gap that is filled with silence, which takes memory


def audio_rate(stream: AudioStream, codec: str) -> int:
    """Samples per second of a stream after encoding: the codec's nearest rate."""
    if codec == "libopus" or not stream.rate:  # Opus always runs at 48 kHz
        return _HIGHEST
    rates = av.Codec(codec, "w").audio_rates or [stream.rate]
    return min(
        (rate for rate in rates if rate <= _HIGHEST),
        key=lambda rate: abs(math.log(rate / stream.rate)),
    )


def add_audio(output: OutputContainer, stream: AudioStream, codec: str) -> AudioStream:
    """Add a stream with an open encoder for the audio of another stream.

    Raises:
        ValueError, FFmpegError: the container or the encoder does not take it.
    """
    channels = stream.channels if stream.channels in _LAYOUTS else 2
    target = output.add_stream(
        codec,
        rate=audio_rate(stream, codec),
        layout=_LAYOUTS[channels],
        bit_rate=_BIT_RATES[codec] * channels,
    )
    assert isinstance(target, AudioStream)
    target.codec_context.open()
    return target


class AudioEncoder:
    """Encodes audio frames, whose rate and channels may change, into a stream.

    Output times count samples, since the times of source frames are rounded to ticks of the
    container, which may be longer than a frame. Gaps in the source's times are filled with
    silence and overlaps are cut, so that audio stays in sync with the video.

    Args:
        target: stream from `add_audio`.
        tick: seconds per tick of the source.
    """

    def __init__(self, target: AudioStream, tick: Fraction) -> None:
        self._target, self._rate = target, target.rate
        self._gap = max(_GAP, 2 * float(tick))
        self._kind: tuple[str, str, int] | None = None
        self._resampler, self._aligner = self._new_resampler(), self._new_aligner()
        self._end = Fraction(0)  # seconds, of the last source frame
        self._aligned: int | None = None  # samples, of the last resampled frame

    def encode(self, frame: AudioFrame) -> list[Packet]:
        """Packets that are ready; a frame without a time follows the last one."""
        if frame.pts is not None and frame.time_base is not None:
            self._end = frame.pts * frame.time_base
        frame.pts = round(self._end * frame.sample_rate)
        frame.time_base = Fraction(1, frame.sample_rate)
        self._end += Fraction(frame.samples, frame.sample_rate)
        return self._encoded(self._resampled(frame))

    def finish(self) -> list[Packet]:
        """The remaining packets."""
        frames = [*self._resampled(None), *self._aligner.resample(None)]
        return [*self._encoded(frames), *self._target.encode(None)]

    def _encoded(self, frames: Iterable[AudioFrame]) -> list[Packet]:
        return [packet for frame in frames for packet in self._target.encode(frame)]

    def _resampled(self, frame: AudioFrame | None) -> Iterator[AudioFrame]:
        """Frames for the encoder; a resampler takes one kind of frames, and none after None."""
        kind = None
        if frame is not None:
            kind = frame.format.name, frame.layout.name, frame.sample_rate
        if kind != self._kind:
            yield from self._contiguous(self._resampler.resample(None))
            self._resampler, self._kind = self._new_resampler(), kind
        if frame is not None:
            yield from self._contiguous(self._resampler.resample(frame))

    def _contiguous(self, frames: Iterable[AudioFrame]) -> Iterator[AudioFrame]:
        """Frames without gaps and overlaps."""
        for frame in frames:
            assert frame.pts is not None
            if self._aligned is not None and frame.pts - self._aligned > _LONGEST * self._rate:
                yield from self._aligner.resample(None)
                self._aligner = self._new_aligner()
            self._aligned = frame.pts + frame.samples
            yield from self._aligner.resample(frame)

    def _new_resampler(self, *more: Any) -> AudioResampler:
        context = self._target.codec_context
        return AudioResampler(context.format, context.layout, self._rate, *more)

    def _new_aligner(self) -> AudioResampler:
        options = {"async": "1", "min_hard_comp": str(self._gap)}  # silence, cuts, no stretching
        return self._new_resampler(self._target.codec_context.frame_size, options)
