"""Studios with a tiny model: one to ask without a network, and one that browsers can open."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from visitors import Client, Studio, serving, settings

from nst_rt.infer.web.app import create_app
from nst_rt.infer.web.engine import Engine
from nst_rt.infer.web.settings import Settings
from nst_rt.models.style_model import StyleModel


@pytest.fixture(scope="session")
def engine(two_styles: StyleModel) -> Engine:
    made = Engine("openvino")
    made.add(two_styles)
    return made


@pytest.fixture
def client(engine: Engine, tmp_path: Path) -> Iterator[Client]:
    with Client(create_app(engine, settings(tmp_path, fps=0))) as opened:
        yield opened
    assert not (tmp_path / "visitors").exists()  # nothing that a visitor sent is left behind


@pytest.fixture(scope="module")
def studio(
    two_styles: StyleModel, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("studio")
    engine = Engine("openvino")
    engine.add(two_styles)
    given = settings(
        folder,
        undo=Settings.undo,
        photos=photos,
        start_from=str(two_styles.save(folder / "two.safetensors")),
        train_arguments=("--size", "64", "--batch-size", "2", "--workers", "0"),
    )
    with serving(create_app(engine, given)) as port:
        yield Studio(f"http://localhost:{port}/", given.root)
    assert not given.root.exists()
