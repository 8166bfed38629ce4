"""Styles that visitors of a studio have it learn, without the process that learns."""

import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from blends import small_network
from visitors import PATIENCE, Client

from nst_rt.images.io import Frame
from nst_rt.infer.learning.learn import Learning
from nst_rt.infer.learning.process import LearningError
from nst_rt.infer.web.style_place import StylePlace, TitledLibrary
from nst_rt.models.style_model import Style, StyleModel


def learned(name: str = "x", **training: Any) -> StyleModel:
    """A style as a learning process sends it."""
    return StyleModel(small_network(styles=1), (Style(name),), training)


class Pretended:
    """Stands for `LiveLearning`, without a process."""

    made: list["Pretended"]

    def __init__(
        self, learning: Learning, styles: StylePlace, *, device: str | None, library: TitledLibrary
    ) -> None:
        self.request, self.styles, self.library = learning.request, styles, library
        self.name = styles.free_name(learning.request.name)
        self.state, self.problem = "starting", ""
        self.ready: Future[StyleModel] = Future()
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
        if self.ready.done():
            self.styles.replace(self.name, model)
        else:
            self.name = self.styles.add(model)[model.style_names[0]]
            self.ready.set_result(model)
        self.state, self.crops, self.rate = "learning", crops, 3.14

    def fail(self, problem: str) -> None:
        """End as the process may before it has sent a model."""
        self.state, self.problem = "failed", problem
        self.ready.set_exception(LearningError(problem))

    def offer(self, frame: Frame) -> None:
        self.offered.append(frame)

    def pause(self) -> None:
        self.state = "paused"

    def resume(self) -> None:
        self.state = "learning"

    def reset(self) -> None:
        self.crops = 0

    def keep(self) -> None:
        model = learned(key=self.request.key, figures={"strokes": 0.5})
        self.give(model, self.crops)
        self.library.keep(self.request.key, model)
        self.state = "learned"

    def close(self) -> None:
        if self.slow:
            assert self.closing.wait(PATIENCE)
        self.closing.set()


def begin(client: Client, image: Path, name: str = "", **asked: Any) -> dict[str, Any]:
    """Have a style image learned; returns the state of the learning."""
    upload = client.upload(image, name=name)
    answer = client.post("/api/learning", json={"image": upload["id"], **asked})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["learning"]
    return found


def state(client: Client) -> dict[str, Any]:
    """The state of the visitor's learning; empty if there is none."""
    return client.get("/api/learning").json()["learning"] or {}
