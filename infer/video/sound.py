"""Sound encoded again: resampled to what the encoder takes, at times that count its samples."""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer

from nst_rt.infer.video.probe import Packet

_BIT_RATES = {"aac": 80_000, "libopus": 64_000}  # a second and channel
_HIGHEST = 48_000  # samples per second; what players of all kinds take, and all that is heard
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}

_HOLE = 0.05  # seconds; shorter ones are not real: clocks of containers are coarse
_LONGEST = 60  # seconds of a hole that are filled with silence, which takes memory


def sound_rate(stream: AudioStream, codec: str) -> int:
    """Samples per second that a stream's sound is encoded with: the nearest that a codec has."""
    if codec == "libopus" or not stream.rate:  # Opus is of 48 kHz inside
        return _HIGHEST
    rates = av.Codec(codec, "w").audio_rates or [stream.rate]
    return min(
        (rate for rate in rates if rate <= _HIGHEST),
        key=lambda rate: abs(math.log(rate / stream.rate)),
    )


def add_sound(output: OutputContainer, stream: AudioStream, codec: str) -> AudioStream:
    """Add a stream for the sound of another one, encoded with a codec; its encoder is open.

    Raises:
        ValueError, FFmpegError: the container or the encoder does not take it.
    """
    channels = stream.channels if stream.channels in _LAYOUTS else 2
    target = output.add_stream(
        codec,
        rate=sound_rate(stream, codec),
        layout=_LAYOUTS[channels],
        bit_rate=_BIT_RATES[codec] * channels,
    )
    assert isinstance(target, AudioStream)
    target.codec_context.open()
    return target


class SoundEncoder:
    """Encodes frames of sound, which may change their rate and channels, into a stream.

    Times count samples, since those of frames are rounded to ticks of the source's container,
    which may be longer than a frame. Where they leave a hole it is filled with silence, and where
    they overlap what comes twice is left out: the sound stays with the picture.

    Args:
        target: from `add_sound`.
        tick: seconds that the source's times count in.
    """

    def __init__(self, target: AudioStream, tick: Fraction) -> None:
        self._target, self._rate = target, target.rate
        self._hole = max(_HOLE, 2 * float(tick))
        self._kind: tuple[str, str, int] | None = None
        self._resampler, self._aligner = self._new_resampler(), self._new_aligner()
        self._end = Fraction(0)  # seconds, of the last frame
        self._aligned: int | None = None  # samples, where the last one ends

    def encode(self, frame: AudioFrame) -> list[Packet]:
        """Packets that are ready with a frame, which has its time or follows on the last one."""
        if frame.pts is not None and frame.time_base is not None:
            self._end = frame.pts * frame.time_base
        frame.pts = round(self._end * frame.sample_rate)
        frame.time_base = Fraction(1, frame.sample_rate)
        self._end += Fraction(frame.samples, frame.sample_rate)
        return self._encoded(self._resampled(frame))

    def finish(self) -> list[Packet]:
        """Packets of what was held back."""
        frames = [*self._resampled(None), *self._aligner.resample(None)]
        return [*self._encoded(frames), *self._target.encode(None)]

    def _encoded(self, frames: Iterable[AudioFrame]) -> list[Packet]:
        return [packet for frame in frames for packet in self._target.encode(frame)]

    def _resampled(self, frame: AudioFrame | None) -> Iterator[AudioFrame]:
        """Frames as the encoder takes them; a resampler takes one kind, and nothing behind None."""
        kind = None
        if frame is not None:
            kind = frame.format.name, frame.layout.name, frame.sample_rate
        if kind != self._kind:
            yield from self._in_line(self._resampler.resample(None))
            self._resampler, self._kind = self._new_resampler(), kind
        if frame is not None:
            yield from self._in_line(self._resampler.resample(frame))

    def _in_line(self, frames: Iterable[AudioFrame]) -> Iterator[AudioFrame]:
        """Frames that follow on each other."""
        for frame in frames:
            assert frame.pts is not None
            if self._aligned is not None and frame.pts - self._aligned > _LONGEST * self._rate:
                yield from self._aligner.resample(None)
                self._aligner = self._new_aligner()
            self._aligned = frame.pts + frame.samples
            yield from self._aligner.resample(frame)

    def _new_resampler(self) -> AudioResampler:
        context = self._target.codec_context
        return AudioResampler(context.format, context.layout, self._rate)

    def _new_aligner(self) -> AudioResampler:
        context = self._target.codec_context
        return AudioResampler(
            context.format,
            context.layout,
            self._rate,
            context.frame_size,
            {"async": "1", "min_hard_comp": str(self._hole)},  # silence and cuts, no stretching
        )
