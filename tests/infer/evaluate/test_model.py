import json
import shutil
import statistics
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nst_rt.errors import InputError, StyleTransferError, UnknownNameError
from nst_rt.images.collection import Photo, find_photos, is_held_out
from nst_rt.images.io import frame_to_tensor, load_image, resize, save_image, tensor_to_frame
from nst_rt.infer import demo
from nst_rt.infer.backends import timing
from nst_rt.infer.evaluate.model import (
    Evaluation,
    StyleEvaluation,
    evaluate_model,
    fitted_frame,
    pan_photos,
    summary,
)
from nst_rt.infer.evaluate.model import model as evaluate
from nst_rt.infer.stylizer import Stylizer
from nst_rt.metrics.boldness import Boldness, boldness
from nst_rt.metrics.quality import QualityObjective, quality_photo
from nst_rt.metrics.stability import PanError
from nst_rt.models.style_model import Style, StyleModel


@pytest.fixture(scope="module")
def collection(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A damaged photo, then three small ones, of which training holds out the last."""
    folder = tmp_path_factory.mktemp("collection")
    (folder / "a.jpg").write_text("no picture")
    for name, source in (("b", "coffee.png"), ("c", "chelsea.png"), (_held_out(), "rocket.jpg")):
        save_image(load_image(photos / source, size=90), folder / f"{name}.png")
    return folder


def _held_out() -> str:
    names = (f"z{number}" for number in range(1000))
    return next(name for name in names if is_held_out(Photo(Path(f"{name}.png"))))


@pytest.fixture(scope="module")
def model(two_styles: StyleModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_styles.save(tmp_path_factory.mktemp("model") / "two.safetensors")


@pytest.fixture(scope="module")
def progress() -> list[tuple[float, str]]:
    return []


@pytest.fixture(scope="module")
def evaluation(
    model: Path, collection: Path, painting: Path, progress: list[tuple[float, str]]
) -> Evaluation:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "_SECONDS", 0.0)
        patch.setattr(demo, "PHOTOS", ["coffee.png"])
        return evaluate_model(
            model,
            collection,
            {"night": painting, "waves": painting.with_name("ink.jpg")},
            count=2,
            backend="torch",
            on_progress=lambda part, note: progress.append((part, note)),
        )


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
    """`evaluate_model` of one style and one photo, without what takes long, or as told."""
    monkeypatch.setattr(evaluate, "pan_photos", list)
    monkeypatch.setattr(evaluate, "QualityObjective", lambda _: objective)
    monkeypatch.setattr(evaluate, "_TIMED_SIZES", ((64, 48),))
    monkeypatch.setattr(timing, "_SECONDS", 0.0)

    def run(**changes: Any) -> Evaluation:
        arguments = {
            "model": model,
            "photos": collection,
            "style": {"night": painting},
            "count": 1,
            "backend": "torch",
        } | changes
        return evaluate_model(**arguments)

    return run


def test_an_evaluation_is_json(evaluation: Evaluation) -> None:
    facts = json.loads(json.dumps(asdict(evaluation)))
    assert set(facts) == {
        "model",
        "engine",
        "parameters",
        "photos",
        "even",
        "skipped",
        "fps",
        "styles",
    }
    assert list(facts["styles"]) == ["night", "waves"]
    night = facts["styles"]["night"]
    assert set(night) == {"style_image", "boldness", "pan", "objective"}
    assert set(night["boldness"]) == {"strokes", "contrast", "chroma"}
    assert set(night["pan"]) == {"error", "relative"}


def test_an_evaluation_says_what_was_measured(
    evaluation: Evaluation, two_styles: StyleModel, model: Path, painting: Path
) -> None:
    assert evaluation.model == str(model)
    assert evaluation.engine == str(
        Stylizer(two_styles, "night", backend="torch", stroke_size="1:1")
    )
    assert evaluation.parameters == sum(p.numel() for p in two_styles.network.parameters())
    assert evaluation.styles["night"].style_image == str(painting)


def test_photos_that_cannot_be_read_are_skipped_and_named(
    evaluation: Evaluation, collection: Path
) -> None:
    assert evaluation.photos == 2
    assert list(evaluation.skipped) == [str(collection / "a.jpg")]
    assert "not an image" in evaluation.skipped[str(collection / "a.jpg")]


def test_the_objective_is_that_of_what_users_get(
    evaluation: Evaluation,
    two_styles: StyleModel,
    collection: Path,
    objective: QualityObjective,
) -> None:
    stylizer = Stylizer(two_styles, "night", backend="torch", stroke_size="1:1")
    objectives = []
    for photo in find_photos(collection)[1:3]:
        square = quality_photo(photo.load())
        stylized = frame_to_tensor(stylizer(tensor_to_frame(square)))
        objectives.append(objective(stylized, square))
    expected = statistics.median(objectives)
    assert evaluation.styles["night"].objective == pytest.approx(expected, rel=0.01)


def test_boldness_is_that_of_what_users_get(
    evaluation: Evaluation, two_styles: StyleModel, collection: Path, painting: Path
) -> None:
    stylizer = Stylizer(two_styles, "night", backend="torch", stroke_size="1:1")
    figures = []
    for photo in find_photos(collection)[1:3]:
        content = resize(photo.load(), 512)
        stylized = frame_to_tensor(stylizer(tensor_to_frame(content)))
        figures.append(boldness(stylized, content, load_image(painting)))
    found = evaluation.styles["night"].boldness
    assert found.contrast == pytest.approx(statistics.median(f.contrast for f in figures), rel=0.02)
    assert found.chroma == pytest.approx(statistics.median(f.chroma for f in figures), rel=0.02)
    assert evaluation.even == sum(figure.strokes is not None for figure in figures)


def test_styles_are_measured_each_by_itself(evaluation: Evaluation) -> None:
    night, waves = evaluation.styles["night"], evaluation.styles["waves"]
    assert night.objective != waves.objective
    assert night.boldness != waves.boldness
    assert night.pan is not None
    assert waves.pan is not None
    assert night.pan.error > 0
    assert night.pan != waves.pan


def test_speed_is_of_two_frame_sizes(evaluation: Evaluation) -> None:
    assert list(evaluation.fps) == ["640x480", "1280x720"]
    assert evaluation.fps["640x480"] > evaluation.fps["1280x720"] > 0


def test_progress_goes_from_0_to_1(
    evaluation: Evaluation, progress: list[tuple[float, str]]
) -> None:
    parts = [part for part, _ in progress]
    assert parts == sorted(parts)
    assert parts[0] == 0
    assert parts[-1] == pytest.approx(1)
    notes = list(dict.fromkeys(note for _, note in progress))
    parts = ["boldness", "objective", "pan error"]
    assert notes[0] == "speed"
    assert sorted(notes[1:]) == [
        f"{style}: {part}" for style in ("night", "waves") for part in parts
    ]


def test_only_held_out_photos_are_taken_when_asked(quick: Callable[..., Evaluation]) -> None:
    assert quick(count=9).photos == 3
    held_out = quick(count=9, held_out=True)
    assert held_out.photos == 1
    assert held_out.skipped == {}


def test_without_scikit_image_the_rest_is_measured(
    quick: Callable[..., Evaluation],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def missing(package: str) -> Path:
        raise ModuleNotFoundError(package)

    monkeypatch.setattr(evaluate, "pan_photos", pan_photos)
    monkeypatch.setattr(demo, "resources", SimpleNamespace(files=missing))
    found = quick()
    assert found.styles["night"].pan is None
    assert found.styles["night"].objective > 0
    assert "scikit-image: pip install 'nst-rt[demo]'" in caplog.text


def test_a_file_of_one_style_takes_one_painting(
    quick: Callable[..., Evaluation], two_styles: StyleModel, painting: Path, tmp_path: Path
) -> None:
    found = quick(model="starry_night", style=painting)
    assert list(found.styles) == ["starry_night"]


def test_a_style_in_a_file_of_several_takes_one_painting(
    quick: Callable[..., Evaluation], model: Path, painting: Path
) -> None:
    assert list(quick(model=f"{model}:waves", style=painting).styles) == ["waves"]


def bad(error: type[StyleTransferError], said: str, **changes: Any) -> Any:
    return pytest.param(error, said, changes, id=said)


@pytest.mark.parametrize(
    ("error", "said", "changes"),
    [
        bad(InputError, "photos must be positive, not 0", count=0),
        bad(UnknownNameError, "unknown style 'nigth': did you mean 'night'", style={"nigth": "x"}),
        bad(InputError, "has 2 styles: give NAME=PAINTING .* waves, night", style="x.jpg"),
        bad(InputError, "at least one style", style={}),
        bad(InputError, r"x\.jpg: no such file", style={"night": "x.jpg"}),
        bad(InputError, "nowhere: no such folder", photos="nowhere"),
        bad(InputError, "none of the photos can be read", photos=[Photo(Path("no.jpg"))]),
        bad(InputError, "no such file", model="no.safetensors"),
        bad(UnknownNameError, "unknown style 'nobody'", model="nobody"),
    ],
)
def test_what_cannot_be_measured(
    quick: Callable[..., Evaluation],
    error: type[StyleTransferError],
    said: str,
    changes: dict[str, Any],
) -> None:
    with pytest.raises(error, match=said):
        quick(**changes)


def test_a_collection_without_held_out_photos(
    quick: Callable[..., Evaluation], collection: Path, tmp_path: Path
) -> None:
    shutil.copy(collection / "b.png", tmp_path)
    with pytest.raises(InputError, match="holds out none of its 1 photos"):
        quick(photos=tmp_path, held_out=True)


def test_a_frame_is_the_middle_of_a_photo(photo: Any) -> None:
    frame = fitted_frame(photo, 64, 48)
    assert frame.shape == (48, 64, 3)
    assert frame.flags.writeable
    assert abs(frame.mean() / 255 - float(photo[..., 12:-12, :].mean())) < 0.02


@pytest.mark.parametrize(("strokes", "said"), [(0.756, "0.76"), (None, "-")])
def test_a_summary_tells_all(strokes: float | None, said: str) -> None:
    figures = StyleEvaluation("p.jpg", Boldness(strokes, 0.9, 1.1), PanError(0.08, 0.456), 2.344)
    styles = dict.fromkeys((Style("night").name, "[red]waves"), figures)
    skipped = {"a.jpg": "a.jpg: not an image"}
    fps = {"640x480": 30.25, "1280x720": 12.0}
    text = summary(Evaluation("m", "openvino bf16 on X", 113068, 8, 5, skipped, fps, styles))
    assert text.startswith("m: 113,068 parameters, openvino bf16 on X\n")
    assert "frames per second: 30.2 at 640x480, 12.0 at 1280x720" in text
    assert "photos: 8, 5 " in text
    assert "photos skipped: 1 (a.jpg)" in text
    rows = [line.split() for line in text.splitlines() if line.startswith(("night", "[red]waves"))]
    assert [row[0] for row in rows] == ["night", "[red]waves"]
    for row in rows:
        assert row[1:] == [said, "0.90", "1.10", "0.46", "0.080", "2.34"]
