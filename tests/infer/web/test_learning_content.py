"""What a style is learned on in the studio: a visitor's uploads and the frames of their camera."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from clips import write_clip
from learnings import Pretended, begin, learned
from visitors import JPEG, Client, until

from nst_rt.images.io import Frame
from nst_rt.infer.web.work import content
from nst_rt.infer.web.work.content import Content, Feeding


def feeding_threads() -> int:
    return sum(thread.name == "studio content" for thread in threading.enumerate())


def one_frame(value: int) -> Content:
    """Content of one frame that has this value everywhere."""

    def give() -> Iterator[Frame]:
        yield np.full((1, 1, 3), value, np.uint8)

    return give


def test_images_videos_and_frames_of_the_camera_are_learned_on(
    learner: Client, pretended: list[Pretended], painting: Path, astronaut: Path, tmp_path: Path
) -> None:
    image = learner.upload(astronaut)
    video = learner.upload(write_clip(tmp_path / "clip.mp4", size=(64, 48)), "video")
    album = learner.post("/api/uploads?kind=album").json()
    for _ in range(2):
        learner.post(f"/api/uploads/{album['id']}/photos", content=painting.read_bytes())
    begin(learner, painting, content=[image["id"]])
    learning = pretended[0]
    assert learning.offered == []  # before it has begun, frames would be lost
    learning.give(learned(), 0)

    def shapes() -> set[tuple[int, ...]]:
        return {frame.shape for frame in learning.offered}

    until(lambda: shapes() == {(512, 512, 3)})
    more = {"content": [album["id"], video["id"]]}
    assert learner.post("/api/learning/content", json=more).status_code == 200
    until(lambda: (48, 64, 3) in shapes())
    assert len(shapes()) == 3
    until(lambda: len(learning.offered) >= 1 + 2 + 2)
    with learner.live() as socket:
        count = len(learning.offered)
        while len(learning.offered) < count + 20:  # more than the video has
            socket.send_bytes(JPEG)
            while socket.receive().get("bytes") is None:
                pass
    learning.offered.clear()
    learner.post("/api/learning/reset")  # its process has seen nothing
    until(lambda: len(shapes()) == 3)


def test_content_that_was_removed_is_left_out(
    learner: Client, pretended: list[Pretended], painting: Path, astronaut: Path
) -> None:
    image = learner.upload(astronaut)
    begin(learner, painting, content=[image["id"]])
    pretended[0].give(learned(), 0)
    until(lambda: len(pretended[0].offered) == 1)
    until(lambda: learner.delete(f"/api/uploads/{image['id']}").is_success)
    learner.post("/api/learning/reset")
    learner.post("/api/learning/content", json={"content": [learner.upload(painting)["id"]]})
    until(lambda: len(pretended[0].offered) == 2)


def test_frames_of_an_album_are_bounded(
    learner: Client,
    pretended: list[Pretended],
    painting: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(content, "MOST", 1)
    album = learner.post("/api/uploads?kind=album").json()
    for _ in range(3):
        learner.post(f"/api/uploads/{album['id']}/photos", content=painting.read_bytes())
    after = learner.upload(write_clip(tmp_path / "clip.mp4", size=(64, 48)), "video")
    begin(learner, painting, content=[album["id"], after["id"]])
    pretended[0].give(learned(), 0)

    def shapes() -> list[tuple[int, ...]]:
        return [frame.shape for frame in pretended[0].offered]

    until(lambda: (48, 64, 3) in shapes())
    assert shapes().index((48, 64, 3)) == 1


def test_content_that_is_sent_again_and_again_in_a_pause_is_shown_once_by_one_thread(
    learner: Client, pretended: list[Pretended], painting: Path, astronaut: Path, tmp_path: Path
) -> None:
    until(lambda: feeding_threads() == 0)  # those of other tests
    image, other = learner.upload(astronaut)["id"], learner.upload(painting)["id"]
    video = learner.upload(write_clip(tmp_path / "clip.mp4", size=(64, 48)), "video")["id"]
    begin(learner, painting, content=[video])
    pretended[0].give(learned(), 0)
    until(lambda: pretended[0].offered)
    learner.post("/api/learning/pause")
    for _ in range(20):
        learner.post("/api/learning/content", json={"content": [image, image, video]})
    assert feeding_threads() == 1
    # What waits in a pause is not in use, and may be removed.
    until(lambda: learner.delete(f"/api/uploads/{video}").is_success)
    learner.post("/api/learning/content", json={"content": [image, other]})
    learner.post("/api/learning/continue")

    def count(width: int) -> int:
        return sum(frame.shape[1] == width for frame in pretended[0].offered)

    until(lambda: any(frame.shape[1] not in (64, 512) for frame in pretended[0].offered))
    assert count(512) == 1
    learner.post("/api/learning/end")
    until(lambda: feeding_threads() == 0)


def test_oldest_of_too_much_content_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "MAX_CONTENT", 3)
    monkeypatch.setattr(content, "_FEED_SECONDS", 0.01)
    shown: list[int] = []
    learning: Any = SimpleNamespace(
        state="paused", offer=lambda frame: shown.append(int(frame[0, 0, 0]))
    )
    feeding = Feeding(learning, {"1": one_frame(1), "2": one_frame(2)})
    feeding.add({"1": one_frame(1)})  # which is the newest then
    feeding.add({"3": one_frame(3), "4": one_frame(4)})
    assert list(feeding.content) == ["1", "3", "4"]
    learning.state = "learning"
    until(lambda: 4 in shown)
    feeding.again()
    until(lambda: shown == [1, 3, 4, 1, 3, 4])
    feeding.end()
