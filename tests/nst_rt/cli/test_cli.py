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
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from clips import write_clip
from command_line import Run
from PIL import Image

import nst_rt
from nst_rt.cli import _parser, main
from nst_rt.images.io import load_image
from nst_rt.infer.learning.learn import LearningOptions
from nst_rt.infer.video import probe
from nst_rt.models.style_model import StyleModel
from nst_rt.train.recipes import all_settings

CLI = [sys.executable, "-m", "nst_rt"]


@pytest.fixture
def run(run: Run) -> Run:
    """The command line, in a folder with a few bad inputs."""
    Path("text.png").write_text("no picture")
    Path("text.safetensors").write_text("no model" * 10)
    Path("empty.mp4").touch()
    Path("exists.png").write_text("precious")
    Path("exists.mp4").write_text("precious")
    Path("photos").mkdir()
    mask = Image.new("RGB", (120, 40), "white")
    mask.paste("red", (0, 0, 60, 40))
    mask.save("wide.png")
    return run


PHOTO, PAINTING, FILM = "@photo", "@painting", "@film"
OUT = ("-o", "out.png")
BAD = [
    # arguments -> exactly one telling word or number of the message
    (["image", "missing.png", *OUT], "missing.png"),
    (["image", "text.png", *OUT], "text.png"),
    (["image", "photos", *OUT], "out.png"),
    (["image", "photos"], "photos: contains no images"),
    (["image", PHOTO, "-o", "exists.png"], "--overwrite"),
    (["image", "exists.png", "-o", "exists.png", "--overwrite"], "exists.png"),
    (["image", PHOTO, *OUT, "--max-pixels", "1000"], "1000"),
    (["image", PHOTO, "-o", "nowhere/out.png"], "nowhere"),
    (["image", PHOTO, "-o", "out.xyz"], ".xyz"),
    (["image", PHOTO, *OUT, "--size", "0"], "0"),
    (["image", PHOTO, *OUT, "--size", "-7"], "-7"),
    (["image", PHOTO, *OUT, "--size", "big"], "--size: must be a whole number, not 'big'"),
    (["image", PHOTO, *OUT, "--strength", "much"], "number, not 'much'"),
    (["image", PHOTO, *OUT, "--stlye", "udnie"], "--style?"),
    (["image", PHOTO, *OUT, "--nothing=3"], "--nothing"),
    (["image", PHOTO, "-o", "out"], "out.png, or out/"),
    (["image", PHOTO, *OUT, "--style", PAINTING], "--style-image"),
    (["image", PHOTO, *OUT, "--style", "starry"], "'starry_night'"),
    (["image", PHOTO, *OUT, "--style", "text.safetensors"], "text.safetensors"),
    (["image", PHOTO, *OUT, "--style", "text.png"], "text.png"),
    (["image", PHOTO, *OUT, "--style", "no.safetensors"], "no.safetensors"),
    (["image", PHOTO, *OUT, "--strength", "2"], "2"),
    (["image", PHOTO, *OUT, "--backend", "cuda"], "openvino"),
    (["image", PHOTO, *OUT, "--precision", "int4"], "f32"),
    (["image", FILM], "nst-rt video"),
    (["styles", "exists.png", "-o", "exists.png", "--overwrite"], "exists.png"),
    (["styles", "-o", "sheet.png"], "--output"),
    (["video", "missing.mp4", "-o", "out.mp4"], "missing.mp4"),
    (["video", "empty.mp4", "-o", "out.mp4"], "empty.mp4"),
    (["video", PHOTO, "-o", "out.mp4"], "nst-rt image"),
    (["video", "photos", "-o", "out.mp4"], "photos"),
    (["video", FILM, "-o", "exists.mp4"], "--overwrite"),
    (["video", FILM, "-o", "out.doc"], ".doc"),
    (["video", FILM, "-o", "out.mp4", "--crf", "99"], "51"),
    (["video", FILM, "-o", "out.mp4", "--stability", "2"], "2"),
    (["video", FILM, "-o", "out.mp4", "--preset", "warp"], "ultrafast"),
    (["video", FILM, "-o", "out.mp4", "--size", "720p"], "640x480"),
    (["video", FILM, "-o", "out.mp4", "--fps", "fast"], "30000/1001"),
    (["video", FILM, "-o", "out.mp4", "--fps", "25/0"], "25/0"),
    (["webcam", "--size", "720p"], "640x480"),
    (["webcam", "--no-window"], "--no-window needs"),
    (["train", "--style-image", "no.png", "--photos", "@photos", "--name", "x"], "no.png"),
    (["train", "--style-image", PAINTING, "--photos", "photos", "--name", "x"], "photos:"),
    (["train", "--style-image", PAINTING, "--photos", "nowhere", "--name", "x"], "nowhere"),
    (["demo", "-o", "text.png"], "text.png"),
    (["demo", "--style", "nobody"], "starry_night"),
    (["--verson"], "--version"),
    (["imge", "photo.png"], "'imge': did you mean 'image'?"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD, ids=[" ".join(a) for a, _ in BAD])
def test_bad_input_gives_one_line_and_exit_code_2(
    run: Run,
    tmp_path: Path,
    astronaut: Path,
    painting: Path,
    film: Path,
    arguments: list[str],
    said: str,
) -> None:
    real = {PHOTO: astronaut, PAINTING: painting, FILM: film, "@photos": astronaut.parent}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    code, out, err = run(*[real.get(argument, argument) for argument in arguments])
    assert code == 2
    assert out == ""
    assert err.startswith("nst-rt")
    assert err.count("\n") == 1
    assert said in err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_missing_camera_gives_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    done = subprocess.run([*CLI, "webcam", "77"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert re.fullmatch(r"nst-rt: camera 77 cannot be opened; .*camera.*\n", done.stderr)


def test_image_writes_a_stylized_image(run: Run, astronaut: Path) -> None:
    code, out, _ = run("image", astronaut, "-o", "out.png", "--size", 200, "--json")
    assert code == 0
    facts = json.loads(out)
    assert facts["images"] == [{"output": "out.png", "width": 200, "height": 200}]
    stylized, photo = load_image("out.png"), load_image(astronaut, size=200)
    assert stylized.shape == photo.shape
    assert (stylized - photo).abs().mean() > 0.03


def test_inputs_may_stand_on_both_sides_of_options(
    run: Run, astronaut: Path, two_styles: StyleModel
) -> None:
    two_styles.save("two.safetensors")
    for name in ("a.png", "b.png"):
        shutil.copy("wide.png", name)
    code, out, _ = run("image", "a.png", "--style", "two.safetensors", "b.png", "--json")
    assert code == 0
    assert len(json.loads(out)["images"]) == 2


def test_broken_pipe_is_no_error() -> None:
    done = subprocess.run(
        f"'{sys.executable}' -m nst_rt styles | true; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    ("encoding", "options"), [("cp1252", []), ("cp1252", ["--json"]), ("utf-8", [])]
)
def test_name_that_the_terminal_cannot_show_is_escaped(encoding: str, options: list[str]) -> None:
    name = "\N{CJK UNIFIED IDEOGRAPH-6587}\udce9.png"  # the second is a byte that is not UTF-8
    shutil.copy("wide.png", name)
    done = subprocess.run(
        [*CLI, "image", name, *options],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    output = f"{Path(name).stem}_starry_night.png"
    assert Path(output).is_file()
    if options:
        assert json.loads(done.stdout)["images"][0]["output"] == output
    else:
        assert b"\\udce9" in done.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("run")
def test_interrupted_video_leaves_a_playable_partial(two_styles: StyleModel) -> None:
    two_styles.save("two.safetensors")
    write_clip(Path("in.mp4"), pts=range(0, 512 * 25 * 600, 512))
    program = subprocess.Popen(
        [*CLI, "video", "in.mp4", "-o", "out.mp4", "--style", "two.safetensors"],
        stderr=subprocess.PIPE,
        text=True,
    )
    while not Path("out.mp4.partial/000000.json").exists():
        assert program.poll() is None
        time.sleep(0.1)
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=60)
    assert program.returncode == 130
    assert "out.partial.mp4" in err
    assert "--resume" in err
    assert 250 <= probe("out.partial.mp4").frames < 15000
    assert not Path("out.mp4").exists()
    assert main(["video", "in.mp4", "-o", "out.mp4", "--style", "two.safetensors"]) == 2


@pytest.mark.slow
def test_trained_style_stylizes(run: Run, astronaut: Path, painting: Path, tmp_path: Path) -> None:
    facts = ["--title", "Swirls", "--license", "CC0"]
    size = ["--steps", 3, "--size", 64, "--batch-size", 2, "--workers", 0]
    photos = ["--photos", tmp_path / "few"]
    (tmp_path / "few").mkdir()
    for number in range(3):
        with Image.open(astronaut) as photo:
            photo.resize((100, 100)).save(tmp_path / "few" / f"{number}.jpg")
    given = ["--style-image", painting, *photos, "--name", "mine", *facts, *size]
    done = subprocess.run(
        [*CLI, "train", *map(str, given)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # Nothing but our own advice: no noise from the libraries below.
    own = r"nst-rt: few photos .*\nnst-rt: style image swirls\.jpg: .*\nnst-rt: few steps .*\n"
    assert re.fullmatch(own, done.stderr), done.stderr
    assert "mine.safetensors" in done.stdout
    assert len(list((tmp_path / "runs/mine/samples").glob("*.png"))) > 0
    assert run("image", astronaut, "--style", "mine.safetensors", *OUT, "--size", 64)[0] == 0


@pytest.mark.slow
def test_train_from_gallery_keeps_the_old_style(
    run: Run, astronaut: Path, painting: Path, tmp_path: Path
) -> None:
    with Image.open(astronaut) as photo:
        photo.resize((100, 100)).save(tmp_path / "one.jpg")
    (tmp_path / "list.txt").write_text("one.jpg\n")
    size = ["--steps", 2, "--size", 64, "--batch-size", 1, "--workers", 0]
    trained = ["train", "--style-image", painting, "--photos", "list.txt", *size]
    start = ["--from", "gallery", "--affine-only"]
    code, out, err = run(*trained, *start, "--trainer.log_every_n_steps", 1)
    assert code == 0, err
    assert out.startswith("2 steps")
    assert "saved swirls.safetensors" in out
    # The new style is the first, which a file stands for; the old one is there as well.
    for style in ("swirls.safetensors", "swirls.safetensors:starry_night"):
        assert run("image", "one.jpg", "--style", style, "-o", f"{style[-5:]}.png")[0] == 0
    code, out, _ = run(*trained, "--name", "other", "--fast-dev-run", "--json")
    assert code == 0
    assert json.loads(out) == {"fast_dev_run": True}
    assert not (tmp_path / "other.safetensors").exists()


def test_print_config_prints_a_recipe(
    run: Run,
) -> None:
    code, out, _ = run("train", "--print-config", "--config", "new_style", "--model.size", 128)
    assert code == 0
    settings = yaml.safe_load(out)
    assert settings["model"]["size"] == 128
    assert settings["trainer"]["max_steps"] == 220
    assert {"devices", "strategy", "num_nodes", "gradient_clip_val"} <= settings["trainer"].keys()


def test_styles_lists_the_gallery(run: Run) -> None:
    code, out, _ = run("styles")
    assert code == 0
    assert re.search("starry_night +The Starry Night +Vincent van Gogh +1889", out)
    assert json.loads(run("styles", "--json")[1])["starry_night"]["license"] == "public domain"


@pytest.mark.slow
def test_styles_makes_a_sheet(run: Run, astronaut: Path) -> None:
    code, out, _ = run("styles", astronaut, "-o", "sheet.png", "--size", 48, "--json")
    assert code == 0
    height, width = load_image("sheet.png").shape[-2:]
    assert json.loads(out) == {"output": "sheet.png", "width": width, "height": height}
    assert width == 4 * 48
    assert run("styles", astronaut, "-o", "sheet.png")[0] == 2  # it exists


def test_every_verb_has_help_with_an_example(run: Run) -> None:
    code, out, _ = run()
    assert code == 0
    verbs = _verbs()
    assert len(verbs) == 11
    for verb in verbs:
        assert f"nst-rt {verb}" in out
        code, out_of_verb, _ = run(verb, "--help")
        assert code == 0
        assert f"nst-rt {verb}" in out_of_verb.split("examples:")[1]


def _verbs() -> dict[str, argparse.ArgumentParser]:
    found = next(a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))
    for verb in found.choices.values():
        verb.format_help()  # which adds the defaults of signatures
    return dict(found.choices)


def _options(verb: str) -> dict[str, argparse.Action]:
    """The options of a verb: the name of its value -> the option."""
    return {action.dest: action for action in _verbs()[verb]._actions if action.option_strings}


@pytest.mark.parametrize(
    ("verb", "own"),
    [
        ("image", {"output", "ray"}),
        ("video", set()),
        ("webcam", {"list", "token_file"}),
        ("web", {"token_file"}),
        ("train", {"print_config"}),
        ("styles", {"output", "overwrite"}),
        ("evaluate", {"clip", "frames"}),
        ("export", set()),
        ("demo", set()),
    ],
)
def test_options_are_arguments_of_the_library(verb: str, own: set[str]) -> None:
    module, _, name = import_module(f"nst_rt.cli.{verb}").DEFAULTS_OF.partition(":")
    arguments = set(inspect.signature(getattr(import_module(module), name)).parameters)
    if "learning" in arguments:
        arguments |= LearningOptions.__annotations__.keys()
    assert _options(verb).keys() - arguments - {"help", "json"} == own


def test_only_given_options_are_passed_on_with_their_types() -> None:
    video = _verbs()["video"]
    nothing = vars(video.parse_args(["in.mp4"]))
    style = ["--style", "a=3,b=1", "--fade", "2.5", "--strength", "0.3", "--stroke-size", "4%"]
    backend = ["--backend", "torch", "--device", "cpu", "--precision", "f32"]
    given = vars(video.parse_args(["in.mp4", *style, *backend, "--preserve-colors", "--compare"]))
    assert nothing.keys() == {"source", "json", "parser", "verb"}
    assert {name: value for name, value in given.items() if name not in nothing} == {
        "style": "a=3,b=1",
        "fade": 2.5,
        "strength": 0.3,
        "stroke_size": "4%",
        "preserve_colors": True,
        "compare": True,
        "backend": "torch",
        "device": "cpu",
        "precision": "f32",
    }
    assert "fade" not in _options("image")  # styles over time are for videos


def test_help_of_train_shows_the_defaults_of_the_recipes() -> None:
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


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, nst_rt\nfrom nst_rt.cli import main\n"
        "try: main(['video', '--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'cv2', 'numpy', 'lightning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_public_names_exist() -> None:
    for name in nst_rt.__all__:
        assert getattr(nst_rt, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        nst_rt.nothing  # noqa: B018
