"""Interrupted conversions: what is kept, and what resuming them gives."""

import errno
import fcntl
import random
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
from clips import write_clip
from conversions import (
    Grainy,
    killed_at_file,
    killed_at_frame,
    network_stylizer,
    run,
    with_full_disk,
)
from videos import Untouched, audio_bytes, packets, stamps

from nst_rt.errors import InputError, OutputExistsError, PartialResultError
from nst_rt.files import sync
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.video import VideoReader, stylize_video, work_path
from nst_rt.infer.video.segments import Segment, SegmentWriter, WorkFolder, work_folder

SETTINGS: dict[str, Any] = {"segment": 10, "stability": 0.9}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 frames at a variable rate, with sound."""
    times = np.cumsum(np.random.default_rng(0).integers(200, 900, 60)) - 200
    return write_clip(
        tmp_path_factory.mktemp("source") / "in.mp4",
        pts=times.tolist(),
        size=(128, 96),
        audio="aac",
        audio_seconds=2.5,
        options={"g": "13"},
    )


def uninterrupted(source: Path, folder: Path, suffix: str = ".mp4", **settings: Any) -> Path:
    output = folder / f"whole{suffix}"
    stylize_video(source, output, style=Grainy(), **settings)
    return output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "more"),
    [
        (".mp4", {}),
        (".mkv", {"start": 0.4, "end": 2.0, "fps": 60.0, "size": 160}),
        (".webm", {}),
    ],
)
def test_resume_after_kill_matches_uninterrupted_run(
    tmp_path: Path, source: Path, suffix: str, more: dict[str, Any]
) -> None:
    settings = {**SETTINGS, **more}
    whole = uninterrupted(source, tmp_path, suffix, **settings)
    output = tmp_path / f"out{suffix}"
    chance = random.Random(suffix)
    kills = 0
    while not output.exists():
        if chance.random() < 0.5:
            code = run(killed_at_frame, source, output, chance.randrange(5, 25), settings)
        else:
            before = chance.random() < 0.5
            code = run(killed_at_file, source, output, chance.randrange(1, 6), before, settings)
        assert code in (0, -9)
        kills += code == -9
    assert kills >= 3
    assert packets(output) == packets(whole)
    assert {path.name for path in tmp_path.iterdir()} == {whole.name, output.name}


@pytest.mark.slow
def test_resume_after_kill_with_network(tmp_path: Path, source: Path, model: Path) -> None:
    """With two frames at a time in the backend."""
    settings = {**SETTINGS, "size": 64}
    whole, output = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    stylize_video(source, whole, style=network_stylizer(model), **settings)
    for frames in (17, 26):
        assert run(killed_at_frame, source, output, frames, settings, model) == -9
    done = stylize_video(source, output, style=network_stylizer(model), resume=True, **settings)
    assert (done.frames, done.resumed) == (60, 30)
    assert packets(output) == packets(whole)


class Breaking(Grainy):
    """Raises after a number of frames."""

    def __init__(self, kind: type[BaseException], frames: int) -> None:
        self._kind, self._left = kind, frames

    def stylize(self, frame: np.ndarray) -> np.ndarray:
        self._left -= 1
        if self._left < 0:
            raise self._kind("stop")
        return super().stylize(frame)


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("frames", [34, 4])
def test_interrupted_conversion_plays_and_resumes(
    tmp_path: Path, source: Path, kind: type[BaseException], frames: int
) -> None:
    output, partial = tmp_path / "out.mp4", tmp_path / "out.partial.mp4"
    output.write_text("an earlier one")
    with pytest.raises(kind, match="stop"):
        stylize_video(source, output, style=Breaking(kind, frames), overwrite=True, **SETTINGS)
    assert output.read_text() == "an earlier one"
    kept = frames - 1  # one was not finished
    assert stamps(partial) == stamps(source)[:kept]
    assert len(list(VideoReader(partial))) == kept
    sound = stamps(partial, "audio")
    assert abs(sound[-1] - stamps(partial)[-1]) < 0.1
    # Without a finished segment there is nothing to go on from.
    assert work_path(output).exists() == (frames > 10)
    done = stylize_video(source, output, style=Grainy(), resume=True, overwrite=True, **SETTINGS)
    assert (done.frames, done.resumed) == (60, frames // 10 * 10)
    assert packets(output) == packets(uninterrupted(source, tmp_path, **SETTINGS))
    assert {path.name for path in tmp_path.iterdir()} == {"out.mp4", "whole.mp4"}


@pytest.mark.parametrize("seed", [6, 16])
def test_variable_rate_that_begins_late_keeps_its_times(tmp_path: Path, seed: int) -> None:
    """The second packet's times are closer to each other than the first one's."""
    times = np.cumsum(np.random.default_rng(seed).integers(200, 900, 24)).tolist()
    clip = write_clip(tmp_path / "in.mp4", pts=times, size=(128, 96), options={"g": "13"})
    assert stamps(uninterrupted(clip, tmp_path, **SETTINGS)) == stamps(clip)


def test_ctrl_c_in_finalizer_is_not_lost(tmp_path: Path, source: Path) -> None:
    class Finalized:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def progress(count: float, *_: object) -> None:
        if count == 20:
            Finalized()

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        stylize_video(source, tmp_path / "out.mp4", style=Grainy(), progress=progress, **SETTINGS)
    assert stamps(tmp_path / "out.partial.mp4") == stamps(source)[:20]
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.fixture
def interrupted(tmp_path: Path, source: Path) -> Path:
    """An output of which two segments are done."""
    output = tmp_path / "out.mp4"
    with pytest.raises(RuntimeError):
        stylize_video(source, output, style=Breaking(RuntimeError, 25), segment=10)
    return output


def test_interrupted_conversion_needs_resume_or_overwrite(source: Path, interrupted: Path) -> None:
    with pytest.raises(OutputExistsError, match=r"`resume`.*`overwrite`"):
        stylize_video(source, interrupted, style=Grainy(), segment=10)
    done = stylize_video(source, interrupted, style=Untouched(), segment=20, overwrite=True)
    assert (done.frames, done.resumed) == (60, 0)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"crf": 30}, r"crf \(20 before, 30 now\)"),
        ({"stability": 0}, r"stability \(0.95 before, 0 now\)"),
        ({"style": Untouched()}, "style"),
        ({"segment": 7}, "segment"),
        ({"end": 1.0}, "end"),
        ({}, "nst-rt"),
        ({"source": "other.mp4"}, "source"),
    ],
)
def test_other_settings_source_or_version_are_not_resumed(
    source: Path,
    interrupted: Path,
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, Any],
    told: str,
) -> None:
    if told == "nst-rt":
        monkeypatch.setattr("nst_rt.infer.video.request.__version__", "0.0")
    if told == "source":
        changed = {"source": write_clip(interrupted.parent / changed["source"])}
    before = sorted(path.name for path in work_path(interrupted).iterdir())
    settings = {"source": source, "style": Grainy(), "segment": 10, "resume": True, **changed}
    with pytest.raises(InputError, match=told):
        stylize_video(output=interrupted, **settings)
    assert sorted(path.name for path in work_path(interrupted).iterdir()) == before


@pytest.mark.parametrize("name", ["plan.json", "000001.json", "000001.nut", "000000.nut"])
@pytest.mark.parametrize("damage", [lambda all_: b"", lambda all_: all_[:-9] + b"123456789"])
def test_damaged_files_are_not_resumed(
    source: Path, interrupted: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    file = work_path(interrupted) / name
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InputError, match=name):
        stylize_video(source, interrupted, style=Grainy(), segment=10, resume=True)
    stylize_video(source, interrupted, style=Grainy(), segment=10, overwrite=True)


def test_farm_makes_damaged_segments_again(source: Path, interrupted: Path) -> None:
    folder = work_path(interrupted)
    numbers = WorkFolder(folder, any_order=True).numbers
    (folder / "000000.nut").unlink()
    assert WorkFolder(folder, any_order=True).numbers == numbers - {0}


def test_segments_are_kept_until_output_is_synced(
    source: Path, interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[tuple[str, int]] = []

    def watched(path: Path) -> None:
        kept.append((path.suffix, len(list(work_path(interrupted).glob("0*.nut")))))
        sync(path)

    monkeypatch.setattr("nst_rt.infer.video.mux.sync", watched)
    stylize_video(source, interrupted, style=Grainy(), segment=10, resume=True)
    assert kept == [(".mp4", 6), ("", 6)]  # the file, then its name


@pytest.mark.parametrize("removed", [0, 3, 6])
def test_complete_output_whose_conversion_was_killed_as_it_cleaned_up(
    source: Path, interrupted: Path, monkeypatch: pytest.MonkeyPatch, removed: int
) -> None:
    monkeypatch.setattr(WorkFolder, "remove", lambda self: None)
    stylize_video(source, interrupted, style=Grainy(), segment=10, resume=True)
    monkeypatch.undo()
    for record in sorted(work_path(interrupted).glob("0*.json"))[:removed]:
        record.unlink()
    before = interrupted.read_bytes()
    with pytest.raises(InputError, match="segment"):
        stylize_video(source, interrupted, style=Grainy(), segment=20, resume=True)
    with pytest.raises(OutputExistsError, match="overwrite"):
        stylize_video(source, interrupted, style=Grainy(), segment=10)
    done = stylize_video(source, interrupted, style=Grainy(), segment=10, resume=True)
    assert (done.frames, done.resumed) == (60, 60)
    assert any("complete" in warning for warning in done.warnings)
    assert interrupted.read_bytes() == before
    assert [path.name for path in interrupted.parent.iterdir()] == ["out.mp4"]
    with pytest.raises(OutputExistsError, match="overwrite"):
        stylize_video(source, interrupted, style=Grainy(), segment=10, resume=True)


def test_resuming_keeps_an_output_beside_a_folder_of_other_things(
    source: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    output.write_text("precious")
    work_path(output).mkdir()
    (work_path(output) / "notes.txt").touch()
    with pytest.raises(OutputExistsError, match="overwrite"):
        stylize_video(source, output, style=Grainy(), resume=True)
    assert output.read_text() == "precious"


def test_unknown_file_in_work_folder_is_kept(source: Path, interrupted: Path) -> None:
    stranger = work_path(interrupted) / "notes.txt"
    stranger.write_text("precious")
    stylize_video(source, interrupted, style=Grainy(), overwrite=True)
    assert [path.name for path in work_path(interrupted).iterdir()] == ["notes.txt"]


def test_second_conversion_to_same_output_is_refused(tmp_path: Path, source: Path) -> None:
    output = tmp_path / "out.mp4"
    with (
        work_folder(output, {}, resume=False, overwrite=False),
        pytest.raises(InputError, match="another"),
    ):
        stylize_video(source, output, style=Grainy(), overwrite=True)


@pytest.mark.parametrize(
    ("module", "function"),
    [
        (filelock.FileLock, "acquire"),  # the folder is gone before its lock is opened
        (fcntl, "flock"),  # the lock is gone once it is open
    ],
)
@pytest.mark.parametrize("is_locked", [True, False])
def test_work_folder_that_another_conversion_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, function: str, is_locked: bool
) -> None:
    """Whoever locks a file that was removed would not notice a third conversion."""
    output, real = tmp_path / "out.mp4", getattr(module, function)
    with ExitStack() as stack:
        folder = stack.enter_context(work_folder(output, {}, resume=False, overwrite=False))

        def late(*arguments: Any) -> Any:
            monkeypatch.undo()
            folder.remove()
            if not is_locked:
                stack.close()
            return real(*arguments)

        monkeypatch.setattr(module, function, late)
        with work_folder(output, {}, resume=False, overwrite=False) as second:
            assert (second.path / "plan.json").exists()
            with (
                pytest.raises(InputError, match="another"),
                work_folder(output, {}, resume=False, overwrite=False),
            ):
                pass
            second.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("share", "segment", "done"),
    [
        (0.5, 50, 0),  # in the first segment
        (0.5, 25, 2),  # the same, behind a last segment of 10 frames
        (0.9, 10, 6),  # when all is put together
    ],
)
def test_full_disk_keeps_finished_segments(
    tmp_path: Path, source: Path, share: float, segment: int, done: int
) -> None:
    settings = {"segment": segment, "stability": 0}  # whose state would be larger than the film
    whole = uninterrupted(source, tmp_path, **settings)
    output = tmp_path / "out.mp4"
    code = run(with_full_disk, source, output, int(share * whole.stat().st_size), settings)
    assert len(list(work_path(output).glob("0*.json"))) == done
    if done:
        assert code == PartialResultError.exit_code
    else:
        assert code == 2
        assert not work_path(output).exists()
    assert not output.exists()
    stylize_video(source, output, style=Grainy(), resume=True, **settings)
    assert packets(output) == packets(whole)


def test_full_disk_at_last_packets_is_reported(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the last encoder still holds must not be lost silently."""
    finish, left = SegmentWriter.finish, [3]

    def full(self: SegmentWriter) -> Segment:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return finish(self)

    monkeypatch.setattr(SegmentWriter, "finish", full)
    output = tmp_path / "out.mp4"
    with pytest.raises(PartialResultError, match="50 frames"):
        stylize_video(source, output, style=Grainy(), segment=25)
    assert not output.exists()
    assert len(stamps(tmp_path / "out.partial.mp4")) == 50
    assert stylize_video(source, output, style=Grainy(), segment=25, resume=True).resumed == 50
    assert len(stamps(output)) == 60


def test_resume_of_source_without_index(tmp_path: Path) -> None:
    """Bare H.264 cannot be sought by time."""
    source = write_clip(tmp_path / "in.h264", pts=range(0, 512 * 30, 512), size=(128, 96))
    output = tmp_path / "out.mp4"
    with pytest.raises(RuntimeError):
        stylize_video(source, output, style=Breaking(RuntimeError, 25), segment=10)
    done = stylize_video(source, output, style=Grainy(), segment=10, resume=True)
    assert (done.frames, done.resumed) == (30, 20)
    assert packets(output) == packets(uninterrupted(source, tmp_path, segment=10))


def test_resume_without_interrupted_conversion_starts(
    tmp_path: Path, source: Path, untouched: Stylizer
) -> None:
    done = stylize_video(source, tmp_path / "out.mp4", style=untouched, resume=True)
    assert (done.frames, done.resumed) == (60, 0)
    assert audio_bytes(tmp_path / "out.mp4") == audio_bytes(source)
