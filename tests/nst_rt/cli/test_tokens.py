"""Tokens from options, files and the environment."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nst_rt.cli import main
from nst_rt.cli.tokens import VARIABLE, take_token
from nst_rt.errors import InputError
from nst_rt.infer.live import webcam
from nst_rt.infer.web import server


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text("from-file \nanything else\n")
    return file


def taken(**options: Any) -> str | None:
    take_token(options)
    assert "token_file" not in options
    assert VARIABLE not in os.environ
    token: str | None = options.get("token")
    return token


def test_options_come_before_the_environment(
    secret: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for options, expected in (
        ({}, "from-environment"),
        ({"token_file": str(secret)}, "from-file"),
        ({"token": "from-option"}, "from-option"),
        ({"token": ""}, ""),  # a random one
    ):
        monkeypatch.setenv(VARIABLE, "from-environment")
        assert taken(**options) == expected
    monkeypatch.setenv(VARIABLE, "")
    assert taken() is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("content", ["", "\n", "  \ntoken on the second line\n"])
def test_file_without_a_token_is_refused(
    secret: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    secret.write_text(content)
    assert main(["web", "--token-file", str(secret), "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert str(secret) in said
    assert said.count("\n") == 1


def test_missing_file_and_two_tokens_are_refused(secret: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        taken(token_file=str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="`token_file`"):
        taken(token_file=str(secret), token="12345678")


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, True), (0o604, True)])
def test_file_that_others_can_read_is_warned_about(
    secret: Path, mode: int, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    secret.chmod(mode)
    assert taken(token_file=str(secret)) == "from-file"
    assert (str(secret) in capsys.readouterr().err) == warned
    assert stat.S_IMODE(secret.stat().st_mode) == mode


def test_token_reaches_the_studio_and_viewers_of_a_webcam_but_no_other_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[dict[str, Any]] = []

    def called(*_: Any, **options: Any) -> None:
        given.append(options)
        raise InputError("enough")

    monkeypatch.setattr(server, "serve", called)
    monkeypatch.setattr(webcam, "stylize_webcam", called)
    for command, token in (
        (["web"], "correct-horse"),
        (["webcam", "--mjpeg", "0.0.0.0:0"], "correct-horse"),
        (["webcam"], None),
    ):
        monkeypatch.setenv(VARIABLE, "correct-horse")
        assert main(command) == 2
        assert given[-1].get("token") == token


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_token_is_not_in_the_process_list_nor_given_to_child_processes(secret: Path) -> None:
    code = (
        "import subprocess, sys; from nst_rt.cli.tokens import take_token\n"
        "options = {'token_file': sys.argv[1]}; take_token(options)\n"
        "child = [sys.executable, '-c', 'import os; print(dict(os.environ))']\n"
        "print(options['token'], open('/proc/self/cmdline').read(), flush=True)\n"
        "subprocess.run(child)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(secret)],
        env={**os.environ, VARIABLE: "from-environment"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.count("from-file") == 1
    assert "from-environment" not in said
