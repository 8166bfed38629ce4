"""Malformed image files: truncated, with changed bytes, and made so that they lie."""

import gzip
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
from pictures import deep_png, gray_tiff, unknown_dds
from PIL import Image
from PIL.PngImagePlugin import putchunk

_TRUNCATIONS = (0.02, 0.3, 0.8)
_CHANGES = 6  # files with changed bytes for each format

# Name -> arguments of `Image.save`.
_FORMATS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG"},
    "jpg": {"format": "JPEG"},
    "progressive.jpg": {"format": "JPEG", "progressive": True},
    "gif": {"format": "GIF"},
    "webp": {"format": "WEBP"},
    "bmp": {"format": "BMP"},
    "tif": {"format": "TIFF"},
    "lzw.tif": {"format": "TIFF", "compression": "tiff_lzw"},
    "avif": {"format": "AVIF"},
    "jp2": {"format": "JPEG2000"},
    "ppm": {"format": "PPM"},
    "tga": {"format": "TGA"},
    "ico": {"format": "ICO"},
    "icns": {"format": "ICNS"},
    "dds": {"format": "DDS"},
    "pcx": {"format": "PCX"},
    "qoi": {"format": "QOI"},
}


@cache
def hostile_images() -> dict[str, bytes]:
    """The files by name."""
    files = dict(_made_to_lie())
    for name, content in _whole_files().items():
        for fraction in _TRUNCATIONS:
            files[f"truncated_{fraction}.{name}"] = content[: int(fraction * len(content))]
        for seed in range(_CHANGES):
            files[f"changed_{seed}.{name}"] = changed(content, f"{name} {seed}")
    return files


def changed(content: bytes, seed: str) -> bytes:
    """The content with some bytes changed, more of them at its beginning."""
    chance = random.Random(seed)
    data = bytearray(content)
    for _ in range(chance.choice((1, 3, 10, 40))):
        end = len(data) if chance.random() < 0.5 else min(len(data), 200)
        data[chance.randrange(end)] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
    return bytes(data)


def _whole_files() -> dict[str, bytes]:
    levels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    picture = Image.fromarray(levels)
    files = {"deep.png": deep_png(levels.astype(np.uint16) * 257)}
    for name, settings in _FORMATS.items():
        file = BytesIO()
        picture.save(file, **settings)
        files[name] = file.getvalue()
    film = BytesIO()
    more = [Image.fromarray(np.roll(levels, i, 0)) for i in range(3)]
    picture.save(film, "PNG", save_all=True, append_images=more)
    return {**files, "apng": film.getvalue()}


def _png(width: int, height: int, rows: bytes, *, depth: int = 8, color: int = 2) -> bytes:
    """A PNG that may lie about its size; `rows` are compressed."""
    file = BytesIO(b"\x89PNG\r\n\x1a\n")
    file.seek(8)
    putchunk(file, b"IHDR", struct.pack(">2L5B", width, height, depth, color, 0, 0, 0))
    putchunk(file, b"IDAT", rows)
    putchunk(file, b"IEND")
    return file.getvalue()


def _zeros(size: int) -> bytes:
    """So many zeros, compressed."""
    made, block = zlib.compressobj(9), bytes(1 << 20)
    parts = [made.compress(block) for _ in range(size >> 20)]
    return b"".join([*parts, made.compress(bytes(size % (1 << 20))), made.flush()])


def _nested(wrap: Callable[[bytes], bytes]) -> bytes:
    """An icon that holds a PNG of 20000x20000 black pixels."""
    return wrap(_png(20000, 20000, _zeros(20000 * 2501), depth=1, color=0))


def _ico(png: bytes) -> bytes:
    entry = struct.pack("<4B2H2L", 32, 32, 0, 0, 1, 32, len(png), 22)
    return struct.pack("<3H", 0, 1, 1) + entry + png


def _icns(png: bytes) -> bytes:
    return (
        b"icns" + struct.pack(">L", 16 + len(png)) + b"ic07" + struct.pack(">L", 8 + len(png)) + png
    )


