"""Pipes, numbered images, codecs; and memory, which does not grow."""

import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import psutil
import pytest
from clips import write_clip
from conversions import read_pipe_for_images, run, through_pipes
from videos import audio_bytes, stamps, streams

from nst_rt.errors import InputError, OutputExistsError, VideoError
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.video import probe, stylize_video
from nst_rt.infer.video.encoder import FrameEncoder, Shape, choose_encoding
from nst_rt.infer.video.probe import Colors


@pytest.mark.parametrize("ends", ["in", "out", "both"])
def test_pipes_keep_everything(tmp_path: Path, rich: Path, ends: str) -> None:
    output = tmp_path / "out.mkv"
    arguments = {
        "in": (rich, None, output),
        "out": (None, output, rich),
        "both": (rich, output, rich),
    }[ends]
    assert run(through_pipes, *arguments) == 0
    assert stamps(output) == stamps(rich)
    assert streams(output) == streams(rich)
    assert audio_bytes(output, 1) == audio_bytes(rich, 1)
    with av.open(str(output)) as container:
        assert container.metadata["title"] == "A film"
    assert [path.name for path in tmp_path.iterdir()] == ["out.mkv"]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_pipe_to_file_keeps_times_and_duration(tmp_path: Path, suffix: str) -> None:
    """At a variable rate, with a first frame that is not at 0."""
    times = [40 * number**2 for number in range(1, 12)]
    source, output = tmp_path / "in.mkv", tmp_path / f"out{suffix}"
    write_clip(source, pts=times, time_base=Fraction(1, 1000), chapters=[(0, 1, "one")])
    assert run(through_pipes, source, None, output) == 0
    assert stamps(output) == stamps(source)
    assert probe(output).duration == pytest.approx(probe(source).duration, abs=0.002)
    with av.open(str(output)) as container:
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["one"]


@pytest.mark.parametrize("name", ["out.gif", "%06d.png"])
def test_audio_of_pipe_is_not_collected_for_images(tmp_path: Path, name: str) -> None:
    source = write_clip(tmp_path / "in.mkv", audio="aac")
    assert run(read_pipe_for_images, source, tmp_path / name) == 0


def test_frames_become_numbered_images(tmp_path: Path, untouched: Stylizer) -> None:
    source = write_clip(tmp_path / "in.mp4")
    pattern = tmp_path / "50%" / "a%04d.png"
    assert stylize_video(source, pattern, style=untouched, end=0.4, stability=0).frames == 10
    names = sorted(path.name for path in pattern.parent.iterdir())
    assert names == [f"a{number:04d}.png" for number in range(1, 11)]
    picture = cv2.imread(str(pattern.parent / "a0005.png"))
    assert abs(picture.mean() - (16 + 7 * 4)) < 3
    with pytest.raises(OutputExistsError, match=r"a\d{4}\.png"):
        stylize_video(source, pattern, style=untouched)
    for name in ("%d.txt", "%d-%d.png"):
        with pytest.raises(InputError):
            stylize_video(source, tmp_path / name, style=untouched)


@pytest.mark.parametrize("name", ["50%discount.mp4", "%06d.mkv", "50%discount.gif"])
def test_percent_sign_in_file_name(tmp_path: Path, untouched: Stylizer, name: str) -> None:
    source = write_clip(tmp_path / "in.mp4", pts=range(0, 2560, 512))
    assert stylize_video(source, tmp_path / name, style=untouched, stability=0).frames == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "in.mp4"])


def test_gif_drops_frames_that_are_too_fast(tmp_path: Path, untouched: Stylizer) -> None:
    source = write_clip(tmp_path / "in.mp4", pts=range(0, 12800, 128), rate=Fraction(100))
    done = stylize_video(source, tmp_path / "out.gif", style=untouched)
    assert any("50 frames" in warning for warning in done.warnings)
    assert len(stamps(tmp_path / "out.gif")) == 50


