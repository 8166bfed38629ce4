"""Evaluation of a style model on photos."""

import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import Tensor

from nst_rt.errors import InputError, StyleTransferError, UnknownNameError
from nst_rt.images.collection import Photo, find_photos, is_held_out
from nst_rt.images.convert import frame_to_tensor, resize, tensor_to_frame
from nst_rt.images.io import load_image, save_image
from nst_rt.infer import packaged
from nst_rt.infer.backends import choice
from nst_rt.infer.evaluate import model as evaluate
from nst_rt.infer.evaluate.model import Evaluation, evaluate_model, fitted_frame, pan_photos
from nst_rt.infer.stylizer import Stylizer
from nst_rt.metrics.boldness import boldness, median_boldness
from nst_rt.metrics.quality import QualityObjective, quality_crop
from nst_rt.models.style_model import StyleModel


@pytest.fixture(scope="module")
def collection(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A damaged photo, then three small ones, of which training holds out the last."""
    folder = tmp_path_factory.mktemp("collection")
    (folder / "a.jpg").write_text("no image")
    for name, source in (("b", "coffee.png"), ("c", "chelsea.png"), (_held_out(), "rocket.jpg")):
        save_image(load_image(photos / source, size=90), folder / f"{name}.png")
    return folder


def _held_out() -> str:
    names = (f"z{number}" for number in range(1000))
    return next(name for name in names if is_held_out(Photo(Path(f"{name}.png"))))


@pytest.fixture(scope="module")
def steps() -> list[tuple[float, float | None, str]]:
    """What is reported of the progress."""
    return []


@pytest.fixture(scope="module")
def evaluation(
    model: Path, collection: Path, painting: Path, steps: list[tuple[float, float | None, str]]
) -> Evaluation:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "_MIN_SECONDS", 0.0)
        patch.setattr(evaluate, "_TIMED_SIZES", ((64, 48), (96, 64)))
        patch.setattr(packaged, "PHOTOS", ["coffee.png"])
        return evaluate_model(
            model,
            collection,
            {"night": painting, "waves": painting.with_name("ink.jpg")},
            count=2,
            backend="torch",
            progress=lambda *step: steps.append(step),
        )


@pytest.fixture(scope="module")
def stylizer(two_styles: StyleModel) -> Stylizer:
    return Stylizer(two_styles, "night", backend="torch", stroke_size="1:1")


@pytest.fixture(scope="module")
def objective(painting: Path) -> QualityObjective:
    return QualityObjective(load_image(painting))


@pytest.fixture
def quick(
    model: Path,
    collection: Path,
    painting: Path,
    objective: QualityObjective,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Evaluation]:
    """`evaluate_model` for one style and one photo, with slow parts replaced."""
    monkeypatch.setattr(evaluate, "pan_photos", list)
    monkeypatch.setattr(evaluate, "QualityObjective", lambda _: objective)
    monkeypatch.setattr(evaluate, "_TIMED_SIZES", ((64, 48),))
    monkeypatch.setattr(choice, "_MIN_SECONDS", 0.0)

    def run(**changes: Any) -> Evaluation:
        arguments = {
            "model": model,
            "photos": collection,
            "style_image": {"night": painting},
            "count": 1,
            "backend": "torch",
        } | changes
        return evaluate_model(**arguments)

    return run


def test_evaluation_says_what_was_measured(
    evaluation: Evaluation, stylizer: Stylizer, model: Path, painting: Path
) -> None:
    assert evaluation.model == str(model)
    assert evaluation.backend == str(stylizer)
    assert evaluation.parameters == StyleModel.load(model).parameters
    assert evaluation.styles["night"].style_image == str(painting)


def test_unreadable_photos_are_skipped_and_named(evaluation: Evaluation, collection: Path) -> None:
    assert evaluation.photos == 2
    assert list(evaluation.skipped) == [str(collection / "a.jpg")]


def test_figures_are_for_what_users_get(
    evaluation: Evaluation,
    stylizer: Stylizer,
    collection: Path,
    painting: Path,
    objective: QualityObjective,
) -> None:
    def stylized(image: Tensor) -> Tensor:
        return frame_to_tensor(stylizer(tensor_to_frame(image)))

    photos = [photo.load() for photo in find_photos(collection)[1:3]]
    crops = [quality_crop(photo) for photo in photos]
    contents = [resize(photo, 512) for photo in photos]
    bold = [boldness(stylized(each), each, load_image(painting)) for each in contents]
    expected = median_boldness(bold)
    found = evaluation.styles["night"]
    assert found.objective == pytest.approx(
        statistics.median(objective(stylized(crop), crop) for crop in crops), rel=0.01
    )
    assert found.boldness.contrast == pytest.approx(expected.contrast, rel=0.02)
    assert found.boldness.chroma == pytest.approx(expected.chroma, rel=0.02)
    assert evaluation.even == sum(figure.strokes is not None for figure in bold)


def test_each_style_is_measured_on_its_own(evaluation: Evaluation) -> None:
    night, waves = evaluation.styles["night"], evaluation.styles["waves"]
    assert night.objective != waves.objective
    assert night.boldness != waves.boldness
    assert night.pan is not None
    assert waves.pan is not None
    assert night.pan.error > 0
    assert night.pan != waves.pan


def test_speed_is_measured_by_size(evaluation: Evaluation) -> None:
    assert list(evaluation.fps) == ["64x48", "96x64"]
    assert min(evaluation.fps.values()) > 0


def test_progress_covers_all_measurements(
    evaluation: Evaluation, steps: list[tuple[float, float | None, str]]
) -> None:
    done = [done for done, _, _ in steps]
    assert done == sorted(done)
    assert {total for _, total, _ in steps} == {done[-1]}
    assert done[0] == 0
    first, *notes = dict.fromkeys(note for _, _, note in steps)
    assert first == "speed"
    assert set(notes) == {
        f"{style}: {figure}"
        for style in ("night", "waves")
        for figure in ("boldness", "objective", "pan error")
    }


def test_held_out_photos_only(quick: Callable[..., Evaluation]) -> None:
    assert quick(count=9).photos == 3
    held_out = quick(count=9, held_out=True)
    assert held_out.photos == 1
    assert held_out.skipped == {}


def test_pan_error_is_left_out_without_scikit_image(
    quick: Callable[..., Evaluation],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def missing(package: str) -> Path:
        raise ModuleNotFoundError(package)

    monkeypatch.setattr(evaluate, "pan_photos", pan_photos)
    monkeypatch.setattr(packaged, "resources", SimpleNamespace(files=missing))
    found = quick()
    assert found.styles["night"].pan is None
    assert found.styles["night"].objective > 0
    assert "nst-rt[demo]" in caplog.text


@pytest.mark.parametrize("name", ["starry_night", "waves"])
def test_named_style_takes_one_style_image(
    quick: Callable[..., Evaluation], model: Path, painting: Path, name: str
) -> None:
    named = f"{model}:{name}" if name == "waves" else name
    assert list(quick(model=named, style_image=painting).styles) == [name]


@pytest.mark.parametrize(
    ("error", "match", "changes"),
    [
        (InputError, "not 0", {"count": 0}),
        (UnknownNameError, "'nigth'.*'night'", {"style_image": {"nigth": "x"}}),
        (InputError, "NAME=FILE .*waves, night", {"style_image": "x.jpg"}),
        (InputError, "at least one", {"style_image": {}}),
        (InputError, r"x\.jpg", {"style_image": {"night": "x.jpg"}}),
        (InputError, "nowhere", {"photos": "nowhere"}),
        (InputError, "none of the photos", {"photos": [Photo(Path("no.jpg"))]}),
        (InputError, r"no\.safetensors", {"model": "no.safetensors"}),
        (UnknownNameError, "'nobody'", {"model": "nobody"}),
    ],
)
def test_bad_input(
    quick: Callable[..., Evaluation],
    error: type[StyleTransferError],
    match: str,
    changes: dict[str, Any],
) -> None:
    with pytest.raises(error, match=match):
        quick(**changes)


def test_collection_without_held_out_photos(
    quick: Callable[..., Evaluation], collection: Path, tmp_path: Path
) -> None:
    shutil.copy(collection / "b.png", tmp_path)
    with pytest.raises(InputError, match="1 photos"):
        quick(photos=tmp_path, held_out=True)


def test_fitted_frame_is_the_center_of_a_photo(photo: Any) -> None:
    frame = fitted_frame(photo, 64, 48)
    assert frame.shape == (48, 64, 3)
    assert frame.flags.writeable
    assert abs(frame.mean() / 255 - float(photo[..., 12:-12, :].mean())) < 0.02
