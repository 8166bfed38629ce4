import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from nst_rt.cli.optimize import parse_setting
from nst_rt.errors import (
    InputError,
    InterruptedWorkError,
    NotFiniteError,
    OutputExistsError,
    PartialResultError,
    StyleTransferError,
)
from nst_rt.images.io import load_picture, tensor_to_frame
from nst_rt.losses import LossTerms
from nst_rt.optimization.batches import optimize_grid, optimize_list
from nst_rt.optimization.optimizer import Iterate, optimize
from nst_rt.optimization.runs import paint
from nst_rt.optimization.tiling import Objective

SHALLOW = {"relu1_1": 1.0}
QUICK: dict[str, Any] = {
    "size": 48,
    "steps": [4],
    "content_layers": SHALLOW,
    "style_layers": SHALLOW,
}
TWO_SCALES = QUICK | {"size": 96, "min_size": 48, "steps": [3, 3]}
KINDS: dict[str, dict[str, Any]] = {
    "lbfgs": TWO_SCALES,
    "adam": TWO_SCALES | {"optimizer": "adam"},
    "noise": TWO_SCALES | {"init": "noise", "seed": 7},
    "average": TWO_SCALES | {"preset": "multiscale", "min_size": 60},
    "luminance": TWO_SCALES | {"preserve_colors": "luminance"},
}
HOLD = 30  # frames that a timelapse shows its last image for
OnIterate = Callable[[Iterate], None]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, astronaut: Path, painting: Path) -> Path:
    """A folder with a photo of 96x64 px and two paintings."""
    folder = tmp_path_factory.mktemp("small")
    with Image.open(astronaut) as photo:
        photo.convert("RGB").resize((96, 96)).crop((0, 0, 96, 64)).save(folder / "photo.png")
    for file in (painting, painting.with_name("mosaic.jpg")):
        with Image.open(file) as picture:
            picture.convert("RGB").resize((96, 80)).save(folder / f"{file.stem}.png")
    return folder


@pytest.fixture(scope="module")
def content(small: Path) -> Path:
    return small / "photo.png"


@pytest.fixture(scope="module")
def style(small: Path) -> Path:
    return small / "swirls.png"


def interrupting(at: int, times: int = 1) -> OnIterate:
    """Presses Ctrl-C when that step is there."""

    def on_iterate(iterate: Iterate) -> None:
        if iterate.step == at:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)

    return on_iterate


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def frames(path: Path) -> list[np.ndarray]:
    """All frames of a video, which must be as many as its header says."""
    video = cv2.VideoCapture(str(path))
    found = []
    while (read := video.read())[0]:
        found.append(read[1])
    assert len(found) == video.get(cv2.CAP_PROP_FRAME_COUNT)
    video.release()
    return found


def interrupted(content: Path, style: Path, output: Path, *, at: int, **settings: Any) -> str:
    """Paint until a step; what was said then."""
    with pytest.raises(InterruptedWorkError) as raised:
        paint(content, [style], output, on_iterate=interrupting(at), **settings)
    assert raised.value.exit_code == 130
    return str(raised.value)


