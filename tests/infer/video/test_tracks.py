"""Audio, subtitles, chapters and names: everything beside the video."""

import re
from fractions import Fraction
from pathlib import Path

import av
import pytest
from clips import write_clip
from videos import audio_bytes, samples, stamps, streams

from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.video import stylize_video


def kinds(path: Path) -> list[str]:
    """Of all streams, also those without a codec."""
    with av.open(str(path)) as container:
        return [stream.type for stream in container.streams]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov", ".webm"])
def test_tracks_are_kept(tmp_path: Path, untouched: Stylizer, rich: Path, suffix: str) -> None:
    output = tmp_path / f"out{suffix}"
    done = stylize_video(rich, output, style=untouched)
    sound = "opus" if suffix == ".webm" else "aac"
    text = {".mkv": "subrip", ".webm": "webvtt"}.get(suffix, "mov_text")
    assert [(kind, codec) for kind, codec, _ in streams(output)][1:4] == [
        ("audio", sound),
        ("audio", sound),
        ("subtitle", text),
    ]
    if suffix != ".mov":  # which has no three-letter German
        assert [language for _, _, language in streams(output)][1:4] == ["eng", "deu", "eng"]
    if sound == "aac":
        assert audio_bytes(output, 1) == audio_bytes(rich, 1)
        assert stamps(output, "audio") == stamps(rich, "audio")
    with av.open(str(output)) as container:
        assert container.metadata["title"] == "A film"
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["one", "two"]
        texts = [bytes(p) for p in container.demux(subtitles=0) if p.size > 2]
        assert [b"Hello" in texts[0], b"World" in texts[1], len(texts)] == [True, True, 2]
    assert [track.action for track in done.tracks][:2] == (
        ["copied"] * 2 if sound == "aac" else ["re-encoded to opus"] * 2
    )
    assert len(done.warnings) == sum(track.action != "copied" for track in done.tracks)


@pytest.mark.parametrize(
    ("codec", "suffix", "becomes"),
    [
        ("libmp3lame", ".mp4", "aac"),
        ("libmp3lame", ".mkv", "mp3"),
        ("pcm_s16le", ".mp4", "aac"),
        ("pcm_s16le", ".mov", "pcm_s16le"),
        ("libopus", ".mp4", "opus"),
        ("libopus", ".mov", "aac"),
        ("flac", ".webm", "opus"),
        ("wavpack", ".mp4", "aac"),
        ("vorbis", ".mp4", "aac"),
        ("ac3", ".mp4", "ac3"),
    ],
)
def test_audio_is_copied_or_re_encoded(
    tmp_path: Path, untouched: Stylizer, codec: str, suffix: str, becomes: str
) -> None:
    source = write_clip(tmp_path / "in.mkv", audio=codec)
    output = tmp_path / f"out{suffix}"
    [track] = stylize_video(source, output, style=untouched).tracks
    copied = becomes == codec.removeprefix("lib").removesuffix("lame")
    assert track.action == ("copied" if copied else f"re-encoded to {becomes}")
    assert streams(output)[1][1] == becomes
    # Encoders fill up their last block.
    assert abs(samples(output) - samples(source)) < 3000


def test_part_has_its_part_of_all_tracks(tmp_path: Path, untouched: Stylizer, rich: Path) -> None:
    output = tmp_path / "out.mkv"
    done = stylize_video(rich, output, style=untouched, start=1, end=1.6)
    assert done.frames == 15
    assert stamps(output) == [Fraction(number, 25) for number in range(15)]
    sound = stamps(output, "audio")
    assert 0 <= sound[0] < 0.03
    assert 0.55 < sound[-1] < 0.6
    wanted = [t for t in stamps(rich, "audio") if 1 <= t < Fraction(8, 5)]
    assert len(sound) == len(wanted)
    assert stamps(output, "subtitles") == [Fraction(1, 5)]
    with av.open(str(output)) as container:
        [chapter] = container.chapters()
        assert chapter["metadata"]["title"] == "two"
        assert (chapter["end"] - chapter["start"]) * chapter["time_base"] == Fraction(3, 5)


