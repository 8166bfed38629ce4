from pathlib import Path
from unittest.mock import Mock

import pytest
from PIL import Image, TiffImagePlugin

from nst_rt.cli import main
from nst_rt.infer.photos import Batch


@pytest.mark.parametrize(
    ("error", "said"), [(OSError("no frame"), "no frame"), (OSError(28, "full"), "full")]
)
def test_errors_of_the_system_say_what_they_are(
    astronaut: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: OSError,
    said: str,
) -> None:
    monkeypatch.setattr("nst_rt.infer.photos.stylize_image", Mock(side_effect=error))
    assert main(["image", str(astronaut), "-o", str(tmp_path / "out.png")]) == 2
    assert capsys.readouterr().err == f"nst-rt: the system: {said}\n"


def test_what_pillow_says_is_not_shown(
    tmp_path: Path,
    recwarn: pytest.WarningsRecorder,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "cut.tif")
    content = (tmp_path / "cut.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(content[: len(content) // 2])  # of which Pillow warns
    many = TiffImagePlugin.ImageFileDirectory_v2()
    many[TiffImagePlugin.SAMPLESPERPIXEL] = 1000  # which it logs as an error
    Image.new("L", (40, 40)).save(tmp_path / "many.tif", tiffinfo=many)
    for name in ("cut.tif", "many.tif"):
        assert main(["image", str(tmp_path / name), "-o", str(tmp_path / "out.png")]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith(f"nst-rt: {tmp_path / name}: ")
    assert not [warning for warning in recwarn if "PIL" in warning.filename]
    assert not caplog.records


def test_a_folder_of_which_nothing_comes_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = Batch(tmp_path, skipped={"a": "a: too large", "b": "b: damaged"})
    monkeypatch.setattr("nst_rt.infer.photos.stylize_images", lambda *_, **__: batch)
    assert main(["image", str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert ["a: too large" in line for line in lines] == [True, False, True]


def test_a_folder_with_skipped_photos_is_done_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = Batch(tmp_path, outputs=[tmp_path / "a.png"], skipped={"b": "b: damaged"})
    monkeypatch.setattr("nst_rt.infer.photos.stylize_images", lambda *_, **__: batch)
    assert main(["image", str(tmp_path), "-o", str(tmp_path / "out")]) == 3
    out, err = capsys.readouterr()
    assert "skipped: 1" in out
    assert "b: damaged" in err
