"""Learned styles in the studio: their names and keys, how many there are, and where they stay."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learnings import Pretended, begin, learned, state
from PIL import Image
from visitors import JPEG, Client, settings

from nst_rt.infer.blend import StyleSet
from nst_rt.infer.web import learning as web_learning
from nst_rt.infer.web.app import create_app
from nst_rt.infer.web.learning import StudioLearning
from nst_rt.infer.web.stylizers import SharedStylizer
from nst_rt.learning.library import Library
from nst_rt.learning.request import LearningRequest
from nst_rt.models.style_model import StyleModel


def test_known_styles_are_offered_once_each_the_newest_first(
    two_styles: StyleModel, pretended: list[Pretended], monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library()
    for number, name in enumerate(("old", "night", "old", "Waves, v2: blue")):
        library.keep(f"{number}", learned(name, key=f"{number}", number=number))
        time.sleep(0.01)  # the time of a file tells which is newer
    library.keep("none", learned("foreign"))
    styles = StyleSet(two_styles)
    monkeypatch.setattr(web_learning, "_MOST_STYLES", 3)
    studio = StudioLearning(styles, library=library)
    studio.offer_known()
    # Names that addresses can have.
    assert styles.names == ["waves", "night", "waves_v2_blue", "old", "night_2"]
    assert styles.styles["waves_v2_blue"].title == "Waves, v2: blue"
    numbers = [model.training["number"] for model in styles.models(styles.names[2:])]
    assert numbers == [3, 2, 1]
    # A new one takes the place of the oldest.
    studio.begin("me", "new", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    pretended[0].give(learned(), 0)
    assert styles.names == ["waves", "night", "waves_v2_blue", "old", "new"]
    studio.close()


def test_oldest_of_too_many_learned_styles_is_removed_and_stays_on_the_screen(
    learner: Client,
    growing: SharedStylizer,
    pretended: list[Pretended],
    painting: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def learn(name: str, **asked: Any) -> None:
        begin(learner, painting.with_name(f"{name}.jpg"), **asked)
        pretended[-1].give(learned(), 0)

    def names() -> list[str]:
        shown: list[str] = learner.get("/api/jobs").json()["styles"]
        return shown[2:]

    def answers(socket: Any) -> bool:
        socket.send_bytes(JPEG)
        while (answer := socket.receive()).get("bytes") is None:
            assert "error" not in json.loads(answer["text"])
        return True

    monkeypatch.setattr(web_learning, "_MOST_STYLES", 2)
    learn("swirls")
    with learner.live() as socket:
        socket.send_json({"styles": {"swirls": 1}})
        assert answers(socket)
        learn("mosaic")
        assert names() == ["swirls", "mosaic"]
        for size in (256, 320):  # the same style still
            learner.post("/api/learning", json={"style_size": size})
            pretended[-1].give(learned(), 0)
        assert names() == ["swirls", "mosaic"]
        begin(learner, painting.with_name("ink.jpg"))
        assert names() == ["mosaic"]  # one is removed at the start
        assert answers(socket)
        socket.send_json({"styles": {"swirls": 0.5, "waves": 0.5}})
        answer = socket.receive_json()
        assert "swirls" in answer["error"]
        assert answers(socket)
    pretended[0].give(learned(), 500)  # which comes late
    pretended[-1].fail("no memory")
    learn("ink")  # what failed does not count
    assert names() == ["mosaic", "ink"]
    learn("swirls")
    assert names() == ["ink", "swirls"]
    assert growing.style_set.names == ["waves", "night", "ink", "swirls"]


@pytest.mark.parametrize("user_library", [False, True])
def test_only_a_studio_of_its_user_alone_uses_the_library_of_the_user(
    user_library: bool,
    two_styles: StyleModel,
    pretended: list[Pretended],
    painting: Path,
    tmp_path: Path,
) -> None:
    offered = []
    for _ in range(2):
        shared = SharedStylizer(two_styles, backend="openvino")
        app = create_app(shared, settings(tmp_path, fps=0, user_library=user_library))
        with Client(app) as client:
            offered.append(client.get("/api/jobs").json()["styles"][2:])
            assert client.jobs == []  # the folder of the library is no result
            begin(client, painting)
            pretended[-1].give(learned(), 0)
            client.post("/api/learning/keep")
            assert client.get("/api/jobs").json()["styles"][2:] == ["swirls"]
    assert offered == [[], ["swirls"] if user_library else []]
    libraries = Library(), Library(tmp_path / "results" / "learned")
    assert [len(list(library)) for library in libraries] == [user_library, not user_library]


def test_request_keeps_its_key_under_another_name(
    learner: Client, growing: SharedStylizer, pretended: list[Pretended], painting: Path
) -> None:
    begin(learner, painting, "%E6%97%A5%E6%9C%AC.jpg")
    pretended[0].give(learned(), 0)
    assert growing.style_set.names[-1] == "style"
    learner.post("/api/learning/end")
    begin(learner, painting, "same.jpg")
    keys = {each.request.key for each in pretended}
    assert len(keys) == 1
    assert pretended[1].request.name == "style"
    assert state(learner)["title"] == "same"
    assert LearningRequest.of(painting).key in keys  # as the command line has it


def test_large_style_image_has_the_key_that_its_file_has(
    learner: Client, pretended: list[Pretended], tmp_path: Path
) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    large = Image.fromarray(levels).resize((1600, 1200), Image.Resampling.BICUBIC)
    large.save(file := tmp_path / "large.png")
    begin(learner, file)
    assert pretended[0].request.images[0].shape == (768, 1024, 3)
    assert pretended[0].request.key == LearningRequest.of(file).key
