"""`--style-image`: learned for a few steps by a real process, then known."""

import json
from pathlib import Path
from typing import Any

import pytest
from clips import write_clip
from command_line import Run
from PIL import Image

from nst_rt.infer.learning import content
from nst_rt.learning.library import Library
from nst_rt.models.style_model import StyleModel

pytestmark = pytest.mark.slow

SHORT = ("--minutes", "0.02", "--from", "udnie", "--backend", "torch")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, photos: Path, painting: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a small photo, a style image and two short films."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NST_RT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(content, "packaged_photos", list)
    Image.open(photos / "coffee.png").resize((96, 64)).save("photo.png")
    Image.open(painting).resize((120, 90)).save("art.png")
    for name in ("one.mp4", "two.mp4"):
        write_clip(Path(name), pts=range(0, 512 * 6, 512))
    return tmp_path


def facts_of(run: Run, *arguments: str) -> Any:
    code, out, err = run(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_photo_then_films(run: Run, folder: Path) -> None:
    learn = ("--style-image", "art.png", *SHORT)
    facts = facts_of(run, "image", "photo.png", *learn, "--save-style", "art.safetensors")
    assert [image["output"] for image in facts["images"]] == ["photo_art.png"]
    assert Image.open("photo_art.png").size == (96, 64)
    assert StyleModel.load("art.safetensors").style_names == ["art"]
    [kept] = Library()
    crops = kept.record["crops"]
    assert crops > 0
    # Known now: nothing is learned any more.
    known = ("--style-image", "art.png", "--from", "udnie", "--backend", "torch")
    assert facts_of(run, "video", "one.mp4", *known)["output"] == "one_art.mp4"
    both = facts_of(run, "video", "one.mp4", "two.mp4", "-o", "films", *known)
    assert len(both["videos"]) == 2
    [kept] = Library()
    assert kept.record["crops"] == crops
    assert "art" in run("styles")[1]
    assert facts_of(run, "styles")[str(kept.file)]["learned"]["crops"] == crops
    # The folder belongs to this style image.
    Image.open("art.png").rotate(180).save("art.png")
    code, _, err = run("video", "one.mp4", "two.mp4", "-o", "films", *known, "--resume")
    assert code == 2
    assert "style" in err


def test_folder_of_photos_belongs_to_its_style_image(run: Run, folder: Path) -> None:
    (folder / "album").mkdir()
    for name in ("a.png", "b.png"):
        Image.open("photo.png").save(f"album/{name}")
    learn = ("--style-image", "art.png", *SHORT)
    assert len(facts_of(run, "image", "album", "-o", "out", *learn)["images"]) == 2
    known = ("--style-image", "art.png", "--from", "udnie", "--backend", "torch")
    facts = facts_of(run, "image", "album", "-o", "out", *known, "--resume")
    assert facts["kept"] == 2
    Image.open("art.png").rotate(180).save("art.png")
    code, _, err = run("image", "album", "-o", "out", *learn, "--resume")
    assert code == 2
    assert "style image" in err
