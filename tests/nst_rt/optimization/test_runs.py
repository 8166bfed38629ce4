"""`optimize_to_file`: what it writes, also when it is interrupted."""

import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from optimizer_runs import (
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

from nst_rt.errors import (
    InputError,
    InterruptedWorkError,
    NotFiniteError,
    OutputExistsError,
    PartialResultError,
)
from nst_rt.images.io import load_picture
from nst_rt.losses import BatchTerms
from nst_rt.optimization.optimizer import Iterate
from nst_rt.optimization.tiled_loss import TiledLoss


def make_nan(monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """The loss is NaN after so many gradients."""
    original = TiledLoss.backward
    calls = 0

    def backward(self: TiledLoss, image: torch.Tensor) -> BatchTerms:
        nonlocal calls
        calls += 1
        terms = original(self, image)
        return terms if calls <= after else replace(terms, total=terms.total * torch.nan)

    monkeypatch.setattr(TiledLoss, "backward", backward)


def test_writes_the_last_iterate(run: Optimize, content: Path, output: Path) -> None:
    seen: list[int] = []
    progress: list[float] = []
    result = run(
        on_iterate=lambda iterate: seen.append(iterate.step),
        progress=lambda done, total, note: progress.append(done),
        **QUICK,
    )
    assert seen == [0, 1, 2, 3, 4]
    assert progress == [0, 0.25, 0.5, 0.75, 1]
    assert (result.output, result.iterate.step) == (output, 4)
    picture = load_picture(result.output)
    assert (picture.alpha, picture.depth) == (None, 8)
    assert picture.image.shape == (1, 3, 32, 48)  # the content image's aspect
    torch.testing.assert_close(picture.image, result.iterate.image, atol=0.5 / 255, rtol=1e-4)
    assert (picture.image - load_picture(content, size=48).image).abs().mean() > 0.01
    assert names(output.parent) == ["out.png"]


def test_works_in_a_thread(run: Optimize, output: Path) -> None:
    thread = threading.Thread(target=run, kwargs=QUICK)
    thread.start()
    thread.join(60)
    assert names(output.parent) == ["out.png"]


@pytest.mark.parametrize("preserve_colors", [None, "luminance"])
@pytest.mark.parametrize("height", [61, 63, 66])
def test_odd_sides_survive_the_scales(
    run: Optimize, content: Path, output: Path, height: int, preserve_colors: str | None
) -> None:
    odd = output.with_name("in.png")
    with Image.open(content) as image:
        image.resize((96, height)).save(odd)
    settings = TWO_SCALES | {"steps": [1], "preserve_colors": preserve_colors}
    run(content=odd, **settings)
    assert load_picture(output).image.shape == (1, 3, height, 96)


@pytest.mark.parametrize("size", [48, 96])
def test_alpha_is_kept(run: Optimize, output: Path, size: int) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (64, 96, 4), dtype=np.uint8)
    levels[:20, :, 3] = 0
    cut_out = output.with_name("in.png")
    Image.fromarray(levels).save(cut_out)
    run(content=cut_out, **QUICK | {"size": size})
    ours, theirs = load_picture(output).alpha, load_picture(cut_out, size=size).alpha
    assert ours is not None
    assert theirs is not None
    torch.testing.assert_close(ours, theirs, atol=1.01 / 255, rtol=0)


def test_alpha_has_the_size_of_coarse_scales(run: Optimize, output: Path) -> None:
    # 71 px in 160 are 21.3 in 48, but 22 by way of 43 in 96.
    picture = Image.new("RGBA", (160, 71), (200, 100, 50, 128))
    picture.paste((0, 0, 0, 0), (0, 0, 80, 71))
    picture.save(output.with_name("in.png"))
    run(content=output.with_name("in.png"), save_every=1, **TWO_SCALES)
    for path in (output.with_name("out-0001.png"), output):
        with Image.open(path) as image:
            assert image.mode == "RGBA"


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bits_are_kept(run: Optimize, output: Path, channels: int) -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (64, 96, channels), dtype=np.uint16)
    cv2.imwrite(str(output.with_name("in.png")), levels)
    result = run(content=output.with_name("in.png"), **QUICK)
    stylized = cv2.imread(str(output), cv2.IMREAD_UNCHANGED)
    assert stylized is not None
    assert (stylized.dtype, stylized.shape) == (np.uint16, (32, 48, channels))
    rgb = stylized[:, :, 2::-1].astype(np.float32) / 65535
    np.testing.assert_allclose(rgb, result.iterate.image[0].permute(1, 2, 0), atol=0.51 / 65535)


@pytest.mark.parametrize("kind", KINDS)
def test_save_every(run: Optimize, output: Path, kind: str) -> None:
    images: dict[int, torch.Tensor] = {}

    def on_iterate(iterate: Iterate) -> None:
        images[iterate.step] = iterate.image  # which no later step may change

    run(save_every=2, on_iterate=on_iterate, **KINDS[kind])
    folder = output.parent
    assert names(folder) == ["out-0002.png", "out-0004.png", "out-0006.png", "out.png"]
    assert images[2].shape[-1] < images[4].shape[-1] == 96
    for step in (2, 4, 6):
        saved = load_picture(folder / f"out-{step:04d}.png").image
        torch.testing.assert_close(saved, images[step], atol=0.51 / 255, rtol=0)


