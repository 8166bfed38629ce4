"""A style that is learned while frames are stylized in it, by real processes."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from windows import PATIENCE, wait_for

from nst_rt.images.io import Frame
from nst_rt.infer.blend import StyleSet
from nst_rt.infer.learning.learn import COMPLETE, Learning
from nst_rt.infer.learning.live import LiveLearning
from nst_rt.infer.learning.process import LearningError, LearningProcess
from nst_rt.learning.library import Library
from nst_rt.models.merge import with_styles
from nst_rt.models.style_model import StyleModel, gallery_files

Started = Callable[..., LiveLearning]


@pytest.fixture(scope="module")
def frames(film: Path) -> list[Frame]:
    capture = cv2.VideoCapture(str(film))
    read = [np.asarray(cv2.resize(capture.read()[1], (480, 270)), np.uint8) for _ in range(20)]
    capture.release()
    return read


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "learned")


@pytest.fixture
def styles() -> StyleSet:
    return StyleSet(StyleModel.load(gallery_files()["starry_night"]))


@pytest.fixture
def started(library: Library, styles: StyleSet) -> Iterator[Started]:
    """Begins to learn; all ends with the test."""
    begun: list[LiveLearning] = []

    def start(image: Path, **options: object) -> LiveLearning:
        wanted = Learning.of(image, **options)  # type: ignore[arg-type]
        begun.append(LiveLearning(wanted, styles, library=library))
        return begun[-1]

    yield start
    for each in begun:
        each.close()


def process_of(learning: LiveLearning) -> int:
    assert learning._feed is not None
    return learning._feed.process._process.pid


def processor_time(pid: int) -> float:
    """Seconds that a process has computed for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def one_of(model: StyleModel, record: dict[str, object]) -> StyleModel:
    """A model of its first style, under the name of the painting."""
    network = with_styles(model.network, [0])
    return replace(
        model, network=network, styles=(replace(model.styles[0], name="swirls"),), training=record
    )


@pytest.mark.slow
def test_style_gets_better_until_it_is_kept(
    started: Started, library: Library, styles: StyleSet, painting: Path, frames: list[Frame]
) -> None:
    learning = started(painting)
    assert (learning.state, learning.name) == ("starting", "swirls")
    assert learning.is_learning
    for frame in frames:
        learning.offer(frame)  # which nobody waits for
    first = learning.ready.result(PATIENCE)
    assert first.training["crops"] == 0
    pid = process_of(learning)

    def weights() -> np.ndarray:
        [each] = styles.passes(learning.name)
        return each.weights

    beginning = weights()
    [of_gallery] = styles.passes(first.training["start_from"])
    np.testing.assert_allclose(beginning, of_gallery.weights, rtol=2e-3, atol=1e-4)  # rounded
    wait_for(lambda: learning.crops or None, "crops")
    assert learning.state == "learning"
    wait_for(lambda: None if np.array_equal(weights(), beginning) else True, "better weights")
    assert styles.version > 0
    assert learning.rate > 0
    assert str(learning.crops) in str(learning)

    for task in Path(f"/proc/{pid}/task").iterdir():  # it delays no frames
        assert os.getpriority(os.PRIO_PROCESS, int(task.name)) >= 10

    learning.pause()
    assert (learning.state, learning.is_learning) == ("paused", False)

    def is_idle() -> bool | None:
        before = processor_time(pid)
        time.sleep(1)
        return processor_time(pid) - before < 0.1 or None

    wait_for(is_idle, "a pause")
    crops = learning.crops
    learning.resume()
    wait_for(lambda: learning.crops > crops or None, "more crops")

    learning.reset()
    assert learning.state == "learning"
    wait_for(lambda: np.array_equal(weights(), beginning) or None, "the first weights")
    wait_for(lambda: learning.crops or None, "crops")

    learning.keep()
    assert (learning.state, learning.is_learning) == ("learned", False)
    learning.close()
    assert not is_running(pid)
    known = library.find(learning.learning.request.key)
    assert known is not None
    assert known.training[COMPLETE]
    assert known.training["crops"] == learning.crops > 0
    assert known.training["figures"]["contrast"] > 0

    again = started(painting)  # at once, without a process
    assert again.state == "learned"
    assert again.ready.done()
    assert again._feed is None
    assert again.name == "swirls 2"  # beside the first one
    assert not again.is_learning


