import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import truncate, write_clip
from videos import stamps, streams

from nst_rt.cli import main
from nst_rt.infer.video import VideoResult, probe, stylize_video
from nst_rt.models.style_model import StyleModel

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    two_styles: StyleModel,
) -> Run:
    """The verb, in a folder with a small model."""
    monkeypatch.chdir(tmp_path)
    two_styles.save("two.safetensors")

    def run_main(*arguments: object) -> tuple[int, str, str]:
        style = ["--style", "two.safetensors", "--strength", "0"]
        try:
            code = main(["video", *(str(argument) for argument in arguments), *style])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return run_main


def test_the_facts_tell_what_became_of_everything(run: Run) -> None:
    write_clip(Path("in.mkv"), audio="flac", languages=("deu",))
    code, out, _ = run("in.mkv", "out.webm", "--crf", 40, "--json")
    assert code == 0
    facts = json.loads(out)
    assert facts["tracks"] == [
        {"kind": "audio", "codec": "flac", "language": "deu", "action": "re-encoded to opus"}
    ]
    assert facts["warnings"] == ["flac audio (deu) re-encoded to opus"]
    assert facts["stages"].keys() == {"decode", "paint", "encode", "assemble"}
    assert (facts["frames"], facts["resumed"], facts["audio"]) == (25, 0, "flac")


def test_what_is_damaged_is_told_to_programs_too(run: Run) -> None:
    whole = write_clip(Path("whole.mkv"), pts=range(0, 51200, 512))
    truncate(whole, Path("in.mkv"), 0.6)
    code, out, err = run("in.mkv", "out.mp4", "--json")
    assert code == 3
    assert re.search(r"in\.mkv: damaged or cut off \(\d\.\d\d to 4\.00 s\); out\.mp4 has", err)
    facts = json.loads(out)
    [[start, end]] = facts["damage"]
    assert (facts["frames"], end) == (len(stamps(Path("out.mp4"))), 4)
    assert start < 4
    code, out, _ = run("in.mkv", "painted/", "--json")
    assert code == 3
    assert json.loads(out)["videos"][0]["damage"] == [[start, end]]


@pytest.mark.parametrize(("start", "end"), [("0:00:00.4", "0:00.8"), (".4", "8e-1")])
def test_options_reach_the_conversion(run: Run, start: str, end: str) -> None:
    write_clip(Path("in.mp4"), size=(128, 96))
    options = ["--start", start, "--end", end, "--size", "64x64", "--fps", "50", "--codec", "hevc"]
    assert run("in.mp4", *options, "out.mp4")[0] == 0
    info = probe("out.mp4")
    assert (info.width, info.height, info.rate, info.frames) == (64, 64, 50, 20)
    assert streams(Path("out.mp4"))[0][1] == "hevc"


