import logging
import os
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from nst_rt.infer.backends import frame_net
from nst_rt.infer.backends import openvino as openvino_backend
from nst_rt.infer.backends.cache import Cache
from nst_rt.infer.stylizer import Stylizer
from nst_rt.models.style_model import StyleModel

FRAME = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NST_RT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def entries(folder: Path) -> set[Path]:
    return set(folder.glob("*.bin"))


def test_entries_come_back(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "new")
    assert cache.get(["a", 1]) is None
    cache.put(["a", 1], b"one")
    cache.put(["a", 2], b"")
    assert Cache(tmp_path / "new").get(["a", 1]) == b"one"
    assert cache.get(["a", 2]) == b""


def test_the_least_recently_used_leave(tmp_path: Path) -> None:
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
def test_a_damaged_entry_is_none_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: bytes | None
) -> None:
    cache = Cache(tmp_path)
    cache.put("key", b"something long enough")
    [file] = entries(tmp_path)
    file.write_bytes(file.read_bytes()[:-1] + b"?" if damage is None else damage)
    assert cache.get("key") is None
    assert cache.get("key") is None
    assert [record.message for record in caplog.records] == [
        f"{file}: a damaged entry of the cache; it is built again"
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_does_no_harm(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    cache = Cache(tmp_path / "cache")
    cache.put("key", b"data")
    assert cache.get("key") is None


def test_a_file_in_its_place_does_no_harm(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cache").write_text("here")
    cache = Cache(tmp_path / "cache")
    cache.put("key", b"data")
    assert cache.get("key") is None
    assert "nothing can be cached there" in caplog.text


class Counted:
    """How often a network was converted and compiled."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.graphs = self.compilations = 0
        exported, compile_model = frame_net.exported, ov.Core.compile_model

        def graph(*arguments: object) -> object:
            self.graphs += 1
            return exported(*arguments)  # type: ignore[arg-type]

        def compiled(*arguments: object) -> object:
            self.compilations += 1
            return compile_model(*arguments)

        monkeypatch.setattr(openvino_backend, "exported", graph)
        monkeypatch.setattr(ov.Core, "compile_model", compiled)

    @property
    def both(self) -> tuple[int, int]:
        return self.graphs, self.compilations


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def paint(model: StyleModel, frame: np.ndarray = FRAME) -> np.ndarray:
    return Stylizer(model, "waves", backend="openvino", precision="f32", stroke_size="1:1")(frame)


def test_a_network_is_compiled_once_for_each_size(
    two_styles: StyleModel, folder: Path, counted: Counted
) -> None:
    first = paint(two_styles)
    assert counted.both == (1, 1)
    np.testing.assert_array_equal(paint(two_styles), first)
    assert counted.both == (1, 1)
    paint(two_styles, FRAME[:33])
    assert counted.both == (1, 2)


def test_another_version_or_network_compiles_its_own(
    two_styles: StyleModel, folder: Path, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint(two_styles)
    changed = StyleModel(two_styles.network.__class__("fast", 2, trunk=4).eval(), two_styles.styles)
    paint(changed)
    assert counted.both == (2, 2)
    monkeypatch.setattr(ov, "get_version", lambda: "1999.0")
    paint(two_styles)
    assert counted.both == (3, 3)


def test_damaged_entries_are_built_again(
    two_styles: StyleModel, folder: Path, counted: Counted, caplog: pytest.LogCaptureFixture
) -> None:
    first = paint(two_styles)
    for file in entries(folder):
        file.write_bytes(file.read_bytes()[:-8])
    caplog.set_level(logging.WARNING)
    np.testing.assert_array_equal(paint(two_styles), first)
    assert counted.both == (2, 2)
    assert caplog.text.count("a damaged entry") == 3
    paint(two_styles)
    assert counted.both == (2, 2)