def poisoned(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """After so many gradients the loss is NaN."""
    original = Objective.backward
    calls = 0

    def backward(self: Objective, image: torch.Tensor) -> LossTerms:
        nonlocal calls
        calls += 1
        terms = original(self, image)
        return terms if calls <= after else replace(terms, total=terms.total * torch.nan)

    monkeypatch.setattr(Objective, "backward", backward)


# One picture


def test_a_picture_is_painted_into_a_file(content: Path, style: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    done = paint(
        content, [style], tmp_path / "out.png", on_iterate=lambda i: seen.append(i.step), **QUICK
    )
    assert seen == [0, 1, 2, 3, 4]
    assert (done.output, done.iterate.step) == (tmp_path / "out.png", 4)
    picture = load_picture(done.output)
    assert (picture.alpha, picture.depth) == (None, 8)
    assert picture.image.shape == (1, 3, 32, 48)  # the photo's aspect
    torch.testing.assert_close(picture.image, done.iterate.image, atol=0.5 / 255, rtol=1e-4)
    assert (picture.image - load_picture(content, size=48).image).abs().mean() > 0.01
    assert names(tmp_path) == ["out.png"]


@pytest.mark.parametrize("preserve_colors", [None, "luminance"])
@pytest.mark.parametrize("height", [61, 63, 66])
def test_odd_sides_stay_through_the_scales(
    content: Path, style: Path, tmp_path: Path, height: int, preserve_colors: str | None
) -> None:
    with Image.open(content) as photo:
        photo.resize((96, height)).save(tmp_path / "in.png")
    settings = TWO_SCALES | {"steps": [1], "preserve_colors": preserve_colors}
    paint(tmp_path / "in.png", [style], tmp_path / "out.png", **settings)
    assert load_picture(tmp_path / "out.png").image.shape == (1, 3, height, 96)


@pytest.mark.parametrize("size", [48, 96])
def test_the_photos_alpha_is_kept(style: Path, tmp_path: Path, size: int) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (64, 96, 4), dtype=np.uint8)
    levels[:20, :, 3] = 0
    Image.fromarray(levels).save(tmp_path / "in.png")
    paint(tmp_path / "in.png", [style], tmp_path / "out.png", **QUICK | {"size": size})
    with Image.open(tmp_path / "out.png") as painted:
        assert (painted.mode, painted.size) == ("RGBA", (size, size * 2 // 3))
    ours = load_picture(tmp_path / "out.png").alpha
    theirs = load_picture(tmp_path / "in.png", size=size).alpha
    assert ours is not None
    assert theirs is not None
    torch.testing.assert_close(ours, theirs, atol=1.01 / 255, rtol=0)


def test_alpha_has_the_size_of_coarse_images_too(style: Path, tmp_path: Path) -> None:
    # 71 px in 160 are 21.3 in 48, but 22 by way of 43 in 96.
    picture = Image.new("RGBA", (160, 71), (200, 100, 50, 128))
    picture.paste((0, 0, 0, 0), (0, 0, 80, 71))
    picture.save(tmp_path / "in.png")
    paint(tmp_path / "in.png", [style], tmp_path / "out.png", save_every=1, **TWO_SCALES)
    for name in ("out-0001.png", "out.png"):
        with Image.open(tmp_path / name) as painted:
            assert painted.mode == "RGBA"


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bits_are_kept(style: Path, tmp_path: Path, channels: int) -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (64, 96, channels), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "in.png"), levels)
    done = paint(tmp_path / "in.png", [style], tmp_path / "out.png", **QUICK)
    painted = cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_UNCHANGED)
    assert painted is not None
    assert painted.dtype == np.uint16
    assert painted.shape == (32, 48, channels)
    rgb = painted[:, :, 2::-1].astype(np.float32) / 65535
    expected = done.iterate.image[0].permute(1, 2, 0)
    np.testing.assert_allclose(rgb, expected, atol=0.51 / 65535)


@pytest.mark.parametrize("kind", KINDS)
def test_every_so_many_steps_are_saved(
    content: Path, style: Path, tmp_path: Path, kind: str
) -> None:
    images: dict[int, torch.Tensor] = {}

    def on_iterate(iterate: Iterate) -> None:
        images[iterate.step] = iterate.image  # which no later step may change

    paint(content, [style], tmp_path / "o.png", save_every=2, on_iterate=on_iterate, **KINDS[kind])
    assert names(tmp_path) == ["o-0002.png", "o-0004.png", "o-0006.png", "o.png"]
    assert images[2].shape[-1] < images[4].shape[-1] == 96
    for step in (2, 4, 6):
        saved = load_picture(tmp_path / f"o-{step:04d}.png").image
        torch.testing.assert_close(saved, images[step], atol=0.51 / 255, rtol=0)


def test_nothing_that_exists_is_replaced_unasked(
    content: Path, style: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = QUICK | {
        "save_every": 2,
        "timelapse": tmp_path / "t.mp4",
        "plot": tmp_path / "p.png",
    }
    for name in ("out.png", "out-0004.png", "t.mp4", "p.png"):
        (tmp_path / name).write_text("precious")
        with pytest.raises(OutputExistsError, match=f"{name}: exists already"):
            paint(content, [style], tmp_path / "out.png", **options)
        assert names(tmp_path) == [name]
        assert (tmp_path / name).read_text() == "precious"
        (tmp_path / name).unlink()
    for name in ("out.png", "out-0002.png", "out-0004.png", "t.mp4", "p.png"):
        (tmp_path / name).write_text("old")
    paint(content, [style], tmp_path / "out.png", overwrite=True, **options)
    for name in names(tmp_path):
        assert (tmp_path / name).read_bytes() != b"old"


def test_no_picture_replaces_what_it_is_made_of(content: Path, style: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content.read_bytes())
    (tmp_path / "link.png").symlink_to("a.png")
    for given in ((tmp_path / "a.png", [style]), (content, [style, tmp_path / "a.png"])):
        with pytest.raises(InputError, match=r"link\.png"):
            paint(*given, tmp_path / "link.png", overwrite=True, **QUICK)
        with pytest.raises(InputError, match=r"link\.png"):
            optimize_grid(*given, tmp_path / "link.png", {}, overwrite=True, **QUICK)
    with pytest.raises(InputError, match=r"a\.png"):
        batch(tmp_path, HEADER, f"{content},{style},a.png", f"a.png,{style},b.png", overwrite=True)
    assert (tmp_path / "a.png").read_bytes() == content.read_bytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"save_every": -1}, "0 or more, not -1"),
        ({"timelapse": "t.txt"}, "unknown video format '.txt'"),
        ({"plot": "p.xyz"}, "unknown plot format '.xyz'"),
        ({"plot": "out.png"}, "out.png"),
        ({"style_weight": -1}, "0 or more"),
        ({"resume": True}, r"nothing to resume: .*out\.partial\.pt: no such file"),
    ],
)
def test_bad_options_are_refused_before_any_work(
    content: Path,
    style: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[Iterate] = []
    with pytest.raises(InputError, match=said):
        paint(content, [style], "out.png", on_iterate=seen.append, **QUICK | options)
    assert not seen
    assert names(tmp_path) == []


def test_an_unknown_setting_is_a_mistake_of_the_caller(
    content: Path, style: Path, tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match="stile_weight"):
        paint(content, [style], tmp_path / "out.png", stile_weight=1)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".pdf", ".svg"])
