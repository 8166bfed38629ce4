"""Files that visitors send: limits, kinds and names; and images that are stylized."""

import asyncio
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import crashing
import numpy as np
import pytest
from clips import write_clip
from PIL import Image
from visitors import LIMITS, Client, settings

from nst_rt.infer.web.app import create_app
from nst_rt.infer.web.decoding.checks import check_image
from nst_rt.infer.web.decoding.pool import Decoders
from nst_rt.infer.web.limits.storage import Storage
from nst_rt.infer.web.results import Record, Results
from nst_rt.infer.web.settings import TooLargeError
from nst_rt.infer.web.stylizers import SharedStylizer
from nst_rt.infer.web.uploads import _CHECKS, Uploads

PROGRAM = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"  # for Ghostscript


@pytest.fixture
def narrow(shared: SharedStylizer, tmp_path: Path) -> Iterator[Client]:
    """A studio with tight limits."""
    limits = {"upload": 100_000, "storage": 150_000, "pixels": 200 * 200, "seconds": 1.5}
    with Client(create_app(shared, settings(tmp_path, limits=limits))) as opened:
        yield opened


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def jpeg(width: int, height: int, **options: int) -> bytes:
    file = BytesIO()
    levels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(levels).save(file, "JPEG", **options)
    return file.getvalue()


def png(width: int, height: int) -> bytes:
    """Many black pixels in few bytes."""
    file = BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    return file.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def clip(folder: Path, **options: Any) -> bytes:
    return write_clip(folder / "clip.mp4", **options).read_bytes()


OVERSIZED: dict[str, tuple[str, str, Callable[[Path], bytes]]] = {
    "bytes": ("image", "MB", lambda folder: b"x" * 100_001),
    "pixels": ("image", "megapixels", lambda folder: jpeg(201, 200, quality=5)),
    "frame": ("video", "megapixels", lambda folder: clip(folder, size=(320, 240))),
    "seconds": ("video", "1.5", lambda folder: clip(folder, pts=range(0, 25600, 512))),
    "unpacked": ("archive", "GB", lambda folder: zipped(dict.fromkeys("ab", bytes(80_000)))),
}


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("limit", OVERSIZED)
def test_upload_over_a_limit_is_refused_and_leaves_nothing(
    narrow: Client, tmp_path: Path, limit: str, announced: bool
) -> None:
    kind, word, make = OVERSIZED[limit]
    content = make(tmp_path)
    body = content if announced else iter([content[:50], content[50:]])
    assert word in narrow.error(413, "POST", f"/api/uploads?kind={kind}", content=body)
    assert files(tmp_path / "visitors") == []


def test_oldest_uploads_make_room_for_new_ones(narrow: Client) -> None:
    photo = jpeg(200, 200, quality=98)
    assert 50_000 < len(photo) < 75_000
    first, second, third = (
        narrow.post("/api/uploads?kind=image", content=photo).json()["id"] for _ in range(3)
    )
    assert "no longer here" in narrow.error(
        400, "GET", f"/api/uploads/{first}/stylized?style=waves&size=32"
    )
    for id in (second, third):
        stylized = narrow.get(f"/api/uploads/{id}/stylized?style=waves&size=32")
        assert stylized.status_code == 200


@pytest.mark.parametrize("announced", [True, False])
def test_results_stay_if_there_is_no_more_room(
    shared: SharedStylizer, tmp_path: Path, announced: bool
) -> None:
    given = settings(tmp_path, limits={"upload": 100_000, "storage": 150_000})
    (tmp_path / "image.png").write_bytes(bytes(100_000))
    record = Record("optimize", "x", "someone", "done")
    kept = Results(given.results).keep("x", {"image.png": tmp_path / "image.png"}, record)
    visitor = Client(create_app(shared, given))
    photo = jpeg(200, 200, quality=98)
    body = photo if announced else iter([photo[:30_000], photo[30_000:]])
    assert "full" in visitor.error(413, "POST", "/api/uploads?kind=image", content=body)
    album = visitor.post("/api/uploads?kind=album").json()["id"]
    body = photo if announced else iter([photo[:30_000], photo[30_000:]])
    visitor.error(413, "POST", f"/api/uploads/{album}/photos", content=body)
    assert files(given.root) == []
    assert (kept / "image.png").stat().st_size == 100_000
    assert visitor.post("/api/uploads?kind=image", content=jpeg(40, 30)).is_success


