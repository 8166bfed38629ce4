"""What several tests need: photos and paintings that the packages carry, small to be fast."""

import os
import signal
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

# Tests that run side by side share the cores; threads that wait for each other would spin. Torch
# and the programs that are started read this when they start.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ["OMP_NUM_THREADS"] = str(max(1, share))

import pytest
from blends import small_network
from torch import Tensor

from nst_rt.images.io import load_image
from nst_rt.infer.packaged import packaged_film
from nst_rt.models.style_model import Style, StyleModel

# A program that is started in the background may ignore Ctrl-C, and so would what it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of what is compiled during the tests, also in the programs that they start."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("NST_RT_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of what is learned during the tests, also in the programs that they start."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("data")
        patch.setenv("NST_RT_DATA", str(folder))
        yield folder


@pytest.fixture(scope="session")
def photos() -> Path:
    """Folder of the photos that scikit-image carries."""
    return Path(str(resources.files("skimage") / "data"))


@pytest.fixture(scope="session")
def astronaut(photos: Path) -> Path:
    return photos / "astronaut.png"


@pytest.fixture(scope="session")
def painting() -> Path:
    return Path(str(resources.files("nst_rt.assets.styles") / "swirls.jpg"))


@pytest.fixture(scope="session")
def photo(astronaut: Path) -> Tensor:
    """Shape (1, 3, 96, 96)."""
    return load_image(astronaut, size=96)


@pytest.fixture(scope="session")
def two_styles() -> StyleModel:
    """An untrained network whose two styles differ."""
    styles = (Style("waves", "The Waves", "A. FrameStylizer", "1831", "CC0"), Style("night"))
    training = {"steps": 12, "photos": {"holidays": 34}, "losses": {"style": 0.25}}
    return StyleModel(small_network(styles=2), styles, training)


@pytest.fixture(scope="session")
def film() -> Path:
    """Big Buck Bunny: 1280x720, 25 fps, 132 frames, AAC."""
    return packaged_film()
