"""What visitors see of their uploads: places, frames of videos in a style, previews, batches."""

import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import av
import numpy as np
import pytest
from clips import write_clip
from PIL import Image
from visitors import Client, settings

from nst_rt.infer.web.app import create_app
from nst_rt.infer.web.stylizers import SharedStylizer

NIGHT = {"styles": {"night": 1}}


def image(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(content)).convert("RGB")).astype(int)


def test_uploads_are_listed_with_their_places_for_their_owner_only(
    shared: SharedStylizer, tmp_path: Path, astronaut: Path
) -> None:
    app = create_app(shared, settings(tmp_path))
    with Client(app) as me, Client(app, host="127.0.0.1:8765") as other:
        content = astronaut.read_bytes()
        for place in ("image", "", "optimize-content"):
            me.post(f"/api/uploads?kind=image&place={place}", content=content)
        me.post("/api/uploads?kind=album&place=train-photos")
        listed = me.get("/api/uploads").json()
        assert [each["place"] for each in listed] == [
            *("image", "", "optimize-content", "train-photos")
        ]
        assert [each["needed"] for each in listed] == [False] * 4
        assert (listed[0]["width"], listed[3]["count"]) == (512, 0)
        assert other.get("/api/uploads").json() == []
        for path in ("file", "original", "stylized?style=waves", "preview?style=waves"):
            other.error(400, "GET", f"/api/uploads/{listed[0]['id']}/{path}")
        for kind in ("image", "album"):
            path = f"/api/uploads?kind={kind}&place=elsewhere"
            assert "elsewhere" in me.error(400, "POST", path, content=content)


def test_frame_of_a_video_is_shown_as_it_is_and_in_styles(client: Client, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "my clip.mp4", size=(64, 48))  # brighter from frame to frame
    address = f"/api/uploads/{client.upload(clip, 'video')['id']}"
    originals = {
        at: image(client.get(f"{address}/original?at={at}").content).mean()
        for at in (0, 0.4, 0.96, 7)
    }
    for at, number in ((0, 0), (0.4, 10), (0.96, 24), (7, 24)):
        assert originals[at] == pytest.approx(16 + 7 * number, abs=8)
    styles = [
        client.get(f"{address}/stylized?style={style}&at=0.4&size=48")
        for style in ("waves", "night")
    ]
    assert [image(each.content).shape for each in styles] == [(36, 48, 3)] * 2
    assert styles[0].content != styles[1].content
    assert unquote(styles[1].headers["X-Name"]) == "my clip_night.jpg"
    plain = client.get(f"{address}/stylized?style=waves&strength=0&at=0.4")
    assert image(plain.content).mean() == pytest.approx(originals[0.4], abs=2)
    for query in ("at=-1", "at=nan", "at=x", "size=2"):
        client.error(400, "GET", f"{address}/stylized?style=waves&{query}")
    part = client.get(f"{address}/file", headers={"Range": "bytes=0-99"})
    assert (part.status_code, part.content) == (206, clip.read_bytes()[:100])


def test_preview_is_a_part_of_the_video_and_tells_how_long_the_whole_takes(
    client: Client, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "a.mp4", pts=range(0, 512 * 100, 512), size=(80, 60))
    address = f"/api/uploads/{client.upload(clip, 'video')['id']}/preview?style=waves"
    for at in (1, 3.9):  # two seconds from there, or the last two
        answer = client.get(f"{address}&at={at}&stability=0")
        assert answer.status_code == 200, answer.text
        with av.open(BytesIO(answer.content)) as container:
            assert sum(1 for _ in container.decode(video=0)) == 50
        assert float(answer.headers["X-Seconds"]) > 0
    assert not list((tmp_path / "results").glob("*/*"))  # it is no job
    assert [file.name for file in tmp_path.glob("visitors/*/*")] == ["file.mp4"]
    assert "vawes" in client.error(400, "GET", f"{address},vawes")


def batch(client: Client, tmp_path: Path, *sizes: tuple[str, int, int]) -> dict[str, Any]:
    ids = []
    for name, width, height in sizes:
        levels = np.random.default_rng(0).integers(0, 256, (height, width, 4), np.uint8)
        Image.fromarray(levels).save(tmp_path / "x.png")
        ids.append(client.upload(tmp_path / "x.png", name=name)["id"])
    return client.wait(client.job(kind="images", images=ids, choice=NIGHT, format="png"))


def test_images_are_stylized_into_one_archive(client: Client, tmp_path: Path) -> None:
    done = batch(client, tmp_path, ("a.png", 40, 30), ("b.jpg", 50, 40), ("a.png", 30, 20))
    assert done["state"] == "done", done
    assert done["facts"]["name"] == "images_night.zip"
    assert set(done["files"]) == {"images.zip", "preview.jpg"}
    content = client.get(f"/api/jobs/{done['id']}/files/images.zip").content
    with zipfile.ZipFile(BytesIO(content)) as archive:
        sizes = {name: Image.open(archive.open(name)).size for name in archive.namelist()}
        assert Image.open(archive.open("a_night.png")).mode == "RGBA"
    assert sizes == {
        "a_night.png": (40, 30),
        "b_night.png": (50, 40),
        "a_night_2.png": (30, 20),
    }


def test_image_that_fails_does_not_stop_the_others(client: Client, tmp_path: Path) -> None:
    done = batch(client, tmp_path, ("thin.png", 40, 3), ("good.png", 40, 30))
    assert (done["state"], "thin.png" in done["error"]) == ("partial", True)
    content = client.get(f"/api/jobs/{done['id']}/files/images.zip").content
    assert zipfile.ZipFile(BytesIO(content)).namelist() == ["good_night.png"]
    done = batch(client, tmp_path, ("thin.png", 40, 3))
    assert (done["state"], done["files"]) == ("failed", {})
    for images in ([], None, ["x"], "x"):
        client.error(400, "POST", "/api/jobs", json={"kind": "images", "images": images})


def test_video_shows_its_newest_frame_and_is_named_after_its_style(
    client: Client, tmp_path: Path
) -> None:
    video = client.upload(write_clip(tmp_path / "a clip.mp4"), "video")
    done = client.wait(client.job(kind="video", video=video["id"], choice=NIGHT))
    assert set(done["files"]) == {"video.mp4", "preview.jpg"}
    assert done["facts"] == {"name": "a clip_night.mp4", "original": video["id"]}
    assert image(client.get(f"/api/jobs/{done['id']}/files/preview.jpg").content).shape == (
        48,
        64,
        3,
    )
