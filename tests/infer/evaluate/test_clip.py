"""Flicker of a style on a clip."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from clips import write_clip

from nst_rt.errors import InputError, VideoError
from nst_rt.images.io import Frame
from nst_rt.infer.evaluate.clip import INPUT, clip_errors, evaluate_clip, stabilized
from nst_rt.infer.evaluate.model import pan_photos
from nst_rt.metrics.stability import pan

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def still() -> Frame:
    return np.ascontiguousarray(pan(pan_photos()[0])[0][:200, :300])


def boiling(frame: Frame) -> Frame:
    return np.clip(frame + RANDOM.normal(0, 20, frame.shape), 0, 255).astype(np.uint8)


def test_stabilizer_lowers_both_errors_of_a_fixed_camera(still: Frame) -> None:
    outputs = {"plain": boiling, "stabilized": stabilized(boiling)}
    found = clip_errors([still] * 4, outputs)
    assert found[INPUT].static is not None
    assert found[INPUT].static.error == 0
    for kind in ("moving", "static"):
        plain, calm = (getattr(found[name], kind) for name in outputs)
        assert plain.error == pytest.approx(20 * 2**0.5 / 255, rel=0.2)
        assert calm.error < 0.5 * plain.error
        assert plain.seen > 0.9


def test_moving_camera_leaves_hardly_anything_static() -> None:
    found = clip_errors(pan(pan_photos()[2])[:3], {})[INPUT]
    assert found.moving is not None
    assert found.moving.error < 0.01
    assert found.static is None or found.static.seen < 0.3


def test_cut_counts_for_hardly_anything(still: Frame) -> None:
    other = np.ascontiguousarray(255 - still[::-1, ::-1])
    found = clip_errors([still, other], {})[INPUT]
    assert found.static is None
    assert found.moving is None or found.moving.seen < 0.3


def test_evaluation_of_a_clip(model: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", pts=range(0, 512 * 6, 512))
    steps: list[tuple[float, float | None, str]] = []
    done = evaluate_clip(
        str(model), clip, frames=4, backend="torch", progress=lambda *step: steps.append(step)
    )
    assert steps == [(number, 4, "") for number in (1, 2, 3, 4)]
    assert done.frames == 4
    assert done.backend.startswith("torch ")
    assert list(done.errors) == [INPUT, "plain", "stabilized"]
    assert json.loads(json.dumps(dataclasses.asdict(done)))["errors"]["plain"]["moving"]


def test_single_frame_cannot_be_measured(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not 1"):
        evaluate_clip(str(model), tmp_path / "none.mp4", frames=1)
    single = write_clip(tmp_path / "single.mp4", pts=[0])
    with pytest.raises(VideoError, match="only 1"):
        evaluate_clip(str(model), single, backend="torch")
