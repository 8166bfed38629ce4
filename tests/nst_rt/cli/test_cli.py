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
from nst_rt.images.io import load_image
from nst_rt.infer.video import probe
from nst_rt.models.style_model import StyleModel
from nst_rt.train.recipes import all_settings

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
    # videos
    (["video", "missing.mp4", "-o", "out.mp4"], "no such file"),
    (["video", "empty.mp4", "-o", "out.mp4"], "not a video"),
    (["video", "text.png", "-o", "out.mp4"], "video"),
    (["video", "photos", "-o", "out.mp4"], "no images in this folder"),
    (["video", FILM, "-o", "exists.mp4"], "exists already"),
    (["video", FILM, "-o", "out.doc"], "unknown video format"),
    (["video", FILM, "-o", "out.mp4", "--style", "nobody"], "known are .*starry_night"),
    (["video", FILM, "-o", "out.mp4", "--crf", "99"], "between 0 and 51"),
    (["video", FILM, "-o", "out.mp4", "--stability", "2"], "between 0 and 1, not 2"),
    (["video", FILM, "-o", "out.mp4", "--preset", "warp"], "must be one of ultrafast"),
    # training
    (["train", "--style-image", "no.png", "--photos", "@photos", "--name", "x"], "no such file"),
    (["train", "--style-image", PAINTING, "--photos", "photos", "--name", "x"], "no photos in it"),
    (["train", "--style-image", PAINTING, "--photos", "nowhere", "--name", "x"], "no such folder"),
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
        (("video", "a", "-o", "b", "--size", "720p"), "'720p' is not a size such as 640x480"),
        (
            ("video", "a", "-o", "b", "--fps", "fast"),
            "'fast' is not a rate such as 25 or 30000/1001",
        ),
        (("video", "a", "-o", "b", "--fps", "25/0"), "'25/0' is not a rate"),
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


def test_an_interrupted_video_plays(folder: Path, two_styles: StyleModel) -> None:
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


def test_a_video_is_converted(
    run: Callable[..., tuple[int, str, str]], folder: Path, two_styles: StyleModel
) -> None:
    two_styles.save("two.safetensors")
    write_clip(Path("in.mp4"), audio="aac")
    code, out, err = run(
        "video", "in.mp4", "-o", "out.mp4", "--style", "two.safetensors:night", "--json"
    )
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert (facts["frames"], facts["audio"]) == (25, "aac")
    assert facts["backend"].startswith(("openvino", "torch"))
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
    given = ["--style-image", painting, *photos, "--name", "mine", *facts, *size]
    done = subprocess.run(
        [*CLI, "train", *map(str, given)],
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
    assert not (folder / "other.safetensors").exists()


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
