"""Learning a style in the studio: what visitors may ask for, and what becomes of it."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import write_clip
from learnings import Pretended, begin, learned, state
from PIL import Image
from visitors import JPEG, Client, settings, until

from nst_rt.infer.blend import StyleSet
from nst_rt.infer.web import learning as web_learning
from nst_rt.infer.web.app import create_app
from nst_rt.infer.web.learning import StudioLearning
from nst_rt.infer.web.stylizers import SharedStylizer
from nst_rt.learning.library import Library
from nst_rt.models.style_model import StyleModel


@pytest.mark.slow
def test_style_image_is_learned_live_and_offered_by_the_next_studio(
    growing: SharedStylizer,
    two_styles: StyleModel,
    painting: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stylized(socket: Any) -> bytes:
        socket.send_bytes(JPEG)
        while (answer := socket.receive()).get("bytes") is None:
            assert "error" not in json.loads(answer["text"])
        return bytes(answer["bytes"])

    monkeypatch.setenv("NST_RT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("nst_rt.infer.learning.process._PATIENCE", 120.0)  # on a slow machine, too
    app = create_app(growing, settings(tmp_path, fps=0, user_library=True))
    with Client(app) as client, client.live() as socket:
        socket.send_json({"styles": {"waves": 1}})
        waves = stylized(socket)
        assert state(client) == {}
        image = client.upload(painting)
        now = begin(client, painting, "My Swirls.jpg", style_size=128, content=[image["id"]])
        assert (now["title"], now["style_size"], now["style_weight"]) == ("My Swirls", 128, 8)
        assert until(lambda: now["style"] or state(client)["style"]) == "my_swirls"
        socket.send_json({"styles": {"my_swirls": 1}})
        assert until(lambda: stylized(socket) != waves)
        better = until(lambda: (found := state(client))["revision"] and found)
        assert better["state"] == "learning"
        assert better["crops"] >= 2
        assert growing.style_set.version >= 1
        paused = client.post("/api/learning/pause").json()["learning"]
        assert paused["state"] == "paused"
        assert client.post("/api/learning/continue").json()["learning"]["state"] == "learning"
        kept = client.post("/api/learning/keep").json()["learning"]
        assert kept["state"] == "learned"
        assert kept["crops"] >= better["crops"]
        figures = until(lambda: state(client)["figures"])
        assert until(lambda: [style.record.get("figures") for style in Library()]) == [figures]

    # Another studio has it; the same image then is that style, which need not be learned again.
    later = SharedStylizer(two_styles, backend="openvino")
    app = create_app(later, settings(tmp_path / "later", fps=0, user_library=True))
    with Client(app) as client:
        styles = {each["name"]: each for each in client.get("/api/studio").json()["styles"]}
        assert styles["my_swirls"]["title"] == "My Swirls"
        assert styles["my_swirls"]["preview"]
        now = begin(client, painting, style_size=128)
        assert (now["state"], now["style"], now["title"]) == ("learned", "my_swirls", "swirls")
        assert now["figures"] == figures
        assert later.style_set.names == ["waves", "night", "my_swirls"]


def test_what_cannot_be_learned_is_refused_in_a_line(
    learner: Client, pretended: list[Pretended], painting: Path, tmp_path: Path
) -> None:
    image = learner.upload(painting)["id"]
    plain, small = tmp_path / "plain.png", tmp_path / "small.png"
    Image.new("RGB", (80, 80), "teal").save(plain)
    noise = np.random.default_rng(0).integers(0, 256, (30, 30, 3), np.uint8)
    Image.fromarray(noise).save(small)
    video = learner.upload(write_clip(tmp_path / "clip.mp4"), "video")["id"]
    for asked, word in (
        ({"image": "none"}, "no longer here"),
        ({"image": None}, "no longer here"),
        ({"image": video}, "expected image"),
        ({"image": learner.upload(plain)["id"]}, "plain"),
        ({"image": learner.upload(small)["id"]}, "30x30"),
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
        assert word in learner.error(400, "POST", "/api/learning", json=asked), asked
    for action in web_learning.ACTIONS:
        assert "choose" in learner.error(400, "POST", f"/api/learning/{action}")
    learner.error(404, "POST", "/api/learning/explode")
    learner.error(413, "POST", "/api/learning", content=b" " * 70_000)
    learner.error(403, "POST", "/api/learning", headers={"Origin": "http://elsewhere"})
    assert (pretended, state(learner)) == ([], {})


def test_learning_belongs_to_its_visitor(
    growing: SharedStylizer,
    pretended: list[Pretended],
    painting: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = create_app(growing, settings(tmp_path, token="correct horse"))
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
        begin(me, painting)
        pretended[0].give(learned(), 0)
        assert state(other) == {}
        for path in ("keep", "end", "content"):
            other.error(400, "POST", f"/api/learning/{path}", json={})
        assert "another" in other.error(429, "POST", "/api/learning", json={"image": theirs["id"]})
        # The style itself is there for everyone.
        assert "swirls" in [each["name"] for each in other.get("/api/studio").json()["styles"]]
        assert "swirls" in other.get("/api/jobs").json()["styles"]
        monkeypatch.setattr(web_learning, "_ATTENDED_SECONDS", 0.0)  # the page was closed
        begin(other, painting)
        assert state(me) == {}
        assert until(pretended[0].closing.is_set)
        assert len(pretended) == 2


def test_better_weights_replace_the_style_under_its_title(
    learner: Client,
    growing: SharedStylizer,
    pretended: list[Pretended],
    painting: Path,
    tmp_path: Path,
) -> None:
    styles = growing.style_set
    first = begin(learner, painting, "The Waves.jpg")
    assert (first["state"], first["style"], first["preview"][:5]) == ("starting", None, "UklGR")
    assert pretended[0].request.name == "the_waves"
    pretended[0].give(learned("a"), 0)
    pretended[0].give(learned("b"), 480)
    now = state(learner)
    assert (now["style"], now["crops"], now["rate"]) == ("the_waves", 480, 3.1)
    assert now["figures"] is None
    assert now["revision"] == styles.version == 1
    [shown] = [
        each for each in learner.get("/api/studio").json()["styles"] if each["name"] == "the_waves"
    ]
    assert shown["preview"] == now["preview"]
    # In a process of its own, a video finds the style by the name that is in its file.
    assert styles.models(["the_waves"])[0].style_names == ["the_waves"]

    # Another stroke size takes the place of the first one, whose last words count no more.
    again = learner.post("/api/learning", json={"style_size": 320, "style_weight": 4})
    now = again.json()["learning"]
    assert (now["style"], now["style_size"], now["style_weight"]) == ("the_waves", 320, 4)
    assert until(pretended[0].closing.is_set)
    pretended[0].give(learned("late"), 500)
    assert styles.version == 1
    pretended[1].give(learned("c"), 0)
    assert (styles.version, styles.names) == (2, ["waves", "night", "the_waves"])

    # Another image of that name is another style, and the one before stays.
    other = begin(learner, painting.with_name("mosaic.jpg"), "the waves.png")
    pretended[2].give(learned("d"), 0)
    assert state(learner)["style"] == "the_waves_2"
    assert other["title"] == "the waves"
    assert styles.names == ["waves", "night", "the_waves", "the_waves_2"]
    for action, becomes in (("pause", "paused"), ("continue", "learning"), ("keep", "learned")):
        now = learner.post(f"/api/learning/{action}").json()["learning"]
        assert now["state"] == becomes
    assert now["figures"] == {"strokes": 0.5}
    [kept] = Library(tmp_path / "results" / "learned")
    assert (kept.name, kept.model.styles[0].title) == ("the_waves_2", "the waves")
    assert kept.model.styles[0].preview
    for action in ("continue", "reset"):
        now = learner.post(f"/api/learning/{action}").json()["learning"]
        assert now["state"] == "learning"
    assert learner.post("/api/learning/end").json()["learning"] is None
    assert "the_waves_2" in styles.names


def test_same_image_with_the_same_settings_goes_on(
    learner: Client, growing: SharedStylizer, pretended: list[Pretended], painting: Path
) -> None:
    image = learner.upload(painting.with_name("mosaic.jpg"))["id"]
    begin(learner, painting, "one.jpg")
    pretended[0].give(learned(), 0)
    pretended[0].give(learned(), 480)
    now = begin(learner, painting, "other.jpg", content=[image])
    assert (now["style"], now["title"], now["crops"]) == ("one", "one", 480)
    until(lambda: len(pretended[0].offered) == 1)
    learner.post("/api/learning/pause")
    assert begin(learner, painting)["state"] == "paused"
    fine, fitting, coarse = state(learner)["style_sizes"]
    assert fine < fitting < coarse
    for asked in ({}, {"style_size": None}, {"style_size": fitting}):
        same = learner.post("/api/learning", json=asked).json()["learning"]
        assert (same["state"], same["style_size"]) == ("paused", fitting)
    assert len(pretended) == 1

    # After another image it is begun again; what the first process still sends is late.
    begin(learner, painting.with_name("mosaic.jpg"))
    pretended[1].give(learned(), 0)
    assert begin(learner, painting)["style"] == "one"
    pretended[2].give(learned(figures={"strokes": 0.25}), 490)  # from the library
    assert state(learner)["figures"] == {"strokes": 0.25}
    version = growing.style_set.version
    pretended[0].give(learned(figures={"strokes": 0.75}), 480)
    assert growing.style_set.version == version
    assert growing.style_set.names == ["waves", "night", "one", "mosaic"]
    pretended[2].state = "failed"
    begin(learner, painting)
    assert len(pretended) == 4


def test_failure_is_told_without_paths_and_a_full_disk_stops_nothing(
    learner: Client,
    pretended: list[Pretended],
    painting: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    begin(learner, painting)
    assert "yet" in learner.error(400, "POST", "/api/learning/keep")
    problem = f"the process has ended (OSError: {tmp_path}/libgomp.so)"
    with caplog.at_level(logging.WARNING):
        pretended[0].fail(problem)
    assert problem in caplog.text
    now = state(learner)
    assert (now["state"], now["style"]) == ("failed", None)
    assert "could not be learned" in now["text"]
    assert str(tmp_path) not in json.dumps(now)

    begin(learner, painting)
    pretended[1].give(learned(), 0)
    (tmp_path / "results" / "learned").write_text("not a folder")
    with caplog.at_level(logging.WARNING):
        assert learner.post("/api/learning/keep").json()["learning"]["state"] == "learned"
    assert "cannot be kept" in caplog.text


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
