"""The live channel: a picture for each frame, for as many viewers as there is room for."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from clips import write_clip
from PIL import Image
from starlette.websockets import WebSocketDisconnect
from visitors import Client, settings

from nst_rt.infer.web.app import create_app
from nst_rt.infer.web.checks import Limits
from nst_rt.infer.web.engine import Engine, decoded, encoded

# Smooth, so that JPEG keeps it.
FRAME = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8).repeat(16, 0).repeat(16, 1)
JPEG = encoded(FRAME)


def test_frames_come_back_in_the_style_that_was_chosen(client: Client) -> None:
    with client.live() as socket:
        pictures = {}
        for name in ("waves", "night", "waves"):
            socket.send_json({"styles": {name: 1}})
            socket.send_bytes(JPEG)
            if not pictures:
                assert socket.receive_json() == {"size": [256, 192], "viewers": 1}
            picture = socket.receive_bytes()
            assert Image.open(BytesIO(picture)).size == (64, 48)
            assert pictures.setdefault(name, picture) == picture
        assert pictures["waves"] != pictures["night"]
        socket.send_json({"styles": {"waves": 1}, "strength": 0})
        socket.send_bytes(JPEG)
        assert np.abs(decoded(socket.receive_bytes()).astype(int) - decoded(JPEG)).mean() < 4


@pytest.mark.parametrize("text", ["", "{", "[]", '{"styles": {"x": 1}}', '{"styles": 3}'])
def test_nonsense_is_answered_and_does_not_end_the_channel(client: Client, text: str) -> None:
    with client.live() as socket:
        socket.send_text(text)
        said = socket.receive_json()
        assert said["error"]
        assert not said["lost"]
        socket.send_bytes(b"no picture")
        assert socket.receive_json() == {
            "error": "a frame that is no JPEG picture",
            "lost": True,
        }
        socket.send_bytes(JPEG)
        socket.receive_json()
        assert socket.receive_bytes()


def test_frames_come_back_while_a_video_is_painted(client: Client, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", pts=range(0, 512 * 250, 512))
    video = client.upload(clip, "video")
    with client.live() as socket:
        socket.send_bytes(JPEG)
        socket.receive_json()
        assert socket.receive_bytes()
        job = client.job(kind="video", video=video["id"], look={"styles": {"night": 1}})
        while not client.wait(job, "running", "done")["progress"]:
            pass
        for _ in range(5):
            socket.send_bytes(JPEG)
            assert socket.receive_bytes()
        now = client.wait(job, "running", "done")
        assert (now["state"], now["progress"] < 1) == ("running", True)
    client.post(f"/api/jobs/{job['id']}/cancel")


def test_a_viewer_over_the_limit_is_told_so_and_finds_room_later(
    engine: Engine, tmp_path: Path
) -> None:
    app = create_app(engine, settings(tmp_path, limits=Limits(viewers=2), fps=0))
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
