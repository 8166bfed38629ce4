import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Run
from PIL import Image, TiffImagePlugin

from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import Frame, load_image, save_image
from nst_rt.infer.photos import ImagesResult, StylizedImage
from nst_rt.infer.postprocess import PostProcessing
from nst_rt.infer.stylizer import Stylizer
from nst_rt.models.style_model import StyleModel

TWO = "two.safetensors"
BLEND = f"{TWO}:waves=3,{TWO}:night=1"


@pytest.fixture
def run(run: Run, astronaut: Path, two_styles: StyleModel) -> Run:
    """`nst-rt image` in a folder with a photo and a model of two styles."""
    save_image(load_image(astronaut, size=64), "photo.png")
    two_styles.save(TWO)
    exact = ("--backend", "torch", "--precision", "f32", "--stroke-size", "1:1")
    return partial(run, "image", *exact)


def frame_of(file: str) -> Frame:
    return tensor_to_frame(load_image(file))


def stylized(style: str | dict[str, float]) -> Frame:
    settings: dict[str, Any] = {"backend": "torch", "precision": "f32", "stroke_size": "1:1"}
    return Stylizer(StyleModel.load(TWO), style, **settings)(frame_of("photo.png"))


def test_photo_in_a_blend(run: Run) -> None:
    code, out, _ = run("photo.png", "--style", BLEND, "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["images"] == [{"output": "photo_waves_75_night_25.png", "width": 64, "height": 64}]
    assert facts["backend"].startswith("torch f32")
    expected = stylized({"waves": 3, "night": 1})
    np.testing.assert_array_equal(frame_of("photo_waves_75_night_25.png"), expected)


def test_post_processing(run: Run) -> None:
    options = ("--preserve-colors", "--compare", "--strength", "0.6")
    assert run("photo.png", "-o", "out.png", "--style", f"{TWO}:night", *options)[0] == 0
    expected = PostProcessing(preserve_colors=True, compare=True).apply(
        frame_of("photo.png"), stylized("night"), 0.6
    )
    np.testing.assert_array_equal(frame_of("out.png"), expected)
    assert run("photo.png", "-o", "same.png", "--strength", "0")[0] == 0
    np.testing.assert_array_equal(frame_of("same.png"), frame_of("photo.png"))


def test_several_photos_and_a_folder(run: Run) -> None:
    Path("photos").mkdir()
    frame = frame_of("photo.png")
    save_image(frame[::-1], "photos/other.png")
    assert run("photo.png", "photos", "-o", "out", "--style", TWO, "--json")[0] == 0
    assert {path.name for path in Path("out").glob("*.png")} == {"photo.png", "other.png"}
    code, out, _ = run("photo.png", "photos", "-o", "out", "--style", TWO, "--resume", "--json")
    assert (code, json.loads(out)["kept"]) == (0, 2)


def test_folder_is_resumed_with_the_same_settings_only(run: Run) -> None:
    Path("photos").mkdir()
    for name in ("a.png", "b.png"):
        save_image(frame_of("photo.png"), f"photos/{name}")
    given = ("photos", "-o", "out", "--style", f"{TWO}:night")
    assert run(*given)[0] == 0
    Path("out/b.png").unlink()
    for other in (("--style", f"{TWO}:waves"), ("--size", "32"), ("--compare",)):
        code, out, err = run(*given, *other, "--resume")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert other[0].removeprefix("--") in err
        assert not Path("out/b.png").exists()
    code, out, _ = run(*given, "--resume", "--json")
    assert (code, json.loads(out)["kept"]) == (0, 1)
    assert run(*given, "--style", f"{TWO}:waves", "--overwrite")[0] == 0
    assert run(*given, "--style", f"{TWO}:waves", "--resume")[0] == 0


def test_interrupted_folder_says_how_to_continue(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("photos").mkdir()
    for name in ("a.png", "b.png"):
        save_image(frame_of("photo.png"), f"photos/{name}")
    saved: list[object] = []

    def save_one(frame: Frame, path: Path, **settings: Any) -> Path:
        if saved:
            raise KeyboardInterrupt
        saved.append(path)
        return save_image(frame, path, **settings)

    monkeypatch.setattr("nst_rt.infer.photos.save_image", save_one)
    code, out, err = run("photos", "-o", "out", "--style", TWO)
    assert (code, out, err.count("\n")) == (130, "", 1)
    assert "1 of 2 photos" in err
    assert "--resume" in err
    # Of photos that are being replaced, some still have the earlier style.
    saved.clear()
    given = ("photos", "-o", "out", "--style", f"{TWO}:waves")
    save_image(frame_of("photo.png"), "out/b.png")
    assert "--overwrite" in run(*given, "--overwrite")[2]
    for style in (TWO, f"{TWO}:waves"):
        code, out, err = run("photos", "-o", "out", "--style", style, "--resume")
        assert (code, out) == (2, "")
        assert "unfinished overwrite" in err
    monkeypatch.setattr("nst_rt.infer.photos.save_image", save_image)
    assert run(*given, "--overwrite")[0] == 0
    assert run(*given, "--resume")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["photo.png", "--style", f"{TWO}:waves@0,{TWO}:night@1"], "videos"),
        (["photo.png", "--style", f"{TWO}:nite"], "'night'"),
        (["photo.png", "--style", f"{TWO}=1,great_wave=-1"], "great_wave"),
    ],
)
def test_bad_input_is_one_line(run: Run, arguments: list[str], named: str) -> None:
    before = sorted(Path().iterdir())
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert named in err
    assert sorted(Path().iterdir()) == before


def test_warnings_of_pillow_are_hidden(
    run: Run, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    Image.new("RGB", (40, 40)).save("cut.tif")
    content = Path("cut.tif").read_bytes()
    Path("cut.tif").write_bytes(content[: len(content) // 2])  # of which Pillow warns
    many = TiffImagePlugin.ImageFileDirectory_v2()
    many[TiffImagePlugin.SAMPLESPERPIXEL] = 1000  # which it logs as an error
    Image.new("L", (40, 40)).save("many.tif", tiffinfo=many)
    for name in ("cut.tif", "many.tif"):
        code, out, err = run(name, "-o", "out.png", "--style", TWO)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"nst-rt: {name}: ")
    assert not [warning for warning in recwarn if "PIL" in warning.filename]
    assert not caplog.records


def test_skipped_photos_are_a_partial_result(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    images = (StylizedImage(Path("a.png"), 40, 30),)
    done = ImagesResult(images, 0, {"b": "b: damaged"}, "torch f32 on cpu")
    monkeypatch.setattr("nst_rt.infer.photos.stylize_images", lambda *_, **__: done)
    Path("photos").mkdir()
    code, out, err = run("photos")
    assert (code, err.count("\n")) == (3, 1)
    assert "a.png, 40x30, 1 skipped" in out
    assert "b: damaged" in err
