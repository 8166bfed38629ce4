import argparse
import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from clips import write_clip
from PIL import Image

import nst_rt
from nst_rt.cli import _parser, main
from nst_rt.errors import StyleTransferError
from nst_rt.images.io import load_image, tensor_to_frame
from nst_rt.infer.video import probe
from nst_rt.models.style_model import StyleModel
from nst_rt.train.settings import all_settings

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
    mask = Image.new("RGB", (120, 40), "white")
    mask.paste("red", (0, 0, 60, 40))
    mask.save("wide.png")
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
PAINT = ("optimize", PHOTO, PAINTING, *OUT)
QUICK = ("--size", "48", "--steps", "4", "--content-layers", "relu1_1", "--style-layers", "relu1_1")
MASKS = ("--content-mask", "wide.png", "--style-masks")
BAD = [
    # images
    (["image", "missing.png", *OUT], "no such file"),
    (["image", "text.png", *OUT], "not an image"),
    (["image", "photos", *OUT], "not a folder, which several photos need"),
    (["image", PHOTO, "-o", "exists.png"], "exists already; --overwrite"),
    (["image", "exists.png", "-o", "exists.png", "--overwrite"], "would replace exists.png"),
    (["styles", "exists.png", "-o", "exists.png", "--overwrite"], "would replace exists.png"),
    (["styles", "-o", "sheet.png"], "--output needs a photo"),
    (["image", PHOTO, *OUT, "--max-pixels", "1000"], "more than the 1000"),
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
    (["image", PHOTO, *OUT, "--backend", "cuda"], "known are auto, openvino, torch, onnx"),
    (["image", PHOTO, *OUT, "--precision", "int4"], "known are auto, f32"),
    # the optimizer
    (["optimize"], "a photo, one painting or more, and -o OUT; or --batch FILE"),
    (["optimize", PHOTO], "a photo, one painting or more"),
    (["optimize", PHOTO, *OUT], "a photo, one painting or more"),
    (["optimize", PHOTO, PAINTING], "a photo, one painting or more"),
    (["optimize", "missing.png", PAINTING, *OUT], r"missing\.png: no such file"),
    (["optimize", PHOTO, "text.png", *OUT], r"text\.png: not an image"),
    (["optimize", PHOTO, PAINTING, "missing.png", *OUT], r"missing\.png: no such file"),
    (["optimize", PHOTO, PAINTING, "-o", "exists.png"], "exists already"),
    (["optimize", PHOTO, PAINTING, "-o", "out.xyz"], "unknown image format '.xyz'"),
    (["optimize", PHOTO, PAINTING, "-o", f"{'x' * 300}.png"], "File name too long"),
    ([*PAINT, "--size", "0"], "must be a positive number"),
    ([*PAINT, "--size", "1000000"], r"1000000x1000000 px would take .* GB of memory"),
    ([*PAINT, "--size", "8"], r"astronaut\.png: at 8x8 px it is too small .* needs 16 px"),
    ([*PAINT, "--style-scale", "0.01"], r"swirls\.jpg: at 5x\d px it is too small"),
    ([*PAINT, "--style-scale", "0"], "style scale must be positive, not 0"),
    ([*PAINT, "--preset", "balancd"], r"unknown preset 'balancd': did you mean 'balanced'\?"),
    ([*PAINT, "--steps", "0"], "must be positive, not 0"),
    ([*PAINT, "--steps", "100,-2"], "must be positive, not 100, -2"),
    ([*PAINT, "--steps", "abc"], "--steps: invalid whole numbers value: 'abc'"),
    ([*PAINT, "--steps", "1.5"], "--steps: invalid whole numbers value: '1.5'"),
    ([*PAINT, "--optimizer", "sgd"], "optimizer must be one of lbfgs, adam, not sgd"),
    ([*PAINT, "--learning-rate", "0"], "learning rate must be positive, not 0"),
    ([*PAINT, "--min-size", "0"], "must have 1 px or more, not 0"),
    ([*PAINT, "--style-weight", "nan"], "must be 0 or more, not nan"),
    ([*PAINT, "--style-weight", "-3"], "must be 0 or more, not -3"),
    ([*PAINT, "--content-weight", "much"], "--content-weight: invalid float value: 'much'"),
    ([*PAINT, "--content-layers", "relu4_9"], r"VGG19 layer 'relu4_9': did you mean 'relu4_\d'"),
    ([*PAINT, "--style-layers", "block1_conf1"], "VGG19 layer 'block1_conf1'"),
    ([*PAINT, "--style-layers", "relu1_1=-1"], "weights must be 0 or more.*relu1_1.*-1"),
    ([*PAINT, "--style-layers", "relu1_1=0"], "weights must be 0 or more"),
    ([*PAINT, "--style-layers", "relu1_1=nan"], "weights must be 0 or more"),
    ([*PAINT, "--style-layers", "relu1_1=x"], "--style-layers: invalid layers value"),
    ([*PAINT, "--style-layers", "relu1_1,relu1_1"], "relu1_1 is named twice"),
    ([*PAINT, "--style-layers", "relu1_1,block1_conv1"], "named twice"),
    ([*PAINT, "--style-layers", ""], "VGG19 layer ''"),
    ([*PAINT, "--pooling", "min"], "pooling must be one of max, average, l2, not min"),
    ([*PAINT, "--init", "missing.png"], r"missing\.png: no such file"),
    ([*PAINT, "--init", "text.png"], r"text\.png: not an image"),
    ([*PAINT, "--seed", "abc"], "--seed: invalid int value: 'abc'"),
    ([*PAINT, "--init", "noise", "--seed", f"1{'0' * 30}"], "seed"),
    ([*PAINT, "--mix", "1,2"], "mix has 2 weights for 1 style"),
    (["optimize", PHOTO, PAINTING, PAINTING, *OUT, "--mix", "1,0"], r"positive, not \[1.0, 0.0\]"),
    ([*PAINT, "--mix", "a,b"], "--mix: invalid numbers value: 'a,b'"),
    ([*PAINT, "--preserve-colors", "nope"], "kept by luminance or match, not by nope"),
    ([*PAINT, "--style-masks", "white"], "a style mask needs a content mask too"),
    ([*PAINT, "--content-mask", "wide.png"], "a content mask needs a style mask too"),
    ([*PAINT, *MASKS, "white"], r"wide\.png: 120x40 px does not fit an image of 512x512 px"),
    ([*PAINT, *MASKS, "white,red"], "there are 2 style masks for 1 styles"),
    ([*PAINT, "--content-mask", PHOTO, "--style-masks", "red"], "not a label image"),
    ([*PAINT, "--memory", "0.001"], r"512x512 px would take .* 0\.0 GB: .*any smaller size"),
    ([*PAINT, "--size", "4096", "--memory", "1.5"], r"GB of memory.*--size \d+ would fit"),
    ([*PAINT, "--memory", "-1"], "memory must be a positive number of GB, not -1"),
    ([*PAINT, "--vgg-weights", "text.png"], "weights"),
    ([*PAINT, "--device", "gpu"], "no device 'gpu'"),
    ([*PAINT, "--save-every", "-1"], "0 or more"),
    ([*PAINT, "--timelapse", "out.txt"], r"out\.txt: unknown video format '.txt'; use one of"),
    ([*PAINT, "--timelapse", "exists.mp4"], "exists already"),
    ([*PAINT, "--plot", "out.xyz"], r"out\.xyz: unknown plot format '.xyz'; use one of"),
    ([*PAINT, "--plot", "nowhere/p.png"], "folder nowhere does not exist"),
    ([*PAINT, "--resume"], "nothing to resume"),
    (["optimize", "--batch", "missing.csv"], r"missing\.csv: no such file"),
    (["optimize", "--batch", "text.png"], r"text\.png: no column content, style, output"),
    ([*PAINT, "--batch", "list.csv"], "--batch takes all files from its list"),
    (["optimize", "--batch", "list.csv", "--plot", "p.png"], "--plot is for one picture"),
    ([*PAINT, "--grid", "nonsense"], "'nonsense' is not NAME=VALUE,VALUE"),
    ([*PAINT, "--grid", "style_weight="], "is not NAME=VALUE,VALUE"),
    ([*PAINT, "--grid", "stile_weight=1,3"], "'stile_weight': did you mean 'style_weight'"),
    ([*PAINT, "--grid", "style_weight=1,much"], "style_weight: 'much' cannot be read"),
    ([*PAINT, "--grid", "style_weight=1,-1"], "must be 0 or more, not -1"),
    ([*PAINT, "--grid", "content_layers=relu4_9"], "did you mean 'relu4_"),
    ([*PAINT, "--grid", "seed=1,2", "--resume"], "--resume is not for --grid"),
    ([*PAINT, "--grid", "seed=1,2", "--timelapse", "t.mp4"], "--timelapse is for one picture"),
    ([*PAINT, "--grid", "seed=1,2", "--save-every", "2"], "--save-every is for one picture"),
    ([*PAINT, *QUICK, "--grid", "seed=1,2", "--grid", "seed=3"], "seed"),
    ([*PAINT, "--stile-weight", "3"], "unrecognized arguments: --stile-weight"),
    # videos
    (["video", "missing.mp4", "out.mp4"], "no such file"),
    (["video", "empty.mp4", "out.mp4"], "not a video"),
    (["video", "text.png", "out.mp4"], "video"),
    (["video", "photos", "out.mp4"], "no pictures in this folder"),
    (["video", FILM, "exists.mp4"], "exists already"),
    (["video", FILM, "out.doc"], "unknown video format"),
    (["video", FILM, "out.mp4", "--style", "nobody"], "known are .*starry_night"),
    (["video", FILM, "out.mp4", "--crf", "99"], "between 0 and 51"),
    (["video", FILM, "out.mp4", "--stability", "2"], "between 0 and 1, not 2"),
    (["video", FILM, "out.mp4", "--preset", "warp"], "must be one of ultrafast"),
    # training
    (["train", "--style", "no.png", "--photos", "@photos", "--name", "x"], "no such file"),
    (["train", "--style", PAINTING, "--photos", "photos", "--name", "x"], "no photos in it"),
    (["train", "--style", PAINTING, "--photos", "nowhere", "--name", "x"], "no such folder"),
    (["train", "--style", PAINTING, "--photos", "photos", "--name", "a/b"], "name of a style"),
    (["train", "--style", PAINTING, "--photos", "@photos", "--name", "x", "--steps", "-1"], "pos"),
    (["train", "--style", PAINTING, "--photos", "@photos", "--name", "x", "--seed", "-1"], "seed"),
    (["train", "--style", PAINTING, "--photos", "@photos", "--name", "x", "--workers", "-1"], "or"),
    # the rest
    (["demo", "-o", "text.png"], "Not a directory|File exists"),
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


def test_cameras_are_listed(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nst_rt.infer.live.camera.list_cameras", lambda: {0: "Front", 2: "Back"})
    assert run("webcam", "--list") == (0, "0: Front\n2: Back\n", "")
    cameras = json.loads(run("webcam", "--list", "--json")[1])["cameras"]
    assert cameras == [{"index": 0, "name": "Front"}, {"index": 2, "name": "Back"}]
    monkeypatch.setattr("nst_rt.infer.live.camera.list_cameras", dict)
    assert "no camera" in run("webcam", "--list")[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("webcam", "--size", "720p"), "'720p' is not a size such as 640x480"),
        (("video", "a", "b", "--size", "720p"), "'720p' is not a size such as 640x480"),
        (("video", "a", "b", "--fps", "fast"), "'fast' is not a rate such as 25 or 30000/1001"),
        (("video", "a", "b", "--fps", "25/0"), "'25/0' is not a rate"),
    ],
)
def test_sizes_and_rates_that_are_none(
    run: Callable[..., tuple[int, str, str]], arguments: tuple[str, ...], said: str
) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert said in err


