"""Learning a style in the studio: what visitors may ask for, and what becomes of it."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blends import small_network
from clips import write_clip
from PIL import Image
from visitors import JPEG, PATIENCE, Client, settings, until

from nst_rt.images.io import Frame
from nst_rt.infer.blend import StyleSet
from nst_rt.infer.learning.learn import Learning
from nst_rt.infer.web import learning as web_learning
from nst_rt.infer.web.app import create_app
from nst_rt.infer.web.learning import StudioLearning
from nst_rt.infer.web.stylizers import SharedStylizer
from nst_rt.infer.web.work import content
from nst_rt.learning.library import Library
from nst_rt.learning.request import LearningRequest
from nst_rt.models.style_model import Style, StyleModel


def learned(name: str = "x", **training: Any) -> StyleModel:
    """A style as a learning process sends it."""
    return StyleModel(small_network(styles=1), (Style(name),), training)


class Pretended:
    """Stands for `LiveLearning`, without a process."""

    made: list["Pretended"]

    def __init__(
        self, learning: Learning, styles: StyleSet, *, device: str | None, library: Library
    ) -> None:
        self.request, self.styles, self.library = learning.request, styles, library
        self.name, self.state, self.problem = learning.request.name, "starting", ""
        self.crops, self.rate = 0, 0.0
        self.offered: list[Frame] = []
        self.closing = threading.Event()
        self.slow = False
        self.made.append(self)

    @property
    def is_learning(self) -> bool:
        return self.state in ("starting", "learning")

    def __str__(self) -> str:
        return f"{self.state}: {self.problem}"

    def give(self, model: StyleModel, crops: int) -> None:
        """Send a model, as the process does."""
        if self.state == "starting":
            self.name = self.styles.add(model)[model.style_names[0]]
        else:
            self.styles.replace(self.name, model)
        self.state, self.crops, self.rate = "learning", crops, 3.14

    def offer(self, frame: Frame) -> None:
        self.offered.append(frame)

    def pause(self) -> None:
        self.state = "paused"

    def resume(self) -> None:
        self.state = "learning"

    def reset(self) -> None:
        self.crops = 0

    def keep(self) -> None:
        self.library.keep(self.request.key, learned(figures={"strokes": 0.5}))
        self.state = "learned"

    def close(self) -> None:
        if self.slow:
            assert self.closing.wait(PATIENCE)
        self.closing.set()


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[Pretended]]:
    """The learnings that were begun, without processes."""
    monkeypatch.setenv("NST_RT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(web_learning, "_FEED_SECONDS", 0.01)
    monkeypatch.setattr(web_learning, "LiveLearning", Pretended)
    Pretended.made = []
    yield Pretended.made
    for each in Pretended.made:
        each.closing.set()


@pytest.fixture
def shared(two_styles: StyleModel) -> SharedStylizer:
    """One of its own: styles are added to it."""
    return SharedStylizer(two_styles, backend="openvino")


@pytest.fixture
def client(pretended: list[Pretended], shared: SharedStylizer, tmp_path: Path) -> Iterator[Client]:
    with Client(create_app(shared, settings(tmp_path, fps=0))) as opened:
        yield opened


def begin(client: Client, image: dict[str, Any], **asked: Any) -> dict[str, Any]:
    answer = client.post("/api/learning", json={"image": image["id"], **asked})
    assert answer.status_code == 200, answer.text
    state: dict[str, Any] = answer.json()["learning"]
    return state


def state(client: Client) -> dict[str, Any] | None:
    found: dict[str, Any] | None = client.get("/api/learning").json()["learning"]
    return found


@pytest.mark.slow
def test_style_image_is_learned_live_and_offered_by_the_next_studio(
    shared: SharedStylizer, two_styles: StyleModel, painting: Path, tmp_path: Path
) -> None:
    def stylized(socket: Any) -> bytes:
        socket.send_bytes(JPEG)
        while (answer := socket.receive()).get("bytes") is None:
            assert "error" not in json.loads(answer["text"])
        return bytes(answer["bytes"])

    app = create_app(shared, settings(tmp_path, fps=0))
    with Client(app) as client, client.live() as socket:
        socket.send_json({"styles": {"waves": 1}})
        waves = stylized(socket)
        assert state(client) is None
        image = client.upload(painting, name="My Swirls.jpg")
        now = begin(client, image, style_size=128, content=[image["id"]])
        assert (now["title"], now["style_size"], now["style_weight"]) == ("My Swirls", 128, 8)
        assert until(lambda: (state(client) or {})["style"]) == "my_swirls"
        socket.send_json({"styles": {"my_swirls": 1}})
        assert until(lambda: stylized(socket) != waves)
        better = until(lambda: (found := state(client) or {})["revision"] and found)
        assert better["state"] == "learning"
        assert better["crops"] >= 2
        assert shared.style_set.version >= 1
        paused = client.post("/api/learning/pause").json()["learning"]
        assert paused["state"] == "paused"
        assert client.post("/api/learning/continue").json()["learning"]["state"] == "learning"
        kept = client.post("/api/learning/keep").json()["learning"]
        assert kept["state"] == "learned"
        assert kept["crops"] >= better["crops"]

    # Another studio has it; the same image then is that style, which need not be learned again.
    later = SharedStylizer(two_styles, backend="openvino")
    app = create_app(later, settings(tmp_path / "later", fps=0, offers_learned=True))
    with Client(app) as client:
        styles = {each["name"]: each for each in client.get("/api/studio").json()["styles"]}
        assert styles["my_swirls"]["title"] == "My Swirls"
        assert styles["my_swirls"]["preview"]
        now = begin(client, client.upload(painting), style_size=128)
        assert (now["state"], now["style"], now["title"]) == ("learned", "my_swirls", "swirls")
        assert later.style_set.names == ["waves", "night", "my_swirls"]


def test_what_cannot_be_learned_is_refused_in_a_line(
    client: Client, pretended: list[Pretended], painting: Path, tmp_path: Path
) -> None:
    image = client.upload(painting)["id"]
    plain, small = tmp_path / "plain.png", tmp_path / "small.png"
    Image.new("RGB", (80, 80), "teal").save(plain)
    noise = np.random.default_rng(0).integers(0, 256, (30, 30, 3), np.uint8)
    Image.fromarray(noise).save(small)
    video = client.upload(write_clip(tmp_path / "clip.mp4"), "video")["id"]
    for asked, word in (
        ({"image": "none"}, "no longer here"),
        ({"image": None}, "no longer here"),
        ({"image": video}, "expected image"),
        ({"image": client.upload(plain)["id"]}, "plain"),
        ({"image": client.upload(small)["id"]}, "30x30"),
        ({"image": image, "style_size": 5000}, "5000"),
        ({"image": image, "style_size": "large"}, "large"),
        ({"image": image, "style_weight": 1e9}, "1e+09"),
        ({"image": image, "style_weight": "nan"}, "nan"),
        ({"image": image, "style_weight": -1}, "-1"),
        ({"image": image, "content": "all"}, "list"),
        ({"image": image, "content": [image] * 101}, "100"),
        ({"image": image, "content": ["none"]}, "no longer here"),
        ({"style_size": 320}, "choose a style image"),
        ([], "JSON"),
    ):
        assert word in client.error(400, "POST", "/api/learning", json=asked), asked
    for action in web_learning.ACTIONS:
        assert "choose" in client.error(400, "POST", f"/api/learning/{action}")
    client.error(404, "POST", "/api/learning/explode")
    client.error(413, "POST", "/api/learning", content=b" " * 70_000)
    client.error(403, "POST", "/api/learning", headers={"Origin": "http://elsewhere"})
    assert (pretended, state(client)) == ([], None)


def test_learning_belongs_to_its_visitor(
    shared: SharedStylizer,
    pretended: list[Pretended],
    painting: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = create_app(shared, settings(tmp_path, token="correct horse"))
    link = "/?token=correct horse"
    with (
        Client(app, link=link) as me,
        Client(app, host="127.0.0.1:8765", link=link) as other,
        Client(app, host="[::1]:8765") as stranger,
    ):
        for method, path in (("GET", ""), ("POST", ""), ("POST", "/keep")):
            stranger.error(403, method, f"/api/learning{path}")
        mine, theirs = me.upload(painting), other.upload(painting)
        assert "no longer" in other.error(400, "POST", "/api/learning", json={"image": mine["id"]})
        begin(me, mine)
        pretended[0].give(learned(), 0)
        assert state(other) is None
        for path in ("keep", "end", "content"):
            other.error(400, "POST", f"/api/learning/{path}", json={})
        assert "another" in other.error(429, "POST", "/api/learning", json={"image": theirs["id"]})
        # The style itself is there for everyone.
        assert "swirls" in [each["name"] for each in other.get("/api/studio").json()["styles"]]
        assert "swirls" in other.get("/api/jobs").json()["styles"]
        monkeypatch.setattr(web_learning, "_ATTENDED_SECONDS", 0.0)  # the page was closed
        begin(other, theirs)
        assert state(me) is None
        assert until(pretended[0].closing.is_set)
        assert len(pretended) == 2


def test_better_weights_replace_the_style_under_its_title(
    client: Client, shared: SharedStylizer, pretended: list[Pretended], painting: Path
) -> None:
    styles = shared.style_set
    first = begin(client, client.upload(painting, name="The Waves.jpg"))
    assert (first["state"], first["style"], first["preview"][:5]) == ("starting", None, "UklGR")
    assert pretended[0].request.name == "the_waves"
    pretended[0].give(learned("a"), 0)
    pretended[0].give(learned("b"), 480)
    now = state(client)
    assert now is not None
    assert (now["style"], now["crops"], now["rate"]) == ("the_waves", 480, 3.1)
    assert now["figures"] is None
    assert now["revision"] == styles.version == 1
    [shown] = [
        each for each in client.get("/api/studio").json()["styles"] if each["name"] == "the_waves"
    ]
    assert shown["preview"] == now["preview"]
    # In a process of its own, a video finds the style by the name that is in its file.
    assert styles.models(["the_waves"])[0].style_names == ["the_waves"]

    # Another stroke size takes the place of the first one, whose last words count no more.
    again = client.post("/api/learning", json={"style_size": 320, "style_weight": 4})
    now = again.json()["learning"]
    assert (now["style"], now["style_size"], now["style_weight"]) == ("the_waves", 320, 4)
    assert until(pretended[0].closing.is_set)
    pretended[0].give(learned("late"), 500)
    assert styles.version == 1
    pretended[1].give(learned("c"), 0)
    assert (styles.version, styles.names) == (2, ["waves", "night", "the_waves"])

    # Another image of that name is another style, and the one before stays.
    other = begin(client, client.upload(painting.with_name("mosaic.jpg"), name="the waves.png"))
    pretended[2].give(learned("d"), 0)
    now = state(client)
    assert now is not None
    assert now["style"] == "the_waves_2"
    assert other["title"] == "the waves"
    assert styles.names == ["waves", "night", "the_waves", "the_waves_2"]
    for action, becomes in (
        *(("pause", "paused"), ("continue", "learning"), ("keep", "learned")),
        *(("continue", "learning"), ("reset", "learning")),
    ):
        now = client.post(f"/api/learning/{action}").json()["learning"]
        assert now["state"] == becomes
    assert now["figures"] == {"strokes": 0.5}
    [kept] = Library()
    assert (kept.name, kept.model.styles[0].title) == ("the_waves_2", "the waves")
    assert kept.model.styles[0].preview
    assert client.post("/api/learning/end").json()["learning"] is None
    assert "the_waves_2" in styles.names


def test_failure_is_told_without_paths_and_a_full_disk_stops_nothing(
    client: Client,
    pretended: list[Pretended],
    painting: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    begin(client, client.upload(painting))
    assert "yet" in client.error(400, "POST", "/api/learning/keep")
    pretended[0].give(learned(), 0)
    (tmp_path / "data").write_text("not a folder")
    with caplog.at_level(logging.WARNING):
        assert client.post("/api/learning/keep").json()["learning"]["state"] == "learned"
    assert "cannot be kept" in caplog.text
    pretended[0].state, pretended[0].problem = "failed", "lower `style_weight`"
    now = state(client)
    assert now is not None
    assert (now["problem"], now["text"]) == ("lower style weight", "failed: lower style weight")


def test_images_videos_and_frames_of_the_camera_are_learned_on(
    client: Client, pretended: list[Pretended], painting: Path, astronaut: Path, tmp_path: Path
) -> None:
    image = client.upload(astronaut)
    video = client.upload(write_clip(tmp_path / "clip.mp4", size=(64, 48)), "video")
    album = client.post("/api/uploads?kind=album").json()
    for _ in range(2):
        client.post(f"/api/uploads/{album['id']}/photos", content=painting.read_bytes())
    begin(client, client.upload(painting), content=[image["id"]])
    learning = pretended[0]
    assert learning.offered == []  # before it has begun, frames would be lost
    learning.give(learned(), 0)

    def shapes() -> set[tuple[int, ...]]:
        return {frame.shape for frame in learning.offered}

    until(lambda: shapes() == {(512, 512, 3)})
    more = {"content": [album["id"], video["id"]]}
    assert client.post("/api/learning/content", json=more).status_code == 200
    until(lambda: (48, 64, 3) in shapes())
    assert len(shapes()) == 3
    until(lambda: len(learning.offered) >= 1 + 2 + 2)
    with client.live() as socket:
        count = len(learning.offered)
        while len(learning.offered) < count + 20:  # more than the video has
            socket.send_bytes(JPEG)
            while socket.receive().get("bytes") is None:
                pass
    learning.offered.clear()
    client.post("/api/learning/reset")  # its process has seen nothing
    until(lambda: len(shapes()) == 3)


def test_content_that_was_removed_is_left_out(
    client: Client, pretended: list[Pretended], painting: Path, astronaut: Path
) -> None:
    image = client.upload(astronaut)
    begin(client, client.upload(painting), content=[image["id"]])
    pretended[0].give(learned(), 0)
    until(lambda: len(pretended[0].offered) == 1)
    until(lambda: client.delete(f"/api/uploads/{image['id']}").is_success)
    client.post("/api/learning/reset")
    client.post("/api/learning/content", json={"content": [client.upload(painting)["id"]]})
    until(lambda: len(pretended[0].offered) == 2)


def test_learning_that_does_not_end_delays_the_end_of_the_studio_by_seconds_at_most(
    two_styles: StyleModel, pretended: list[Pretended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_learning, "_CLOSE_SECONDS", 0.05)
    learning = StudioLearning(StyleSet(two_styles))
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    learning.begin("me", "noise", noise)
    pretended[0].slow = True
    learning.close()
    assert not pretended[0].closing.is_set()
    assert not learning.is_learning


def test_known_styles_are_offered_once_each_the_newest_first(
    two_styles: StyleModel, pretended: list[Pretended], monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library()
    for number, name in enumerate(("old", "night", "old", "last")):
        library.keep(f"{number}", learned(name, key=f"{number}", number=number))
        time.sleep(0.01)  # the time of a file tells which is newer
    library.keep("none", learned("foreign"))
    styles = StyleSet(two_styles)
    monkeypatch.setattr(web_learning, "_MOST_KNOWN", 3)
    StudioLearning(styles, library=library).offer_known()
    assert styles.names == ["waves", "night", "last", "old", "night_2"]
    numbers = [model.training["number"] for model in styles.models(styles.names[2:])]
    assert numbers == [3, 2, 1]


def test_frames_of_an_album_are_bounded(
    monkeypatch: pytest.MonkeyPatch, client: Client, pretended: list[Pretended], painting: Path
) -> None:
    monkeypatch.setattr(content, "MOST", 1)
    album = client.post("/api/uploads?kind=album").json()
    for _ in range(3):
        client.post(f"/api/uploads/{album['id']}/photos", content=painting.read_bytes())
    begin(client, client.upload(painting), content=[album["id"]])
    pretended[0].give(learned(), 0)
    until(lambda: pretended[0].offered)
    time.sleep(0.1)
    assert len(pretended[0].offered) == 1


def test_request_keeps_its_key_under_another_name(
    client: Client, shared: SharedStylizer, pretended: list[Pretended], painting: Path
) -> None:
    begin(client, client.upload(painting, name="%E6%97%A5%E6%9C%AC.jpg"))
    pretended[0].give(learned(), 0)
    assert shared.style_set.names[-1] == "style"
    begin(client, client.upload(painting, name="same.jpg"))
    keys = {each.request.key for each in pretended}
    assert len(keys) == 1
    assert pretended[1].request.name == "style"
    assert LearningRequest.of(painting).key in keys  # as the command line has it


def test_large_style_image_has_the_key_that_its_file_has(
    client: Client, pretended: list[Pretended], tmp_path: Path
) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    large = Image.fromarray(levels).resize((1600, 1200), Image.Resampling.BICUBIC)
    large.save(file := tmp_path / "large.png")
    begin(client, client.upload(file))
    assert pretended[0].request.images[0].shape == (768, 1024, 3)
    assert pretended[0].request.key == LearningRequest.of(file).key
