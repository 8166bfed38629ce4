import json
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import truncate, write_clip
from command_line import Run
from videos import stamps, streams

from nst_rt.infer.video import VideoResult, probe, stylize_video
from nst_rt.models.style_model import StyleModel


@pytest.fixture
def run(run: Run, two_styles: StyleModel) -> Run:
    """`nst-rt video`, in a folder with a small model."""
    two_styles.save("two.safetensors")
    return partial(run, "video", "--style", "two.safetensors", "--strength", "0")


def test_json_has_tracks_warnings_and_stages(run: Run) -> None:
    write_clip(Path("in.mkv"), audio="flac", languages=("deu",))
    code, out, _ = run("in.mkv", "-o", "out.webm", "--crf", 40, "--json")
    assert code == 0
    facts = json.loads(out)
    [track] = facts["tracks"]
    assert (track["codec"], track["language"]) == ("flac", "deu")
    assert "opus" in track["action"]
    assert len(facts["warnings"]) == 1
    assert facts["stages"].keys() == {"decode", "stylize", "encode", "assemble"}
    assert (facts["frames"], facts["resumed"], facts["audio"]) == (25, 0, "flac")
    assert facts["backend"]


def test_json_has_damage(run: Run) -> None:
    whole = write_clip(Path("whole.mkv"), pts=range(0, 51200, 512))
    truncate(whole, Path("in.mkv"), 0.6)
    code, out, err = run("in.mkv", "-o", "out.mp4", "--json")
    assert code == 3
    assert "to 4.00 s" in err
    facts = json.loads(out)
    [[start, end]] = facts["damage"]
    assert (facts["frames"], end) == (len(stamps(Path("out.mp4"))), 4)
    assert start < 4
    code, out, _ = run("in.mkv", "-o", "stylized/", "--json")
    assert code == 3
    assert json.loads(out)["videos"][0]["damage"] == [[start, end]]


@pytest.mark.parametrize(("start", "end"), [("0:00:00.4", "0:00.8"), (".4", "8e-1")])
def test_options_reach_the_conversion(run: Run, start: str, end: str) -> None:
    write_clip(Path("in.mp4"), size=(128, 96))
    options = ["--start", start, "--end", end, "--size", "64x64", "--fps", "50", "--codec", "hevc"]
    assert run("in.mp4", *options, "-o", "out.mp4")[0] == 0
    info = probe("out.mp4")
    assert (info.width, info.height, info.rate, info.frames) == (64, 64, 50, 20)
    assert streams(Path("out.mp4"))[0][1] == "hevc"


@pytest.mark.parametrize(
    ("name", "output"), [("a.mkv", "a_two_strength_0.mkv"), ("a.avi", "a_two_strength_0.mp4")]
)
def test_default_output(run: Run, name: str, output: str) -> None:
    write_clip(Path(name), pts=range(0, 2560, 512))
    assert run(name)[0] == 0
    assert Path(output).exists()
    code, _, err = run(name)
    assert code == 2
    assert output in err


def test_several_videos_go_to_the_current_folder(run: Run) -> None:
    for name in ("a.mp4", "b.mkv"):
        write_clip(Path(name), pts=range(0, 2560, 512))
    assert run("a.mp4", "b.mkv")[0] == 0
    outputs = {"a_two_strength_0.mp4", "b_two_strength_0.mkv"}
    assert {path.name for path in Path().glob("*_two_*")} == outputs


