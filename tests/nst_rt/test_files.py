import errno
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import pytest

from nst_rt.errors import InputError, OutputExistsError
from nst_rt.files import (
    atomic_output,
    check_input,
    check_not_input,
    check_output,
    check_room,
    is_disk_full,
    partial_path,
    remove_output,
    shown_source,
)
from nst_rt.infer.photos import stylize_images


def test_input_is_a_readable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.png"
    file.touch()
    assert check_input(str(file)) == file
    for path in (tmp_path, tmp_path / "missing.png"):
        with pytest.raises(InputError, match=path.name):
            check_input(path)
    # Permission bits do not restrict root, who may run the tests.
    monkeypatch.setattr("nst_rt.files.os.access", lambda *_: False)
    with pytest.raises(InputError, match="permission"):
        check_input(file)


def test_existing_output_needs_overwrite(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    assert check_output(str(file)) == file
    file.touch()
    with pytest.raises(OutputExistsError, match="`overwrite`"):
        check_output(file)
    assert check_output(file, overwrite=True) == file


@pytest.mark.parametrize("name", [".", "missing/a.png", "file/a.png"])
def test_impossible_output_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError):
        check_output(tmp_path / name, overwrite=True)


def test_output_without_permission_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nst_rt.files.os.access", lambda *_: False)
    with pytest.raises(InputError, match="permission"):
        check_output(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("name", "partial"),
    [("a.png", "a.partial.png"), ("a.b.mp4", "a.b.partial.mp4"), ("a", "a.partial")],
)
def test_partial_file_is_beside_the_output_with_the_same_suffix(name: str, partial: str) -> None:
    assert partial_path(Path("folder") / name) == Path("folder") / partial


def test_output_appears_when_complete(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    with atomic_output(file) as partial:
        partial.write_text("new")
        assert not file.exists()
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_error_keeps_the_existing_file_and_removes_the_temporary_one(
    tmp_path: Path, error: type[BaseException]
) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")

    def fail() -> None:
        with atomic_output(file) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(sys.platform == "win32", reason="temporary files have other names there")
def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    with atomic_output(file) as partial:
        partial.write_text("new")
    partial.write_text("long and left behind")
    with atomic_output(file) as again:
        assert again == partial
        again.write_text("newer")
    assert file.read_text() == "newer"
    partial.touch()
    remove_output(file)
    remove_output(file)
    assert not list(tmp_path.iterdir())


def test_writers_of_one_file_at_a_time_have_files_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    with atomic_output(file) as first:
        first.write_text("first")
        with atomic_output(file) as second:
            second.write_text("second")
        check_room(file, 10)
        assert first.read_text() == "first"
        with suppress(ValueError), atomic_output(file):
            raise ValueError
        assert file.read_text() == "second"
    assert file.read_text() == "first"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("rtsp://host:554/live", "rtsp://host:554/live"),
        ("http://host/a/cam.jpg?", "http://host/a/cam.jpg?"),
        ("rtsp://admin:P@ssw0rd@host/", "rtsp://host/"),
        ("rtsp://admin:P@ssw0rd@host:554", "rtsp://host:554"),
        ("http://host/a/cam.cgi?user=admin&pwd=secret", "http://host/a/cam.cgi?..."),
        ("srt://host:9000?passphrase=secret", "srt://host:9000?..."),
        ("http://host/cam#token=secret", "http://host/cam#..."),
        ("rtsp://host/user=admin_password=secret_channel=1.sdp?real", "rtsp://host/..."),
        ("rtmp://host/app/live?auth=secret/x live=1", "rtmp://host/app/live?..."),
        # A character in the password that ends the host name for URL parsers.
        ("rtsp://admin:P/ssw0rd@host/", "rtsp://..."),
        ("rtsp://admin:P@/ssw0rd@host/", "rtsp://..."),
        ("rtsp://admin:P?ssw0rd@host/", "rtsp://..."),
        ("rtsp://admin:P#ssw0rd@host/", "rtsp://..."),
        ("http://proxy/?u=rtsp://admin:secret@host/", "http://..."),
        (Path("rtsp://admin:secret@host/live"), "rtsp:/host/live"),
        ("film@home?=1.mp4", "film@home?=1.mp4"),
        ("C:/a=1/film@home.mp4", "C:/a=1/film@home.mp4"),
        ("0", "0"),
    ],
)
def test_sources_are_shown_without_secrets(source: Path | str, shown: str) -> None:
    assert shown_source(source) == shown


@pytest.mark.parametrize("check", [check_input, check_output])
def test_url_given_as_a_file_is_refused_without_its_password(check: Callable[[str], Path]) -> None:
    with pytest.raises(InputError, match="rtsp:/host/") as caught:
        check("rtsp://admin:secret@host/live?key=secret")
    assert "secret" not in str(caught.value)


def test_output_that_would_replace_an_input_is_an_error(tmp_path: Path) -> None:
    original = tmp_path / "a.png"
    original.touch()
    (tmp_path / "link.png").symlink_to("a.png")
    (tmp_path / "hard.png").hardlink_to(original)
    (tmp_path / "folder").symlink_to(".")
    (tmp_path / "b.png").touch()
    for name in ("a.png", "link.png", "hard.png", "folder/a.png", "folder/folder/link.png"):
        outputs = [tmp_path / "new.png", tmp_path / name]
        with pytest.raises(InputError, match=name) as caught:
            check_not_input(outputs, [tmp_path / "missing", str(original)])
        assert str(original) in str(caught.value)
    check_not_input([tmp_path / "b.png", tmp_path / "new.png"], [original, tmp_path / "new.png"])


def test_full_disk_is_distinguished_from_other_errors() -> None:
    assert is_disk_full(OSError(errno.ENOSPC, "full"))
    assert is_disk_full(OSError(errno.EDQUOT, "quota"))
    others = [OSError(errno.ENAMETOOLONG, "long"), OSError("no number"), ValueError(errno.ENOSPC)]
    assert not any(map(is_disk_full, others))


@pytest.mark.parametrize("name", [None, "temporary"])
def test_errors_of_the_system_name_the_output(tmp_path: Path, name: str | None) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(OSError, match="No space") as caught, atomic_output(path) as temporary:
        raise OSError(errno.ENOSPC, "No space left on device", str(temporary) if name else None)
    assert caught.value.filename == str(path)


def test_room_is_checked_without_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_room(tmp_path / "a.png", 1000)
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(Path, "write_bytes", Mock(side_effect=full))
    with pytest.raises(OSError, match="No space") as caught:
        check_room(tmp_path / "a.png", 1000)
    assert caught.value.filename == str(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("read", [check_input, stylize_images])
def test_device_is_no_input(read: Callable[[str], object]) -> None:
    with pytest.raises(InputError, match="device"):
        read("/dev/zero")
