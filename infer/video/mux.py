"""The finished video: segments joined without encoding them again, and what goes along."""

import heapq
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from nst_rt.files import atomic_output, sync
from nst_rt.infer.video.copying import TrackCopier, describe_video
from nst_rt.infer.video.encoder import Encoding, Shape, set_colors
from nst_rt.infer.video.probe import Packet, url
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
        set_colors(video.codec_context, shape.colors)
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
    begin, lead = parts[0][0].first, _lead(parts, shape, delay)
    times: list[int] = []  # of frames that no packet is decoded at yet
    count = 0
    for (_, path), end in zip(parts, _ends(parts), strict=True):
        for packet, pts, duration in _timed_packets(path, shape, end):
            heapq.heappush(times, pts)
            dts = begin - lead + count * lead // delay if count < delay else heapq.heappop(times)
            count += 1
            packet.time_base = shape.time_base
            packet.pts, packet.dts, packet.duration = pts, dts, duration
            packet.stream = target
            yield packet


def _lead(parts: Sequence[tuple[Segment, Path]], shape: Shape, delay: int) -> int:
    """Ticks from the decoding of the first packet until its frame appears.

    MP4 is as long as its packets, from the decoding of the first one to the last one's and for
    that one's duration: this is to be as long as its frames are shown.
    """
    times: list[int] = []
    ends = _ends(parts)
    last_duration: int | None = None
    for (_, path), end in zip(reversed(parts), reversed(ends), strict=True):
        timed = list(_timed_packets(path, shape, end))
        if last_duration is None:
            last_duration = timed[-1][2]
        times = sorted(pts for _, pts, _ in timed) + times
        if len(times) > delay:
            break
    assert last_duration is not None
    return ends[-1] - times[-1 - delay] - last_duration


def _ends(parts: Sequence[tuple[Segment, Path]]) -> list[int]:
    """When each segment's last frame ends, in ticks of the output."""
    last = parts[-1][0]
    return [*(segment.first for segment, _ in parts[1:]), last.last + last.duration]


def _timed_packets(path: Path, shape: Shape, end: int) -> Iterator[tuple[Packet, int, int]]:
    """Packets of a segment that ends at a tick, each with its frame's time and duration."""
    with av.open(url(path)) as container:
        demuxed = container.demux(container.streams.video[0])
        packets = [
            (packet, int(packet.pts * packet.time_base / shape.time_base))
            for packet in demuxed
            if packet.pts is not None and packet.size
        ]
        following = dict(pairwise([*sorted(pts for _, pts in packets), end]))
        yield from ((packet, pts, following[pts] - pts) for packet, pts in packets)
