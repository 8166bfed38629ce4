"""The live channel: a stylized frame for each frame, for a limited number of viewers."""

import json
import threading
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from clips import write_clip
from PIL import Image
from starlette.websockets import WebSocketDisconnect
from visitors import JPEG, PATIENCE, Client, settings

from nst_rt.infer.adaptive import AdaptiveStylizer
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.web import stylizers
from nst_rt.infer.web.app import create_app
from nst_rt.infer.web.stylizers import SharedStylizer
from nst_rt.models.style_model import Style, StyleModel
from nst_rt.models.transformer import TransformerNet


def stylized(socket: Any) -> bytes:
    """The stylized frame that answers a frame."""
    socket.send_bytes(JPEG)
    while (answer := socket.receive()).get("bytes") is None:
        assert "error" not in json.loads(answer["text"])
    return bytes(answer["bytes"])


def test_frames_come_back_in_the_chosen_style(client: Client) -> None:
    with client.live() as socket:
        frames = {}
        for name in ("waves", "night", "waves"):
            socket.send_json({"styles": {name: 1}})
            socket.send_bytes(JPEG)
            if not frames:
                assert socket.receive_json() == {"preparing": "waves"}
                news = {"size": [256, 192], "viewers": 1, "preparing": None}
                assert socket.receive_json() == news
            frame = socket.receive_bytes()
            assert Image.open(BytesIO(frame)).size == (64, 48)
            assert frames.setdefault(name, frame) == frame
        assert frames["waves"] != frames["night"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"styles": {"x": 1}}', '{"styles": 3}'])
def test_invalid_messages_are_answered_and_do_not_end_the_channel(
    client: Client, text: str
) -> None:
    with client.live() as socket:
        socket.send_text(text)
        answer = socket.receive_json()
        assert answer["error"]
        assert not answer["lost"]
        socket.send_bytes(b"no image")
        assert socket.receive_json()["preparing"]
        answer = socket.receive_json()
        assert "JPEG" in answer["error"]
        assert answer["lost"]
        assert stylized(socket)


def test_style_that_is_being_compiled_is_named_over_the_previous_one(
    two_styles: StyleModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = TransformerNet("classic", width=4, blocks=1).eval()
    shared = SharedStylizer(two_styles, StyleModel(network, (Style("other"),)), backend="torch")
    compile_now = threading.Event()
    prepare = Stylizer.prepare

    def wait_and_prepare(self: Stylizer, height: int, width: int) -> None:
        assert "waves" in self.blend or compile_now.wait(PATIENCE)
        prepare(self, height, width)

    monkeypatch.setattr(Stylizer, "prepare", wait_and_prepare)
    with Client(create_app(shared, settings(tmp_path, fps=0))) as client, client.live() as socket:
        waves = stylized(socket)
        socket.send_json({"styles": {"other": 1}})
        socket.send_bytes(JPEG)
        assert socket.receive_json() == {"preparing": "other"}
        assert socket.receive_bytes() == waves
        compile_now.set()
        while (frame := stylized(socket)) == waves:
            pass
        assert Image.open(BytesIO(frame)).size == (64, 48)


def test_viewer_asks_for_a_frame_rate(shared: SharedStylizer, tmp_path: Path) -> None:
    held: list[float] = []

    class Noted(AdaptiveStylizer):
        def hold(self, fps: float) -> None:
            held.append(fps)
            super().hold(fps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stylizers, "AdaptiveStylizer", Noted)
        app = create_app(shared, settings(tmp_path, fps=24))
        with Client(app) as client, client.live() as socket:
            for fps in (10, 30, 24, 61, 0, -1, "x", None):
                socket.send_json({"styles": {"waves": 1}, "fps": fps})
            socket.send_json({"styles": {"waves": 1}})
            for _ in range(5):
                answer = socket.receive_json()
                assert (answer["lost"], "frame rate" in answer["error"]) == (False, True)
            assert stylized(socket)
    assert held == [10, 30, 24, 24]


@pytest.mark.slow
def test_frames_come_back_while_a_video_is_stylized(client: Client, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", pts=range(0, 512 * 250, 512))
    video = client.upload(clip, "video")
    with client.live() as socket:
        assert stylized(socket)
        job = client.job(kind="video", video=video["id"], choice={"styles": {"night": 1}})
        while not client.wait(job, "running", "done")["progress"]:
            pass
        for _ in range(5):
            socket.send_bytes(JPEG)
            assert socket.receive_bytes()
        now = client.wait(job, "running", "done")
        assert (now["state"], now["progress"] < 1) == ("running", True)
    client.post(f"/api/jobs/{job['id']}/cancel")


def test_viewer_over_the_limit_is_refused_and_can_come_back(
    shared: SharedStylizer, tmp_path: Path
) -> None:
    app = create_app(shared, settings(tmp_path, limits={"viewers": 2}, fps=0))

    def viewers(socket: Any) -> int:
        socket.send_bytes(JPEG)
        assert socket.receive_json()["preparing"]
        count: int = socket.receive_json()["viewers"]
        assert socket.receive_bytes()
        return count

    with Client(app) as one:
        with one.live() as first, one.live() as second:
            assert viewers(second) == 2
            with one.live() as third:
                assert third.receive_json() == {"full": 2}
                with pytest.raises(WebSocketDisconnect) as closed:
                    third.receive_bytes()
                assert closed.value.code == 1013
            assert viewers(first) == 2
        with one.live() as again:
            assert viewers(again) == 1