def _bmp(width: int, height: int, bits: int = 24) -> bytes:
    head = struct.pack("<L2i2H6L", 40, width, height, 1, bits, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<3L", 54 + 300, 0, 54) + head + bytes(300)


def _tiff(**tags: int) -> bytes:
    """An uncompressed gray TIFF with other values of tags: `_tiff(t256=0)`."""
    values = {256: 64, 257: 48, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 48, 279: 64 * 48}
    values |= {int(name[1:]): value for name, value in tags.items()}
    entries = b"".join(struct.pack("<2H2L", tag, 4, 1, values[tag]) for tag in sorted(values))
    head = b"II*\0" + struct.pack("<L", 8 + 64 * 48)
    return head + bytes(64 * 48) + struct.pack("<H", len(values)) + entries + bytes(4)


def _jpeg(**settings: Any) -> bytes:
    file = BytesIO()
    Image.new("RGB", (64, 48), "red").save(file, "JPEG", **settings)
    return file.getvalue()


def _made_to_lie() -> Iterator[tuple[str, bytes]]:
    yield "empty.png", b""
    yield "text.jpg", b"hello"
    yield "html.png", b"<!DOCTYPE html><html><body>404</body></html>"
    yield "bomb_1gp.png", _png(32000, 32000, _zeros(32000 * 4001), depth=1, color=0)
    yield "bomb_rgb.png", _png(20000, 20000, _zeros(200 << 20))
    yield "largest.png", _png(2**31 - 1, 2**31 - 1, _zeros(1000))
    yield "wide.png", _png(10_000_000, 1, _zeros(30_000_001))
    yield "tall.png", _png(1, 1_000_000, _zeros(4_000_000))
    yield "no_width.png", _png(0, 48, _zeros(1000))
    yield "no_pixels.png", _png(0, 0, _zeros(0))
    yield "deep_largest.png", _png(2**31 - 1, 4, _zeros(1000), depth=16)
    yield "deep_lies.png", _png(64, 48, _zeros(100), depth=16)
    yield "deep_trailing.png", deep_png(np.full((8, 8, 3), 999, np.uint16))[:-4]
    yield "unknown_depth.png", _png(64, 48, _zeros(10000), depth=7)
    yield "endless_rows.png", _png(64, 48, _zeros(300 << 20))
    for name, chunk in (("text", b"zTXt"), ("profile", b"iCCP")):
        file = BytesIO()
        Image.new("RGB", (64, 48)).save(file, "PNG")
        whole = file.getvalue()
        bomb = BytesIO()
        putchunk(bomb, chunk, b"a\0\0" + _zeros(500 << 20))
        yield f"bomb_{name}.png", whole[:33] + bomb.getvalue() + whole[33:]
    yield "nested.ico", _nested(_ico)
    yield "nested.icns", _nested(_icns)
    screen = b"GIF89a" + struct.pack("<2H3B", 65535, 65535, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<4HB", 0, 0, 65535, 65535, 0) + b"\x02\x02\x4c\x01\0;"
    yield "bomb.gif", screen + frame
    small = b"GIF89a" + struct.pack("<2H3B", 20, 20, 0x80, 0, 0) + bytes(6)
    yield "frame_beyond_screen.gif", small + frame
    yield "no_screen.gif", b"GIF89a" + struct.pack("<2H3B", 0, 0, 0x80, 0, 0) + bytes(6) + b";"
    yield "largest.bmp", _bmp(2**31 - 1, 2**31 - 1)
    yield "upside_down.bmp", _bmp(64, -(2**31))
    yield "no_width.bmp", _bmp(0, 48)
    yield "negative.bmp", _bmp(-64, 48)
    yield "bits.bmp", _bmp(64, 48, bits=77)
    yield "no_width.tif", _tiff(t256=0)
    yield "largest.tif", _tiff(t256=2**32 - 1, t257=2**32 - 1)
    yield "strip_beyond.tif", _tiff(t273=2**31)
    yield "strip_large.tif", _tiff(t279=2**32 - 1)
    yield "no_bits.tif", _tiff(t258=0)
    yield "many_bits.tif", _tiff(t258=65535)
    yield "many_samples.tif", _tiff(t277=65535)
    yield "compression.tif", _tiff(t259=34712)
    yield "predictor.tif", _tiff(t259=5, t317=3)
    yield "turned.tif", _tiff(t274=99)
    yield "rows_per_strip.tif", _tiff(t278=0)
    yield "bits_12.tif", gray_tiff(bytes(3), bits=12)
    circle = bytearray(_tiff())
    circle[-4:] = struct.pack("<L", 8 + 64 * 48)
    yield "circle.tif", bytes(circle)
    for header in (b"P6 0 0 255\n", b"P6 99999999 99999999 255\n", b"P6 64 48 0\n", b"P6 -4 9 9\n"):
        yield f"header_{header[3:9].decode().replace(' ', '_')}.ppm", header + bytes(100)
    yield "plain.ppm", b"P3 20000 2000 255\n" + b"1 " * 100
    yield "digits.ppm", b"P6 " + b"9" * 10000
    yield "bomb.pfm", b"Pf 60000 60000\n-1.0\n" + bytes(100)
    yield "not_a_number.pfm", b"Pf\n64 48\n-1.0\n" + struct.pack("<f", float("nan")) * 64 * 48
    yield "bomb.qoi", b"qoif" + struct.pack(">2L2B", 60000, 60000, 4, 0) + b"\xfd" * 100
    yield "bomb.tga", bytes([0, 0, 10, *[0] * 9]) + struct.pack("<2H2B", 65535, 65535, 24, 0)
    yield "unknown.dds", unknown_dds()
    yield "bomb.psd", b"8BPS" + struct.pack(">H6xH2L2H", 1, 3, 60000, 60000, 8, 3) + bytes(100)
    cards = ("SIMPLE = T", "BITPIX = 8", "NAXIS = 0", "END")
    table = ("XTENSION= 'BINTABLE'", "BITPIX = 8", "NAXIS = 2", "NAXIS1 = 8", "NAXIS2 = 1")
    table += ("PCOUNT = 0", "GCOUNT = 1", "TFIELDS = 1", "ZIMAGE = T", "ZBITPIX = 8", "ZNAXIS = 2")
    table += ("ZNAXIS1 = 64", "ZNAXIS2 = 48", "ZCMPTYPE= 'GZIP_1  '", "END")
    blocks = [
        "".join(f"{card:80}" for card in each).encode().ljust(2880) for each in (cards, table)
    ]
    yield "bomb.fits", b"".join(blocks) + bytes(8) + gzip.compress(bytes(1 << 30), 1)
    yield (
        "program.eps",
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n%%EndComments\n{} loop\n"),
    )
    yield "renamed.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n%%EndComments\n"
    yield "exif.jpg", _jpeg(exif=b"Exif\0\0II*\0" + b"\xff" * 200)
    yield "exif_circle.jpg", _jpeg(exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\x08\0\0\0")
    orientation = struct.pack("<H2H2LL", 1, 274, 3, 1, 77, 0)
    yield "orientation.jpg", _jpeg(exif=b"Exif\0\0II*\0\x08\0\0\0" + orientation)
    text = struct.pack("<H2H2LL", 1, 274, 2, 4, 0x00434241, 0)
    yield "orientation_text.jpg", _jpeg(exif=b"Exif\0\0II*\0\x08\0\0\0" + text)
    yield "profile.jpg", _jpeg(icc_profile=b"\xff" * 3000)
    yield "profile_space.jpg", _jpeg(icc_profile=bytes(128) + b"acsp" + bytes(200))
    large = bytearray(_jpeg())
    place = bytes(large).index(b"\xff\xc0")
    large[place + 5 : place + 9] = b"\xff" * 4
    yield "bomb.jpg", bytes(large)
    large[place + 5 : place + 9] = bytes(4)
    yield "no_pixels.jpg", bytes(large)
    yield "xpm.xpm", b'/* XPM */\nstatic char *a[] = {\n"30000 30000 2 1",\n"a c #000000",\n'
    yield "bomb.xbm", b"#define a_width 60000\n#define a_height 60000\nstatic char a[] = {0x0"
    size = struct.pack(">H8LH", 0, 50000, 50000, 0, 0, 50000, 50000, 0, 0, 3) + b"\x07\1\1" * 3
    yield "bomb.j2k", b"\xff\x4f\xff\x51" + struct.pack(">H", len(size) + 2) + size + bytes(50)
