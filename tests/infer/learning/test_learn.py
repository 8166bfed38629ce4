"""Learning a style with a real process; with little to learn, and for seconds."""

import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from blends import small_network
from PIL import Image
from visitors import until

import nst_rt
from nst_rt.errors import InputError, InterruptedWorkError
from nst_rt.images.io import Frame
from nst_rt.infer.learning import content, learn
from nst_rt.infer.learning.feeder import Feeder
from nst_rt.infer.learning.learn import COMPLETE, Learning, learn_style, learned
from nst_rt.infer.learning.process import LearningError, LearningProcess
from nst_rt.infer.stylizer import Stylizer, load_style
from nst_rt.learning.library import Library
from nst_rt.learning.messages import Begin, Command, Update
from nst_rt.models.style_model import Style, StyleModel

pytestmark = pytest.mark.slow

INK = Path(__file__).parents[3] / "nst_rt/assets/styles/ink.jpg"
SHORT = 0.02  # minutes: few steps
Call = tuple[float, float | None, str]


@pytest.fixture(scope="module")
def small(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo so small that no time is spent on the stability of its style."""
    file = tmp_path_factory.mktemp("small") / "coffee.png"
    Image.open(photos / "coffee.png").resize((240, 160)).save(file)
    return file


@pytest.fixture(autouse=True)
def no_other_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "packaged_photos", list)


@pytest.fixture(scope="module")
def known(small: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Library, StyleModel]:
    """A library, and the style that it has."""
    library = Library(tmp_path_factory.mktemp("known"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content, "packaged_photos", list)
        model = learned(learning(), content.frames_of_photos([small]), library=library)
    return library, model


class Once:
    """Progress that calls a function the first time."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._functions = [function]

    def __call__(self, done: float, total: float | None, note: str) -> None:
        while self._functions:
            self._functions.pop()()


def learning(**options: Any) -> Learning:
    return Learning.of(INK, **{"minutes": SHORT, "start_from": "udnie", **options})


def next_update(process: LearningProcess, wanted: Callable[[Update], bool]) -> Update:
    """The next update of a kind."""
    for _ in range(100):
        update = process.wait(60)
        assert update is not None
        if wanted(update):
            return update
    raise AssertionError("no such update")


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("nothing is to be learned")

    monkeypatch.setattr(learn, "LearningProcess", fail)


def test_style_is_learned_and_kept(known: tuple[Library, StyleModel], small: Path) -> None:
    library, model = known
    assert model.style_names == ["ink"]
    assert model.training["crops"] > 0
    assert model.training[COMPLETE]
    assert model.training["figures"]["contrast"] > 0
    [kept] = library
    assert kept.name == "ink"
    assert kept.record == model.training
    frame = np.asarray(Image.open(small))[..., ::-1].copy()
    ink = Stylizer(model, "ink", backend="torch", precision="f32")(frame)
    assert ink.shape == frame.shape
    of_file = Stylizer(kept.model, "ink", backend="torch", precision="f32")(frame)
    np.testing.assert_array_equal(of_file, ink)
    start = load_style("udnie", backend="torch", precision="f32")(frame)
    assert np.abs(ink.astype(int) - start).mean() > 1


@pytest.mark.usefixtures("no_process")
def test_known_style_is_there_at_once(
    known: tuple[Library, StyleModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, model = known
    monkeypatch.setattr(learn, "Library", lambda: library)
    file = tmp_path / "ink.safetensors"
    again = learn_style(INK, start_from="udnie", save_style=file)
    assert again.training == model.training
    assert StyleModel.load(file).training == model.training
    stylizer = nst_rt.load_style(style_image=INK, start_from="udnie", backend="torch")
    assert stylizer.blend == {"ink": 1.0}


def test_more_minutes_go_on(known: tuple[Library, StyleModel], small: Path) -> None:
    library, model = known
    calls: list[Call] = []
    more = learned(
        learning(),
        content.frames_of_photos([small]),
        library=library,
        progress=lambda *call: calls.append(call),
    )
    assert more.training["crops"] > model.training["crops"]
    assert [done for done, _, _ in calls] == sorted(done for done, _, _ in calls)
    assert {total for _, total, _ in calls} == {1}


def test_interrupted_learning_is_kept(small: Path, tmp_path: Path) -> None:
    library = Library(tmp_path / "learned")
    file = tmp_path / "ink.safetensors"

    def interrupt(done: float, total: float | None, note: str) -> None:
        if "crops" in note and "learning: 0" not in note:
            signal.raise_signal(signal.SIGINT)

    wanted = learning(minutes=5, save_style=file, preview=tmp_path / "preview.jpg")
    frames = content.frames_of_photos([small])
    with pytest.raises(InterruptedWorkError):
        learned(wanted, frames, library=library, progress=interrupt)
    [kept] = library
    assert kept.record["crops"] > 0
    assert not kept.record[COMPLETE]
    assert wanted.needs_more(kept.model)  # the same call goes on
    assert Learning.of(INK, start_from="udnie").needs_more(kept.model)
    assert not file.exists()  # it is not complete
    assert not (tmp_path / "preview.jpg").exists()


def test_interruption_at_once_is_one_too(small: Path, tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        threading.Timer(0.5, signal.raise_signal, [signal.SIGINT]).start()

    library = Library(tmp_path / "learned")
    frames = content.frames_of_photos([small])
    with pytest.raises(InterruptedWorkError, match="nothing"):
        learned(learning(minutes=5), frames, library=library, progress=Once(interrupt))
    assert list(library) == []


@pytest.mark.usefixtures("no_process")
def test_same_image_has_another_name(known: tuple[Library, StyleModel], tmp_path: Path) -> None:
    library, _ = known
    file = tmp_path / "blots.jpg"
    file.write_bytes(INK.read_bytes())
    wanted = Learning.of(file, start_from="udnie")
    again = learned(wanted, (), library=library)
    assert again.style_names == ["blots"]
    [kept] = library
    assert again.training == kept.record


@pytest.mark.usefixtures("no_process")
def test_resumed_work_learns_no_further(known: tuple[Library, StyleModel]) -> None:
    library, _ = known
    [kept] = library
    assert learned(learning(resumes=True), (), library=library).training == kept.record


def test_style_is_kept_though_its_figures_fail(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LearningProcess, "finish", lambda *_: None)
    library = Library(tmp_path / "learned")
    wanted = learning(minutes=0.2)
    model = learned(wanted, content.frames_of_photos([small]), library=library)
    [kept] = library
    assert kept.record[COMPLETE]
    assert kept.record["crops"] == model.training["crops"] > 0


def test_full_disk_costs_nothing_but_the_library(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    library = Library(tmp_path / "learned")
    monkeypatch.setattr(StyleModel, "save", full)
    model = learned(learning(), content.frames_of_photos([small]), library=library)
    assert model.training["crops"] > 0
    assert list(library) == []


def test_nothing_to_learn_on_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="photos"):
        learned(learning(), (), library=Library(tmp_path))


def test_frames_of_one_color_are_an_error(tmp_path: Path) -> None:
    black = np.zeros((100, 100, 3), np.uint8)
    with pytest.raises(InputError, match="color"):
        learned(learning(), [black] * 3, library=Library(tmp_path))


def test_error_of_the_frames_is_raised(tmp_path: Path) -> None:
    def frames() -> Iterator[Frame]:
        raise InputError("a broken album")
        yield

    with pytest.raises(InputError, match="album"):
        learned(learning(), frames(), library=Library(tmp_path))


def test_process_pauses_resets_and_ends(small: Path) -> None:
    frame = np.asarray(Image.open(small))[..., ::-1].copy()
    process = LearningProcess(Begin(learning().request, preview=True, settles=False))
    first = process.wait(60)
    assert first is not None
    assert first.model is not None
    assert first.crops == 0
    process.show(frame)
    update = next_update(process, lambda update: update.crops > 0)
    assert update.model is not None
    assert update.preview is not None
    process.tell(Command.RESET)
    next_update(process, lambda update: update.crops == 0 and update.model is not None)
    process.tell(Command.PAUSE)
    while process.wait(5) is not None:  # a step may be under way
        pass
    process.tell(Command.CONTINUE)
    next_update(process, lambda update: update.crops > 0)
    last = process.finish()
    assert last is not None
    assert last.is_last
    assert last.model is not None
    assert last.figures is not None
    process.close()
    assert process.failure is None


def test_process_that_is_killed_is_reported(tmp_path: Path) -> None:
    failed = threading.Event()
    process = LearningProcess(Begin(learning().request), on_failure=lambda _: failed.set())
    os.kill(process._process.pid, signal.SIGKILL)
    assert failed.wait(30)
    with pytest.raises(LearningError, match="9"):
        process.wait(30)
    process.show(np.zeros((20, 20, 3), np.uint8))  # harmless
    process.close()


def test_unknown_device_is_reported() -> None:
    process = LearningProcess(Begin(learning().request, device="cuda:77"))
    with pytest.raises(LearningError):
        process.wait(60)
    process.close()


@pytest.mark.parametrize(
    "options",
    [
        {"minutes": 0},
        {"minutes": -1},
        {"minutes": float("inf")},
        {"photos": "missing"},
        {"photos": INK},
        {"save_style": "style.jpg"},
        {"start_from": "missing"},
    ],
)
def test_bad_options_are_errors(options: dict[str, Any]) -> None:
    with pytest.raises(nst_rt.StyleTransferError):
        Learning.of(INK, **options)


def test_existing_model_file_is_replaced_only_if_wanted(tmp_path: Path) -> None:
    file = tmp_path / "ink.safetensors"
    file.touch()
    with pytest.raises(nst_rt.StyleTransferError):
        Learning.of(INK, save_style=file)
    Learning.of(INK, save_style=file, overwrite=True)
    key = Learning.of(INK).request.key
    StyleModel(small_network(), (Style("ink"),), {"key": key}).save(file, overwrite=True)
    Learning.of(INK, save_style=file)  # an earlier one of the same image


def test_existing_preview_is_never_replaced(tmp_path: Path) -> None:
    file = tmp_path / "preview.jpg"
    file.touch()
    with pytest.raises(nst_rt.StyleTransferError):
        Learning.of(INK, preview=file, overwrite=True)


def test_devices_that_pytorch_does_not_know_stand_for_the_fastest() -> None:
    assert [learn.torch_name(name) for name in ("cpu", "gpu", "NPU", None)] == ["cpu"] + 3 * [None]


def test_options_need_a_style_image_and_exclude_a_style() -> None:
    for options in ({"minutes": 1}, {"style": "udnie", "style_image": INK}):
        with pytest.raises(InputError):
            nst_rt.load_style(**options)  # type: ignore[arg-type]


def test_content(photos: Path, small: Path, tmp_path: Path) -> None:
    album = tmp_path / "album"
    album.mkdir()
    for name in "abc":
        Image.open(small).save(album / f"{name}.png")
    (album / "d.png").write_text("no image")
    assert len(list(content.frames_of_photos([album]))) == 3
    assert len(list(content.frames_of_photos([album, small]))) == 4
    assert len(list(content.with_photos(content.frames_of_photos([small]), album))) == 4
    assert len(list(content.photo_frames(content.find_photos(album), 2))) == 2
    assert len(list(content.other_photos(album))) == 3
    assert list(content.other_photos(None)) == []


def test_frames_and_others_take_turns() -> None:
    own, other = np.zeros((4, 4, 3), np.uint8), np.ones((4, 4, 3), np.uint8)
    process = mock.Mock()
    feeder = Feeder(process, [own, own], [other] * 3)
    assert until(lambda: feeder.is_done)
    feeder.check()
    shown = [(call.args[0].max(), call.kwargs["is_other"]) for call in process.show.mock_calls]
    assert shown == [(0, False), (1, True), (0, False), (1, True), (1, True)]
    assert feeder.shown == 5
