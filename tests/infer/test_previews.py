import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from nst_rt.errors import InputError
from nst_rt.images.io import load_image, tensor_to_frame
from nst_rt.infer import previews as showcase
from nst_rt.infer.blend import StyleSet, load_style_set
from nst_rt.infer.previews import in_all_styles, preview, preview_text, style_sheet
from nst_rt.infer.stylizer import Stylizer
from nst_rt.models.style_model import Style, StyleModel


@pytest.fixture
def models(two_styles: StyleModel, tmp_path: Path) -> dict[str, Path]:
    file = two_styles.save(tmp_path / "two.safetensors")
    return dict.fromkeys(two_styles.style_names, file)


def test_each_style_paints_as_it_does_alone(two_styles: StyleModel, astronaut: Path) -> None:
    frame = tensor_to_frame(load_image(astronaut, size=64))
    stylized = dict(in_all_styles(frame, StyleSet(two_styles)))
    assert list(stylized) == ["waves", "night"]
    for name, picture in stylized.items():
        alone = Stylizer(two_styles, name, stroke_size="1:1").stylize(frame)
        np.testing.assert_array_equal(picture, alone)
    assert not np.array_equal(stylized["waves"], stylized["night"])


def test_sheet_shows_the_photo_and_all_styles(
    models: dict[str, Path], astronaut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    style_set, _ = load_style_set([str(models["waves"])])
    monkeypatch.setattr(showcase, "list_styles", lambda: models)
    monkeypatch.setattr(showcase, "load_style_set", lambda names: (style_set, {}))
    told: list[tuple[int, int, str]] = []
    sheet = style_sheet(astronaut, size=64, on_progress=lambda *news: told.append(news))
    assert told == [(1, 2, "waves"), (2, 2, "night")]
    photo = load_image(astronaut, size=64)
    np.testing.assert_allclose(sheet[..., :64, :64], photo, atol=1 / 255)
    stylized = dict(in_all_styles(tensor_to_frame(photo), style_set))
    shown = tensor_to_frame(sheet[..., :64, 64:128])
    np.testing.assert_array_equal(shown, stylized["waves"])


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_that_cannot_be_is_an_error(astronaut: Path, size: int) -> None:
    with pytest.raises(InputError):
        style_sheet(astronaut, size=size)


def test_a_preview_is_small_and_shows_the_picture(astronaut: Path) -> None:
    text = preview(tensor_to_frame(load_image(astronaut)))
    picture = Image.open(io.BytesIO(base64.b64decode(text)))
    assert picture.size == (96, 96)
    assert len(text) < 6000
    wanted = Image.open(astronaut).convert("RGB").resize((96, 96), Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(picture, float) - np.asarray(wanted, float)).mean() < 8


def test_a_preview_in_the_terminal_has_two_pixels_a_character() -> None:
    red_over_blue = np.zeros((32, 32, 3), np.uint8)
    red_over_blue[:16, :, 2] = red_over_blue[16:, :, 0] = 255
    style = Style("flag", preview=preview(red_over_blue))
    text = preview_text(style, 10)
    assert text.plain == ("▀" * 10 + "\n") * 5
    console = Console(force_terminal=True, color_system="truecolor", width=40)
    with console.capture() as capture:
        console.print(text)
    first, *_, last = capture.get().split("\n")[:5]
    # Lossy compression moves the colors a little.
    assert "38;2;25" in first
    assert "48;2;0;0;25" in last
    assert not preview_text(replace(style, preview=""), 10).plain
