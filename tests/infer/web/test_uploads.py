"""Files that visitors send: limits, kinds and names; nothing of ours is opened by them."""

import asyncio
import zipfile
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from clips import write_clip
from PIL import Image
from visitors import Client, settings

from nst_rt.infer.web.app import create_app
from nst_rt.infer.web.checks import Limits, TooLargeError, check_photo
from nst_rt.infer.web.engine import Engine
from nst_rt.infer.web.storage import Result, Results
from nst_rt.infer.web.uploads import _CHECKS, Uploads


@pytest.fixture
def narrow(engine: Engine, tmp_path: Path) -> Client:
    """A studio that takes little."""
    limits = Limits(upload=100_000, storage=150_000, pixels=200 * 200, seconds=1.5)
    return Client(create_app(engine, settings(tmp_path, limits=limits)))


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def jpeg(width: int, height: int, **options: int) -> bytes:
    file = BytesIO()
    levels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(levels).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("announced", [True, False])
def test_an_oversized_upload_is_refused_and_leaves_nothing(
    narrow: Client, tmp_path: Path, announced: bool
) -> None:
    content = b"x" * 100_001
    body = content if announced else iter([content[:50_000], content[50_000:]])
    assert "0 MB allowed" in narrow.error(413, "POST", "/api/uploads?kind=photo", content=body)
    assert files(tmp_path / "visitors") == []


def test_too_many_pixels_are_refused_before_they_are_decoded(
    narrow: Client, tmp_path: Path
) -> None:
    assert "megapixels" in narrow.error(
        413, "POST", "/api/uploads?kind=photo", content=jpeg(201, 200, quality=5)
    )
    assert files(tmp_path / "visitors") == []


def test_a_video_that_is_too_long_or_too_large_is_refused(narrow: Client, tmp_path: Path) -> None:
    long = write_clip(tmp_path / "long.mp4", pts=range(0, 12800 * 2, 512))
    large = write_clip(tmp_path / "large.mp4", size=(320, 240))
    for clip, says in ((long, "1.5 seconds"), (large, "megapixels")):
        content = clip.read_bytes()
        assert says in narrow.error(413, "POST", "/api/uploads?kind=video", content=content)
    assert files(tmp_path / "visitors") == []


def test_the_oldest_files_make_room_for_new_ones(narrow: Client) -> None:
    photo = jpeg(200, 200, quality=98)
    assert 50_000 < len(photo) < 75_000
    first, second, third = (
        narrow.post("/api/uploads?kind=photo", content=photo).json()["id"] for _ in range(3)
    )
    assert "no longer here" in narrow.error(
        400, "GET", f"/api/uploads/{first}/painted?style=waves&size=32"
    )
    for id in (second, third):
        stylized = narrow.get(f"/api/uploads/{id}/painted?style=waves&size=32")
        assert stylized.status_code == 200


@pytest.mark.parametrize("announced", [True, False])
def test_results_stay_when_there_is_no_more_room(
    engine: Engine, tmp_path: Path, announced: bool
) -> None:
    given = settings(tmp_path, limits=Limits(upload=100_000, storage=150_000))
    (tmp_path / "picture.png").write_bytes(bytes(100_000))
    record = Result("optimize", "x", "someone", "done", "", "", 0.0, {}, [])
    kept = Results(given.results).keep("x", {"picture.png": tmp_path / "picture.png"}, record)
    visitor = Client(create_app(engine, given))
    photo = jpeg(200, 200, quality=98)
    body = photo if announced else iter([photo[:30_000], photo[30_000:]])
    assert "full" in visitor.error(413, "POST", "/api/uploads?kind=photo", content=body)
    album = visitor.post("/api/uploads?kind=album").json()["id"]
    body = photo if announced else iter([photo[:30_000], photo[30_000:]])
    visitor.error(413, "POST", f"/api/uploads/{album}/photos", content=body)
    assert files(given.root) == []
    assert (kept / "picture.png").stat().st_size == 100_000
    assert visitor.post("/api/uploads?kind=photo", content=jpeg(40, 30)).is_success