def test_an_image_is_stylized(
    run: Callable[..., tuple[int, str, str]], astronaut: Path, folder: Path
) -> None:
    code, out, _ = run("image", astronaut, "-o", "out.png", "--size", 200, "--json")
    assert code == 0
    facts = json.loads(out)
    assert facts["images"] == [{"output": "out.png", "width": 200, "height": 200}]
    stylized, photo = load_image("out.png"), load_image(astronaut, size=200)
    assert stylized.shape == photo.shape
    assert (stylized - photo).abs().mean() > 0.03


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


@pytest.mark.parametrize(
    ("encoding", "options"), [("cp1252", []), ("cp1252", ["--json"]), ("utf-8", [])]
)
def test_a_name_that_the_terminal_cannot_show_is_written_and_escaped(
    folder: Path, encoding: str, options: list[str]
) -> None:
    shutil.copy("wide.png", "photos")
    Image.new("RGB", (300, 300)).save("photos/large.png")
    name = "\N{CJK UNIFIED IDEOGRAPH-6587}\udce9"  # the second is a byte that is no UTF-8
    done = subprocess.run(
        [*CLI, "photos", "photos", "-o", name, *options],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    assert Path(name).is_dir()
    if options:
        assert json.loads(done.stdout)["output"] == name
    else:
        assert b"\\udce9" in done.stdout


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_a_picture_is_optimized_and_steps_are_saved(
    run: Callable[..., tuple[int, str, str]],
    astronaut: Path,
    painting: Path,
    folder: Path,
    optimizer: str,
) -> None:
    options = ["--size", 64, "--steps", 5, "--save-every", 2, "--optimizer", optimizer, "--json"]
    films = ["--timelapse", "film.mp4", "--plot", "losses.svg"]
    code, out, err = run("optimize", astronaut, painting, "-o", "out.png", *options, *films)
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert (facts["output"], facts["steps"]) == ("out.png", 5)
    assert all(facts[name] > 0 for name in ("content", "style", "tv", "total", "seconds"))
    assert sorted(p.name for p in folder.glob("out*")) == [
        "out-0002.png",
        "out-0004.png",
        "out.png",
    ]
    assert load_image("out.png").shape == (1, 3, 64, 64)
    assert probe("film.mp4").frames == 5 + 1 + 30
    assert "<svg" in Path("losses.svg").read_text()


def test_the_report_of_an_optimization_is_one_line(
    run: Callable[..., tuple[int, str, str]], astronaut: Path, painting: Path
) -> None:
    code, out, err = run("optimize", astronaut, painting, *OUT, *QUICK)
    assert (code, err) == (0, "")
    number = r"[\d.e+-]+"
    assert re.fullmatch(
        rf"out\.png: 4 steps in {number} s, content {number}, style {number}, total {number}\n", out
    )


def test_several_paintings_are_mixed(
    run: Callable[..., tuple[int, str, str]], astronaut: Path, painting: Path
) -> None:
    mosaic = painting.with_name("mosaic.jpg")
    outputs = {}
    for mix in ("1,1", "1,9", "9,1"):
        arguments = ["-o", f"{mix}.png", *QUICK, "--mix", mix]
        assert run("optimize", astronaut, painting, mosaic, *arguments)[0] == 0
        outputs[mix] = Path(f"{mix}.png").read_bytes()
    assert run("optimize", astronaut, painting, mosaic, *OUT, *QUICK)[0] == 0
    assert Path("out.png").read_bytes() == outputs["1,1"]
    assert len(set(outputs.values())) == 3


@pytest.mark.parametrize("order", ["options first", "options last", "output between"])
def test_options_may_stand_anywhere(
    run: Callable[..., tuple[int, str, str]], astronaut: Path, painting: Path, order: str
) -> None:
    arguments = {
        "options first": [*OUT, *QUICK, astronaut, painting],
        "options last": [astronaut, painting, *OUT, *QUICK],
        "output between": [astronaut, *OUT, painting, *QUICK],
    }
    code, _, err = run("optimize", *arguments[order])
    assert (code, err) == (0, "")


class Passed(StyleTransferError):
    """Raised instead of painting."""


def test_every_option_reaches_the_library(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its text, and what becomes of it."""
    texts = {
        "preset": ("gatys", "gatys"),
        "size": ("300", 300),
        "steps": ("30,20", [30, 20]),
        "optimizer": ("adam", "adam"),
        "learning-rate": ("0.5", 0.5),
        "min-size": ("64", 64),
        "content-weight": ("2", 2.0),
        "style-weight": ("1e3", 1000.0),
        "tv-weight": ("0", 0.0),
        "content-layers": ("relu4_2", {"relu4_2": 1.0}),
        "style-layers": ("relu1_1=0.3, relu2_1", {"relu1_1": 0.3, "relu2_1": 1.0}),
        "pooling": ("l2", "l2"),
        "init": ("noise", "noise"),
        "seed": ("-5", -5),
        "mix": ("1,2.5", [1.0, 2.5]),
        "style-scale": ("0.5", 0.5),
        "preserve-colors": ("match", "match"),
        "content-mask": ("m.png", "m.png"),
        "style-masks": ("a.png,white", ["a.png", "white"]),
        "memory": ("2.5", 2.5),
        "device": ("cpu", "cpu"),
        "vgg-weights": ("torchvision", "torchvision"),
        "save-every": ("7", 7),
        "timelapse": ("t.mp4", "t.mp4"),
        "plot": ("p.png", "p.png"),
        "resume": (None, True),
        "overwrite": (None, True),
    }
    seen: dict[str, object] = {}

    def paint(*files: object, **options: object) -> None:
        seen.update(options, files=files)
        raise Passed("passed")

    monkeypatch.setattr("nst_rt.optimization.runs.paint", paint)
    flags = [(f"--{name}", text) for name, (text, _) in texts.items()]
    arguments = [part for flag in flags for part in flag if part is not None]
    assert run("optimize", "a.jpg", "b.jpg", "c.jpg", *OUT, *arguments)[2] == "nst-rt: passed\n"
    assert callable(seen.pop("on_iterate"))
    assert seen.pop("files") == ("a.jpg", ["b.jpg", "c.jpg"], "out.png")
    assert seen == {name.replace("-", "_"): value for name, (_, value) in texts.items()}
    # Nothing in the help is left out here.
    assert {name.replace("-", "_") for name in texts} == set(_options("optimize")) - {
        "help",
        "json",
        "output",
        "batch",
        "grid",
    }


def test_options_that_are_not_given_are_left_to_the_library(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, object] = {}
    default = inspect.signature(nst_rt.paint).parameters["save_every"].default

    def paint(*files: object, **options: object) -> None:
        seen.update(options)
        raise Passed("passed")

    monkeypatch.setattr("nst_rt.optimization.runs.paint", paint)
    run("optimize", "a.jpg", "b.jpg", *OUT)
    assert set(seen) - {"save_every"} == {"on_iterate"}
    assert seen.get("save_every", default) == default


def test_no_option_of_the_optimizer_is_dead_or_missing() -> None:
    settings = set(inspect.signature(nst_rt.optimize).parameters)
    files = set(inspect.signature(nst_rt.paint).parameters) - {"settings", "styles", "on_iterate"}
    offered = set(_options("optimize")) | {"content", "style"}
    assert offered - settings - files == {"help", "json", "batch", "grid"}
    assert settings - offered == {"dtype"}  # for experiments in Python
    assert files - offered == set()


def test_preserve_colors_keeps_the_chroma(
    run: Callable[..., tuple[int, str, str]], astronaut: Path, painting: Path
) -> None:
    options = ["--preserve-colors", "luminance"]
    code, _, err = run("optimize", astronaut, painting, *OUT, *QUICK, *options)
    assert (code, err) == (0, "")
    ours, theirs = (
        np.asarray(Image.fromarray(tensor_to_frame(image)[:, :, ::-1]).convert("YCbCr"), int)
        for image in (load_image("out.png"), load_image(astronaut, size=48))
    )
    assert np.abs(ours - theirs)[:, :, 1:].mean() < 4  # the chroma
    assert np.abs(ours - theirs)[:, :, 0].mean() > 4


def test_a_grid_is_painted(
    run: Callable[..., tuple[int, str, str]], astronaut: Path, painting: Path, folder: Path
) -> None:
    grid = ["--grid", "style-weight=1,3", "--grid", "content_layers=relu1_1,relu1_1+relu1_2=0.5"]
    code, out, err = run("optimize", astronaut, painting, *OUT, *QUICK, *grid)
    assert (code, out, err) == (0, "out.png: 4 pictures\n", "")
    height, width = load_image("out.png").shape[-2:]
    assert width == 2 * 48
    assert 2 * (48 + 10) <= height <= 2 * (48 + 30)
    assert not list(folder.glob("*partial*"))
    grid = ["--grid", "seed=1,2", "--overwrite", "--json"]
    code, out, _ = run("optimize", astronaut, painting, *OUT, *QUICK, *grid)
    assert code == 0
    assert json.loads(out) == {"output": "out.png", "pictures": 2}


def test_a_list_is_painted(
    run: Callable[..., tuple[int, str, str]], astronaut: Path, painting: Path, folder: Path
) -> None:
    (folder / "lists").mkdir()
    pairs = folder / "lists/pairs.csv"
    pairs.write_text(
        "content,style,output,style_weight,steps\n"
        f"{astronaut},{painting},a.png,,\n"
        f"{astronaut},{painting};{painting.with_name('mosaic.jpg')},b.png,30,3\n"
    )
    code, out, err = run("optimize", "--batch", pairs, *QUICK)
    assert (code, err) == (0, "")
    assert re.fullmatch(r".*lists/a\.png: total \S+\n.*lists/b\.png: total \S+\n2 pictures\n", out)
    assert load_image("lists/a.png").shape == load_image("lists/b.png").shape == (1, 3, 48, 48)
    code, _, err = run("optimize", "--batch", pairs, *QUICK)
    assert code == 2
    assert re.fullmatch(r"nst-rt: .*pairs\.csv, line 2: .*a\.png: exists already.*\n", err)
    Path("lists/b.png").unlink()
    code, out, _ = run("optimize", "--batch", pairs, *QUICK, "--resume", "--json")
    assert code == 0
    (picture,) = json.loads(out)["pictures"]
    assert picture["output"].endswith("lists/b.png")
    assert picture["steps"] == 3


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{photo},{painting},b.png,two", r"pairs\.csv, line 3: steps: 'two' cannot be read"),
        ("{photo},{painting},b.png,2,3", r"pairs\.csv, line 3: .*columns"),
        ("{photo},{painting},b.png", r"pairs\.csv, line 3: too few columns"),
        ("{photo},nothing.jpg,b.png,2", r"pairs\.csv, line 3: nothing\.jpg: no such file"),
    ],
)
def test_a_bad_line_of_a_list_is_named_and_nothing_is_painted(
    run: Callable[..., tuple[int, str, str]],
    astronaut: Path,
    painting: Path,
    folder: Path,
    line: str,
    said: str,
) -> None:
    Path("pairs.csv").write_text(
        f"content,style,output,steps\n{astronaut},{painting},a.png,2\n"
        + line.format(photo=astronaut, painting=painting)
    )
    before = set(folder.iterdir())
    code, out, err = run("optimize", "--batch", "pairs.csv", *QUICK)
    assert (code, out) == (2, "")
    assert re.fullmatch(rf"nst-rt: {said}.*\n", err)
    assert set(folder.iterdir()) == before


def test_an_interrupted_optimization_keeps_the_image_and_goes_on(
    run: Callable[..., tuple[int, str, str]], folder: Path, astronaut: Path, painting: Path
) -> None:
    layers = ["--content-layers", "relu1_1", "--style-layers", "relu1_1"]
    arguments = ["optimize", astronaut, painting, *OUT, "--size", "64", *layers, "--steps", "400"]
    program = subprocess.Popen(
        [*CLI, *map(str, arguments), "--save-every", "1"],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (folder / "out-0002.png").exists():
        assert program.poll() is None
        time.sleep(0.05)
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=60)
    assert program.returncode == 130
    *notices, line = err.splitlines()
    assert notices in ([], ["nst-rt: stopping after this step; Ctrl-C again stops now"])
    assert re.fullmatch(
        r"nst-rt: interrupted: the best image of \d+ of 400 steps is in out\.partial\.png; "
        r"the same command with --resume goes on from there",
        line,
    )
    assert load_image(folder / "out.partial.png").shape == (1, 3, 64, 64)
    assert not (folder / "out.png").exists()
    code, _, err = run(*arguments)
    assert code == 2
    assert "an interrupted run is there; --resume" in err
    code, out, err = run(*arguments, "--resume")
    assert (code, err) == (0, "")
    assert out.startswith("out.png: 400 steps")
    assert not list(folder.glob("out.partial*"))


def test_an_interrupted_video_plays(folder: Path, two_styles: StyleModel) -> None:
    two_styles.save("two.safetensors")
    write_clip(Path("in.mp4"), pts=range(0, 512 * 25 * 600, 512))
    program = subprocess.Popen(
        [*CLI, "video", "in.mp4", "out.mp4", "--style", "two.safetensors"],
        stderr=subprocess.PIPE,
        text=True,
    )
    while not Path("out.mp4.partial/000000.json").exists():
        assert program.poll() is None
        time.sleep(0.1)
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=60)
    assert (program.returncode, err) == (
        130,
        "nst-rt: interrupted; what was finished is in out.partial.mp4; the same command with "
        "--resume continues\n",
    )
    assert 250 <= probe("out.partial.mp4").frames < 15000
    assert not Path("out.mp4").exists()
    assert main(["video", "in.mp4", "out.mp4", "--style", "two.safetensors"]) == 2


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


def test_a_stylized_photo_keeps_its_transparency(
    run: Callable[..., tuple[int, str, str]], two_styles: StyleModel, astronaut: Path
) -> None:
    two_styles.save("two.safetensors")
    with Image.open(astronaut) as photo:
        cut_out = photo.resize((64, 64)).convert("RGBA")
    alpha = Image.linear_gradient("L").resize((64, 64))
    cut_out.putalpha(alpha)
    cut_out.save("cut_out.png")
    assert run("image", "cut_out.png", "--style", "two.safetensors:night", *OUT)[0] == 0
    with Image.open("out.png") as stylized:
        assert np.array_equal(np.asarray(stylized.getchannel("A")), np.asarray(alpha))
        assert not np.array_equal(np.asarray(stylized)[..., :3], np.asarray(cut_out)[..., :3])


def test_a_style_is_trained_and_used(
    run: Callable[..., tuple[int, str, str]], astronaut: Path, painting: Path, folder: Path
) -> None:
    facts = ["--title", "Swirls", "--license", "CC0"]
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
    own = r"nst-rt: .*only 3 photos.*\nnst-rt: style image swirls\.jpg: .*\n"
    assert re.fullmatch(own, done.stderr), done.stderr
    assert "mine.safetensors" in done.stdout
    assert len(list((folder / "runs/mine/samples").glob("*.png"))) > 0
    assert run("image", astronaut, "--style", "mine.safetensors", *OUT, "--size", 64)[0] == 0


def test_a_new_style_starts_from_a_trained_network(
    run: Callable[..., tuple[int, str, str]], astronaut: Path, painting: Path, folder: Path
) -> None:
    with Image.open(astronaut) as photo:
        photo.resize((100, 100)).save(folder / "one.jpg")
    (folder / "list.txt").write_text("one.jpg\n")
    size = ["--steps", 2, "--size", 64, "--batch-size", 1, "--workers", 0]
    trained = ["train", "--style", painting, "--photos", "list.txt", *size]
    start = ["--from", "gallery", "--affine-only"]
    code, out, err = run(*trained, *start, "--trainer.log_every_n_steps", 1)
    assert code == 0, err
    assert "swirls.safetensors: 2 steps" in out
    # The new style is the first, which a file stands for; the old one is there as well.
    for style in ("swirls.safetensors", "swirls.safetensors:starry_night"):
        assert run("image", "one.jpg", "--style", style, "-o", f"{style[-5:]}.png")[0] == 0
    code, out, _ = run(*trained, "--name", "other", "--fast-dev-run", "--json")
    assert code == 0
    assert json.loads(out) == {"fast_dev_run": True}
    assert not (folder / "other.safetensors").exists()


@pytest.mark.parametrize("written", [False, True])
def test_an_interrupted_training_speaks_of_its_own_checkpoint_only(
    run: Callable[..., tuple[int, str, str]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    written: bool,
) -> None:
    def train_style(**_: object) -> None:
        if written:
            (folder / "runs/text/checkpoints/step=000010.ckpt").touch()
        raise KeyboardInterrupt

    (folder / "runs/text/checkpoints").mkdir(parents=True)
    (folder / "runs/text/checkpoints/step=000005.ckpt").touch()  # of an earlier run
    monkeypatch.setattr("nst_rt.train.run.train_style", train_style)
    code, _, err = run("train", "--style", "text.png", "--photos", "photos", "--overwrite")
    assert code == 130
    assert ("--resume" in err) == written


def test_all_settings_of_a_training_are_printed_as_a_recipe(
    run: Callable[..., tuple[int, str, str]],
) -> None:
    code, out, _ = run("train", "--print-config", "--config", "new_style", "--model.size", 128)
    assert code == 0
    settings = yaml.safe_load(out)
    assert settings["model"]["size"] == 128
    assert settings["trainer"]["max_steps"] == 220
    assert {"devices", "strategy", "num_nodes", "gradient_clip_val"} <= settings["trainer"].keys()


def test_photos_are_packed(
    run: Callable[..., tuple[int, str, str]], astronaut: Path, folder: Path
) -> None:
    (folder / "album").mkdir()
    shutil.copy(astronaut, folder / "album")
    (folder / "album/broken.jpg").write_bytes(b"half")
    code, out, err = run("photos", "album", "--resize", 96, "-o", "album.zip")
    assert code == 0
    assert re.match(r"album.zip: 1 photos, 0.\d MB, skipped: 1$", out)
    assert re.fullmatch(r"nst-rt: skipped a photo: \S*broken.jpg: .*\n", err)
    assert run("photos", "album", "--resize", 96, "-o", "album.zip")[0] == 2
    code, out, _ = run("photos", "album", "-o", "album.zip", "--overwrite", "--json")
    assert json.loads(out)["count"] == 1


def test_styles_are_listed(run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = run("styles")
    assert code == 0
    assert re.search("starry_night +The Starry Night +Vincent van Gogh +1889", out)
    assert json.loads(run("styles", "--json")[1])["starry_night"]["license"] == "public domain"


def test_a_photo_in_all_styles(
    run: Callable[..., tuple[int, str, str]], folder: Path, astronaut: Path
) -> None:
    code, out, _ = run("styles", astronaut, "-o", "sheet.png", "--size", 48, "--json")
    assert code == 0
    height, width = load_image(folder / "sheet.png").shape[-2:]
    assert json.loads(out) == {"output": "sheet.png", "width": width, "height": height}
    assert width == 4 * 48
    assert run("styles", astronaut, "-o", "sheet.png")[0] == 2  # it exists


def test_every_verb_has_help_with_an_example(run: Callable[..., tuple[int, str, str]]) -> None:
    for verb in (
        "optimize",
        "train",
        "photos",
        "evaluate",
        "image",
        "video",
        "webcam",
        "web",
        "styles",
        "demo",
    ):
        code, out, _ = run(verb, "--help")
        assert code == 0
        assert f"nst-rt {verb}" in out.split("example:")[1]


def _options(verb: str) -> dict[str, argparse.Action]:
    """The options of a verb: the name of its value -> the option."""
    verbs = next(a for a in _parser()._actions if a.choices and "optimize" in a.choices)
    actions = verbs.choices[verb]._actions  # type: ignore[index]
    return {action.dest: action for action in actions if action.option_strings}


@pytest.mark.parametrize(
    ("verb", "function"),
    [
        ("optimize", nst_rt.optimize),
        ("video", nst_rt.stylize_video),
        ("webcam", nst_rt.stylize_webcam),
    ],
)
def test_the_defaults_in_the_help_are_those_of_the_library(
    verb: str, function: Callable[..., object]
) -> None:
    parameters = inspect.signature(function).parameters
    checked = 0
    for action in _options(verb).values():
        said = re.search(r"default: (\S+)$", action.help or "")
        if said and action.dest in parameters:
            default = parameters[action.dest].default
            if isinstance(default, (int, float)) or default in (
                "auto",
                "balanced",
                "fast",
                "caffe",
            ):
                assert str(default).removesuffix(".0") == said[1]
                checked += 1
    assert checked or verb in ("webcam",)


def test_defaults_of_the_verb_train_are_those_of_the_recipes() -> None:
    groups = yaml.safe_load(all_settings())
    recipe = {key: value for group in groups.values() if group for key, value in group.items()}
    recipe["steps"] = recipe["max_steps"]
    said = {
        dest: match[1]
        for dest, action in _options("train").items()
        if dest in recipe and (match := re.search(r"default: ([\w.]+)", action.help or ""))
    }
    assert {"steps", "batch_size", "size", "style_weight", "seed", "workers"} <= said.keys()
    for dest, default in said.items():
        assert str(recipe[dest]).removesuffix(".0") == default
    from_trained = yaml.safe_load(all_settings(recipes=["new_style"]))["trainer"]["max_steps"]
    assert f"; {from_trained} with --from" in str(_options("train")["steps"].help)


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
