"""Clips to convert, made for the purpose with PyAV."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

_AUDIO_RATE = 48000


def numbered_frame(number: int, width: int, height: int) -> np.ndarray:
    """A frame of one grey level per number, which survives encoding."""
    return np.full((height, width, 3), 16 + 7 * number % 224, np.uint8)


def write_clip(
    path: Path,
    *,
    pts: Sequence[int] = range(0, 12800, 512),
    time_base: Fraction = Fraction(1, 12800),
    rate: Fraction = Fraction(25),
    size: tuple[int, int] = (64, 48),
    audio: str | None = None,
    audio_seconds: float = 1.0,
    codec: str = "libx264",
) -> Path:
    """A clip with frames at the given timestamps, and a tone."""
    with av.open(str(path.absolute()), "w") as container:
        video = container.add_stream(codec, rate=rate)
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = video.time_base = time_base
        # All streams before the first packet, which writes the header.
        tone = container.add_stream(audio, rate=_AUDIO_RATE, layout="stereo") if audio else None
        for number, stamp in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, *size), format="bgr24")
            frame.pts, frame.time_base = stamp, time_base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if tone:
            _write_tone(container, tone, audio_seconds)
    return path


def _write_tone(
    container: av.container.OutputContainer, stream: av.AudioStream, seconds: float
) -> None:
    times = np.arange(int(_AUDIO_RATE * seconds)) / _AUDIO_RATE
    wave = np.tile((0.2 * np.sin(2 * np.pi * 440 * times)).astype(np.float32), (2, 1))
    size = stream.codec_context.frame_size or 960
    for start in range(0, wave.shape[1] - size, size):
        block = np.ascontiguousarray(wave[:, start : start + size])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = _AUDIO_RATE, start, Fraction(1, _AUDIO_RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
