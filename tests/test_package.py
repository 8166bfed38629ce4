"""What users install: the wheel, away from the tree."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel is installed into, without what it depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "--no-input"]
    offline = ["--no-deps", "--no-index"]
    subprocess.run(
        [*pip, "wheel", *offline, "--no-build-isolation", "-w", folder, ROOT], check=True
    )
    [wheel] = folder.glob("*.whl")
    subprocess.run([*pip, "install", *offline, "--target", folder / "site", wheel], check=True)
    return folder / "site"


def run_installed(installed: Path, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_everything(installed: Path) -> None:
    for file in (
        "py.typed",
        "train/task.py",
        "infer/backends/openvino.py",
        "checkpoints/gallery.safetensors",
        "assets/styles/swirls.jpg",
        "infer/web/static/index.html",
    ):
        assert (installed / "nst_rt" / file).is_file()
    # Nobody's site-packages gets a top-level package called train.
    tops = {p.name for p in installed.iterdir() if p.is_dir() and "dist-info" not in p.name}
    assert tops <= {"nst_rt", "bin", "__pycache__"}


def test_the_wheel_stylizes(installed: Path, tmp_path: Path, astronaut: Path) -> None:
    where = run_installed(installed, tmp_path, "-c", "import nst_rt; print(nst_rt.__file__)")
    assert where.strip() == str(installed / "nst_rt" / "__init__.py")
    arguments = ["image", str(astronaut), "-o", "out.png", "--size", "64"]
    run_installed(installed, tmp_path, "-m", "nst_rt", *arguments)
    assert (tmp_path / "out.png").is_file()


def test_the_tree_is_installed_editable() -> None:
    code = (
        "import nst_rt.train.run, nst_rt.infer.video, nst_rt.checkpoints; "
        "print(nst_rt.train.run.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(ROOT / "train" / "run.py")
