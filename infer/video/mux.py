"""The finished video file: segments joined without re-encoding, and the other tracks."""

import heapq
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from nst_rt.files import atomic_output, sync
from nst_rt.infer.video.encoder import Encoding, Shape, set_colors
from nst_rt.infer.video.probe import Packet, url
from nst_rt.infer.video.segments import Segment
from nst_rt.infer.video.tracks import TrackCopier

Part = tuple[Segment, Path]


def assemble(
    output: Path,
    parts: Sequence[Part],
    shape: Shape,
    encoding: Encoding,
    source: InputContainer | None,
    start: float,
    end: float | None,
) -> list[str]:
    """Join segments into a video file, which appears when it is complete and synced to disk.

    Args:
        output: .mp4, .mkv, .mov or .webm; an existing file is replaced.
        parts, shape, encoding: segments in order, and what all of them have in common.
        source, start, end: container whose tracks are copied, and the seconds of it to copy.

    Returns:
        Warnings about damaged tracks.
    """
    suffix = output.suffix.lower()
    options = mp4_options(suffix, "+faststart", shape)  # the index comes first, for browsers
    with atomic_output(output) as temporary:
        with (
            av.open(url(temporary), "w", options=options) as container,
            av.open(url(parts[0][1])) as first,
        ):
            video = container.add_stream_from_template(first.streams.video[0], opaque=True)
            video.codec_context.framerate = shape.rate
            video.codec_context.sample_aspect_ratio = shape.aspect
            set_colors(video.codec_context, shape.colors)
            video.time_base = shape.time_base
            if tag := encoding.tag(suffix):
                video.codec_context.codec_tag = tag
            others: Iterator[Packet] = iter(())
            tracks = None
            if source is not None:
                tracks = TrackCopier(source, container, suffix, start, end)
                others = tracks.packets()
            for packet in heapq.merge(_video_packets(parts, shape, video), others, key=_seconds):
                container.mux(packet)
        sync(temporary)
    sync(output.parent)
    return [] if tracks is None else tracks.warnings


def mp4_options(suffix: str, movflags: str, shape: Shape) -> dict[str, str]:
    """Options for the muxer of MP4 and MOV; none for other containers."""
    if suffix not in (".mp4", ".mov"):
        return {}
    # The time scale makes the time of a first frame exact that is not at 0.
    return {"movflags": movflags, "movie_timescale": str(shape.time_base.denominator)}


def _seconds(packet: Packet) -> float:
    assert packet.dts is not None
    return float(packet.dts * packet.time_base)


def _video_packets(parts: Sequence[Part], shape: Shape, target: VideoStream) -> Iterator[Packet]:
    """Packets of all segments, with decoding times that ascend throughout.

    The encoder of each segment began anew, so their decoding times overlap where two meet. Here
    the n-th packet is decoded when the frame is displayed that comes `delay` frames earlier.
    """
    delay = max(segment.delay for segment, _ in parts)
    begin, lead = parts[0][0].first, _lead(parts, shape, delay)
    times: list[int] = []  # of frames at which no packet is decoded yet
    count, dts = 0, begin - lead - 1
    for (_, path), end in zip(parts, _ends(parts), strict=True):
        for packet, pts, duration in _timed_packets(path, shape, end):
            heapq.heappush(times, pts)
            if count < delay:
                # FFmpeg's muxer delays the video by the least distance of the two times, which
                # must be that of the first packet.
                dts = max(begin - lead + min(count * lead // delay, pts - begin), dts + 1)
            else:
                dts = heapq.heappop(times)
            count += 1
            packet.time_base = shape.time_base
            packet.pts, packet.dts, packet.duration = pts, dts, duration
            packet.stream = target
            yield packet


def _lead(parts: Sequence[Part], shape: Shape, delay: int) -> int:
    """Ticks from the decoding of the first packet to the display of its frame.

    An MP4 lasts from the decoding of its first packet to that of its last one, plus the duration
    of the last one, which must equal the time that its frames are displayed.
    """
    times: list[int] = []
    ends = _ends(parts)
    last_duration = 0
    for (_, path), end in zip(reversed(parts), reversed(ends), strict=True):
        timed = list(_timed_packets(path, shape, end))
        last_duration = last_duration or timed[-1][2]
        times = sorted(pts for _, pts, _ in timed) + times
        if len(times) > delay:
            break
    return ends[-1] - times[-1 - delay] - last_duration


def _ends(parts: Sequence[Part]) -> list[int]:
    """Tick of the output at which each segment's last frame ends."""
    last = parts[-1][0]
    return [*(segment.first for segment, _ in parts[1:]), last.last + last.duration]


def _timed_packets(path: Path, shape: Shape, end: int) -> Iterator[tuple[Packet, int, int]]:
    """Packets of a segment that ends at a tick, with the times and durations of their frames."""
    with av.open(url(path)) as container:
        packets = [
            (packet, int(packet.pts * packet.time_base / shape.time_base))
            for packet in container.demux(container.streams.video[0])
            if packet.pts is not None and packet.size
        ]
        following = dict(pairwise([*sorted(pts for _, pts in packets), end]))
        yield from ((packet, pts, following[pts] - pts) for packet, pts in packets)
