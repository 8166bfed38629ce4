import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nst_rt.errors import InputError
from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import load_image
from nst_rt.infer import style_sheet
from nst_rt.infer.blend import StyleSet
from nst_rt.infer.stylizer import Stylizer
from nst_rt.models.style_model import StyleModel


def test_sheet_shows_the_photo_and_all_styles(
    two_styles: StyleModel, astronaut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style_sheet, "load_blend", lambda names: (StyleSet(two_styles), {}))
    calls: list[tuple[float, float | None, str]] = []
    sheet = style_sheet.style_sheet(astronaut, size=64, progress=lambda *call: calls.append(call))
    assert calls == [(1, 2, "waves"), (2, 2, "night")]
    photo = load_image(astronaut, size=64)
    np.testing.assert_allclose(sheet[..., :64, :64], photo, atol=1 / 255)
    waves = Stylizer(two_styles, "waves", stroke_size="1:1")(tensor_to_frame(photo))
    np.testing.assert_array_equal(tensor_to_frame(sheet[..., :64, 64:128]), waves)


@pytest.mark.parametrize("size", [0, -3])
def test_bad_sizes_are_errors(astronaut: Path, size: int) -> None:
    with pytest.raises(InputError):
        style_sheet.style_sheet(astronaut, size=size)


def test_preview_is_a_small_image(astronaut: Path) -> None:
    text = style_sheet.preview(tensor_to_frame(load_image(astronaut)))
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    assert image.size == (96, 96)
    assert len(text) < 6000
    wanted = Image.open(astronaut).convert("RGB").resize((96, 96), Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(image, float) - np.asarray(wanted, float)).mean() < 8
