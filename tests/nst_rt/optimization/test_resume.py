"""`optimize_to_file`: resuming after interruptions."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from optimizer_runs import (
    HOLD,
    KINDS,
    QUICK,
    TWO_SCALES,
    Optimize,
    frame_count,
    interrupt,
    interrupting,
    names,
)
from PIL import Image

from nst_rt.errors import InputError, InterruptedWorkError, OutputExistsError
from nst_rt.images.io import load_picture
from nst_rt.optimization.optimizer import Iterate
from nst_rt.optimization.runs import optimize_to_file


@pytest.fixture(scope="module")
def uninterrupted(
    content: Path, style: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], bytes]:
    """Bytes of the file that an uninterrupted run of a kind writes."""
    folder = tmp_path_factory.mktemp("whole")

    def data(kind: str) -> bytes:
        output = folder / f"{kind}.png"
        if not output.exists():
            optimize_to_file(content, style, output, **KINDS[kind])
        return output.read_bytes()

    return data


@pytest.mark.parametrize(
    ("kind", "at"),
    [*((kind, at) for kind in KINDS for at in (1, 4)), ("lbfgs", 0), ("lbfgs", 3)],
)
def test_matches_an_uninterrupted_run(
    run: Optimize,
    output: Path,
    uninterrupted: Callable[[str], bytes],
    kind: str,
    at: int,
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(InterruptedWorkError, match=r"out\.partial\.png") as raised:
        run(on_iterate=interrupting(at), **KINDS[kind])
    assert "`resume`" in str(raised.value)
    assert signal.getsignal(signal.SIGINT) is before
    assert names(output.parent) == ["out.partial.png", "out.partial.pt"]
    partial = load_picture(output.with_name("out.partial.png")).image
    assert (partial.shape[-1] == 96) == (at >= 3)
    seen: list[int] = []
    result = run(resume=True, on_iterate=lambda i: seen.append(i.step), **KINDS[kind])
    assert seen == list(range(at + 1, result.iterate.steps + 1))
    assert output.read_bytes() == uninterrupted(kind)
    assert names(output.parent) == ["out.png"]


def test_after_two_interruptions_with_a_timelapse(
    run: Optimize, output: Path, uninterrupted: Callable[[str], bytes]
) -> None:
    video = output.with_name("t.mkv")
    settings = KINDS["lbfgs"] | {"timelapse": video}
    interrupt(run, at=1, **settings)
    assert frame_count(output.with_name("t.partial.mkv")) == 2
    interrupt(run, at=4, resume=True, **settings)
    run(resume=True, **settings)
    assert output.read_bytes() == uninterrupted("lbfgs")
    assert frame_count(video) == 7 + HOLD
    assert names(output.parent) == ["out.png", "t.mkv"]


def test_ctrl_c_at_the_last_step(
    run: Optimize, output: Path, uninterrupted: Callable[[str], bytes]
) -> None:
    """Either the work is done, or it resumes to the same result."""
    settings = KINDS["lbfgs"] | {"timelapse": output.with_name("t.mp4")}
    try:
        run(on_iterate=interrupting(6), **settings)
    except InterruptedWorkError:
        run(resume=True, **settings)
    assert output.read_bytes() == uninterrupted("lbfgs")
    assert frame_count(output.with_name("t.mp4")) == 7 + HOLD
    assert names(output.parent) == ["out.png", "t.mp4"]


def test_save_every_after_a_crash(
    run: Optimize, output: Path, uninterrupted: Callable[[str], bytes]
) -> None:
    def crash(iterate: Iterate) -> None:
        if iterate.step == 5:
            raise RuntimeError

    settings = KINDS["lbfgs"] | {"save_every": 2}
    with pytest.raises(RuntimeError):
        run(on_iterate=crash, **settings)
    assert names(output.parent) == ["out-0002.png", "out-0004.png", "out.partial.pt"]
    run(resume=True, **settings)
    assert output.read_bytes() == uninterrupted("lbfgs")
    numbered = ["out-0002.png", "out-0004.png", "out-0006.png"]
    assert names(output.parent) == [*numbered, "out.png"]


def test_output_of_a_run_that_was_killed_before_it_removed_its_state(
    run: Optimize, output: Path, uninterrupted: Callable[[str], bytes]
) -> None:
    interrupt(run, at=1, **KINDS["lbfgs"])
    output.write_bytes(uninterrupted("lbfgs"))
    run(resume=True, **KINDS["lbfgs"])
    assert output.read_bytes() == uninterrupted("lbfgs")
    assert names(output.parent) == ["out.png"]


def test_output_that_was_to_be_replaced_needs_overwrite_again(run: Optimize, output: Path) -> None:
    output.write_text("earlier")
    interrupt(run, at=1, overwrite=True, **KINDS["lbfgs"])
    seen: list[int] = []
    with pytest.raises(OutputExistsError, match="overwrite"):
        run(resume=True, on_iterate=lambda i: seen.append(i.step), **KINDS["lbfgs"])
    assert not seen
    assert output.read_text() == "earlier"


def test_resuming_keeps_another_file_in_place_of_the_output(
    run: Optimize, output: Path, uninterrupted: Callable[[str], bytes]
) -> None:
    interrupt(run, at=1, **KINDS["lbfgs"])
    output.write_text("precious")
    with pytest.raises(OutputExistsError, match="overwrite"):
        run(resume=True, **KINDS["lbfgs"])
    assert output.read_text() == "precious"
    assert output.with_name("out.partial.pt").exists()
    assert output.with_name("out.partial.png").read_bytes() == uninterrupted("lbfgs")
    run(resume=True, overwrite=True, **KINDS["lbfgs"])
    assert output.read_bytes() == uninterrupted("lbfgs")
    assert names(output.parent) == ["out.png"]


def test_no_step_is_in_the_timelapse_twice(run: Optimize, tmp_path: Path) -> None:
    """After a second Ctrl-C the video may be longer than the saved state."""
    settings = TWO_SCALES | {"timelapse": tmp_path / "t.mp4", "save_every": 2}
    with pytest.raises(InterruptedWorkError):
        run(on_iterate=interrupting(4, times=2), **settings)
    assert frame_count(tmp_path / "t.partial.mp4") == 4  # 0, 1, 2, 3; the state is that of 2
    run(resume=True, **settings)
    assert frame_count(tmp_path / "t.mp4") == 7 + HOLD


@pytest.mark.parametrize(
    "changes",
    [
        {"style_weight": 20.0},
        {"style_layers": {"relu1_2": 1.0}},
        {"preset": "gatys"},
        {"steps": [3, 4]},
        {"size": 80},
        {"seed": 1},
        {"preserve_colors": "match"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_other_settings_are_an_error(run: Optimize, output: Path, changes: dict[str, Any]) -> None:
    interrupt(run, at=1, **TWO_SCALES)
    with pytest.raises(InputError, match=next(iter(changes))):
        run(resume=True, **TWO_SCALES | changes)
    run(resume=True, **TWO_SCALES)  # nothing was lost
    interrupt(run, at=1, overwrite=True, **TWO_SCALES | changes)
    with pytest.raises(InputError, match=next(iter(changes))):
        run(resume=True, overwrite=True, **TWO_SCALES)


def test_files_are_compared_by_content(
    run: Optimize, content: Path, style: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.png"
    copy.write_bytes(content.read_bytes())
    interrupt(run, at=1, content=copy, **QUICK)
    for other in ([content], [style, style]):
        with pytest.raises(InputError, match="style"):
            run(content=copy, style=other, resume=True, **QUICK)
    Image.new("RGB", (96, 64), "red").save(copy)  # another image of the same name
    with pytest.raises(InputError, match="content"):
        run(content=copy, resume=True, **QUICK)
    # The same image of another name; device and memory do not change the result.
    run(resume=True, device="cpu", memory=4.0, **QUICK)


def test_masks_are_compared_by_content(run: Optimize, tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    picture = Image.new("RGB", (96, 64), "white")
    picture.paste("red", (0, 0, 40, 64))
    picture.save(mask)
    settings = QUICK | {"content_mask": mask, "style_masks": ["red"]}
    interrupt(run, at=1, **settings)
    with pytest.raises(InputError, match="style_masks"):
        run(resume=True, **settings | {"style_masks": ["white"]})
    picture.paste("red", (0, 0, 60, 64))
    picture.save(mask)
    with pytest.raises(InputError, match="content_mask"):
        run(resume=True, **settings)


def test_interrupted_run_is_not_lost_unasked(run: Optimize, tmp_path: Path) -> None:
    interrupt(run, at=1, **QUICK)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(OutputExistsError, match=r"out\.partial\.pt"):
        run(**QUICK)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    run(overwrite=True, **QUICK)
    assert names(tmp_path) == ["out.png"]


@pytest.mark.parametrize("damage", ["text", "cut", "empty", "other"])
def test_damaged_state_is_an_error(run: Optimize, tmp_path: Path, damage: str) -> None:
    state = tmp_path / "out.partial.pt"
    interrupt(run, at=1, **QUICK)
    if damage == "other":
        torch.save({"weights": torch.zeros(3)}, state)
    else:
        data = state.read_bytes()
        state.write_bytes({"text": b"text", "cut": data[: len(data) // 2], "empty": b""}[damage])
    with pytest.raises(InputError, match=r"out\.partial\.pt") as raised:
        run(resume=True, **QUICK)
    assert "\n" not in str(raised.value)
    run(overwrite=True, **QUICK)
    assert names(tmp_path) == ["out.png"]
