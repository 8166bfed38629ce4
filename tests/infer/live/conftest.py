from pathlib import Path

import pytest

from nst_rt.models.style_model import StyleModel


@pytest.fixture(scope="session")
def model(two_styles: StyleModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A style model file."""
    return two_styles.save(tmp_path_factory.mktemp("model") / "two.safetensors")
