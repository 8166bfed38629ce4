"""`nst-rt optimize`."""

import inspect
import json
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
from command_line import Run
from PIL import Image

import nst_rt
from nst_rt.cli import _parser, verb_parsers
from nst_rt.cli.options import signature_defaults, signature_types
from nst_rt.errors import StyleTransferError
from nst_rt.images.io import load_image
from nst_rt.infer.video import probe
from nst_rt.learning.request import LearningRequest
from nst_rt.models.vgg import Pooling
from nst_rt.optimization.inputs import PreserveColors
from nst_rt.optimization.presets import OptimizerName, PresetName
from nst_rt.optimization.runs import optimize_to_file

OPTIMIZATION = "nst_rt.optimization.optimizer:Optimization"
LAYERS = ("--content-layers", "relu1_1", "--style-layers", "relu1_1")
QUICK = ("--size", "48", "--steps", "4", *LAYERS)
BASIC = ("content.png", "--style-image", "swirls.jpg", "-o", "out.png")
STYLE = ("--style-image", "swirls.jpg")


@pytest.fixture
def run(run: Run, astronaut: Path, painting: Path) -> Run:
    """`nst-rt optimize` in a folder with content images, style images and bad inputs."""
    Path("content.png").symlink_to(astronaut)
    for name in ("swirls.jpg", "mosaic.jpg"):
        Path(name).symlink_to(painting.with_name(name))
    Path("text.png").write_text("not an image")
    Path("exists.png").write_text("precious")
    Path("exists.mp4").write_text("precious")
    mask = Image.new("RGB", (120, 40), "white")
    mask.paste("red", (0, 0, 60, 40))
    mask.save("wide.png")
    return partial(run, "optimize")


BAD: list[tuple[tuple[str, ...], str]] = [
    ((), "--style-image"),
    (("content.png",), "--style-image"),
    (STYLE, "content"),
    (("missing.png", *STYLE), r"missing\.png"),
    (("content.png", "--style-image", "swirls.jpg", "missing.png"), r"missing\.png"),
    ((*STYLE, "content.png"), "nst-rt optimize content.png --style-image swirls.jpg"),
    (("content.png", *STYLE, "-o", "exists.png"), "--overwrite"),
    (("content.png", *STYLE, "-o", "out.xyz"), r"\.xyz"),
    (("content.png", *STYLE, "-o", f"{'x' * 300}.png"), "too long"),
    (("content.png", "wide.png", *STYLE, "-o", "out.png"), r"out\.png"),
    (("content.png", "missing.png", *STYLE, "-o", "out"), r"missing\.png"),
    (("content.png", "wide.png", *STYLE, "--plot", "p.png"), "--plot"),
    ((*BASIC, "--size", "1000000"), "1000000x1000000"),
    ((*BASIC, "--style-scale", "0"), "--style-scale"),
    ((*BASIC, "--preset", "balancd"), "'balanced'"),
    ((*BASIC, "--preset", "gatys", "--like-training"), "--like-training.*--preset"),
    ((*BASIC, "--like-training", "--style-scale", "2"), "--style-size"),
    ((*BASIC, "--like-training", "--style-size", "2000"), "--style-size"),
    ((*BASIC, "--style-size", "512"), "--preset training"),
    ((*BASIC, "--steps", "0"), "--steps"),
    ((*BASIC, "--steps", "1.5"), "--steps: .*'1.5'"),
    ((*BASIC, "--optimizer", "sgd"), "sgd"),
    ((*BASIC, "--learning-rate", "0"), "--learning-rate"),
    ((*BASIC, "--min-size", "0"), "--min-size"),
    ((*BASIC, "--content-weight", "much"), "--content-weight: .*'much'"),
    ((*BASIC, "--style-layers", "relu1_1=x"), "--style-layers: .*'x'"),
    ((*BASIC, "--style-layers", "relu1_1,relu1_1"), "relu1_1"),
    ((*BASIC, "--seed", "abc"), "--seed: .*'abc'"),
    ((*BASIC, "--init", "noise", "--seed", f"1{'0' * 30}"), "seed"),
    ((*BASIC, "--blend", "1,2"), "--blend"),
    ((*BASIC, "--blend", "a,b"), "--blend: .*'a'"),
    ((*BASIC, "--style-masks", "white"), "--content-mask"),
    ((*BASIC, "--size", "4096", "--memory", "1.5"), r"--size \d+"),
    ((*BASIC, "--memory", "-1"), "--memory"),
    ((*BASIC, "--save-every", "-1"), "--save-every"),
    ((*BASIC, "--timelapse", "exists.mp4"), r"exists\.mp4"),
    ((*BASIC, "--plot", "nowhere/p.png"), "nowhere"),
    ((*BASIC, "--resume"), r"out\.partial\.pt"),
    (("--list", "text.png"), "style_image"),
    ((*BASIC, "--list", "list.csv"), "--list"),
    (("--list", "list.csv", "--plot", "p.png"), "--plot"),
    ((*BASIC, "--grid", "nonsense"), "'nonsense'"),
    ((*BASIC, "--grid", "style_weight="), "style_weight="),
    ((*BASIC, "--grid", "stile_weight=1,3"), "'style_weight'"),
    ((*BASIC, "--grid", "style_weight=1,much"), "'much'"),
    ((*BASIC, "--grid", "seed=1,2", "--resume"), "--resume"),
    ((*BASIC, "--grid", "seed=1,2", "--save-every", "2"), "--save-every"),
    ((*BASIC, "--grid", "seed=1,2", "--grid", "seed=3"), "seed"),
    (("content.png", "wide.png", *STYLE, "--grid", "seed=1,2"), "--grid"),
    ((*BASIC, "--stile-weight", "3"), "--stile-weight .*--style-weight"),
]


