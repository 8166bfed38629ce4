import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from clips import write_clip

from nst_rt.cli import main
from nst_rt.errors import StyleTransferError
from nst_rt.images.io import load_image, save_image
from nst_rt.infer import demo
from nst_rt.infer.backends import timing
from nst_rt.infer.evaluate import model as evaluate
from nst_rt.infer.evaluate.clip import evaluate_clip
from nst_rt.infer.evaluate.model import Evaluation, StyleEvaluation
from nst_rt.metrics.boldness import Boldness
from nst_rt.metrics.stability import WarpingError
from nst_rt.models.style_model import StyleModel

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    astronaut: Path,
) -> Run:
    """The command line, in a folder with photos and things that are none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(timing, "_SECONDS", 0.0)
    monkeypatch.setattr(evaluate, "_TIMED_SIZES", ((64, 48),))
    monkeypatch.setattr(demo, "PHOTOS", ["coffee.png"])
    Path("empty").mkdir()
    Path("photos").mkdir()
    save_image(load_image(astronaut, size=64), "photos/b.png")
    Path("photos", "a.jpg").write_text("no picture")
    Path("text.png").write_text("no picture")

    def run_main(*arguments: object) -> tuple[int, str, str]:
        try:
            code = main(["evaluate", *map(str, arguments)])
        except SystemExit as stop:  # argparse's own errors
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return run_main


class Passed(StyleTransferError):
    """Raised instead of measuring."""


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What the library is asked for."""
    asked: dict[str, object] = {}

    def evaluate_model(*arguments: object, **options: object) -> None:
        asked.update(zip(("model", "photos", "style"), arguments, strict=True), **options)
        raise Passed("passed")

    monkeypatch.setattr(evaluate, "evaluate_model", evaluate_model)
    return asked


def test_a_model_is_measured(run: Run, painting: Path) -> None:
    arguments = ("--photos", "photos", "--backend", "torch")
    code, out, err = run("starry_night", "--style", painting, *arguments)
    assert (code, err) == (0, "")
    assert re.search(r"^photos: 1, [01] .*\nphotos skipped: 1 \(photos/a.jpg\)$", out, re.MULTILINE)
    figures = r"(-|\d\.\d\d) +\d\.\d\d +\d\.\d\d +\d\.\d\d +0\.\d{3} +\d+\.\d\d"
    assert re.search(rf"^starry_night +{figures}$", out, re.MULTILINE)


def test_facts_are_json(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    style = StyleEvaluation("p.jpg", Boldness(None, 0.9, 1.1), WarpingError(0.1, 0.4, 1.0), 2.5)
    found = Evaluation("m", "torch f32 on X", 9, 2, 0, {}, {"64x48": 30.0}, {"night": style})
    monkeypatch.setattr(evaluate, "evaluate_model", lambda *_, **__: found)
    code, out, err = run("m", "--style", "p.jpg", "--photos", "photos", "--json")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert facts["fps"] == {"64x48": 30.0}
    bold = {"strokes": None, "contrast": 0.9, "chroma": 1.1}
    assert facts["styles"]["night"]["boldness"] == bold


def test_what_is_not_given_is_left_to_the_library(run: Run, seen: dict[str, object]) -> None:
    assert run("m", "--style", "p.jpg", "--photos", "d") == (2, "", "nst-rt: passed\n")
    assert callable(seen.pop("on_progress"))
    assert seen == {"model": "m", "photos": "d", "style": "p.jpg"}


def test_every_option_reaches_the_library(run: Run, seen: dict[str, object]) -> None:
    given = ("--count", 7, "--held-out", "--backend", "torch")
    engine = ("--device", "cpu", "--precision", "f32")
    run(
        "m", "--style", "a=x.jpg", "b=y.jpg", "--style", "c=z.jpg", "--photos", "d", *given, *engine
    )
    del seen["on_progress"]
    assert seen == {
        "model": "m",
        "photos": "d",
        "style": {"a": "x.jpg", "b": "y.jpg", "c": "z.jpg"},
        "count": 7,
        "held_out": True,
        "backend": "torch",
        "device": "cpu",
        "precision": "f32",
    }


def test_flicker_is_measured_on_a_clip(run: Run, two_styles: StyleModel, tmp_path: Path) -> None:
    model = two_styles.save(tmp_path / "two.safetensors")
    clip = write_clip(tmp_path / "clip.mp4", pts=range(0, 512 * 5, 512))
    code, out, err = run(model, "--video", clip, "--frames", 3, "--backend", "torch")
    assert (code, err) == (0, "")
    assert "clip.mp4: 3 frames, torch" in out
    assert re.search(r"^stabilized +\d\.\d{4} ", out, re.MULTILINE)
    assert "RMSE in [0, 1]" in out


OPTIONS = [
    ("count", evaluate.evaluate_model),
    ("frames", evaluate_clip),
]


@pytest.mark.parametrize(("option", "function"), OPTIONS)
def test_the_defaults_in_the_help_are_those_of_the_library(
    run: Run, option: str, function: Callable[..., object]
) -> None:
    default = inspect.signature(function).parameters[option].default
    _, out, _ = run("--help")
    said = " ".join(out.split())
    assert re.search(rf"--{option.replace('_', '-')} N [^-]*default: {default}\b", said)


PAINTING = "@painting"
GOOD = ("--style", PAINTING, "--photos", "photos")
BAD = [
    (["starry_night"], "required: --style, --photos"),
    (["starry_night", "--style", PAINTING], "required: --photos"),
    (["--photos", "photos", "--style", PAINTING], "required: MODEL"),
    (["starry_night", *GOOD, "--frames", "9"], "--frames goes with --video"),
    (["starry_night", "--photos", "p", "--video", "c.mp4"], "--photos does not go with it"),
    (["starry_night", "--video", "no.mp4"], r"no\.mp4: no such file"),
    (["starry_night", "--video", "text.png"], r"text\.png: a photo, not a video"),
    (["starry_night", "--video", "no.mp4", "--frames", "1"], "at least 2 are needed, not 1"),
    (["nobody", *GOOD], "known are .*starry_night"),
    (["no.safetensors", *GOOD], "no such file"),
    (["text.png", *GOOD], "not a style model"),
    (["starry_night", *GOOD, "--count", "0"], "must be positive, not 0"),
    (["starry_night", *GOOD, "--count", "few"], "--count: invalid int value"),
    (["starry_night", *GOOD, "--held-out"], "holds out none of its 2 photos"),
    (["starry_night", *GOOD, "--backend", "cuda"], "known are auto, openvino, torch, onnx"),
    (["starry_night", "--style", "no.jpg", "--photos", "photos"], r"no\.jpg: no such file"),
    (["starry_night", "--style", "text.png", "--photos", "photos"], r"text\.png: not an image"),
    (["starry_night", "--style", "nite=x.jpg", "--photos", "photos"], "unknown style 'nite'"),
    (["starry_night", "--style", PAINTING, "--photos", "empty"], "empty: no photos in it"),
    (["starry_night", "--style", PAINTING, "--photos", "nowhere"], "nowhere: no such folder"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD, ids=[" ".join(a) for a, _ in BAD])
def test_bad_input_is_one_line_and_exit_code_2(
    run: Run, painting: Path, arguments: list[str], said: str
) -> None:
    code, out, err = run(*[painting if a == PAINTING else a for a in arguments])
    assert (code, out) == (2, "")
    assert err.startswith("nst-rt")
    assert err.count("\n") == 1
    assert re.search(said, err)
