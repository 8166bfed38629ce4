from pathlib import Path
from typing import Any

import pytest
from optimizer_runs import Optimize
from PIL import Image

from nst_rt.infer.video.timelapse import timelapse
from nst_rt.optimization.runs import OptimizeResult, optimize_to_file


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory, astronaut: Path) -> Path:
    """A content image of 96x64 px."""
    path = tmp_path_factory.mktemp("content") / "content.png"
    with Image.open(astronaut) as image:
        image.convert("RGB").resize((96, 96)).crop((0, 0, 96, 64)).save(path)
    return path


@pytest.fixture(scope="module")
def style(content: Path, painting: Path) -> Path:
    path = content.with_name("style.png")
    with Image.open(painting) as image:
        image.convert("RGB").resize((96, 80)).save(path)
    return path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.png"


@pytest.fixture
def run(content: Path, style: Path, output: Path) -> Optimize:
    """`optimize_to_file` with the content, style and output of this test.

    A timelapse is given as its file.
    """

    def optimize(**settings: Any) -> OptimizeResult:
        if "timelapse" in settings:
            overwrite = settings.get("overwrite", False)
            settings["timelapse"] = timelapse(settings["timelapse"], overwrite=overwrite)
        files = {"content": content, "style": [style], "output": output}
        return optimize_to_file(**files | settings)

    return optimize
