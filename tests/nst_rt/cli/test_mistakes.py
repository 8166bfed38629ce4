"""Likely mistakes: each is answered in one line, with the command that was meant."""

import argparse
import re
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
import torch
from clips import write_clip
from command_line import Run
from PIL import Image

from nst_rt.cli import _parser, verb_parsers
from nst_rt.cli.mistakes import expanded, kind_of, with_negative_values
from nst_rt.errors import InputError
from nst_rt.gallery import gallery_style_names
from nst_rt.infer.live.camera import DEFAULT_SIZE
from nst_rt.infer.stability.stabilizer import DEFAULT_STABILITY
from nst_rt.infer.strokes import DEFAULT_STROKES, StrokeSize
from nst_rt.infer.style_sheet import SHEET_CELL
from nst_rt.infer.timeline import DEFAULT_FADE
from nst_rt.infer.video.request import SEGMENT
from nst_rt.models.style_model import StyleModel, gallery_files
from nst_rt.optimization.presets import PRESETS
from nst_rt.version import __version__


@pytest.fixture
def run(run: Run, two_styles: StyleModel) -> Run:
    """`nst-rt` in a folder with files of all kinds."""
    for name in ("photo.jpg", "b.jpg", "painting.jpg"):
        Image.effect_noise((64, 48), 90).convert("RGB").save(name)
    write_clip(Path("film.mp4"), pts=range(0, 512 * 4, 512))
    Path("photos").mkdir()
    swirls = Image.open(resources.files("nst_rt.assets.styles") / "swirls.jpg")
    swirls.resize((100, 100)).save("art.jpg")
    swirls.resize((40, 40)).save("tiny.jpg")
    for name in ("photo.jpg", "b.jpg"):
        shutil.copy(name, "photos")
    Path("films").mkdir()
    shutil.copy("film.mp4", "films/1.mp4")
    Path("exists.mp4").write_text("precious")
    Path("exists.png").write_text("precious")
    two_styles.save("mine.safetensors")
    return run


