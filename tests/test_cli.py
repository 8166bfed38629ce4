import inspect
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from clips import write_clip
from PIL import Image

import nst_rt
from nst_rt.cli import _parser, main
from nst_rt.images import load_image
from nst_rt.infer.video import probe
from nst_rt.style_model import StyleModel

CLI = [sys.executable, "-m", "nst_rt"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a few bad inputs, which the command line runs in."""
    monkeypatch.chdir(tmp_path)
    Path("text.png").write_text("no picture")
    Path("text.safetensors").write_text("no model" * 10)
    Path("empty.mp4").touch()
    Path("exists.png").write_text("precious")
    Path("exists.mp4").write_text("precious")
    Path("photos").mkdir()
    return tmp_path


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run_main(*arguments: object) -> tuple[int, str, str]:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse's own errors
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return run_main


PHOTO, PAINTING, FILM = "@photo", "@painting", "@film"
OUT = ("-o", "out.png")
BAD = [
    # images
    (["image", "missing.png", *OUT], "no such file"),
    (["image", "text.png", *OUT], "not an image"),
    (["image", "photos", *OUT], "is a directory"),
    (["image", PHOTO, "-o", "exists.png"], "exists already; --overwrite"),
    (["image", PHOTO, "-o", "photos"], "is a directory"),
    (["image", PHOTO, "-o", "nowhere/out.png"], "folder nowhere does not exist"),
    (["image", PHOTO, "-o", "out.xyz"], "unknown image format '.xyz'"),
    (["image", PHOTO, *OUT, "--size", "0"], "must be a positive number"),
    (["image", PHOTO, *OUT, "--size", "-7"], "must be a positive number"),
    (["image", PHOTO, *OUT, "--size", "big"], "invalid int value: 'big'"),
    (["image", PHOTO, *OUT, "--style", "starry"], r"did you mean 'starry_night'\? known are"),
    (["image", PHOTO, *OUT, "--style", "text.safetensors"], "not a style model"),
    (["image", PHOTO, *OUT, "--style", "text.png"], "not a style model"),
    (["image", PHOTO, *OUT, "--style", "no.safetensors"], "no such file"),
    (["image", PHOTO, *OUT, "--strength", "2"], "between 0 and 1"),
    (["image", PHOTO, *OUT, "--backend", "cuda"], "known are auto, openvino, torch"),
    (["image", PHOTO, *OUT, "--precision", "int4"], "known are auto, f32"),
    (["image", PHOTO], "required: -o/--output"),
    # the optimizer
    (["optimize", "missing.png", PAINTING, *OUT], "no such file"),
    (["optimize", PHOTO, "text.png", *OUT], "not an image"),
    (["optimize", PHOTO, PAINTING, *OUT, "--size", "0"], "must be a positive number"),
    (["optimize", PHOTO, PAINTING, *OUT, "--size", "8"], "too small"),
    (["optimize", PHOTO, PAINTING, *OUT, "--steps", "0"], "must be positive"),
    (["optimize", PHOTO, PAINTING, *OUT, "--save-every", "-1"], "0 or more"),
    (["optimize", PHOTO, PAINTING, *OUT, "--optimizer", "sgd"], "invalid choice: 'sgd'"),
    (["optimize", PHOTO, PAINTING, *OUT, "--vgg-weights", "text.png"], "weights"),
    (["optimize", PHOTO, PAINTING, "-o", "exists.png"], "exists already"),
    (["optimize", PHOTO, PAINTING, *OUT, "--device", "gpu"], "no device 'gpu'"),
    (["optimize", PHOTO, PAINTING, *OUT, "--style-weight", "nan"], "must be 0 or more, not nan"),
    (["optimize", PHOTO, PAINTING, *OUT, "--style-weight", "-3"], "must be 0 or more, not -3"),
    (["optimize", PHOTO, PAINTING, "-o", f"{'x' * 300}.png"], "File name too long"),
    # videos
    (["video", "missing.mp4", "out.mp4"], "no such file"),
    (["video", "empty.mp4", "out.mp4"], "not a video"),
    (["video", "text.png", "out.mp4"], "video"),
    (["video", "photos", "out.mp4"], "is a directory"),
    (["video", FILM, "exists.mp4"], "exists already"),
    (["video", FILM, "out.doc"], "unknown video format"),
    (["video", FILM, "out.mp4", "--style", "nobody"], "known are .*starry_night"),
    (["video", FILM, "out.mp4", "--crf", "99"], "between 0 and 51"),
    (["video", FILM, "out.mp4", "--preset", "warp"], "must be one of ultrafast"),
    # training
    (["train", "--style", "no.png", "--photos", "photos", "--name", "x"], "no such file"),
    (["train", "--style", PAINTING, "--photos", "photos", "--name", "x"], "no photos in it"),
    (["train", "--style", PAINTING, "--photos", "nowhere", "--name", "x"], "no such folder"),
    (["train", "--style", PAINTING, "--photos", "photos", "--name", "a/b"], "name of a style"),
    (["train", "--style", PAINTING, "--photos", "@photos", "--name", "x", "--steps", "-1"], "pos"),
    (["train", "--style", PAINTING, "--photos", "@photos", "--name", "x", "--seed", "-1"], "seed"),
    (["train", "--style", PAINTING, "--photos", "@photos", "--name", "x", "--workers", "-1"], "or"),
    # the rest
    (["demo", "--folder", "text.png"], "Not a directory|File exists"),
    (["demo", "--style", "nobody"], "known are"),
    (["paint"], "invalid choice: 'paint'"),
    ([], "required: VERB"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD, ids=[" ".join(a) or "none" for a, _ in BAD])
def test_bad_input_is_one_line_and_exit_code_2(
    run: Callable[..., tuple[int, str, str]],
    folder: Path,
    astronaut: Path,
    painting: Path,
    film: Path,
    arguments: list[str],
    said: str,
) -> None:
    real = {PHOTO: astronaut, PAINTING: painting, FILM: film, "@photos": astronaut.parent}
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    code, out, err = run(*[real.get(argument, argument) for argument in arguments])
    assert code == 2
    assert out == ""
    assert err.startswith("nst-rt")
    assert err.count("\n") == 1
    assert re.search(said, err)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_missing_camera_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    done = subprocess.run([*CLI, "webcam", "77"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert re.fullmatch(r"nst-rt: camera 77 cannot be opened; .*camera.*\n", done.stderr)


def test_an_image_is_stylized(
    run: Callable[..., tuple[int, str, str]], astronaut: Path, folder: Path
) -> None:
    code, out, _ = run("image", astronaut, "-o", "out.png", "--size", 200, "--json")
    assert code == 0
    facts = json.loads(out)
    assert (facts["output"], facts["width"], facts["height"]) == ("out.png", 200, 200)
    painted, photo = load_image("out.png"), load_image(astronaut, size=200)
    assert painted.shape == photo.shape
    assert (painted - photo).abs().mean() > 0.03


def test_strength_0_leaves_the_image_as_it_is(
    run: Callable[..., tuple[int, str, str]], astronaut: Path, folder: Path
) -> None:
    assert run("image", astronaut, "-o", "out.png", "--strength", 0)[0] == 0
    with Image.open("out.png") as ours, Image.open(astronaut) as theirs:
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs.convert("RGB")))


def test_nobody_reading_on_is_no_error() -> None:
    done = subprocess.run(
        f"'{sys.executable}' -m nst_rt styles | true; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_a_picture_is_optimized_and_steps_are_saved(
    run: Callable[..., tuple[int, str, str]],
    astronaut: Path,
    painting: Path,
    folder: Path,
    optimizer: str,
) -> None:
    options = ["--size", 64, "--steps", 5, "--save-every", 2, "--optimizer", optimizer, "--json"]
    code, out, err = run("optimize", astronaut, painting, "-o", "out.png", *options)
    assert (code, err) == (0, "")
    assert json.loads(out)["steps"] == 5
    assert sorted(p.name for p in folder.glob("out*")) == [
        "out-0002.png",
        "out-0004.png",
        "out.png",
    ]
    assert load_image("out.png").shape == (1, 3, 64, 64)


def test_an_interrupted_optimization_keeps_the_image(
    folder: Path, astronaut: Path, painting: Path
) -> None:
    arguments = ["optimize", astronaut, painting, "-o", "out.png", "--size", "64"]
    arguments += ["--steps", "100000", "--save-every", "1"]
    program = subprocess.Popen(
        [*CLI, *map(str, arguments)], cwd=folder, stderr=subprocess.PIPE, text=True
    )
    while not (folder / "out-0002.png").exists():
        assert program.poll() is None
        time.sleep(0.1)
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=60)
    assert program.returncode == 130
    assert re.fullmatch(r"nst-rt: interrupted: .* is in out\.partial\.png\n", err)
    assert load_image(folder / "out.partial.png").shape == (1, 3, 64, 64)
    assert not (folder / "out.png").exists()


def test_an_interrupted_video_plays(folder: Path, two_styles: StyleModel) -> None:
    two_styles.save("two.safetensors")
    write_clip(Path("in.mp4"), pts=range(0, 512 * 25 * 600, 512))
    program = subprocess.Popen(
        [*CLI, "video", "in.mp4", "out.mp4", "--style", "two.safetensors"],
        stderr=subprocess.PIPE,
        text=True,
    )
    while not Path("out.partial.mp4").exists():
        assert program.poll() is None
        time.sleep(0.1)
    time.sleep(5)  # some frames
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=60)
    assert (program.returncode, err) == (
        130,
        "nst-rt: interrupted: what was finished is in out.partial.mp4\n",
    )
    assert 0 < probe("out.partial.mp4").frames < 15000
    assert not Path("out.mp4").exists()


def test_a_video_is_converted(
    run: Callable[..., tuple[int, str, str]], folder: Path, two_styles: StyleModel
) -> None:
    two_styles.save("two.safetensors")
    write_clip(Path("in.mp4"), audio="aac")
    code, out, err = run("video", "in.mp4", "out.mp4", "--style", "two.safetensors:night", "--json")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert (facts["frames"], facts["audio"]) == (25, "aac")
    assert facts["engine"].startswith(("openvino", "torch"))
    assert probe("out.mp4").frames == 25


def test_a_style_is_trained_and_used(
    run: Callable[..., tuple[int, str, str]], astronaut: Path, painting: Path, folder: Path
) -> None:
    facts = ["--title", "Swirls", "--licence", "CC0"]
    size = ["--steps", 3, "--size", 64, "--batch-size", 2, "--workers", 0]
    photos = ["--photos", folder / "few"]
    (folder / "few").mkdir()
    for number in range(3):
        with Image.open(astronaut) as photo:
            photo.resize((100, 100)).save(folder / "few" / f"{number}.jpg")
    done = subprocess.run(
        [*CLI, "train", "--style", painting, *photos, "--name", "mine", *facts, *map(str, size)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # Nothing but our own advice: no noise from the libraries below.
    assert re.fullmatch(r"nst-rt: .*only 3 photos.*\n", done.stderr), done.stderr
    assert "mine.safetensors" in done.stdout
    assert len(list((folder / "runs/mine/samples").glob("*.png"))) > 0
    assert run("image", astronaut, "--style", "mine.safetensors", *OUT, "--size", 64)[0] == 0


def test_styles_are_listed(run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = run("styles")
    assert code == 0
    assert "starry_night: The Starry Night, Vincent van Gogh, 1889" in out
    assert json.loads(run("styles", "--json")[1])["starry_night"]["licence"] == "public domain"


def test_every_verb_has_help_with_an_example(run: Callable[..., tuple[int, str, str]]) -> None:
    for verb in ("optimize", "train", "image", "video", "webcam", "styles", "demo"):
        code, out, _ = run(verb, "--help")
        assert code == 0
        assert f"nst-rt {verb}" in out.split("example:")[1]


@pytest.mark.parametrize(
    ("verb", "function"),
    [
        ("optimize", nst_rt.optimize),
        ("train", nst_rt.train_style),
        ("image", nst_rt.load_style),
        ("video", nst_rt.load_style),
        ("video", nst_rt.convert_video),
        ("webcam", nst_rt.show_webcam),
    ],
)
def test_the_defaults_in_the_help_are_those_of_the_library(
    verb: str, function: Callable[..., object]
) -> None:
    verbs = next(a for a in _parser()._actions if a.choices and "optimize" in a.choices)
    parameters = inspect.signature(function).parameters
    checked = 0
    for action in verbs.choices[verb]._actions:  # type: ignore[index]
        said = re.search(r"default: (\S+)$", action.help or "")
        if said and action.dest in parameters:
            default = parameters[action.dest].default
            if isinstance(default, (int, float)) or default in ("auto", "lbfgs", "fast", "caffe"):
                assert str(default).removesuffix(".0") == said[1]
                checked += 1
    assert checked or verb in ("webcam",)


def test_help_needs_no_heavy_import() -> None:
    code = (
        "import sys, nst_rt\nfrom nst_rt.cli import main\n"
        "try: main(['video', '--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'cv2', 'numpy', 'lightning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_the_public_names_exist() -> None:
    for name in nst_rt.__all__:
        assert getattr(nst_rt, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        nst_rt.nothing  # noqa: B018
