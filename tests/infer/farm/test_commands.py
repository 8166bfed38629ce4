"""`nst-rt video --ray`."""

import socket
import sys
from pathlib import Path

import pytest
from clips import write_clip
from videos import packets

from nst_rt.cli import main
from nst_rt.infer.video import stylize_video


@pytest.mark.slow
def test_folder_of_videos(
    tmp_path: Path, model: Path, cluster: str, capsys: pytest.CaptureFixture[str]
) -> None:
    films, out = tmp_path / "films", tmp_path / "out"
    films.mkdir()
    for number in range(3):
        write_clip(films / f"{number}.mp4", pts=range(0, 512 * (20 + number), 512))
    (films / "bad.mp4").write_bytes(b"no video")
    given = [str(films), "-o", f"{out}/", "--style", f"{model}:waves", "--backend", "openvino"]
    options = ["--stroke-size", "1:1", "--stability", "0", "--ray", cluster]
    assert main(["video", *given, *options]) == 3
    assert "bad.mp4" in capsys.readouterr().err
    made = sorted(path.name for path in out.glob("*.mp4"))
    assert made == ["0.mp4", "1.mp4", "2.mp4"]
    whole = tmp_path / "one.mp4"
    settings = {"style": f"{model}:waves", "backend": "openvino", "stroke_size": "1:1"}
    stylize_video(films / "2.mp4", whole, stability=0, **settings)
    assert packets(out / "2.mp4") == packets(whole)
    (films / "bad.mp4").unlink()
    assert main(["video", *given, *options, "--resume"]) == 0
    assert "3 existed" in capsys.readouterr().out


def one_line_error(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["video", *map(str, arguments)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    return told[0]


@pytest.mark.parametrize("several", [False, True])
def test_no_cluster(several: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    films = [write_clip(tmp_path / f"{name}.mp4") for name in "ab"]
    inputs = films if several else films[:1]
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    output = tmp_path / ("out/" if several else "out.mp4")
    told = one_line_error(capsys, *inputs, "-o", f"{output}{'/' * several}", "--ray", address)
    assert "--ray" in told
    assert address in told


def test_ray_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    film = write_clip(tmp_path / "in.mp4")
    told = one_line_error(capsys, film, "-o", tmp_path / "out.mp4", "--ray", "auto")
    assert "nst-rt[farm]" in told