@pytest.mark.parametrize(
    ("codec", "suffix", "tag"),
    [
        ("hevc", ".mp4", "hvc1"),
        ("hevc", ".mkv", None),
        ("av1", ".mp4", "av01"),
        ("av1", ".webm", None),
        (None, ".webm", None),
        ("vp9", ".mkv", None),
    ],
)
def test_codecs(
    tmp_path: Path, untouched: Stylizer, codec: str | None, suffix: str, tag: str | None
) -> None:
    source = write_clip(tmp_path / "in.mp4", size=(128, 96))
    output = tmp_path / f"out{suffix}"
    stylize_video(source, output, style=untouched, codec=codec, segment=10, stability=0)
    assert stamps(output) == stamps(source)
    with av.open(str(output)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.codec.canonical_name == (codec or "vp9")
        assert tag is None or stream.codec_tag == tag
        levels = [frame.to_ndarray(format="gray").mean() for frame in container.decode(stream)]
    with av.open(str(source)) as container:
        expected = [frame.to_ndarray(format="gray").mean() for frame in container.decode(video=0)]
    np.testing.assert_allclose(levels, expected, atol=4)


@pytest.mark.parametrize(
    ("codec", "suffix", "size", "advice"),
    [
        ("h264", ".mp4", (10, 10), "10x10"),
        ("hevc", ".mov", (20, 20), "`codec` h264"),
        ("av1", ".webm", (32, 32), "`codec` vp9"),
        ("av1", ".webm", (67, 65), "`codec` vp9"),
        ("vp9", ".webm", (8, 8), "8x8"),
    ],
)
def test_advice_in_size_errors_works(
    tmp_path: Path,
    untouched: Stylizer,
    codec: str,
    suffix: str,
    size: tuple[int, int],
    advice: str,
) -> None:
    source = write_clip(tmp_path / "in.mp4", size=size, pixels="yuv444p")
    output = tmp_path / f"out{suffix}"
    with pytest.raises(VideoError, match=advice) as caught:
        stylize_video(source, output, style=untouched, codec=codec, stability=0)
    other = str(caught.value).partition("`codec` ")[2].split()[:1]
    asked: dict[str, Any] = {"codec": other[0]} if other else {"codec": codec, "size": 64}
    assert stylize_video(source, output, style=untouched, stability=0, **asked).frames == 25


def test_rate_that_codec_does_not_take(tmp_path: Path, untouched: Stylizer) -> None:
    source, output = write_clip(tmp_path / "in.mp4", size=(64, 64)), tmp_path / "out.mp4"
    with pytest.raises(VideoError, match="`fps`"):
        stylize_video(source, output, style=untouched, codec="av1", fps=1000, stability=0)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_odd_sides_give_a_warning(tmp_path: Path, untouched: Stylizer) -> None:
    source = write_clip(tmp_path / "in.mp4")
    output = tmp_path / "out.mp4"
    done = stylize_video(source, output, style=untouched, size=(65, 49))
    assert "65x49" in done.warnings[0]
    assert (probe(output).width, probe(output).height) == (65, 49)
    done = stylize_video(output, tmp_path / "even.mp4", style=untouched, scale=1.01)
    assert done.warnings == ()


@pytest.mark.skipif(sys.platform != "linux", reason="no such scheduling")
@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9"])
def test_encoder_keeps_scheduling(tmp_path: Path, codec: str) -> None:
    """As root, SVT-AV1 would take real-time priority."""
    shape = Shape(128, 96, Fraction(1), Fraction(25), Fraction(1, 25), Colors())
    with av.open(str(tmp_path / "out.mkv"), "w") as container:
        encoder = FrameEncoder(container, choose_encoding(".mkv", codec=codec), shape)
        encoder.encode(np.zeros((96, 128, 3), np.uint8), 0)
        tasks = [int(task.name) for task in Path("/proc/self/task").iterdir()]
        assert {os.sched_getscheduler(task) for task in tasks} == {os.SCHED_OTHER}
        encoder.finish()


def test_nvidia_encoder_works_or_is_refused(tmp_path: Path, untouched: Stylizer) -> None:
    source = write_clip(tmp_path / "in.mp4", size=(320, 192))
    output = tmp_path / "out.mp4"
    try:
        stylize_video(source, output, style=untouched, codec="h264_nvenc")
    except VideoError as error:
        assert "`codec` h264" in str(error)  # noqa: PT017
    else:
        assert stamps(output) == stamps(source)


@pytest.mark.slow
def test_memory_does_not_grow_with_length(tmp_path: Path, untouched: Stylizer) -> None:
    """8,000 frames, made of one clip of 250."""
    source = tmp_path / "in.mp4"
    short = write_clip(tmp_path / "short.mp4", pts=range(0, 128000, 512))
    with av.open(str(short)) as old:
        packets = [packet for packet in old.demux(video=0) if packet.size]
        times = [(packet.pts, packet.dts) for packet in packets]
        with av.open(str(source), "w") as new:
            stream = new.add_stream_from_template(old.streams.video[0])
            for turn in range(32):
                for packet, (pts, dts) in zip(packets, times, strict=True):
                    packet.stream, packet.time_base = stream, stream.time_base or packet.time_base
                    packet.pts, packet.dts = pts + turn * 128000, dts + turn * 128000
                    new.mux(packet)
    process = psutil.Process()
    used: list[int] = []

    def progress(done: float, *_: object) -> None:
        if done % 400 == 0:
            used.append(process.memory_info().rss)

    done = stylize_video(
        source, tmp_path / "out.mp4", style=untouched, preset="ultrafast", progress=progress
    )
    used.append(process.memory_info().rss)
    assert done.frames == 8000
    assert stamps(tmp_path / "out.mp4")[-1] == stamps(source)[-1]
    assert max(used[5:]) - max(used[:5]) < 12e6
