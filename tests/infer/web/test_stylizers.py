"""Stylizing for several viewers: turns, style choices, live frames."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from blends import small_network
from visitors import FRAME, JPEG, until

from nst_rt.errors import InputError, StyleTransferError
from nst_rt.images.io import Frame
from nst_rt.infer.adaptive import AdaptiveStylizer, LiveStyle
from nst_rt.infer.blend import Pass
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.web import stylizers
from nst_rt.infer.web.stylizers import (
    SharedStylizer,
    Viewer,
    decode_jpeg,
    encode_image,
    parse_choice,
)
from nst_rt.models.style_model import Style, StyleModel

WAVES = LiveStyle({"waves": 1})


def test_frames_are_stylized_in_the_order_of_requests(
    shared: SharedStylizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A viewer who asks again at once gets no more turns than the others."""
    stylizers = [shared.in_style(WAVES) for _ in range(3)]
    stylizers[0](FRAME)  # compiles
    waiting = stylizers[0].queue._work_queue  # type: ignore[attr-defined]
    unfinished, order = {0, 1, 2}, []

    def stylize(self: Stylizer, each: Pass, frame: Frame, *, several: bool) -> Callable[[], Frame]:
        until(lambda: waiting.qsize() >= len(unfinished) - 1)  # all others have asked
        order.append(int(frame[0, 0, 0]))
        return lambda: frame

    def view(number: int) -> None:
        for _ in range(4):
            stylizers[number](np.full_like(FRAME, number))
        unfinished.remove(number)

    monkeypatch.setattr(Stylizer, "_begin_pass", stylize)
    with ThreadPoolExecutor(3) as viewers:
        list(viewers.map(view, range(3)))
    assert sorted(order[:3]) == [0, 1, 2]
    assert order == order[:3] * 4


def test_viewers_have_their_own_style(shared: SharedStylizer) -> None:
    one = Viewer(shared, WAVES, fps=0)
    other = Viewer(shared, LiveStyle({"night": 1}), fps=0)
    waves, night = one.stylize(JPEG), other.stylize(JPEG)
    assert waves != night
    assert one.stylize(JPEG) == waves
    other.set_choice(WAVES)
    assert other.stylize(JPEG) == waves
    other.set_choice(LiveStyle({"waves": 1}, strength=0))
    plain = decode_jpeg(other.stylize(JPEG)).astype(int)
    assert np.abs(plain - decode_jpeg(JPEG)).mean() < 4


def test_stylizers_of_one_model_share_the_compiled_network(shared: SharedStylizer) -> None:
    one, other = (shared.in_style(LiveStyle({name: 1})) for name in ("waves", "night"))
    assert one is not other
    assert one._backend is other._backend


