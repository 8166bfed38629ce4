"""A stylizer, a film, and the tools that windows need."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from nst_rt.infer.demo import packaged_film
from nst_rt.infer.stylizer import Stylizer
from nst_rt.style_model import StyleModel


def missing_tool(reason: str) -> NoReturn:
    """Skip a test, or fail it where the tools are known to be there."""
    if os.environ.get("NST_RT_REQUIRE_TOOLS"):
        pytest.fail(reason)
    pytest.skip(reason)


def require_tools(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            missing_tool(f"{tool} is not installed")


@pytest.fixture(scope="session")
def stylizer(two_styles: StyleModel) -> Stylizer:
    return Stylizer(two_styles, "waves", backend="openvino")


@pytest.fixture(scope="session")
def film() -> Path:
    """Big Buck Bunny: 1280x720, 25 fps, 132 frames, AAC."""
    return packaged_film()
