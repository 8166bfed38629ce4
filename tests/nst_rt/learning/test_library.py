import errno
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from blends import small_network

from nst_rt.learning.library import Library, summary
from nst_rt.models.style_model import Style, StyleModel


def learned(name: str = "waves") -> StyleModel:
    recipe = {"style_size": 640, "style_weight": 8.0}
    training = {"crops": 40, "seconds": 10.5, "start_from": "udnie", "recipe": recipe}
    return StyleModel(small_network(), (Style(name),), training)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "learned")


def test_what_is_kept_is_found(library: Library) -> None:
    assert library.find("a") is None
    assert list(library) == []
    file = library.keep("a", learned())
    assert file == library.file("a")
    found = library.find("a")
    assert found is not None
    assert found.style_names == ["waves"]
    assert library.find("b") is None
    library.keep("a", learned("night"))  # instead of the earlier one
    [style] = library
    assert style.name == "night"
    assert style.record["crops"] == 40
    for word in ("udnie", "640"):
        assert word in style.summary
    assert style.summary == summary(style.model)


def test_least_recently_used_styles_are_dropped(library: Library) -> None:
    file = library.keep("a", learned("a"))
    assert file is not None
    small = Library(library.folder, limit=3 * file.stat().st_size)
    for number, key in enumerate("abc"):
        small.keep(key, learned(key))
        os.utime(small.file(key), (number, number))
    small.find("a")  # now the most recently used one
    small.keep("d", learned("d"))
    assert [style.name for style in small] == ["d", "a", "c"]


def test_damaged_files_count_as_missing(library: Library, caplog: Any) -> None:
    file = library.keep("a", learned())
    assert file is not None
    file.write_bytes(file.read_bytes()[:1000])
    library.keep("b", learned())
    with caplog.at_level(logging.WARNING):
        assert library.find("a") is None
    assert str(file) in caplog.text
    assert len(list(library)) == 1
    library.keep("a", learned())  # takes its place
    assert library.find("a") is not None


def test_full_disk_is_only_a_warning(
    library: Library, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with caplog.at_level(logging.WARNING):
        assert library.keep("a", learned()) is None
    assert "space" in caplog.text
    assert not library.file("a").exists()
    assert list(library.folder.iterdir()) == []


def test_folder_that_is_a_file_is_only_a_warning(tmp_path: Path) -> None:
    (tmp_path / "learned").write_text("in the way")
    library = Library(tmp_path / "learned")
    assert library.keep("a", learned()) is None
    assert library.find("a") is None
    assert list(library) == []


def test_files_that_are_being_written_do_not_count(library: Library) -> None:
    file = library.keep("a", learned())
    assert file is not None
    file.with_name(f".{file.name}").write_bytes(b"half")
    assert [style.file for style in library] == [file]


def test_folder_of_the_environment(data: Path) -> None:
    assert Library().folder == data / "learned"
