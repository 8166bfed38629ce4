"""The live channel: a stylized frame for each frame, for a limited number of viewers."""

from io import BytesIO
from pathlib import Path

import pytest
from clips import write_clip
from PIL import Image
from starlette.websockets import WebSocketDisconnect
from visitors import JPEG, Client, settings

from nst_rt.infer.web.app import create_app
from nst_rt.infer.web.stylizers import SharedStylizer


def test_frames_come_back_in_the_chosen_style(client: Client) -> None:
    with client.live() as socket:
        frames = {}
        for name in ("waves", "night", "waves"):
            socket.send_json({"styles": {name: 1}})
            socket.send_bytes(JPEG)
            if not frames:
                assert socket.receive_json() == {"size": [256, 192], "viewers": 1}
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
        answer = socket.receive_json()
        assert "JPEG" in answer["error"]
        assert answer["lost"]
        socket.send_bytes(JPEG)
        socket.receive_json()
        assert socket.receive_bytes()


@pytest.mark.slow
def test_frames_come_back_while_a_video_is_stylized(client: Client, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", pts=range(0, 512 * 250, 512))
    video = client.upload(clip, "video")
    with client.live() as socket:
        socket.send_bytes(JPEG)
        socket.receive_json()
        assert socket.receive_bytes()
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
    with Client(app) as one:
        with one.live() as first, one.live() as second:
            second.send_bytes(JPEG)
            assert second.receive_json()["viewers"] == 2
            with one.live() as third:
                assert third.receive_json() == {"full": 2}
                with pytest.raises(WebSocketDisconnect) as closed:
                    third.receive_bytes()
                assert closed.value.code == 1013
            first.send_bytes(JPEG)
            assert first.receive_json()["viewers"] == 2
            assert first.receive_bytes()
        with one.live() as again:
            again.send_bytes(JPEG)
            assert again.receive_json()["viewers"] == 1
