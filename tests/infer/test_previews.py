import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nst_rt.errors import InputError
from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import load_image
from nst_rt.infer import previews
from nst_rt.infer.blend import StyleSet
from nst_rt.infer.previews import in_all_styles, preview, style_sheet
from nst_rt.infer.stylizer import Stylizer
from nst_rt.models.style_model import StyleModel


@pytest.mark.slow
def test_in_all_styles_matches_each_style_alone(two_styles: StyleModel, astronaut: Path) -> None:
    frame = tensor_to_frame(load_image(astronaut, size=64))
    stylized = dict(in_all_styles(frame, StyleSet(two_styles)))
    assert list(stylized) == ["waves", "night"]
    for name, image in stylized.items():
        alone = Stylizer(two_styles, name, stroke_size="1:1")(frame)
        np.testing.assert_array_equal(image, alone)
    assert not np.array_equal(stylized["waves"], stylized["night"])


def test_sheet_shows_the_photo_and_all_styles(
    two_styles: StyleModel, astronaut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    style_set = StyleSet(two_styles)
    monkeypatch.setattr(previews, "load_blend", lambda names: (style_set, {}))
    calls: list[tuple[float, float | None, str]] = []
    sheet = style_sheet(astronaut, size=64, progress=lambda *call: calls.append(call))
    assert calls == [(1, 2, "waves"), (2, 2, "night")]
    photo = load_image(astronaut, size=64)
    np.testing.assert_allclose(sheet[..., :64, :64], photo, atol=1 / 255)
    waves = dict(in_all_styles(tensor_to_frame(photo), style_set))["waves"]
    np.testing.assert_array_equal(tensor_to_frame(sheet[..., :64, 64:128]), waves)


@pytest.mark.parametrize("size", [0, -3])
def test_bad_sizes_are_errors(astronaut: Path, size: int) -> None:
    with pytest.raises(InputError):
        style_sheet(astronaut, size=size)


def test_preview_is_a_small_image(astronaut: Path) -> None:
    text = preview(tensor_to_frame(load_image(astronaut)))
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    assert image.size == (96, 96)
    assert len(text) < 6000
    wanted = Image.open(astronaut).convert("RGB").resize((96, 96), Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(image, float) - np.asarray(wanted, float)).mean() < 8
