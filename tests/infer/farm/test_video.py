"""Videos on a cluster of two nodes: the same as on one machine, whatever happens."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import conversions
import numpy as np
import pytest
from clips import write_clip
from conversions import Grainy
from farm_cluster import SEGMENT, Fragile, farm, moving_frame, one_machine, pickle_by_value
from videos import audio_bytes, packets, stamps

from nst_rt.errors import InputError, PartialResultError, VideoError
from nst_rt.infer.farm import conversion
from nst_rt.infer.farm.cluster import connected
from nst_rt.infer.video import stylize_video, work_path
from nst_rt.infer.video.segments import WorkFolder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def connection(cluster: str) -> Iterator[None]:
    """One connection for all tests, so that they share the worker processes."""
    pickle_by_value()
    with connected(cluster):
        yield


def frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        decoded = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    return np.stack(decoded).astype(np.int16)


@pytest.mark.parametrize(
    ("suffix", "more"),
    [
        (".mp4", {}),
        (".mkv", {"start": 0.4, "end": 2.0, "fps": 60.0, "size": 160}),
        (".mp4", {"start": 0.5}),
    ],
)
def test_same_file_as_on_one_machine(
    source: Path, tmp_path: Path, cluster: str, suffix: str, more: dict[str, Any]
) -> None:
    whole = one_machine(source, tmp_path, suffix, stability=0, **more)
    done: list[float] = []
    made = farm(
        *(source, tmp_path / f"farm{suffix}", cluster),
        stability=0,
        progress=lambda frames, total, note: done.append(frames),
        **more,
    )
    assert packets(made.output) == packets(whole)
    assert made.audio == "aac"
    assert done == sorted(done)
    assert done[-1] == made.frames == len(stamps(whole))
    assert not work_path(made.output).exists()


def differences(source: Path, folder: Path, address: str, **more: Any) -> np.ndarray:
    """How far each stabilized frame is from that of one machine, in levels."""
    settings: dict[str, Any] = {"stability": 0.9, "overwrite": True, **more}
    whole = one_machine(source, folder, **settings)
    made = farm(source, folder / "farm.mp4", address, **settings)
    assert stamps(made.output) == stamps(whole)
    assert audio_bytes(made.output) == audio_bytes(whole)
    return np.abs(frames(made.output) - frames(whole)).mean((1, 2, 3))


@pytest.mark.parametrize(("fps", "segment"), [(None, 20), (60.0, 50), (18.0, 16)])
def test_stabilized_is_the_same_after_a_scene_begins(
    source: Path,
    tmp_path: Path,
    cluster: str,
    monkeypatch: pytest.MonkeyPatch,
    fps: float | None,
    segment: int,
) -> None:
    """A scene begins with frame 33; the second piece, some frames later."""
    settings: dict[str, Any] = {"segment": segment, "fps": fps}
    monkeypatch.setattr(conversion, "WARM_UP", 0)
    assert differences(source, tmp_path, cluster, **settings)[2 * segment :].all()
    monkeypatch.setattr(conversion, "WARM_UP", 8)
    assert not differences(source, tmp_path, cluster, **settings).any()


def test_stabilized_is_similar_after_a_warm_up(
    source: Path, tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second piece begins with frame 30, and no scene begins near it."""
    found = {}
    for warm_up in (0, 12):
        monkeypatch.setattr(conversion, "WARM_UP", warm_up)
        found[warm_up] = differences(source, tmp_path, cluster, segment=10)
    assert found[12][30:33].all()
    assert found[12].max() < 0.8 * found[0].max()
    assert not found[12][:30].any()
    assert not found[12][33:].any()


def test_images_of_a_folder(source: Path, tmp_path: Path, cluster: str) -> None:
    (tmp_path / "frames").mkdir()
    stylize_video(source, tmp_path / "frames" / "%03d.png", style=Grainy(), end=1.0)
    settings = {"fps": 12.0, "stability": 0}
    whole = one_machine(tmp_path / "frames", tmp_path, **settings)
    made = farm(tmp_path / "frames", tmp_path / "farm.mp4", cluster, **settings)
    assert packets(made.output) == packets(whole)


