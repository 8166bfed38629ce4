"""The verb evaluate."""

import json
import re
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest
from clips import write_clip
from command_line import Run

from nst_rt.cli.options import signature_defaults, style_images_by_name
from nst_rt.errors import InputError, StyleTransferError
from nst_rt.images.io import load_image, save_image
from nst_rt.infer import packaged
from nst_rt.infer.backends import choice
from nst_rt.infer.evaluate import model as evaluate
from nst_rt.infer.evaluate.model import Evaluation, StyleEvaluation
from nst_rt.metrics.boldness import Boldness
from nst_rt.metrics.stability import WarpingError
from nst_rt.models.style_model import StyleModel


@pytest.fixture
def run(run: Run, monkeypatch: pytest.MonkeyPatch, astronaut: Path) -> Run:
    """`nst-rt evaluate`, in a folder with photos and files that are not."""
    monkeypatch.setattr(choice, "_MIN_SECONDS", 0.0)
    monkeypatch.setattr(evaluate, "_TIMED_SIZES", ((64, 48),))
    monkeypatch.setattr(packaged, "PHOTOS", ["coffee.png"])
    Path("empty").mkdir()
    Path("photos").mkdir()
    save_image(load_image(astronaut, size=64), "photos/b.png")
    Path("photos", "a.jpg").write_text("no image")
    for name in ("text.png", "p.jpg", "x.jpg", "y.jpg", "z.jpg"):
        Path(name).write_text("no image")
    return partial(run, "evaluate")


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What reaches the library."""
    found: dict[str, object] = {}

    def evaluate_model(*arguments: object, **options: object) -> None:
        found.update(zip(("model", "photos", "style_image"), arguments, strict=True), **options)
        raise StyleTransferError("passed")

    monkeypatch.setattr(evaluate, "evaluate_model", evaluate_model)
    return found


@pytest.mark.slow
def test_model_on_photos(run: Run, painting: Path) -> None:
    arguments = ("--photos", "photos", "--backend", "torch")
    code, out, err = run("starry_night", "--style-image", painting, *arguments)
    assert (code, err) == (0, "")
    assert re.search(r"^photos: 1, [01] .*\nphotos skipped: 1 \(photos/a.jpg\)$", out, re.MULTILINE)
    figures = r"(-|\d\.\d\d) +\d\.\d\d +\d\.\d\d +\d\.\d\d +0\.\d{3} +\d+\.\d\d"
    assert re.search(rf"^starry_night +{figures}$", out, re.MULTILINE)


@pytest.fixture
def evaluation(monkeypatch: pytest.MonkeyPatch) -> Evaluation:
    """What the library measured."""
    pan = WarpingError(0.08, 0.456, 1.0)
    bold, even = Boldness(0.756, 0.9, 1.1), Boldness(None, 0.9, None)
    styles = {
        "night": StyleEvaluation("p.jpg", bold, pan, 2.344),
        "[red]waves": StyleEvaluation("p.jpg", even, None, 2.344),
    }
    skipped = {"a.jpg": "a.jpg: not an image"}
    fps = {"640x480": 30.25, "1280x720": 12.0}
    found = Evaluation("m", "openvino bf16 on X", 113068, 8, 5, skipped, fps, styles)
    monkeypatch.setattr(evaluate, "evaluate_model", lambda *_, **__: found)
    return found


MEASURED = ("m", "--style-image", "p.jpg", "--photos", "photos")


def test_json(run: Run, evaluation: Evaluation) -> None:
    code, out, err = run(*MEASURED, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == asdict(evaluation)


@pytest.mark.usefixtures("evaluation")
def test_text(run: Run) -> None:
    text = run(*MEASURED)[1]
    assert text.startswith("m: 113,068 parameters, openvino bf16 on X\n")
    assert "frames per second: 30.2 at 640x480, 12.0 at 1280x720" in text
    assert "photos: 8, 5 " in text
    assert "photos skipped: 1 (a.jpg)" in text
    rows = [line.split() for line in text.splitlines() if line.startswith(("night", "[red]waves"))]
    assert rows == [
        ["night", "0.76", "0.90", "1.10", "0.46", "0.080", "2.34"],
        ["[red]waves", "-", "0.90", "-", "-", "-", "2.34"],
    ]


GIVEN = (
    *("--count", 7, "--held-out", "--backend", "torch", "--device", "cpu", "--precision", "f32"),
    *("--style-image", "b=y.jpg", "--style-image", "c=z.jpg"),
)


@pytest.mark.parametrize(
    ("style_image", "given", "expected"),
    [
        ("x.jpg", (), {"style_image": "x.jpg"}),
        (
            "a=x.jpg",
            GIVEN,
            {
                "style_image": {"a": "x.jpg", "b": "y.jpg", "c": "z.jpg"},
                "count": 7,
                "held_out": True,
                "backend": "torch",
                "device": "cpu",
                "precision": "f32",
            },
        ),
    ],
)
def test_options_reach_the_library_and_defaults_do_not(
    run: Run, passed: dict[str, object], style_image: str, given: tuple[object, ...], expected: dict
) -> None:
    run("m", "--style-image", style_image, "--photos", "photos", *given)
    assert callable(passed.pop("progress"))
    assert passed == {"model": "m", "photos": "photos", **expected}


def test_style_images_are_named_by_file_or_explicitly(tmp_path: Path) -> None:
    odd = tmp_path / "a=b.jpg"
    odd.touch()
    assert style_images_by_name(["x.jpg"]) == "x.jpg"
    assert style_images_by_name([str(odd)]) == str(odd)
    assert style_images_by_name(["n=x.jpg"]) == {"n": "x.jpg"}
    assert style_images_by_name(["p/x.jpg", "n=y.jpg"]) == {"x": "p/x.jpg", "n": "y.jpg"}
    with pytest.raises(InputError, match="NAME=FILE"):
        style_images_by_name(["p/x.jpg", "q/x.png"])


def test_flicker_on_a_clip(run: Run, two_styles: StyleModel, tmp_path: Path) -> None:
    model = two_styles.save(tmp_path / "two.safetensors")
    clip = write_clip(tmp_path / "clip.mp4", pts=range(0, 512 * 5, 512))
    code, out, err = run(model, "--clip", clip, "--frames", 3, "--backend", "torch")
    assert (code, err) == (0, "")
    assert "clip.mp4: 3 frames, torch" in out
    assert re.search(r"^stabilized +\d\.\d{4} ", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("option", "function"), [("count", "model:evaluate_model"), ("frames", "clip:evaluate_clip")]
)
def test_help_shows_the_defaults_of_the_library(run: Run, option: str, function: str) -> None:
    default = signature_defaults(f"nst_rt.infer.evaluate.{function}")[option]
    said = " ".join(run("--help")[1].split())
    assert re.search(rf"--{option} N [^-]*default: {default}\)", said)


STYLE_IMAGE = "@style-image"  # stands for a style image's path
GOOD = ("--style-image", STYLE_IMAGE, "--photos", "photos")
BAD = [
    (["starry_night"], "--photos"),
    (["starry_night", "--style-image", STYLE_IMAGE], "--photos"),
    (["--photos", "photos", "--style-image", STYLE_IMAGE], "MODEL"),
    (["starry_night", *GOOD, "--frames", "9"], "--frames.*--clip"),
    (["starry_night", "--photos", "p", "--clip", "c.mp4"], "--clip.*--photos"),
    (["nobody", "--clip", "no.mp4"], r"no\.mp4"),  # which is found before the style is loaded
    (["starry_night", "--clip", "text.png"], r"text\.png"),
    (["starry_night", "--clip", "text.png", "--frames", "1"], "not 1"),
    (["text.png", *GOOD], r"text\.png"),
    (["starry_night", *GOOD, "--count", "few"], "'few'"),
    (["starry_night", *GOOD, "--held-out"], "2 photos"),
    (["starry_night", *GOOD, "--backend", "cuda"], "auto, openvino, torch, onnx"),
    (["starry_night", "--style-image", "text.png", "--photos", "photos"], r"text\.png"),
    (["starry_night", "--style-image", STYLE_IMAGE, "--photos", "empty"], "empty"),
]


@pytest.mark.parametrize(("arguments", "match"), BAD, ids=[" ".join(a) for a, _ in BAD])
def test_bad_input_is_one_line_and_exit_code_2(
    run: Run, painting: Path, arguments: list[str], match: str
) -> None:
    code, out, err = run(*[painting if a == STYLE_IMAGE else a for a in arguments])
    assert (code, out) == (2, "")
    assert err.startswith("nst-rt")
    assert err.count("\n") == 1
    assert re.search(match, err)
