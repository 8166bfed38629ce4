"""Studios with a tiny model, to ask without a network or to open in Chromium."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import pytest
from learnings import Pretended
from pages import Elsewhere, Page, open_chromium
from visitors import LIMITS, Client, Studio, serving, settings

from nst_rt.infer.web.app import create_app
from nst_rt.infer.web.decoding.pool import Decoders
from nst_rt.infer.web.settings import Settings
from nst_rt.infer.web.stylizers import SharedStylizer
from nst_rt.models.style_model import StyleModel


@pytest.fixture(scope="session")
def shared(two_styles: StyleModel) -> SharedStylizer:
    return SharedStylizer(two_styles, backend="openvino")


@pytest.fixture(scope="session")
def decoders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Decoders]:
    made = Decoders(tmp_path_factory.mktemp("decoded"), LIMITS)
    yield made
    made.close()


@pytest.fixture
def client(shared: SharedStylizer, tmp_path: Path) -> Iterator[Client]:
    with Client(create_app(shared, settings(tmp_path, fps=0))) as opened:
        yield opened
    assert not (tmp_path / "visitors").exists()  # all uploads are removed


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[Pretended]]:
    """The learnings that were begun, without processes."""
    monkeypatch.setenv("NST_RT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("nst_rt.infer.web.work.content._FEED_SECONDS", 0.01)
    monkeypatch.setattr("nst_rt.infer.web.learning.LiveLearning", Pretended)
    Pretended.made = []
    yield Pretended.made
    for each in Pretended.made:
        each.closing.set()


@pytest.fixture
def growing(two_styles: StyleModel) -> SharedStylizer:
    """A stylizer to which styles are added."""
    return SharedStylizer(two_styles, backend="openvino")


@pytest.fixture
def learner(
    pretended: list[Pretended], growing: SharedStylizer, tmp_path: Path
) -> Iterator[Client]:
    """A visitor of a studio in which nothing is really learned."""
    with Client(create_app(growing, settings(tmp_path, fps=0))) as opened:
        yield opened


@pytest.fixture(scope="module")
def studio(
    two_styles: StyleModel, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("studio")
    shared = SharedStylizer(two_styles, backend="openvino")
    given = settings(
        folder,
        undo=Settings.undo,
        photos=photos,
        start_from=str(two_styles.save(folder / "two.safetensors")),
        train_arguments=("--size", "64", "--batch-size", "2", "--workers", "0"),
        cookie="nst_rt_shared",
    )
    with serving(create_app(shared, given)) as port:
        yield Studio(f"http://localhost:{port}/", given.root)
    assert not given.root.exists()


@pytest.fixture(scope="module")
def camera(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few frames of the film as MJPEG, which Chromium plays over and over."""
    clip = tmp_path_factory.mktemp("camera") / "film.mjpeg"
    capture = cv2.VideoCapture(str(film))
    with clip.open("wb") as file:
        for _ in range(20):
            frame = cv2.resize(capture.read()[1], (160, 120))
            file.write(cv2.imencode(".jpg", frame)[1].tobytes())
    return clip


@pytest.fixture(scope="module")
def browser(
    studio: Studio, camera: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    downloads = tmp_path_factory.mktemp("downloads")
    driver = open_chromium(camera, downloads)
    yield Page(driver, studio.url, downloads)
    driver.quit()


@pytest.fixture
def page(browser: Page) -> Iterator[Page]:
    """The studio's page; it must load from this machine only, and log no error."""
    shutil.rmtree(browser.downloads)
    browser.downloads.mkdir()
    yield browser
    assert browser.errors() == []
    asked = browser.addresses()
    assert asked
    own = (browser.url, "blob:", "data:", "about:")
    assert [url for url in asked if not url.startswith(own)] == []


@pytest.fixture
def elsewhere(browser: Page, shared: SharedStylizer, tmp_path: Path) -> Iterator[Elsewhere]:
    """Opens other studios in the same browser, in which errors are expected."""
    shutil.rmtree(browser.downloads)
    browser.downloads.mkdir()

    @contextmanager
    def opened(port: int = 0, **given: Any) -> Iterator[Page]:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        app = create_app(shared, settings(folder, undo=Settings.undo, **given))
        with serving(app, port) as port:
            yield Page(browser.driver, f"http://localhost:{port}/", browser.downloads)

    yield opened
    browser.driver.get("about:blank")
    browser.errors()
    browser.addresses()