@pytest.mark.parametrize(("arguments", "word"), BAD, ids=[" ".join(a)[-60:] for a, _ in BAD])
def test_bad_input_is_one_line_and_exit_code_2(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], word: str
) -> None:
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert re.search(word, err)
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_all_outputs(run: Run) -> None:
    extras = ("--save-every", 2, "--timelapse", "video.mp4", "--plot", "losses.svg")
    code, out, err = run(*BASIC, *QUICK, *extras, "--json")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert (facts["output"], facts["steps"]) == ("out.png", 4)
    assert all(facts[name] > 0 for name in ("content", "style", "tv", "total", "seconds"))
    for name in ("out-0002.png", "out-0004.png", "out.png"):
        assert load_image(name).shape == (1, 3, 48, 48)
    assert probe("video.mp4").frames == 4 + 1 + 30
    assert "<svg" in Path("losses.svg").read_text()


def test_default_output_is_named_after_content_and_styles(run: Run, tmp_path: Path) -> None:
    code, out, err = run("content.png", "--style-image", "swirls.jpg", "mosaic.jpg", *QUICK)
    assert (code, err) == (0, "")
    assert out.startswith("content_swirls_mosaic.png: 4 steps")
    assert out.count("\n") == 1
    assert Path("content_swirls_mosaic.png").exists()
    (tmp_path / "folder").mkdir()
    assert run("content.png", *STYLE, *QUICK, "-o", "folder")[0] == 0
    assert Path("folder/content_swirls.png").exists()


def test_several_content_images(run: Run) -> None:
    arguments = ("content.png", "wide.png", *STYLE, *QUICK, "-o", "new")
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    outputs = ["new/content_swirls.png", "new/wide_swirls.png"]
    assert [line.partition(":")[0] for line in out.splitlines()] == [*outputs, "2 images"]
    assert [load_image(output).shape[-2:] for output in outputs] == [(48, 48), (16, 48)]
    assert run(*arguments)[0] == 2  # they exist
    Path(outputs[0]).unlink()
    code, out, _ = run(*arguments, "--resume", "--json")
    assert code == 0
    assert [image["output"] for image in json.loads(out)["images"]] == outputs[:1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("-o", "out.png", *QUICK, "content.png", *STYLE),
        ("content.png", *STYLE, "-o", "out.png", *QUICK),
        ("-o", "out.png", "content.png", *QUICK, *STYLE),
    ],
    ids=["options first", "options last", "options between"],
)
def test_order_of_options(run: Run, arguments: tuple[str, ...]) -> None:
    assert run(*arguments)[0] == 0
    assert Path("out.png").exists()


class Passed(StyleTransferError):
    """Raised instead of optimizing."""


# Each option, its text, and the value that reaches the library.
OPTIONS: dict[str, tuple[str | None, object]] = {
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
    "blend": ("1,2.5", [1.0, 2.5]),
    "style-scale": ("0.5", 0.5),
    "style-size": ("300", 300),
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


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        (
            [part for name, (text, _) in OPTIONS.items() for part in (f"--{name}", text) if part],
            {name.replace("-", "_"): value for name, (_, value) in OPTIONS.items()},
        ),
        (["--preserve-colors"], {"preserve_colors": "luminance"}),
        (["--like-training"], {"preset": "training"}),
        ([], {}),
    ],
    ids=["all", "preserve-colors", "like-training", "none"],
)
def test_options_reach_the_library(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], passed: dict[str, object]
) -> None:
    seen: dict[str, Any] = {}

    def optimize_to_file(*files: object, **options: object) -> None:
        seen.update(options, files=files)
        raise Passed("passed")

    def timelapse(path: str, *, overwrite: bool) -> str:
        assert overwrite
        return path

    monkeypatch.setattr("nst_rt.optimization.runs.optimize_to_file", optimize_to_file)
    monkeypatch.setattr("nst_rt.infer.video.timelapse.timelapse", timelapse)
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        Path(name).touch()
    files = ("a.jpg", "--style-image", "b.jpg", "c.jpg", "-o", "out.png")
    assert run(*files, *arguments)[2] == "nst-rt: passed\n"
    assert callable(seen.pop("progress"))
    assert seen.pop("files") == ("a.jpg", ["b.jpg", "c.jpg"], Path("out.png"))
    assert seen == passed