@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
def test_time_code_is_kept(tmp_path: Path, stylizer: Stylizer, suffix: str) -> None:
    source = write_clip(tmp_path / "in.mov", audio="aac", metadata={"timecode": "01:00:00:00"})
    assert kinds(source) == ["video", "audio", "data"]
    output = tmp_path / f"out{suffix}"
    done = stylize_video(source, output, style=stylizer, stability=0)
    said = "timecode data (eng) kept as a tag, its track left out"
    assert (done.frames, done.audio, done.warnings) == (25, "aac", (said,))
    assert stamps(output)[-1] - stamps(output)[0] == Fraction(24, 25)
    assert audio_bytes(output) == audio_bytes(source)
    assert kinds(output) == ["video", "audio"] + ["data"] * (suffix != ".mkv")
    with av.open(str(output)) as container:
        names = {name.lower(): text for name, text in container.streams[0].metadata.items()}
    assert names["timecode"] == "01:00:00:00"


def test_telemetry_is_not_chapters(tmp_path: Path, untouched: Stylizer) -> None:
    """FFmpeg gives both the same codec."""
    source = write_clip(tmp_path / "in.mp4", chapters=[(0, 1, "one")])
    data = source.read_bytes().replace(b"chap", b"free").replace(b"chpl", b"free")
    handler, _, entry = (found.start() for found in re.finditer(b"text", data))
    data = data[:handler] + b"meta" + data[handler + 4 : entry] + b"gpmd" + data[entry + 4 :]
    source.write_bytes(data)
    done = stylize_video(source, tmp_path / "out.mp4", style=untouched, stability=0)
    assert (done.frames, done.warnings) == (25, ("bin_data data (eng) left out",))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_chapters_of_mp4_are_not_a_track(tmp_path: Path, stylizer: Stylizer, suffix: str) -> None:
    source = write_clip(
        tmp_path / "in.mp4", audio="aac", chapters=[(0, 0.4, "one"), (0.4, 1, "two")]
    )
    output = tmp_path / f"out{suffix}"
    done = stylize_video(source, output, style=stylizer, stability=0)
    assert (done.frames, done.warnings) == (25, ())
    assert [track.kind for track in done.tracks] == ["audio"]
    assert audio_bytes(output) == audio_bytes(source)
    with av.open(str(output)) as container:
        assert [
            (chapter["metadata"]["title"], chapter["start"] * chapter["time_base"])
            for chapter in container.chapters()
        ] == [("one", 0), ("two", Fraction(2, 5))]
    # What is written is read again.
    again = stylize_video(output, tmp_path / f"again{suffix}", style=stylizer, stability=0)
    assert (again.frames, again.warnings) == (25, ())


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".webm"])
def test_fonts_are_kept_in_matroska_only(tmp_path: Path, untouched: Stylizer, suffix: str) -> None:
    source = write_clip(tmp_path / "in.mkv", fonts=("a.ttf", "b.ttf"))
    output = tmp_path / f"out{suffix}"
    done = stylize_video(source, output, style=untouched, stability=0)
    kept = [(name, "font/ttf", name.encode() * 100) for name in ("a.ttf", "b.ttf")]
    if suffix != ".mkv":
        assert done.warnings == ("a.ttf attachment left out", "b.ttf attachment left out")
        kept = []
    with av.open(str(output)) as container:
        fonts = container.streams.attachments
        assert [(font.name, font.mimetype, font.data) for font in fonts] == kept


def test_damaged_audio_gives_a_warning(tmp_path: Path, untouched: Stylizer) -> None:
    source = write_clip(tmp_path / "in.mkv", audio="libmp3lame", languages=("deu",))
    with av.open(str(source)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
        damaged = next(packet for packet in packets if packet.pts * packet.time_base >= 0.5)
    data = source.read_bytes()
    assert data.count(bytes(damaged)) == 1
    source.write_bytes(data.replace(bytes(damaged), b"\x55" * damaged.size))
    done = stylize_video(source, tmp_path / "out.mp4", style=untouched)
    assert re.fullmatch(
        r"mp3 audio \(deu\) re-encoded to aac; damaged, left out: 0\.5\d to 0\.5\d s",
        done.warnings[1],
    )
