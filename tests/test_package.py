"""The wheel, installed away from the source tree."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel, without its dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "--no-input"]
    offline = ["--no-deps", "--no-index"]
    subprocess.run(
        [*pip, "wheel", *offline, "--no-build-isolation", "-w", folder, ROOT], check=True
    )
    [wheel] = folder.glob("*.whl")
    subprocess.run([*pip, "install", *offline, "--target", folder / "site", wheel], check=True)
    return folder / "site"


@pytest.mark.slow
def test_wheel_is_complete(installed: Path) -> None:
    for file in (
        "py.typed",
        "train/task.py",
        "infer/backends/openvino.py",
        "checkpoints/gallery.safetensors",
        "assets/styles/swirls.jpg",
        "infer/web/preview.jpg",
        "infer/web/static/index.html",
    ):
        assert (installed / "nst_rt" / file).is_file()
    # No top-level package called train in site-packages.
    tops = {p.name for p in installed.iterdir() if p.is_dir() and "dist-info" not in p.name}
    assert tops <= {"nst_rt", "bin", "__pycache__"}


@pytest.mark.slow
def test_installed_wheel_stylizes(installed: Path, tmp_path: Path, astronaut: Path) -> None:
    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        env = {**os.environ, "PYTHONPATH": str(installed)}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = run("-c", "import nst_rt; print(nst_rt.__file__)")
    assert where.strip() == str(installed / "nst_rt" / "__init__.py")
    run("-m", "nst_rt", "image", str(astronaut), "-o", "out.png", "--size", "64")
    assert (tmp_path / "out.png").is_file()


@pytest.mark.slow
def test_source_tree_is_installed_editable() -> None:
    code = (
        "import nst_rt.train.run, nst_rt.infer.video, nst_rt.checkpoints; "
        "print(nst_rt.train.run.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(ROOT / "train" / "run.py")