def test_existing_files_are_not_replaced_unasked(run: Optimize, tmp_path: Path) -> None:
    options: dict[str, Any] = QUICK | {
        "save_every": 2,
        "timelapse": tmp_path / "t.mp4",
        "plot": tmp_path / "p.png",
    }
    for name in ("out.png", "out-0004.png", "t.mp4", "p.png"):
        (tmp_path / name).write_text("precious")
        with pytest.raises(OutputExistsError, match=name):
            run(**options)
        assert names(tmp_path) == [name]
        assert (tmp_path / name).read_text() == "precious"
        (tmp_path / name).unlink()
    for name in ("out.png", "out-0002.png", "out-0004.png", "t.mp4", "p.png"):
        (tmp_path / name).write_text("old")
    run(overwrite=True, **options)
    for path in tmp_path.iterdir():
        assert path.read_bytes() != b"old"


def test_output_never_replaces_an_input(
    run: Optimize, content: Path, style: Path, tmp_path: Path
) -> None:
    copy, link = tmp_path / "a.png", tmp_path / "link.png"
    copy.write_bytes(content.read_bytes())
    link.symlink_to("a.png")
    for files in ({"content": copy}, {"style": [style, copy]}):
        with pytest.raises(InputError, match=r"link\.png"):
            run(**files, output=link, overwrite=True, **QUICK)
    assert copy.read_bytes() == content.read_bytes()


@pytest.mark.parametrize("role", ["content", "style", "init", "content_mask", "style_masks"])
@pytest.mark.parametrize("name", ["p.png", "out-0002.png", "out.partial.png"])
def test_no_output_of_a_run_replaces_an_input(
    run: Optimize, content: Path, tmp_path: Path, role: str, name: str
) -> None:
    image, link = tmp_path / "in.png", tmp_path / name
    Image.new("RGB", Image.open(content).size, "red").save(image)
    before = image.read_bytes()
    link.hardlink_to(image)
    masks = {"style": content, "content_mask": image, "style_masks": ["red"]}
    given = {**(masks if "mask" in role else {}), role: [image] if role == "style_masks" else image}
    with pytest.raises(InputError, match=re.escape(name)):
        run(**given, plot=tmp_path / "p.png", save_every=2, overwrite=True, **QUICK)
    assert image.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"save_every": -1}, "-1"),
        ({"timelapse": "t.txt"}, "t.txt"),
        ({"plot": "p.xyz"}, "p.xyz"),
        ({"plot": "out.png"}, "out.png"),
        ({"style_weight": -1}, "-1"),
        ({"resume": True}, r"out\.partial\.pt"),
    ],
)
def test_bad_options_are_refused_before_any_work(
    run: Optimize, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: Any, word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[Iterate] = []
    with pytest.raises(InputError, match=word):
        run(output="out.png", on_iterate=seen.append, **QUICK | options)
    assert not seen
    assert names(tmp_path) == []


def test_unknown_setting_is_a_type_error(run: Optimize) -> None:
    with pytest.raises(TypeError, match="stile_weight"):
        run(stile_weight=1)


def test_interrupted_run_keeps_the_best_image(run: Optimize, tmp_path: Path) -> None:
    iterates: list[Iterate] = []

    def on_iterate(iterate: Iterate) -> None:
        iterates.append(iterate)
        interrupting(3)(iterate)

    # A step this large raises the loss: the start stays the best.
    with pytest.raises(InterruptedWorkError):
        run(on_iterate=on_iterate, **QUICK | {"optimizer": "adam", "learning_rate": 100.0})
    best = min(iterates, key=lambda iterate: iterate.total)
    assert best.step == 0
    kept = load_picture(tmp_path / "out.partial.png").image
    torch.testing.assert_close(kept, best.image, atol=0.51 / 255, rtol=0)


def test_interrupted_run_keeps_alpha_and_depth(run: Optimize, tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (64, 96, 4), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "in.png"), levels)
    interrupt(run, at=1, content=tmp_path / "in.png", **TWO_SCALES)
    kept = cv2.imread(str(tmp_path / "out.partial.png"), cv2.IMREAD_UNCHANGED)
    assert kept is not None
    assert (kept.dtype, kept.shape) == (np.uint16, (32, 48, 4))


def test_second_ctrl_c_stops_at_once(
    run: Optimize, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []

    def on_iterate(iterate: Iterate) -> None:
        interrupting(2, times=2)(iterate)
        seen.append(iterate.step)

    with pytest.raises(InterruptedWorkError) as raised:
        run(on_iterate=on_iterate, **QUICK)
    assert seen == [0, 1]
    assert len(caplog.messages) == 1
    assert "resume" not in str(raised.value)  # in the middle of a step there is no state
    assert names(tmp_path) == ["out.partial.png"]
    with pytest.raises(OutputExistsError, match=r"out\.partial\.png"):
        run(**QUICK)
    run(overwrite=True, **QUICK)
    assert names(tmp_path) == ["out.png"]


def test_nan_loss_keeps_the_best_image(
    run: Optimize, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_nan(monkeypatch, after=3)
    iterates: list[Iterate] = []
    with pytest.raises(PartialResultError, match=r"out\.partial\.png") as error:
        run(timelapse=tmp_path / "t.mp4", on_iterate=iterates.append, **QUICK)
    assert error.value.exit_code == 3
    assert names(tmp_path) == ["out.partial.png", "t.partial.mp4"]
    best = min(iterates, key=lambda iterate: iterate.total)
    kept = load_picture(tmp_path / "out.partial.png").image
    torch.testing.assert_close(kept, best.image, atol=0.51 / 255, rtol=0)
    assert frame_count(tmp_path / "t.partial.mp4") == 3


def test_nan_loss_at_the_start_keeps_nothing(
    run: Optimize, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_nan(monkeypatch, after=0)
    with pytest.raises(NotFiniteError, match="step 0"):
        run(timelapse=tmp_path / "t.mp4", **QUICK)
    assert names(tmp_path) == []
