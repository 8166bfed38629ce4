import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from clips import write_clip

from nst_rt.cli import main
from nst_rt.images.io import Frame, load_image, save_image, tensor_to_frame
from nst_rt.infer import frame_stylizer as frame_stylizer
from nst_rt.infer import postprocess as looks
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.video import VideoReader
from nst_rt.models.style_model import StyleModel

Run = Callable[..., tuple[int, str, str]]
TWO = "two.safetensors"
BLEND = f"{TWO}:waves=3,{TWO}:night=1"


@pytest.fixture
def run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    astronaut: Path,
    two_styles: StyleModel,
) -> Run:
    """The command line, in a folder with a photo, a clip and a model of two styles."""
    monkeypatch.chdir(tmp_path)
    save_image(load_image(astronaut, size=64), "photo.png")
    write_clip(Path("in.mp4"))
    two_styles.save(TWO)

    def run_main(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main([*arguments, "--backend", "torch", "--precision", "f32"])
        except SystemExit as stop:  # argparse's own errors
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return run_main


def frame_of(file: str) -> Frame:
    return tensor_to_frame(load_image(file))


def stylized(style: str | dict[str, float]) -> Frame:
    stylizer = Stylizer(StyleModel.load(TWO), style, backend="torch", precision="f32")
    return stylizer.stylize(frame_of("photo.png"))


def test_a_photo_in_a_blend(run: Run) -> None:
    assert run("image", "photo.png", "-o", "out.png", "--blend", BLEND)[0] == 0
    expected = stylized({"waves": 3, "night": 1})
    np.testing.assert_array_equal(frame_of("out.png"), expected)


def test_image_with_post_processing(run: Run) -> None:
    post_processing = ("--preserve-colors", "--compare", "--strength", "0.6")
    assert run("image", "photo.png", "-o", "out.png", "--style", TWO, *post_processing)[0] == 0
    expected = looks.PostProcessing(strength=0.6, preserve_colors=True, compare=True).apply(
        frame_of("photo.png"), stylized("waves")
    )
    np.testing.assert_array_equal(frame_of("out.png"), expected)


def test_a_folder_with_a_look(run: Run) -> None:
    Path("photos").mkdir()
    Path("photo.png").rename("photos/photo.png")
    code, out, _ = run("image", "photos", "-o", "out", "--blend", BLEND, "--compare", "--json")
    assert (code, json.loads(out)["kept"]) == (0, 0)
    photo, got = frame_of("photos/photo.png"), frame_of("out/photo.png")
    np.testing.assert_array_equal(got[:, :31], photo[:, :31])
    assert np.abs(got[:, 33:].astype(int) - photo[:, 33:]).mean() > 5


def test_a_video_in_styles_over_time(run: Run) -> None:
    style = f"{TWO}:waves@0,{TWO}:night@0.52"
    arguments = ("video", "in.mp4", "-o", "out.mp4", "--style", style, "--fade", "0", "--crf", "0")
    assert run(*arguments)[0] == 0
    source, output = (list(VideoReader(file)) for file in ("in.mp4", "out.mp4"))
    assert len(output) == len(source) == 25
    stylizer = Stylizer(StyleModel.load(TWO), "waves", backend="torch", precision="f32")
    for number, (before, after) in enumerate(zip(source, output, strict=True)):
        stylizer.set_style("waves" if number < 13 else "night")
        expected = stylizer.stylize(before.image).astype(int)
        assert np.abs(after.image - expected).mean() < 12


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        (["--style", "a@0,b@1"], {"style": "a@0,b@1"}),
        (["--blend", "a=3,b=1"], {"style": {"a": 0.75, "b": 0.25}}),
        (["--fade", "2.5"], {"fade": 2.5}),
        (["--strength", "0.3"], {"strength": 0.3}),
        (["--preserve-colors"], {"preserve_colors": True}),
        (["--compare"], {"compare": True}),
        ([], {}),
    ],
)
def test_every_option_of_a_video_reaches_the_library(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    passed: dict[str, object],
) -> None:
    given = {}

    def load(**settings: object) -> frame_stylizer.FrameStylizer:
        given.update(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(frame_stylizer, "load_frame_stylizer", load)
    assert run("video", "in.mp4", "-o", "out.mp4", *arguments)[0] == 130
    assert given == {**passed, "backend": "torch", "precision": "f32"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--style", f"{TWO}:waves@0,{TWO}:nite@1"], "'nite': did you mean 'night'"),
        (["--style", "starry_night@0,great_wafe@1"], "did you mean 'great_wave'"),
        (["--stroke-size", "wide"], "a stroke size is a share of the picture's long side"),
        (["--stroke-size", "0px"], "a stroke size is a share of the picture's long side"),
        (["--style", "starry_night@1"], "must begin at 0 seconds, not at 1"),
        (["--style", "starry_night@0,great_wave@2,night_cafe@1"], "1 comes after 2"),
        (["--style", "starry_night@0,great_wave"], "is not of this form"),
        (["--style", f"{TWO}:waves@0,{TWO}:night@1", "--fade", "-1"], "0 seconds or more, not -1"),
        (["--blend", "starry_night"], "'starry_night' is not of this form"),
        (["--blend", "starry_night=1,great_wave=-1"], "must be 0 or more"),
        (["--style", TWO, "--blend", BLEND], "not allowed with argument"),
        (["--strength", "1.5"], "between 0 and 1"),
    ],
)
def test_looks_that_cannot_be_are_one_line(run: Run, arguments: list[str], said: str) -> None:
    code, out, err = run("video", "in.mp4", "-o", "out.mp4", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert not Path("out.mp4").exists()


def test_styles_over_time_are_for_videos(run: Run) -> None:
    style = f"{TWO}:waves@0,{TWO}:night@1"
    code, _, err = run("image", "photo.png", "-o", "out.png", "--style", style)
    assert code == 2
    assert err == "nst-rt: styles over time are for videos; --blend mixes styles in a photo\n"
    assert run("image", "photo.png", "-o", "out.png", "--style", f"{TWO}:night@0")[0] == 0
    np.testing.assert_array_equal(frame_of("out.png"), stylized("night"))
