"""A stylizer, and a style model file."""

from pathlib import Path

import pytest

from nst_rt.infer.stylizer import Stylizer
from nst_rt.models.style_model import StyleModel


@pytest.fixture(scope="session")
def stylizer(two_styles: StyleModel) -> Stylizer:
    return Stylizer(two_styles, "waves", backend="openvino", stroke_size="1:1")


@pytest.fixture(scope="session")
def model(two_styles: StyleModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_styles.save(tmp_path_factory.mktemp("model") / "two.safetensors")