def test_the_losses_are_plotted(content: Path, style: Path, tmp_path: Path, suffix: str) -> None:
    plot = tmp_path / f"losses{suffix}"
    paint(content, [style], tmp_path / "out.png", plot=plot, **TWO_SCALES)
    assert plot.stat().st_size > 5000
    assert names(tmp_path) == [plot.name, "out.png"]


def test_all_steps_are_filmed(content: Path, style: Path, tmp_path: Path) -> None:
    paint(content, [style], tmp_path / "out.png", timelapse=tmp_path / "t.mp4", **TWO_SCALES)
    film = frames(tmp_path / "t.mp4")
    assert len(film) == 3 + 3 + 1 + HOLD
    assert {frame.shape for frame in film} == {(64, 96, 3)}
    result = tensor_to_frame(load_picture(tmp_path / "out.png").image).astype(int)
    assert np.abs(film[-1] - result).mean() < 6
    assert names(tmp_path) == ["out.png", "t.mp4"]


def test_painting_works_in_a_thread(content: Path, style: Path, tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            paint(content, [style], tmp_path / "out.png", **QUICK)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert not failures
    assert names(tmp_path) == ["out.png"]


# Interrupted work


@pytest.fixture(scope="module")
def uninterrupted(
    content: Path, style: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("whole")

    def painted(kind: str) -> Path:
        output = folder / f"{kind}.png"
        if not output.exists():
            paint(content, [style], output, **KINDS[kind])
        return output

    return painted


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [1, 4])
def test_what_was_interrupted_goes_on_to_the_same_picture(
    content: Path,
    style: Path,
    tmp_path: Path,
    uninterrupted: Callable[[str], Path],
    kind: str,
    at: int,
) -> None:
    output = tmp_path / "out.png"
    before = signal.getsignal(signal.SIGINT)
    said = interrupted(content, style, output, at=at, **KINDS[kind])
    assert f"the best image of {at} of " in said
    assert f"is in {tmp_path / 'out.partial.png'}" in said
    assert "--resume goes on" in said
    assert signal.getsignal(signal.SIGINT) is before
    assert names(tmp_path) == ["out.partial.png", "out.partial.pt"]
    assert (load_picture(tmp_path / "out.partial.png").image.shape[-1] == 96) == (at > 3)
    seen: list[int] = []
    done = paint(
        content,
        [style],
        output,
        resume=True,
        on_iterate=lambda i: seen.append(i.step),
        **KINDS[kind],
    )
    assert seen == list(range(at + 1, done.iterate.steps + 1))
    assert output.read_bytes() == uninterrupted(kind).read_bytes()
    assert names(tmp_path) == ["out.png"]


@pytest.mark.parametrize("at", [0, 2, 3])
def test_it_goes_on_from_the_edges_of_a_scale_too(
    content: Path, style: Path, tmp_path: Path, uninterrupted: Callable[[str], Path], at: int
) -> None:
    output = tmp_path / "out.png"
    interrupted(content, style, output, at=at, **KINDS["lbfgs"])
    paint(content, [style], output, resume=True, **KINDS["lbfgs"])
    assert output.read_bytes() == uninterrupted("lbfgs").read_bytes()


def test_it_may_be_interrupted_again(
    content: Path, style: Path, tmp_path: Path, uninterrupted: Callable[[str], Path]
) -> None:
    output = tmp_path / "out.png"
    film = tmp_path / "t.mp4"
    interrupted(content, style, output, at=1, timelapse=film, **KINDS["lbfgs"])
    interrupted(content, style, output, at=4, timelapse=film, resume=True, **KINDS["lbfgs"])
    paint(content, [style], output, resume=True, timelapse=film, **KINDS["lbfgs"])
    assert output.read_bytes() == uninterrupted("lbfgs").read_bytes()
    assert len(frames(film)) == 7 + HOLD
    assert names(tmp_path) == ["out.png", "t.mp4"]


def test_ctrl_c_at_the_last_step_loses_nothing(
    content: Path, style: Path, tmp_path: Path, uninterrupted: Callable[[str], Path]
) -> None:
    """Either the work is done, or it goes on to the same end."""
    output, film = tmp_path / "out.png", tmp_path / "t.mp4"
    settings: dict[str, Any] = KINDS["lbfgs"] | {"timelapse": film}
    try:
        paint(content, [style], output, on_iterate=interrupting(6), **settings)
    except InterruptedWorkError:
        paint(content, [style], output, resume=True, **settings)
    assert output.read_bytes() == uninterrupted("lbfgs").read_bytes()
    assert len(frames(film)) == 7 + HOLD
    assert names(tmp_path) == ["out.png", "t.mp4"]


def test_the_best_image_is_kept_not_the_last(content: Path, style: Path, tmp_path: Path) -> None:
    iterates: list[Iterate] = []

    def on_iterate(iterate: Iterate) -> None:
        iterates.append(iterate)
        interrupting(3)(iterate)

    # A step this large makes it worse: the start stays the best.
    settings = QUICK | {"optimizer": "adam", "learning_rate": 100.0}
    with pytest.raises(InterruptedWorkError, match="the best image of 3 of 4 steps"):
        paint(content, [style], tmp_path / "out.png", on_iterate=on_iterate, **settings)
    best = min(iterates, key=lambda iterate: iterate.total)
    assert best.step == 0
    kept = load_picture(tmp_path / "out.partial.png").image
    torch.testing.assert_close(kept, best.image, atol=0.51 / 255, rtol=0)


def test_an_interrupted_picture_keeps_alpha_and_depth(style: Path, tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (64, 96, 4), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "in.png"), levels)
    interrupted(tmp_path / "in.png", style, tmp_path / "out.png", at=1, **TWO_SCALES)
    kept = cv2.imread(str(tmp_path / "out.partial.png"), cv2.IMREAD_UNCHANGED)
    assert kept is not None
    assert (kept.dtype, kept.shape) == (np.uint16, (32, 48, 4))


