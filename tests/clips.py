"""Makes video files for tests, with PyAV."""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import SubtitleSet

_MILLISECOND = Fraction(1, 1000)


def numbered_frame(number: int, width: int, height: int) -> np.ndarray:
    """A uniform frame whose gray level, which survives encoding, tells its number."""
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
    audio_rate: int = 48000,
    languages: Sequence[str] = (),
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    colors: tuple[int, int, int, int] | None = None,
    aspect: Fraction = Fraction(1),
    rotation: int = 0,
    mirrored: bool = False,
    interlaced: bool = False,
    subtitles: Sequence[tuple[float, float, str]] = (),
    chapters: Sequence[tuple[float, float, str]] = (),
    fonts: Sequence[str] = (),
    metadata: dict[str, str] | None = None,
    container_format: str | None = None,
    picture: Callable[[int], np.ndarray] | None = None,
) -> Path:
    """Write a video with frames at the given timestamps.

    Args:
        pts: timestamps of the frames, in ticks of `time_base`.
        audio: codec of a tone of `audio_seconds` at `audio_rate` samples per second.
        languages: languages of tracks with that tone; by default one track without a language.
        colors: matrix, range, primaries and transfer, in codes of H.273.
        aspect: pixel aspect ratio, width by height.
        rotation, mirrored: display matrix; degrees counter-clockwise.
        interlaced: whether to encode each frame as two fields.
        subtitles, chapters: (start, end, text).
        fonts: names of attached fonts.
        container_format: format other than that of the suffix.
        picture: frame for a number, instead of `numbered_frame`.
    """
    with av.open(str(path.absolute()), "w", format=container_format) as container:
        container.metadata.update(metadata or {})
        video = container.add_stream(codec, rate=rate, options=dict(options or {}))
        video.width, video.height = size
        video.pix_fmt = pixels
        context = video.codec_context
        context.time_base = video.time_base = time_base
        context.sample_aspect_ratio = aspect
        if rotation or mirrored:
            video.set_display_rotation(rotation, hflip=mirrored)
        if colors:
            context.colorspace, context.color_range = colors[:2]
            context.color_primaries, context.color_trc = colors[2:]
        if interlaced:
            video.options = {**video.options, "flags": "+ildct+ilme", "x264-params": "tff=1"}
        # All streams before the first packet, which writes the header.
        tones = [
            # FFmpeg's own encoder of Vorbis counts as experimental.
            container.add_stream(
                audio, rate=audio_rate, layout="stereo", options={"strict": "experimental"}
            )
            for _ in languages or [""] * (audio is not None)
        ]
        for tone, language in zip(tones, languages, strict=False):
            tone.metadata["language"] = language
        texts = _subtitle_stream(container) if subtitles else None
        for name in fonts:
            container.add_attachment(name, "font/ttf", name.encode() * 100)
        container.set_chapters(
            [
                {
                    "id": number,
                    "start": round(start * 1000),
                    "end": round(end * 1000),
                    "time_base": _MILLISECOND,
                    "metadata": {"title": title},
                }
                for number, (start, end, title) in enumerate(chapters, 1)
            ]
        )
        container.start_encoding()
        for number, stamp in enumerate(pts):
            pixels_now = picture(number) if picture else numbered_frame(number, *size)
            frame = av.VideoFrame.from_ndarray(pixels_now, format="bgr24")
            if colors:
                frame = frame.reformat(
                    format=video.pix_fmt, dst_colorspace=colors[0], dst_color_range=colors[1]
                )
            frame.pts, frame.time_base = stamp, time_base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for tone in tones:
            for block in tone_frames(audio_seconds, rate=audio_rate, size=tone.frame_size or 960):
                container.mux(tone.encode(block))
            container.mux(tone.encode(None))
        for start, end, text in subtitles:
            _write_text(container, texts, start, end, text)
    return path


def remux(
    source: Path,
    path: Path,
    options: dict[str, str] | None = None,
    *,
    step: int = 1,
    change: Callable[[av.Packet], None] = lambda _: None,
) -> Path:
    """Copy all packets, each changed, into another container; with `step` -1, last stream first."""
    with av.open(str(source)) as old, av.open(str(path), "w", options=dict(options or {})) as new:
        found = list(old.streams)[::step]
        streams = {stream.index: new.add_stream_from_template(stream) for stream in found}
        for packet in old.demux():
            if packet.size:
                change(packet)
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    return path


def write_image_film(path: Path, codec: str, pictures: Sequence[bytes]) -> Path:
    """Write a video at 25 frames per second whose packets are encoded images."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "rgb24" if codec == "png" else "yuvj420p"
        stream.time_base = Fraction(1, 25)
        for number, picture in enumerate(pictures):
            packet = av.Packet(picture)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = number
            packet.duration, packet.is_keyframe = 1, True
            container.mux(packet)
    return path


def truncate(source: Path, path: Path, fraction: float) -> Path:
    """Copy the first part of a file."""
    data = source.read_bytes()
    path.write_bytes(data[: int(fraction * len(data))])
    return path


def damage(path: Path, start: float, end: float) -> Path:
    """Overwrite a file with noise from the fraction `start` to the fraction `end` of its bytes."""
    data = bytearray(path.read_bytes())
    first, last = int(start * len(data)), int(end * len(data))
    data[first:last] = np.random.default_rng(0).bytes(last - first)
    path.write_bytes(bytes(data))
    return path


def tone_frames(
    seconds: float,
    *,
    rate: int = 48000,
    size: int = 960,
    start: float = 0.0,
    layout: str = "stereo",
) -> Iterator[av.AudioFrame]:
    """A tone of 440 Hz in whole frames, beginning at `start` seconds."""
    times = np.arange(int(rate * seconds)) / rate
    wave = np.tile(
        (0.2 * np.sin(2 * np.pi * 440 * times)).astype(np.float32), (1 + (layout == "stereo"), 1)
    )
    for first in range(0, wave.shape[1] - size, size):
        block = np.ascontiguousarray(wave[:, first : first + size])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = round(start * rate) + first
        yield frame


def _subtitle_stream(container: av.container.OutputContainer) -> SubtitleStream:
    stream = container.add_stream("subrip")
    stream.metadata["language"] = "eng"
    stream.codec_context.subtitle_header = (
        b"[Script Info]\r\nScriptType: v4.00+\r\n[V4+ Styles]\r\nFormat: Name\r\n"
        b"Style: Default\r\n[Events]\r\nFormat: Layer, Start, End, Style, Text\r\n"
    )
    stream.codec_context.time_base = stream.time_base = _MILLISECOND
    return stream


def _write_text(
    container: av.container.OutputContainer,
    stream: SubtitleStream,
    start: float,
    end: float,
    text: str,
) -> None:
    line = SubtitleSet.create(
        f"0,0,Default,,0,0,0,,{text}".encode(), 0, round((end - start) * 1000)
    )
    packet = stream.codec_context.encode_subtitle(line)
    packet.pts = packet.dts = round(start * 1000)
    packet.duration, packet.time_base = round((end - start) * 1000), _MILLISECOND
    packet.stream = stream
    container.mux(packet)
