"""Packets of a source's picture, also those behind what cannot be read, and their decoder."""

import queue
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import av
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from nst_rt.infer.video.probe import Packet

_TRIES = 200  # packets in a row that cannot be read, until the rest is given up
_HOLE = 256  # bytes of a Matroska file that belong to no packet, more than it needs between two

# WebM keeps transparency beside the picture, where FFmpeg's own decoders leave it.
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


def decoder_of(stream: VideoStream) -> VideoCodecContext:
    """A decoder for all that the stream shows, transparency included."""
    context = stream.codec_context
    tags = {name.lower(): value for name, value in stream.metadata.items()}
    with_alpha = _WITH_ALPHA.get(context.codec.canonical_name)
    if with_alpha is not None and tags.get("alpha_mode") == "1":
        decoder = av.CodecContext.create(with_alpha, "r")
        assert isinstance(decoder, VideoCodecContext)
        return decoder
    stream.thread_type = "AUTO"
    return context


def picture_packets(
    container: InputContainer,
    stream: VideoStream,
    *,
    ahead: Sequence[Packet],
    others: "queue.SimpleQueue[Packet] | None",
    on_damage: Callable[[], None],
) -> "Iterator[Packet | None]":
    """Packets of the picture, the last one without data; None where the rest is given up.

    Args:
        container, stream: whose they are.
        ahead: those of all streams that have been read already.
        others: takes the packets of other streams.
        on_damage: called at each sign of damage.
    """
    demuxed: Iterator[Packet] = chain(ahead, container.demux())
    failures = 0
    # Where Matroska is damaged, its demuxer goes on behind without a word. Other containers
    # have holes of their own: boxes and tables, or they are interleaved in another way.
    is_packed = container.format.name.startswith("matroska")
    place: int | None = None  # in the file, behind the last packet
    while True:
        try:
            packet = next(demuxed)
        except StopIteration:
            return
        except (av.FFmpegError, OSError):
            on_damage()
            failures += 1
            if failures == _TRIES:
                yield None
                return
            demuxed = container.demux()
            continue
        failures = 0
        if is_packed and packet.pos is not None:
            if place is not None and packet.pos - place > _HOLE:
                on_damage()
            place = packet.pos + packet.size
        # Not `packet.stream_index`, which is 0 in the empty packets that end each stream.
        if packet.stream.index == stream.index:
            if packet.is_corrupt:
                on_damage()
            yield packet
        elif others is not None and packet.size:
            others.put(packet)