def test_first_images_of_a_fresh_installation_may_come_at_once(
    two_styles: StyleModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NST_RT_CACHE", str(tmp_path))
    fresh = SharedStylizer(two_styles, backend="openvino")
    frames = [FRAME, FRAME.repeat(2, 1)]
    with ThreadPoolExecutor(2) as visitors:
        stylized = list(visitors.map(fresh.in_style(WAVES), frames))
    assert [each.shape for each in stylized] == [each.shape for each in frames]


def test_viewer_chooses_the_stroke_size(shared: SharedStylizer) -> None:
    viewer = Viewer(shared, WAVES, fps=0)
    before = viewer.stylize(JPEG)
    viewer.set_choice(parse_choice({"styles": {"waves": 1}, "stroke_size": "8%"}))
    while viewer.stylize(JPEG) == before:  # until the other size is compiled
        pass
    viewer.close()


def test_next_frame_has_weights_that_were_replaced(two_styles: StyleModel) -> None:
    shared = SharedStylizer(two_styles, backend="openvino")
    viewer = Viewer(shared, LiveStyle({"night": 1}, stability=0), fps=0)
    night = viewer.stylize(JPEG)
    assert viewer.stylize(JPEG) == night
    shared.style_set.replace("night", two_styles)  # whose first style is the other one
    waves = viewer.stylize(JPEG)
    assert waves != night
    assert waves == Viewer(shared, LiveStyle({"waves": 1}, stability=0), fps=0).stylize(JPEG)


def test_style_that_was_removed_stays_on_the_screen(two_styles: StyleModel) -> None:
    shared = SharedStylizer(two_styles, backend="openvino")
    third = StyleModel(small_network(styles=1), (Style("third"),))
    shared.style_set.add(third)
    viewer = Viewer(shared, LiveStyle({"third": 1}, stability=0), fps=0)
    shown = viewer.stylize(JPEG)
    shared.style_set.remove(third)
    shared.style_set.replace("night", two_styles)  # viewers look for better weights
    assert viewer.stylize(JPEG) == shown


def test_viewer_rests_as_long_as_a_frame_took_and_is_not_taken_for_a_slow_camera(
    shared: SharedStylizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered: list[Frame] = []
    now = [0.0]
    monkeypatch.setattr(stylizers.time, "perf_counter", lambda: now[0])
    intervals: list[float] = []

    class Noted(AdaptiveStylizer):
        def stylize(self, frame: Frame, *, interval: float = 0.0, may_shrink: bool = True) -> Frame:
            intervals.append(interval)
            now[0] += 0.04
            return frame

    monkeypatch.setattr(stylizers, "AdaptiveStylizer", Noted)
    viewer = Viewer(shared, WAVES, fps=24, offer=offered.append)
    for rests in (True, True, False, False):
        viewer.stylize(JPEG)
        now[0] += viewer.rest() if rests else 0.04
    viewer.stylize(JPEG)
    assert intervals[1:] == pytest.approx([0, 0, 0.08, 0.08])
    assert len(offered) == 5


def test_others_are_served_while_a_new_size_is_compiled(
    shared: SharedStylizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (Viewer(shared, WAVES, fps=0) for _ in range(2))
    compiling, stylized = threading.Event(), threading.Event()
    large = FRAME.repeat(2, 0)
    stylizer = shared.in_style(WAVES)
    working = stylizer.working_size(*large.shape[:2])
    prepare = stylizer._backend.prepare

    def slow(shape: tuple[int, ...]) -> None:
        if shape[1:3] == working:
            compiling.set()
            assert stylized.wait(300)
        prepare(shape)

    monkeypatch.setattr(stylizer._backend, "prepare", slow)
    late: list[bytes] = []
    thread = threading.Thread(target=lambda: late.append(one.stylize(encode_image(large))))
    thread.start()
    assert compiling.wait(300)
    assert other.stylize(JPEG)
    stylized.set()
    thread.join()
    assert decode_jpeg(late[0]).shape == large.shape


def test_invalid_choice_keeps_the_previous_style(shared: SharedStylizer) -> None:
    viewer = Viewer(shared, WAVES, fps=0)
    before = viewer.stylize(JPEG)
    for styles, strength in (({"vawes": 1}, 1), ({"waves": 1}, 2), ({"waves": 0}, 1), ({}, 1)):
        with pytest.raises(StyleTransferError):
            viewer.set_choice(LiveStyle(styles, strength))
        assert viewer.stylize(JPEG) == before


def test_camera_rate_is_known_if_the_studio_waits_for_frames(
    shared: SharedStylizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = Viewer(shared, WAVES, fps=24)
    viewer.close()
    now, intervals = 100.0, []

    def stylize(frame: Frame, *, interval: float, may_shrink: bool) -> Frame:
        nonlocal now
        intervals.append(interval)
        now += 0.05
        return frame

    monkeypatch.setattr(stylizers, "time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(
        viewer, "_frame_stylizer", SimpleNamespace(stylize=stylize, working_size=(0, 0))
    )
    # A camera of 15 frames per second, then one that is faster than the studio.
    for pause in (0, *[1 / 15 - 0.05] * 3, *[0.001] * 3):
        now += pause
        viewer.stylize(JPEG)
    assert intervals[1:] == pytest.approx([1 / 15] * 3 + [0.0] * 3)


def test_models_are_added_and_removed(two_styles: StyleModel) -> None:
    shared = SharedStylizer(two_styles, backend="openvino")
    added = StyleModel(two_styles.network, (Style("mine"), Style("night")))
    viewer = Viewer(shared, WAVES, fps=24)
    shared.style_set.add(added, skip_known=True)
    assert list(shared.style_set.styles) == ["waves", "night", "mine"]
    before = viewer.stylize(JPEG)
    for styles in ({"mine": 1}, {"mine": 1, "waves": 1}):  # the same weights under another name
        viewer.set_choice(LiveStyle(styles))
        assert viewer.stylize(JPEG) == before
    shared.style_set.remove(added)
    assert list(shared.style_set.styles) == ["waves", "night"]
    assert viewer.stylize(JPEG) == before  # it keeps working for those who use it
    viewer.close()


def with_header(width: int, height: int) -> bytes:
    """A JPEG whose header claims a size."""
    jpeg = bytearray(JPEG)
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(jpeg)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x" * 100,
        cv2.imencode(".png", FRAME)[1].tobytes(),
        with_header(65000, 65000),
        with_header(8, 480),
        JPEG[:200],
    ],
    ids=["empty", "noise", "png", "huge", "tiny", "truncated"],
)
def test_invalid_frames_are_rejected(content: bytes) -> None:
    with pytest.raises(InputError):
        decode_jpeg(content)


@pytest.mark.parametrize(
    "value",
    [
        *(None, [], "x", {}, {"styles": []}, {"styles": {"a": "x"}}, {"styles": {"a": {}}}),
        *({"styles": {"a": 1}, "stroke_size": size} for size in ("", "wide", {}, -1)),
        {"styles": {"a": 1}, "stability": 2},
    ],
)
def test_invalid_choice_is_rejected(value: Any) -> None:
    with pytest.raises(InputError):
        parse_choice(value)