MISTAKES = [
    # Verbs that do not exist.
    ("vidoe", "'video'"),
    ("live", "nst-rt webcam"),
    ("camera --style udnie", "nst-rt webcam --style udnie"),
    ("help", "nst-rt --help"),
    ("udnie photo.jpg", "nst-rt image photo.jpg --style udnie"),
    ("udnie film.mp4", "nst-rt video film.mp4 --style udnie"),
    ("udnie", "nst-rt image photo.jpg --style udnie"),
    ("photo.jpg", "nst-rt image photo.jpg"),
    ("photo.jpg -o out.png", "nst-rt image photo.jpg -o out.png"),
    ("film.mp4", "nst-rt video film.mp4"),
    ("photos", "nst-rt image photos"),
    ("0", "nst-rt webcam 0"),
    ("mine.safetensors", "--style mine.safetensors"),
    # Options and values.
    ("video --syle x", "--style?"),
    ("video film.mp4 --clip x", "an option of evaluate"),
    ("evaluate udnie --video film.mp4", "--clip?"),
    ("image photo.jpg --style starry_nigth", "'starry_night'"),
    ("video film.mp4 --codec h265", "hevc?"),
    ("video film.mp4 --stability=-1", "--stability must"),
    ("video film.mp4 --stability -1", "--stability must"),
    ("optimize photo.jpg --style-image painting.jpg --preset balancd", "'balanced'"),
    ("image photo.jpg --size 4k", "3840"),
    ("video film.mp4 --size 4k", "3840"),
    ("video film.mp4 --size 1080p", "1920"),
    ("webcam --size 720p", "1280x720"),
    ("image photo.jpg --stroke-size -2%", "--stroke-size must"),
    # A file for something else.
    ("image photo.jpg --style painting.jpg", "--style-image learns"),
    ("video film.mp4 --style painting.jpg", "--style-image learns"),
    ("image photo.jpg --style film.mp4", "nst-rt styles"),
    ("image photo.jpg --style-image mine.safetensors", "--style mine.safetensors"),
    ("video film.mp4 --style-image starry_night", "--style starry_night"),
    ("image photo.jpg --style udnie --style-image art.jpg", "not both"),
    ("image photo.jpg --style-image tiny.jpg", "too small"),
    ("image photo.jpg --style-image art.jpg --style-size 9", "--style-size must"),
    ("image photo.jpg --style-image art.jpg --minutes 0", "--minutes must"),
    ("image photo.jpg --style-image art.jpg --photos photo.jpg", "--photos must"),
    ("image photo.jpg --style-image art.jpg --save-style x.jpg", ".safetensors"),
    ("video film.mp4 --style-image art.jpg --from udni", "'udnie'"),
    ("image photo.jpg --minutes 3", "--style-image"),
    ("optimize photo.jpg --style udnie", "an option of image"),
    ("optimize photo.jpg --style udnie", "--style-image?"),
    ("image film.mp4", "nst-rt video film.mp4"),
    ("optimize film.mp4 --style-image painting.jpg", "nst-rt video film.mp4"),
    ("image films", "nst-rt video films"),
    ("video photo.jpg", "nst-rt image photo.jpg"),
    ("video 0", "nst-rt webcam 0"),
    ("video /dev/video0", "nst-rt webcam /dev/video0"),
    ("image mine.safetensors", "nst-rt image PHOTO --style mine.safetensors"),
    ("video mine.safetensors", "nst-rt video FILM --style mine.safetensors"),
    ("optimize photo.jpg --style-image mine.safetensors", "--style mine.safetensors"),
    ("evaluate udnie --style-image film.mp4 --photos photos", "film.mp4"),
    # A style where a file is expected, and other things given in the wrong form.
    (
        "optimize photo.jpg --style-image starry_night",
        "nst-rt image photo.jpg --style starry_night",
    ),
    ("image starry_night photo.jpg", "nst-rt image photo.jpg --style starry_night"),
    ("video udnie film.mp4", "nst-rt video film.mp4 --style udnie"),
    ("styles udnie", "nst-rt image photo.jpg --style udnie"),
    ("image photo.jpg --style starry_night,udnie", "starry_night=0.5,udnie=0.5"),
    ("train painting.jpg photos", "nst-rt train --style-image painting.jpg --photos photos"),
    # Outputs.
    ("image photo.jpg -o x", "x.png, or x/"),
    ("video film.mp4 -o x", "x.mp4, or x/"),
    ("optimize photo.jpg --style-image painting.jpg -o x", "x.png, or x/"),
    ("image photo.jpg b.jpg -o out.png", "out/"),
    ("video film.mp4 films -o out.mp4", "out/"),
    ("image photo.jpg -o exists.png", "--overwrite"),
    ("video film.mp4 -o exists.mp4", "--overwrite"),
    # What is missing.
    ("train --style-image painting.jpg", "500"),
    ("train --photos photos", "--style-image"),
    ("train --style-image no.jpg --photos photos", "no.jpg"),
    ("evaluate udnie --clip nope.mp4", "nope.mp4"),
    ("image *.gif", "*.gif"),
]


