"""The cache of compiled networks."""

import os
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from nst_rt.infer.backends import openvino as openvino_backend
from nst_rt.infer.backends.cache import Cache
from nst_rt.infer.stylizer import Stylizer
from nst_rt.models.style_model import StyleModel

FRAME = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)


def entries(folder: Path) -> set[Path]:
    return set(folder.glob("*.bin"))


def test_entries_persist(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "new")
    assert cache.get(["a", 1]) is None
    cache.put(["a", 1], b"one")
    cache.put(["a", 2], b"")
    assert Cache(tmp_path / "new").get(["a", 1]) == b"one"
    assert cache.get(["a", 2]) == b""


def test_least_recently_used_entries_are_dropped(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=350)
    for name, time in (("old", 10), ("used", 5), ("new", 20)):
        before = entries(tmp_path)
        cache.put(name, b"x" * 68)  # 100 bytes with its digest
        [file] = entries(tmp_path) - before
        os.utime(file, (time, time))
    assert cache.get("used")
    cache.put("newest", b"x" * 68)
    assert [bool(cache.get(name)) for name in ("old", "used", "new", "newest")] == [0, 1, 1, 1]
    assert sum(file.stat().st_size for file in entries(tmp_path)) <= 350


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_damaged_entry_counts_as_missing_and_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: bytes | None
) -> None:
    cache = Cache(tmp_path)
    cache.put("key", b"something long enough")
    [file] = entries(tmp_path)
    file.write_bytes(file.read_bytes()[:-1] + b"?" if damage is None else damage)
    assert cache.get("key") is None
    assert cache.get("key") is None
    [record] = caplog.records
    assert str(file) in record.message


def test_file_in_place_of_the_folder_does_no_harm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("here")
    cache = Cache(tmp_path / "cache")
    cache.put("key", b"data")
    assert cache.get("key") is None
    assert str(tmp_path / "cache") in caplog.text


class Counted:
    """Number of conversions and of compilations, in a cache of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.folder = folder
        self.graphs = self.compilations = 0
        exported, compile_model = openvino_backend.exported, ov.Core.compile_model

        def graph(*arguments: object) -> object:
            self.graphs += 1
            return exported(*arguments)  # type: ignore[arg-type]

        def compiled(*arguments: object) -> object:
            self.compilations += 1
            return compile_model(*arguments)

        monkeypatch.setenv("NST_RT_CACHE", str(folder))
        monkeypatch.setattr(openvino_backend, "exported", graph)
        monkeypatch.setattr(ov.Core, "compile_model", compiled)

    def stylize(self, model: StyleModel, frame: np.ndarray = FRAME) -> tuple[int, int]:
        """Stylize with a new backend; both numbers since the beginning."""
        stylizer = Stylizer(model, "waves", backend="openvino", precision="f32", stroke_size="1:1")
        self.stylized = stylizer(frame)
        return self.graphs, self.compilations


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch, tmp_path / "cache")


@pytest.mark.slow
def test_network_is_converted_once_and_compiled_once_per_size(
    two_styles: StyleModel, counted: Counted
) -> None:
    assert counted.stylize(two_styles) == (1, 1)
    first = counted.stylized
    assert counted.stylize(two_styles) == (1, 1)
    np.testing.assert_array_equal(counted.stylized, first)
    assert counted.stylize(two_styles, FRAME[:33]) == (1, 2)


@pytest.mark.slow
def test_another_network_or_version_is_compiled_separately(
    two_styles: StyleModel, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted.stylize(two_styles)
    network = two_styles.network.__class__("fast", 2, trunk=4).eval()
    assert counted.stylize(StyleModel(network, two_styles.styles)) == (2, 2)
    monkeypatch.setattr(ov, "get_version", lambda: "1999.0")
    assert counted.stylize(two_styles) == (3, 3)


@pytest.mark.slow
def test_damaged_entries_are_compiled_again(
    two_styles: StyleModel, counted: Counted, caplog: pytest.LogCaptureFixture
) -> None:
    counted.stylize(two_styles)
    first = counted.stylized
    for file in entries(counted.folder):
        file.write_bytes(file.read_bytes()[:-8])
    caplog.clear()
    assert counted.stylize(two_styles) == (2, 2)
    np.testing.assert_array_equal(counted.stylized, first)
    assert sum(str(counted.folder) in record.message for record in caplog.records) == 3
    assert counted.stylize(two_styles) == (2, 2)
