"""Completion scripts, run in a real shell."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CLI = [sys.executable, "-m", "nst_rt"]
STYLES = {"starry_night", "starry_night_classic"}


def made(shell: str) -> str:
    done = subprocess.run(
        [*CLI, "--print-completion", shell], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def bash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the script of bash and files to complete."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "script.sh").write_text(made("bash"))
    for name in ("photo.jpg", "mine.safetensors"):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("typed", "completions"),
    [
        ("vi", {"video"}),
        ("we", {"web", "webcam"}),
        ("--v", {"--version"}),
        ("image pho", {"photo.jpg"}),
        ("image --stro", {"--stroke-size"}),
        ("image photo.jpg --style star", STYLES),
        ("image photo.jpg --style mi", {"mine.safetensors"}),
        ("image photo.jpg --style pho", set()),
        ("video a.mp4 --codec h", {"h264", "hevc", "h264_nvenc", "hevc_nvenc"}),
        ("webcam --backend o", {"openvino", "onnx"}),
        ("evaluate star", STYLES),
        ("export ud", {"udnie"}),
        ("train --from starry", STYLES),
        ("train --from gal", {"gallery"}),
        ("optimize photo.jpg --preset ga", {"gatys"}),
    ],
)
def test_bash_completes(bash: Path, typed: str, completions: set[str]) -> None:
    program = (
        'source script.sh; COMP_WORDS=(nst-rt $1); [[ "$1" == *" " ]] && COMP_WORDS+=("");'
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _shtab_nst_rt; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(
        ["bash", "-c", program, "bash", typed],
        cwd=bash,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) == completions


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_scripts_of_other_shells_have_verbs_and_styles(shell: str, tmp_path: Path) -> None:
    script = made(shell)
    for word in ("webcam", "stroke-size", "starry_night"):
        assert word in script
    if found := shutil.which(shell):
        (tmp_path / "script").write_text(script)
        subprocess.run([found, "-n", tmp_path / "script"], check=True)


def test_unknown_shell_is_one_line() -> None:
    done = subprocess.run(
        [*CLI, "--print-completion", "bsh"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "'bash'" in done.stderr


def test_completion_costs_other_commands_nothing() -> None:
    code = (
        "import sys\nfrom nst_rt.cli import main\nmain([])\n"
        "assert not {'torch', 'numpy', 'rich', 'shtab'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
