"""A stylizer."""

import pytest

from nst_rt.infer.stylizer import Stylizer
from nst_rt.models.style_model import StyleModel


@pytest.fixture(scope="session")
def stylizer(two_styles: StyleModel) -> Stylizer:
    return Stylizer(two_styles, "waves", backend="openvino", stroke_size="1:1")