def test_bad_file_does_not_stop_the_others(run: Run) -> None:
    for name in ("a.mp4", "b.mkv", "c.avi"):
        write_clip(Path(name))
    Path("bad.mp4").write_text("no video")
    code, out, err = run("bad.mp4", "*.mkv", "a.mp4", "c.avi", "-o", "stylized/", "--json")
    assert code == 3
    facts = json.loads(out)
    assert (len(facts["videos"]), list(facts["failed"])) == (3, ["bad.mp4"])
    assert err.count("\n") == 1
    assert "bad.mp4" in err
    names = sorted(path.name for path in Path("stylized").glob("[!.]*"))
    assert names == ["a.mp4", "b.mkv", "c.mp4"]
    assert stamps(Path("stylized/a.mp4")) == stamps(Path("a.mp4"))

    Path("stylized/a.mp4").unlink()
    code, out, _ = run("a.mp4", "b.mkv", "--resume", "-o", "stylized", "--json")
    assert code == 0
    facts = json.loads(out)
    assert (facts["kept"], [done["output"] for done in facts["videos"]]) == (1, ["stylized/a.mp4"])


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        av.error.ArgumentError(22, "Invalid argument"),
        UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid"),
        OSError(28, "No space left on device"),
    ],
)
def test_any_error_in_one_file_does_not_stop_the_others(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def convert(source: str, *arguments: Any, **settings: Any) -> VideoResult:
        if source == "a.mp4":
            raise error
        return stylize_video(source, *arguments, **settings)

    monkeypatch.setattr("nst_rt.infer.video.stylize_video", convert)
    for name in ("a.mp4", "50%discount.mp4"):
        write_clip(Path(name))
    code, out, err = run("a.mp4", "50%discount.mp4", "-o", "stylized/", "--json")
    facts = json.loads(out)
    assert (code, len(facts["videos"]), list(facts["failed"])) == (3, 1, ["a.mp4"])
    assert err.count("\n") == 1
    assert type(error).__name__ in err
    assert [path.name for path in Path("stylized").glob("[!.]*")] == ["50%discount.mp4"]


def test_no_file_converted_is_an_error(run: Run) -> None:
    for name in ("bad.mp4", "worse.mp4"):
        Path(name).write_text("no video")
    code, out, err = run("bad.mp4", "worse.mp4", "-o", "stylized")
    assert (code, out) == (2, "")
    assert "none of 2" in err


@pytest.mark.slow
def test_pipe_carries_the_video_only(run: Run) -> None:
    write_clip(Path("in.mkv"), audio="aac")
    command = [sys.executable, "-m", "nst_rt", "video", "-", "-o", "-", "--json"]
    # The first automatic choice of a backend would log its measurement.
    command += ["--style", "two.safetensors", "--backend", "openvino"]
    with Path("in.mkv").open("rb") as source, Path("out.mkv").open("wb") as output:
        done = subprocess.run(
            command, stdin=source, stdout=output, stderr=subprocess.PIPE, text=True, check=True
        )
    facts = json.loads(done.stderr)
    assert (facts["output"], facts["frames"]) == ("-", 25)
    assert streams(Path("out.mkv")) == streams(Path("in.mkv"))
    assert stamps(Path("out.mkv")) == stamps(Path("in.mkv"))


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_pipe_leaves_a_partial_file(run: Run, stop: signal.Signals) -> None:
    """Also if it stalls; and what is written plays even after a kill."""
    images = np.random.default_rng(0).integers(0, 255, (50, 48, 64, 3), np.uint8)
    write_clip(Path("in.mkv"), pts=range(0, 512 * 800, 512), picture=lambda n: images[n % 50])
    data = Path("in.mkv").read_bytes()
    partial = Path("out.partial.mp4")
    command = [sys.executable, "-m", "nst_rt", "video", "-", "-o", "out.mp4"]
    command += ["--style", "two.safetensors", "--strength", "0", "--backend", "openvino"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(data[: len(data) * 9 // 10])
        process.stdin.flush()
        for _ in range(600):
            if partial.exists() and partial.stat().st_size > len(data) // 2:
                break
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(stop)
        code = process.wait(60)
        told = process.stderr.read().decode()
    if stop == signal.SIGINT:
        assert code == 130
        assert str(partial) in told
    assert len(stamps(partial)) >= 250
    assert not Path("out.mp4").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["*.mov"], "*.mov"),
        (["a.mp4", "x/a.mp4", "-o", "stylized"], "two videos"),
        (["a.mp4", "x/a.mp4", "-o", "out.mp4"], "folder"),
        (["a.mp4", "--start", "soon"], "soon"),
        (["a.mp4", "--codec", "divx"], "--codec"),
        (["a.mp4", "-o", "out.gif", "--resume"], "--resume"),
        (["-", "-o", "out.mp4", "--resume"], "--resume"),
        (["-"], "--output"),
        (["a.mp4", "-o", "a.mp4", "--overwrite"], "source"),
        (["a.gif", "-o", "a.gif", "--overwrite"], "source"),
    ],
)
def test_bad_input_is_one_line(run: Run, arguments: list[str], told: str) -> None:
    write_clip(Path("a.mp4"))
    write_clip(Path("a.gif"), container_format="mp4")
    Path("x").mkdir()
    shutil.copy("a.mp4", "x")
    before = sorted(Path().rglob("*"))
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert told in err
    assert sorted(Path().rglob("*")) == before


def test_os_error_without_reason(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError("cut off")

    monkeypatch.setattr("nst_rt.infer.video.stylize_video", broken)
    Path("in.mp4").touch()
    code, _, err = run("in.mp4", "-o", "out.mp4")
    assert code == 2
    assert "cut off" in err
