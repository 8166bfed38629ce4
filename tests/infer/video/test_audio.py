"""Re-encoded audio: its times, its length, its rate and channels."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from clips import remux, tone_frames, write_clip
from videos import samples, stamps, streams

from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.video import stylize_video
from nst_rt.infer.video.audio import AudioEncoder, add_audio, audio_rate

_RATE = 48000


def _block(number: int, tick: Fraction, beep: float, jump: float = 0.0) -> av.AudioFrame:
    """The n-th 24 ms, silent but for 20 ms from a time on; its own time is rounded to ticks."""
    times = number * Fraction(24, 1000) + np.arange(1152) / _RATE
    wave = np.where((times >= beep) & (times < beep + 0.02), 0.5, 0.0).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(np.tile(wave, (2, 1)), format="fltp", layout="stereo")
    frame.sample_rate, frame.time_base = _RATE, tick
    frame.pts = round((number * Fraction(24, 1000) + Fraction(jump)) / tick)
    return frame


def _encoded(
    path: Path, frames: Sequence[av.AudioFrame], codec: str = "aac"
) -> tuple[list[int], list[float]]:
    """Samples from each packet to the next, and the seconds at which beeps begin."""
    with av.open(str(path), "w") as container, av.open(str(path.with_name("in.mkv")), "w") as other:
        like = other.add_stream("aac", rate=_RATE, layout="stereo")
        encoder = AudioEncoder(add_audio(container, like, codec), frames[0].time_base)
        packets = [packet for frame in frames for packet in encoder.encode(frame)]
        packets += encoder.finish()
        times = [packet.pts for packet in packets]
        container.mux(packets)
    loud = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            begin = float(frame.pts * frame.time_base)
            loud += (begin + np.flatnonzero(frame.to_ndarray()[0] > 0.25) / _RATE).tolist()
    beeps = [time for before, time in pairwise([-1.0, *loud]) if time - before > 0.1]
    return [after - before for before, after in pairwise(times)], beeps


@pytest.mark.parametrize(
    ("codec", "suffix", "size"), [("aac", "mp4", 1024), ("libopus", "mkv", 960)]
)
@pytest.mark.parametrize("tick", [Fraction(3, 125), Fraction(32, 1225), Fraction(1, 1000)])
def test_times_count_samples_for_any_time_base(
    tmp_path: Path, tick: Fraction, codec: str, suffix: str, size: int
) -> None:
    frames = [_block(number, tick, beep=0.9) for number in range(50)]
    steps, beeps = _encoded(tmp_path / f"out.{suffix}", frames, codec)
    assert set(steps) == {size}
    assert len(steps) in range(50 * 1152 // size, 50 * 1152 // size + 3)
    assert beeps == [pytest.approx(0.9, abs=0.002)]


@pytest.mark.parametrize(
    "numbers", [[*range(20), *range(40, 80)], [*range(40), *range(25, 80)]], ids=["gap", "overlap"]
)
def test_gap_becomes_silence_and_overlap_is_cut(tmp_path: Path, numbers: list[int]) -> None:
    frames = [_block(number, Fraction(1, 1000), beep=1.5) for number in numbers]
    steps, beeps = _encoded(tmp_path / "out.mp4", frames)
    assert set(steps) == {1024}
    assert samples(tmp_path / "out.mp4") == 80 * 1152
    assert beeps == [pytest.approx(1.5, abs=0.001)]


def test_gap_of_an_hour_is_not_filled(tmp_path: Path) -> None:
    tick = Fraction(1, 1000)
    frames = [_block(number, tick, beep=9, jump=3600 * (number >= 40)) for number in range(80)]
    steps, _ = _encoded(tmp_path / "out.mp4", frames)
    assert sorted(set(steps)) == [1024, 1024 + 3600 * _RATE]
    assert len(steps) < 95


def test_frame_without_time_follows_the_last_one(tmp_path: Path) -> None:
    frames = [_block(number, Fraction(1, 1000), beep=0.9) for number in range(50)]
    for frame in frames[1::2]:
        frame.pts = None
    steps, beeps = _encoded(tmp_path / "out.mp4", frames)
    assert set(steps) == {1024}
    assert beeps == [pytest.approx(0.9, abs=0.001)]


@pytest.mark.parametrize(
    ("rate", "nearest"),
    [(11024, 11025), (22254, 22050), (37800, 44100), (96000, 48000), (4000, 7350), (44100, 44100)],
)
def test_nearest_rate(tmp_path: Path, rate: int, nearest: int) -> None:
    with av.open(str(tmp_path / "in.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate)
        assert audio_rate(stream, "aac") == nearest
        assert audio_rate(stream, "libopus") == 48000


@pytest.mark.parametrize("tick", ["avi", "flv", "mkv"])
@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "aac"), (".webm", "opus")])
def test_mp3_of_coarse_time_base_has_no_gaps(
    tmp_path: Path, stylizer: Stylizer, tick: str, suffix: str, codec: str
) -> None:
    source = write_clip(tmp_path / f"in.{tick}", audio="libmp3lame", audio_rate=44100)
    output = tmp_path / f"out{suffix}"
    done = stylize_video(source, output, style=stylizer, stability=0)
    assert done.frames == 25
    assert streams(output)[1][:2] == ("audio", codec)
    steps = [float(after - before) for before, after in pairwise(stamps(output, "audio"))]
    assert max(steps) - min(steps) <= 0.0011  # Matroska counts milliseconds
    rate = 44100 if codec == "aac" else 48000
    assert samples(output) / rate == pytest.approx(samples(source) / 44100, abs=0.06)


@pytest.mark.parametrize(
    ("suffix", "rate", "becomes"), [(".mp4", 11025, "aac"), (".webm", 48000, "opus")]
)
def test_resampled_audio_gives_a_warning(
    tmp_path: Path, stylizer: Stylizer, suffix: str, rate: int, becomes: str
) -> None:
    source = write_clip(tmp_path / "in.avi", audio="pcm_u8", audio_rate=11024)
    output = tmp_path / f"out{suffix}"
    done = stylize_video(source, output, style=stylizer, stability=0)
    assert done.warnings == (f"pcm_u8 audio re-encoded to {becomes} at {rate} Hz",)
    with av.open(str(output)) as container:
        assert container.streams.audio[0].rate == rate
    assert samples(output) / rate == pytest.approx(samples(source) / 11024, abs=0.1)


def test_audio_that_cannot_be_encoded_is_left_out(
    tmp_path: Path, untouched: Stylizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nst_rt.infer.video.audio.audio_rate", lambda *_: 11024)
    source = write_clip(tmp_path / "in.avi", audio="pcm_u8", audio_rate=11024)
    done = stylize_video(source, tmp_path / "out.mp4", style=untouched, stability=0)
    assert [track.action for track in done.tracks] == ["left out"]
    assert (done.frames, done.audio) == (25, None)


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "aac"), (".webm", "opus")])
def test_audio_that_changes_rate_and_channels(
    tmp_path: Path, stylizer: Stylizer, suffix: str, codec: str
) -> None:
    source, output = _broadcast(tmp_path / "in.ts"), tmp_path / f"out{suffix}"
    done = stylize_video(source, output, style=stylizer, stability=0)
    assert [track.action for track in done.tracks] == [f"re-encoded to {codec}"]
    assert streams(output)[1][1] == codec
    with av.open(str(output)) as container:
        heard = container.decode(audio=0)
        tone = [frame for frame in heard if np.abs(frame.to_ndarray()).max() > 0]
        assert {(frame.sample_rate, frame.layout.name) for frame in tone} == {(48000, "stereo")}
        end = tone[-1].pts * tone[-1].time_base + Fraction(tone[-1].samples, 48000)
    # 41 blocks of the one, 27 of the other, and what encoders fill up.
    assert samples(output) / 48000 == pytest.approx(1.97, abs=0.06)
    assert float(end) == pytest.approx(1.97, abs=0.06)


def _broadcast(path: Path) -> Path:
    """A second of stereo at 48 kHz, and one of mono at 32 kHz, in one stream."""
    plain = write_clip(path.with_name("plain.ts"), pts=range(0, 25600, 512))
    with av.open(str(plain)) as old, av.open(str(path), "w") as new:
        video = new.add_stream_from_template(old.streams.video[0])
        sound = new.add_stream("mp2", rate=48000, layout="stereo")
        new.start_encoding()
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = video
                new.mux(packet)
        begin = old.start_time / av.time_base
        second = av.CodecContext.create("mp2", "w")
        second.rate, second.layout, second.format = 32000, "mono", "s16"
        for encoder, rate, layout, start in (
            (sound.codec_context, 48000, "stereo", begin),
            (second, 32000, "mono", begin + 1),
        ):
            tone = tone_frames(1, rate=rate, size=1152, start=start, layout=layout)
            for frame in [*tone, None]:
                for packet in encoder.encode(frame):
                    packet.stream = sound
                    new.mux(packet)
    return path


def test_audio_that_starts_late(tmp_path: Path, untouched: Stylizer) -> None:
    def late(packet: av.Packet) -> None:
        if packet.stream.type == "audio":
            packet.pts = packet.dts = packet.pts + 400

    plain = write_clip(tmp_path / "plain.mkv", audio="flac")
    source = remux(plain, tmp_path / "in.mkv", change=late)
    stylize_video(source, tmp_path / "out.mp4", style=untouched, stability=0)
    with av.open(str(tmp_path / "out.mp4")) as container:
        first = next(container.decode(audio=0))
    assert float(first.pts * first.time_base) == pytest.approx(0.4, abs=0.001)
