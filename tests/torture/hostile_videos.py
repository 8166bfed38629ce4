"""Malformed videos: truncated, with changed bytes, and with headers that lie."""

import random
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from clips import write_clip
from torture.hostile_images import changed, hostile_images

_TRUNCATIONS = (0.05, 0.5, 0.9)
_CHANGES = 6
_SETTINGS: dict[str, dict[str, str]] = {
    "mp4": {"audio": "aac"},
    "mov": {"audio": "aac", "codec": "mpeg4"},
    "mkv": {"audio": "aac"},
    "webm": {"codec": "libvpx"},
    "avi": {"codec": "mpeg4"},
    "ts": {"audio": "aac"},
    "flv": {"codec": "flv"},
    "gif": {"codec": "gif", "pixels": "rgb8"},
}


def hostile_videos(folder: Path) -> dict[str, bytes]:
    """The files by name; whole ones are written to the folder meanwhile."""
    whole = {
        suffix: write_clip(folder / f"whole.{suffix}", pts=_times(suffix), **settings)  # type: ignore[arg-type]
        for suffix, settings in _SETTINGS.items()
    }
    files = {}
    for suffix, path in whole.items():
        content = path.read_bytes()
        path.unlink()
        files[f"whole.{suffix}"] = content
        for fraction in _TRUNCATIONS:
            files[f"truncated_{fraction}.{suffix}"] = content[: int(fraction * len(content))]
        for seed in range(_CHANGES):
            files[f"changed_{seed}.{suffix}"] = changed(content, f"{suffix} {seed}")
    files |= dict(_made_to_lie(files["whole.mp4"], files["whole.mkv"], files["whole.avi"]))
    images = hostile_images()
    for name in ("bomb.gif", "largest.png", "bomb.jpg", "bomb_rgb.png", "truncated_0.3.webp"):
        files[f"image_{name}.mp4"] = images[name]
    return files


def _times(suffix: str) -> range:
    return range(0, 12800, 512 if suffix != "gif" else 1024)


def _made_to_lie(mp4: bytes, mkv: bytes, avi: bytes) -> Iterator[tuple[str, bytes]]:
    yield "empty.mp4", b""
    yield "text.mp4", b"hello"
    yield "playlist.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n"
    yield "concat.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n"
    yield "recursive.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nrecursive.m3u8\n"
    for width, height in ((65535, 65535), (0, 0), (1, 1), (15, 15), (30000, 30000)):
        for box, place in ((b"avc1", 28), (b"tkhd", 80)):
            data = bytearray(mp4)
            at = data.index(box) + place
            shape = (">2H", width, height) if box == b"avc1" else (">2L", width << 16, height << 16)
            struct.pack_into(shape[0], data, at, *shape[1:])  # type: ignore[arg-type]
            yield f"size_{width}_{box.decode()}.mp4", bytes(data)
    for box, offset in {
        "mvhd": 16,
        "mdhd": 16,
        "stts": 8,
        "stsz": 12,
        "stco": 8,
        "stsc": 8,
    }.items():
        for value in (0, 2**31 - 1, 2**32 - 1):
            data = bytearray(mp4)
            struct.pack_into(">L", data, data.index(box.encode()) + offset, value)
            yield f"{box}_{value}.mp4", bytes(data)
    data = bytearray(mp4)  # the size of a box
    struct.pack_into(">L", data, data.index(b"moov") - 4, 2**32 - 1)
    yield "moov_beyond_the_end.mp4", bytes(data)
    for name, (code, offset, size) in {
        "width": (b"\xb0", 2, 2),
        "duration": (b"\x44\x89", 3, 8),
        "scale": (b"\x2a\xd7\xb1", 4, 3),
    }.items():
        for value in (b"\0", b"\xff"):
            data = bytearray(mkv)
            at = data.find(code, 100)
            data[at + offset : at + offset + size] = value * size
            yield f"{name}_{value[0]}.mkv", bytes(data)
    data = bytearray(avi)
    struct.pack_into("<L", data, data.index(b"avih") + 8, 1)  # microseconds per frame
    struct.pack_into("<L", data, data.index(b"avih") + 24, 2**32 - 1)  # frames
    yield "frames.avi", bytes(data)
    for field, offset in {"scale": 28, "rate": 32, "length": 40}.items():
        for value in (0, 2**32 - 1):
            data = bytearray(avi)
            struct.pack_into("<L", data, data.index(b"strh") + offset, value)
            yield f"{field}_{value}.avi", bytes(data)
    noise = random.Random(0).randbytes(20_000)
    yield "noise.mp4", noise
    yield "noise_after_the_start.mp4", mp4[:64] + noise
    yield "raw_zeros.264", bytes(100_000)
    header = f"YUV4MPEG2 W60000 H60000 F{Fraction(25)}:1 C420jpeg\nFRAME\n".encode()
    yield "bomb.y4m", header + bytes(1000)
    yield "no_rate.y4m", b"YUV4MPEG2 W64 H48 F0:0 C420jpeg\nFRAME\n" + bytes(64 * 48 * 3 // 2)