def test_several_videos_go_into_a_folder_and_a_bad_one_stops_none(run: Run) -> None:
    for name in ("a.mp4", "b.mkv", "c.avi"):
        write_clip(Path(name))
    Path("bad.mp4").write_text("no video")
    code, out, err = run("bad.mp4", "*.mkv", "a.mp4", "c.avi", "painted/")
    assert code == 3
    assert "painted: 3 videos, failed: 1" in out
    assert err.count("\n") == 1
    assert "bad.mp4: not a video" in err
    names = sorted(path.name for path in Path("painted").iterdir())
    assert names == ["a.mp4", "b.mkv", "c.mp4"]
    assert stamps(Path("painted/a.mp4")) == stamps(Path("a.mp4"))

    Path("painted/a.mp4").unlink()
    code, out, _ = run("a.mp4", "b.mkv", "--resume", "painted", "--json")
    assert code == 0
    facts = json.loads(out)
    assert (facts["kept"], [done["output"] for done in facts["videos"]]) == (1, ["painted/a.mp4"])


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        av.error.ArgumentError(22, "Invalid argument"),
        UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid"),
        ValueError("no such thing"),
        OSError(28, "No space left on device"),
    ],
)
def test_an_error_of_any_kind_in_one_of_several_stops_none(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def convert(source: str, *arguments: Any, **settings: Any) -> VideoResult:
        if source == "a.mp4":
            raise error
        return stylize_video(source, *arguments, **settings)

    monkeypatch.setattr("nst_rt.infer.video.stylize_video", convert)
    for name in ("a.mp4", "50%discount.mp4"):
        write_clip(Path(name))
    code, out, err = run("a.mp4", "50%discount.mp4", "stylized/", "--json")
    facts = json.loads(out)
    assert (code, len(facts["videos"]), list(facts["failed"])) == (3, 1, ["a.mp4"])
    assert err.count("\n") == 1
    assert err.startswith(f"nst-rt: a.mp4: {type(error).__name__}")
    assert [path.name for path in Path("stylized").iterdir()] == ["50%discount.mp4"]


def test_a_pipe_carries_a_video_and_nothing_else(run: Run) -> None:
    write_clip(Path("in.mkv"), audio="aac")
    command = [sys.executable, "-m", "nst_rt", "video", "-", "-", "--style", "two.safetensors"]
    command += ["--json", "--backend", "openvino"]  # or the first start would say that it measures
    with Path("in.mkv").open("rb") as source, Path("out.mkv").open("wb") as output:
        done = subprocess.run(
            command, stdin=source, stdout=output, stderr=subprocess.PIPE, text=True, check=True
        )
    facts = json.loads(done.stderr)
    assert (facts["output"], facts["frames"]) == ("-", 25)
    assert streams(Path("out.mkv")) == streams(Path("in.mkv"))
    assert stamps(Path("out.mkv")) == stamps(Path("in.mkv"))


def test_ctrl_c_ends_what_a_pipe_that_stalls_began(run: Run) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    write_clip(Path("in.mkv"), pts=range(0, 512 * 200, 512), picture=lambda _: picture)
    data = Path("in.mkv").read_bytes()
    command = [sys.executable, "-m", "nst_rt", "video", "-", "out.mp4", "--segment", "10"]
    command += ["--style", "two.safetensors", "--strength", "0", "--backend", "openvino"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(data[: len(data) * 9 // 10])
        process.stdin.flush()
        while not Path("out.mp4.partial/000001.json").exists():
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        said = process.stderr.read().decode()
    assert said == "nst-rt: interrupted; what was finished is in out.partial.mp4\n"
    assert len(stamps(Path("out.partial.mp4"))) >= 20
    assert not Path("out.mp4.partial").exists()


def test_none_of_several_is_an_error(run: Run) -> None:
    for name in ("bad.mp4", "worse.mp4"):
        Path(name).write_text("no video")
    code, out, err = run("bad.mp4", "worse.mp4", "painted")
    assert (code, out) == (2, "")
    assert "none of 2 videos was converted" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["*.mov", "out.mp4"], "no files match"),
        (["a.mp4", "x/a.mp4", "painted"], "two videos would get this name"),
        (["a.mp4", "x/a.mp4", "out.mp4"], "give a folder"),
        (["a.mp4", "out.mp4", "--start", "soon"], r"--start: 'soon' is not a time"),
        (["a.mp4", "out.mp4", "--codec", "divx"], "must be one of h264"),
        (["a.mp4", "out.gif", "--resume"], "--resume does not go with out.gif"),
        (["-", "out.mp4", "--resume"], "--resume does not go with -"),
        (["a.mp4", "a.mp4", "--overwrite"], "over the source"),
        (["a.gif", "a.gif", "--overwrite"], "over the source"),
    ],
)
def test_bad_input_is_one_line(run: Run, arguments: list[str], said: str) -> None:
    write_clip(Path("a.mp4"))
    write_clip(Path("a.gif"), container_format="mp4")
    Path("x").mkdir()
    shutil.copy("a.mp4", "x")
    before = sorted(Path().rglob("*"))
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert re.search(said, err)
    assert sorted(Path().rglob("*")) == before


def test_a_photo_is_refused_and_the_process_ends_well(tmp_path: Path, astronaut: Path) -> None:
    """One with a color profile, which killed it at its end."""
    command = [sys.executable, "-m", "nst_rt", "video", astronaut, tmp_path / "out.mp4"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "nst-rt image" in done.stderr


def test_an_error_without_a_reason_of_the_system_tells_its_own(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError("cut off")

    monkeypatch.setattr("nst_rt.infer.video.check_conversion", broken)
    code, _, err = run("in.mp4", "out.mp4")
    assert code == 2
    assert "cut off" in err
    assert "None" not in err