def test_every_argument_of_the_library_is_an_option() -> None:
    parameters = set(inspect.signature(nst_rt.Optimization).parameters)
    parameters |= set(inspect.signature(optimize_to_file).parameters)
    verbs = verb_parsers(_parser())
    options = {action.dest for action in verbs["optimize"]._actions}
    only_python = {"style", "dtype", "settings", "progress", "on_iterate"}
    assert parameters - options == only_python
    assert options - parameters == {"help", "json", "style_image", "pairs", "grid"}
    assert {name.replace("-", "_") for name in OPTIONS} | {"content", "output"} == (
        options & parameters
    )


def test_types_and_defaults_come_from_the_signature(run: Run) -> None:
    types, defaults = signature_types(OPTIMIZATION), signature_defaults(OPTIMIZATION)
    for name, literal in (
        ("preset", PresetName),
        ("optimizer", OptimizerName),
        ("pooling", Pooling),
        ("preserve_colors", PreserveColors),
    ):
        assert types[name] == get_args(literal)
    assert (types["size"], types["memory"]) == ("int", "float")
    assert (defaults["size"], defaults["preset"]) == (512, "balanced")
    code, out, _ = run("--help")
    assert code == 0
    assert "{max,average,l2}" in out
    assert "(default: 512)" in out


def test_grid(run: Run, tmp_path: Path) -> None:
    grid = ("--grid", "style-weight=1,3", "--grid", "content_layers=relu1_1,relu1_1+relu1_2=0.5")
    code, out, err = run("content.png", *STYLE, *QUICK, *grid, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"output": "content_swirls_grid.png", "images": 4}
    height, width = load_image("content_swirls_grid.png").shape[-2:]
    assert width == 2 * 48
    assert 2 * (48 + 10) <= height <= 2 * (48 + 30)
    assert not list(tmp_path.glob("*partial*"))


def test_like_training(run: Run) -> None:
    arguments = ("content.png", *STYLE, "--like-training", "--size", 96, "--steps", 1)
    sizes = ("--grid", "style_weight=4,8,16", "--grid", "style_size=400,600")
    code, out, err = run(*arguments, *sizes, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["images"] == 6
    Path("list.csv").write_text(
        "content,style_image,output,style_size\ncontent.png,swirls.jpg,a.png,300\n"
    )
    assert run("--list", "list.csv", *arguments[3:])[0] == 0
    assert load_image("a.png").shape[-2:] == (96, 96)
    chosen = json.loads(run(*arguments, "-o", "b.png", "--json")[1])
    assert chosen["style_size"] == LearningRequest.of("swirls.jpg").style_size
    assert "512" in run(*arguments, "--style-size", 512, "-o", "c.png")[1]
    plain = json.loads(run("content.png", *STYLE, *QUICK, "-o", "d.png", "--json")[1])
    assert "style_size" not in plain


def test_list(run: Run, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    pairs = tmp_path / "lists/pairs.csv"
    pairs.write_text(
        "content,style_image,output,style_weight,steps\n"
        "../content.png,../swirls.jpg,a.png,,\n"
        "../content.png,../swirls.jpg;../mosaic.jpg,b.png,30,3\n"
    )
    code, out, err = run("--list", pairs, *QUICK)
    assert (code, err) == (0, "")
    assert re.fullmatch(r".*lists/a\.png: .*\n.*lists/b\.png: .*\n2 images\n", out)
    assert load_image("lists/a.png").shape == load_image("lists/b.png").shape == (1, 3, 48, 48)
    code, _, err = run("--list", pairs, *QUICK)
    assert code == 2
    assert re.search(r"line 2: .*a\.png: .*--overwrite", err)
    Path("lists/b.png").unlink()
    code, out, _ = run("--list", pairs, *QUICK, "--resume", "--json")
    assert code == 0
    [image] = json.loads(out)["images"]
    assert image["output"].endswith("lists/b.png")
    assert image["steps"] == 3


@pytest.mark.slow
def test_interrupted_run_keeps_the_image_and_resumes(run: Run, tmp_path: Path) -> None:
    arguments = (*BASIC, "--size", "64", *LAYERS, "--steps", "400")
    program = subprocess.Popen(
        [sys.executable, "-m", "nst_rt", "optimize", *arguments, "--save-every", "1"],
        stderr=subprocess.PIPE,
        text=True,
    )
    while not Path("out-0002.png").exists():
        assert program.poll() is None
        time.sleep(0.05)
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=60)
    assert program.returncode == 130
    assert re.search(r"of 400 .*out\.partial\.png.*--resume", err.splitlines()[-1])
    assert load_image("out.partial.png").shape == (1, 3, 64, 64)
    assert not Path("out.png").exists()
    code, _, err = run(*arguments)
    assert code == 2
    assert "--resume" in err
    code, out, err = run(*arguments, "--resume")
    assert (code, err) == (0, "")
    assert out.startswith("out.png: 400 steps")
    assert not list(tmp_path.glob("out.partial*"))
