"""The command line, run in a folder of its own."""

from pathlib import Path

import pytest
from command_line import Run

from nst_rt.cli import main


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`nst-rt` with arguments of any type, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run_main(*arguments: object) -> tuple[int, str, str]:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse's own errors
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return run_main