def test_save_every_goes_on_where_it_was(content: Path, style: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.png"
    interrupted(content, style, output, at=3, save_every=2, **TWO_SCALES)
    assert names(tmp_path) == ["out-0002.png", "out.partial.png", "out.partial.pt"]
    paint(content, [style], output, save_every=2, resume=True, **TWO_SCALES)
    assert names(tmp_path) == ["out-0002.png", "out-0004.png", "out-0006.png", "out.png"]


def test_save_every_saves_what_a_crash_needs(
    content: Path, style: Path, tmp_path: Path, uninterrupted: Callable[[str], Path]
) -> None:
    def crash(iterate: Iterate) -> None:
        if iterate.step == 5:
            raise RuntimeError("the power is gone")

    output = tmp_path / "out.png"
    with pytest.raises(RuntimeError, match="the power is gone"):
        paint(content, [style], output, save_every=2, on_iterate=crash, **KINDS["lbfgs"])
    assert names(tmp_path) == ["out-0002.png", "out-0004.png", "out.partial.pt"]
    paint(content, [style], output, save_every=2, resume=True, **KINDS["lbfgs"])
    assert output.read_bytes() == uninterrupted("lbfgs").read_bytes()
    assert names(tmp_path) == ["out-0002.png", "out-0004.png", "out-0006.png", "out.png"]


def test_no_step_is_filmed_twice(content: Path, style: Path, tmp_path: Path) -> None:
    """After a second Ctrl-C the film may be longer than what there is to go on from."""
    output, film = tmp_path / "out.png", tmp_path / "t.mp4"
    settings: dict[str, Any] = TWO_SCALES | {"timelapse": film, "save_every": 2}
    with pytest.raises(InterruptedWorkError):
        paint(content, [style], output, on_iterate=interrupting(4, times=2), **settings)
    assert len(frames(tmp_path / "t.partial.mp4")) == 4  # 0, 1, 2, 3; the state is that of 2
    paint(content, [style], output, resume=True, **settings)
    assert len(frames(film)) == 7 + HOLD


def test_a_second_ctrl_c_stops_at_once(
    content: Path, style: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []

    def on_iterate(iterate: Iterate) -> None:
        interrupting(2, times=2)(iterate)
        seen.append(iterate.step)

    with pytest.raises(InterruptedWorkError) as raised:
        paint(content, [style], tmp_path / "out.png", on_iterate=on_iterate, **QUICK)
    assert seen == [0, 1]
    assert caplog.messages == ["stopping after this step; Ctrl-C again stops now"]
    assert "out.partial.png" in str(raised.value)
    assert "--resume" not in str(raised.value)  # in the middle of a step there is no state
    assert names(tmp_path) == ["out.partial.png"]


def test_the_film_of_an_interrupted_run_plays(content: Path, style: Path, tmp_path: Path) -> None:
    interrupted(
        content, style, tmp_path / "out.png", at=2, timelapse=tmp_path / "t.mkv", **TWO_SCALES
    )
    assert names(tmp_path) == ["out.partial.png", "out.partial.pt", "t.partial.mkv"]
    video = cv2.VideoCapture(str(tmp_path / "t.partial.mkv"))
    count = 0
    while video.read()[0]:
        count += 1
    assert count == 3


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
)
def test_other_settings_are_not_resumed(
    content: Path, style: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    output = tmp_path / "out.png"
    interrupted(content, style, output, at=1, **TWO_SCALES)
    before = (tmp_path / "out.partial.pt").read_bytes()
    with pytest.raises(InputError, match=rf"other settings \({next(iter(changes))}\)"):
        paint(content, [style], output, resume=True, **TWO_SCALES | changes)
    assert (tmp_path / "out.partial.pt").read_bytes() == before
    assert not output.exists()


@pytest.mark.parametrize("left_out", ["style_weight", "seed"])
def test_a_setting_that_is_left_out_is_not_resumed(
    content: Path, style: Path, tmp_path: Path, left_out: str
) -> None:
    output = tmp_path / "out.png"
    interrupted(content, style, output, at=1, **TWO_SCALES | {left_out: 20})
    with pytest.raises(InputError, match=rf"other settings \({left_out}\)"):
        paint(content, [style], output, resume=True, **TWO_SCALES)


def test_other_files_are_not_resumed(
    content: Path, style: Path, small: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.png"
    photo = tmp_path / "photo.png"
    photo.write_bytes(content.read_bytes())
    interrupted(photo, style, output, at=1, **QUICK)
    with pytest.raises(InputError, match=r"other settings \(style\)"):
        paint(photo, [small / "mosaic.png"], output, resume=True, **QUICK)
    with pytest.raises(InputError, match=r"other settings \(style\)"):
        paint(photo, [style, style], output, resume=True, **QUICK)
    Image.new("RGB", (96, 64), "red").save(photo)  # another picture of the same name
    with pytest.raises(InputError, match=r"other settings \(content\)"):
        paint(photo, [style], output, resume=True, **QUICK)
    paint(content, [style], output, resume=True, **QUICK)  # the same picture of another name


def test_other_masks_are_not_resumed(content: Path, style: Path, tmp_path: Path) -> None:
    output, mask = tmp_path / "out.png", tmp_path / "mask.png"
    picture = Image.new("RGB", (96, 64), "white")
    picture.paste("red", (0, 0, 40, 64))
    picture.save(mask)
    settings = QUICK | {"content_mask": mask, "style_masks": ["red"]}
    interrupted(content, style, output, at=1, **settings)
    with pytest.raises(InputError, match=r"other settings \(style_masks\)"):
        paint(content, [style], output, resume=True, **settings | {"style_masks": ["white"]})
    picture.paste("red", (0, 0, 60, 64))
    picture.save(mask)
    with pytest.raises(InputError, match=r"other settings \(content_mask\)"):
        paint(content, [style], output, resume=True, **settings)


def test_how_it_is_computed_may_change(content: Path, style: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.png"
    interrupted(content, style, output, at=1, **QUICK)
    paint(content, [style], output, resume=True, device="cpu", memory=4.0, **QUICK)
    assert names(tmp_path) == ["out.png"]


def test_an_interrupted_run_is_not_lost_unasked(content: Path, style: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.png"
    interrupted(content, style, output, at=1, **QUICK)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(OutputExistsError, match=r"partial\.pt: an interrupted run.*--resume"):
        paint(content, [style], output, **QUICK)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    paint(content, [style], output, overwrite=True, **QUICK)
    assert names(tmp_path) == ["out.png"]


@pytest.mark.parametrize("damage", ["text", "cut", "empty", "other"])
def test_a_damaged_state_is_an_error(
    content: Path, style: Path, tmp_path: Path, damage: str
) -> None:
    state = tmp_path / "out.partial.pt"
    interrupted(content, style, tmp_path / "out.png", at=1, **QUICK)
    if damage == "other":
        torch.save({"weights": torch.zeros(3)}, state)
    else:
        data = state.read_bytes()
        state.write_bytes({"text": b"text", "cut": data[: len(data) // 2], "empty": b""}[damage])
    with pytest.raises(InputError, match=r"out\.partial\.pt: damaged; --overwrite") as raised:
        paint(content, [style], tmp_path / "out.png", resume=True, **QUICK)
    assert "\n" not in str(raised.value)
    paint(content, [style], tmp_path / "out.png", overwrite=True, **QUICK)
    assert names(tmp_path) == ["out.png"]


def test_a_loss_that_is_not_finite_keeps_the_best_image(
    content: Path, style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned(monkeypatch, after=3)
    output, film = tmp_path / "out.png", tmp_path / "t.mp4"
    iterates: list[Iterate] = []
    with pytest.raises(PartialResultError, match=r"nan at step 3 of 4.*out\.partial\.png") as error:
        paint(content, [style], output, timelapse=film, on_iterate=iterates.append, **QUICK)
    assert error.value.exit_code == 3
    assert names(tmp_path) == ["out.partial.png", "t.partial.mp4"]
    best = min(iterates, key=lambda iterate: iterate.total)
    kept = load_picture(tmp_path / "out.partial.png").image
    torch.testing.assert_close(kept, best.image, atol=0.51 / 255, rtol=0)
    assert len(frames(tmp_path / "t.partial.mp4")) == 3


def test_a_loss_that_never_was_finite_keeps_nothing(
    content: Path, style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned(monkeypatch, after=0)
    with pytest.raises(NotFiniteError, match="nan at step 0"):
        paint(content, [style], tmp_path / "o.png", timelapse=tmp_path / "t.mp4", **QUICK)
    assert names(tmp_path) == []


# Many pairs


@pytest.fixture
def folder(tmp_path: Path, small: Path) -> Path:
    """A folder with the pictures in it, to write lists into."""
    (tmp_path / "in").mkdir()
    for file in small.iterdir():
        (tmp_path / "in" / file.name).write_bytes(file.read_bytes())
    return tmp_path


def batch(folder: Path, *lines: str, **options: Any) -> Any:
    """`optimize_list` of a list with these lines."""
    (folder / "pairs.csv").write_text("\n".join([*lines, ""]), encoding="utf-8")
    return optimize_list(folder / "pairs.csv", parse=parse_setting, **QUICK | options)


def outputs(folder: Path) -> list[str]:
    return [name for name in names(folder) if name not in ("in", "pairs.csv")]


def test_pairs_of_a_list_are_painted(folder: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    done = batch(
        folder,
        "content,style,output,style_weight,steps",
        "in/photo.png,in/swirls.png,a.png,,",
        "in/photo.png,in/swirls.png;in/mosaic.png,b.png,30,3",
        'in/photo.png,in/swirls.png,"c, too.png",30,"2,1"',
        on_pair=lambda number, count, output: seen.append((number, count, output.name)),
    )
    assert seen == [(1, 3, "a.png"), (2, 3, "b.png"), (3, 3, "c, too.png")]
    assert outputs(folder) == ["a.png", "b.png", "c, too.png"]
    assert [painting.output.name for painting in done] == outputs(folder)
    assert [painting.iterate.steps for painting in done] == [4, 3, 2]
    swirls, mosaic = folder / "in/swirls.png", folder / "in/mosaic.png"
    two = QUICK | {"style_weight": 30.0, "steps": [3]}
    paint(folder / "in/photo.png", [swirls, mosaic], folder / "two.png", **two)
    assert (folder / "two.png").read_bytes() == (folder / "b.png").read_bytes()
    assert (folder / "a.png").read_bytes() != (folder / "b.png").read_bytes()


def test_a_list_from_a_spreadsheet_is_read(folder: Path) -> None:
    # It begins with a byte order mark and its lines end with CR LF.
    text = "\ufeffcontent,style,output\r\nin/photo.png,in/swirls.png,Sonne über Köln.png\r\n"
    (folder / "pairs.csv").write_bytes(text.encode())
    optimize_list(folder / "pairs.csv", parse=parse_setting, **QUICK)
    assert outputs(folder) == ["Sonne über Köln.png"]


HEADER = "content,style,output"
GOOD = "in/photo.png,in/swirls.png,a.png"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "no column content, style, output"),
        ([HEADER], "a line for each pair"),
        (["content,style", "in/photo.png,in/swirls.png"], "no column output"),
        ([f"{HEADER},color", f"{GOOD},red"], "unknown column .*color"),
        ([f"{HEADER}", f"{GOOD},more"], "pairs.csv"),
        ([HEADER, GOOD, "in/no.png,in/swirls.png,b.png"], "line 3: .*no.png: no such file"),
        ([HEADER, GOOD, "in/photo.png,in/no.png,b.png"], "line 3: .*no.png: no such file"),
        ([HEADER, GOOD, "in/photo.png,in/swirls.png;no.png,b.png"], "line 3: .*no.png: no such"),
        ([HEADER, GOOD, "in/photo.png,in/swirls.png,b.xyz"], "line 3: .*unknown image format"),
        ([HEADER, GOOD, "in/photo.png,in/swirls.png,no/b.png"], "line 3: .*does not exist"),
        ([HEADER, GOOD, "in/photo.png,in/swirls.png"], "line 3: too few columns"),
        ([HEADER, GOOD, "in/photo.png,in/swirls.png,b.png,more"], "line 3: .*columns"),
        ([HEADER, GOOD, ",in/swirls.png,b.png"], "line 3: "),
        ([HEADER, GOOD, GOOD], r"outputs that occur twice: .*a\.png"),
        ([f"{HEADER},steps", f"{GOOD},2", "in/photo.png,in/swirls.png,b.png,two"], "line 3: .*two"),
        ([f"{HEADER},mix", f"{GOOD},", "in/photo.png,in/swirls.png,b.png,x"], "line 3: .*mix"),
        ([HEADER, GOOD, "", "in/no.png,in/swirls.png,b.png"], "line 4: .*no.png: no such file"),
        ([HEADER, '"in/photo.png,in/swirls.png,a.png'], "not a CSV file"),
    ],
)
def test_bad_lists_are_refused_before_any_work(folder: Path, lines: list[str], said: str) -> None:
    with pytest.raises(StyleTransferError, match=said) as raised:
        batch(folder, *lines)
    assert "pairs.csv" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert outputs(folder) == []


def test_a_list_must_be_text(folder: Path) -> None:
    (folder / "pairs.csv").write_bytes((folder / "in/photo.png").read_bytes())
    with pytest.raises(InputError, match="not a CSV file"):
        optimize_list(folder / "pairs.csv", parse=parse_setting)
    with pytest.raises(InputError, match="no such file"):
        optimize_list(folder / "nothing.csv", parse=parse_setting)


def test_outputs_of_a_list_that_exist_are_kept(folder: Path) -> None:
    lines = [HEADER, GOOD, "in/photo.png,in/swirls.png,b.png"]
    (folder / "b.png").write_text("precious")
    with pytest.raises(OutputExistsError, match=r"line 3: .*b\.png: exists already"):
        batch(folder, *lines)
    assert outputs(folder) == ["b.png"]
    assert [p.output.name for p in batch(folder, *lines, resume=True)] == ["a.png"]
    assert (folder / "b.png").read_text() == "precious"
    assert len(batch(folder, *lines, overwrite=True)) == 2
    assert load_picture(folder / "b.png").image.shape == (1, 3, 32, 48)


def test_an_interrupted_list_goes_on(folder: Path) -> None:
    lines = [HEADER, GOOD, "in/photo.png,in/swirls.png,b.png", "in/photo.png,in/mosaic.png,c.png"]
    pair = 0

    def on_pair(number: int, count: int, output: Path) -> None:
        nonlocal pair
        pair = number

    def on_iterate(iterate: Iterate) -> None:
        interrupting(2 if pair == 2 else -1)(iterate)

    with pytest.raises(InterruptedWorkError, match=r"b\.partial\.png.*--resume"):
        batch(folder, *lines, on_pair=on_pair, on_iterate=on_iterate)
    assert outputs(folder) == ["a.png", "b.partial.png", "b.partial.pt"]
    steps: list[int] = []
    done = batch(folder, *lines, resume=True, on_iterate=lambda i: steps.append(i.step))
    assert [painting.output.name for painting in done] == ["b.png", "c.png"]
    assert steps == [3, 4, 0, 1, 2, 3, 4]
    assert outputs(folder) == ["a.png", "b.png", "c.png"]
    assert (folder / "a.png").read_bytes() == (folder / "b.png").read_bytes()


def test_an_interrupted_repainting_goes_on(folder: Path) -> None:
    batch(folder, HEADER, GOOD)
    with pytest.raises(InterruptedWorkError):
        batch(folder, HEADER, GOOD, overwrite=True, on_iterate=interrupting(2))
    assert outputs(folder) == ["a.partial.png", "a.partial.pt", "a.png"]
    assert [painting.output.name for painting in batch(folder, HEADER, GOOD, resume=True)] == [
        "a.png"
    ]
    assert outputs(folder) == ["a.png"]


def test_a_pair_that_fails_does_not_stop_the_others(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "in/text.png").write_text("no picture")
    with pytest.raises(PartialResultError, match="1 of 3 pairs failed: lines 3") as raised:
        batch(
            folder,
            HEADER,
            GOOD,
            "in/text.png,in/swirls.png,b.png",
            "in/photo.png,in/mosaic.png,c.png",
        )
    assert raised.value.exit_code == 3
    assert outputs(folder) == ["a.png", "c.png"]
    (warning,) = caplog.messages
    assert "line 3" in warning
    assert "not an image" in warning


# Contact sheets


def test_a_sheet_holds_every_combination(content: Path, style: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    weights, layers = (1.0, 100.0), ({"relu1_1": 1.0}, {"relu1_1": 1.0, "relu1_2": 1.0})
    output = optimize_grid(
        content,
        [style],
        tmp_path / "sheet.png",
        {
            "style_weight": [("1", weights[0]), ("100", weights[1])],
            "content_layers": [("one", layers[0]), ("two", layers[1])],
        },
        on_cell=lambda number, count, caption: seen.append((number, count, caption)),
        **QUICK,
    )
    assert seen == [
        (1, 4, "style_weight 1  content_layers one"),
        (2, 4, "style_weight 1  content_layers two"),
        (3, 4, "style_weight 100  content_layers one"),
        (4, 4, "style_weight 100  content_layers two"),
    ]
    assert output == tmp_path / "sheet.png"
    assert names(tmp_path) == ["sheet.png"]
    sheet = load_picture(output).image
    caption = sheet.shape[-2] // 2 - 32
    assert sheet.shape == (1, 3, 2 * (32 + caption), 2 * 48)
    assert 10 <= caption <= 30
    for row, weight in enumerate(weights):
        for column, chosen in enumerate(layers):
            settings = QUICK | {"style_weight": weight, "content_layers": chosen}
            *_, last = optimize(content, style, **settings)
            top, left = row * (32 + caption), column * 48
            cell = sheet[:, :, top : top + 32, left : left + 48]
            torch.testing.assert_close(cell, last.image, atol=0.51 / 255, rtol=0)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"style_weight": [("1", 1.0), ("-1", -1.0)]}, "0 or more, not -1"),
        ({"content_layers": [("a", SHALLOW), ("b", {"relu9_9": 1.0})]}, "relu9_9"),
        ({"size": [("48", 48), ("0", 0)]}, "positive"),
    ],
)
def test_a_bad_cell_is_refused_before_any_work(
    content: Path, style: Path, tmp_path: Path, cells: dict[str, Any], said: str
) -> None:
    seen: list[object] = []
    with pytest.raises(Exception, match=said) as raised:
        optimize_grid(
            content,
            [style],
            tmp_path / "sheet.png",
            cells,
            on_cell=lambda *cell: seen.append(cell),
            on_iterate=seen.append,
            **QUICK,
        )
    assert getattr(raised.value, "exit_code", None) == 2
    assert not seen
    assert names(tmp_path) == []


def test_a_sheet_that_exists_is_kept(content: Path, style: Path, tmp_path: Path) -> None:
    output = tmp_path / "sheet.png"
    output.write_text("precious")
    cells = {"style_weight": [("1", 1.0)]}
    with pytest.raises(OutputExistsError):
        optimize_grid(content, [style], output, cells, **QUICK)
    assert output.read_text() == "precious"
    optimize_grid(content, [style], output, cells, overwrite=True, **QUICK)
    assert load_picture(output).image.shape[-1] == 48


def test_pictures_of_several_sizes_are_whole_on_a_sheet(
    content: Path, style: Path, tmp_path: Path
) -> None:
    output = tmp_path / "sheet.png"
    optimize_grid(content, [style], output, {"size": [("48", 48), ("96", 96)]}, **QUICK)
    height, width = load_picture(output).image.shape[-2:]
    assert width >= 48 + 96
    assert height >= 64


def test_an_interrupted_sheet_holds_what_was_finished(
    content: Path, style: Path, tmp_path: Path
) -> None:
    cells = {"style_weight": [("1", 1.0), ("9", 9.0)], "steps": [("2", [2]), ("3", [3])]}

    def painted(stop: int) -> None:
        def on_cell(number: int, count: int, caption: str) -> None:
            if number == stop:
                os.kill(os.getpid(), signal.SIGINT)

        optimize_grid(content, [style], tmp_path / "s.png", cells, on_cell=on_cell, **QUICK)

    with pytest.raises(KeyboardInterrupt):  # nothing to keep
        painted(1)
    assert names(tmp_path) == []
    with pytest.raises(InterruptedWorkError, match=r"3 of 4 pictures are in .*s\.partial\.png"):
        painted(4)
    assert names(tmp_path) == ["s.partial.png"]
    partial = load_picture(tmp_path / "s.partial.png").image
    assert partial.shape[-1] == 96
    painted(0)
    assert names(tmp_path) == ["s.png"]
    whole = load_picture(tmp_path / "s.png").image
    assert partial.shape == whole.shape
    half = whole.shape[-2] // 2
    assert torch.equal(partial[:, :, :half], whole[:, :, :half])
    third = slice(half, half + 32)
    assert torch.equal(partial[:, :, third, :48], whole[:, :, third, :48])
    assert (partial[:, :, third, 48:] == 1).all()  # white