@pytest.mark.slow
def test_killed_process_leaves_the_last_weights(
    started: Started, library: Library, styles: StyleSet, painting: Path, tmp_path: Path
) -> None:
    """The style is known from an earlier session that was interrupted, and goes on."""
    file = tmp_path / "saved.safetensors"
    start = StyleModel.load(gallery_files()["starry_night"])
    wanted = Learning.of(painting)
    record = {"crops": 4, "seconds": 2.0, "start_from": "udnie", COMPLETE: False}
    library.keep(wanted.request.key, one_of(start, record))

    learning = started(painting, save_style=file)
    assert learning.ready.done()
    assert (learning.state, learning.crops) == ("learning", 4)
    assert learning.name in styles.names
    wait_for(lambda: learning.crops > 4 or None, "crops")
    os.kill(process_of(learning), signal.SIGKILL)
    wait_for(lambda: learning.state == "failed" or None, "the failure")
    assert "9" in learning.problem
    assert learning.problem in str(learning)
    crops = learning.crops
    assert styles.passes(learning.name)
    assert learning._feed is None
    learning.offer(np.zeros((64, 64, 3), np.uint8))
    learning.pause()
    learning.keep()
    assert learning.state == "failed"

    learning.resume()
    assert learning.state == "learning"
    pid = process_of(learning)
    learning.close()  # before it has begun
    assert not is_running(pid)
    kept = library.find(wanted.request.key)
    assert kept is not None
    assert 4 < kept.training["crops"] <= crops
    assert StyleModel.load(file).training["crops"] == kept.training["crops"]
    for nothing in (learning.resume, learning.reset, learning.close, learning.keep):
        nothing()
    assert learning._feed is None


@pytest.mark.slow
def test_minutes_end_the_learning_and_a_second_ctrl_c_the_measurement(
    started: Started,
    library: Library,
    painting: Path,
    frames: list[Frame],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learning = started(painting, minutes=0.01)
    learning.ready.result(PATIENCE)
    learning.offer(frames[0])
    wait_for(lambda: learning.state == "learned" or None, "the end")
    wait_for(lambda: library.find(learning.learning.request.key), "the style")
    learning.close()
    known = library.find(learning.learning.request.key)
    assert known is not None
    assert known.training[COMPLETE]

    further = started(painting, minutes=5, save_style=tmp_path / "saved.safetensors")
    assert further.state == "learning"  # it is known, and learned further
    wait_for(lambda: further.crops > known.training["crops"] or None, "crops")
    pid = process_of(further)

    def interrupted(process: LearningProcess) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LearningProcess, "finish", interrupted)
    further.close()
    assert not is_running(pid)
    kept = library.find(learning.learning.request.key)
    assert kept is not None
    assert kept.training["crops"] >= known.training["crops"]
    assert kept.training[COMPLETE]  # as before
    assert StyleModel.load(tmp_path / "saved.safetensors").style_names == ["swirls"]


@pytest.mark.parametrize("how", ["killed", "closed"])
def test_process_that_ends_before_the_first_style(
    started: Started, library: Library, painting: Path, how: str
) -> None:
    learning = started(painting)
    pid = process_of(learning)
    for nothing in (learning.pause, learning.resume, learning.keep, learning.reset):
        nothing()
    assert learning.state == "starting"
    if how == "killed":
        os.kill(pid, signal.SIGKILL)
    else:
        learning.close()
    assert isinstance(learning.ready.exception(PATIENCE), LearningError)
    if how == "killed":
        assert learning.state == "failed"
    learning.close()
    assert not is_running(pid)
    assert list(library) == []


def test_other_painting_of_the_same_name_is_another_style(
    library: Library, painting: Path, tmp_path: Path
) -> None:
    image = Path(shutil.copy(painting, tmp_path / "mine.jpg"))
    before = Learning.of(image)
    shutil.copy(painting.with_name("ink.jpg"), image)
    after = Learning.of(image)
    assert before.request.name == after.request.name == "mine"
    assert before.request.key != after.request.key
    start = StyleModel.load(gallery_files()["starry_night"])
    library.keep(before.request.key, one_of(start, {"crops": 4, COMPLETE: True}))
    assert not before.needs_more(before.known(library))
    assert after.needs_more(after.known(library))