@pytest.mark.parametrize("size", [60_000, 0])
def test_uploads_that_come_together_share_the_room(tmp_path: Path, size: int) -> None:
    uploads = Uploads(tmp_path, Limits(upload=100_000, storage=100_000), lambda: 0)

    async def alone() -> AsyncIterator[bytes]:
        yield bytes(60_000)

    async def beside_another() -> AsyncIterator[bytes]:
        yield bytes(50_000)
        with pytest.raises(TooLargeError, match="in use"):
            await uploads.receive(alone(), owner="me", kind="photo", name="b", size=size)
        yield bytes(10_000)

    receiving = uploads.receive(beside_another(), owner="me", kind="photo", name="a", size=size)
    assert asyncio.run(receiving).size == 60_000
    assert [file.stat().st_size for file in files(tmp_path)] == [60_000]


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_photo_that_is_cut_off_is_refused_when_it_comes(
    client: Client, tmp_path: Path, format: str
) -> None:
    file = BytesIO()
    Image.open(BytesIO(jpeg(120, 90))).save(file, format)
    cut = file.getvalue()[: file.tell() // 2]
    album = client.post("/api/uploads?kind=album").json()["id"]
    for path in ("/api/uploads?kind=photo", f"/api/uploads/{album}/photos"):
        reason = client.error(400, "POST", path, content=cut, headers={"X-Name": "cut.jpg"})
        assert "truncated" in reason
    assert files(tmp_path / "visitors") == []


def test_a_video_of_an_unknown_codec_is_refused(client: Client, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    content = clip.read_bytes().replace(b"avc1", b"zzz1")
    assert "codec" in client.error(400, "POST", "/api/uploads?kind=video", content=content)


def test_a_video_s_title_may_be_in_any_encoding(client: Client, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", metadata={"title": "XXXX"}, codec="mpeg4")
    content = clip.read_bytes()
    assert b"XXXX" in content
    clip.write_bytes(content.replace(b"XXXX", "é".encode("latin1") * 4))
    assert client.upload(clip, "video")["width"] == 64


def test_a_fault_of_ours_is_answered_in_json_and_logged(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(path: Path, name: str, limits: Limits) -> tuple[str, dict[str, object]]:
        raise AttributeError(f"{path} is a secret")

    monkeypatch.setitem(_CHECKS, "photo", broken)
    answer = client.post("/api/uploads?kind=photo", content=b"x")
    assert (answer.status_code, answer.json()) == (500, {"error": "internal error"})
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "is a secret" in caplog.text


@pytest.mark.parametrize("kind", ["photo", "video", "photos"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"/etc/passwd\n",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    ],
    ids=["empty", "a list of photos", "a playlist", "a list of clips", "a program"],
)
def test_what_names_other_files_is_no_photo_video_or_archive(
    client: Client, tmp_path: Path, kind: str, content: bytes
) -> None:
    client.error(400, "POST", f"/api/uploads?kind={kind}", content=content)
    assert files(tmp_path / "visitors") == []


@pytest.mark.parametrize(
    "name",
    ["../../../../etc/cron.d/x.jpg", "/etc/passwd", "..\\..\\x.jpg", "a\nb\x00.jpg", "é.jpg"],
)
def test_names_of_files_are_never_paths(
    client: Client, astronaut: Path, tmp_path: Path, name: str
) -> None:
    from urllib.parse import quote

    found = client.upload(astronaut, name=quote(name))
    assert "/" not in found["name"]
    assert found["name"].isprintable()
    [file] = files(tmp_path / "visitors")
    assert file.stem == "file"


def test_unknown_kinds_and_ids_are_refused(client: Client) -> None:
    assert "unknown kind" in client.error(400, "POST", "/api/uploads?kind=model", content=b"x")
    for id in ("0", "..", "%2e%2e", "a" * 5000):
        answer = client.get(f"/api/uploads/{id}/painted?style=waves")
        assert answer.status_code in (400, 404)
    assert client.get("/api/jobs/../../etc/passwd").status_code == 404


def test_an_archive_that_unpacks_to_more_than_photos_is_refused(
    client: Client, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", bytes(101 * 2**20))
    content = (tmp_path / "bomb.zip").read_bytes()
    assert len(content) < 200_000
    assert "other things" in client.error(400, "POST", "/api/uploads?kind=photos", content=content)


def test_an_archive_is_looked_through(client: Client, tmp_path: Path) -> None:
    program = BytesIO()
    Image.new("RGB", (32, 32)).save(program, "EPS")
    for name, content, status, says in (
        ("large.png", png(60_000, 1000), 413, "archive: a/large.png: 60.0 megapixels"),
        ("program.jpg", program.getvalue(), 400, "archive: a/program.jpg: EPS"),
        ("broken.jpg", b"no photo", 200, ""),
        ("notes.txt", program.getvalue(), 200, ""),
    ):
        packed = BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("good.jpg", jpeg(40, 30))
            archive.writestr(f"a/{name}", content)
        answer = client.post(
            "/api/uploads?kind=photos", content=packed.getvalue(), headers={"X-Name": "archive"}
        )
        assert (answer.status_code, answer.json().get("count", 2)) == (status, 2)
        assert says in answer.json().get("error", "")


def test_an_archive_that_unpacks_to_more_than_there_is_room_for_is_refused(narrow: Client) -> None:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(2):
            archive.writestr(f"{number}.txt", bytes(80_000))
    content = packed.getvalue()
    assert "when unpacked" in narrow.error(413, "POST", "/api/uploads?kind=photos", content=content)


def png(width: int, height: int) -> bytes:
    """One of many black pixels and few bytes."""
    file = BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    return file.getvalue()


def test_the_limit_on_pixels_is_the_studio_s_alone(tmp_path: Path) -> None:
    photo = tmp_path / "wide.png"
    photo.write_bytes(png(60_000, 3000))
    suffix, facts = check_photo(photo, "wide.png", Limits(pixels=180 * 10**6))
    assert (suffix, facts) == (".png", {"width": 60_000, "height": 3000})
    with pytest.raises(TooLargeError, match="megapixels"):
        check_photo(photo, "wide.png", Limits(pixels=179 * 10**6))


def test_an_album_that_a_photo_is_on_its_way_to_does_not_make_room(tmp_path: Path) -> None:
    photo = jpeg(40, 30)
    uploads = Uploads(tmp_path, Limits(storage=10**5), lambda: 0)
    album = uploads.new_album("me", "holiday")

    async def alone() -> AsyncIterator[bytes]:
        yield photo

    async def beside_others() -> AsyncIterator[bytes]:
        yield photo[:100]
        with pytest.raises(TooLargeError, match="in use"):
            uploads.make_room(10**5)
        yield photo[100:]

    for chunks in (alone(), beside_others()):
        asyncio.run(uploads.receive_into(album, chunks, len(photo)))
    assert album.facts["count"] == 2
    uploads.make_room(10**5)
    assert files(tmp_path) == []


def test_an_album_takes_photos_only(client: Client, tmp_path: Path) -> None:
    album = client.post("/api/uploads?kind=album").json()["id"]
    for count in (1, 2):
        answer = client.post(f"/api/uploads/{album}/photos", content=jpeg(40, 30))
        assert answer.json()["count"] == count
    client.error(400, "POST", f"/api/uploads/{album}/photos", content=b"no photo")
    assert len(files(tmp_path / "visitors")) == 2
    assert client.delete(f"/api/uploads/{album}").status_code == 200
    assert files(tmp_path / "visitors") == []


def test_a_photo_is_painted_small_and_at_full_size_with_its_transparency(
    client: Client, tmp_path: Path
) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (70, 90, 4), np.uint8)
    Image.fromarray(levels).save(tmp_path / "x.png")
    photo = client.upload(tmp_path / "x.png")
    assert (photo["width"], photo["height"]) == (90, 70)
    address = f"/api/uploads/{photo['id']}/painted"
    small = Image.open(BytesIO(client.get(f"{address}?style=waves&size=45").content))
    assert (small.format, small.size) == ("JPEG", (45, 35))
    full = Image.open(BytesIO(client.get(f"{address}?style=waves&format=png").content))
    assert (full.format, full.size, full.mode) == ("PNG", (90, 70), "RGBA")
    assert np.array_equal(np.asarray(full)[:, :, 3], levels[:, :, 3])


def test_the_download_is_the_picture_that_was_shown(
    client: Client, tmp_path: Path, astronaut: Path
) -> None:
    with Image.open(astronaut) as photo:
        photo.resize((2600, 2000), Image.Resampling.LANCZOS).save(tmp_path / "large.png")
    address = f"/api/uploads/{client.upload(tmp_path / 'large.png')['id']}/painted?style=waves"
    for strokes in ("2%25", "4%25"):
        shown, full = (
            Image.open(BytesIO(client.get(f"{address}&strokes={strokes}{more}").content))
            for more in ("&size=1024&format=png", "&format=png")
        )
        assert full.size == (2600, 2000)
        reduced = full.convert("RGB").resize(shown.size, Image.Resampling.BOX)
        levels = [np.asarray(x.convert("L")).astype(float) for x in (shown, reduced)]
        assert np.abs(levels[0] - levels[1]).mean() < 0.1 * levels[0].std() + 4


def test_looks_that_cannot_be_had_are_said_to_be(client: Client, astronaut: Path) -> None:
    address = f"/api/uploads/{client.upload(astronaut)['id']}/painted"
    for query, says in (
        ("style=vawes", "did you mean 'waves'"),
        ("style=/etc/passwd", "unknown style"),
        ("style=waves:-1", "weight"),
        ("style=waves:x", "not a look"),
        ("style=waves&strength=2", "strength"),
        ("style=waves&strength=nan", "strength"),
        ("style=waves&strokes=wide", "stroke size"),
        ("style=waves&size=0", "size"),
        ("style=waves&size=x", "not a number"),
        ("", "unknown style"),
    ):
        assert says in client.error(400, "GET", f"{address}?{query}")