def test_segment_that_always_fails(source: Path, tmp_path: Path, cluster: str) -> None:
    """Frames 51 to 60 are too bright; the others are kept, and `resume` makes the rest."""
    whole = one_machine(source, tmp_path, stability=0)
    flag, output = tmp_path / "flag", tmp_path / "farm.mp4"
    flag.touch()
    settings = {"stability": 0, "style": Fragile(flag, moving_frame(49).mean() + 0.5)}
    with pytest.raises(PartialResultError, match=r"51 to 60.*bright"):
        farm(source, output, cluster, **settings)
    assert len(list(work_path(output).glob("0*.nut"))) == 5
    assert len(stamps(tmp_path / "farm.partial.mp4")) == 50
    flag.unlink()
    made = farm(source, output, cluster, resume=True, **settings)
    assert made.resumed == 50
    assert packets(output) == packets(whole)
    assert not (tmp_path / "farm.partial.mp4").exists()


def test_video_that_fails_everywhere(source: Path, tmp_path: Path, cluster: str) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    with pytest.raises(VideoError, match="bright"):
        farm(source, tmp_path / "farm.mp4", cluster, style=Fragile(flag, 0))
    assert [path.name for path in tmp_path.iterdir()] == ["flag"]


def test_full_disk(
    source: Path, tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, kept = WorkFolder.put, list[int]()

    def full(self: WorkFolder, number: int, *rest: Any) -> None:
        if kept:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        kept.append(number)
        put(self, number, *rest)

    monkeypatch.setattr(WorkFolder, "put", full)
    output = tmp_path / "farm.mp4"
    with pytest.raises(PartialResultError, match="resume"):
        farm(source, output, cluster, stability=0)
    monkeypatch.undo()
    made = farm(source, output, cluster, stability=0, resume=True)
    assert (made.frames, made.resumed) == (60, SEGMENT)


@pytest.fixture
def unseen(source: Path) -> Any:
    """A path of the source that other processes do not see."""
    number = 250
    opened = os.open(source, os.O_RDONLY)
    os.dup2(opened, number)
    os.close(opened)
    yield Path(f"/proc/self/fd/{number}")
    os.close(number)


def test_source_is_sent_to_nodes(
    source: Path, unseen: Path, tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = one_machine(source, tmp_path, stability=0)
    made = farm(unseen, tmp_path / "farm.mp4", cluster, stability=0)
    assert packets(made.output) == packets(whole)
    monkeypatch.setattr(conversion, "_SENT", 0)
    with pytest.raises(InputError, match="too large"):
        farm(unseen, tmp_path / "other.mp4", cluster)
    assert not (tmp_path / "other.mp4.partial").exists()


@pytest.mark.parametrize(
    ("given", "output"), [("-", "out.mp4"), ("", "out.gif"), ("", "%03d.png"), ("", "-")]
)
def test_what_is_written_in_one_go_is_refused(
    source: Path, tmp_path: Path, cluster: str, given: str, output: str
) -> None:
    target = output if output == "-" else tmp_path / output
    with pytest.raises(InputError, match="in one go"):
        stylize_video(given or source, target, style=Grainy(), ray=cluster)


def test_loaded_stylizers_cannot_be_sent(
    source: Path, tmp_path: Path, cluster: str, model: Path
) -> None:
    style = conversions.network_stylizer(model)
    with pytest.raises(InputError, match="style"):
        stylize_video(source, tmp_path / "out.mp4", style=style, ray=cluster)


def test_interrupt_keeps_what_is_finished(source: Path, tmp_path: Path, cluster: str) -> None:
    whole, output = one_machine(source, tmp_path, stability=0), tmp_path / "farm.mp4"

    def interrupt(done: float, total: object, note: str) -> None:
        if len(list(work_path(output).glob("0*.json"))) >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        farm(source, output, cluster, stability=0, progress=interrupt)
    assert len(stamps(tmp_path / "farm.partial.mp4")) >= 20
    made = farm(source, output, cluster, stability=0, resume=True)
    assert made.resumed >= 20
    assert packets(output) == packets(whole)


def test_bare_stream_is_not_divided(tmp_path: Path, cluster: str) -> None:
    bare = write_clip(tmp_path / "in.h264")
    made = farm(bare, tmp_path / "farm.mp4", cluster, stability=0)
    assert made.frames == 25
    assert any("bare stream" in warning for warning in made.warnings)
