"""Properties of video files that tests compare."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import av
import numpy as np

from nst_rt.infer.stylizer import Stylizer


class Untouched(Stylizer):
    """Returns frames unchanged, for tests of the code around the stylizer."""

    identity = "nothing"
    strength = 1.0
    passes = ()
    blend = MappingProxyType({"nothing": 1.0})

    def __init__(self) -> None:
        pass

    def __str__(self) -> str:
        return "nothing"

    def stylize(self, frame: np.ndarray) -> np.ndarray:
        return frame

    def shrunk(self, frame: np.ndarray) -> np.ndarray:
        return frame

    def at_full_size(
        self, stylized: np.ndarray, small: np.ndarray, frame: np.ndarray
    ) -> np.ndarray:
        return stylized

    def stylize_shrunk(self, frame: np.ndarray, passes: object = None) -> np.ndarray:
        return self.stylize(frame)

    def start_shrunk(self, frame: np.ndarray, passes: object = None) -> Callable[[], np.ndarray]:
        stylized = self.stylize(frame)
        return lambda: stylized


def stamps(path: Path, kind: str = "video", track: int = 0) -> list[Fraction]:
    """Presentation times of all packets in seconds, sorted."""
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[track]
        packets = [p for p in container.demux(stream) if p.pts is not None]
        return sorted(p.pts * p.time_base for p in packets)


def audio_bytes(path: Path, track: int = 0) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(container.streams.audio[track]) if p.size]


def samples(path: Path) -> int:
    """Number of decoded audio samples of the first track."""
    with av.open(str(path)) as container:
        return sum(frame.samples for frame in container.decode(audio=0))


def packets(path: Path) -> list[tuple[Any, ...]]:
    """Stream, times and bytes of all packets."""
    with av.open(str(path)) as container:
        return [(p.stream_index, p.pts, p.dts, p.duration, bytes(p)) for p in container.demux()]


def streams(path: Path) -> list[tuple[str, str, str | None]]:
    """Kind, codec and language of the streams."""
    with av.open(str(path)) as container:
        return [
            (stream.type, stream.codec_context.codec.canonical_name, stream.language)
            for stream in container.streams
            if stream.codec_context is not None
        ]


def first_frame(path: Path) -> av.VideoFrame:
    with av.open(str(path)) as container:
        return next(container.decode(video=0))