@pytest.mark.parametrize(("typed", "said"), MISTAKES, ids=[typed for typed, _ in MISTAKES])
def test_mistake_is_answered_in_one_line(run: Run, tmp_path: Path, typed: str, said: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    code, out, err = run(*typed.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert len(err) < 250
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="has the device")
@pytest.mark.parametrize(
    "typed",
    [
        "image photo.jpg --device cuda",
        "image photo.jpg --device cuda --backend torch",
        "video film.mp4 --device cuda",
        "optimize photo.jpg --style-image painting.jpg --device cuda",
    ],
)
def test_missing_gpu_is_said_shortly(run: Run, typed: str) -> None:
    code, out, err = run(*typed.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "cuda" in err
    assert len(err) < 120


@pytest.mark.parametrize(
    "typed",
    [
        "image nope.jpg",
        "video nope.mp4",
        "optimize nope.jpg --style-image nope.jpg",
        "train --style-image nope.jpg --photos nope",
        "evaluate udnie --clip nope.mp4",
        "evaluate udnie --style-image nope.jpg --photos nope",
        "styles nope.jpg",
    ],
)
def test_missing_input_is_noticed_before_pytorch_is_imported(typed: str) -> None:
    code = (
        "import sys\nfrom nst_rt.cli import main\n"
        "assert main(sys.argv[1:]) == 2\nassert not {'torch', 'lightning'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *typed.split()], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert "nope" in done.stderr


def test_several_photos_go_to_a_folder_however_they_are_named(run: Run) -> None:
    for inputs, out in ((["photo.jpg", "b.jpg"], "a/"), (["p*.jpg"], "b"), (["photo.jpg"], "c/")):
        arguments = ("--style", "mine.safetensors", "--backend", "torch")
        assert run("image", *inputs, "-o", out, *arguments)[0] == 0
    made = {f"{out}/{name}" for out in "abc" for name in outputs_in(out)}
    assert made == {"a/photo.jpg", "a/b.jpg", "b/photo.jpg", "b/painting.jpg", "c/photo.jpg"}


def test_a_folder_of_videos_stands_for_its_videos(run: Run) -> None:
    shutil.copy("film.mp4", "films/2.mp4")
    Path("films/notes.txt").write_text("no video")
    options = ("--style", "mine.safetensors", "--strength", "0")
    assert run("video", "films", "-o", "out/", *options)[0] == 0
    assert outputs_in("out") == {"1.mp4", "2.mp4"}


def test_folder_of_videos_is_resumed_with_the_same_settings_only(run: Run) -> None:
    shutil.copy("film.mp4", "films/2.mp4")
    given = ("video", "films", "-o", "out/", "--style", "mine.safetensors", "--strength", "0")
    assert run(*given)[0] == 0
    code, out, err = run(*given, "--style", "udnie", "--resume")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "udnie" in err
    Path("out/2.mp4").unlink()
    assert run(*given, "--resume")[0] == 0
    assert outputs_in("out") == {"1.mp4", "2.mp4"}


def test_images_beside_videos_are_skipped(run: Run) -> None:
    shutil.copy("photo.jpg", "films/cover.jpg")
    options = ("--style", "mine.safetensors", "--strength", "0")
    code, _, err = run("video", "films", "-o", "out/", *options)
    assert code == 0
    assert "cover.jpg" in err
    assert outputs_in("out") == {"1.mp4"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["image", ""],
        ["video", ""],
        ["styles", ""],
        ["image", "photo.jpg", "-o", ""],
        ["optimize", "photo.jpg", "--style-image", ""],
        [""],
    ],
)
def test_empty_name_is_an_error(run: Run, tmp_path: Path, arguments: list[str]) -> None:
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "empty" in err
    assert sorted(tmp_path.rglob("*")) == before


def test_style_after_the_end_of_the_video_is_warned_of(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    style = "mine.safetensors:waves@0,mine.safetensors:night@99"
    assert run("video", "film.mp4", "-o", "out.mp4", "--style", style, "--strength", "0")[0] == 0
    assert "night would begin at 99 s" in caplog.text


def outputs_in(folder: str) -> set[str]:
    """Names of the files of a folder, without the hidden record of its settings."""
    return {path.name for path in Path(folder).iterdir() if not path.name.startswith(".")}


def test_photos_given_as_frames_of_a_video_are_noticed(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    Image.effect_noise((48, 64), 90).convert("RGB").save("photos/upright.jpg")
    assert run("video", "photos", "--style", "mine.safetensors", "--strength", "0")[0] == 0
    told = [each.getMessage() for each in caplog.records if each.name.startswith("nst_rt.")]
    assert ["nst-rt image photos" in text for text in told if "sizes" in text] == [True]


def test_images_in_other_formats_are_told_once(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("unknown.dds", "raw.cr2", "notes.txt", "Thumbs.db"):
        Path("photos", name).write_bytes(b"nothing that is read here")
    code, out, _ = run("image", "photos", "--style", "mine.safetensors", "--backend", "torch")
    assert code == 0
    assert "2 photos" in out
    [told] = [each.getMessage() for each in caplog.records if "passed over" in each.getMessage()]
    assert "raw.cr2, unknown.dds" in told
    assert "notes.txt" not in told


def test_names_of_the_gallery_are_those_of_its_models() -> None:
    assert sorted(gallery_files()) == list(gallery_style_names())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.JPG", "image"),
        ("a.webp", "image"),
        ("a.mkv", "video"),
        ("a.webm", "video"),
        ("a.mov", "video"),
        ("a.safetensors", "style model"),
        ("0", "camera"),
        ("/dev/video2", "camera"),
        ("list.txt", ""),
        ("photos", ""),
    ],
)
def test_kind_of_a_name(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.jpg", "a.jpg", "[1].png"):
        Path(name).touch()
    assert expanded(["*.jpg", "[1].png", "no.jpg"]) == ["a.jpg", "b.jpg", "[1].png", "no.jpg"]
    with pytest.raises(InputError):
        expanded(["*.gif"])


@pytest.mark.parametrize(
    ("given", "joined"),
    [
        (["--size", "-2%"], ["--size=-2%"]),
        (["--size", "-.5", "x"], ["--size=-.5", "x"]),
        (["--resume", "-o", "-"], ["--resume", "-o", "-"]),
        (["a", "-1"], ["a", "-1"]),
        (["--size=3", "-1"], ["--size=3", "-1"]),
    ],
)
def test_negative_values(given: list[str], joined: list[str]) -> None:
    assert with_negative_values(given) == joined


def test_overview_fits_a_small_terminal(run: Run) -> None:
    code, out, err = run()
    assert (code, err) == (0, "")
    assert run("--help") == (0, out, "")
    lines = out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    examples = [line[:54].split() for line in lines if line.startswith("  nst-rt ")]
    verbs = verb_parsers(_parser())
    assert {words[1] for words in examples} == verbs.keys()
    for _, verb, *arguments in examples:
        assert isinstance(verbs[verb].parse_args(arguments), argparse.Namespace)
    headings = [line for line in lines[1:] if line and not line.startswith((" ", "nst-rt"))]
    assert len(headings) == 4


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"{__version__}\n", "")


# Numbers without a unit, or whose unit their own words name.
UNITLESS = {
    *("strength", "stability", "scale", "seed", "crf", "batch_size", "style_scale", "blend"),
    *("content_weight", "style_weight", "tv_weight", "learning_rate", "workers", "viewers", "port"),
    *("content_layers", "style_layers"),
}
TEXTS = {"grid", "style_masks"}  # with readers of their own
UNITS = "px|pixel|second|minute|GB|MB|frame|photo|step|megapixel"


def test_help_of_every_number_names_its_default_and_unit() -> None:
    wrong = []
    for name, verb in verb_parsers(_parser()).items():
        verb.format_help()  # which adds the defaults of signatures
        for action in verb._actions:
            if action.type in (None, str) or not action.option_strings or action.dest in TEXTS:
                continue
            text = action.help or ""
            if not re.search(r"\(default: (?!the (preset|recipe))", text):
                wrong.append(f"{name} --{action.dest} has no default: {text}")
            if action.dest not in UNITLESS and not re.search(UNITS, text):
                wrong.append(f"{name} --{action.dest} has no unit: {text}")
            if text.count("(default") > 1:
                wrong.append(f"{name} --{action.dest} has two defaults: {text}")
    assert wrong == []


def test_help_has_the_real_defaults() -> None:
    verbs = verb_parsers(_parser())

    def default(verb: str, option: str) -> str:
        text = " ".join(verbs[verb].format_help().partition("options:")[2].split())
        found = re.search(rf"--{option} .*?\(default: ([^)]*)\)", text)
        assert found is not None
        return found[1]

    balanced = PRESETS["balanced"]
    assert default("optimize", "steps") == ",".join(map(str, balanced.steps))
    assert float(default("optimize", "style-weight")) == balanced.style_weight
    assert default("optimize", "style-layers") == ",".join(balanced.style_layers)
    assert default("optimize", "content-layers") == ",".join(balanced.content_layers)
    assert default("optimize", "learning-rate") == "1 for lbfgs, 0.02 for adam"
    assert float(default("video", "fade")) == DEFAULT_FADE
    assert default("video", "crf").startswith("20 for h264, 24 for hevc, 30 for av1, 31 for vp9")
    assert default("video", "segment") == str(SEGMENT)
    assert default("video", "stability").startswith(f"{DEFAULT_STABILITY};")
    assert StrokeSize.parse(default("image", "stroke-size")) == DEFAULT_STROKES
    assert default("webcam", "size") == "x".join(map(str, DEFAULT_SIZE))
    assert default("train", "steps").startswith("1300; 220 with --from")
    assert default("styles", "size") == str(SHEET_CELL)
