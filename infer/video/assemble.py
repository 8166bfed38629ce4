"""The finished video: segments joined without encoding them again, and what goes along."""

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from nst_rt.files import atomic_output, sync
from nst_rt.infer.video.copying import TrackCopier, describe_video
from nst_rt.infer.video.encoding import Encoding, Shape, set_colours
from nst_rt.infer.video.info import Packet, url
from nst_rt.infer.video.segments import Segment


def assemble(
    output: Path,
    parts: Sequence[tuple[Segment, Path]],
    *,
    shape: Shape,
    encoding: Encoding,
    source: InputContainer | None = None,
    start: float = 0.0,
    end: float | None = None,
) -> tuple[str, ...]:
    """Write a video of segments; it appears when it is complete and on the disk itself.

    Args:
        output: .mp4, .mkv, .mov or .webm; what is there is replaced.
        parts: segments and their files, in order.
        shape, encoding: that all of them have.
        source: whose sound, subtitles, chapters and names are taken over.
        start, end: seconds of the source that are wanted; the start becomes 0.

    Returns:
        What the tracks lack.
    """
    with atomic_output(output) as temporary:
        warnings = _write(
            temporary,
            parts,
            shape=shape,
            encoding=encoding,
            source=source,
            start=start,
            end=end,
        )
        sync(temporary)
    sync(output.parent)
    return warnings


def _write(
    path: Path,
    parts: Sequence[tuple[Segment, Path]],
    *,
    shape: Shape,
    encoding: Encoding,
    source: InputContainer | None,
    start: float,
    end: float | None,
) -> tuple[str, ...]:
    """`assemble` into a new file."""
    with (
        av.open(url(path), "w", options=_muxer_options(path.suffix, shape)) as container,
        av.open(url(parts[0][1])) as first,
    ):
        video = container.add_stream_from_template(first.streams.video[0], opaque=True)
        video.codec_context.framerate = shape.rate
        video.codec_context.sample_aspect_ratio = shape.aspect
        set_colours(video.codec_context, shape.colours)
        video.time_base = shape.time_base
        if encoding.tag and path.suffix.lower() in (".mp4", ".mov"):
            video.codec_context.codec_tag = encoding.tag
        others: Iterator[Packet] = iter(())
        tracks = None
        if source is not None:
            describe_video(video, source)
            tracks = TrackCopier(source, container, path.suffix.lower(), start=start, end=end)
            others = tracks.packets()
        for packet in heapq.merge(_video_packets(parts, shape, video), others, key=_seconds):
            container.mux(packet)
    return () if tracks is None else tracks.warnings


def _muxer_options(suffix: str, shape: Shape) -> dict[str, str]:
    if suffix.lower() not in (".mp4", ".mov"):
        return {}
    # The index in front, for browsers; and times of a first frame that is not at 0 are exact.
    return {"movflags": "+faststart", "movie_timescale": str(shape.time_base.denominator)}


def _seconds(packet: Packet) -> float:
    assert packet.dts is not None
    return float(packet.dts * packet.time_base)


def _video_packets(
    parts: Sequence[tuple[Segment, Path]], shape: Shape, target: VideoStream
) -> Iterator[Packet]:
    """Packets of all segments, in one order of decoding.

    Each segment's encoder began anew, so that decoding times would overlap where two meet. The
    n-th packet is decoded when the frame appears that is `delay` places earlier in time.
    """
    delay = max(segment.delay for segment, _ in parts)
    last = parts[-1][0]
    times: list[int] = []  # of frames that no packet is decoded at yet
    count = 0
    for _, path in parts:
        with av.open(url(path)) as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.pts is None or not packet.size:
                    continue
                pts = int(packet.pts * packet.time_base / shape.time_base)
                heapq.heappush(times, pts)
                if count < delay:
                    dts = parts[0][0].first - (delay - count) * shape.frame_ticks
                else:
                    dts = heapq.heappop(times)
                count += 1
                packet.time_base = shape.time_base
                packet.pts, packet.dts = pts, dts
                packet.duration = last.duration if pts == last.last else shape.frame_ticks
                packet.stream = target
                yield packet