@pytest.mark.parametrize("size", [60_000, 0])
def test_simultaneous_uploads_share_the_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoders: Decoders, size: int
) -> None:
    monkeypatch.setitem(_CHECKS, "image", crashing.accept)
    uploads = Uploads(tmp_path, replace(LIMITS, upload=100_000), Storage(100_000), decoders)

    async def alone() -> AsyncIterator[bytes]:
        yield bytes(60_000)

    async def beside_another() -> AsyncIterator[bytes]:
        yield bytes(50_000)
        with pytest.raises(TooLargeError, match="in use"):
            await uploads.receive(alone(), owner="me", kind="image", name="b", size=size)
        yield bytes(10_000)

    receiving = uploads.receive(beside_another(), owner="me", kind="image", name="a", size=size)
    assert asyncio.run(receiving).size == 60_000
    assert [file.stat().st_size for file in files(tmp_path)] == [60_000]


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_truncated_image_is_refused_on_upload(client: Client, tmp_path: Path, format: str) -> None:
    file = BytesIO()
    Image.open(BytesIO(jpeg(120, 90))).save(file, format)
    cut = file.getvalue()[: file.tell() // 2]
    album = client.post("/api/uploads?kind=album").json()["id"]
    for path in ("/api/uploads?kind=image", f"/api/uploads/{album}/photos"):
        reason = client.error(400, "POST", path, content=cut, headers={"X-Name": "cut.jpg"})
        assert "truncated" in reason
    assert files(tmp_path / "visitors") == []


def test_video_of_an_unknown_codec_is_refused(client: Client, tmp_path: Path) -> None:
    content = clip(tmp_path).replace(b"avc1", b"zzz1")
    assert "codec" in client.error(400, "POST", "/api/uploads?kind=video", content=content)


def test_title_of_a_video_may_be_in_any_encoding(client: Client, tmp_path: Path) -> None:
    file = write_clip(tmp_path / "clip.avi", metadata={"title": "XXXX"}, codec="mpeg4")
    content = file.read_bytes()
    assert b"XXXX" in content
    file.write_bytes(content.replace(b"XXXX", "é".encode("latin1") * 4))
    assert client.upload(file, "video")["width"] == 64


def test_internal_error_is_logged_and_answered_without_details(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(_CHECKS, "image", crashing.tell)
    answer = client.post("/api/uploads?kind=image", content=b"x")
    assert (answer.status_code, answer.json()) == (500, {"error": "internal error"})
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "is a secret" in caplog.text


@pytest.mark.parametrize("kind", ["image", "video", "archive"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"/etc/passwd\n",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        PROGRAM,
    ],
    ids=["empty", "list of photos", "playlist", "list of clips", "program"],
)
def test_files_that_name_other_files_are_refused(
    client: Client, tmp_path: Path, kind: str, content: bytes
) -> None:
    client.error(400, "POST", f"/api/uploads?kind={kind}", content=content)
    assert files(tmp_path / "visitors") == []


@pytest.mark.parametrize(
    "name",
    ["../../../../etc/cron.d/x.jpg", "/etc/passwd", "..\\..\\x.jpg", "a\nb\x00.jpg", "é.jpg"],
)
def test_file_names_of_visitors_are_never_paths(
    client: Client, astronaut: Path, tmp_path: Path, name: str
) -> None:
    found = client.upload(astronaut, name=quote(name))
    assert "/" not in found["name"]
    assert found["name"].isprintable()
    [file] = files(tmp_path / "visitors")
    assert file.stem == "file"


def test_unknown_kinds_and_ids_are_refused(client: Client) -> None:
    assert "model" in client.error(400, "POST", "/api/uploads?kind=model", content=b"x")
    for id in ("0", "..", "%2e%2e", "a" * 5000):
        answer = client.get(f"/api/uploads/{id}/stylized?style=waves")
        assert answer.status_code in (400, 404)
    assert client.get("/api/jobs/../../etc/passwd").status_code == 404


def test_archive_bomb_is_refused(client: Client) -> None:
    content = zipped({"a.jpg": bytes(101 * 2**20)})
    assert len(content) < 200_000
    client.error(400, "POST", "/api/uploads?kind=archive", content=content)


@pytest.mark.parametrize(
    ("name", "content", "status", "words"),
    [
        ("large.png", png(60_000, 1000), 413, ("x.zip: a/large.png", "60.0")),
        ("program.jpg", PROGRAM, 400, ("x.zip: a/program.jpg", "EPS")),
        ("broken.jpg", b"no photo", 200, ()),
        ("notes.txt", PROGRAM, 200, ()),
    ],
)
def test_photos_in_an_archive_are_checked(
    client: Client, name: str, content: bytes, status: int, words: tuple[str, ...]
) -> None:
    packed = zipped({"good.jpg": jpeg(40, 30), f"a/{name}": content})
    headers = {"X-Name": "x.zip"}
    answer = client.post("/api/uploads?kind=archive", content=packed, headers=headers)
    assert (answer.status_code, answer.json().get("count", 2)) == (status, 2)
    assert all(word in answer.json().get("error", "") for word in words)


def test_only_the_limit_of_the_studio_counts_for_pixels(tmp_path: Path) -> None:
    photo = tmp_path / "wide.png"
    photo.write_bytes(png(60_000, 3000))
    suffix, facts = check_image(photo, replace(LIMITS, pixels=180 * 10**6))
    assert (suffix, facts) == (".png", {"width": 60_000, "height": 3000})
    with pytest.raises(TooLargeError, match="megapixels"):
        check_image(photo, replace(LIMITS, pixels=179 * 10**6))


def test_album_that_receives_a_photo_is_not_removed_to_make_room(
    tmp_path: Path, decoders: Decoders
) -> None:
    photo = jpeg(40, 30)
    storage = Storage(10**5)
    uploads = Uploads(tmp_path, LIMITS, storage, decoders)
    album = asyncio.run(uploads.new_album("me", "holiday"))

    async def alone() -> AsyncIterator[bytes]:
        yield photo

    async def beside_others() -> AsyncIterator[bytes]:
        yield photo[:100]
        with pytest.raises(TooLargeError, match="in use"):
            storage.hold("another", 10**5)
        yield photo[100:]

    for chunks in (alone(), beside_others()):
        asyncio.run(uploads.receive_into(album, chunks, len(photo)))
    assert album.facts["count"] == 2
    storage.hold("another", 10**5)
    assert files(tmp_path) == []


def test_album_accepts_images_only(client: Client, tmp_path: Path) -> None:
    album = client.post("/api/uploads?kind=album").json()["id"]
    for count in (1, 2):
        answer = client.post(f"/api/uploads/{album}/photos", content=jpeg(40, 30))
        assert answer.json()["count"] == count
    client.error(400, "POST", f"/api/uploads/{album}/photos", content=b"no photo")
    assert len(files(tmp_path / "visitors")) == 2
    assert client.delete(f"/api/uploads/{album}").status_code == 200
    assert files(tmp_path / "visitors") == []


def test_image_is_stylized_small_and_at_full_size_with_its_transparency(
    client: Client, tmp_path: Path
) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (70, 90, 4), np.uint8)
    Image.fromarray(levels).save(tmp_path / "x.png")
    photo = client.upload(tmp_path / "x.png")
    assert (photo["width"], photo["height"]) == (90, 70)
    address = f"/api/uploads/{photo['id']}/stylized"
    small = Image.open(BytesIO(client.get(f"{address}?style=waves&size=45").content))
    assert (small.format, small.size) == ("JPEG", (45, 35))
    full = Image.open(BytesIO(client.get(f"{address}?style=waves&format=png").content))
    assert (full.format, full.size, full.mode) == ("PNG", (90, 70), "RGBA")
    assert np.array_equal(np.asarray(full)[:, :, 3], levels[:, :, 3])


@pytest.mark.slow
def test_download_matches_the_preview(client: Client, tmp_path: Path, astronaut: Path) -> None:
    with Image.open(astronaut) as photo:
        photo.resize((2600, 2000), Image.Resampling.LANCZOS).save(tmp_path / "large.png")
    address = f"/api/uploads/{client.upload(tmp_path / 'large.png')['id']}/stylized?style=waves"
    for stroke_size in ("2%25", "4%25"):
        shown, full = (
            Image.open(BytesIO(client.get(f"{address}&stroke_size={stroke_size}{more}").content))
            for more in ("&size=1024&format=png", "&format=png")
        )
        assert full.size == (2600, 2000)
        reduced = full.convert("RGB").resize(shown.size, Image.Resampling.BOX)
        levels = [np.asarray(x.convert("L")).astype(float) for x in (shown, reduced)]
        assert np.abs(levels[0] - levels[1]).mean() < 0.1 * levels[0].std() + 4


def test_invalid_queries_are_refused(client: Client, astronaut: Path) -> None:
    address = f"/api/uploads/{client.upload(astronaut)['id']}/stylized"
    for query, word in (
        ("style=vawes", "'waves'"),
        ("style=/etc/passwd", "style"),
        ("style=waves:-1", "weight"),
        ("style=waves:x", "styles"),
        ("style=waves&strength=2", "strength"),
        ("style=waves&strength=nan", "strength"),
        ("style=waves&stroke_size=wide", "stroke"),
        ("style=waves&size=0", "size"),
        ("style=waves&size=x", "'x'"),
        ("", "style"),
    ):
        assert word in client.error(400, "GET", f"{address}?{query}")
